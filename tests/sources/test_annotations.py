"""Annotation files: fields are read by type, the same way in COCO and YouTube-VIS; the rest is refused by its entry."""

from __future__ import annotations

import copy
import json
import random
import re
import tracemalloc
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import fewshot_trees as trees
import numpy as np
import pytest
import raw_trees as raw
from pycocotools import mask as rle

from icvos.categories import COCO80
from icvos.errors import IcvosError, SourceError
from icvos.sources.annotations import REQUIRED, Entry, check_ids, read_annotations
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


@pytest.mark.parametrize("identity", ["", " ", "\0", "a\n", "\ud800", True, None, 1.5, []])
def test_an_entry_whose_id_is_no_name_is_called_by_its_place(identity: Any) -> None:
    with pytest.raises(SourceError, match="'x' of annotation number 3 is null"):
        Entry({"id": identity, "x": None}, "annotation", 3, Path("a.json")).integer("x")


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
        ({"segmentation": {"size": [48, 64], "counts": [True, 48 * 64 - 1]}}, "neither text nor a list of whole"),
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


@pytest.mark.parametrize(
    ("name", "kind"), [("images", "image"), ("categories", "category"), ("annotations", "annotation")]
)
def test_two_entries_of_one_id_are_named(tmp_path: Path, name: str, kind: str) -> None:
    root = trees.coco(tmp_path, [trees.annotation(1, "dog", SQUARE), trees.annotation(2, "cat", SQUARE)])
    path = root / "annotations" / "instances_val2014.json"
    content = json.loads(path.read_text())
    content[name].append({**content[name][1], "name": "another"})
    path.write_text(json.dumps(content))
    last = len(content[name]) - 1
    with pytest.raises(SourceError, match=rf"{kind} number 1 and {kind} number {last} both"):
        Coco(root, "val2014")


def test_ids_of_annotations_are_compared_as_what_they_are() -> None:
    def checked(*identities: Any) -> None:
        check_ids([Entry({"id": each}, "annotation", i, Path("a.json")) for i, each in enumerate(identities)])

    checked(1, 2, "a", "b", None, None, [1], [1], 1.5, 1.5, True, 3.0)
    for pair in ((7, 7), (7, "7"), (7, 7.0), ("a", "a")):
        with pytest.raises(SourceError, match=r"annotation number 1 and annotation number 2 both have the id [7a]; in"):
            checked(0, *pair)


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
    before = read_videos(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train.json").rename(tmp_path / "annotations" / name)
    assert read_videos(tmp_path) == before


@pytest.mark.parametrize(
    "shape",
    [
        [[n / 7 for n in range(600)]],
        {"size": [480, 640], "counts": list(range(1000, 1600))},
    ],
)
def test_shapes_take_less_memory_than_three_times_their_file(tmp_path: Path, shape: Any) -> None:
    """As Python's objects they take from five to eight times as much; the text is held once while it is parsed."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"annotations": [{"id": n, "segmentation": shape} for n in range(100)]}))
    tracemalloc.start()
    try:
        lists = read_annotations(path, {"annotations": "annotation"}, expected="annotations")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(lists["annotations"]) == 100 and peak < 3 * path.stat().st_size


def test_flags_in_quotes_mean_the_same_in_videos(tmp_path: Path) -> None:
    raw.ytvis(tmp_path)
    path = tmp_path / "train.json"
    before = read_videos(tmp_path)
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = str(annotation.get("iscrowd", 0))
    path.write_text(json.dumps(content))
    assert read_videos(tmp_path) == before


# -------------------------------------------------------------------------------------------------- changed at will

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**70, 1.5, float("nan"), float("inf")),
    *("", "1", "x", "../x", "\0", [], [[]], [1], {}, {"a": 1}),
)


def changed(content: Any, generator: random.Random) -> Any:
    """A copy with one value changed, dropped, or doubled, anywhere within, in segmentations most often."""
    content = json.loads(json.dumps(content))
    node = content
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return content
        often = ("annotations", "segmentation", "segmentations", "counts")
        (key,) = generator.choices(keys, [5 if key in often else 1 for key in keys])
        inner = node[key]
        if not isinstance(inner, (dict, list)) or generator.random() < 0.2:
            break
        node = inner
    choice, number = generator.random(), type(inner) in (int, float)
    if choice < 0.4:
        node[key] = generator.choice(ODD)
    elif choice < 0.6:
        near = (inner + 1, inner - 1, float(inner), str(inner), f" {inner}", inner == 1) if number else (inner,)
        node[key] = generator.choice(near)
    elif choice < 0.75 and isinstance(node, list) and number and type(node[key - 1]) in (int, float):
        more = generator.randint(-30, 30)  # runs fill the image still
        node[key] += more
        node[key - 1] -= more
    elif choice < 0.85:
        del node[key]
    elif isinstance(node, list):
        node.append(copy.deepcopy(inner))
    return content


def spoilt(content: Any, generator: random.Random) -> bytes:
    """The JSON of a copy with one or two values changed; of three files one has its bytes changed too."""
    for _ in range(generator.choice((1, 1, 1, 2))):
        content = changed(content, generator)
    text, kind = json.dumps(content), generator.random()
    if kind < 0.03:  # a key that may be there already
        text = '{"id": 1, '.join(text.rsplit("{", generator.randint(1, 3)))
    data = bytearray(text.encode(generator.choice(("utf-8", "utf-8-sig", "utf-16"))))
    if 0.03 < kind < 0.1:
        del data[generator.randrange(len(data)) :]
    elif 0.1 < kind < 0.35:
        for _ in range(generator.randint(1, 2)):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return bytes(data)


class Meaning:
    """What an annotation file means, and what is wrong with it, read without the code under test.

    ``wrong`` holds, for each thing that is, the words that its line must have: the entry and its field. A file is read
    if and only if there is none.
    """

    def __init__(self, path: Path, kinds: dict[str, str]) -> None:
        self.path = path
        self.wrong: list[tuple[str, ...]] = []
        self.lists: dict[str, list[tuple[str, dict]]] = {}
        try:
            content = json.loads(path.read_bytes(), object_pairs_hook=self.once)
        except ValueError:
            self.refuse("JSON")
            return
        if type(content) is not dict:
            self.refuse("file holds")
            return
        for name, kind in kinds.items():
            entries = content.get(name)
            if type(entries) is not list:
                self.refuse(f"'{name}'")
                entries = []
            for index, entry in enumerate(entries):
                if type(entry) is dict:
                    self.lists.setdefault(name, []).append((called(kind, index, entry), entry))
                else:
                    self.refuse(f"{kind} number {index} ")

    @staticmethod
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError
        return dict(pairs)

    def refuse(self, *words: str) -> None:
        self.wrong.append((*words, str(self.path)))

    def check(self, right: bool, label: str, field: str) -> bool:
        if not right:
            self.refuse(f"{label} ", f"'{field}'")
        return right

    def integer(self, label: str, entry: dict, field: str, least: int = 0, most: int = 2**53) -> int | None:
        value = entry.get(field)
        if type(value) is str and value.strip().isascii() and value.strip().isdigit():
            value = int(value)
        if type(value) is float and value % 1 == 0:
            value = int(value)
        right = type(value) is int and least <= value <= most
        return value if self.check(right, label, field) else None

    def text(self, label: str, entry: dict, field: str) -> str | None:
        return entry[field] if self.check(is_text(entry.get(field)), label, field) else None

    def flag(self, label: str, entry: dict, field: str) -> bool:
        value = entry.get(field)
        if type(value) is str:
            value = {"0": 0, "false": 0, "1": 1, "true": 1}.get(value.strip().lower(), value)
        self.check(value is None or value in (0, 1), label, field)
        return value == 1

    def file(self, label: str, value: Any, field: str) -> str | None:
        """The path that a name means; ``/`` and ``\\`` lead on, and nothing leads up or to another disk."""
        whole = value.replace("\\", "/") if is_text(value) else "/"
        parts = [part for part in whole.split("/") if part not in ("", ".")]
        right = whole[0] != "/" and parts != [] and ".." not in parts and ":" not in parts[0] and "\0" not in whole
        return "/".join(parts) if self.check(right, label, field) else None

    def by_id(self, name: str, kind: str) -> list[tuple[int, str, dict]]:
        numbers: list[int | None] = []
        for label, entry in self.lists.get(name, ()):
            numbers.append(self.integer(label, entry, "id"))
            if numbers[-1] in numbers[:-1]:
                self.refuse(f"{kind} number ", f"both have the id {numbers[-1]}")
        return [(n, *entry) for n, entry in zip(numbers, self.lists.get(name, ())) if n is not None]

    def different(self, name: str, kind: str) -> None:
        """Refuse two entries of one id; those without a number or text are others."""
        seen = set[int | str]()
        for _, entry in self.lists.get(name, ()):
            value = entry.get("id")
            if type(value) is str and value.strip().isascii() and value.strip().isdigit():
                value = int(value)
            if type(value) is float and value % 1 == 0:
                value = int(value)
            if type(value) in (int, str):
                if value in seen:
                    self.refuse(f"{kind} number ", f"both have the id {value}")
                seen.add(value)

    def pixels(self, label: str, value: Any, field: str, size: tuple[int, int]) -> np.ndarray:
        """The mask of a segmentation by pycocotools, polygon by polygon, once nothing in it is wrong."""
        height, width = size
        mask = np.zeros(size, bool)
        if type(value) is list:
            flat = value != [] and all(type(x) in (int, float) for x in value)
            for polygon in [value] if flat else value:
                right = type(polygon) is list and all(type(x) in (int, float) and abs(x) <= 1e5 for x in polygon)
                if self.check(right and len(polygon) % 2 == 0, label, field) and len(polygon) > 4:
                    (code,) = rle.frPyObjects([[float(x) for x in polygon]], height, width)
                    mask |= rle.decode(code).astype(bool)
            return mask
        counts = value.get("counts") if type(value) is dict else None
        runs = runs_of(counts) if type(counts) is str else counts
        right = type(runs) is list and all(type(run) is int and run >= 0 for run in runs) and sum(runs) == mask.size
        if self.check(right and value.get("size") == [height, width], label, field):
            code = {"size": [height, width], "counts": counts}
            mask = rle.decode(rle.frPyObjects(code, height, width) if type(counts) is list else code).astype(bool)
        return mask


def is_text(value: Any) -> bool:
    return type(value) is str and value.strip() != "" and not any("\ud800" <= letter <= "\udfff" for letter in value)


def called(kind: str, index: int, entry: dict) -> str:
    """How messages call an entry: by its id, or by its place where that is no name."""
    number = entry.get("id")
    named = type(number) is int or (type(number) is str and number.strip() != "" and number.isprintable())
    return " ".join(f"{kind} {str(number)[:40]}".split()) if named else f"{kind} number {index}"


def runs_of(text: str) -> list[int] | None:
    """COCO's text of run lengths, a number a match: five bits a character, the lowest first, the highest a sign."""
    if not re.fullmatch("([P-o]*[0-O])*", text):
        return None
    runs: list[int] = []
    for digits in re.findall("[P-o]*[0-O]", text):
        number = sum((ord(digit) - 48) % 32 << 5 * place for place, digit in enumerate(digits))
        number -= 32 ** len(digits) if (ord(digits[-1]) - 48) & 16 else 0
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
    return runs


def coco_meaning(root: Path) -> tuple[list[tuple[str, ...]], Any]:
    """What is wrong with a COCO file and, if nothing is, what ``read_coco`` should find."""
    path = root / "annotations/instances_val2014.json"
    meaning = Meaning(path, {"images": "image", "annotations": "annotation", "categories": "category"})
    images, names = {}, {}
    for number, label, entry in meaning.by_id("images", "image"):
        size = tuple(meaning.integer(label, entry, side, 1, 65535) for side in ("height", "width"))
        file = meaning.file(label, entry.get("file_name"), "file_name")
        licence = entry.get("license")
        images[number] = file, *size, licence if type(licence) is int else None
        if names.setdefault(str(PurePosixPath(file or str(number)).with_suffix("")), number) != number:
            meaning.refuse("images ", "have one name")
    categories = {
        number: COCO80.find(meaning.text(label, entry, "name") or "")
        for number, label, entry in meaning.by_id("categories", "category")
    }
    meaning.different("annotations", "annotation")
    shown: dict[int, dict[int, list]] = {number: {} for number in images}
    for label, entry in meaning.lists.get("annotations", ()):
        image, category = (meaning.integer(label, entry, field) for field in ("image_id", "category_id"))
        known = meaning.check(image in images, label, "image_id")
        if meaning.check(category in categories, label, "category_id") and known and categories[category]:
            crowd = meaning.flag(label, entry, "iscrowd")
            size = images[image][1:3]
            if None not in size:
                mask = meaning.pixels(label, entry.get("segmentation"), "segmentation", size)
                area = mask.sum() if crowd or entry.get("area") is None else finite(entry["area"])
                meaning.check(area is not None, label, "area")
                shown[image].setdefault(categories[category], []).append((crowd, mask, area))
    if meaning.wrong:
        return meaning.wrong, None
    found = {}
    for image, (_, *size, _) in images.items():
        for category, instances in shown[image].items():
            union, crowd = np.zeros(size, bool), np.zeros(size, bool)
            for is_crowd, mask, _ in instances:
                (crowd if is_crowd else union)[mask] = True
            areas = [area for is_crowd, _, area in instances if not is_crowd]
            if areas or crowd.any():
                count = len(areas) if union.any() or crowd.any() else None
                found[image, category] = (count, sum(areas), union.tobytes(), crowd.tobytes())
    return [], (images, found)


def finite(value: Any) -> float | None:
    try:
        number = float(value) if type(value) in (int, float, str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and abs(number) < 2**53 else None


def read_coco(root: Path) -> Any:
    """What the reader finds: the images; each one's categories with their things, the area of these, and pixels."""
    reader = Coco(root, "val2014")
    images = {number: (i.file_name, i.height, i.width, i.licence) for number, i in reader.images.items()}
    found = {}
    for image, (_, *size, _) in images.items():
        codes = {category: rest for category, *rest in reader.class_codes(image)}
        things = reader.categories_of(image)
        for category in {*codes, *things}:
            mask, area = reader.class_mask(image, category), reader.area(image, category)
            count, pixels, *both = codes.get(category, (None, 0, b"", b""))
            union, crowd = (rle.decode({"size": size, "counts": c}) if c else np.zeros(size, np.uint8) for c in both)
            assert pixels == union.sum() and np.array_equal(mask, np.where(union, 1, crowd * 255))
            assert (category in things) == (image in reader.image_ids_of(category))
            if category in things or mask.any():
                found[image, category] = (count if mask.any() else None, area, union.tobytes(), crowd.tobytes())
    return images, found


def ytvis_meaning(root: Path) -> tuple[list[tuple[str, ...]], Any]:
    """What is wrong with a YouTube-VIS file and, if nothing is, what ``read_videos`` should find."""
    meaning = Meaning(root / "train.json", {"categories": "category", "videos": "video", "annotations": "annotation"})
    names = {
        number: meaning.text(label, entry, "name") for number, label, entry in meaning.by_id("categories", "category")
    }
    files: dict[int, list] = {}
    for number, label, entry in meaning.by_id("videos", "video"):
        size = tuple(meaning.integer(label, entry, side, 1, 65535) for side in ("height", "width"))
        if size != (raw.H, raw.W):
            meaning.wrong.append(("frame is 48x64", f"expected {size[0]}x{size[1]}, as the JSON says"))
        values = entry.get("file_names")
        listed = meaning.check(type(values) is list and values != [], label, "file_names")
        files[number] = [meaning.file(label, value, "file_names") for value in values] if listed else []
        meaning.check(all("/" in file for file in files[number] if file), label, "file_names")
        for file in files[number]:
            if file and not (root / "train/JPEGImages" / file).is_file():
                meaning.wrong.append(("frame", file, str(root)))
    objects: dict[int, dict[int, str | None]] = {number: {} for number in files}
    masks: dict[int, list[dict]] = {number: [{} for _ in each] for number, each in files.items()}
    crowds = set()
    for number, label, entry in meaning.by_id("annotations", "annotation"):
        category, video = (meaning.integer(label, entry, field) for field in ("category_id", "video_id"))
        meaning.check(category in names, label, "category_id")
        values = entry.get("segmentations")
        if not meaning.check(video in files, label, "video_id"):
            continue
        if not meaning.check(type(values) is list and len(values) == len(files[video]), label, "segmentations"):
            continue
        if meaning.flag(label, entry, "iscrowd"):
            crowds.add(video)
            continue
        objects[video][number] = names.get(category)
        for shown, value in zip(masks[video], values):
            mask = np.zeros((raw.H, raw.W), bool)
            if value is not None:
                mask = meaning.pixels(label, value, "segmentations", (raw.H, raw.W))
            shown[number] = mask.tobytes()
    return meaning.wrong, [
        (
            each[0].rsplit("/", 1)[0],
            objects[number],
            "unsure" if number in crowds else "yes",
            list(zip(each, masks[number])),
        )
        for number, each in files.items()
        if not meaning.wrong
    ]


def read_videos(root: Path) -> Any:
    """What the reader finds: videos, their objects, and these objects' pixels in each frame."""
    source = YouTubeVis(root)
    found = []
    for video in source.videos():
        frames = []
        for frame in source.frames(video):
            labels = source.labels(video, frame, (raw.H, raw.W))
            masks = {number: labels.union([number]) for number in video.objects}
            assert labels.areas() == {number: mask.sum() for number, mask in masks.items() if mask.any()}
            file = frame.image.relative_to(root / "train/JPEGImages").as_posix()
            frames.append((file, {number: mask.tobytes() for number, mask in masks.items()}))
        found.append((video.name, dict(video.objects), video.complete, frames))
    return found


def test_five_thousand_changed_files_are_read_right_or_refused(tmp_path: Path) -> None:
    """Types, bits, cuts: the annotations mean what json and pycocotools say, or one line names the entry and field."""
    generator = random.Random(0)
    crowd = {"size": list(trees.SIZE), "counts": [10, 1, 20, 1, trees.SIZE[0] * trees.SIZE[1] - 32]}
    text = rle.encode(np.asfortranarray(np.eye(*trees.SIZE, dtype=np.uint8)))["counts"].decode()
    shapes = [
        trees.annotation(1, "dog", SQUARE, area=99.5),
        trees.annotation(1, "dog", crowd, crowd=1),
        trees.annotation(1, "dog", trees.rectangle(9, 9, 10, 10)[0]),
        trees.annotation(3, "bird", [[1, 1, 30, 1, 1, 30], [2, 2, 9, 9], []]),
        {**trees.annotation(2, "cat", {"size": list(trees.SIZE), "counts": text}), "area": None, "id": "a2"},
    ]
    vis, coco = raw.ytvis(tmp_path / "vis"), trees.coco(tmp_path / "coco", shapes)
    files = (vis / "train.json", coco / "annotations" / "instances_val2014.json")
    contents = [json.loads(path.read_text()) for path in files]
    contents[1]["categories"] = contents[1]["categories"][:20]
    outcomes = Counter[str]()
    for number in range(5000):
        is_coco = number % 2
        files[is_coco].unlink()  # disks wait where a file is cut to nothing and written again
        files[is_coco].write_bytes(spoilt(contents[is_coco], generator))
        wrong, expected = coco_meaning(coco) if is_coco else ytvis_meaning(vis)
        try:
            found = read_coco(coco) if is_coco else read_videos(vis)
        except IcvosError as error:
            line = str(error)
            assert line.isprintable() and "Error" not in line and "object has no" not in line
            assert any(all(word in line for word in words) for words in wrong), (line, wrong)
            outcomes["refused, coco" if is_coco else "refused, vis"] += 1
        else:
            assert not wrong and found == expected, (wrong, files[is_coco].read_bytes())
            outcomes["read, coco" if is_coco else "read, vis"] += 1
    assert len(outcomes) == 4 and min(outcomes.values()) > 500, outcomes
