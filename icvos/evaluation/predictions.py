"""Predicted masks made elsewhere, all hostile: folders of PNGs, zip archives of them, COCO run lengths in JSON."""

from __future__ import annotations

import re
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from unicodedata import normalize

import numpy as np

from icvos.errors import MaskError, PredictionError, in_words, name_some
from icvos.files import open_file, read_file, read_json, real_path
from icvos.listing import files_by_stem, folders, is_stray, listing, natural, path_of_stem
from icvos.masks import PGM_HEADER, Header, decode_mask, header, label_header, read_header

__all__ = [
    "FolderPredictions",
    "Predictions",
    "RlePredictions",
    "ZipPredictions",
    "check_names",
    "fit_size",
    "name_some",
    "open_predictions",
    "other_numbers",
    "other_size",
]

MAX_FILES = 20_000_000
MAX_NAME = 255  # characters, as file systems have it
MAX_PNG = 64 << 20  # bytes of one mask's file
MAX_RATIO = 2000  # of an archive's entry: real masks stay under 1100 (zlib's own limit is 1032)
MAX_PIXELS = 1 << 27
_SUFFIXES = (".png", ".pgm")

Size = tuple[int, int]
Folder = TypeVar("Folder")


_Part = TypeVar("_Part")


class Predictions(ABC):
    """Masks by name (an episode, a sequence) and frame stem. Opened again in each worker: it must be picklable."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def _check_lengths(self, names: Iterable[str]) -> None:
        """Refuse names that no file could have: their numbers may be too long for Python to read."""
        for name in names:
            if len(name) > MAX_NAME:
                raise PredictionError(
                    f"a name of {len(name):,} characters: {name[:40]}…",
                    where=self.where,
                    expected=f"at most {MAX_NAME}",
                )

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


def _inner_root(
    root: Folder, folders_in: Callable[[Folder], list[Folder]], masks_in: Callable[[Folder], Any]
) -> Folder:
    """Return the folder whose folders are the names: the only one in ``root`` if it holds folders and no mask itself.

    Everything but ``<root>/<name>/<frame>.png`` is passed over: what is no PNG, what lies higher or deeper, strays.
    """
    inner = folders_in(root)
    return inner[0] if len(inner) == 1 and folders_in(inner[0]) and not masks_in(inner[0]) else root


class FolderPredictions(Predictions):
    """``<root>/<name>/<frame>.png`` (or ``.pgm``); one folder around all is seen through.

    Folders may be links, masks may not.
    """

    def __init__(self, where: Path) -> None:
        super().__init__(
            _inner_root(
                where,
                lambda folder: [folder / name for name in folders(folder)],
                lambda folder: listing(folder, _SUFFIXES),
            )
        )

    def names(self) -> list[str]:
        return folders(self.where)

    def frames(self, name: str) -> list[str]:
        return sorted(files_by_stem(self.where / name, _SUFFIXES, error=PredictionError), key=natural)

    def _path(self, name: str, frame: str) -> Path:
        paths = [path_of_stem(self.where / name, frame, suffix) for suffix in _SUFFIXES]
        path = next((path for path in paths if path.exists()), paths[0])
        if path.is_symlink() and not real_path(path).is_relative_to(real_path(self.where / name)):
            raise PredictionError("a link leaves the predictions' folder", where=path, fix="copy what it points to")
        return path

    def header(self, name: str, frame: str) -> Header | None:
        return read_header(self._path(name, frame))

    def load(self, name: str, frame: str) -> np.ndarray:
        path = self._path(name, frame)
        try:
            data = read_file(path)
        except OSError as problem:
            raise PredictionError(f"mask cannot be read ({problem.strerror})", where=path) from None
        return decode_mask(data, path)

    def size(self, name: str, frame: str) -> Size | None:
        path = self._path(name, frame)
        try:
            with open_file(path) as stream:
                return _label_size(stream.read(PGM_HEADER), str(path))
        except OSError as problem:
            raise PredictionError(f"mask cannot be read ({problem.strerror})", where=path) from None


def _get(parts: Mapping[str, _Part], name: str, where: str) -> _Part:
    """Return a part of a file of masks.

    Raises:
        PredictionError: It has none of that name.
    """
    if name not in parts:
        raise PredictionError("mask not found", where=where)
    return parts[name]


class ZipPredictions(Predictions):
    """A zip archive of ``<name>/<frame>.png``, read in place; one folder around all is seen through."""

    def __init__(self, where: Path) -> None:
        super().__init__(where)
        self._open()
        self._entries = self._index()

    def _open(self) -> None:
        try:
            try:
                # Linux and macOS write names in UTF-8 without the flag that says so.
                self._archive = zipfile.ZipFile(open_file(self.where), metadata_encoding="utf-8")
            except UnicodeDecodeError:
                self._archive = zipfile.ZipFile(open_file(self.where))  # cp437
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
            raise PredictionError(f"archive cannot be opened ({problem})", where=self.where, expected="a zip") from None

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where, "_entries": self._entries}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def _index(self) -> dict[str, dict[str, str]]:
        infos = self._archive.infolist()
        if len(infos) > MAX_FILES:
            raise PredictionError(
                f"archive holds {len(infos):,} files", where=self.where, expected=f"at most {MAX_FILES:,}"
            )
        top: tuple[str, ...] = ()
        masks: dict[tuple[str, ...], list[zipfile.ZipInfo]] = {top: []}  # of each folder, the empty ones too
        for info in infos:
            *parents, file = self._parts(info)
            if any(map(is_stray, parents)):
                continue
            folder = tuple(parents[:3])  # names are not deeper than the second
            for depth in range(len(folder), 0, -1):
                if folder[:depth] in masks:
                    break
                masks[folder[:depth]] = []
            if file.lower().endswith(".png") and not is_stray(file):
                masks[folder].append(info)
        inner: dict[tuple[str, ...], list[tuple[str, ...]]] = {folder: [] for folder in masks}
        for folder in masks:
            if folder:
                inner[folder[:-1]].append(folder)
        root = _inner_root(top, inner.__getitem__, masks.__getitem__)
        return {folder[-1]: self._by_stem(folder[-1], masks[folder]) for folder in inner[root]}

    def _parts(self, info: zipfile.ZipInfo) -> list[str]:
        """Return the folders of an entry's path and its file, which is empty where the entry is a folder.

        Raises:
            PredictionError: It escapes, or is a link.
        """
        name = info.filename
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or (len(name) > 1 and name[1] == ":") or "\0" in name:
            raise PredictionError(f"archive holds a path that escapes: {in_words(name[:80])}", where=self.where)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise PredictionError(
                f"archive holds a link: {in_words(name[:80])}", where=self.where, expected="plain files"
            )
        self._check_lengths(parts)
        return [part for part in parts[:-1] if part not in ("", ".")] + parts[-1:]

    def _by_stem(self, folder: str, masks: Sequence[zipfile.ZipInfo]) -> dict[str, str]:
        """Return the entries of a folder's masks by frame stem.

        Raises:
            PredictionError: One is too large or encrypted, or two have one stem.
        """
        entries: dict[str, str] = {}
        for info in masks:
            name = info.filename
            if info.file_size > MAX_PNG or info.file_size > MAX_RATIO * max(info.compress_size, 1):
                raise PredictionError(
                    f"{in_words(name[:80])} would unpack to {info.file_size:,} bytes",
                    where=self.where,
                    expected="a mask's PNG",
                )
            if info.flag_bits & 1:
                raise PredictionError("archive is encrypted", where=self.where, fix="pack it without a password")
            stem = PurePosixPath(name.replace("\\", "/")).stem
            if stem in entries:
                raise PredictionError(
                    f"'{stem}' is there twice", where=f"{self.where}/{folder}", expected="one file a frame"
                )
            entries[stem] = name
        return entries

    def names(self) -> list[str]:
        return sorted(self._entries)

    def frames(self, name: str) -> list[str]:
        return sorted(_get(self._entries, name, f"{self.where}: {name}"), key=natural)

    def header(self, name: str, frame: str) -> Header | None:
        return header(self._read(name, frame, 33))

    def _read(self, name: str, frame: str, count: int) -> bytes:
        entry = _get(_get(self._entries, name, f"{self.where}: {name}"), frame, self.path(name, frame))
        try:
            with self._archive.open(entry) as stream:
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
        self._check_lengths([*self._masks, *(frame for frames in self._masks.values() for frame in frames)])

    def names(self) -> list[str]:
        return sorted(self._masks)

    def frames(self, name: str) -> list[str]:
        return sorted(_get(self._masks, name, f"{self.where}: {name}"), key=natural)

    def path(self, name: str, frame: str) -> str:
        return f"{self.where}: {name}, {frame}"

    def _objects(self, name: str, frame: str) -> dict[int, Any]:
        value = _get(_get(self._masks, name, f"{self.where}: {name}"), frame, self.path(name, frame))
        if value is None:
            return {}
        if isinstance(value, dict) and "counts" in value:
            return {1: value}
        if isinstance(value, dict) and all(re.fullmatch("[0-9]{1,3}", key) and 0 < int(key) < 255 for key in value):
            objects = {int(key): rle for key, rle in sorted(value.items(), key=lambda item: int(item[0]))}
            if len(objects) < len(value):
                raise PredictionError(
                    "an object is there twice", where=self.path(name, frame), expected="one RLE for each id"
                )
            return objects
        raise PredictionError(
            "no RLE",
            where=self.path(name, frame),
            expected='{"size": [H, W], "counts": …}, one for each id of 1 to 254, or null',
        )

    def _size(self, rle: Any, name: str, frame: str) -> Size:
        size: Any = rle.get("size") if isinstance(rle, dict) else None
        whole = isinstance(size, list) and len(size) == 2 and all(type(v) is int and 0 < v < 65536 for v in size)
        if not whole or size[0] * size[1] > MAX_PIXELS:
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
            return decode_rle(rle.get("counts"), size)
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


def check_names(wanted: Sequence[str], predictions: Predictions, what: str, *, others: bool = False) -> None:
    """Compare the names that are predicted with those that are wanted; ``others`` may be there too.

    Raises:
        PredictionError: One is missing, or unknown.
    """
    predicted = predictions.names()
    missing = sorted(set(wanted) - set(predicted))
    if missing:
        forms = {normalize("NFC", name) for name in predicted}
        fix = "choose those that are with --sequences or --split" if what == "sequence" else None
        if "masks" in predicted and "masks" not in wanted:
            fix = "give the folder masks in it"
        if any(normalize("NFC", name) in forms for name in missing):
            fix = "rename folders: the letters are the same, but composed in another way (NFC against NFD)"
        raise PredictionError(
            f"{len(missing)} of {len(wanted)} {what}s are not predicted: {name_some(missing)}",
            where=predictions.where,
            expected=f"a folder for each {what}",
            fix=fix,
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


def other_numbers(frames: Sequence[str], where: str, expected: str) -> PredictionError:
    """Return the error of predictions with as many frames as the ground truth, some of them of other numbers."""
    return PredictionError(
        f"as many frames as in the ground truth, but of other numbers: {name_some(frames)}",
        where=where,
        expected=expected,
        fix="rename them so that a number means one frame in both",
    )


def other_size(size: Sequence[int], wanted: Sequence[int], where: str) -> PredictionError:
    """Return the error of a mask of another size than the ground truth's."""
    return PredictionError(f"mask is {size[0]}x{size[1]} (HxW)", where=where, expected=f"{wanted[0]}x{wanted[1]}")
