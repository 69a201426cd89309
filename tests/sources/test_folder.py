"""Videos of one's own: both layouts become a benchmark, by the command; what cannot be meant is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import raw_trees as raw

from icvos import cli
from icvos.benchmark import load_benchmark
from icvos.errors import SourceError
from icvos.masks import write_mask
from icvos.sources.folder import Folder

SIZE = (raw.H, raw.W)


def square(value: int, start: int = 4) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[start : start + 12, start : start + 12] = value
    return mask


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A video of class masks, every other frame, and one of label masks; their names are anybody's."""
    root = tmp_path / "mine"
    for index in range(6):
        raw.picture(root / f"мой пёс/frames/{index}.jpg", seed=index)
        raw.picture(root / f"street/frames/img_{index:03d}.png", seed=9 + index)
        write_mask(root / f"street/masks/img_{index:03d}.png", square(1) + square(2, 20) + square(255, 36))
        if index % 2 == 0:
            write_mask(root / f"мой пёс/masks/dog/{index}.png", square(255, 4 + index))
            write_mask(root / f"мой пёс/masks/person/{index}.png", square(1 if index else 0, 30))
    (root / "names.json").write_text(json.dumps({"street": {"1": "dog", "2": "person"}}))
    return root


def test_both_layouts_are_built(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw.coco(tmp_path / "coco")
    words = ["build-data", "ic-vos", "--folder", videos, "--coco", tmp_path / "coco", "--out", tmp_path / "B"]
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    assert not stop.value.code, capsys.readouterr().err
    bench = load_benchmark(tmp_path / "B")
    own = "folder___u43c__u43e__u439__u20__u43f__u451__u441_"
    counts = {key: (bench.videos[key[0]].frames, pair.complete) for key, pair in bench.pairs.items()}
    assert counts == {
        (own, 1): (3, "yes"),
        (own, 17): (3, "yes"),
        ("folder__street", 1): (6, "unsure"),
        ("folder__street", 17): (6, "unsure"),
    }
    assert [int(bench.annotation(own, 1, index).sum()) for index in range(3)] == [0, 144, 144]
    assert np.array_equal(bench.annotation(own, 17, 1), square(1, 6))
    assert np.array_equal(bench.annotation("folder__street", 17, 0), square(1))  # 255 is void in label masks


def test_names_for_all_videos(videos: Path) -> None:
    (videos / "names.json").write_text('{"1": "cat", "2": "horse"}')
    street = next(video for video in Folder(videos).videos() if video.name == "street")
    assert street.objects == {1: "cat", 2: "horse"}
    (videos / "names.json").unlink()
    street = next(video for video in Folder(videos).videos() if video.name == "street")
    assert street.objects == {} and not street.all_objects  # a recipe may name them


def read_all(root: Path) -> None:
    source = Folder(root)
    for video in source.videos():
        for frame in source.frames(video):
            source.labels(video, frame, SIZE).areas()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: (r / "мой пёс/masks/person/2.png").unlink(), "frame 2 of мой пёс has no mask of 'person'"),
        (lambda r: (r / "мой пёс/frames/4.jpg").unlink(), "mask 4 of мой пёс has no image"),
        (lambda r: shutil.rmtree(r / "street/masks"), "'street' is no video"),
        (lambda r: write_mask(r / "мой пёс/masks/0.png", square(1)), "masks of classes and of objects are mixed"),
        (
            lambda r: (r / "names.json").write_text('{"1": "dog", "street": {"1": "dog"}}'),
            "videos and objects are mixed",
        ),
        (lambda r: (r / "names.json").write_text('{"strete": {"1": "dog"}}'), "there is no video 'strete'"),
        (lambda r: (r / "names.json").write_text('{"street": {"one": "dog"}}'), "object id 'one' is no number"),
        (lambda r: [shutil.rmtree(path) for path in r.iterdir() if path.is_dir()], "no videos here|no video 'street'"),
        (shutil.rmtree, "folder not found"),
    ],
)
def test_what_cannot_be_meant_is_refused(videos: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(videos)
    with pytest.raises(SourceError, match=words):
        read_all(videos)
