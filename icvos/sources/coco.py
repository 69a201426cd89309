"""COCO 2014 and 2017: instances of one split, and class-level masks from them.

Layout: ``annotations/instances_<split>.json`` and ``<split>/<file name>``. Names of 2014 begin with ``COCO_<split>_``,
those of 2017 do not. Real files hold polygons, crowd regions as RLE, grey images and images without annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from icvos.categories import COCO80
from icvos.errors import SourceError, UsageError, did_you_mean
from icvos.files import file_sha256, read_json
from icvos.masks import Code, code_area, decode_code, merge_codes, segmentation_code

__all__ = ["SPLITS", "Coco", "CocoImage", "open_coco"]

# In the order in which one is chosen where none is named: IC-VOS draws its supports from val.
SPLITS = ("val2014", "val2017", "train2014", "train2017")


@dataclass(frozen=True)
class CocoImage:
    """An image as the JSON describes it; ``licence`` is COCO's Flickr licence id or None."""

    id: int
    file_name: str
    height: int
    width: int
    licence: int | None


@dataclass(frozen=True)
class _Instance:
    """One annotation: its category's number, its pixels as the JSON gives them, its area, whether it is a crowd."""

    category: int
    segmentation: Any
    area: float
    crowd: bool


class Coco:
    """One split of COCO.

    Args:
        root: The folder that holds ``annotations/`` and the split's images.
        split: ``val2014``, ``train2014``, ``val2017`` or ``train2017``.

    Raises:
        SourceError: The annotations are missing, cut off, or no COCO instances.
    """

    def __init__(self, root: Path, split: str) -> None:
        if split not in SPLITS:
            raise UsageError(f"no COCO split '{split}'", fix=did_you_mean(split, SPLITS))
        self.root, self.split, self.year = Path(root), split, int(split[-4:])
        self.json = self.root / "annotations" / f"instances_{split}.json"
        content = read_json(self.json, SourceError)
        parts = ("images", "annotations", "categories")
        if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in parts):
            raise SourceError("no COCO instances", where=self.json, expected=f"an object with {', '.join(parts)}")
        try:
            self.images = {image.id: image for image in map(_image, content["images"])}
            numbers = _numbers(content["categories"])
            self._instances = self._index(content["annotations"], numbers)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise SourceError(f"annotations are not COCO's ({problem!r})", where=self.json) from None

    def _index(self, annotations: list[dict[str, Any]], numbers: dict[int, int]) -> dict[int, list[_Instance]]:
        instances: dict[int, list[_Instance]] = {}
        for annotation in annotations:
            image = int(annotation["image_id"])
            if image not in self.images:
                raise SourceError(f"annotation {annotation.get('id')} is of no image here ({image})", where=self.json)
            number = numbers.get(int(annotation["category_id"]))
            if number is None:
                continue
            crowd = bool(annotation.get("iscrowd", 0))
            area = float(annotation.get("area", 0.0))
            instances.setdefault(image, []).append(_Instance(number, annotation["segmentation"], area, crowd))
        return instances

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the annotations."""
        return file_sha256(self.json)

    @cached_property
    def _by_category(self) -> dict[int, list[int]]:
        image_sets: dict[int, set[int]] = {}
        for image, instances in self._instances.items():
            for instance in instances:
                if not instance.crowd:
                    image_sets.setdefault(instance.category, set()).add(image)
        return {category: sorted(images) for category, images in image_sets.items()}

    def image_ids_of(self, category: int) -> list[int]:
        """Return the images with an instance of a category (1..80) that is no crowd, sorted."""
        return list(self._by_category.get(category, ()))

    def categories_of(self, image: int) -> list[int]:
        """Return the categories (1..80) with an instance in an image that is no crowd, sorted."""
        return sorted({i.category for i in self._instances.get(image, ()) if not i.crowd})

    def area(self, image: int, category: int) -> float:
        """Return the pixels that the JSON gives to a category's instances (not crowds); overlaps count twice."""
        return sum(i.area for i in self._instances.get(image, ()) if i.category == category and not i.crowd)

    def path(self, image: int) -> Path:
        """Return an image's file.

        Raises:
            SourceError: It is not there.
        """
        name = self.images[image].file_name
        path = self.root / self.split / Path(name).name
        if not path.is_file():
            raise SourceError(f"image {image} is listed but not there", where=path, fix="unpack the split's images")
        return path

    def class_mask(self, image: int, category: int) -> np.ndarray:
        """Return (H, W) uint8: 1 on the category's instances, 255 on its crowd regions (where no instance is), 0."""
        record = self.images[image]
        mask = np.zeros((record.height, record.width), np.uint8)
        for crowd, value in ((True, 255), (False, 1)):
            code = self._merged(image, category, crowd)
            if code is not None:
                mask[decode_code(code).astype(bool)] = value
        return mask

    def class_codes(self, image: int) -> list[tuple[int, int, int, bytes, bytes]]:
        """Return (category, instances, area, code, crowd code) of each category of an image, as compressed run lengths.

        The area is the union's, in pixels; a code (pycocotools' text) is empty where there is nothing. What
        ``class_mask`` gives is the crowd code's pixels as 255, then the code's as 1.
        """
        out = []
        for category in sorted({i.category for i in self._instances.get(image, ())}):
            codes = [self._merged(image, category, crowd) for crowd in (False, True)]
            area = 0 if codes[0] is None else code_area(codes[0])
            texts = [b"" if code is None else code["counts"] for code in codes]
            if area or texts[1]:
                count = sum(i.category == category and not i.crowd for i in self._instances[image])
                out.append((category, count, area, texts[0] if area else b"", texts[1]))
        return out

    def _merged(self, image: int, category: int, crowd: bool) -> Code | None:
        mine = [i for i in self._instances.get(image, ()) if i.category == category and i.crowd == crowd]
        codes = [code for code in (self._encode(instance, image) for instance in mine) if code is not None]
        return merge_codes(codes) if codes else None

    def _encode(self, instance: _Instance, image: int) -> Code | None:
        """Return an instance's pixels as compressed run lengths, or None where it encloses nothing."""
        record = self.images[image]
        try:
            return segmentation_code(instance.segmentation, (record.height, record.width))
        except ValueError as problem:
            raise SourceError(f"a segmentation of image {image} is broken ({problem})", where=self.json) from None


def _image(record: Mapping[str, Any]) -> CocoImage:
    height, width = int(record["height"]), int(record["width"])
    if not (0 < height <= 65535 and 0 < width <= 65535):
        raise ValueError(f"image {record['id']} is {height}x{width}")
    licence = record.get("license")
    return CocoImage(
        int(record["id"]), str(record["file_name"]), height, width, None if licence is None else int(licence)
    )


def _numbers(categories: list[dict[str, Any]]) -> dict[int, int]:
    """Map the JSON's category ids to COCO's contiguous numbers by name; names that COCO has not are left out."""
    found = {int(category["id"]): COCO80.find(str(category["name"])) for category in categories}
    return {identity: number for identity, number in found.items() if number is not None}


def open_coco(root: Path, split: str | None = None) -> Coco:
    """Open a split of COCO; where none is named, the first of ``SPLITS`` whose annotations list any image.

    Raises:
        SourceError: No annotations at all, or all of them are empty.
    """
    root = Path(root)
    if not root.is_dir():
        raise SourceError("COCO not found", where=root, expected="a folder with annotations/ and images")
    if split is not None:
        return Coco(root, split)
    there = [name for name in SPLITS if (root / "annotations" / f"instances_{name}.json").is_file()]
    if not there:
        raise SourceError(
            "no COCO annotations", where=root / "annotations", expected="instances_val2014.json, or another split's"
        )
    for name in there:
        coco = Coco(root, name)
        if coco.images:
            return coco
    raise SourceError(f"the annotations of {', '.join(there)} list no image", where=root / "annotations")
