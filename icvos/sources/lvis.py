"""LVIS v1, instances of over a thousand categories on COCO 2017's images, and the lists that Matcher's authors made.

Layout: ``lvis_v1_val.json`` in the folder given or in ``annotations`` in it; images in ``train2017`` and ``val2017`` of
COCO (LVIS' val has images of both). The lists are ``lvis_val.pkl``: ``{category: {"val2017/<file>.jpg": {"annotations":
[{"segmentation": …}]}}}``, whose order decides which categories are in which fold and what is drawn. That order is not
known to be the JSON's, so that nothing else takes their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from icvos.errors import SourceError
from icvos.files import escape_id, file_sha256
from icvos.masks import Code, code_area, merge_codes, segmentation_code
from icvos.pickles import read_pickle
from icvos.sources.annotations import (
    Entry,
    by_id,
    check_category_names,
    check_ids,
    entry_code,
    is_text,
    read_annotations,
    relative_file,
)

__all__ = ["Lvis", "LvisImage", "MatcherLists", "annotations_of_lvis", "coco_folder", "image_name"]

_MOST = 10_000  # categories; LVIS v1 has 1,203


def image_name(file: str) -> str:
    """Return what an image ``val2017/000000000139.jpg`` is called in a benchmark: ``val2017_000000000139``."""
    return escape_id("_".join(PurePosixPath(file).with_suffix("").parts))


@dataclass(frozen=True)
class LvisImage:
    """An image as the JSON describes it; ``file`` is below COCO's folder, ``licence`` a Flickr licence id."""

    file: str
    height: int
    width: int
    licence: int | None


class Lvis:
    """The validation split of LVIS v1.

    Args:
        root: The folder that holds ``lvis_v1_val.json``, or ``annotations`` with it.

    Attributes:
        names: Of the categories 1, 2, …
        images: By id.
        annotations: How many there are.

    Raises:
        SourceError: The annotations are missing, cut off, or not LVIS'.
    """

    split = "val"

    def __init__(self, root: Path) -> None:
        self.json = annotations_of_lvis(root)
        kinds = {"images": "image", "annotations": "annotation", "categories": "category"}
        lists = read_annotations(self.json, kinds, expected="LVIS v1: images, annotations, categories")
        self.names = self._names(lists["categories"])
        self.images = {number: _image(entry) for number, entry in by_id(lists["images"])}
        check_ids(lists["annotations"])
        self.annotations = len(lists["annotations"])
        self._instances: dict[int, dict[int, list[Entry]]] = {}
        for entry in lists["annotations"]:
            image, category = entry.integer("image_id"), entry.integer("category_id")
            if image not in self.images:
                raise entry.problem("image_id", "an image of the file")
            if not 1 <= category <= len(self.names):
                raise entry.problem("category_id", "a category of the file")
            self._instances.setdefault(image, {}).setdefault(category, []).append(entry)

    def _names(self, entries: list[Entry]) -> tuple[str, ...]:
        names = {number: entry.name() for number, entry in by_id(entries)}
        if sorted(names) != list(range(1, len(names) + 1)):
            raise SourceError("ids of the categories have gaps", where=self.json, expected="1, 2, …, as LVIS v1 has")
        check_category_names(names, self.json)
        return tuple(names[number] for number in sorted(names))

    def class_codes(self, image: int) -> list[tuple[int, int, int, bytes, bytes]]:
        """Return (category, instances, area, code, b"") of each category of an image, as ``Coco.class_codes``."""
        size = (self.images[image].height, self.images[image].width)
        out = []
        for category, entries in sorted(self._instances.get(image, {}).items()):
            codes = [code for code in (entry_code(entry, size) for entry in entries) if code is not None]
            area, text = _union(codes)
            out.append((category, len(entries), area, text, b""))
        return out


def _union(codes: list[Code]) -> tuple[int, bytes]:
    """Return the pixels of a union, and itself as compressed run lengths; b"" where it is empty."""
    code = merge_codes(codes) if codes else None
    area = 0 if code is None else code_area(code)
    return area, b"" if code is None or not area else code["counts"]


def annotations_of_lvis(root: Path) -> Path:
    """Return the JSON of the validation split.

    Raises:
        SourceError: It is not there.
    """
    return _file(Path(root), f"lvis_v1_{Lvis.split}.json")


def coco_folder(root: Path, coco: Path | None) -> Path:
    """Return the folder with ``train2017`` and ``val2017``: the one given, else that of LVIS or ``coco`` in it.

    Raises:
        SourceError: Neither split is in it.
    """
    folders = [coco] if coco is not None else [root / "coco", root / "LVIS" / "coco", root]
    for folder in folders:
        if any((folder / split).is_dir() for split in ("val2017", "train2017")):
            return folder
    raise SourceError(
        "no images of COCO 2017", where=folders[0], expected="train2017 and val2017 in it", fix="give --coco DIR"
    )


def _file(root: Path, name: str) -> Path:
    if not root.is_dir():
        raise SourceError("LVIS not found", where=root, expected=f"a folder with {name}")
    for path in (root / name, root / "annotations" / name):
        if path.is_file():
            return path
    raise SourceError("no annotations of LVIS", where=root / name, expected="that file, or annotations/ with it")


def _image(entry: Entry) -> LvisImage:
    height, width = (entry.integer(side, least=1, most=65535) for side in ("height", "width"))
    # LVIS names no file: the last two parts of its address in COCO are one.
    file = "/".join(entry.text("coco_url").split("/")[-2:])
    if str(relative_file(entry, file, "coco_url").parent) == ".":
        raise entry.problem("coco_url", "an address that ends as val2017/000000000139.jpg")
    licence = entry.fields.get("license")
    return LvisImage(file, height, width, licence if type(licence) is int else None)


class MatcherLists:
    """The lists of LVIS' validation split as Matcher's authors published them.

    Args:
        root: The folder that holds ``lvis_val.pkl``, or ``LVIS`` with it.

    Attributes:
        path: The file.
        images: Files below COCO's folder (``val2017/000000000139.jpg``) of each category, in the file's order.
        segmentations: Of each (category, file).

    Raises:
        SourceError: The file is missing, broken, or asks for anything but plain values.
    """

    def __init__(self, root: Path) -> None:
        root = Path(root)
        inner = root / "LVIS" / "lvis_val.pkl"
        self.path = inner if inner.is_file() else _file(root, "lvis_val.pkl")
        self.images: dict[int, list[str]] = {}
        self._files: dict[str, str] = {}
        self.segmentations: dict[tuple[int, str], list[Any]] = {}
        content = read_pickle(self.path, error=SourceError)
        if not isinstance(content, dict) or not content:
            raise self._problem("it holds no dict of categories")
        for category, images in content.items():
            if type(category) is not int or not 1 <= category <= _MOST or not isinstance(images, dict):
                raise self._problem(f"category {str(category)[:40]} is none")
            self.images[category] = [self._add(category, file, image) for file, image in images.items()]

    def _add(self, category: int, file: Any, image: Any) -> str:
        path = PurePosixPath(file) if is_text(file) else PurePosixPath()
        # Of ways to write a path the shortest alone, so that no two are of one image.
        good = str(path) == file and len(path.parts) == 2 and ".." not in path.parts and not path.is_absolute()
        if not good or "\0" in file or "\\" in file:
            raise self._problem(f"category {category} names the image '{str(file)[:40]}'")
        other = self._files.setdefault(image_name(file), file)
        if other != file:
            raise self._problem(f"the images '{other[:40]}' and '{file[:40]}' have one name, '{image_name(file)[:40]}'")
        annotations = image.get("annotations") if isinstance(image, dict) else None
        if not isinstance(annotations, list) or not all(isinstance(each, dict) for each in annotations):
            raise self._problem(f"category {category} has no annotations on {file}")
        self.segmentations[category, file] = [each.get("segmentation") for each in annotations]
        return file

    def _problem(self, what: str) -> SourceError:
        expected = '{category: {"val2017/000000000139.jpg": {"annotations": [{"segmentation": …}]}}}'
        return SourceError(f"the lists are broken: {what}", where=self.path, expected=expected)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return file_sha256(self.path)

    def class_code(self, category: int, file: str, size: tuple[int, int]) -> tuple[int, int, int, bytes, bytes]:
        """Return what ``Lvis.class_codes`` has of one category of an image of (H, W).

        Raises:
            SourceError: A segmentation is none, or of another size.
        """
        shapes = self.segmentations[category, file]
        try:
            codes = [code for code in (segmentation_code(shape, size) for shape in shapes) if code is not None]
        except ValueError as problem:
            raise self._problem(f"category {category} on {file} ({problem})") from None
        area, text = _union(codes)
        return category, len(shapes), area, text, b""
