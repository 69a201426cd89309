"""COCO 2014 and 2017: instances of one split, and class-level masks from them.

Layout: ``annotations/instances_<split>.json`` and ``<split>/<file name>``. Names of 2014 begin with ``COCO_<split>_``,
those of 2017 do not. Real files hold polygons, crowd regions as RLE, grey images and images without annotations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from icvos.categories import COCO80
from icvos.errors import SourceError, UsageError, did_you_mean
from icvos.files import escape_id, file_sha256
from icvos.masks import LARGEST_SIDE, Code, code_area, decode_code, merge_codes
from icvos.sources.annotations import Entry, by_id, check_ids, entry_code, read_annotations, relative_file

__all__ = ["SPLITS", "Coco", "CocoImage", "images_folder", "open_coco"]

# In the order in which one is chosen where none is named: IC-VOS draws its supports from val.
SPLITS = ("val2014", "val2017", "train2014", "train2017")


@dataclass(frozen=True)
class CocoImage:
    """An image as the JSON describes it; ``file_name`` is below the split's folder, ``licence`` a Flickr licence id."""

    id: int
    file_name: str
    height: int
    width: int
    licence: int | None

    @property
    def name(self) -> str:
        """The file name without its suffix, as an id: that of the support in a benchmark."""
        return escape_id(str(PurePosixPath(self.file_name).with_suffix("")))


@dataclass(frozen=True)
class _Instance:
    """One annotation: its category's number, and whether it is a crowd."""

    category: int
    entry: Entry
    crowd: bool


class Coco:
    """One split of COCO.

    Args:
        root: The folder that holds ``annotations/`` and the split's images.
        split: ``val2014``, ``train2014``, ``val2017`` or ``train2017``.

    Attributes:
        annotations: How many annotations the JSON holds, crowds and those of other categories too.

    Raises:
        SourceError: The annotations are missing, cut off, or no COCO instances.
    """

    def __init__(self, root: Path, split: str) -> None:
        if split not in SPLITS:
            raise UsageError(f"no COCO split '{split}'", fix=did_you_mean(split, SPLITS))
        self.root, self.split, self.year = Path(root), split, int(split[-4:])
        self.json = self.root / "annotations" / f"instances_{split}.json"
        kinds = {"images": "image", "annotations": "annotation", "categories": "category"}
        lists = read_annotations(self.json, kinds, expected="COCO instances: images, annotations, categories")
        self.images = {number: _image(number, entry, split) for number, entry in by_id(lists["images"])}
        self._check_names()
        self.annotations = len(lists["annotations"])
        check_ids(lists["annotations"])
        categories = {number: COCO80.find(entry.text("name")) for number, entry in by_id(lists["categories"])}
        self._instances = self._index(lists["annotations"], categories)

    def _check_names(self) -> None:
        numbers: dict[str, int] = {}
        for number, image in self.images.items():
            other = numbers.setdefault(image.name, number)
            if other != number:
                raise SourceError(
                    f"images {other} and {number} have one name, '{image.name}'",
                    where=self.json,
                    expected="file names that differ in more than the suffix",
                )

    def _index(self, annotations: list[Entry], categories: dict[int, int | None]) -> dict[int, list[_Instance]]:
        """Return each image's instances of COCO's categories; those of others are left out."""
        instances: dict[int, list[_Instance]] = {}
        for entry in annotations:
            image, category = entry.integer("image_id"), entry.integer("category_id")
            if image not in self.images:
                raise entry.problem("image_id", "an image of the file")
            if category not in categories:
                raise entry.problem("category_id", "a category of the file")
            number = categories[category]
            if number is not None:
                instances.setdefault(image, []).append(_Instance(number, entry, entry.flag("iscrowd")))
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
        """Return the pixels that the JSON gives to a category's instances (not crowds); overlaps count twice.

        Where it gives none, those of the segmentation count.
        """
        chosen = [i for i in self._instances.get(image, ()) if i.category == category and not i.crowd]
        areas = [(instance, instance.entry.number("area", None)) for instance in chosen]
        return sum(self._pixels(instance, image) if area is None else area for instance, area in areas)

    def _pixels(self, instance: _Instance, image: int) -> int:
        code = self._encode(instance, image)
        return 0 if code is None else code_area(code)

    def path(self, image: int) -> Path:
        """Return an image's file.

        Raises:
            SourceError: It is not there.
        """
        path = images_folder(self.root, self.split) / self.split / self.images[image].file_name
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
        return entry_code(instance.entry, (record.height, record.width))


def _image(number: int, entry: Entry, split: str) -> CocoImage:
    height, width = (entry.integer(side, least=1, most=LARGEST_SIDE) for side in ("height", "width"))
    path = relative_file(entry, entry.text("file_name"), "file_name")
    # Some files name the split's folder too.
    for folder in (PurePosixPath(split), PurePosixPath("images", split)):
        path = path.relative_to(folder) if path.is_relative_to(folder) else path
    licence = entry.fields.get("license")
    return CocoImage(number, str(path), height, width, licence if type(licence) is int else None)


def images_folder(root: Path, split: str) -> Path:
    """Return the folder in which the folder of a split's images lies: COCO's own, or ``images`` in it."""
    inner = root / "images"
    return inner if not (root / split).is_dir() and (inner / split).is_dir() else root


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
