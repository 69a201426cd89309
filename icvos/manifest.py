"""``manifest.csv``: path, size and SHA-256 of every other file of a benchmark, sorted by path."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from icvos.errors import BenchmarkError
from icvos.files import atomic_write, file_sha256

__all__ = ["MANIFEST_COLUMNS", "Digest", "check_manifest", "iter_files", "read_manifest", "write_manifest"]

MANIFEST_COLUMNS = ("path", "bytes", "sha256")
NAME = "manifest.csv"

Digest = tuple[int, str]
"""Bytes and SHA-256 of a file."""


def iter_files(root: Path) -> Iterator[str]:
    """Yield every file below ``root`` as a ``/``-separated path, sorted as text; one folder is held at a time."""
    with os.scandir(root) as entries:
        # A folder sorts with its slash, so that the whole listing is in the order of the path strings.
        names = sorted(entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries)
    for name in names:
        if name.endswith("/"):
            yield from (name + inner for inner in iter_files(root / name))
        else:
            yield name


def write_manifest(root: Path, known: Callable[[str], Digest | None] | None = None) -> str:
    """Write ``manifest.csv`` of a folder and return the manifest's own SHA-256.

    Args:
        root: The folder; every file in it is listed.
        known: Gives the size and hash of a path where they are known already; other files are read.
    """
    with atomic_write(root / NAME, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        for path in iter_files(root):
            # Its own temporary file is in the folder while it is written.
            if path == NAME or (path.startswith(f".{NAME}.") and path.endswith(".tmp")):
                continue
            digest = known(path) if known is not None else None
            size, sha256 = digest or ((root / path).stat().st_size, file_sha256(root / path))
            writer.writerow((path, size, sha256))
    return file_sha256(root / NAME)


def read_manifest(root: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (path, bytes, sha256) of each row.

    Raises:
        BenchmarkError: Missing, cut off, out of order, or with a path that leaves the folder.
    """
    place = root / NAME
    if not place.is_file():
        raise BenchmarkError("no manifest.csv", where=root, expected="a finished build", fix="build it again")
    with place.open(encoding="utf-8", newline="") as stream:
        last = ""
        try:
            for number, row in enumerate(csv.reader(stream, strict=True), 1):
                if number == 1 and tuple(row) != MANIFEST_COLUMNS:
                    raise BenchmarkError("no manifest", where=place, expected=",".join(MANIFEST_COLUMNS))
                if number == 1:
                    continue
                good = len(row) == 3 and row[1].isascii() and row[1].isdigit() and len(row[2]) == 64
                if not good or row[0] <= last or row[0].startswith("/") or ".." in row[0].split("/"):
                    raise BenchmarkError(f"line {number} is broken", where=place, expected="path,bytes,sha256, sorted")
                last = row[0]
                yield row[0], int(row[1]), row[2]
        except (UnicodeDecodeError, csv.Error) as problem:
            raise BenchmarkError(f"manifest cannot be read ({problem})", where=place, fix="build it again") from None


def check_manifest(root: Path, *, hashes: bool = True) -> list[str]:
    """Compare a folder with its manifest; return what differs, one line each, or nothing.

    Args:
        root: A built benchmark.
        hashes: Read every file; without, only names and sizes are compared.
    """
    problems = []
    listed = read_manifest(root)
    found = (path for path in iter_files(root) if path != NAME)
    row, path = next(listed, None), next(found, None)
    # Both are sorted: one pass, and neither is held.
    while row is not None or path is not None:
        if path is None or (row is not None and row[0] < path):
            assert row is not None
            problems.append(f"{row[0]}: is missing")
            row = next(listed, None)
        elif row is None or path < row[0]:
            problems.append(f"{path}: is not in the manifest")
            path = next(found, None)
        else:
            problem = _differs(root / path, row[1], row[2] if hashes else None)
            if problem:
                problems.append(f"{path}: {problem}")
            row, path = next(listed, None), next(found, None)
    return problems


def _differs(path: Path, size: int, sha256: str | None) -> str | None:
    try:
        actual = path.stat().st_size
        if actual != size:
            return f"has {actual} bytes, the manifest says {size}"
        if sha256 is not None and file_sha256(path) != sha256:
            return "its content changed (another SHA-256)"
    except OSError as problem:
        return f"cannot be read ({problem.strerror})"
    return None
