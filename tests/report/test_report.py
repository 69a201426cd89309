"""icvos report and icvos compare: what is drawn of runs, and what is said where nothing can be."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import write_image_benchmark, write_video_benchmark

from icvos import cli
from icvos.benchmark import Benchmark
from icvos.errors import RunError, UsageError
from icvos.evaluation.predictions import FolderPredictions
from icvos.images import read_image
from icvos.masks import write_mask
from icvos.report import chunks
from icvos.report.chunks import shown_frames
from icvos.report.compare import compare, wins
from icvos.report.overlay import COLOURS, PAPER, paint, paint_support, scaled, titled
from icvos.report.pictures import choose, pick_frames
from icvos.report.run import ReportRun, open_run, score_of
from icvos.report.tables import sensitivity, values_over_time


def icvos(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def evaluate(benchmark: Path, out: Path, model: str, *more: str) -> Path:
    assert icvos("evaluate", "--model", model, "--benchmark", benchmark, "--out", out, *more) == 0
    return out


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of videos with runs of two methods, and one of images with a run."""
    root = tmp_path_factory.mktemp("report")
    videos = write_video_benchmark(root / "videos", videos=4, frames=6, draws=2)
    images = write_image_benchmark(root / "images")
    for model in ("histogram", "full"):
        evaluate(videos, root / model, model, "--save-masks")
    evaluate(images, root / "few-shot", "histogram", "--save-masks")
    evaluate(videos, root / "no-masks", "histogram")
    return root


def test_report_writes_everything(world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert icvos("report", world / "histogram", "--out", tmp_path / "r") == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    files = sorted(p.relative_to(tmp_path / "r").as_posix() for p in (tmp_path / "r").rglob("*") if p.is_file())
    assert files == ["contact_sheet.png", "index.html", "support_sensitivity.csv"]
    assert all(str(tmp_path / "r" / name) in shown.out for name in files)
    page = (tmp_path / "r" / "index.html").read_text()
    assert "http:" not in page and "https:" not in page and page.count("data-video=") == 4
    sheet = read_image(tmp_path / "r" / "contact_sheet.png")
    assert sheet.shape[1] > 600 and sheet.std() > 10


def test_an_episode_is_chosen_by_its_categorys_name(world: Path, tmp_path: Path) -> None:
    words = ("--episode", "tiny__v0__person__d1", "--out", tmp_path / "r")
    assert icvos("report", world / "histogram", *words) == 0
    page = (tmp_path / "r/index.html").read_text()
    played = json.loads(re.findall(r"data-video='tiny__v0'>(.*?)</script>", page)[0])
    assert list(played["episodes"]) == ["tiny__v0__1__d1"] and page.count("data-video=") == 1


def test_report_lands_in_the_run_and_the_run_stays_one(world: Path) -> None:
    assert icvos("report", world / "full", "--each", "1") == 0
    assert (world / "full" / "report" / "index.html").is_file()
    evaluate(world / "videos", world / "full", "full", "--save-masks")  # still the same, complete run


def test_image_report(world: Path, tmp_path: Path) -> None:
    assert icvos("report", world / "few-shot", "--out", tmp_path) == 0
    names = {p.name for p in tmp_path.iterdir()}
    assert {"contact_sheet.png", "index.html"} <= names


def test_without_masks_the_rest_is_drawn(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("report", world / "no-masks", "--out", tmp_path) == 0
    assert "--save-masks" in capsys.readouterr().err
    page = (tmp_path / "index.html").read_text()
    assert "Over time" in page and "By category" in page and "data-video=" not in page
    assert not (tmp_path / "contact_sheet.png").exists()
    # Masks that lie elsewhere are as good.
    run = open_run(world / "no-masks", masks=world / "histogram" / "masks")
    assert not run.missing and run.frame_masks(run.episode(next(iter(run.by_id))), 0).predicted.dtype == np.bool_


def test_a_missing_mask_is_said_in_its_place(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(world / "histogram", tmp_path / "run", ignore=shutil.ignore_patterns("report"))
    name = choose(open_run(tmp_path / "run"), 1)["best"][0]
    (tmp_path / "run" / "masks" / name / "00005.png").unlink()
    (tmp_path / "run" / "masks" / name / "00000.png").write_bytes(b"\x89PNG broken")
    assert icvos("report", tmp_path / "run", "--out", tmp_path / "r") == 0
    assert (tmp_path / "r" / "contact_sheet.png").is_file()
    error = capsys.readouterr().err
    assert "00000.png" in error and "Traceback" not in error
    page = (tmp_path / "r" / "index.html").read_text()
    videos = [json.loads(text) for text in re.findall(r"data-video='[^']*'>(.*?)</script>", page)]
    (masks,) = next(each["episodes"][name]["masks"] for each in videos if name in each["episodes"])
    assert [mask is None for mask in masks] == [True, False, False, False, False, True]
    assert "00000.png" in page  # it is said there too
    assert not list((tmp_path / "r").rglob(".*"))


def test_masks_of_the_protocols_size_are_drawn_on_the_frames(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "histogram", tmp_path / "run", ignore=shutil.ignore_patterns("report"))
    run = open_run(tmp_path / "run")
    name = next(iter(run.by_id))
    half = np.zeros((512, 512), np.uint8)
    half[:, 256:] = 1
    write_mask(tmp_path / "run" / "masks" / name / "00000.png", half)
    shown = run.frame_masks(run.episode(name), 0)
    assert shown.predicted.shape == shown.truth.shape == shown.frame.shape[:2]
    assert shown.predicted[:, 26:].all() and not shown.predicted[:, :26].any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "{root}/absent"], "no run here"),
        (["report", "{root}/histogram", "--episode", "tiny__v0__1__d7"], "did you mean"),
        (["report", "{root}/histogram", "--benchmark", "{root}/images"], "another benchmark"),
        (["report", "{root}/histogram", "--benchmark", "{root}/nowhere"], "benchmark not found"),
        (["report", "{root}/histogram", "--masks", "{root}/videos"], "no mask is of this run's episodes"),
        (["compare", "{root}/histogram", "{root}/few-shot"], "differ in their benchmark"),
        (["compare", "{root}/histogram", "{root}/nothing"], "no run here"),
    ],
)
def test_bad_input_is_one_line(
    world: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert icvos(*(argument.format(root=world) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_broken_frame_values_are_refused(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "histogram", tmp_path / "run", ignore=shutil.ignore_patterns("report", "masks"))
    run = open_run(tmp_path / "run")
    name = next(iter(run.by_id))
    path = tmp_path / "run" / "frames" / f"{name}.npz"
    for data in (path.read_bytes()[:200], b"", b"PK\x03\x04 nothing", b"\x93NUMPY\x01\x00"):
        path.write_bytes(data)
        with pytest.raises(RunError, match="cannot be read"):
            values_over_time(run)
    path.unlink()
    assert {name: len(values) for name, values in values_over_time(run)} == {"J": 9, "F": 9}


def test_paint_colours_right_missed_and_wrong() -> None:
    frame = np.full((40, 40, 3), 128, np.uint8)
    truth, predicted = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    truth[:, :20] = True
    predicted[20:] = True
    picture = paint(frame, truth, predicted)
    nearest = {
        name: min(COLOURS, key=lambda c: np.abs(picture[at].astype(int) - COLOURS[c]).sum())
        for name, at in {"right": (30, 5), "missed": (5, 5), "wrong": (30, 35)}.items()
    }
    assert nearest == {"right": "right", "missed": "missed", "wrong": "wrong"}
    assert (picture[5, 35] == picture[5, 35, 0]).all()  # untouched background is grey
    ignored = paint(frame, truth, predicted, ignore=np.ones((40, 40), bool))
    assert (ignored[30, 35] == ignored[5, 35]).all() and (frame == 128).all()


def test_support_is_lit_and_the_rest_dimmed() -> None:
    image = np.full((30, 30, 3), 200, np.uint8)
    mask = np.zeros((30, 30), bool)
    mask[10:20, 10:20] = True
    shown = paint_support(image, mask)
    assert (
        (shown[15, 15] == 200).all()
        and (shown[2, 2] < 150).all()
        and (shown[9, 12] == 255).all()
        and (shown[8, 12] == 0).all()
    )


@pytest.mark.parametrize(("shape", "size"), [((10, 400), (2, 64)), ((400, 10), (48, 1)), ((1, 1), (48, 48))])
def test_a_picture_keeps_its_shape(shape: tuple[int, int], size: tuple[int, int]) -> None:
    assert scaled(np.zeros((*shape, 3), np.uint8), 48, 64).shape[:2] == size


@pytest.mark.parametrize("text", ["short", "words " * 30, "w" * 300, "", "\u4f60\u597d " * 40])
def test_a_caption_is_as_wide_as_its_picture(text: str) -> None:
    picture = titled(np.zeros((20, 90, 3), np.uint8), text)
    assert picture.shape[1] == 90 and 20 < picture.shape[0] < 20 + 3 * 20
    assert (picture[20:, -1] == PAPER).all()  # nothing is cut in half at the edge


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3]), (10, [0, 3, 6, 9]), (101, [0, 33, 67, 100])],
)
def test_pick_frames(count: int, expected: list[int]) -> None:
    assert pick_frames(count) == expected


def fake(values: dict[str, float], tmp_path: Path) -> ReportRun:
    records = tuple({"id": name, "video": name, "J": value, "F": value} for name, value in values.items())
    return ReportRun({}, {}, records, "not added", tmp_path)


def test_choose_takes_no_episode_twice(tmp_path: Path) -> None:
    picks = choose(fake({f"e{i}": float(i) for i in range(9)}, tmp_path), 2)
    assert picks == {"best": ["e8", "e7"], "median": ["e5", "e4"], "worst": ["e1", "e0"]}
    for count in range(4):
        few = choose(fake({f"e{i}": float(i) for i in range(count)}, tmp_path), 2)
        names = [name for names in few.values() for name in names]
        assert len(names) == len(set(names)) == min(count, 3)


def test_score_of() -> None:
    assert score_of({"J": 40.0, "F": 60.0}) == 50.0
    assert score_of({"J": 40.0, "F": 60.0, "error": "x"}) == 0.0
    assert score_of({"inter_fg": 1, "union_fg": 4}) == 25.0
    assert score_of({"inter_fg": 0, "union_fg": 0}) == 100.0


def test_sensitivity_ranks_pairs_by_spread(tmp_path: Path) -> None:
    rows = [("v", 0, 10.0), ("v", 1, 30.0), ("w", 0, 50.0), ("w", 1, 55.0), ("x", 0, 1.0)]
    records = tuple(
        {"id": f"{video}{draw}", "video": video, "category_name": "dog", "draw": draw, "J": score, "F": score}
        for video, draw, score in rows
    )
    table = sensitivity(ReportRun({}, {}, records, "not added", tmp_path), score_of)
    assert [(row["video"], row["spread"], row["best_draw"], row["worst_draw"]) for row in table] == [
        ("v", 20.0, 1, 0),
        ("w", 5.0, 1, 0),
    ]
    assert table[0]["deviation"] == pytest.approx(np.std([10, 30], ddof=1))


def test_compare_agrees_with_the_results(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = open_run(world / "histogram"), open_run(world / "full")
    result = compare(a, b, replicates=200)
    expected = a.result["summary"]["J&F"] - b.result["summary"]["J&F"]
    assert result.difference == pytest.approx(expected, abs=1e-9)
    assert {m[0]: m[3] for m in result.metrics}["J&F"] == pytest.approx(expected, abs=1e-9)
    assert result.interval is None and "too few" in result.verdict  # four videos
    turned = compare(b, a, replicates=200)
    assert turned.difference == pytest.approx(-expected, abs=1e-9)
    assert wins(turned.by_video) == wins(result.by_video)[1::-1] + wins(result.by_video)[2:]
    same = compare(a, a, replicates=200)
    assert same.difference == 0 and wins(same.by_video) == (0, 0, 4)

    capsys.readouterr()
    assert icvos("compare", world / "histogram", world / "full", "--out", tmp_path / "c") == 0
    assert f"{expected:+.2f}" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"episodes.csv", "index.html", "sheet.png"}
    with (tmp_path / "c" / "episodes.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(a.records) and abs(float(rows[0]["difference"])) >= abs(float(rows[-1]["difference"]))


def test_compare_images(world: Path, tmp_path: Path) -> None:
    assert icvos("compare", world / "few-shot", world / "few-shot", "--out", tmp_path) == 0
    assert (tmp_path / "sheet.png").is_file()


def test_compare_refuses_runs_of_other_episodes(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "full", tmp_path / "run", ignore=shutil.ignore_patterns("report", "masks"))
    path = tmp_path / "run" / "episodes.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    dropped = json.loads(lines[-1])["id"]
    path.write_text("".join(line for line in lines if json.loads(line)["id"] != dropped))
    with pytest.raises(UsageError, match="in one run alone"):
        compare(open_run(world / "histogram"), open_run(tmp_path / "run"))


def test_hostile_names_do_not_enter_the_page(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "no-masks", tmp_path / "run")
    path = tmp_path / "run" / "result.json"
    result = json.loads(path.read_text())
    result["model"]["name"] = "<script>alert(1)</script>"
    path.write_text(json.dumps(result))
    assert icvos("report", tmp_path / "run") == 0
    assert "<script>alert" not in (tmp_path / "run" / "report" / "index.html").read_text()


def test_a_long_video_shows_one_frame_in_some(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(world / "histogram")
    episode = run.episode(next(iter(run.by_id)))
    scored = run.scored_frames(episode)
    for most, step in ((6, 1), (4, 2), (1, 6)):
        monkeypatch.setattr(chunks, "MOST_FRAMES", most)
        assert list(shown_frames(run, episode)) == list(scored)[::step]


def test_frames_and_masks_of_an_episode_are_listed_once(world: Path, tmp_path: Path, monkeypatch) -> None:
    listed: list[str] = []
    for owner, method in ((FolderPredictions, "frames"), (Benchmark, "frame_paths")):
        real = getattr(owner, method)
        monkeypatch.setattr(owner, method, lambda *given, m=method, real=real: listed.append(m) or real(*given))
    chunks._opened.cache_clear()
    place = (world / "histogram", None, None)
    chunks.write_chunks([place], {"tiny__v1": ["tiny__v1__1__d0"]}, tmp_path)
    # Read, and held against the manifest.
    assert listed.count("frames") == 1 and listed.count("frame_paths") <= 2
