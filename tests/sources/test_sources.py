"""Readers of raw video data sets, on tiny trees in their authors' layouts and on the real samples."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import raw_trees as raw
from PIL import Image

from icvos.errors import IcvosError, MaskError, SourceError, UsageError
from icvos.images import read_image
from icvos.sources import open_source, source_ids
from icvos.sources.base import LabelMap, VideoSource
from icvos.sources.davis import Davis

WRITERS = {
    "davis17": raw.davis,
    "davis16": raw.davis16,
    "mose": raw.mose,
    "mose2": lambda root: raw.mose(root, version=2),
    "lvos": raw.lvos,
    "ytvis": raw.ytvis,
    "ovis": lambda root: raw.ytvis(root, ovis=True),
    "folder": raw.folder,
}


def areas(source: VideoSource, name: str) -> list[dict[int, int]]:
    """Return the objects' areas of each frame."""
    video = next(video for video in source.videos() if video.name == name)
    out = []
    for frame in source.frames(video):
        size = read_image(frame.image).shape[:2]
        out.append(source.labels(video, frame, (size[0], size[1])).areas())
    return out


def test_every_id_has_a_reader(tmp_path: Path) -> None:
    assert sorted(WRITERS) == source_ids()
    for name, write in WRITERS.items():
        source = open_source(name, write(tmp_path / name))
        assert source.id == name and source.licence and source.title
        videos = source.videos()
        assert [video.name for video in videos] == sorted(video.name for video in videos) and videos


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_folder_of_something_else_is_answered(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError):
        open_source(name, tmp_path).videos()
    with pytest.raises(UsageError, match="mose"):
        open_source("mosé", tmp_path)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_linked_folders_are_followed(tmp_path: Path, name: str) -> None:
    """Every folder is a link to one elsewhere, as people keep videos on another disk."""
    source = open_source(name, WRITERS[name](tmp_path / name))
    before = [(video, areas(source, video.name)) for video in source.videos()]
    places = sorted((path for path in (tmp_path / name).rglob("*") if path.is_dir()), reverse=True)
    for number, place in enumerate(places):
        place.symlink_to(place.rename(tmp_path / f"elsewhere{number}"))
    source = open_source(name, tmp_path / name)
    assert [(video, areas(source, video.name)) for video in source.videos()] == before


def test_davis(tmp_path: Path) -> None:
    source = Davis(raw.davis(tmp_path))
    dogs, ride = source.videos()  # "held" has its first mask alone, "elsewhere" is not here
    assert source.left_out == {"held": "only its first frame has a mask"}
    assert (dogs.split, dict(dogs.objects), dogs.complete) == ("val", {1: "dog", 2: "dog", 3: "person"}, "unsure")
    assert ride.objects == {1: "camel", 2: "motorbike"}
    frames = source.frames(dogs)
    assert [frame.name for frame in frames] == ["00000", "00001", "00002"]
    assert areas(source, "dogs") == [{1: 100, 2: 100, 3: 100}] * 3
    assert areas(source, "ride") == [{1: 100}, {1: 100, 2: 100}, {1: 100, 2: 100}]
    void = source.labels(dogs, frames[1], (raw.H, raw.W))
    assert void.void == raw.W and void.union([1, 2]).sum() == 200
    assert void.union([255]).sum() == raw.W  # by value, so that nobody asks for it by mistake


def test_davis_needs_no_list_and_no_semantics(tmp_path: Path) -> None:
    import shutil

    raw.davis(tmp_path)
    shutil.rmtree(tmp_path / "ImageSets")
    (tmp_path / "davis_semantics.json").unlink()
    dogs = Davis(tmp_path).videos()[0]
    assert (dogs.name, dogs.split, dict(dogs.objects), dogs.all_objects) == ("dogs", "", {}, False)


def test_davis_2016_has_one_object(tmp_path: Path) -> None:
    source = Davis(raw.davis16(tmp_path), year=2016)
    assert areas(source, "bear") == [{1: 100}, {1: 100}]
    assert source.videos()[0].split == "train"
    raw.labels(tmp_path / "Annotations/480p/bear/00001.png", raw.boxes((2, 5, 5), (1, 20, 20)))
    with pytest.raises(MaskError, match="more than one object"):
        areas(source, "bear")


def test_mose(tmp_path: Path) -> None:
    source = open_source("mose", raw.mose(tmp_path))
    # valid/, with first masks alone, is not read
    assert [video.name for video in source.videos()] == ["001ca3cb", "330ac20d"]
    assert areas(source, "001ca3cb") == [{1: 100, 3: 100}, {1: 100, 3: 100}, {}, {1: 100, 3: 100}]
    assert areas(source, "330ac20d") == [{1: 100}]
    inside = open_source("mose", tmp_path / "train")  # some keep only that folder
    assert len(inside.videos()) == 2


def test_mose_meta(tmp_path: Path) -> None:
    source = open_source("mose2", raw.mose(tmp_path, version=2))
    video = source.videos()[0]
    assert video.all_objects and sorted(video.objects) == [1, 3] and video.objects[1] is None
    meta = json.loads((tmp_path / "meta_train.json").read_text())
    meta["videos"]["gone"] = {"objects": [1]}
    (tmp_path / "meta_train.json").write_text(json.dumps(meta))
    with pytest.raises(SourceError, match="gone"):
        source.videos()


def test_lvos(tmp_path: Path) -> None:
    source = open_source("lvos", raw.lvos(tmp_path))
    late = source.videos()[0]
    assert (late.name, late.split, late.all_objects) == ("R3UJGYwy", "train", True)
    assert late.spans == {1: (1, 21), 2: (11, 21)}  # text and numbers alike
    assert [frame.name for frame in source.frames(late)] == ["00000001", "00000006", "00000011", "00000016"]
    assert areas(source, "R3UJGYwy") == [{1: 100}, {1: 100}, {1: 100, 2: 100}, {1: 100, 2: 100}]
    (tmp_path / "val/valid_meta.json").rename(tmp_path / "val/meta.json")
    assert source.videos()[1].all_objects
    (tmp_path / "val/meta.json").unlink()
    assert not source.videos()[1].all_objects


@pytest.mark.parametrize(
    "value",
    ["x", None, {"start": 1}, *({"start": start, "end": 21} for start in (math.inf, math.nan, 1.5, True, [1], "1_0"))],
)
def test_lvos_meta_that_is_broken(tmp_path: Path, value: object) -> None:
    raw.lvos(tmp_path)
    meta = {"videos": {"R3UJGYwy": {"objects": {"1": {"frame_range": value}}}}}
    (tmp_path / "train/train_meta.json").write_text(json.dumps(meta))
    with pytest.raises(SourceError, match="train_meta"):
        open_source("lvos", tmp_path).videos()


def test_an_object_id_twice_is_refused_with_both_keys(tmp_path: Path) -> None:
    twice = "object ids '1' and '01' are the same|object ids '01' and '1' are the same"
    span = {"frame_range": {"start": 1, "end": 21}}
    raw.lvos(tmp_path / "lvos")
    path = tmp_path / "lvos/train/train_meta.json"
    path.write_text(json.dumps({"videos": {"R3UJGYwy": {"objects": {"1": span, "01": span}}}}))
    with pytest.raises(SourceError, match=twice):
        open_source("lvos", tmp_path / "lvos").videos()
    raw.mose(tmp_path / "mose", version=2)
    for objects in (["1", "01"], {"1": {}, "01": {}}):
        text = json.dumps({"videos": {"001ca3cb": {"objects": objects}}})
        (tmp_path / "mose/meta_train.json").write_text(text)
        with pytest.raises(SourceError, match=twice):
            open_source("mose2", tmp_path / "mose").videos()
    raw.davis(tmp_path / "davis")
    (tmp_path / "davis/davis_semantics.json").write_text('{"dogs": {"1": "dog", "01": "cat"}}')
    with pytest.raises(SourceError, match=twice):
        open_source("davis", tmp_path / "davis").videos()


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "null"), (["person"], '."person".'), (True, "true"), (" ", '" "'), ("\ud800", '"..d800"')],
)
def test_davis_categories_are_text(tmp_path: Path, value: object, said: str) -> None:
    raw.davis(tmp_path)
    (tmp_path / "davis_semantics.json").write_text(json.dumps({"dogs": {"1": "dog", "2": value}}))
    with pytest.raises(SourceError, match=f"category of object '2' is {said}.*davis_semantics"):
        Davis(tmp_path).videos()


@pytest.mark.parametrize("name", ["ytvis", "ovis"])
def test_youtube_vis(tmp_path: Path, name: str) -> None:
    source = open_source(name, WRITERS[name](tmp_path))
    (video,) = source.videos()
    assert video.complete == "yes" and video.all_objects and list(video.objects) == [100, 101, 102, 103]
    found = areas(source, video.name)
    assert [sorted(frame) for frame in found] == [[100, 102, 103], [100, 101, 102], [101, 102]]
    assert found[0][100] == found[1][100] == 100 and found[0][102] == 400
    frame = source.labels(video, source.frames(video)[1], (raw.H, raw.W))
    assert frame.union([100, 101]).sum() == 175  # they overlap in 5x5
    assert frame.union([]).sum() == 0 and frame.void == 0


def test_youtube_vis_2021_keeps_its_json_with_the_images(tmp_path: Path) -> None:
    raw.ytvis(tmp_path)
    (tmp_path / "train.json").rename(tmp_path / "train/instances.json")
    assert areas(open_source("ytvis", tmp_path), "0043f083b5")[2] == {101: 100, 102: 400}


def in_other_places(root: Path, places: list[str]) -> None:
    """Move the frames of the one video of YouTube-VIS, and name them so."""
    raw.ytvis(root)
    data = json.loads((root / "train.json").read_text())
    for old, new in zip(data["videos"][0]["file_names"], places, strict=True):
        target = root / "train/JPEGImages" / new
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(root / "train/JPEGImages" / old).save(target)
    data["videos"][0]["file_names"] = places
    (root / "train.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    "places",
    [
        ["v/00000.jpg", "v/00000.jpg", "v/00001.jpg"],
        ["v/00000.jpg", "v/00000.png", "v/00001.jpg"],
        ["v/a/00000.jpg", "v/b/00000.jpg", "v/b/00001.jpg"],
    ],
)
def test_frames_of_one_stem_have_their_own_masks(tmp_path: Path, places: list[str]) -> None:
    in_other_places(tmp_path, places)
    found = areas(open_source("ytvis", tmp_path), "v")
    assert [sorted(frame) for frame in found] == [[100, 102, 103], [100, 101, 102], [101, 102]]


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["a", "b"], ["a", "b"]),
        (["JPEGImages/a", "other/b"], ["a", "b"]),
        (["a/img1"], ["img1"]),  # nothing says that it is not the video's
        (["a/img1", "b/img1"], ["a", "b"]),
        (["set/a/left/img", "set/b/left/img"], ["a", "b"]),
        (["a/img1", "a/img2", "b/img1"], ["a/img1", "a/img2", "b/img1"]),
        (["img1", "a/img1"], ["a/img1", "img1"]),
    ],
)
def test_videos_are_called_as_what_leads_to_their_frames(tmp_path: Path, folders: list[str], names: list[str]) -> None:
    raw.ytvis(tmp_path)
    data = json.loads((tmp_path / "train.json").read_text())
    (video,) = data["videos"]
    data["videos"] = [
        {**video, "id": 7 + index, "file_names": [f"{folder}/{frame:05d}.jpg" for frame in range(3)]}
        for index, folder in enumerate(folders)
    ]
    (tmp_path / "train.json").write_text(json.dumps(data))
    assert [video.name for video in open_source("ytvis", tmp_path).videos()] == names
    data["videos"] += [{**data["videos"][0], "id": 99}]
    (tmp_path / "train.json").write_text(json.dumps(data))
    with pytest.raises(SourceError, match=r"two videos have their frames in '[^']+'; in .*train\.json"):
        open_source("ytvis", tmp_path).videos()


FRAME = r"'segmentations' of annotation 100 is broken \(0043f083b5/00000\.jpg"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("annotations"), "annotations"),  # valid.json has none
        (lambda d: d["annotations"][0]["segmentations"].pop(), "a list of 2.*expected 3, one a frame"),
        (lambda d: d["annotations"][0].update(video_id=8), "'video_id' of annotation 100 is 8.*a video"),
        (
            lambda d: d["annotations"][0].update(category_id=9),
            "'category_id' of annotation 100 is 9.*a category",
        ),
        (lambda d: d["videos"][0].update(file_names=["../../etc/passwd"] * 3), "'file_names' of video"),
        (lambda d: d["videos"][0].update(file_names=["/etc/a.jpg"] * 3), "'file_names' of video"),
        (lambda d: d["videos"][0].pop("width"), "no 'width'"),
        *(
            (lambda d, value=value: d["annotations"][0]["segmentations"].__setitem__(0, value), f"{FRAME}: {words}")
            for value, words in (
                ({"size": [4, 4], "counts": "5"}, "run lengths of size .4, 4."),
                ({"size": [raw.H, raw.W], "counts": "\x01\x02"}, "a character"),
                ({"size": [raw.H, raw.W], "counts": "5"}, "runs of 5 pixels"),
                ({"size": [raw.H, raw.W], "counts": [5, 10]}, "runs of 15 pixels"),
                ({"size": [raw.H, raw.W], "counts": 10**15}, "counts are neither text nor a list"),
                ([[0, 0, 9e9, 0, 0, 5]], "a point that is .* pixels away"),
                # null alone says that a thing is not seen
                *((value, "neither polygons nor run lengths") for value in (0, False, "", "null")),
                ({}, "run lengths of size None"),
            )
        ),
        (lambda d: d["videos"][0].update(height=20), "20x64"),
        (lambda d: d["categories"][0].update(name="\ud800"), r"'name' of category 1 is '�'.*a text"),
        (lambda d: d["videos"][0].update(file_names=["caf\udce9/0.jpg"] * 3), "'file_names' of video"),
    ],
)
def test_youtube_vis_that_is_broken(tmp_path: Path, change, said: str) -> None:
    raw.ytvis(tmp_path)
    data = json.loads((tmp_path / "train.json").read_text())
    change(data)
    (tmp_path / "train.json").write_text(json.dumps(data))
    with pytest.raises(IcvosError, match=said):
        areas(open_source("ytvis", tmp_path), "0043f083b5")


def test_crowds_leave_a_category_unsure(tmp_path: Path) -> None:
    raw.ytvis(tmp_path)
    data = json.loads((tmp_path / "train.json").read_text())
    data["annotations"][1]["iscrowd"] = 1
    (tmp_path / "train.json").write_text(json.dumps(data))
    (video,) = open_source("ytvis", tmp_path).videos()
    assert video.complete == "unsure" and 101 not in video.objects


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("davis_semantics.json", "JSON is broken"),
        ("Annotations/480p/dogs/00001.png", "decoded"),
        ("ImageSets/2017/val.txt", "no masks"),
    ],
)
def test_davis_that_is_cut_off(tmp_path: Path, path: str, said: str) -> None:
    raw.davis(tmp_path)
    place = tmp_path / path
    place.write_bytes(place.read_bytes()[: place.stat().st_size // 2 - 3])
    with pytest.raises(IcvosError, match=said):
        areas(Davis(tmp_path), "dogs")


def test_frames_without_masks_and_masks_without_frames(tmp_path: Path) -> None:
    raw.mose(tmp_path)
    source = open_source("mose", tmp_path)
    mask = tmp_path / "train/Annotations/001ca3cb/00002.png"
    mask.rename(mask.with_name("00009.png"))
    with pytest.raises(SourceError, match="mask 00009 of 001ca3cb has no image"):
        areas(source, "001ca3cb")
    mask.with_name("00009.png").unlink()
    with pytest.raises(SourceError, match="frame 00002 of 001ca3cb has no mask"):
        areas(source, "001ca3cb")


@pytest.mark.parametrize("mode", ["RGB", "I;16", "RGBA", "LA"])
def test_masks_that_are_no_label_maps(tmp_path: Path, mode: str) -> None:
    raw.mose(tmp_path)
    path = tmp_path / "train/Annotations/001ca3cb/00001.png"
    if mode == "I;16":
        Image.fromarray(np.ones((raw.H, raw.W), np.uint16)).save(path)
    else:
        Image.new(mode, (raw.W, raw.H)).save(path)
    with pytest.raises(MaskError, match=r"00001\.png"):
        areas(open_source("mose", tmp_path), "001ca3cb")


def test_a_palette_of_any_colours_or_none(tmp_path: Path) -> None:
    # DAVIS' palette is not VOC's, and some copies lost theirs: only the stored values count.
    raw.mose(tmp_path)
    raw.labels(tmp_path / "train/Annotations/001ca3cb/00000.png", raw.boxes((1, 5, 5)), colours=False)
    odd = Image.fromarray(raw.boxes((1, 5, 5)))
    odd.putpalette([7, 7, 7] * 256)
    odd.save(tmp_path / "train/Annotations/001ca3cb/00001.png")
    assert areas(open_source("mose", tmp_path), "001ca3cb")[:2] == [{1: 100}, {1: 100}]


# few objects, many, void, none at all, and more pixels than a float32 can count
@pytest.mark.parametrize(
    ("top", "size"), [(5, (61, 83)), (9, (61, 83)), (256, (61, 83)), (1, (61, 83)), (9, (4097, 4096))]
)
def test_label_map_counts_like_numpy(top: int, size: tuple[int, int]) -> None:
    array = np.random.default_rng(0).integers(0, top, size, dtype=np.uint8)
    array[0, 0] = 0
    found = LabelMap(array)
    expected = {number: count for number, count in enumerate(np.bincount(array.ravel()).tolist()) if number and count}
    assert found.void == expected.pop(255, 0)
    assert found.areas() == expected
    for numbers in ([3, 200], [2], [2], []):
        union = found.union(numbers)
        assert union.dtype == np.uint8 and np.array_equal(union, np.isin(array, numbers).astype(np.uint8))


def test_real_multi_object_first_frames(real: Path) -> None:
    source = Davis(real / "davis_multi_object")
    found = {video.name: areas(source, video.name)[0] for video in source.videos()}
    assert {name: sorted(ids) for name, ids in found.items()} == {
        "bike-trial": [1, 2],
        "boxing": [1, 2, 3],
        "burnout": [1],
        "choreography": [1, 2, 3, 4, 5, 6, 7],
        "demolition": [1, 2, 3],
        "dive-in": [1],
        "dog-control": [1, 2, 3, 4, 5],
        "dolphins": [1, 2, 3, 4, 5, 6],
    }
    for video in source.videos():
        (frame,) = source.frames(video)
        array = np.array(Image.open(frame.masks[0]))
        assert found[video.name] == {i: int((array == i).sum()) for i in np.unique(array).tolist() if i}


def test_real_void(real: Path) -> None:
    source = Davis(real / "davis_void")
    (tennis,) = source.videos()
    frame = source.frames(tennis)[0]
    labels = source.labels(tennis, frame, (480, 854))
    array = np.array(Image.open(frame.masks[0]))
    assert sorted(labels.areas()) == [1, 2] and labels.void == int((array == 255).sum()) > 0
    assert set(np.unique(labels.union([1, 2])).tolist()) == {0, 1}
    assert not labels.union([1, 2])[array == 255].any()
