"""FSS-1000: classes of ten pictures, each with the mask of one thing.

Layout, in the folder given or in ``FSS-1000`` in it: ``data/<class>/<n>.jpg`` with ``<n>.png`` beside it, n from 1 to
10, and ``splits/{trn,val,test}.txt`` with a class a line (the authors' lines end as Windows writes them). A pixel is
the thing's where the PNG's grey value is 128 or more.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np

from icvos.errors import InputError, SourceError, UsageError, did_you_mean, printable
from icvos.files import escape_id, read_file, read_lines, read_text
from icvos.images import read_image
from icvos.listing import listing
from icvos.masks import encode_code

__all__ = ["CLASSES", "PICTURES", "SPLITS", "Fss1000", "fss_folder", "read_classes"]

SPLITS = ("test", "val", "trn")
CLASSES = {"trn": 520, "val": 240, "test": 240}
"""Classes of each split of the whole data set."""
PICTURES = tuple(str(number) for number in range(1, 11))
"""Names of a class's pictures in the whole data set."""


class Fss1000:
    """One split of FSS-1000.

    Args:
        root: The folder with ``data`` and ``splits``, or the one that holds ``FSS-1000``.
        split: ``test``, ``val`` or ``trn``.

    Attributes:
        classes: Names, sorted.
        pictures: Names of each class's pictures without suffix, sorted as texts: 1, 10, 2, …
        notes: What somebody should know of the list, one line each.

    Raises:
        SourceError: A folder, list or mask is missing, or the list is empty or names a class twice.
    """

    def __init__(self, root: Path, split: str = "test") -> None:
        if split not in SPLITS:
            raise UsageError(f"no FSS-1000 split '{split}'", fix=did_you_mean(split, SPLITS))
        self.root, self.split = fss_folder(Path(root)), split
        self.list = self.root / "splits" / f"{split}.txt"
        self.classes = read_classes(self.list)
        self.notes = list(self._notes())
        self._files: dict[tuple[str, str, str], Path] = {}
        self.pictures = {name: self._pictures(name) for name in self.classes}

    def _notes(self) -> list[str]:
        notes = []
        whole = CLASSES[self.split]
        if len(self.classes) != whole:
            notes.append(f"splits/{self.split}.txt names {len(self.classes)} classes, of {whole} in the whole data set")
        if not read_text(self.list, error=SourceError).endswith(("\n", "\r")):
            notes.append(
                f"splits/{self.split}.txt has no line end after its last class: Matcher's code would leave that out; "
                "here it counts"
            )
        return notes

    def _pictures(self, name: str) -> tuple[str, ...]:
        folder = self.root / "data" / name
        if not folder.is_dir():
            expected = "1.jpg to 10.jpg with their masks in it"
            raise SourceError(f"class '{name}' is listed and has no folder", where=folder, expected=expected)
        stems = tuple(sorted(path.stem for path in listing(folder, (".jpg",), error=SourceError)))
        if not stems:
            raise SourceError(f"class '{name}' has no picture", where=folder, expected="1.jpg to 10.jpg")
        if len(set(stems)) != len(stems):
            raise SourceError(f"class '{name}' has a picture twice", where=folder, expected="one file a picture")
        missing = next((stem for stem in stems if not self._file(name, stem, ".png").is_file()), None)
        if missing is not None:
            where = self._file(name, missing, ".png")
            raise SourceError(f"picture {missing} of '{name}' has no mask", where=where, fix="unpack it again")
        return stems

    def _file(self, name: str, stem: str, suffix: str) -> Path:
        key = name, stem, suffix
        if key not in self._files:
            path = self.root / "data" / name / f"{stem}{suffix}"
            self._files[key] = path
            if not path.exists() and path.with_suffix(suffix.upper()).exists():
                self._files[key] = path.with_suffix(suffix.upper())
        return self._files[key]

    def path(self, name: str, stem: str) -> Path:
        """Return the file of a class's picture."""
        return self._file(name, stem, ".jpg")

    @staticmethod
    def image_name(name: str, stem: str) -> str:
        """Return what a picture is called in a benchmark: ``bus__7``."""
        return escape_id(f"{name}__{stem}")

    def mask(self, name: str, stem: str) -> np.ndarray:
        """Return (H, W) bool: where the thing is.

        Raises:
            SourceError: The mask is broken.
        """
        path = self._file(name, stem, ".png")
        try:
            pixels = read_image(path)
        except InputError as error:
            raise SourceError(error.what, where=path, expected="a whole PNG", fix="fetch it again") from None
        # Pillow's grey of colours is 65,536 times as much, rounded. All sums are whole numbers that float32 holds.
        grey = pixels.astype(np.float32) @ np.array([19595, 38470, 7471], np.float32)
        return grey >= 128 * 65536 - 32768

    def class_code(self, name: str, stem: str) -> tuple[tuple[int, int], int, bytes]:
        """Return a mask's (H, W), its pixels, and itself as compressed run lengths; b"" where it is empty."""
        mask = self.mask(name, stem)
        area = int(np.count_nonzero(mask))
        code: bytes = encode_code(mask)["counts"] if area else b""
        return (mask.shape[0], mask.shape[1]), area, code

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the names and mask files of the split."""
        total = hashlib.sha256()
        for name, stem in self._all():
            digest = hashlib.sha256(read_file(self._file(name, stem, ".png"))).hexdigest()
            total.update(f"{name}/{stem} {digest}\n".encode())
        return total.hexdigest()

    @property
    def fingerprint(self) -> str:
        """A hash that changes when a mask file or a picture's name does, from names, sizes and times alone."""
        total = hashlib.sha256()
        for name, stem in self._all():
            path = self._file(name, stem, ".png")
            stat = path.stat()
            picture = self.path(name, stem).name
            total.update(f"{path} {stat.st_size} {stat.st_mtime_ns} {picture}\n".encode())
        return total.hexdigest()

    def _all(self) -> list[tuple[str, str]]:
        return [(name, stem) for name in self.classes for stem in self.pictures[name]]


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the classes of a split's list, sorted.

    Raises:
        SourceError: The list is missing or empty, or names a class twice or no folder.
    """
    names = [name for name in read_lines(path, error=SourceError) if name]
    if not names:
        raise SourceError("list names no class", where=path, expected="a class a line")
    for name in names:
        if name in (".", "..") or "/" in name or "\\" in name or printable(name) != name:
            raise SourceError(f"list names '{name[:40]}'", where=path, expected="names of folders in data/")
    twice = min((name for name, count in Counter(names).items() if count > 1), default=None)
    if twice is not None:
        raise SourceError(f"class '{twice}' stands twice", where=path, expected="each class once")
    return tuple(sorted(names))


def fss_folder(root: Path) -> Path:
    """Return the folder with ``data`` and ``splits``: the one given, or ``FSS-1000`` in it.

    Raises:
        SourceError: Neither is one.
    """
    for folder in (root, root / "FSS-1000"):
        if (folder / "data").is_dir() and (folder / "splits").is_dir():
            return folder
    raise SourceError("FSS-1000 not found", where=root, expected="a folder with data/ and splits/")
