"""icvos show: what ran, its figures as result.json has them, on the terminal at any width and as CSV."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import fewshot_trees as trees
import numpy as np
import pytest
from board_runs import icvos, run
from run_models import write_model
from tiny import write_image_benchmark, write_video_benchmark

from icvos.masks import write_mask

ROOT = Path(__file__).resolve().parents[2]
OLD = ROOT / "tests" / "made_by_0_1_0"

# Draw 1 shows the larger disk.
FAILS = """
import numpy as np
from icvos import ModelInfo, VideoModel

class Fails(VideoModel):
    info = ModelInfo(name="fails", version="2", training_data=("coco2014:train",))

    def __init__(self, *, device="cpu", weights=None, most: int = 175, careful: bool = True):
        super().__init__(device=device, weights=weights)
        self.most = most

    def segment(self, supports, video, *, seed):
        if supports[0].mask.sum() > self.most:
            raise ValueError("the disk is [too] large")
        for frame in video:
            yield frame[..., 0] > 150
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    videos, images = write_video_benchmark(root / "videos"), write_image_benchmark(root / "images")
    model = write_model(root, FAILS)
    assert icvos("evaluate", "--model", model, "--benchmark", videos, "--out", root / "failed") == 1
    limited = run(videos, root / "limited", "histogram", "--limit-frames", 3, "--limit-episodes", 4)
    return {"failed": root / "failed", "limited": limited, "images": run(images, root / "few-shot"), "old": OLD / "run"}


def shown(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    capsys.readouterr()
    assert icvos("show", *words) == 0
    return capsys.readouterr().out


def table(text: str, by: str) -> list[list[str]]:
    """The rows of the printed table whose first column is ``by``, as words."""
    lines = text.split(f"\n {by} ")[1].splitlines()[2:]
    return [line.split() for line in lines[: lines.index(next(line for line in lines if not line.strip()))]]


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def test_what_ran(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, runs["failed"])
    described = json.loads((runs["failed"] / "run.json").read_text())
    for words in (
        "fails 2 on tiny, protocol native\n",
        f"run        {runs['failed']}\n",
        "options    careful=true, most=175\n",
        "trained on coco2014:train\n",
        f"benchmark  tiny 1, manifest {described['benchmark']['manifest_sha256'][:12]}\n",
        "protocol   native, 1-shot, seed 0\n",
        f"ran        {described['start']} to {described['end']}, icvos {described['icvos']}",
        f"on         cpu, python {described['environment']['python']}, ",
        f" {described['fps']:.{0 if described['fps'] >= 100 else 1}f} fps, peak memory ",
        "status     failed\n",
        "not ranked 4 failed\n",
        "failed, and counted as 0:\n  tiny__v0__1__d1: ValueError: the disk is [too] large (my_method.py:18)\n",
    ):
        assert words in text, words
    assert text.count("ValueError") == 4
    limited = shown(capsys, runs["limited"])
    assert "native, 1-shot, seed 0, limited to 4 episodes and 3 frames of each video\n" in limited
    assert "not ranked limited\n" in limited and "failed, and" not in limited
    (record,) = (OLD / "board").rglob("*.json")
    assert "status     complete, on a board: masks re-scored\n" in shown(capsys, record)
    assert "mIoU leaves out the 1 of 3 categories that no episode drew" in shown(capsys, runs["images"])


@pytest.mark.parametrize("name", ["failed", "limited", "images", "old"])
def test_the_summary(runs: dict[str, Path], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    summary = result_of(runs[name])["summary"]
    rows = {
        row[-2] if row[0] in ("episodes", "failed") else " ".join(row[:-1]): row[-1]
        for row in table(shown(capsys, runs[name]).replace("figure, percent", "figure"), "figure")
    }
    mine = {figure: value for figure, value in summary.items() if value is not None}
    expected = {key.replace("_", " "): f"{v:.2f}" if isinstance(v, float) else str(v) for key, v in mine.items()}
    assert rows.items() >= expected.items()
    (row,) = csv.DictReader(io.StringIO(shown(capsys, runs[name], "--csv")))
    for figure, value in mine.items():
        assert float(row[figure]) == value


@pytest.mark.parametrize(
    ("name", "by"),
    [("failed", "video"), ("failed", "category"), ("failed", "source"), ("failed", "draw"), ("old", "video")]
    + [("images", "category"), ("images", "fold"), ("limited", "draw")],
)
def test_by(runs: dict[str, Path], name: str, by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = result_of(runs[name])[f"per_{by}"]
    score = "mIoU" if name == "images" else "J&F"
    rows = table(shown(capsys, runs[name], "--by", by), by)
    best_first = sorted(stored, key=lambda key: (-stored[key][score], key))
    assert [row[0] for row in rows] == best_first
    for row in rows:
        assert f"{stored[row[0]][score]:.2f}" in row
    named = table(shown(capsys, runs[name], "--by", by, "--sort", "name"), by)
    assert [row[0] for row in named] == sorted(stored) and sorted(named) == sorted(rows)
    (worst,) = table(shown(capsys, runs[name], "--by", by, "--worst", 1), by)
    assert f"{min(row[score] for row in stored.values()):.2f}" in worst
    out = tmp_path / "new" / "table.csv"
    assert f"csv: {out}\n" == shown(capsys, runs[name], "--by", by, "--csv", "--out", out)
    assert out.read_text() == shown(capsys, runs[name], "--by", by, "--csv")
    read = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row[by] for row in read] == best_first
    for row in read:
        for figure, value in stored[row[by]].items():
            text = row[figure]
            assert (
                text == " ".join(map(str, value))
                if isinstance(value, list)
                else value == (float(text) if text else None)
            )


def test_by_episode(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    lines = (runs["failed"] / "episodes.jsonl").read_text().splitlines()
    records = {record["id"]: record for record in map(json.loads, lines)}
    text = shown(capsys, runs["failed"], "--by", "episode", "--sort", "name")
    rows = {row[0]: row[1:] for row in table(text, "episode")}
    assert list(rows) == sorted(records)
    for name, record in records.items():
        figures = [record["category_name"], *(f"{record[key]:.2f}" for key in ("J", "F"))]
        assert rows[name][:4] == [*figures, f"{(record['J'] + record['F']) / 2:.2f}"]
    # Of failed episodes only those in the table are told.
    worst = shown(capsys, runs["failed"], "--by", "episode", "--worst", 2)
    assert [row[:5:4] for row in table(worst, "episode")] == [["tiny__v0__1__d1", "0.00"], ["tiny__v0__3__d1", "0.00"]]
    assert worst.count("ValueError: the disk is [too] large (my_method.py:18)\n") == 2
    for row in csv.DictReader(io.StringIO(shown(capsys, runs["failed"], "--by", "episode", "--csv"))):
        record = records[row["episode"]]
        assert float(row["J"]) == record["J"] and row["video"] == record["video"] and "traceback" not in row
        assert row["error"] == record.get("error", "") and (row["frames"] == "") == ("error" in record)
    images = csv.DictReader(io.StringIO(shown(capsys, runs["images"], "--by", "episode", "--csv")))
    assert all(float(row["IoU"]) == 100 * int(row["inter_fg"]) / int(row["union_fg"]) for row in images)


def test_of_label_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(4):
        for name in ("truth", "masks"):
            write_mask(tmp_path / name / "bear" / f"{index:05d}.png", np.eye(20, dtype=np.uint8) * 3)
    assert icvos("score", tmp_path / "masks", "--ground-truth", tmp_path / "truth", "--out", tmp_path / "run") == 0
    text = shown(capsys, tmp_path / "run", "--by", "video")
    assert "  protocol   davis-2017, objects: first-frame\n" in text
    assert table(text, "video") == [["bear", *["100.00"] * 3, "1"]]
    (row,) = table(shown(capsys, tmp_path / "run", "--by", "episode"), "episode")
    assert row == ["bear__3", *["100.00"] * 5, "2"]


def test_many_failures_are_counted(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(OLD / "run", tmp_path / "run")
    path = tmp_path / "run" / "episodes.jsonl"
    record = json.loads(path.read_text().splitlines()[0])
    more = [{**record, "id": f"e{number}", "error": f"first {number}\x1b[31m\nsecond"} for number in range(8)]
    path.write_text(path.read_text() + "".join(json.dumps(each) + "\n" for each in more))
    text = shown(capsys, tmp_path / "run")
    assert text.endswith("  e4: first 4�[31m\n  and 3 more; --by episode shows all\n") and "second" not in text


def test_names_of_strangers_are_no_formulas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(OLD / "run", tmp_path / "run")
    for name in ("result.json", "episodes.jsonl"):
        path = tmp_path / "run" / name
        path.write_text(path.read_text().replace('"person"', '"=[b]1+1"'))
    assert "\n'=[b]1+1,93.0" in shown(capsys, tmp_path / "run", "--by", "category", "--csv")
    assert table(shown(capsys, tmp_path / "run", "--by", "category"), "category")[0][0] == "=[b]1+1"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("{images}", "--by", "draw"),
            "the run has no figures by draw; in {images}; expected episode, category, fold",
        ),
        (("{failed}", "--by", "vidoe"), "the run has no figures by vidoe; in {failed}; expected episode, video, "),
        (("{failed}", "--worst", 3), "--worst needs --by"),
        (("{failed}", "--by", "video", "--out", "x.csv"), "--out needs --csv"),
        (("{failed}/frames",), "no run here; in {failed}/frames; expected a folder with run.json"),
        (
            ("{failed}/episodes.jsonl",),
            "a file of a run; in {failed}/episodes.jsonl; expected the run's folder, {failed}",
        ),
        ((ROOT / "setup.cfg",), f"no run; in {ROOT}/setup.cfg; expected a run's folder, or a board's record (.json)"),
        ((OLD / "benchmark/benchmark.json",), "the record is of another schema"),
    ],
)
def test_what_is_refused(
    runs: dict[str, Path], words: tuple[Any, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert icvos("show", *(str(word).format_map(runs) for word in words)) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"icvos: {says.format_map(runs)}") and line.count("\n") == 1


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs on folds 0 and 1 of a drawn COCO-20i, each by itself, and one on both."""
    root = tmp_path_factory.mktemp("folds")
    annotations = trees.many(("person", "airplane", "bicycle", "bus"), 12)
    trees.coco(root / "coco", annotations, images=12)
    words = ("--train-split", "none", "--shots", 1, "--min-area", 1, "--paper-episodes", 4)
    out = {}
    for name in ("0", "1", "01"):
        chosen = [word for fold in name for word in ("--fold", fold)]
        assert icvos("build-data", "coco-20i", "--coco", root / "coco", *words, *chosen, "--out", root / name) == 0
        out[name] = run(root / name, root / f"run{name}", "histogram")
    return out


def test_the_mean_of_folds(folds: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """That of two runs on a fold each is what one on both has."""
    said = shown(capsys, folds["0"], folds["1"])
    both = json.loads((folds["01"] / "result.json").read_text())["summary"]
    each = [json.loads((folds[name] / "result.json").read_text())["summary"]["mIoU"] for name in "01"]
    assert both["mIoU"] == pytest.approx(sum(each) / 2) and each[0] != each[1]
    (mean,) = (line.split() for line in said.splitlines() if line.split()[:1] == ["mean"])
    assert f"{both['mIoU']:.2f}" in mean and f"{both['FB_IoU']:.2f}" in mean
    for name, value in zip("01", each):
        (line,) = (line for line in said.splitlines() if f"fold {name}" in line)
        assert f"{value:.2f}" in line


def test_what_has_no_mean(folds: dict[str, Path], runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for words, why in (
        ((folds["0"], folds["01"]), "two runs are on the fold 0, "),
        ((folds["0"], runs["images"]), "two runs are on the fold 0, "),
        ((folds["0"], runs["limited"]), "expected runs of one protocol"),
        ((runs["limited"], runs["failed"]), "expected runs of one model"),
        ((runs["limited"], runs["limited"]), "two runs are on the category "),
        ((folds["0"], folds["1"], "--csv"), "--by and --csv are of one run"),
    ):
        assert icvos("show", *words) == 2
        assert why in capsys.readouterr().err, why


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_figures_are_whole_at_any_width(columns: int) -> None:
    """On a terminal names fold; where not even the figures fit, the terminal breaks the line."""
    code = "import sys; from icvos.cli import main; main(sys.argv[1:])"
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "show", str(OLD / "run"), "--by", "episode"],
        cwd=ROOT,
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        env=environment | {"TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(secondary)
    data = b""
    try:
        while part := os.read(primary, 65536):
            data += part
    except OSError:  # the other end was closed
        pass
    os.close(primary)
    assert process.wait(60) == 0
    text = data.decode()
    for row in map(json.loads, (OLD / "run/episodes.jsonl").read_text().splitlines()):
        figures = (row["J"], row["F"], (row["J"] + row["F"]) / 2, row["J_visible"], row["F_visible"])
        line = next(line for line in text.splitlines() if f"{row['J']:.2f}" in line and "frames" not in line)
        assert [word for word in line.split() if "." in word][:5] == [f"{figure:.2f}" for figure in figures]
    assert "…" not in text and "..." not in text
    assert ("tiny__v0__1__d0" in text) == (columns == 120)
