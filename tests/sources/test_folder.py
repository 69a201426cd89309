"""Videos of one's own: both layouts become a benchmark, by the command; what cannot be meant is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import raw_trees as raw

from icvos import cli
from icvos.benchmark import load_benchmark
from icvos.errors import InputError, MaskError, SourceError
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
    printed = capsys.readouterr()
    assert not stop.value.code, printed.err
    assert "left out: folder,мой пёс: 3 of 6 frames have no mask" in printed.out
    assert "nobody has said whether 2 pairs of videos of a folder" in printed.out  # not those of class masks
    bench = load_benchmark(tmp_path / "B")
    assert bench.name == "mine"  # not ic-vos: printed figures are of another benchmark
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
    (videos / "street/names.json").write_text('{"2": "dog"}')
    street = next(video for video in Folder(videos).videos() if video.name == "street")
    assert street.objects == {2: "dog"}  # the video's own go first
    (videos / "street/names.json").unlink()
    (videos / "names.json").unlink()
    street = next(video for video in Folder(videos).videos() if video.name == "street")
    assert street.objects == {} and not street.all_objects  # a recipe may name them


def test_names_of_a_video_in_another_unicode_form(tmp_path: Path) -> None:
    """A file made on macOS may write é as e and an accent."""
    composed, apart = (normalize(form, "été") for form in ("NFC", "NFD"))
    shutil.copytree(raw.folder(tmp_path / "one") / "walk/frames", tmp_path / "v" / composed / "frames")
    shutil.copytree(tmp_path / "one/walk/masks/dog", tmp_path / "v" / composed / "masks")
    names = tmp_path / "v/names.json"
    names.write_text(json.dumps({apart: {"1": "dog"}}))
    assert [video.objects for video in Folder(tmp_path / "v").videos()] == [{1: "dog"}]
    names.write_text(json.dumps({composed: {"1": "cat"}, apart: {"1": "dog"}}))
    with pytest.raises(SourceError, match="is there twice"):
        Folder(tmp_path / "v").videos()
    shutil.copytree(tmp_path / "v" / composed, tmp_path / "v" / apart)
    found = {video.name: video.objects for video in Folder(tmp_path / "v").videos()}
    assert found == {composed: {1: "cat"}, apart: {1: "dog"}}
    names.write_text(json.dumps({composed[0] + apart[1:]: {"1": "dog"}}))
    with pytest.raises(SourceError, match="there is no video"):
        Folder(tmp_path / "v").videos()  # either could be meant


def test_frames_and_masks_are_one_by_their_numbers(videos: Path) -> None:
    for path in sorted((videos / "мой пёс/masks/person").iterdir()):
        path.rename(path.with_name(f"{int(path.stem):05d}.Png"))
    for path in sorted((videos / "street").rglob("*.png")):
        number = int(path.stem.removeprefix("img_"))
        path.rename(path.with_name(f"{number}.png" if path.parent.name == "frames" else f"{number:05d}.png"))
    source = Folder(videos)
    own, street = sorted(source.videos(), key=lambda video: video.name, reverse=True)
    assert (own.name, street.name) == ("мой пёс", "street")
    frames = source.frames(own)
    assert [frame.name for frame in frames] == ["0", "2", "4"]
    assert [[path.name for path in frame.masks] for frame in frames[1:]] == [
        ["2.png", "00002.Png"],
        ["4.png", "00004.Png"],
    ]
    found = [source.labels(own, frame, SIZE).areas() for frame in frames]
    assert found == [{1: 144}, {1: 144, 2: 144}, {1: 144, 2: 144}]
    frames = source.frames(street)
    assert [(frame.name, frame.masks[0].name) for frame in frames] == [(f"{i}", f"{i:05d}.png") for i in range(6)]
    shutil.copy(videos / "street/masks/00003.png", videos / "street/masks/003.png")
    with pytest.raises(SourceError, match="mask 00003 of street has no image"):
        source.frames(street)  # two that are the same number


def test_label_masks_of_0_and_255_are_one_object(videos: Path) -> None:
    for index in range(6):
        write_mask(videos / f"street/masks/img_{index:03d}.png", square(255 if index else 0))
    (videos / "names.json").write_text('{"street": {"1": "dog"}}')
    source = Folder(videos)
    street = next(video for video in source.videos() if video.name == "street")
    assert street.objects == {1: "dog"}
    frames = source.frames(street)
    assert [source.labels(street, frame, SIZE).areas() for frame in frames[:2]] == [{}, {1: 144}]
    write_mask(videos / "street/masks/img_003.png", square(2))
    with pytest.raises(MaskError, match=r"mask holds other values.*img_003\.png"):
        source.labels(street, frames[3], SIZE)


def test_a_changed_mask_of_any_class_is_built_anew(videos: Path) -> None:
    """A resumed build knows a frame by all its mask files."""
    source = Folder(videos)
    dogs = next(video for video in source.videos() if video.name == "мой пёс")
    frame = source.frames(dogs)[0]
    assert [path.parent.name for path in frame.masks] == ["dog", "person"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (None, "no object has a label; names.json or a recipe says"),
        ('{"1": "Dogg"}', "no category of coco80 is called 'Dogg'; did you mean 'dog'"),
    ],
)
def test_what_is_left_out_is_said_where_nothing_is_left(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: str | None, words: str
) -> None:
    shutil.rmtree(videos / "мой пёс")
    (videos / "names.json").unlink()
    if names is not None:
        (videos / "street/names.json").write_text(names)
    raw.coco(tmp_path / "coco")
    options = ["--folder", videos, "--coco", tmp_path / "coco", "--out", tmp_path / "B", "--left-out", tmp_path / "l"]
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in ("build-data", "ic-vos", *options)])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
    assert words in (tmp_path / "l").read_text()


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
        (lambda r: [p.unlink() for p in (r / "street/masks").iterdir()], "street has no mask.*expected .png files"),
        (lambda r: [shutil.rmtree(p) or p.mkdir() for p in (r / "мой пёс/masks").iterdir()], "мой пёс has no mask"),
        (lambda r: (r / "street/masks/names.json").write_text("{}"), "names.json lies among the masks"),
        (lambda r: (r / "street/names.json").write_text("[]"), "holds list.*names by object id"),
        (lambda r: shutil.copytree(r / "street", r, dirs_exist_ok=True), "this is a video, not a folder of videos"),
        (
            lambda r: write_mask(r / "мой пёс/masks/dog/2.png", square(255) + square(90, 20)),
            "mask holds the values 90, 255.*a soft edge has to be cut",
        ),
        (lambda r: write_mask(r / "мой пёс/masks/0.png", square(1)), "masks of classes and of objects are mixed"),
        (
            lambda r: (r / "names.json").write_text('{"1": "dog", "street": {"1": "dog"}}'),
            "videos and objects are mixed",
        ),
        (lambda r: (r / "names.json").write_text('{"strete": {"1": "dog"}}'), "there is no video 'strete'"),
        (lambda r: (r / "names.json").write_text('{"street": {"one": "dog"}}'), "object id 'one' is no number"),
        (
            lambda r: (r / "street/names.json").write_text('{"1": "dog", "01": "cat"}'),
            "object ids '1' and '01' are the same.*names.json",
        ),
        (lambda r: (r / "street/names.json").write_text('{"1": null}'), "category of object '1' is null.*names.json"),
        (lambda r: (r / "street/names.json").write_text('{"1": ["dog"]}'), "category of object '1' is .*names.json"),
        (lambda r: (r / "street").rename(r / os.fsdecode(b"caf\xe9")), r"the name 'caf\\xe9' is not UTF-8"),
        (
            lambda r: (r / "мой пёс/masks/dog").rename(r / "мой пёс/masks" / os.fsdecode(b"\xe9")),
            r"the name '\\xe9' is not UTF-8",
        ),
        (lambda r: [shutil.rmtree(path) for path in r.iterdir() if path.is_dir()], "no videos here|no video 'street'"),
        (shutil.rmtree, "folder not found"),
    ],
)
def test_what_cannot_be_meant_is_refused(videos: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(videos)
    with pytest.raises(InputError, match=words):
        read_all(videos)
