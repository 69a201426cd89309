"""Video benchmarks in DAVIS-2017's layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from board_runs import icvos
from exported import edit, export, problems_of, refusal
from PIL import Image
from raw_trees import coco
from tiny import write_video_benchmark

from icvos.benchmark import load_benchmark
from icvos.masks import palette, read_mask, write_mask
from icvos.sources.davis import Davis


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "b"
    return write_video_benchmark(folder, videos=2, frames=3, draws=1, size=(40, 48), apart=20)


@pytest.fixture(scope="module")
def out(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(bench, "davis", tmp_path_factory.mktemp("davis") / "out", "--with-frames")


def test_object_k_is_the_kth_category_of_the_video(bench: Path, out: Path) -> None:
    opened, source = load_benchmark(bench), Davis(out)
    videos = {video.name: video for video in source.videos()}
    assert {name: dict(video.objects) for name, video in videos.items()} == {
        "tiny__v0": {1: "person", 2: "car"},
        "tiny__v1": {1: "person"},
    }
    for name, video in videos.items():
        assert video.split == "val"
        for index, frame in enumerate(source.frames(video)):
            labels = source.labels(video, frame, (40, 48))
            for value, category in enumerate(sorted(c for v, c in opened.pairs if v == name), 1):
                assert np.array_equal(labels.union([value]), opened.annotation(name, category, index))
            assert frame.image.read_bytes() == (bench / f"videos/{name}/JPEGImages/{index:05d}.jpg").read_bytes()
    with Image.open(out / "Annotations/480p/tiny__v0/00000.png") as picture:
        assert picture.mode == "P" and picture.getpalette()[: 3 * 256] == list(palette())  # type: ignore[index]
        assert np.array_equal(np.array(picture), read_mask(out / "Annotations/480p/tiny__v0/00000.png"))


def test_our_own_builder_makes_the_same_benchmark_of_it(bench: Path, out: Path, tmp_path: Path) -> None:
    coco(tmp_path / "coco")
    words = ("--davis", out, "--coco", tmp_path / "coco", "--draws", 1, "--shots", 1, "--support-min-area", 1)
    assert icvos("build-data", "ic-vos", *words, "--out", tmp_path / "again") == 0
    old, new = load_benchmark(bench), load_benchmark(tmp_path / "again")
    assert {(f"davis17__{video}", number): pair.category_name for (video, number), pair in old.pairs.items()} == {
        key: pair.category_name for key, pair in new.pairs.items()
    }
    for video, category in old.pairs:
        for index in range(3):
            mine = new.annotation(f"davis17__{video}", category, index)
            assert np.array_equal(mine, old.annotation(video, category, index))


def test_masks_that_overlap_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = write_video_benchmark(tmp_path / "b", videos=2, frames=3, draws=1, size=(40, 48))
    line = refusal(capsys, "export", bench, "--to", "davis", "--out", tmp_path / "out")
    assert "'person' and 'car' overlap on frame 00000 of video 'tiny__v0'" in line and "--to ytvis" in line
    assert not (tmp_path / "out").exists()
    export(bench, "ytvis", tmp_path / "out")


def blank(root: Path) -> None:
    write_mask(root / "Annotations/480p/tiny__v0/00000.png", np.zeros((40, 48), np.uint8), colours=True)


def third(root: Path) -> None:
    write_mask(root / "Annotations/480p/tiny__v0/00001.png", np.full((40, 48), 3, np.uint8), colours=True)


def small(root: Path) -> None:
    write_mask(root / "Annotations/480p/tiny__v0/00000.png", np.zeros((4, 4), np.uint8), colours=True)


def many(root: Path) -> None:
    """More categories than a label map has values, as the tables say them."""
    edit("header.json", lambda c: c.update(vocabulary=[f"c{number}" for number in range(300)]))(root)
    lines = (root / "pairs.csv").read_text().splitlines()
    added = [f"tiny__v0,{number},c{number - 1},yes,0,-1,1" for number in range(1, 301) if number not in (1, 3)]
    (root / "pairs.csv").write_text("\n".join([*lines, *added]) + "\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (blank, "object 1 is on 1 frames, and pairs.csv says 2"),
        (third, "object 3 has no name"),
        (small, "mask is 4x4"),
        (lambda root: (root / "Annotations/480p/tiny__v1/00002.png").unlink(), "2 label maps"),
        (lambda root: (root / "JPEGImages/480p/tiny__v1/00002.jpg").unlink(), "2 frames"),
        (lambda root: (root / "ImageSets/2017/val.txt").write_text("tiny__v0\n"), "does not name the videos"),
        (many, "300 categories, and a label map has 254 at most"),
        (edit("davis_semantics.json", lambda c: c["tiny__v0"].update({"1": "dog"})), "does not name the categories"),
        (edit("supports.json", lambda c: c["annotations"].pop(0)), "nothing of category 1"),
    ],
)
def test_wrong_content_is_named(out: Path, tmp_path: Path, change: Callable[[Path], None], said: str) -> None:
    assert said in problems_of(out, tmp_path / "bad", change)
