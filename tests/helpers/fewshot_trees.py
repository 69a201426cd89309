"""COCO, VOC and SBD trees in their authors' layouts, small, for the tests of readers and few-shot builders."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from icvos.categories import COCO80
from icvos.data.folds import test_categories

SIZE = (48, 64)


def noise(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A smooth random image, (H, W, 3) uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=92)


def rectangle(x: float, y: float, width: float, height: float) -> list[list[float]]:
    """A rectangle as COCO's polygons; on whole numbers it covers exactly width * height pixels."""
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def annotation(image: int, category: str, shape: Any, *, area: float = 1.0, crowd: int = 0) -> dict[str, Any]:
    number = COCO80.source_ids[COCO80.number(category) - 1]
    return {"image_id": image, "category_id": number, "segmentation": shape, "area": area, "iscrowd": crowd, "id": 1}


def coco(root: Path, annotations: list[dict[str, Any]], *, images: int = 4, split: str = "val2014") -> Path:
    """A COCO tree with images 1 to ``images``; annotations that are numbered 1 are so by their place."""
    prefix = f"COCO_{split}_" if split.endswith("2014") else ""
    records = []
    for image in range(1, images + 1):
        name = f"{prefix}{image:012d}.jpg"
        save(root / split / name, noise(image))
        records.append({"id": image, "file_name": name, "height": SIZE[0], "width": SIZE[1], "license": 1 + image % 3})
    numbered = [{**each, "id": place if each["id"] == 1 else each["id"]} for place, each in enumerate(annotations, 1)]
    write_json(root, split, {"images": records, "annotations": numbered, "categories": categories()})
    return root


def categories() -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for name, number in zip(COCO80.names, COCO80.source_ids)]


def write_json(root: Path, split: str, content: Any) -> Path:
    path = root / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def matcher_coco(root: Path) -> dict[int, list[str]]:
    """Write ``coco``, with the categories of fold 0 on three to six images each, and Matcher's list of that fold, in
    ``lists``; return the list."""
    listed, annotations = {}, []
    for index, category in enumerate(test_categories("coco-20i", 0)):
        images = [1 + (5 * index + 3 * i) % 14 for i in range(3 + index % 4)]
        listed[category - 1] = [f"val2014/COCO_val2014_{image:012d}.jpg" for image in images]
        word = COCO80.label(category)
        annotations += [annotation(i, word, rectangle(2 * i, 3, 9, 5 + index)) for i in images]
    coco(root / "coco", annotations, images=14)
    folder = root / "lists/splits/val"
    folder.mkdir(parents=True)
    (folder / "fold0.pkl").write_bytes(pickle.dumps(listed))
    return listed


def many(names: tuple[str, ...], images: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Annotations in which every image shows some of the categories, as rectangles of 100 pixels or more."""
    rng = np.random.default_rng(seed)
    out = []
    for image in range(1, images + 1):
        for name in rng.choice(names, min(2, len(names)), replace=False):
            x, y = int(rng.integers(0, 40)), int(rng.integers(0, 30))
            out.append(annotation(image, str(name), rectangle(x, y, 12, 10)))
    return out


def label_map(values: tuple[int, ...], seed: int, *, void: bool = True) -> np.ndarray:
    """A VOC class map with a block of each value, framed by void."""
    labels = np.zeros(SIZE, np.uint8)
    rng = np.random.default_rng(seed)
    for place, value in enumerate(values):
        x, y = 4 + 20 * place, int(rng.integers(4, 20))
        if void:
            labels[y - 1 : y + 17, x - 1 : x + 15] = 255
        labels[y : y + 16, x : x + 14] = value
    return labels


def voc(root: Path, maps: dict[str, np.ndarray], splits: dict[str, list[str]]) -> Path:
    """A VOC 2012 tree."""
    for place, (name, labels) in enumerate(maps.items()):
        save(root / "JPEGImages" / f"{name}.jpg", noise(100 + place))
        picture = Image.fromarray(labels)
        picture.putpalette([(37 * i) % 256 for i in range(768)])
        path = root / "SegmentationClass" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    for split, names in splits.items():
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names))
    return root


def sbd(root: Path, maps: dict[str, np.ndarray], splits: dict[str, list[str]]) -> Path:
    """An SBD tree whose ``.mat`` files have the fields of the real ones."""
    base = root / "dataset"
    (base / "cls").mkdir(parents=True)
    for place, (name, labels) in enumerate(maps.items()):
        save(base / "img" / f"{name}.jpg", noise(200 + place))
        present = np.array([[value] for value in np.unique(labels) if value], np.uint8)
        boundaries = np.empty((20, 1), object)
        for index in range(20):
            boundaries[index, 0] = np.zeros(SIZE, bool)
        fields = {"Boundaries": boundaries, "Segmentation": labels, "CategoriesPresent": present}
        savemat(base / "cls" / f"{name}.mat", {"GTcls": fields}, do_compression=True)
    for split, names in splits.items():
        (base / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def pascal_world(root: Path) -> tuple[Path, Path]:
    """VOC and SBD with every class in three val images and three training images."""
    maps: dict[str, np.ndarray] = {}
    val, train, extra = [], [], {}
    for index in range(30):
        # Classes two by two, each pair shifted: class c is in images c - 1, c + 9 and others.
        pair = (1 + index % 20, 1 + (index + 7) % 20)
        maps[f"2007_{index:06d}"] = label_map(pair, index)
        val.append(f"2007_{index:06d}")
        extra[f"2009_{index:06d}"] = label_map(pair, 50 + index, void=False)
    for index in range(3):
        maps[f"2008_{index:06d}"] = label_map((1 + index, 11 + index), 90 + index)
        train.append(f"2008_{index:06d}")
    voc(root / "voc", maps, {"val": val, "train": train, "trainval": val + train})
    # SBD holds images of VOC's val too; they must not be trained on.
    extra[val[0]] = label_map((1,), 99, void=False)
    sbd(root / "sbd", extra, {"train": sorted(extra)[:20], "val": sorted(extra)[20:]})
    return root / "voc", root / "sbd"


def mask_file(path: Path) -> np.ndarray:
    """A mask as it is stored, (H, W) bool, by Pillow alone."""
    return np.array(Image.open(path)) > 0
