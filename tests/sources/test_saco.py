"""The reader of SA-Co/VEval: what was asked, unions of masklets, and files that are not as they should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_trees as raw

from icvos.errors import SourceError, UsageError
from icvos.sources.identify import identify
from icvos.sources.saco import SacoContent, SacoVeval

Data = dict[str, Any]


def change(root: Path, edit: Callable[[Data], object], domain: str = "smartglasses") -> Path:
    """Write the tree and change its annotation file."""
    path = raw.saco(root, domain) / f"annotation/saco_veval_{domain}_test.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    return root


def source_of(root: Path, domain: str = "smartglasses") -> SacoVeval:
    return SacoVeval(root, domain=domain, split="test")


def test_what_is_asked_is_read_whatever_type_an_id_has(tmp_path: Path) -> None:
    def turn(data: Data) -> None:
        data["videos"][0]["id"], data["annotations"][2]["video_id"] = "0", 1
        data["video_np_pairs"][0]["category_id"] = "20"

    plain, turned = (
        SacoVeval(root, domain="smartglasses", split="test").read()
        for root in (raw.saco(tmp_path / "plain"), change(tmp_path / "turned", turn))
    )
    assert plain.pairs == turned.pairs
    asked = [(pair.video, pair.phrase, pair.masklets) for pair in plain.pairs if pair.phrase in (9, 20)]
    assert asked == [
        ("clip_0", 9, ()),
        ("clip_0", 20, (11, 12)),
        ("clip_1", 9, (14,)),
        ("clip_1", 20, (13,)),
        ("clip_2", 9, (15,)),
        ("clip_2", 20, ()),
        ("clip_3", 9, (17,)),
    ]
    # Phrases that nobody asked for are passed over, however many there are.
    assert plain.phrases == {9: "the cup", 20: "a dog", 41: "an old tie", 50: "red ink"}
    video = plain.videos["clip_0"]
    assert (video.name, video.split, video.fps, video.complete) == ("clip_0", "test", 6.0, "yes")


def test_the_truth_of_a_frame_is_the_union_of_the_masklets(tmp_path: Path) -> None:
    source = source_of(raw.saco(tmp_path))
    content = source.read()
    for name, masklets, places in (("clip_0", (11, 12), (0, 1)), ("clip_3", (17,), (6,))):
        video = content.videos[name]
        for index, frame in enumerate(source.frames(video)):
            labels = source.labels(video, frame, (raw.H, raw.W))
            corners = [corner for row in places for corner in raw.SACO_MASKLETS[row][2][index]]
            expected = raw.boxes(*((1, y, x) for y, x in corners))
            assert np.array_equal(labels.union(masklets), expected)
            assert labels.union_area(masklets) == expected.sum()
            # An empty code is as good as null.
            assert set(labels.areas()) == {
                each for each, row in zip(masklets, places) if raw.SACO_MASKLETS[row][2][index]
            }
    assert [frame.name for frame in source.frames(content.videos["clip_1"])] == ["00000", "00004", "00008", "00012"]


def test_sav_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    source = source_of(raw.saco(tmp_path, "sav"), "sav")
    assert (source.id, source.images) == ("saco_sav", tmp_path / "media/saco_sav/JPEGImages_24fps")
    assert "CC BY-NC 4.0" in source.licence
    # What is in the two folders may lie in one.
    for name in ("annotation", "media"):
        for path in (tmp_path / name).iterdir():
            path.rename(tmp_path / path.name)
    assert source_of(tmp_path, "sav").read().pairs == source_of(raw.saco(tmp_path / "again", "sav"), "sav").read().pairs


def lengthen(values: list[Any]) -> None:
    values.append(None)


BROKEN: list[tuple[Callable[[Data], object], str]] = [
    (lambda d: d["annotations"][0]["segmentations"].pop(), "'segmentations' of annotation 11 is a list of 3.*4, one a"),
    (lambda d: lengthen(d["annotations"][0]["bboxes"]), "'bboxes' of annotation 11 is a list of 5"),
    (lambda d: d["annotations"][0].update(areas=[None] * 7), "'areas' of annotation 11 is a list of 7"),
    (lambda d: d["annotations"][0].update(segmentations=None), "'segmentations' of annotation 11 is null"),
    (lambda d: d["annotations"][0].update(iscrowd=1), "'iscrowd' of annotation 11 is 1"),
    (lambda d: d["annotations"][0].update(video_id=9), "'video_id' of annotation 11 is 9"),
    (lambda d: d["annotations"][0].update(video_id=None), "'video_id' of annotation 11 is null.*number or a text"),
    (lambda d: d["annotations"][0].update(category_id=4), "'category_id' of annotation 11 is 4"),
    (lambda d: d["video_np_pairs"][0].update(num_masklets=3), "'num_masklets' of pair 0 is 3.*expected 2, as"),
    (lambda d: d["video_np_pairs"][1].update(num_masklets=1), "'num_masklets' of pair 1 is 1.*expected 0, as"),
    (lambda d: d["video_np_pairs"].append({**d["video_np_pairs"][0], "id": 99}), "pair 0 and pair 99 ask the same"),
    (lambda d: d["videos"][1].update(id=0), "video number 0 and video number 1 both have the id 0"),
    (lambda d: d["videos"][1].update(length=7), "'length' of video 1 is 7.*expected 4"),
    (lambda d: d["videos"][1].update(file_names=d["videos"][0]["file_names"]), "two videos have their frames in"),
    (lambda d: d["videos"][1].update(file_names=["../../x/0.jpg"] * 4), "'file_names' of video 1"),
    (lambda d: d["categories"][2].update(name="a\x1b[2J dog"), "'name' of category 20.*can be printed"),
    (lambda d: d.pop("video_np_pairs"), "'video_np_pairs' is missing"),
    (lambda d: d.update(videos={}), "'videos' is a dict"),
]


@pytest.mark.parametrize(("edit", "message"), BROKEN)
def test_a_broken_annotation_file_is_told_by_its_entry(
    tmp_path: Path, edit: Callable[[Data], object], message: str
) -> None:
    with pytest.raises(SourceError, match=message) as error:
        source_of(change(tmp_path, edit)).read()
    assert "saco_veval_smartglasses_test.json" in str(error.value) and "\n" not in str(error.value)


def first_labels(root: Path) -> None:
    source = source_of(root)
    video = source.read().videos["clip_0"]
    frame = source.frames(video)[0]
    source.labels(video, frame, source.size(video))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ({"size": [raw.W, raw.H], "counts": "0"}, r"run lengths of size \[64, 48\], of an image of 48x64"),
        ({"size": [raw.H, raw.W], "counts": "1"}, "runs of"),
        ({"size": [raw.H, raw.W], "counts": [5, 2**40]}, "runs of"),
        ("dog", "neither polygons nor run lengths"),
    ],
)
def test_a_broken_code_is_told_by_its_masklet_and_frame(tmp_path: Path, code: Any, message: str) -> None:
    def put(data: Data) -> None:
        data["annotations"][0]["segmentations"][0] = code

    with pytest.raises(SourceError, match=f"annotation 11 is broken.*clip_0/00000.jpg: {message}"):
        first_labels(change(tmp_path, put))


def test_frames_that_are_not_there_are_told(tmp_path: Path) -> None:
    root = raw.saco(tmp_path)
    images = root / "media/saco_sg/JPEGImages_6fps"
    (images / "clip_0/00008.jpg").unlink()
    with pytest.raises(SourceError, match=r"1 frame of clip_0 is missing.*clip_0/00008.jpg"):
        first_labels(root)
    shutil.rmtree(images / "clip_0")
    (images / "clip_0").write_text("a file in a folder's place")
    with pytest.raises(SourceError, match="4 frames of clip_0 are missing"):
        first_labels(root)
    shutil.rmtree(images)
    with pytest.raises(SourceError, match=r"no folder of frames.*JPEGImages_6fps"):
        source_of(root)
    images.write_text("a file in a folder's place")
    with pytest.raises(SourceError, match="a file is in place of the folder of frames"):
        source_of(root)


def test_another_domain_or_split_names_what_is_here(tmp_path: Path) -> None:
    root = raw.saco(tmp_path)
    with pytest.raises(
        SourceError, match=r"no such annotation file.*saco_veval_sav_test.json.*--domain smartglasses --split test"
    ):
        source_of(root, "sav")
    with pytest.raises(UsageError, match="did you mean 'smartglasses'"):
        source_of(root, "smartglass")
    with pytest.raises(UsageError, match="expected val or test"):
        SacoVeval(root, domain="sav", split="train")
    path = root / "annotation/saco_veval_smartglasses_test.json"
    path.unlink()
    path.mkdir()
    with pytest.raises(SourceError, match=r"saco_veval_smartglasses_test\.json"):
        source_of(root).read()


def test_masklets_that_nobody_asked_for_are_left_out(tmp_path: Path) -> None:
    content: SacoContent = source_of(change(tmp_path, lambda data: data["video_np_pairs"].pop(6))).read()
    assert content.left_out == {"clip_2,phrase 41": "has masklets, and nobody asked for it"}
    assert 16 not in content.videos["clip_2"].objects


def test_two_phrases_of_one_text_keep_their_ids(tmp_path: Path) -> None:
    content = source_of(change(tmp_path, lambda data: data["categories"][1].update(name="a  dog"))).read()
    assert content.phrases[9] == "a dog (9)" and content.phrases[20] == "a dog (20)"


def test_the_data_set_is_told_by_its_files(tmp_path: Path) -> None:
    (found,) = identify(raw.saco(tmp_path))
    assert found.title == "SA-Co/VEval SmartGlasses test" and found.verdict == "not known"
    assert {what: count.found for what, count in found.counts.items()} == {"sequences": 4, "frames": 16, "objects": 7}
    assert found.notes == ("4 phrases are asked, in 6 positive and 4 negative pairs",)
    (tmp_path / "media/saco_sg/JPEGImages_6fps/clip_2/00004.jpg").unlink()
    (found,) = identify(tmp_path)
    assert not found.whole and "clip_2" in found.problems[0]
