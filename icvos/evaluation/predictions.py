"""Predicted masks made elsewhere, all hostile: folders of PNGs, zip archives of them, COCO run lengths in JSON."""

from __future__ import annotations

import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icvos.errors import MaskError, PredictionError
from icvos.files import read_json
from icvos.listing import files_by_stem, folders, is_stray, listing, natural, path_of_stem
from icvos.masks import Header, decode_mask, header, label_header, read_header

__all__ = [
    "FolderPredictions",
    "Predictions",
    "RlePredictions",
    "ZipPredictions",
    "check_names",
    "fit_size",
    "name_some",
    "open_predictions",
    "other_size",
]

MAX_FILES = 20_000_000
MAX_PNG = 64 << 20  # bytes of one mask's file
MAX_RATIO = 2000  # of an archive's entry: real masks stay under 1100 (zlib's own limit is 1032)
MAX_PIXELS = 1 << 27
# What may lie beside masks, as in folders: scores, read-me files. It is not read.
NOTES = (".csv", ".txt", ".md", ".json")

Size = tuple[int, int]


class Predictions(ABC):
    """Masks by name (an episode, a sequence) and frame stem. Opened again in each worker: it must be picklable."""

    def __init__(self, where: Path) -> None:
        self.where = where

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of what is predicted, sorted."""

    @abstractmethod
    def frames(self, name: str) -> list[str]:
        """Return the frame stems of a name, sorted."""

    @abstractmethod
    def load(self, name: str, frame: str) -> np.ndarray:
        """Return (H, W) uint8 labels as they are stored.

        Raises:
            MaskError: Truncated, RGB, 16-bit, …
        """

    @abstractmethod
    def size(self, name: str, frame: str) -> Size | None:
        """Return (H, W) without decoding, or None where only decoding tells.

        Raises:
            PredictionError: It is seen at once that this is no mask.
        """

    def header(self, name: str, frame: str) -> Header | None:
        """Return the header of a mask's PNG; None where masks are no PNGs."""
        return None

    def path(self, name: str, frame: str) -> str:
        """Return where a mask is, for messages."""
        return f"{self.where}/{name}/{frame}.png"


def _label_size(data: bytes, where: str) -> Size:
    """Return (H, W) of the first bytes of a mask.

    Raises:
        PredictionError: It is seen at once that this is no mask, or one of too many pixels.
    """
    try:
        size = label_header(data, where)[:2]
    except MaskError as error:
        raise PredictionError(error.what, where=where, expected=error.expected) from None
    if size[0] * size[1] > MAX_PIXELS:
        raise PredictionError(f"mask is {size[0]}x{size[1]}", where=where, expected=f"at most {MAX_PIXELS:,} pixels")
    return size


class FolderPredictions(Predictions):
    """``<root>/<name>/<frame>.png``; one folder around all is seen through. Folders may be links, masks may not."""

    def __init__(self, where: Path) -> None:
        super().__init__(where)
        inner = folders(where)
        if len(inner) == 1 and folders(where / inner[0]) and not listing(where / inner[0], (".png",)):
            self.where = where / inner[0]

    def names(self) -> list[str]:
        return folders(self.where)

    def frames(self, name: str) -> list[str]:
        return sorted(files_by_stem(self.where / name, (".png",), error=PredictionError), key=natural)

    def _path(self, name: str, frame: str) -> Path:
        path = path_of_stem(self.where / name, frame, ".png")
        if path.is_symlink() and not path.resolve().is_relative_to((self.where / name).resolve()):
            raise PredictionError("a link leaves the predictions' folder", where=path, fix="copy what it points to")
        return path

    def header(self, name: str, frame: str) -> Header | None:
        return read_header(self._path(name, frame))

    def load(self, name: str, frame: str) -> np.ndarray:
        path = self._path(name, frame)
        try:
            data = path.read_bytes()
        except OSError as problem:
            raise PredictionError(f"mask cannot be read ({problem.strerror})", where=path) from None
        return decode_mask(data, path)

    def size(self, name: str, frame: str) -> Size | None:
        path = self._path(name, frame)
        try:
            with path.open("rb") as stream:
                return _label_size(stream.read(33), str(path))
        except OSError as problem:
            raise PredictionError(f"mask cannot be read ({problem.strerror})", where=path) from None


class ZipPredictions(Predictions):
    """A zip archive of ``<name>/<frame>.png``, read in place; one folder around all is seen through."""

    def __init__(self, where: Path) -> None:
        super().__init__(where)
        self._open()
        self._entries = self._index()

    def _open(self) -> None:
        try:
            self._archive = zipfile.ZipFile(self.where)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
            raise PredictionError(f"archive cannot be opened ({problem})", where=self.where, expected="a zip") from None

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where, "_entries": self._entries}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def _index(self) -> dict[str, dict[str, str]]:
        files: dict[tuple[str, ...], str] = {}
        infos = self._archive.infolist()
        if len(infos) > MAX_FILES:
            raise PredictionError(
                f"archive holds {len(infos):,} files", where=self.where, expected=f"at most {MAX_FILES:,}"
            )
        for info in infos:
            name = info.filename
            parts = tuple(name.replace("\\", "/").split("/"))
            if name.startswith(("/", "\\")) or ".." in parts or (len(name) > 1 and name[1] == ":") or "\0" in name:
                raise PredictionError(f"archive holds a path that escapes: {name[:80]!r}", where=self.where)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise PredictionError(f"archive holds a link: {name[:80]!r}", where=self.where, expected="plain files")
            if info.is_dir() or any(map(is_stray, parts)):
                continue
            if parts[-1].lower().endswith(NOTES):
                continue
            if not parts[-1].lower().endswith(".png"):
                raise PredictionError(f"archive holds {name[:80]!r}", where=self.where, expected="NAME/FRAME.png alone")
            if info.file_size > MAX_PNG or info.file_size > MAX_RATIO * max(info.compress_size, 1):
                raise PredictionError(
                    f"{name[:80]!r} would unpack to {info.file_size:,} bytes", where=self.where, expected="a mask's PNG"
                )
            if info.flag_bits & 1:
                raise PredictionError("archive is encrypted", where=self.where, fix="pack it without a password")
            if parts in files:
                raise PredictionError(f"{name[:80]!r} stands twice", where=self.where)
            files[parts] = name
        depth = {len(parts) for parts in files}
        if depth == {3} and len({parts[0] for parts in files}) == 1:
            files = {parts[1:]: name for parts, name in files.items()}
        elif depth - {2}:
            odd = next(name for parts, name in files.items() if len(parts) != 2)
            raise PredictionError(f"archive holds {odd[:80]!r}", where=self.where, expected="NAME/FRAME.png")
        entries: dict[str, dict[str, str]] = {}
        for parts, name in files.items():
            entries.setdefault(parts[0], {})[parts[1][:-4]] = name
        return entries

    def names(self) -> list[str]:
        return sorted(self._entries)

    def frames(self, name: str) -> list[str]:
        return sorted(self._entries[name], key=natural)

    def header(self, name: str, frame: str) -> Header | None:
        return header(self._read(name, frame, 33))

    def _read(self, name: str, frame: str, count: int) -> bytes:
        try:
            with self._archive.open(self._entries[name][frame]) as stream:
                data = stream.read(count)
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as problem:
            raise PredictionError(f"archive is damaged ({problem})", where=self.path(name, frame)) from None
        except Exception as problem:  # zlib.error, lzma.LZMAError: each codec has its own
            raise PredictionError(f"archive is damaged ({problem})", where=self.path(name, frame)) from None
        return data

    def load(self, name: str, frame: str) -> np.ndarray:
        return decode_mask(self._read(name, frame, MAX_PNG + 1), self.path(name, frame))

    def size(self, name: str, frame: str) -> Size | None:
        return _label_size(self._read(name, frame, 33), self.path(name, frame))


class RlePredictions(Predictions):
    """COCO run lengths: ``{"<name>": {"00000": RLE or null, …}}``; or a list of the masks of frames 0, 1, … instead.

    An RLE is ``{"size": [H, W], "counts": text or list}``. With several objects a frame is ``{"<id>": RLE, …}``.
    """

    def __init__(self, where: Path) -> None:
        super().__init__(where)
        content = read_json(where, PredictionError)
        if not isinstance(content, dict) or not all(isinstance(v, (dict, list)) for v in content.values()):
            raise PredictionError(
                "JSON holds no masks", where=where, expected='{"NAME": {"00000": {"size": [H, W], "counts": …}, …}, …}'
            )
        self._masks: dict[str, Mapping[str, Any]] = {
            name: frames if isinstance(frames, dict) else {f"{i:05d}": rle for i, rle in enumerate(frames)}
            for name, frames in content.items()
        }

    def names(self) -> list[str]:
        return sorted(self._masks)

    def frames(self, name: str) -> list[str]:
        return sorted(self._masks[name], key=natural)

    def path(self, name: str, frame: str) -> str:
        return f"{self.where}: {name}, {frame}"

    def _objects(self, name: str, frame: str) -> dict[int, Any]:
        value = self._masks[name][frame]
        if value is None:
            return {}
        if isinstance(value, dict) and "counts" in value:
            return {1: value}
        if isinstance(value, dict) and all(str(key).isdigit() and 0 < int(key) < 255 for key in value):
            return {int(key): rle for key, rle in sorted(value.items(), key=lambda item: int(item[0]))}
        raise PredictionError("no RLE", where=self.path(name, frame), expected='{"size": [H, W], "counts": …} or null')

    def _size(self, rle: Any, name: str, frame: str) -> Size:
        size = rle.get("size") if isinstance(rle, dict) else None
        size = size if isinstance(size, list) and all(isinstance(v, int) and 0 < v < 65536 for v in size) else []
        if len(size) != 2 or size[0] * size[1] > MAX_PIXELS:
            raise PredictionError(f"RLE of size {str(size)[:40]}", where=self.path(name, frame), expected="[H, W]")
        return size[0], size[1]

    def size(self, name: str, frame: str) -> Size | None:
        sizes = {self._size(rle, name, frame) for rle in self._objects(name, frame).values()}
        if len(sizes) > 1:
            raise PredictionError("objects of one frame differ in size", where=self.path(name, frame))
        return next(iter(sizes), None)

    def load(self, name: str, frame: str) -> np.ndarray:
        labels: np.ndarray | None = None
        for number, rle in self._objects(name, frame).items():
            mask = self._decode(rle, self._size(rle, name, frame), name, frame)
            labels = np.zeros(mask.shape, np.uint8) if labels is None else labels
            labels[mask] = number
        return np.zeros((0, 0), np.uint8) if labels is None else labels

    def _decode(self, rle: Any, size: Size, name: str, frame: str) -> np.ndarray:
        from icvos.masks import decode_rle

        try:
            return decode_rle(rle["counts"], size)
        except ValueError as problem:
            raise PredictionError(f"RLE is broken ({problem})", where=self.path(name, frame)) from None


def open_predictions(where: Path) -> Predictions:
    """Open a folder, a ``.zip`` or a ``.json`` of masks.

    Raises:
        PredictionError: Missing, or none of these.
    """
    where = Path(where)
    if where.is_dir():
        return FolderPredictions(where)
    if not where.exists():
        raise PredictionError("predictions not found", where=where, expected="a folder, .zip or .json of masks")
    if where.suffix.lower() == ".zip":
        return ZipPredictions(where)
    if where.suffix.lower() == ".json":
        return RlePredictions(where)
    raise PredictionError("predictions are no folder, .zip or .json", where=where)


Record = dict[str, Any]
Scored = list[tuple[Record, dict[str, np.ndarray] | None]]
"""Records of episodes or objects, each with J and F of its frames, (T,) float, or None of an image."""


def name_some(names: Sequence[str]) -> str:
    """Return the first three of some names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def check_names(wanted: Sequence[str], predictions: Predictions, what: str, *, others: bool = False) -> None:
    """Compare the names that are predicted with those that are wanted; ``others`` may be there too.

    Raises:
        PredictionError: One is missing, or unknown.
    """
    predicted = predictions.names()
    missing = sorted(set(wanted) - set(predicted))
    if missing:
        raise PredictionError(
            f"{len(missing)} of {len(wanted)} {what}s are not predicted: {name_some(missing)}",
            where=predictions.where,
            expected=f"a folder for each {what}",
            fix="choose those that are with --sequences or --split" if what == "sequence" else "",
        )
    unknown = sorted(set(predicted) - set(wanted))
    if unknown and not others:
        raise PredictionError(
            f"{len(unknown)} {what}s are unknown: {name_some(unknown)}",
            where=predictions.where,
            fix="take them out" + (", or choose with --sequences or --split" if what == "sequence" else ""),
        )


def fit_size(predicted: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Return a mask if it has a shape (H, W); nothing predicted, (0, 0), is an empty mask of it.

    Raises:
        PredictionError: It has another.
    """
    if predicted.shape == tuple(shape):
        return predicted
    if predicted.size == 0:
        return np.zeros(shape, np.uint8)
    raise other_size(predicted.shape, shape, where)


def other_size(size: Sequence[int], wanted: Sequence[int], where: str) -> PredictionError:
    """Return the error of a mask of another size than the ground truth's."""
    return PredictionError(f"mask is {size[0]}x{size[1]} (HxW)", where=where, expected=f"{wanted[0]}x{wanted[1]}")
