"""Annotation files: fields are read by type, the same way in COCO and YouTube-VIS; the rest is refused by its entry."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import fewshot_trees as trees
import numpy as np
import pytest
import raw_trees as raw

from icvos.errors import IcvosError, SourceError
from icvos.sources.annotations import REQUIRED, Entry
from icvos.sources.coco import Coco
from icvos.sources.ytvis import YouTubeVis

SQUARE = trees.rectangle(4, 4, 10, 10)


def entry(value: Any) -> Entry:
    return Entry({"id": 17, "x": value}, "annotation", 3, Path("a.json"))


@pytest.mark.parametrize(("value", "number"), [(5, 5), ("5", 5), (" 05 ", 5), (5.0, 5), (0, 0)])
def test_whole_numbers(value: Any, number: int) -> None:
    read = entry(value).integer("x")
    assert read == number and type(read) is int


@pytest.mark.parametrize(
    "value", [None, True, 5.5, "five", "5.0", "", "-5", -5, 2**60, float("nan"), [5], {}, "9" * 30, "٥"]
)
def test_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(SourceError, match=r"'x' of annotation 17 is .*a\.json"):
        entry(value).integer("x")


@pytest.mark.parametrize(("value", "number"), [(5, 5.0), (5.5, 5.5), ("5.5", 5.5), (0, 0.0)])
def test_numbers(value: Any, number: float) -> None:
    read = entry(value).number("x")
    assert read == number and type(read) is float


@pytest.mark.parametrize("value", [None, True, "x", "nan", "inf", float("inf"), -float("inf"), 10**400, [1], "1e999"])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(SourceError, match=r"'x' of annotation 17 is .*a finite number"):
        entry(value).number("x")


@pytest.mark.parametrize(
    ("value", "flag"),
    [*((v, False) for v in (0, "0", False, "false", None)), *((v, True) for v in (1, "1", True, "True"))],
)
def test_flags(value: Any, flag: bool) -> None:
    assert entry(value).flag("x") is flag


@pytest.mark.parametrize("value", [2, -1, "yes", "", [], [0], {}, 0.5])
def test_what_is_no_flag(value: Any) -> None:
    with pytest.raises(SourceError, match=r"'x' of annotation 17 is .*0 or 1"):
        entry(value).flag("x")


def test_missing_fields_and_entries_without_an_id() -> None:
    nameless = Entry({}, "image", 3, Path("a.json"))
    with pytest.raises(SourceError, match="image number 3 has no 'x'"):
        nameless.integer("x")
    assert nameless.integer("x", None) is None and nameless.number("x", 2.5) == 2.5 and not nameless.flag("x")
    with pytest.raises(SourceError, match="has no 'x'"):
        nameless.number("x", REQUIRED)


# ------------------------------------------------------------------------------------------------------------- COCO


def coco(folder: Path, **fields: Any) -> Coco:
    """COCO with one annotation on image 1, some of whose fields are others."""
    return Coco(trees.coco(folder, [{**trees.annotation(1, "dog", SQUARE), **fields}]), "val2014")


@pytest.mark.parametrize(
    ("fields", "instance", "crowd"),
    [
        ({"iscrowd": "0"}, 100, 0),
        ({"iscrowd": None}, 100, 0),
        ({"iscrowd": "1"}, 0, 100),
        ({"iscrowd": True}, 0, 100),
        ({"image_id": "1"}, 100, 0),
        ({"category_id": "18"}, 100, 0),
        ({"segmentation": SQUARE[0]}, 100, 0),  # one polygon, not in a list
        ({"segmentation": [*SQUARE, [1, 1, 5, 5], []]}, 100, 0),  # two points, and none, enclose nothing
        ({"segmentation": [[]]}, 0, 0),
        ({"segmentation": []}, 0, 0),
    ],
)
def test_what_coco_means(tmp_path: Path, fields: dict[str, Any], instance: int, crowd: int) -> None:
    mask = coco(tmp_path, **fields).class_mask(1, 17)
    assert (np.count_nonzero(mask == 1), np.count_nonzero(mask == 255)) == (instance, crowd)


def test_an_area_that_is_not_given_is_counted(tmp_path: Path) -> None:
    assert coco(tmp_path / "a", area=7.5).area(1, 17) == 7.5
    assert coco(tmp_path / "b", area="7.5").area(1, 17) == 7.5
    assert coco(tmp_path / "c", area=None).area(1, 17) == 100
    with pytest.raises(SourceError, match="'area' of annotation 1 is 'large'"):
        coco(tmp_path / "d", area="large").area(1, 17)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"iscrowd": 2}, "'iscrowd' of annotation 1 is 2"),
        ({"segmentation": None}, r"'segmentation' of annotation 1 is broken \(neither polygons"),
        ({"segmentation": [1.0, 2.0, 3.0, 4.0, 5.0, "6"]}, "no list of numbers"),
        ({"segmentation": [[1, 1, 9, 1, 9, 9, 1]]}, "7 numbers, which are no pairs"),
        ({"segmentation": [[1, 1, 9, 1, 9, float("nan")]]}, "no number"),
        ({"segmentation": [[1, 1, 9, 1, 9, float("inf")]]}, "no number"),
        ({"segmentation": {"counts": [5]}}, "size None"),
        ({"segmentation": "polygon"}, "neither polygons nor run lengths"),
    ],
)
def test_what_coco_cannot_mean(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        coco(tmp_path, **fields).class_mask(1, 17)


def test_a_missing_segmentation_is_named(tmp_path: Path) -> None:
    annotation = trees.annotation(1, "dog", SQUARE)
    del annotation["segmentation"]
    with pytest.raises(SourceError, match="annotation 1 has no 'segmentation'"):
        Coco(trees.coco(tmp_path, [annotation]), "val2014").class_mask(1, 17)


def test_a_licence_in_words_is_no_number(tmp_path: Path) -> None:
    root = trees.coco(tmp_path, [trees.annotation(1, "dog", SQUARE)])
    path = root / "annotations" / "instances_val2014.json"
    content = json.loads(path.read_text())
    content["images"][0]["license"] = "CC BY 4.0"
    path.write_text(json.dumps(content))
    assert Coco(root, "val2014").images[1].licence is None


@pytest.mark.parametrize(("name", "kind"), [("images", "image"), ("categories", "category")])
def test_two_entries_of_one_id_are_named(tmp_path: Path, name: str, kind: str) -> None:
    root = trees.coco(tmp_path, [trees.annotation(1, "dog", SQUARE)])
    path = root / "annotations" / "instances_val2014.json"
    content = json.loads(path.read_text())
    content[name].append({**content[name][1], "name": "another"})
    path.write_text(json.dumps(content))
    last = len(content[name]) - 1
    with pytest.raises(SourceError, match=rf"{kind} number 1 and {kind} number {last} both"):
        Coco(root, "val2014")


# ------------------------------------------------------------------------------------------------------ YouTube-VIS


@pytest.mark.parametrize(
    ("name", "kind"), [("annotations", "annotation"), ("videos", "video"), ("categories", "category")]
)
def test_two_tracks_of_one_id_are_named(tmp_path: Path, name: str, kind: str) -> None:
    """The second would take the first's place, and its pixels would be gone."""
    raw.ytvis(tmp_path)
    path = tmp_path / "train.json"
    content = json.loads(path.read_text())
    content[name].append(copy.deepcopy(content[name][0]))
    path.write_text(json.dumps(content))
    number = content[name][0]["id"]
    with pytest.raises(SourceError, match=rf"{kind} number 0 and {kind} number \d+ both have the id {number}"):
        YouTubeVis(tmp_path).videos()


@pytest.mark.parametrize(
    "name", ["instances.json", "youtube_vis_2019_train.json", "youtube_vis_2021_train.json", "ovis_train.json"]
)
def test_annotations_in_a_folder_of_theirs(tmp_path: Path, name: str) -> None:
    raw.ytvis(tmp_path)
    before = YouTubeVis(tmp_path).videos()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train.json").rename(tmp_path / "annotations" / name)
    assert YouTubeVis(tmp_path).videos() == before


def test_flags_in_quotes_mean_the_same_in_videos(tmp_path: Path) -> None:
    raw.ytvis(tmp_path)
    path = tmp_path / "train.json"
    before = YouTubeVis(tmp_path).videos()
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = str(annotation.get("iscrowd", 0))
    path.write_text(json.dumps(content))
    assert YouTubeVis(tmp_path).videos() == before


# -------------------------------------------------------------------------------------------------- changed at will

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**70, 1.5, float("nan"), float("inf")),
    *("", "1", "x", "../x", "\0", [], [[]], [1], {}, {"a": 1}),
)


def changed(content: Any, generator: random.Random) -> Any:
    """A copy with one value changed, dropped, or doubled, anywhere within."""
    content = copy.deepcopy(content)
    node = content
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        if not keys:
            return content
        key = generator.choice(list(keys))
        inner = node[key]
        if not isinstance(inner, (dict, list)) or generator.random() < 0.2:
            break
        node = inner
    choice = generator.random()
    if choice < 0.7:
        node[key] = generator.choice(ODD)
    elif choice < 0.85:
        del node[key]
    elif isinstance(node, list):
        node.append(copy.deepcopy(inner))
    return content


def test_five_thousand_changed_files_are_read_or_refused(tmp_path: Path) -> None:
    """Whatever a value becomes: the annotations are read, or one line says which entry and field is wrong."""
    generator = random.Random(0)
    crowd = {"size": list(trees.SIZE), "counts": [10, 20, trees.SIZE[0] * trees.SIZE[1] - 30]}
    shapes = [
        trees.annotation(1, "dog", SQUARE),
        trees.annotation(1, "dog", crowd, crowd=1),
        trees.annotation(2, "cat", SQUARE),
    ]
    root = trees.coco(tmp_path / "coco", shapes)
    raw.ytvis(tmp_path / "vis")
    files = {"coco": root / "annotations" / "instances_val2014.json", "vis": tmp_path / "vis" / "train.json"}
    contents = {name: json.loads(path.read_text()) for name, path in files.items()}
    contents["coco"]["categories"] = contents["coco"]["categories"][:20]
    outcomes = {True: 0, False: 0}
    for number in range(5000):
        name = "coco" if number % 2 else "vis"
        files[name].write_text(json.dumps(changed(contents[name], generator)))
        try:
            read_all(name, root if name == "coco" else tmp_path / "vis")
            outcomes[True] += 1
        except IcvosError as error:
            outcomes[False] += 1
            assert "\n" not in str(error) and "Error" not in str(error) and "object has no" not in str(error)
    assert min(outcomes.values()) > 1000, outcomes


def read_all(name: str, root: Path) -> None:
    if name == "coco":
        reader = Coco(root, "val2014")
        for image in reader.images:
            reader.class_codes(image)
            for category in reader.categories_of(image):
                assert set(np.unique(reader.class_mask(image, category))) <= {0, 1, 255}
                assert reader.area(image, category) >= -(2**53)
        return
    source = YouTubeVis(root)
    for video in source.videos():
        for frame in source.frames(video):
            labels = source.labels(video, frame, video.detail[2])
            areas = labels.areas()
            assert labels.union(areas).sum() <= sum(areas.values())
