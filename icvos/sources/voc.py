"""PASCAL VOC 2012 and SBD: class maps of one split, and class-level masks from them.

Layout of VOC: ``JPEGImages``, ``SegmentationClass`` (palette PNG, 0..20, 255 = void border) and
``ImageSets/Segmentation/<split>.txt``, in the folder given or in ``VOC2012`` or ``VOCdevkit/VOC2012`` in it. SBD:
``dataset/{img,cls}`` with a ``.mat`` file an image, and ``dataset/{train,val}.txt``; no void border. The same masks as
PNG may be in ``SegmentationClassAug`` beside VOC's own.
"""

from __future__ import annotations

import hashlib
import io
from functools import cached_property
from pathlib import Path

import numpy as np

from icvos.categories import VOC20
from icvos.errors import InputError, MaskError, MissingExtraError, SourceError, UsageError, did_you_mean
from icvos.files import check_id, read_file, read_text
from icvos.images import IMAGE_SUFFIXES
from icvos.listing import listing, path_of_stem
from icvos.masks import encode_code, read_mask

__all__ = ["SPLITS", "VOID", "Voc", "read_sbd_mat", "voc_folder"]

SPLITS = ("val", "train", "trainval", "trainaug")
VOID = 255
_AUG = "SegmentationClassAug"


class Voc:
    """One split of VOC 2012.

    Args:
        root: VOC's folder.
        split: ``train``, ``val``, ``trainval``, or ``trainaug``: all of VOC's train and SBD that is not in VOC's val
            (10,582 images of the whole data sets).
        sbd: SBD's folder; without, ``trainaug`` needs ``SegmentationClassAug``.

    Raises:
        SourceError: A folder or list is missing.
    """

    def __init__(self, root: Path, split: str, sbd: Path | None = None) -> None:
        if split not in SPLITS:
            raise UsageError(f"no VOC split '{split}'", fix=did_you_mean(split, SPLITS))
        self.split = split
        self.root = voc_folder(Path(root))
        self.sbd = None if sbd is None else _sbd_folder(Path(sbd))
        self.names = tuple(sorted(self._listed()))
        if not self.names:
            raise SourceError(f"split '{split}' lists no image", where=self.root / "ImageSets/Segmentation")

    def _listed(self) -> set[str]:
        if self.split != "trainaug":
            return set(self._list(self.split))
        val = set(self._list("val"))
        names = set(self._list("train"))
        if self.sbd is not None:
            for part in ("train", "val"):
                names.update(_read_list(self.sbd / f"{part}.txt"))
        elif (self.root / _AUG).is_dir():
            names.update(path.stem for path in listing(self.root / _AUG, (".png",)))
        else:
            raise SourceError(
                "split 'trainaug' needs SBD", where=self.root, expected=f"SBD's folder, or {_AUG} in VOC's"
            )
        return names - val

    def _list(self, split: str) -> list[str]:
        return _read_list(self.root / "ImageSets" / "Segmentation" / f"{split}.txt")

    def mask_path(self, name: str) -> Path:
        """Return the file of an image's class map: VOC's own where there is one, then SBD's.

        Raises:
            SourceError: There is none.
        """
        paths = [path_of_stem(self.root / part, name, ".png") for part in ("SegmentationClass", _AUG)]
        if self.sbd is not None:
            paths.append(self.sbd / "cls" / f"{name}.mat")
        for path in paths:
            if path.is_file():
                return path
        raise SourceError(f"image {name} has no mask", where=paths[0].parent, fix="unpack the whole data set")

    def path(self, name: str) -> Path:
        """Return an image's file.

        Raises:
            SourceError: It is not there.
        """
        roots = [self.root / "JPEGImages"] + ([] if self.sbd is None else [self.sbd / "img"])
        for path in (path_of_stem(root, name, suffix) for root in roots for suffix in IMAGE_SUFFIXES):
            if path.is_file():
                return path
        where = roots[0] / f"{name}{IMAGE_SUFFIXES[0]}"
        raise SourceError(f"image {name} is listed but not there", where=where, fix="unpack the whole data set")

    def label_map(self, name: str) -> np.ndarray:
        """Return (H, W) uint8: classes 1..20, 0 background, 255 void.

        Raises:
            SourceError: No mask.
            MaskError: A broken one, or one with other values.
        """
        path = self.mask_path(name)
        labels = read_sbd_mat(path) if path.suffix == ".mat" else read_mask(path)
        odd = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[len(VOC20) + 1 : VOID])
        if len(odd):
            raise MaskError(
                f"mask holds the value {odd[0] + len(VOC20) + 1}", where=path, expected="0 to 20, and 255 for void"
            )
        return labels

    def class_codes(self, name: str) -> tuple[tuple[int, int], list[tuple[int, int, int, bytes, bytes]]]:
        """Return (H, W), and (category, 0, area, code, void code) of each category, as ``Coco.class_codes``."""
        labels = np.asfortranarray(self.label_map(name))
        counts = np.bincount(labels.ravel(order="K"), minlength=256)
        void = encode_code(labels == VOID)["counts"] if counts[VOID] else b""
        present = [int(value) for value in np.flatnonzero(counts[1:VOID]) + 1]
        codes = [(c, 0, int(counts[c]), encode_code(labels == c)["counts"], void) for c in present]
        return (labels.shape[0], labels.shape[1]), codes

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the names and mask files of the split."""
        total = hashlib.sha256()
        for name in self.names:
            total.update(f"{name} {hashlib.sha256(read_file(self.mask_path(name))).hexdigest()}\n".encode())
        return total.hexdigest()

    @property
    def fingerprint(self) -> str:
        """A hash that changes when a mask file does, from names, sizes and times alone."""
        total = hashlib.sha256()
        for name in self.names:
            path = self.mask_path(name)
            stat = path.stat()
            total.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return total.hexdigest()


def voc_folder(root: Path) -> Path:
    """Return the folder of VOC 2012 in the one that was given: itself, ``VOC2012`` or ``VOCdevkit/VOC2012`` in it.

    Raises:
        SourceError: There is none.
    """
    for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (folder / "ImageSets" / "Segmentation").is_dir():
            return folder
    raise SourceError("no VOC 2012 here", where=root, expected="JPEGImages, SegmentationClass, ImageSets/Segmentation")


def _sbd_folder(root: Path) -> Path:
    for folder in (root, root / "dataset", root / "benchmark_RELEASE" / "dataset"):
        if (folder / "cls").is_dir():
            return folder
    raise SourceError("no SBD here", where=root, expected="dataset/img, dataset/cls, dataset/train.txt")


def _read_list(path: Path) -> list[str]:
    lines = read_text(path, error=SourceError).split()
    try:
        return [check_id(name, "image name") for name in lines]
    except InputError as error:
        raise SourceError(error.what, where=path, expected=error.expected) from None


def read_sbd_mat(path: Path) -> np.ndarray:
    """Read a class map of SBD: field ``Segmentation`` of ``GTcls`` in a MATLAB 5 file, as (H, W) uint8.

    Raises:
        MaskError: Missing, broken, or of another form.
    """
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError:
        raise MissingExtraError("scipy", "voc", "reading SBD's .mat files") from None
    expected = "GTcls with a field Segmentation, (H, W) uint8, in a MATLAB 5 file"
    try:
        content = loadmat(io.BytesIO(read_file(path)), variable_names=["GTcls"])
        labels = content["GTcls"].ravel()[0]["Segmentation"]
        # A struct in a struct array: scipy wraps fields once more.
        while isinstance(labels, np.ndarray) and labels.dtype == object and labels.size == 1:
            labels = labels.ravel()[0]
    except FileNotFoundError:
        raise MaskError("mask not found", where=path) from None
    except KeyError:
        raise MaskError("no GTcls", where=path, expected=expected) from None
    except Exception as problem:
        # scipy raises nearly anything on a broken file.
        raise MaskError(
            f"mask cannot be read ({type(problem).__name__}: {problem})",
            where=path,
            expected=expected,
            fix="fetch the file again",
        ) from None
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or not labels.size:
        raise MaskError("GTcls is of another form", where=path, expected=expected)
    if labels.dtype != np.uint8:
        # Some copies hold doubles.
        whole = labels.dtype.kind in "iuf" and bool(np.all((labels >= 0) & (labels <= 255) & (labels % 1 == 0)))
        if not whole:
            raise MaskError(f"Segmentation holds {labels.dtype}", where=path, expected=expected)
    return np.ascontiguousarray(labels, dtype=np.uint8)
