"""Class-level masks of COCO and VOC, decoded once and cached compactly.

The cache is a folder of small arrays that processes map into memory together: names, sizes, and for each (image,
category) an area and two run-length codes. All of COCO's train2014 takes about 100 MB there; its JSON, parsed, takes
gigabytes in every process.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icvos.categories import Vocabulary, get_vocabulary
from icvos.data.class_masks_cache import VERSION, Record, make_once, write_cache
from icvos.errors import SourceError, UsageError
from icvos.files import file_sha256, icvos_home, open_file, read_json
from icvos.images import check_annotated_size, read_image
from icvos.masks import decode_code
from icvos.progress import Progress
from icvos.sources.drawn import licence_of

if TYPE_CHECKING:
    from icvos.sources.voc import Voc

__all__ = ["ClassMasks", "cache_place", "check_min_area", "coco_masks", "pool_sha256", "voc_masks"]

_COCO_LICENCE = (
    "COCO: annotations CC BY 4.0; each image has the Flickr licence that its JSON names; https://cocodataset.org"
)
_VOC_LICENCE = (
    "PASCAL VOC 2012: images from Flickr under its terms of use, http://host.robots.ox.ac.uk/pascal/VOC; "
    "SBD: http://home.bharathh.info/pubs/codes/SBD"
)


class ClassMasks:
    """Images and class-level masks of one split; picklable, and cheap to open in a worker.

    Args:
        folder: The cache.
        roots: The raw data's folders.

    Attributes:
        source, split: ``coco14`` | ``coco17`` | ``voc12`` | ``fss1000`` | ``lvis1``, and the split.
        sha256: Of the annotations it was made from.
        vocabulary: The numbering of categories.
        names: Images' names (file names without suffix), sorted.
        annotations: How many the split's JSON holds, crowds too; None of a data set that has none.
        licence: One line.
    """

    def __init__(self, folder: Path, roots: Sequence[Path]) -> None:
        self.folder = Path(folder)
        self.roots = tuple(Path(root) for root in roots)
        meta = read_json(self.folder / "meta.json", SourceError)
        if meta.get("version") != VERSION:
            raise SourceError("cache of another version", where=self.folder, fix="delete it")
        self.source: str = meta["source"]
        self.split: str = meta["split"]
        self.sha256: str = meta["sha256"]
        self.annotations: int | None = meta.get("annotations")
        self.licence: str = licence_of(self.roots[0], meta["licence"])
        self.vocabulary: Vocabulary = get_vocabulary(meta["vocabulary"])

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "roots": self.roots}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _listing(self) -> dict[str, list]:
        return read_json(self.folder / "images.json", SourceError)

    @property
    def names(self) -> list[str]:
        return self._listing["names"]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """An image's number by its name."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def _sizes(self) -> np.ndarray:
        return self._load("sizes")

    @cached_property
    def _pairs(self) -> np.ndarray:
        return self._load("pairs")

    @cached_property
    def _codes(self) -> np.ndarray:
        return self._load("codes")

    def _load(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        try:
            with open_file(path) as stream:
                # Mapping an empty file is an error.
                empty = os.fstat(stream.fileno()).st_size <= 128
                array = np.load(stream if empty else path, mmap_mode=None if empty else "r", allow_pickle=False)
                return np.asarray(array)  # slices of a memmap cost more than what is done with them
        except (OSError, ValueError) as problem:
            raise SourceError(f"cache is broken ({problem})", where=path, fix=f"delete {self.folder}") from None

    @cached_property
    def _first(self) -> np.ndarray:
        return np.searchsorted(self._pairs["image"], np.arange(len(self) + 1))

    def size(self, image: int) -> tuple[int, int]:
        """Return (H, W) of an image by its number."""
        return int(self._sizes[image, 0]), int(self._sizes[image, 1])

    def image_licence(self, image: int) -> int | None:
        """Return COCO's licence id of an image, or None."""
        return self._listing["licences"][image]

    def _rows(self, image: int) -> np.ndarray:
        return self._pairs[self._first[image] : self._first[image + 1]]

    def categories_of(self, image: int) -> list[int]:
        """Return the categories of an image, sorted; those that it has as crowds only too."""
        return self._rows(image)["category"].tolist()

    def area(self, image: int, category: int) -> int:
        """Return the pixels of a category in an image."""
        rows = self._rows(image)
        return int(rows["area"][rows["category"] == category].sum())

    def instances(self, image: int, category: int) -> int:
        """Return how many instances of a category an image has, crowds apart; 0 where the data set does not tell."""
        rows = self._rows(image)
        return int(rows["instances"][rows["category"] == category].sum())

    def has_ignore(self, image: int, category: int) -> bool:
        """Return whether ``mask`` has 255 anywhere, pixels of the category itself apart."""
        rows = self._rows(image)
        rows = rows[rows["category"] == category]
        return bool((rows["middle"] < rows["end"]).any())

    def images_of(self, category: int, min_area: int = 1) -> list[int]:
        """Return the numbers of the images in which a category covers at least ``min_area`` (1 or more) pixels."""
        pairs = self._pairs
        return pairs["image"][(pairs["category"] == category) & (pairs["area"] >= max(min_area, 1))].tolist()

    def images_with(self, categories: Sequence[int]) -> np.ndarray:
        """Return (N,) bool: images that show any of some categories, crowds too."""
        chosen = np.zeros(len(self), bool)
        chosen[self._pairs["image"][np.isin(self._pairs["category"], list(categories))]] = True
        return chosen

    def mask(self, image: int, category: int) -> np.ndarray:
        """Return (H, W) uint8: 1 on the category, 255 where the annotation says nothing (crowd, void), 0 elsewhere."""
        rows = self._rows(image)
        rows = rows[rows["category"] == category]
        if not len(rows):
            return np.zeros(self.size(image), np.uint8)
        start, middle, end = (int(rows[name][0]) for name in ("start", "middle", "end"))
        out = self._decode(image, start, middle)
        if middle < end:
            out[self._decode(image, middle, end) > out] = 255
        return out

    def _decode(self, image: int, start: int, end: int) -> np.ndarray:
        size = self.size(image)
        if start == end:
            return np.zeros(size, np.uint8)
        return decode_code({"size": list(size), "counts": self._codes[start:end].tobytes()})

    def path(self, image: int) -> Path:
        """Return an image's file, which may be missing."""
        root, _, relative = self._listing["files"][image].partition(":")
        return self.roots[int(root)] / relative

    def read(self, image: int) -> np.ndarray:
        """Return an image: (H, W, 3) uint8 RGB, as it is stored (its EXIF rotation is not applied).

        Raises:
            InputError: Missing, truncated, or of another size than its annotations.
        """
        path = self.path(image)
        pixels = read_image(path)
        self.check_size(image, (pixels.shape[0], pixels.shape[1]))
        return pixels

    def check_size(self, image: int, size: tuple[int, int]) -> None:
        """Compare an image's size with its annotations'.

        Raises:
            SourceError: They differ.
        """
        check_annotated_size(self.path(image), size, self.size(image))


def coco_masks(root: Path, split: str, *, cache: Path | None = None, progress: Progress | None = None) -> ClassMasks:
    """Open the class-level masks of a COCO split, making the cache if it is not there.

    Args:
        root: COCO's folder.
        split: ``train2014``, ``val2014``, ``train2017`` or ``val2017``.
        cache: Folder of caches; under ``ICVOS_HOME`` by default.
        progress: Told how many images are done.

    Raises:
        SourceError: The annotations are missing or broken.
    """
    from icvos.sources.coco import SPLITS, Coco, images_folder

    root = Path(root)
    path = root / "annotations" / f"instances_{split}.json"
    # A cache is known by the JSON's hash, so that the JSON is parsed only once.
    sha256 = file_sha256(path) if split in SPLITS and path.is_file() else ""
    folder = cache_place(cache, f"coco-{split}-{sha256[:16]}")

    def make() -> None:
        coco = Coco(root, split)

        def records() -> Iterator[Record]:
            for image, record in coco.images.items():
                yield (
                    record.name,
                    f"0:{split}/{record.file_name}",
                    (record.height, record.width),
                    record.licence,
                    coco.class_codes(image),
                )

        meta = {
            "source": f"coco{split[-2:]}",
            "split": split,
            "vocabulary": "coco80",
            "licence": _COCO_LICENCE,
            "annotations": coco.annotations,
        }
        write_cache(folder, meta, records(), len(coco.images), lambda: sha256, coco.json, progress)

    if not sha256:
        Coco(root, split)  # says what is missing
    make_once(folder, make)
    return ClassMasks(folder, [images_folder(root, split)])


def voc_masks(
    root: Path,
    split: str,
    *,
    sbd: Path | None = None,
    cache: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> ClassMasks:
    """Open the class-level masks of a VOC split, making the cache if it is not there.

    Args:
        root: VOC's folder.
        split: ``val``, ``train``, ``trainval`` or ``trainaug`` (with SBD).
        sbd: SBD's folder.
        cache: Folder of caches; under ``ICVOS_HOME`` by default.
        workers: Processes that decode masks.
        progress: Told how many images are done.

    Raises:
        SourceError: A folder, list, image or mask is missing.
        MaskError: A mask is broken.
    """
    from icvos.processes import in_order
    from icvos.sources.voc import Voc

    voc = Voc(root, split, sbd)
    roots = [voc.root] + ([voc.sbd] if voc.sbd is not None else [])
    folder = cache_place(cache, f"voc-{split}-{voc.fingerprint[:16]}")

    def records() -> Iterator[Record]:
        for name, (size, codes) in zip(voc.names, in_order(_VocCodes(voc), voc.names, workers)):
            path = voc.path(name)
            number = next(i for i, base in enumerate(roots) if path.is_relative_to(base))
            yield name, f"{number}:{path.relative_to(roots[number]).as_posix()}", size, None, codes

    meta = {"source": "voc12", "split": split, "vocabulary": "voc20", "licence": _VOC_LICENCE}
    make_once(
        folder,
        lambda: write_cache(folder, meta, records(), len(voc.names), lambda: voc.sha256, voc.root, progress),
    )
    return ClassMasks(folder, roots)


class _VocCodes:
    """``Voc.class_codes`` as something that worker processes can be sent."""

    def __init__(self, voc: Voc) -> None:
        self.voc = voc

    def __call__(self, name: str) -> tuple[tuple[int, int], list[tuple[int, int, int, bytes, bytes]]]:
        return self.voc.class_codes(name)


def cache_place(cache: Path | None, name: str) -> Path:
    """Return the folder of a cache in one of caches; that under ``ICVOS_HOME`` by default."""
    return (Path(cache) if cache is not None else icvos_home() / "cache" / "masks") / f"{name}-v{VERSION}"


def pool_sha256(names: Sequence[str]) -> str:
    """Return the SHA-256 of a list of names, in its order."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def check_min_area(min_area: int) -> int:
    """Return ``min_area`` if it is a number of pixels.

    Raises:
        UsageError: It is negative.
    """
    if min_area < 0:
        raise UsageError(f"minimum area is {min_area}", expected="0 or more pixels")
    return min_area
