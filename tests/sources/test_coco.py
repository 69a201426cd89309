"""The COCO reader and its cached class masks: layouts, irregular annotations, and each broken file answered."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fewshot_trees as trees
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from icvos.data.class_masks import coco_masks
from icvos.errors import InputError, SourceError, UsageError
from icvos.images import read_image, write_image
from icvos.masks import run_lengths
from icvos.sources.coco import Coco

FULL = np.zeros(trees.SIZE, np.uint8)


def test_polygons_crowd_and_overlap(tmp_path: Path) -> None:
    """Instances merge, crowds are 255 where no instance is, and other categories leave no trace."""
    crowd = np.zeros(trees.SIZE, np.uint8)
    crowd[10:30, 10:40] = 1
    flat = crowd.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    root = trees.coco(
        tmp_path,
        [
            trees.annotation(1, "dog", trees.rectangle(0, 0, 20, 12)),
            trees.annotation(1, "dog", trees.rectangle(15, 5, 10, 10)),
            trees.annotation(1, "dog", {"size": list(trees.SIZE), "counts": counts}, crowd=1),
            trees.annotation(1, "cat", trees.rectangle(40, 30, 5, 5)),
        ],
    )
    reader = Coco(root, "val2014")
    expected = FULL.copy()
    expected[crowd == 1] = 255
    expected[0:12, 0:20] = 1
    expected[5:15, 15:25] = 1
    dog, cat = 17, 16
    assert np.array_equal(reader.class_mask(1, dog), expected)
    assert reader.class_mask(1, cat).sum() == 25
    assert not reader.class_mask(2, dog).any()
    assert reader.image_ids_of(dog) == [1] and reader.categories_of(1) == [cat, dog]
    codes = {code[0]: code for code in reader.class_codes(1)}
    # The union's area, not the sum: the two rectangles overlap in 5 x 7 pixels.
    assert codes[dog][1:3] == (2, 20 * 12 + 10 * 10 - 5 * 7)
    # The cached masks are the reader's.
    masks = coco_masks(root, "val2014")
    assert np.array_equal(masks.mask(0, dog), expected)
    assert masks.instances(0, dog) == 2 and masks.area(0, cat) == 25 and masks.image_licence(0) == 2


def test_real_sample_and_its_cache(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Coco(real / "coco", "val2014")
    masks = coco_masks(real / "coco", "val2014")
    by_name = {Path(record.file_name).stem: image for image, record in reader.images.items()}
    assert len(masks) == 42 and sorted(by_name) == masks.names
    pairs = ignored = 0
    for number, name in enumerate(masks.names):
        for category in masks.categories_of(number):
            mask = reader.class_mask(by_name[name], category)
            assert np.array_equal(masks.mask(number, category), mask)
            assert masks.area(number, category) == np.count_nonzero(mask == 1)
            pairs, ignored = pairs + 1, ignored + bool((mask == 255).any())
    assert (pairs, ignored) == (120, 6)
    # A second opening parses no JSON, and a worker gets paths, not masks.
    monkeypatch.setattr("icvos.sources.annotations.read_json", None)
    again = coco_masks(real / "coco", "val2014")
    assert len(pickle.dumps(again)) < 1000
    assert np.array_equal(pickle.loads(pickle.dumps(again)).mask(3, 1), masks.mask(3, 1))


@pytest.mark.parametrize("split", ["val2014", "train2014", "val2017", "train2017"])
def test_every_split_and_its_names(tmp_path: Path, split: str) -> None:
    trees.coco(tmp_path, [trees.annotation(2, "dog", trees.rectangle(1, 1, 9, 9))], split=split)
    masks = coco_masks(tmp_path, split)
    assert masks.source == f"coco{split[-2:]}"
    assert masks.names[1] == ("COCO_" + split + "_" if split.endswith("2014") else "") + "000000000002"
    assert masks.read(1).shape == (*trees.SIZE, 3)
    assert masks.images_of(17) == [1] and masks.images_of(17, 82) == []


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        ([], 0),  # an empty list of polygons
        ([[1.0, 1.0, 5.0, 5.0]], 0),  # two points enclose nothing
        ([[3.0, 3.0, 3.0, 3.0, 3.0, 3.0]], 0),  # a point three times
        (trees.rectangle(-20, -10, 30, 20), 100),  # partly outside: what is inside counts
        (trees.rectangle(500, 500, 30, 20), 0),  # wholly outside
        (trees.rectangle(0, 0, 0, 30), 0),  # no width
    ],
)
def test_odd_polygons(tmp_path: Path, shape: Any, pixels: int) -> None:
    reader = Coco(trees.coco(tmp_path, [trees.annotation(1, "dog", shape)]), "val2014")
    assert np.count_nonzero(reader.class_mask(1, 17)) == pixels
    assert [code[2] for code in reader.class_codes(1)] == ([pixels] if pixels else [])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([[0.0, 0.0, 9e9, 0.0, 0.0, 5.0]], "pixels away"),  # would take terabytes
        ([[0.0, 0.0, float("nan"), 0.0, 0.0, 5.0]], "pixels away"),
        ([[0.0, "x", 1.0, 0.0, 0.0, 5.0]], "no list of numbers"),
        ({"size": [48, 65], "counts": [48 * 65]}, "run lengths of size"),
        ({"size": [48, 64], "counts": [5, 10]}, "runs of"),
        ({"size": [48, 64], "counts": [5, -5, 48 * 64]}, "a run of -5 pixels"),
        ({"size": [48, 64], "counts": "5"}, "runs of"),  # cut: the decoder would show what memory holds
        ({"size": [48, 64], "counts": "§"}, "runs of"),
        ({"size": [48, 64], "counts": "o"}, "cut off"),
        ({"size": [48, 64]}, "counts"),
        ({"size": [48, 64], "counts": 10**15}, "neither text nor a list"),
        (7, "broken"),
    ],
)
def test_broken_segmentations(tmp_path: Path, shape: Any, words: str) -> None:
    root = trees.coco(tmp_path, [trees.annotation(1, "dog", shape)])
    with pytest.raises(SourceError, match=words) as caught:
        Coco(root, "val2014").class_mask(1, 17)
    assert "instances_val2014.json" in str(caught.value)
    with pytest.raises(SourceError, match=words):
        coco_masks(root, "val2014")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"images": [{"id": 1, ', "JSON is broken"),
        ("[]", "holds a list of 0.*expected COCO instances"),
        ('{"images": [], "annotations": []}', "'categories' is missing"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "image 1 has no 'height'"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg", "height": -4, "width": 4}], "annotations": [], '
            '"categories": []}',
            "'height' of image 1 is -4",
        ),
        (
            '{"images": [], "annotations": [{"image_id": 5, "category_id": 1}], "categories": []}',
            "'image_id' of annotation number 0 is 5.*an image of the file",
        ),
        ('{"images": [], "annotations": [], "categories": []}', "lists no image"),
    ],
)
def test_broken_json(tmp_path: Path, content: str, words: str) -> None:
    trees.write_json(tmp_path, "val2014", content)
    with pytest.raises(SourceError, match=words):
        coco_masks(tmp_path, "val2014")
    with pytest.raises(SourceError, match="not found"):
        coco_masks(tmp_path, "val2017")
    with pytest.raises(UsageError, match="did you mean"):
        coco_masks(tmp_path, "vla2014")


def _turned(path: Path) -> None:
    image = Image.open(path)
    tag = Image.Exif()
    tag[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=tag)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "not found"),
        (_cut, "truncated"),
        (lambda path: trees.save(path, trees.noise(1, (40, 40))), "its annotations 48x64"),
        (_turned, "EXIF"),  # annotated upright, stored lying: the sizes are each other's
    ],
)
def test_broken_images(tmp_path: Path, damage: Any, words: str) -> None:
    root = trees.coco(tmp_path, [trees.annotation(1, "dog", trees.rectangle(1, 1, 9, 9))])
    damage(root / "val2014" / "COCO_val2014_000000000001.jpg")
    with pytest.raises(InputError, match=words):
        coco_masks(root, "val2014").read(0)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_images(tmp_path: Path, mode: str) -> None:
    root = trees.coco(tmp_path, [])
    Image.fromarray(trees.noise(1)).convert(mode).save(root / "val2014" / "COCO_val2014_000000000001.jpg", quality=95)
    image = coco_masks(root, "val2014").read(0)
    grey = Image.fromarray(trees.noise(1)).convert("L" if mode == "L" else "RGB").convert("RGB")
    assert image.shape == (*trees.SIZE, 3)
    assert np.abs(image.astype(int) - np.array(grey)).mean() < 6


def test_names_that_clash_or_leave_the_folder(tmp_path: Path) -> None:
    def listed(*names: Any) -> Path:
        records = [{"id": i, "file_name": name, "height": 4, "width": 4} for i, name in enumerate(names)]
        trees.write_json(tmp_path, "val2014", {"images": records, "annotations": [], "categories": []})
        return tmp_path

    with pytest.raises(SourceError, match="images 0 and 2 have one name, 'a'"):
        coco_masks(listed("a.jpg", "b.jpg", "a.png"), "val2014")
    for name in ("../../x.jpg", "/etc/x.jpg", "C:/x.jpg", "", 7, None):
        with pytest.raises(SourceError, match="'file_name' of image 0"):
            coco_masks(listed(name), "val2014")


def test_names_of_any_language_and_one_name_in_two_folders(tmp_path: Path) -> None:
    names = ["größe 1.jpg", "a/x.jpg", "b/x.jpg", "a_u2f_x.jpg"]
    for value, name in enumerate(names, 1):
        write_image(tmp_path / "val2014" / name, np.full((4, 4, 3), 40 * value, np.uint8))
    records = [{"id": i, "file_name": name, "height": 4, "width": 4} for i, name in enumerate(names)]
    trees.write_json(tmp_path, "val2014", {"images": records, "annotations": [], "categories": []})
    masks = coco_masks(tmp_path, "val2014")
    shown = {name: int(masks.read(number).mean()) for number, name in enumerate(masks.names)}
    assert shown == {"gr_uf6__udf_e_u20_1": 40, "a_u2f_x": 80, "b_u2f_x": 120, "a_u5f_u2f_x": 160}


@pytest.mark.parametrize("inner", ["", "images"])
def test_file_names_with_folders(tmp_path: Path, inner: str) -> None:
    """A file of the same name beside the right one is not taken for it."""
    colours = {"x.jpg": 10, "part/x.jpg": 200}
    for name, value in colours.items():
        write_image(tmp_path / inner / "val2014" / name, np.full((4, 4, 3), value, np.uint8))
    for name, value in (("part/x.jpg", 200), ("val2014/part/x.jpg", 200), ("images/val2014/x.jpg", 10), ("x.jpg", 10)):
        records = [{"id": 0, "file_name": name, "height": 4, "width": 4}]
        trees.write_json(tmp_path, "val2014", {"images": records, "annotations": [], "categories": []})
        assert int(coco_masks(tmp_path, "val2014").read(0).mean()) == value, name
        assert int(read_image(Coco(tmp_path, "val2014").path(0)).mean()) == value, name


def test_a_cache_that_cannot_be_written_names_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = trees.coco(tmp_path / "C", [trees.annotation(1, "dog", trees.rectangle(1, 1, 9, 9))])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot write here.*set ICVOS_HOME"):
        coco_masks(root, "val2014")


def test_a_changed_json_is_another_cache(tmp_path: Path) -> None:
    root = trees.coco(tmp_path, [trees.annotation(1, "dog", trees.rectangle(1, 1, 9, 9))])
    first = coco_masks(root, "val2014")
    path = root / "annotations" / "instances_val2014.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = trees.rectangle(1, 1, 5, 5)
    path.write_text(json.dumps(content))
    second = coco_masks(root, "val2014")
    assert (first.area(0, 17), second.area(0, 17)) == (81, 25)
    assert first.sha256 != second.sha256


def _open(root: Path) -> tuple[int, str]:
    masks = coco_masks(root, "val2014")
    return masks.area(0, 17), masks.sha256


def test_processes_make_the_cache_once(tmp_path: Path) -> None:
    """Ranks of a training run open it at the same time: none fails, none sees half of it."""
    root = trees.coco(tmp_path, [trees.annotation(i, "dog", trees.rectangle(1, 1, 9, 9)) for i in (1, 2, 3)])
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(_open, [root] * 4))
    assert len(found) == 1 and found.pop()[0] == 81


@pytest.mark.parametrize("name", ["codes.npy", "pairs.npy", "sizes.npy", "images.json", "meta.json"])
def test_damaged_cache(tmp_path: Path, name: str) -> None:
    root = trees.coco(tmp_path, [trees.annotation(1, "dog", trees.rectangle(1, 1, 9, 9))])
    path = coco_masks(root, "val2014", cache=tmp_path / "cache").folder / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SourceError, match=r"cache is broken|JSON is broken"):
        coco_masks(root, "val2014", cache=tmp_path / "cache").mask(0, 17)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_run_lengths_are_those_of_pycocotools(height: int, width: int, seed: int, share: float) -> None:
    from pycocotools import mask as rle

    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    runs = run_lengths(rle.encode(np.asfortranarray(mask))["counts"])
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    assert np.array_equal(flat, mask.ravel(order="F"))
