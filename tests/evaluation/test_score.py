"""icvos score: every form of prediction gives the same numbers; every bad one gets one line and exit 2."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared_data import shared
from tiny import write_image_benchmark, write_video_benchmark

from icvos import cli
from icvos.benchmark import load_benchmark
from icvos.evaluation.predictions import open_predictions
from icvos.images import nearest_resize
from icvos.leaderboard.marks import marks
from icvos.leaderboard.table import build_tables
from icvos.masks import encode_mask, read_mask, write_mask
from icvos.metrics import jf
from icvos.runs.run import Run

SIZE = (30, 44)


def score(*arguments: object) -> int:
    """Run ``icvos score`` in this process and return its exit status."""
    try:
        cli.main(["score", *map(str, arguments)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def result(out: Path) -> dict:
    return json.loads((out / "result.json").read_text())


def labels(index: int, shift: int = 0) -> np.ndarray:
    """Two objects that move; the second is gone on frame 3."""
    out = np.zeros(SIZE, np.uint8)
    out[5:15, 4 + index + shift : 16 + index + shift] = 1
    if index != 3:
        out[18 + shift : 27, 20:33] = 2
    return out


@pytest.fixture
def sequences(tmp_path: Path) -> tuple[Path, Path]:
    """Ground truth and predictions of two sequences of six frames."""
    for root, shift in (("gt", 0), ("p", 1)):
        for name, offset in (("bike", 0), ("cat", 2)):
            for index in range(6):
                write_mask(tmp_path / root / name / f"{index:05d}.png", labels(index, shift + (offset if shift else 0)))
    return tmp_path / "gt", tmp_path / "p"


@pytest.fixture(scope="module")
def tiny_benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video_benchmark(tmp_path_factory.mktemp("tiny") / "b", frames=4)


def predict(
    benchmark: Path, out: Path, change: Callable[[np.ndarray], np.ndarray] = lambda m: m, protocol: str | None = None
) -> Path:
    """Write the ground truth, changed, as the predictions of all episodes; of images, those of a protocol."""
    opened = load_benchmark(benchmark)
    for episode in opened.episodes:
        if opened.kind == "image":
            if episode.protocol == protocol:
                write_mask(out / episode.id / "00000.png", change(opened.query(episode)[1].astype(np.uint8)))
            continue
        for index in range(opened.videos[episode.video].frames):
            mask = opened.annotation(episode.video, episode.category, index)
            write_mask(out / episode.id / f"{index:05d}.png", change(mask.astype(np.uint8)))
    return out


def pack(folder: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        for path in sorted(folder.rglob("*.png")):
            stream.write(path, prefix + path.relative_to(folder).as_posix())
    return archive


def encode(mask: np.ndarray) -> dict:
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode()}


# ----------------------------------------------------------------------------------------------------- good input


def test_davis_numbers_are_those_of_the_frames(sequences: tuple[Path, Path], tmp_path: Path) -> None:
    truth, given = sequences
    assert score(given, "--ground-truth", truth, "--out", tmp_path / "r") == 0
    expected = []
    for name in ("bike", "cat"):
        for number in (1, 2):
            frames = [f"{index:05d}.png" for index in range(1, 5)]  # first and last are dropped
            pairs = [(read_mask(given / name / f) == number, read_mask(truth / name / f) == number) for f in frames]
            expected.append(np.mean([jf(*pair) for pair in pairs], axis=0) * 100)
    summary = result(tmp_path / "r")["summary"]
    assert (summary["J"], summary["F"]) == pytest.approx(tuple(np.mean(expected, axis=0)), abs=1e-12)
    assert summary["episodes"] == 4 and summary["failed"] == 0
    assert set(os.listdir(tmp_path / "r/frames")) == {f"{n}__{k}.npz" for n in ("bike", "cat") for k in (1, 2)}


def test_all_forms_and_worker_counts_give_the_same_result(sequences: tuple[Path, Path], tmp_path: Path) -> None:
    truth, given = sequences
    runs: dict[str, dict] = {"bike": {}, "cat": {}}
    for path in sorted(given.rglob("*.png")):
        runs[path.parent.name][path.stem] = {str(k): encode(read_mask(path) == k) for k in (1, 2)}
    (tmp_path / "j").mkdir()
    (tmp_path / "j/p.json").write_text(json.dumps(runs))
    (tmp_path / "z").mkdir()
    (tmp_path / "n").mkdir()
    forms = {
        "folder": (given, 1),
        "workers": (given, 2),
        "zip": (pack(given, tmp_path / "z/p.zip"), 1),
        "nested": (pack(given, tmp_path / "n/p.zip", "all/"), 2),
        "json": (tmp_path / "j/p.json", 1),
    }
    results = set()
    for form, (where, workers) in forms.items():
        out = tmp_path / f"run-{form}"
        assert score(where, "--ground-truth", truth, "--out", out, "--workers", workers, "--model", "m") == 0
        results.add((out / "result.json").read_bytes())
    assert len(results) == 1


@pytest.mark.parametrize("protocol", ["davis-2017", "native"])
def test_ground_truth_against_itself_is_100(sequences: tuple[Path, Path], tmp_path: Path, protocol: str) -> None:
    truth, _ = sequences
    assert score(truth, "--ground-truth", truth, "--protocol", protocol, "--out", tmp_path / "r") == 0
    summary = result(tmp_path / "r")["summary"]
    assert summary["J"] == summary["F"] == summary["J&F"] == 100


@pytest.mark.parametrize("protocol", ["native", "paper"])
def test_benchmark_against_itself_is_100(tiny_benchmark: Path, tmp_path: Path, protocol: str) -> None:
    given = predict(tiny_benchmark, tmp_path / "p", lambda mask: mask * 255)  # 0 and 255 are as good as 0 and 1
    assert score(given, "--benchmark", tiny_benchmark, "--protocol", protocol, "--out", tmp_path / "r") == 0
    summary = result(tmp_path / "r")["summary"]
    assert summary["J"] == summary["F"] == summary["absent_correct"] == 100
    assert result(tmp_path / "r")["protocol"]["resized_masks"] == (True if protocol == "paper" else None)


@pytest.mark.parametrize("protocol", ["fss-native", "fss-paper"])
def test_images_against_themselves_are_100(tmp_path: Path, protocol: str) -> None:
    benchmark = write_image_benchmark(tmp_path / "b")
    given = predict(benchmark, tmp_path / "p", protocol=protocol)
    assert score(given, "--benchmark", benchmark, "--protocol", protocol, "--out", tmp_path / "r") == 0
    summary = result(tmp_path / "r")["summary"]
    assert summary["mIoU_drawn"] == summary["FB_IoU"] == summary["mean_IoU"] == 100
    # Fold 0 has two categories, and no episode is of the second; fold 1 has one.
    assert summary["mIoU_undrawn_as_0"] == 75 and summary["mIoU"] == (75 if protocol == "fss-paper" else 100)
    assert result(tmp_path / "r")["protocol"]["resized_masks"] == (True if protocol == "fss-paper" else None)


def test_masks_of_queries_are_recorded_as_resized(tmp_path: Path) -> None:
    """As those of videos: by one mask of the query's own size, not by those that come as the protocol wants them."""
    benchmark = write_image_benchmark(tmp_path / "b")
    shifted = predict(benchmark, tmp_path / "own", lambda m: np.roll(m, 2, axis=0), "fss-paper")
    large = predict(
        benchmark, tmp_path / "512", lambda m: nearest_resize(np.roll(m, 2, axis=0), (512, 512)), "fss-paper"
    )
    mixed = tmp_path / "mixed"
    shutil.copytree(large, mixed)
    shutil.copy(shifted / "q1__1__f0__d0/00000.png", mixed / "q1__1__f0__d0/00000.png")
    runs: dict[str, dict] = {"q1__1__f0__d0": {"00000": None}}  # nothing predicted has no size
    for path in sorted(large.rglob("*.png")):
        runs.setdefault(path.parent.name, {"00000": encode(read_mask(path))})
    (tmp_path / "p.json").write_text(json.dumps(runs))
    found = {}
    for where in (shifted, large, mixed, tmp_path / "p.json"):
        out = tmp_path / f"r-{where.stem}"
        assert score(where, "--benchmark", benchmark, "--protocol", "fss-paper", "--out", out) == 0
        found[where.stem] = result(out)
    assert found["own"]["summary"] == found["512"]["summary"] == found["mixed"]["summary"]
    assert {name: one["protocol"]["resized_masks"] for name, one in found.items()} == {
        "own": True,
        "512": None,
        "mixed": True,
        "p": None,
    }


@pytest.mark.parametrize(
    ("protocol", "size", "expected"),
    [
        ("fss-native", (512, 512), "expected 40x52"),  # the other protocol's
        ("fss-native", (52, 40), "expected 40x52"),  # turned
        ("fss-paper", (52, 40), "expected 40x52 or 512x512"),
        ("fss-paper", (9, 9), "expected 40x52 or 512x512"),
    ],
)
def test_masks_of_queries_of_another_size_are_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str, size: tuple[int, int], expected: str
) -> None:
    benchmark = write_image_benchmark(tmp_path / "b")
    given = predict(benchmark, tmp_path / "p", protocol=protocol)
    write_mask(given / "q3__2__f1__d0/00000.png", np.zeros(size, np.uint8))
    assert score(given, "--benchmark", benchmark, "--protocol", protocol, "--out", tmp_path / "r") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and f"mask is {size[0]}x{size[1]} (HxW)" in lines[0] and expected in lines[0], lines
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("protocol", ["native", "fss-native"])
def test_frames_of_episodes_are_matched_by_number(
    tiny_benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    """A frame of the same text comes first: of 0 and 00000, 0 is another that is not known."""
    benchmark = tiny_benchmark if protocol == "native" else write_image_benchmark(tmp_path / "b")
    given = predict(benchmark, tmp_path / "p", protocol=protocol)
    for path in sorted(given.rglob("*.png")):
        path.rename(path.with_name(f"{int(path.stem)}.png"))
    for where in (given, pack(given, tmp_path / "p.zip")):
        out = tmp_path / f"r{where.suffix}"
        assert score(where, "--benchmark", benchmark, "--protocol", protocol, "--out", out) == 0
        summary = result(out)["summary"]
        assert summary["J&F" if protocol == "native" else "FB_IoU"] == 100
    shutil.copy(path.with_name("0.png"), path.with_name("00000.png"))
    assert score(given, "--benchmark", benchmark, "--protocol", protocol, "--out", tmp_path / "x") == 2
    assert "1 frame is unknown: 0; in" in capsys.readouterr().err


def test_benchmark_numbers_with_workers(tiny_benchmark: Path, tmp_path: Path) -> None:
    given = predict(tiny_benchmark, tmp_path / "p", lambda mask: np.roll(mask, 3, axis=1))
    for workers in (1, 2):
        assert score(given, "--benchmark", tiny_benchmark, "--out", tmp_path / f"r{workers}", "--workers", workers) == 0
    assert (tmp_path / "r1/result.json").read_bytes() == (tmp_path / "r2/result.json").read_bytes()
    opened = load_benchmark(tiny_benchmark)
    values = []
    for episode in opened.episodes:
        truth = [opened.annotation(episode.video, episode.category, index) > 0 for index in range(4)]
        values.append(np.mean([jf(np.roll(t, 3, axis=1), t) for t in truth], axis=0) * 100)
    summary = result(tmp_path / "r1")["summary"]
    assert (summary["J"], summary["F"]) == pytest.approx(tuple(np.mean(values, axis=0)), abs=1e-9)


def test_the_benchmark_of_scored_masks_is_found_again(
    tiny_benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = predict(tiny_benchmark, tmp_path / "p", lambda mask: mask)
    run, packed = tmp_path / "r", tmp_path / "m.zip"
    assert score(given, "--benchmark", tiny_benchmark, "--out", run) == 0
    for words in (
        ("pack", run, "--predictions", given, "--out", packed),
        ("check", run, "--benchmark", tiny_benchmark),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(["submit", *map(str, words)])
        assert not stop.value.code
    assert f"next: icvos submit check {packed} --benchmark {tiny_benchmark.resolve()}\n" in capsys.readouterr().out
    with zipfile.ZipFile(packed) as archive:
        assert str(tiny_benchmark).encode() not in archive.read("run.json")


@pytest.mark.parametrize("workers", (1, 2))
def test_ground_truth_that_changed_is_not_scored(
    tiny_benchmark: Path, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks written over the ground truth would score 100 under the benchmark's good name."""
    changed = tmp_path / "changed"
    shutil.copytree(tiny_benchmark, changed)
    predictions = predict(tiny_benchmark, tmp_path / "p", lambda m: np.zeros_like(m))
    path = next(p for p in sorted(changed.glob("videos/*/Annotations/*/*.png")) if read_mask(p).any())
    write_mask(path, np.zeros_like(read_mask(path)))
    assert score(predictions, "--benchmark", changed, "--out", tmp_path / "r", "--workers", workers) == 2
    assert f"file changed since the benchmark was built; in {path}" in capsys.readouterr().err
    table = changed / "episodes.csv"
    table.write_text(table.read_text().replace("\n", "\n\n", 1))
    assert score(predictions, "--benchmark", changed, "--out", tmp_path / "t") == 2
    assert "episodes.csv" in capsys.readouterr().err


def _broken_pool(*_: object) -> object:
    raise BrokenProcessPool


def test_a_process_that_died_gets_one_line(
    sequences: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icvos.evaluation.score.in_order", _broken_pool)
    truth, predictions = sequences
    assert score(predictions, "--ground-truth", truth, "--out", tmp_path / "r", "--workers", 2) != 0
    assert "a scoring process died" in capsys.readouterr().err


def test_paper_takes_masks_of_both_sizes(tiny_benchmark: Path, tmp_path: Path) -> None:
    shifted = predict(tiny_benchmark, tmp_path / "own", lambda mask: np.roll(mask, 2, axis=0))
    large = predict(tiny_benchmark, tmp_path / "512", lambda m: nearest_resize(np.roll(m, 2, axis=0), (512, 512)))
    for where, out in ((shifted, "a"), (large, "b")):
        assert score(where, "--benchmark", tiny_benchmark, "--protocol", "paper", "--out", tmp_path / out) == 0
    assert result(tmp_path / "a")["summary"] == result(tmp_path / "b")["summary"]


def test_other_masks_are_scored_anew(sequences: tuple[Path, Path], tmp_path: Path) -> None:
    truth, given = sequences
    assert score(given, "--ground-truth", truth, "--out", tmp_path / "r") == 0
    before = result(tmp_path / "r")["summary"]["J"]
    write_mask(given / "cat/00002.png", labels(2))
    assert score(given, "--ground-truth", truth, "--out", tmp_path / "r") == 0
    assert result(tmp_path / "r")["summary"]["J"] > before
    assert (tmp_path / "r.old1/result.json").exists()


def test_void_is_background_and_davis_root_is_seen_through(sequences: tuple[Path, Path], tmp_path: Path) -> None:
    truth, given = sequences
    (tmp_path / "d/Annotations").mkdir(parents=True)
    truth.rename(tmp_path / "d/Annotations/480p")
    assert score(given, "--ground-truth", tmp_path / "d", "--out", tmp_path / "a") == 0
    for path in (tmp_path / "d").rglob("*.png"):
        mask = read_mask(path)
        mask[-2:] = 255
        write_mask(path, mask)
    assert score(given, "--ground-truth", tmp_path / "d", "--out", tmp_path / "b") == 0
    assert result(tmp_path / "a")["summary"] == result(tmp_path / "b")["summary"]


def test_official_numbers_to_every_digit(tmp_path: Path) -> None:
    root = shared("real", "osvos")
    arguments = (root / "predictions", "--ground-truth", root / "ground_truth", "--protocol", "davis-2017")
    assert score(*arguments, "--out", tmp_path / "r") == 0
    videos = result(tmp_path / "r")["per_video"]
    rows = [line.split("\t") for line in (root / "expected.tsv").read_text().splitlines()[1:]]
    assert len(rows) == len(videos) == 6
    for name, _, j, f in rows:
        assert (f"{videos[name]['J'] / 100:.4f}", f"{videos[name]['F'] / 100:.4f}") == (j, f)


def test_no_torch(sequences: tuple[Path, Path], tmp_path: Path) -> None:
    # A process of its own: here torch is loaded already.
    truth, given = sequences
    code = (
        "import sys, cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules"
    )
    arguments = ["score", str(given), "--ground-truth", str(truth), "--out", str(tmp_path / "r")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=60, capture_output=True)


# ------------------------------------------------------------------------------- which objects, frames, sequences


def write_all(root: Path, frames: dict[str, list[np.ndarray]], *, names: str = "{:05d}", colours: bool = False) -> Path:
    for name, masks in frames.items():
        for index, mask in enumerate(masks):
            write_mask(root / name / f"{names.format(index)}.png", mask.astype(np.uint8), colours=colours)
    return root


def square(number: int, shift: int = 0, side: int = 12) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[4 : 4 + side, 4 + shift : 4 + shift + side] = number
    return mask


def means(truth: list[np.ndarray], given: list[np.ndarray], ids: tuple[int, ...]) -> float:
    """J&F over objects and frames, by the metric itself."""
    return 100 * float(np.mean([np.mean(jf(g == k, t == k)) for k in ids for t, g in zip(truth, given)]))


def scored(predictions: Path, truth: Path, out: Path, *words: object) -> dict:
    assert score(predictions, "--ground-truth", truth, "--out", out, *words) == 0
    return result(out)


def test_ids_with_a_gap_make_no_object_between(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = [square(1) + square(3, 20) for _ in range(5)]
    given = [square(1, 3) + square(3, 26) for _ in range(5)]
    where = write_all(tmp_path / "p", {"cat": given}), write_all(tmp_path / "gt", {"cat": truth})
    for protocol, frames in (("native", slice(None)), ("davis-2017", slice(1, -1))):
        summary = scored(*where, tmp_path / protocol, "--protocol", protocol)["summary"]
        assert summary["episodes"] == 2
        assert summary["J&F"] == pytest.approx(means(truth[frames], given[frames], (1, 3)), abs=1e-9)
        assert "2 objects" in capsys.readouterr().out


def test_an_object_that_comes_later_is_scored_where_all_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = [square(1) + (square(2, 20) if index > 1 else 0) for index in range(5)]
    given = [square(1) for _ in range(5)]
    where = write_all(tmp_path / "p", {"cat": given}), write_all(tmp_path / "gt", {"cat": truth})
    native = scored(*where, tmp_path / "a", "--protocol", "native")
    assert native["summary"]["J&F"] == pytest.approx(means(truth, given, (1, 2)), abs=1e-9)
    assert native["summary"]["J&F"] == pytest.approx(70)
    assert scored(*where, tmp_path / "b", "--protocol", "davis-2017")["summary"]["J&F"] == 100
    all_ids = scored(*where, tmp_path / "c", "--protocol", "davis-2017", "--objects", "all")["summary"]
    assert all_ids["J&F"] == pytest.approx(means(truth[1:-1], given[1:-1], (1, 2)), abs=1e-9)
    capsys.readouterr()
    both = write_all(tmp_path / "both", {"cat": truth})
    assert scored(both, where[1], tmp_path / "d", "--protocol", "native")["summary"]["J&F"] == 100
    assert score(both, "--ground-truth", where[1], "--out", tmp_path / "e") == 2
    assert "mask holds the id 2" in capsys.readouterr().err


def test_masks_that_are_all_empty_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_all(tmp_path / "gt", {"cat": [square(1)] * 4})
    empty = write_all(tmp_path / "p", {"cat": [np.zeros(SIZE, np.uint8)] * 4})
    scored(empty, truth, tmp_path / "a")
    assert "p: no mask of any episode meets its ground truth; are they all empty?" in capsys.readouterr().out
    write_mask(empty / "cat/00002.png", square(1))
    scored(empty, truth, tmp_path / "b")
    assert "are they all empty" not in capsys.readouterr().out


def test_an_empty_first_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = [np.zeros(SIZE, np.uint8), *(square(1) for _ in range(4))]
    truth = write_all(tmp_path / "gt", {"cat": late, "dog": [square(1) for _ in range(5)]})
    assert scored(truth, truth, tmp_path / "a", "--protocol", "native")["summary"]["episodes"] == 2
    assert scored(truth, truth, tmp_path / "b")["summary"]["episodes"] == 1
    assert "nothing on the first frame of cat: not scored; --objects all scores it" in capsys.readouterr().out
    shutil.rmtree(truth / "dog")
    assert score(truth, "--ground-truth", truth, "--out", tmp_path / "c") == 2
    assert "score all ids with --objects all" in capsys.readouterr().err


@pytest.mark.parametrize("side", ["predictions", "truth", "both"])
def test_masks_of_0_and_255_are_one_object(tmp_path: Path, side: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As DAVIS-2016's; the same picture with 0 and 1 scores the same."""
    truth, given = [square(1) for _ in range(5)], [square(1, 3) for _ in range(5)]
    wide = {"predictions": (1, 255), "truth": (255, 1), "both": (255, 255)}[side]
    truths = write_all(tmp_path / "gt", {"cat": [mask * wide[0] for mask in truth]})
    masks = write_all(tmp_path / "p", {"cat": [mask * wide[1] for mask in given]})
    assert scored(masks, truths, tmp_path / "r", "--protocol", "native")["summary"]["J&F"] == pytest.approx(
        means(truth, given, (1,)), abs=1e-9
    )
    text = capsys.readouterr().out
    assert text.count("masks of 0 and 255 are read as one object, in cat") == (2 if side == "both" else 1)
    packed = pack(masks, tmp_path / "p.zip")
    again = scored(packed, truths, tmp_path / "z", "--protocol", "native", "--model", "m")["summary"]
    assert again["J&F"] == pytest.approx(means(truth, given, (1,)), abs=1e-9)


def test_names_of_any_language(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["собака 1", "my cat", "[red]犬", "my_u20_cat"]
    truth = write_all(tmp_path / "gt", {name: [square(1)] * 4 for name in names})
    for number, where in enumerate((truth, pack(truth, tmp_path / "p.zip"))):
        got = scored(where, truth, tmp_path / f"r{number}", "--model", "мой метод [bold]")
        assert got["summary"]["J&F"] == 100 and set(got["per_video"]) == set(names)
        assert "мой метод [bold]" in capsys.readouterr().out
        again = scored(where, truth, tmp_path / f"r{number}", "--model", "мой метод [bold]")  # goes on where it was
        assert again == got
    for words in (
        ["report", tmp_path / "r0", "--out", tmp_path / "page"],
        ["compare", tmp_path / "r0", tmp_path / "r1"],
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(word) for word in words])
        assert not stop.value.code, capsys.readouterr().err


def test_a_mask_of_one_bit_is_as_good(tmp_path: Path) -> None:
    truth = write_all(tmp_path / "gt", {"cat": [square(1) for _ in range(3)]})
    (tmp_path / "p/cat").mkdir(parents=True)
    for index in range(3):
        Image.fromarray(square(1) > 0).save(tmp_path / f"p/cat/{index:05d}.png", bits=1)
    assert scored(tmp_path / "p", truth, tmp_path / "r", "--protocol", "native")["summary"]["J&F"] == 100


def test_255_of_a_palette_is_void_and_a_frame_that_contradicts_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [square(255) + square(1, 20) for _ in range(5)]
    truth = write_all(tmp_path / "gt", {"cat": frames}, colours=True)
    given = write_all(tmp_path / "p", {"cat": [square(1, 20) for _ in range(5)]})
    assert scored(given, truth, tmp_path / "a", "--protocol", "native")["summary"]["J&F"] == 100
    only_void = write_all(tmp_path / "v", {"cat": [square(255), *frames[1:]]}, colours=True)
    assert scored(given, only_void, tmp_path / "b", "--protocol", "native")["summary"]["episodes"] == 1
    capsys.readouterr()
    odd = write_all(tmp_path / "odd", {"cat": [square(255), square(255), square(7), square(255), square(255)]})
    assert score(odd, "--ground-truth", truth, "--out", tmp_path / "c", "--protocol", "native") == 2
    line = capsys.readouterr().err
    assert "mask holds the value 7" in line and "cat/00002.png; expected 0 and 255" in line


@pytest.mark.parametrize("side", ["predictions", "truth"])
def test_ids_first_and_0_and_255_later_are_refused(
    tmp_path: Path, side: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frame 0 copied from the ground truth, the others a network's own: 255 would be void in all of them."""
    ids, mixed = [square(1)] * 5, [square(1), *[square(255)] * 4]
    truth = write_all(tmp_path / "gt", {"cat": mixed if side == "truth" else ids})
    given = write_all(tmp_path / "p", {"cat": ids if side == "truth" else mixed})
    assert score(given, "--ground-truth", truth, "--out", tmp_path / "r", "--protocol", "native") == 2
    line = capsys.readouterr().err
    assert "mask holds 0 and 255 alone" in line and "cat/00001.png; expected object ids" in line


def test_predictions_whose_palette_makes_all_void_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_all(tmp_path / "gt", {"cat": [square(1)] * 5, "dog": [square(1)] * 5})
    given = write_all(tmp_path / "p", {"cat": [square(1)] * 5})
    write_all(given, {"dog": [square(255)] * 5}, colours=True)
    assert scored(given, truth, tmp_path / "r", "--protocol", "native")["summary"]["J"] == 50
    assert "predictions: masks of 0 and 255 have a palette, where 255 is void, in dog" in capsys.readouterr().out


def test_an_id_of_later_frames_names_the_option_that_scores_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = [square(1), *[square(1) + square(2, 24)] * 4]
    truth = write_all(tmp_path / "gt", {"cat": masks})
    assert score(truth, "--ground-truth", truth, "--out", tmp_path / "r") == 2
    assert "mask holds the id 2" in (line := capsys.readouterr().err) and "--objects all" in line
    assert scored(truth, truth, tmp_path / "all", "--objects", "all")["summary"]["J&F"] == 100


@pytest.mark.parametrize("stem", ["{:05d}", "frame_{:05d}"])
@pytest.mark.parametrize("annotated", [(0,), (0, 5, 10)])
def test_dense_predictions_of_sparse_truth_of_any_stem(tmp_path: Path, stem: str, annotated: tuple[int, ...]) -> None:
    masks = [square(1, shift) for shift in range(16)]
    given = write_all(tmp_path / "p", {"cat": masks}, names=stem)
    truth = write_all(tmp_path / "gt", {"cat": masks}, names=stem)
    for index in set(range(16)) - set(annotated):
        (truth / "cat" / f"{stem.format(index)}.png").unlink()
    result = scored(given, truth, tmp_path / "r", "--protocol", "native")
    assert result["summary"]["J&F"] == 100 and result["per_video"]["cat"]["J"] == 100


def test_the_list_of_a_split_is_that_of_the_latest_year(tmp_path: Path) -> None:
    truth = write_all(tmp_path / "D/Annotations/480p", {name: [square(1)] * 4 for name in ("a", "b")})
    for year, names in (("2016", "a\n"), ("2017", "a\nb\n"), ("480p", "a\n")):
        (tmp_path / "D/ImageSets" / year).mkdir(parents=True)
        (tmp_path / "D/ImageSets" / year / "val.txt").write_text(names)
    result = scored(truth, tmp_path / "D", tmp_path / "r", "--split", "val", "--protocol", "native")
    assert set(result["per_video"]) == {"a", "b"}


def test_names_in_either_unicode_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list that was typed elsewhere may write é as two letters."""
    truth = write_all(tmp_path / "gt", {"\u00e9t\u00e9": [square(1)] * 4, "b": [square(1)] * 4})
    result = scored(truth, truth, tmp_path / "r", "--sequences", "e\u0301te\u0301", "--protocol", "native")
    assert set(result["per_video"]) == {"\u00e9t\u00e9"}
    given = write_all(tmp_path / "p", {"e\u0301te\u0301": [square(1)] * 4, "b": [square(1)] * 4})
    assert score(given, "--ground-truth", truth, "--out", tmp_path / "x") == 2
    assert "rename folders: the letters are the same, but composed in another way" in capsys.readouterr().err


def test_a_name_of_several_lines_is_refused_before_anything_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_all(tmp_path / "gt", {"a\tb": [square(1)] * 4})
    assert score(truth, "--ground-truth", truth, "--out", tmp_path / "r") == 2
    assert "the name 'a\\tb' holds control characters" in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_frames_are_matched_by_name_or_number_never_by_position(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sorted as text, 10 comes before 2."""
    masks = [square(1, shift) for shift in range(12)]
    truth = write_all(tmp_path / "gt", {"cat": masks})
    short = write_all(tmp_path / "p", {"cat": masks}, names="{}")
    for number, (predicted, root) in enumerate(((short, truth), (truth, short), (short, short))):
        for protocol in ("native", "davis-2017"):
            out = tmp_path / f"r{number}{protocol}"
            assert scored(predicted, root, out, "--protocol", protocol)["summary"]["J&F"] == 100
    frames = json.loads((tmp_path / "r2davis-2017/episodes.jsonl").read_text())["frames"]
    assert frames == 10
    # davis-2017 drops the first and the last frame, which are those of the least and the greatest number.
    ends = [square(1, 30), *masks[1:-1], square(1, 30)]
    for number, names in enumerate(("{}", "{:05d}")):
        given = write_all(tmp_path / f"ends{number}", {"cat": ends}, names=names)
        for other, root in enumerate((truth, short)):
            assert scored(given, root, tmp_path / f"e{number}{other}")["summary"]["J&F"] == 100
    (short / "cat/0.png").rename(short / "cat/first.png")
    assert score(short, "--ground-truth", truth, "--out", tmp_path / "x", "--protocol", "native") == 2
    assert "1 of 12 frames are missing: 00000" in capsys.readouterr().err
    (short / "cat/first.png").rename(short / "cat/12.png")
    assert score(short, "--ground-truth", truth, "--out", tmp_path / "x") == 2  # davis-2017 does not score frame 0
    assert "of other numbers: 12; in" in capsys.readouterr().err


def test_sparse_ground_truth_against_dense_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dense = write_all(tmp_path / "p", {"cat": [square(1, index) for index in range(23)]})
    for index in range(0, 23, 5):
        write_mask(tmp_path / "gt/cat" / f"{index:05d}.png", square(1, index))
    assert scored(dense, tmp_path / "gt", tmp_path / "r", "--protocol", "native")["summary"]["J&F"] == 100
    assert "predicted frames without ground truth are not scored, in cat" in capsys.readouterr().out
    write_mask(dense / "cat/00400.png", square(1))
    assert score(dense, "--ground-truth", tmp_path / "gt", "--out", tmp_path / "s", "--protocol", "native") == 2
    assert "not in the ground truth: " in capsys.readouterr().err


@pytest.fixture
def davis(tmp_path: Path) -> tuple[Path, Path]:
    """A DAVIS root of four sequences, two of them val, and predictions of val and of one more."""
    root, masks = tmp_path / "davis", {name: [square(1) for _ in range(4)] for name in ("a", "b", "c", "d")}
    write_all(root / "Annotations/480p", masks)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_bytes("\ufeffb\r\nc\r\n".encode())
    return root, write_all(tmp_path / "p", {name: masks[name] for name in ("b", "c", "d")})


def test_sequences_are_chosen_by_split_list_or_name(
    davis: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, masks = davis
    assert score(masks, "--ground-truth", root, "--out", tmp_path / "0") == 2
    assert "1 of 4 sequences are not predicted: a" in capsys.readouterr().err
    (tmp_path / "2016.txt").write_text("/JPEGImages/480p/b/00000.jpg /Annotations/480p/b/00000.png\n")
    for number, (words, names) in enumerate(
        (
            (("--split", "val"), ["b", "c"]),
            (("--sequences", root / "ImageSets/2017/val.txt"), ["b", "c"]),
            (("--sequences", "c, d"), ["c", "d"]),
            (("--sequences", tmp_path / "2016.txt"), ["b"]),
        )
    ):
        assert list(scored(masks, root, tmp_path / f"r{number}", *words)["per_video"]) == names
    for words, said in (
        (("--split", "test"), "no list of split 'test'"),
        (("--split", "../val"), "no list of split"),
        (("--sequences", "bb"), "the ground truth has no sequence 'bb'"),
        (("--sequences", ","), "no sequence is chosen"),
        (("--sequences", ",".join(f"name-{i}" for i in range(200))), "no sequence 'name-0'"),  # no path is so long
        (("--sequences", "b", "--split", "val"), "sequences are chosen twice"),
        (("--split", ""), "no list of split"),
        (("--sequences", "a"), "1 of 1 sequences are not predicted: a"),
    ):
        capsys.readouterr()
        assert score(masks, "--ground-truth", root, "--out", tmp_path / "x", *words) == 2
        assert said in capsys.readouterr().err
    assert score(masks, "--benchmark", "demo", "--split", "val", "--out", tmp_path / "x") == 2
    assert "need --ground-truth" in capsys.readouterr().err


def test_folders_and_archives_are_read_alike(davis: tuple[Path, Path], tmp_path: Path) -> None:
    """A folder around all, scores beside the masks, and a sequence that is a link to another disk."""
    root, masks = davis
    (masks / "d").rename(tmp_path / "elsewhere")
    (masks / "d").symlink_to(tmp_path / "elsewhere")
    (masks / "scores.csv").write_text("b,100\n")
    (tmp_path / "outer").mkdir()
    masks.rename(tmp_path / "outer/results")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for path in sorted((tmp_path / "outer").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "outer"))
        for path in sorted((tmp_path / "elsewhere").iterdir()):
            archive.write(path, f"results/d/{path.name}")
    for number, where in enumerate((tmp_path / "outer", tmp_path / "outer/results", tmp_path / "p.zip")):
        got = scored(where, root, tmp_path / f"r{number}", "--sequences", "b,c,d", "--model", "m")
        assert got["summary"]["J&F"] == 100 and got["summary"]["episodes"] == 3


@pytest.mark.parametrize("prefix", ["", "./", "all/", "./all/"])
@pytest.mark.parametrize(
    "beside",
    [
        (),
        ("{}a/log.yaml", "out.mp4", "{}README", "{}a/00000.jpg", "{}a/notes.py"),
        ("preview.png",),
        ("{}a/vis/00000.png", "{}a/vis/00000.PNG"),
        ("{}a/vis/deep/er/00000.png", "{}.git/x/00000.png", "{}a/.00009.png", "__MACOSX/a/._00000.png"),
        ("{}logs/run.txt",),
        ("{}empty/",),
        ("{}a/00000.png/x.txt",),
    ],
)
@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_folders_and_archives_pass_over_the_same(
    tmp_path: Path, names: tuple[str, ...], beside: tuple[str, ...], prefix: str
) -> None:
    """What lies beside masks, in one sequence or two, with a folder around all or none."""
    root, archive = tmp_path / "root", tmp_path / "p.zip"
    root.mkdir()
    mask = encode_mask(square(1))
    with zipfile.ZipFile(archive, "w") as stream:
        for form in (*(f"{{}}{name}/{index:05d}.PNG" for name in names for index in (1, 2)), *beside):
            entry = form.format(prefix)
            stream.writestr(entry, b"" if entry.endswith("/") else mask)
            parent, _, file = entry.rpartition("/")
            (root / parent).mkdir(parents=True, exist_ok=True)
            if file:
                (root / entry).write_bytes(mask)
    folder, packed = open_predictions(root), open_predictions(archive)
    contents = {name: folder.frames(name) for name in folder.names()}
    assert {name: packed.frames(name) for name in packed.names()} == contents
    assert all(contents[name] == ["00001", "00002"] for name in names)
    for name in names:
        assert np.array_equal(folder.load(name, "00001"), packed.load(name, "00001"))


@pytest.mark.parametrize(("encoding", "name"), [("utf-8", "été 犬"), ("cp437", "été")])
def test_archives_without_the_flag_of_utf_8(tmp_path: Path, encoding: str, name: str) -> None:
    """As Linux and macOS write them, and as old Windows did."""

    class Entry(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:
            return self.filename.encode(encoding), self.flag_bits & ~0x800

    truth = write_all(tmp_path / "gt", {name: [square(1)] * 4})
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for path in sorted(truth.rglob("*.png")):
            archive.writestr(Entry(path.relative_to(truth).as_posix()), path.read_bytes())
    for workers in (1, 2):
        words = ("--workers", workers)
        assert scored(tmp_path / "p.zip", truth, tmp_path / f"r{workers}", *words)["summary"]["J&F"] == 100


def test_official_numbers_among_other_sequences(tmp_path: Path) -> None:
    """A DAVIS root that holds more, and results that hold others."""
    root = shared("real", "osvos")
    truth, masks = tmp_path / "davis/Annotations/480p", tmp_path / "p"
    truth.mkdir(parents=True)
    masks.mkdir()
    names = [line.split("\t")[0] for line in (root / "expected.tsv").read_text().splitlines()[1:]]
    for name in names:
        (truth / name).symlink_to(root / "ground_truth" / name)
        (masks / name).symlink_to(root / "predictions" / name)
    write_all(truth, {"extra-truth": [square(1)] * 4})
    write_all(masks, {"extra-result": [square(1)] * 4})
    (tmp_path / "names.txt").write_text("\n".join(names))
    videos = scored(masks, tmp_path / "davis", tmp_path / "r", "--sequences", tmp_path / "names.txt")["per_video"]
    rows = [line.split("\t") for line in (root / "expected.tsv").read_text().splitlines()[1:]]
    assert {name: (f"{v['J'] / 100:.4f}", f"{v['F'] / 100:.4f}") for name, v in videos.items()} == {
        name: (j, f) for name, _, j, f in rows
    }


# ------------------------------------------------------------------------------------------------------ bad input


def _rgb(p: Path) -> None:
    Image.new("RGB", (SIZE[1], SIZE[0])).save(p / "cat/00002.png")


def _deep(p: Path) -> None:
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(p / "cat/00002.png")


def _truncated(p: Path) -> None:
    data = (p / "cat/00002.png").read_bytes()
    (p / "cat/00002.png").write_bytes(data[: len(data) * 2 // 3])


def _huge_id(p: Path) -> None:
    write_mask(p / "cat/00002.png", np.full(SIZE, 200, np.uint8))


def _bomb(p: Path) -> None:
    # A PNG that says it has 60,000 x 60,000 pixels.
    header = b"IHDR" + (60000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    data = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    (p / "cat/00002.png").write_bytes(data + (p / "cat/00003.png").read_bytes()[33:])


def _link_out(p: Path) -> None:
    outside = p.parent / "outside.png"
    (p / "cat/00002.png").rename(outside)
    (p / "cat/00002.png").symlink_to(outside)


def _folder_link_out(p: Path) -> None:
    (p / "cat").rename(p.parent / "elsewhere")
    (p / "cat").symlink_to(p.parent / "elsewhere")


BAD = [
    # (what is done to the predictions, words that the line must hold)
    (lambda p: (p / "cat/00002.png").unlink(), "1 of 4 frames are missing: 00002"),
    (lambda p: shutil.rmtree(p / "cat"), "1 of 2 sequences are not predicted: cat"),
    (lambda p: shutil.copytree(p / "cat", p / "dog"), "sequences are unknown: dog"),
    (lambda p: shutil.copy(p / "cat/00002.png", p / "cat/00099.png"), "not in the ground truth: 00099"),
    (lambda p: write_mask(p / "cat/00002.png", np.zeros((44, 30), np.uint8)), "mask is 44x30 (HxW)"),
    (_rgb, "mask is an RGB image"),
    (_deep, "16 bits"),
    (_truncated, "cannot be decoded"),
    (lambda p: (p / "cat/00002.png").write_bytes(b""), "no PNG"),
    (_huge_id, "mask holds the id 200"),
    (_bomb, "60000x60000"),
    (_link_out, "a link leaves"),
    (lambda p: shutil.rmtree(p), "predictions not found"),
]


@pytest.mark.parametrize(("spoil", "words"), BAD)
def test_bad_folders_get_one_line(
    sequences: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    words: str,
) -> None:
    truth, given = sequences
    spoil(given)
    assert score(given, "--ground-truth", truth, "--out", tmp_path / "r") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and words in lines[0], lines
    assert not (tmp_path / "r/result.json").exists()


@pytest.mark.parametrize("words", [("--model", "x" * 151), ("--model", "a\x1b[2Jb"), ("--version", "y" * 200)])
def test_names_that_no_run_may_have_are_refused_before_scoring(
    sequences: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    truth, given = sequences
    assert score(given, "--ground-truth", truth, "--out", tmp_path / "r", *words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "choose another name" in lines[0] and "\x1b" not in lines[0]
    assert not (tmp_path / "r").exists()


def test_bad_mask_in_a_worker_gets_one_line(
    sequences: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, given = sequences
    _truncated(given)
    assert score(given, "--ground-truth", truth, "--out", tmp_path / "r", "--workers", 2) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "cannot be decoded" in lines[0] and "00002.png" in lines[0]
    write_mask(given / "cat/00002.png", labels(2))
    assert score(given, "--ground-truth", truth, "--out", tmp_path / "r", "--workers", 2) == 0


def _entry(
    name: str, data: bytes = b"x", *, link: bool = False, method: int = zipfile.ZIP_DEFLATED
) -> Callable[[zipfile.ZipFile], None]:
    def add(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(name)
        info.compress_type = method
        if link:
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, data)

    return add


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("add", "words"),
    [
        (_entry("../../etc/x.png"), "path that escapes"),
        (_entry("/etc/x.png"), "path that escapes"),
        (_entry("C:/x.png"), "path that escapes"),
        (_entry("cat\\..\\..\\x.png"), "path that escapes"),
        (_entry("cat/00009.png", b"/etc/passwd", link=True), "archive holds a link"),
        (_entry("cat/00009.png", bytes(70_000_000)), "would unpack to 70,000,000 bytes"),  # larger than any mask
        (_entry("cat/00009.png", bytes(10**6), method=zipfile.ZIP_BZIP2), "would unpack to 1,000,000"),  # 20,000 to 1
        (_entry("cat/00009.txt", b"/etc/passwd", link=True), "archive holds a link"),
        (_entry("./../x.png"), "path that escapes"),
        (_entry("a/b/c/00000.png"), "sequences are unknown: a"),  # a folder without masks, as on disk
        (_entry("x/" * 30000 + "00000.png"), "sequences are unknown: x"),
        (_entry("cat/00002.png"), "p.zip/cat; expected one file a frame"),
        (_entry("cat/00002.PNG"), "'00002' is there twice"),
        (_entry("./cat//00002.png"), "'00002' is there twice"),
        (_entry(f"cat/{'1' * 5000}.png"), "a name of 5,004 characters"),
        (_entry("dog/00000.png"), "sequences are unknown: dog"),
    ],
)
def test_bad_archives_get_one_line(
    sequences: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    add: Callable[[zipfile.ZipFile], None],
    words: str,
) -> None:
    truth, given = sequences
    archive = pack(given, tmp_path / "p.zip")
    with zipfile.ZipFile(archive, "a") as stream:
        add(stream)
    status = score(archive, "--ground-truth", truth, "--out", tmp_path / "r")
    lines = capsys.readouterr().err.strip().splitlines()
    assert status == 2 and len(lines) == 1 and words in lines[0], lines


def test_damaged_archives_get_one_line(
    sequences: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, given = sequences
    archive = pack(given, tmp_path / "p.zip")
    data = bytearray(archive.read_bytes())
    for place in range(60, len(data) // 2, 7):
        data[place] ^= 0x55
    archive.write_bytes(data)
    assert score(archive, "--ground-truth", truth, "--out", tmp_path / "r") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    archive.write_bytes(b"PK no archive")
    assert score(archive, "--ground-truth", truth, "--out", tmp_path / "r") == 2
    assert "archive cannot be opened" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1, 2]", "JSON holds no masks"),
        ("{", "p.json"),
        ({"bike": {}, "cat": {}}, "frames are missing"),
        ({"size": [3, 4], "counts": [7]}, "6 pixels"),
        ({"size": [30, 44], "counts": [7]}, "runs of"),
        ({"size": [30, 44], "counts": "\u00ff"}, "RLE is broken"),
        ({"size": [30, 44], "counts": [-5, 1325]}, "a run of -5 pixels"),
        ({"size": [10**9, 10**9], "counts": [1]}, "RLE of size"),
        ({"size": "big", "counts": [1]}, "RLE of size"),
        ({"300": {"size": [30, 44], "counts": [1320]}}, "one for each id of 1 to 254"),
        ({"\u00b2": {"size": [30, 44], "counts": [1320]}}, "no RLE"),
        ({"1" * 5000: {"size": [30, 44], "counts": [1320]}}, "no RLE"),
        ({k: {"size": [30, 44], "counts": [1320]} for k in ("1", "01")}, "an object is there twice"),
        ({"1": {"size": [30, 44]}}, "counts are neither text nor a list"),
        ({"size": [True, 44], "counts": [44]}, "RLE of size [True, 44]"),
        ({"bike": {"1" * 5000: None}, "cat": {}}, "a name of 5,000 characters"),
        ("text", "p.json"),
    ],
)
def test_bad_run_lengths_get_one_line(
    sequences: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, words: str
) -> None:
    truth, _ = sequences
    if isinstance(content, dict) and "bike" not in content:
        content = {name: {f"{i:05d}": content for i in range(6)} for name in ("bike", "cat")}
    (tmp_path / "p.json").write_text(content if isinstance(content, str) else json.dumps(content))
    assert score(tmp_path / "p.json", "--ground-truth", truth, "--out", tmp_path / "r") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    expected = "mask is 3x4" if words == "6 pixels" else words
    assert len(lines) == 1 and expected in lines[0], lines


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: shutil.rmtree(p / "tiny__v0__1__d0"), "not predicted: tiny__v0__1__d0"),
        (lambda p: (p / "tiny__v0__1__d0/00001.png").unlink(), "1 of 4 frames are missing: 00001"),
        (lambda p: write_mask(p / "tiny__v0__1__d0/00004.png", np.zeros((40, 52), np.uint8)), "unknown: 00004"),
        (lambda p: write_mask(p / "tiny__v0__1__d0/00001.png", np.zeros((9, 9), np.uint8)), "mask is 9x9"),
        (lambda p: write_mask(p / "tiny__v0__1__d0/00001.png", np.full((40, 52), 7, np.uint8)), "holds the value 7"),
        (
            lambda p: write_mask(p / "tiny__v0__1__d0/00001.png", np.full((40, 52), (0, 255) * 25 + (128, 255))),
            "holds the value 128",
        ),
        (
            lambda p: write_mask(p / "tiny__v0__1__d0/00001.png", np.full((40, 52), (0, 255) * 25 + (1, 255))),
            "holds both 1 and 255",
        ),
        (
            lambda p: (
                [(p / "videos").mkdir(), shutil.move(shutil.copytree(p, p.parent / "q"), p / "masks")]
                + [shutil.rmtree(each) for each in p.glob("tiny*")]
            ),
            "give the folder masks in it",
        ),
        (lambda p: (p / "x").mkdir(), "episodes are unknown: x"),
        (
            lambda p: (p / "tiny__v0__1__d0/00000.png").rename(p / "tiny__v0__1__d0/4.png"),
            "as many frames as in the ground truth, but of other numbers: 4; in ",
        ),
        (
            lambda p: shutil.copy(p / "tiny__v0__1__d0/00000.png", p / "tiny__v0__1__d0/first.png"),
            "1 frame is unknown: first; in ",
        ),
    ],
)
def test_bad_episodes_get_one_line(
    tiny_benchmark: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    words: str,
) -> None:
    given = predict(tiny_benchmark, tmp_path / "p")
    spoil(given)
    assert score(given, "--benchmark", tiny_benchmark, "--out", tmp_path / "r") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and words in lines[0], lines
    assert not lines[0].endswith((";", "expected")), lines  # nothing was to follow


def test_run_lengths_of_episodes_without_counts_get_one_line(
    tiny_benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = {f"{index:05d}": {"1": {"size": [40, 52]}} for index in range(4)}
    episodes = {episode.id: masks for episode in load_benchmark(tiny_benchmark).episodes}
    (tmp_path / "p.json").write_text(json.dumps(episodes))
    assert score(tmp_path / "p.json", "--benchmark", tiny_benchmark, "--out", tmp_path / "r") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "counts are neither text nor a list" in lines[0], lines


def test_what_a_method_was_told_is_declared_recorded_and_marked(
    tiny_benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = predict(tiny_benchmark, tmp_path / "p")
    told = ("--uses", "text", "--uses", "class-names", "--oracle", "first-frame", "--access", "offline")
    monkeypatch.chdir(tmp_path)
    assert score(masks, "--benchmark", tiny_benchmark) == 0
    assert score(masks, "--benchmark", tiny_benchmark, *told, "--trained-on", "coco2014:train, People,mose:train") == 0
    plain, run = (
        Run.open(tmp_path / "runs/tiny/p"),
        Run.open(tmp_path / "runs/tiny/p-oracle-first-frame-offline-told-text+class-names"),
    )
    model = run.run["model"]
    assert (model["access"], model["uses"]) == ("offline", ["text", "class-names", "first-frame"])
    assert model["training_data"] == ["coco2014:train", "mose:train"] and model["training_categories"] == ["person"]
    assert {name: run.run["key"][name] for name in ("oracle", "access", "uses")} == {
        "oracle": "first-frame",
        "access": "offline",
        "uses": model["uses"],
    }
    # How it was told, and on which frames, is not known here.
    assert run.result["protocol"]["oracle"] == "first-frame" and "oracle" not in run.result
    assert marks(run) == ("C", "I", "O", "T", "N", "G") and run.not_ranked == ("an oracle",)
    assert marks(plain) == () and not {"oracle", "access", "uses"} & set(plain.run["key"])
    tables = build_tables([run, plain], published=False)
    assert [[row[0] for row in table.rows] for table in tables] == [["1"], ["-"]]


@pytest.mark.parametrize("use", ["text", "class-names"])
def test_a_run_that_was_told_more_is_another_run(
    tiny_benchmark: Path, tmp_path: Path, use: str, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = predict(tiny_benchmark, tmp_path / "p")
    assert score(masks, "--benchmark", tiny_benchmark, "--out", tmp_path / "r") == 0
    # What it was trained on changes no figure, and may be said later.
    assert score(masks, "--benchmark", tiny_benchmark, "--out", tmp_path / "r", "--trained-on", "lvis:train") == 0
    assert marks(Run.open(tmp_path / "r")) == ("I",)
    assert score(masks, "--benchmark", tiny_benchmark, "--out", tmp_path / "r", "--uses", use) == 2
    assert "another run is there (its uses is none, not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--access", "lookahead", "access is 'online', 'lookahead:N' or 'offline', not 'lookahead'"),
        ("--oracle", "first", "no oracle 'first'; did you mean 'first-frame'?"),
        (
            "--trained-on",
            "coco2014:train,daog",
            "'daog' is no category of COCO or VOC; expected a category, or a data ",
        ),
        ("--trained-on", "coco2014", "a data set with its split: coco2014:train"),
    ],
)
def test_what_cannot_be_declared_gets_one_line(
    tiny_benchmark: Path, tmp_path: Path, option: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = predict(tiny_benchmark, tmp_path / "p")
    assert score(masks, "--benchmark", tiny_benchmark, "--out", tmp_path / "r", option, value) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and words in lines[0], lines


def test_bad_use_gets_one_line(
    sequences: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, given = sequences
    short = tmp_path / "short"
    for index in range(2):  # nothing is left without the first and the last
        write_mask(short / "a" / f"{index:05d}.png", labels(index))
    for arguments, words in (
        ((given,), "give one of"),
        ((given, "--ground-truth", truth, "--benchmark", truth), "give one of"),
        ((given, "--ground-truth", truth, "--protocol", "davis"), "davis-2017"),
        ((given, "--ground-truth", truth, "--protocol", "paper"), "needs --benchmark"),
        ((given, "--ground-truth", tmp_path / "none"), "ground truth not found"),
        ((short, "--ground-truth", short), "leaves none of 2 frames"),
    ):
        assert score(*arguments, "--out", tmp_path / "r") == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert words in lines[-1], lines
