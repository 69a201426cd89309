"""The cache of class-level masks on disk: how it is written, once, whoever asks for it at the same time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from icvos.errors import InputError, LockedError, SourceError
from icvos.files import HOME_REMEDY, atomic_write, check_id, lock_folder, write_json
from icvos.progress import Progress, Update

__all__ = ["PAIR", "VERSION", "Record", "make_once", "write_cache"]

VERSION = 3
"""Raised when the cache's files change."""

PAIR = np.dtype(
    [
        ("image", "<i4"),
        ("category", "<i2"),
        ("instances", "<i2"),
        ("area", "<i4"),
        ("start", "<i8"),
        ("middle", "<i8"),
        ("end", "<i8"),
    ]
)
Record = tuple[str, str, tuple[int, int], int | None, list[tuple[int, int, int, bytes, bytes]]]
"""Name, file (``<root's number>:<path>``), (H, W), licence, and each category's (number, instances, area, code, ignore
code)."""


def make_once(folder: Path, make: Callable[[], None], patience: float = 3600.0) -> None:
    """Make a cache if it is not there; of several processes that want it one makes it, and the others wait."""
    end = time.monotonic() + patience
    while not (folder / "meta.json").is_file():
        try:
            with lock_folder(folder, remedy=HOME_REMEDY):
                if not (folder / "meta.json").is_file():
                    make()
        except LockedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def write_cache(
    folder: Path,
    meta: dict[str, Any],
    records: Iterator[Record],
    total: int,
    sha256: Callable[[], str],
    where: Path,
    progress: Progress | None,
) -> None:
    """Write a cache; it appears when all of it is there.

    Args:
        folder: The cache.
        meta: What ``meta.json`` says, without version and hash.
        records: Of all images, in any order.
        total: How many there are.
        sha256: Gives the hash of the annotations.
        where: The annotations, for messages.
        progress: Told how many images are done.

    Raises:
        SourceError: No image, a name that is none, or one twice.
    """
    if not total:
        raise SourceError(f"{meta['split']} lists no image", where=where, fix="choose another split")
    written: list[Record] = []
    for record in records:
        check = _checked(record, where)
        written.append(check)
        if progress is not None:
            progress(Update(f"masks of {meta['split']}", len(written), total))
    written.sort(key=lambda record: record[0])
    for one, other in pairwise(written):
        if one[0] == other[0]:
            raise SourceError(f"image '{one[0]}' is listed twice", where=where)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write_arrays(partial, written)
        write_json(partial / "meta.json", {"version": VERSION, **meta, "sha256": sha256()})
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _checked(record: Record, where: Path) -> Record:
    try:
        check_id(record[0], "image name")
    except InputError as error:
        raise SourceError(error.what, where=where, expected=error.expected) from None
    return record


def _write_arrays(folder: Path, records: Sequence[Record]) -> None:
    pairs, parts, offset = [], [], 0
    for number, record in enumerate(records):
        for category, instances, area, code, ignored in sorted(record[4]):
            middle = offset + len(code)
            pairs.append((number, category, instances, area, offset, middle, middle + len(ignored)))
            parts += [code, ignored]
            offset = middle + len(ignored)
    listing = {"names": [r[0] for r in records], "files": [r[1] for r in records], "licences": [r[3] for r in records]}
    write_json(folder / "images.json", listing)
    arrays = {
        "sizes": np.array([r[2] for r in records], np.int32).reshape(-1, 2),
        "pairs": np.array(pairs, PAIR),
        "codes": np.frombuffer(b"".join(parts), np.uint8),
    }
    for name, array in arrays.items():
        with atomic_write(folder / f"{name}.npy") as stream:
            np.save(stream, array, allow_pickle=False)
