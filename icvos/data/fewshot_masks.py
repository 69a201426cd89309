"""Class-level masks of FSS-1000 and LVIS, decoded once and cached as those of COCO and VOC are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path

from icvos.data.class_masks import ClassMasks, cache_place
from icvos.data.class_masks_cache import Record, make_once, write_cache
from icvos.errors import SourceError
from icvos.files import file_sha256, read_bytes
from icvos.images import image_size
from icvos.processes import in_order
from icvos.progress import Progress
from icvos.sources.fss1000 import Fss1000
from icvos.sources.lvis import Lvis, MatcherLists, annotations_of_lvis, image_name

__all__ = ["fss_masks", "lvis_masks", "matcher_lvis_masks"]

_FSS_LICENCE = "FSS-1000: pictures from the web, on its authors' terms; https://github.com/HKUSTCV/FSS-1000"
_LVIS_LICENCE = (
    "LVIS v1: annotations on its authors' terms, https://www.lvisdataset.org; images are COCO's, each with the Flickr "
    "licence that the JSON names"
)


def fss_masks(
    fss: Fss1000, *, cache: Path | None = None, workers: int = 1, progress: Progress | None = None
) -> ClassMasks:
    """Open the masks of a split of FSS-1000, making the cache if it is not there.

    A class is a category: number 1 is the first by name.

    Args:
        fss: The split.
        cache: Folder of caches; under ``ICVOS_HOME`` by default.
        workers: Processes that decode masks.
        progress: Told how many are done.

    Raises:
        SourceError: A mask is broken.
    """
    folder = cache_place(cache, f"fss1000-{fss.split}-{fss.fingerprint[:16]}")
    pictures = [(number, name, stem) for number, name in enumerate(fss.classes, 1) for stem in fss.pictures[name]]

    def records() -> Iterator[Record]:
        for (number, name, stem), (size, area, code) in zip(pictures, in_order(_FssCodes(fss), pictures, workers)):
            file = f"0:{fss.path(name, stem).relative_to(fss.root).as_posix()}"
            yield fss.image_name(name, stem), file, size, None, [(number, 1, area, code, b"")] if area else []

    meta = {"source": "fss1000", "split": fss.split, "vocabulary": list(fss.classes), "licence": _FSS_LICENCE}
    make_once(
        folder, lambda: write_cache(folder, meta, records(), len(pictures), lambda: fss.sha256, fss.list, progress)
    )
    return ClassMasks(folder, [fss.root])


class _FssCodes:
    """``Fss1000.class_code`` as something that worker processes can be sent."""

    def __init__(self, fss: Fss1000) -> None:
        self.fss = fss

    def __call__(self, picture: tuple[int, str, str]) -> tuple[tuple[int, int], int, bytes]:
        return self.fss.class_code(*picture[1:])


def lvis_masks(root: Path, coco: Path, *, cache: Path | None = None, progress: Progress | None = None) -> ClassMasks:
    """Open the class-level masks of LVIS v1's validation split, making the cache if it is not there.

    Args:
        root: LVIS' folder.
        coco: The folder with ``train2017`` and ``val2017``.
        cache: Folder of caches; under ``ICVOS_HOME`` by default.
        progress: Told how many images are done.

    Raises:
        SourceError: The annotations are missing or broken.
    """
    # A cache is known by the JSON's hash, so that the JSON is parsed only once.
    sha256 = file_sha256(annotations_of_lvis(root))
    folder = cache_place(cache, f"lvis1-{Lvis.split}-{sha256[:16]}")

    def make() -> None:
        lvis = Lvis(root)

        def records() -> Iterator[Record]:
            for number, image in lvis.images.items():
                size = (image.height, image.width)
                yield image_name(image.file), f"0:{image.file}", size, image.licence, lvis.class_codes(number)

        meta = {
            "source": "lvis1",
            "split": lvis.split,
            "vocabulary": list(lvis.names),
            "licence": _LVIS_LICENCE,
            "annotations": lvis.annotations,
        }
        write_cache(folder, meta, records(), len(lvis.images), lambda: sha256, lvis.json, progress)

    make_once(folder, make)
    return ClassMasks(folder, [coco])


def matcher_lvis_masks(
    lists: MatcherLists,
    drawn: Collection[tuple[int, str]],
    coco: Path,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> ClassMasks:
    """Open the masks of the images that are drawn of Matcher's lists, making the cache if it is not there.

    The lists name no category: number n is called ``lvis_n``.

    Args:
        lists: Of the validation split.
        drawn: (category, file) pairs.
        coco: The folder with ``train2017`` and ``val2017``.
        cache: Folder of caches; under ``ICVOS_HOME`` by default.
        progress: Told how many images are done.

    Raises:
        SourceError: An image is missing, or a segmentation broken.
    """
    by_file: dict[str, list[int]] = {}
    for category, file in sorted(drawn):
        by_file.setdefault(file, []).append(category)
    # The lists say no size: it is the picture's, so that other pictures make another cache.
    stats = [_stat(coco / file) for file in by_file]
    key = hashlib.sha256(json.dumps([lists.sha256, sorted(drawn), stats]).encode()).hexdigest()
    folder = cache_place(cache, f"lvis-matcher-{key[:16]}")

    def records() -> Iterator[Record]:
        for file, categories in by_file.items():
            path = coco / file
            size = image_size(read_bytes(path, "image of the lists", SourceError), path)
            codes = [lists.class_code(category, file, size) for category in categories]
            yield image_name(file), f"0:{file}", size, None, [code for code in codes if code[2]]

    names = [f"lvis_{number}" for number in range(1, max(lists.images) + 1)]
    meta = {"source": "lvis1", "split": "val", "vocabulary": names, "licence": _LVIS_LICENCE}
    make_once(
        folder, lambda: write_cache(folder, meta, records(), len(by_file), lambda: lists.sha256, lists.path, progress)
    )
    return ClassMasks(folder, [coco])


def _stat(path: Path) -> tuple[int, int] | None:
    """Return a file's bytes and time; None where there is none, which its reader says."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns
