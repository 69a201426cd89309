"""The reader of VOC 2012 and SBD: layouts, splits, void, ``.mat`` files of the right form and of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fewshot_trees as trees
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from icvos.data.class_masks import voc_masks
from icvos.demo.world.voc_layout import mat_file
from icvos.errors import InputError, MaskError, SourceError, UsageError
from icvos.sources.voc import Voc, read_sbd_mat


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return trees.pascal_world(tmp_path_factory.mktemp("pascal"))


def test_splits(world: tuple[Path, Path]) -> None:
    voc, sbd = world
    val = Voc(voc, "val")
    assert len(val.names) == 30 and len(Voc(voc, "trainval").names) == 33
    wide = Voc(voc, "trainaug", sbd)
    # VOC's train and all of SBD, less what VOC tests on.
    assert len(wide.names) == 3 + 30 and not set(wide.names) & set(val.names)
    with pytest.raises(SourceError, match="needs SBD"):
        Voc(voc, "trainaug")
    with pytest.raises(UsageError, match="did you mean 'val'"):
        Voc(voc, "vall")


def test_masks_and_void(world: tuple[Path, Path]) -> None:
    voc, sbd = world
    name = "2007_000004"
    expected = trees.label_map((5, 12), 4)
    reader = Voc(voc, "val")
    assert np.array_equal(reader.label_map(name), expected)
    masks = voc_masks(voc, "val")
    mask = masks.mask(4, 12)
    assert np.array_equal(mask, np.where(expected == 255, 255, expected == 12))
    assert masks.categories_of(4) == [5, 12] and masks.area(4, 12) == 16 * 14
    assert masks.read(4).shape == (*trees.SIZE, 3)
    # SBD's masks come from .mat files, have no void, and may lie elsewhere than VOC's.
    wide = voc_masks(voc, "trainaug", sbd=sbd, workers=1)
    number = wide.numbers["2009_000004"]
    assert np.array_equal(wide.mask(number, 12), trees.label_map((5, 12), 54, void=False) == 12)
    assert wide.path(number).parent.name == "img" and wide.read(number).shape == (*trees.SIZE, 3)


def test_cache_follows_the_files(tmp_path: Path) -> None:
    trees.voc(tmp_path, {"a": trees.label_map((3,), 0), "b": trees.label_map((4,), 1)}, {"val": ["a", "b"]})
    first = voc_masks(tmp_path, "val")
    Image.fromarray(trees.label_map((7,), 0)).save(tmp_path / "SegmentationClass" / "a.png")
    second = voc_masks(tmp_path, "val")
    assert (first.categories_of(0), second.categories_of(0)) == ([3], [7])
    assert first.sha256 != second.sha256


def test_devkit_and_augmented_layouts(tmp_path: Path) -> None:
    """The folder may lie in VOCdevkit, and SBD's masks may come as PNG beside VOC's."""
    root = trees.voc(
        tmp_path / "VOCdevkit" / "VOC2012",
        {"v": trees.label_map((3,), 0), "t": trees.label_map((4,), 1), "s": trees.label_map((5,), 2)},
        {"val": ["v"], "train": ["t"]},
    )
    (root / "SegmentationClassAug").mkdir()
    for name in ("v", "s"):
        (root / "SegmentationClass" / f"{name}.png").replace(root / "SegmentationClassAug" / f"{name}.png")
    reader = Voc(tmp_path, "trainaug")
    assert reader.names == ("s", "t")
    assert np.array_equal(reader.label_map("s"), trees.label_map((5,), 2))


LABELS = trees.label_map((2, 20), 0, void=False)


def _savemat(content: dict[str, Any]) -> Any:
    return lambda path: savemat(path, content)


@pytest.mark.parametrize(
    "write",
    [
        _savemat({"GTcls": {"Segmentation": LABELS}}),
        _savemat({"GTcls": {"Segmentation": LABELS.astype(np.float64), "CategoriesPresent": np.array([2.0])}}),
        lambda path: path.write_bytes(mat_file("GTcls", LABELS)),  # the demo world's own writer
    ],
)
def test_mat_files(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "a.mat")
    labels = read_sbd_mat(tmp_path / "a.mat")
    assert labels.dtype == np.uint8 and np.array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_savemat({"GTinst": {"Segmentation": LABELS}}), "no GTcls"),
        (_savemat({"GTcls": {"Instances": LABELS}}), "cannot be read"),
        (_savemat({"GTcls": LABELS}), "cannot be read"),
        (_savemat({"GTcls": {"Segmentation": np.zeros((4, 4, 3), np.uint8)}}), "another form"),
        (_savemat({"GTcls": {"Segmentation": LABELS + 0.5}}), "float64"),
        (_savemat({"GTcls": {"Segmentation": "text"}}), "another form|<U4|cannot be read"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600)), "cannot be read"),  # MATLAB 7.3
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(mat_file("GTcls", LABELS)[:-20]), "cannot be read"),
    ],
)
def test_mat_files_of_another_form(tmp_path: Path, write: Any, words: str) -> None:
    write(tmp_path / "a.mat")
    with pytest.raises(MaskError, match=words) as caught:
        read_sbd_mat(tmp_path / "a.mat")
    assert "a.mat" in str(caught.value) and "\n" not in str(caught.value)


def _damaged(root: Path, what: str) -> None:
    if what == "value":
        Image.fromarray(np.full(trees.SIZE, 21, np.uint8)).save(root / "SegmentationClass" / "a.png")
    elif what == "rgb":
        Image.fromarray(trees.noise(1)).save(root / "SegmentationClass" / "a.png")
    elif what == "mask":
        (root / "SegmentationClass" / "a.png").unlink()
    elif what == "image":
        (root / "JPEGImages" / "a.jpg").unlink()
    elif what == "list":
        (root / "ImageSets" / "Segmentation" / "val.txt").unlink()
    else:
        (root / "ImageSets" / "Segmentation" / "val.txt").write_text("" if what == "empty" else "../../a\n")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("value", "holds the value 21"),
        ("rgb", "RGB"),
        ("mask", "has no mask"),
        ("image", "not there"),
        ("list", "list not found"),
        ("empty", "list is empty"),
        ("path", "no valid image name"),
    ],
)
def test_bad_trees(tmp_path: Path, what: str, words: str) -> None:
    trees.voc(tmp_path, {"a": trees.label_map((3,), 0)}, {"val": ["a"]})
    _damaged(tmp_path, what)
    with pytest.raises(InputError, match=words):
        voc_masks(tmp_path, "val")


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no VOC 2012 here"):
        Voc(tmp_path, "val")
    trees.voc(tmp_path, {"a": trees.label_map((3,), 0)}, {"val": ["a"]})
    with pytest.raises(SourceError, match="no SBD here"):
        Voc(tmp_path, "val", tmp_path)
