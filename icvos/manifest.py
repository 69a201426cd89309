"""``manifest.csv``: path, size and SHA-256 of every other file of a benchmark, sorted by path."""

from __future__ import annotations

import csv
import hashlib
import io
import mmap
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from weakref import WeakKeyDictionary

from icvos.benchmark import Benchmark
from icvos.errors import BenchmarkError
from icvos.files import atomic_write, file_sha256, open_file, read_bytes, read_file
from icvos.listing import is_stray

__all__ = [
    "MANIFEST_COLUMNS",
    "Digest",
    "check_manifest",
    "iter_files",
    "manifest_rows",
    "read_listed",
    "read_manifest",
    "verify_frame",
    "verify_frames",
    "verify_mask",
    "verify_masks",
    "verify_query",
    "verify_query_mask",
    "verify_supports",
    "verify_tables",
    "write_manifest",
]

MANIFEST_COLUMNS = ("path", "bytes", "sha256")
NAME = "manifest.csv"
HIDDEN = (".eval_results",)
"""Folders whose names begin with a dot and that are listed all the same: the Hugging Face Hub has results there."""

Digest = tuple[int, str]
"""Bytes and SHA-256 of a file."""


def iter_files(root: Path) -> Iterator[str]:
    """Yield every file below ``root`` as a ``/``-separated path, sorted as text; one folder is held at a time.

    What other systems leave is passed over.
    """
    with os.scandir(root) as scanned:
        entries = [entry for entry in scanned if not is_stray(entry.name) or entry.name in HIDDEN]
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
    path = root / NAME
    if not path.is_file():
        raise BenchmarkError("no manifest.csv", where=root, expected="a finished build", fix="build it again")
    with io.TextIOWrapper(open_file(path), encoding="utf-8", newline="") as stream:
        last = ""
        try:
            for number, row in enumerate(csv.reader(stream, strict=True), 1):
                if number == 1 and tuple(row) != MANIFEST_COLUMNS:
                    raise BenchmarkError("no manifest", where=path, expected=",".join(MANIFEST_COLUMNS))
                if number == 1:
                    continue
                good = len(row) == 3 and re.fullmatch("[0-9]{1,18}", row[1]) and len(row[2]) == 64
                if not good or row[0] <= last or row[0].startswith("/") or ".." in row[0].split("/"):
                    raise BenchmarkError(f"line {number} is broken", where=path, expected="path,bytes,sha256, sorted")
                last = row[0]
                yield row[0], int(row[1]), row[2]
        except (UnicodeDecodeError, csv.Error) as problem:
            raise BenchmarkError(f"manifest cannot be read ({problem})", where=path, fix="build it again") from None


def check_manifest(root: Path, *, hashes: bool = True) -> list[str]:
    """Compare a folder with its manifest; return what differs, one line each, or nothing.

    Args:
        root: A built benchmark.
        hashes: Read every file; without, only names and sizes are compared.
    """
    problems = []
    listed = read_manifest(root)
    there = (path for path in iter_files(root) if path != NAME)
    row, path = next(listed, None), next(there, None)
    # Both are sorted: one pass, and neither is held.
    while row is not None or path is not None:
        if path is None or (row is not None and row[0] < path):
            assert row is not None
            problems.append(f"{row[0]}: is missing")
            row = next(listed, None)
        elif row is None or path < row[0]:
            problems.append(f"{path}: is not in the manifest")
            path = next(there, None)
        else:
            problem = _differs(root / path, row[1], row[2] if hashes else None)
            if problem:
                problems.append(f"{path}: {problem}")
            row, path = next(listed, None), next(there, None)
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


TABLES = ("benchmark.json", "episodes.csv", "frames.csv", "pairs.csv", "videos.csv")


# What was compared already, for each opened benchmark: its files are read once more at most.
_DONE: WeakKeyDictionary[Benchmark, set[str]] = WeakKeyDictionary()


def manifest_rows(manifest: Path, prefix: str) -> Iterator[tuple[str, int, str]]:
    """Yield (path, bytes, sha256) of the rows of a sorted manifest whose path begins with ``prefix``.

    By bisection: neither time nor memory grows with the benchmark.

    Raises:
        BenchmarkError: A row is broken.
    """
    wanted = prefix.encode()
    with open_file(manifest) as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        low, high = data.find(b"\n") + 1, len(data)
        while low < high:
            middle = data.rfind(b"\n", low, (low + high) // 2) + 1 or low
            end = data.find(b"\n", middle) + 1 or len(data)
            if data[middle:end] < wanted:
                low = end
            else:
                high = middle
        while low < len(data):
            end = data.find(b"\n", low) + 1 or len(data)
            line = data[low:end]
            if not line.startswith(wanted):
                return
            yield _row(line, manifest)
            low = end


def _row(line: bytes, manifest: Path) -> tuple[str, int, str]:
    try:
        path, size, sha256 = next(csv.reader([line.decode().rstrip("\n")], strict=True))
        if len(sha256) != 64 or ".." in path.split("/") or path.startswith("/"):
            raise ValueError
        return path, int(size), sha256
    except (ValueError, csv.Error, StopIteration):
        raise BenchmarkError(
            "a line of the manifest is broken", where=manifest, fix="look for damage with: icvos build-data check"
        ) from None


def _verify(benchmark: Benchmark, prefix: str, frames: int | None = None) -> None:
    done = _DONE.setdefault(benchmark, set())
    name = prefix if frames is None else f"{prefix}|{frames}"
    if name in done:
        return
    known = False
    for path, size, sha256 in manifest_rows(benchmark.root / "manifest.csv", prefix):
        known = True
        stem = Path(path).stem
        if frames is None or not re.fullmatch("[0-9]{1,9}", stem) or int(stem) < frames:
            _compare(benchmark.root / path, size, sha256)
    if not known and next(benchmark.root.glob(f"{prefix}*"), None) is not None:
        raise BenchmarkError(
            "a file is not in the manifest", where=benchmark.root / prefix.rstrip("./"), fix="build the benchmark again"
        )
    done.add(name)


def _compare(path: Path, size: int, sha256: str) -> None:
    try:
        data = read_file(path)
    except OSError:
        return  # who reads it says so, and knows what it is
    if data:
        _check_content(data, path, size, sha256)


def _check_content(data: bytes, path: Path, size: int, sha256: str) -> None:
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        raise BenchmarkError(
            "file changed since the benchmark was built",
            where=path,
            expected=f"SHA-256 {sha256[:16]}…",
            fix="build it again; icvos build-data check lists all that changed",
        )


def read_listed(root: Path, path: str, size: int, sha256: str) -> bytes:
    """Return the bytes of a benchmark's file that is as its row of the manifest says.

    Args:
        root: The benchmark's folder.
        path, size, sha256: The row.

    Raises:
        BenchmarkError: It is missing or changed.
    """
    data = read_bytes(root / path, "file", BenchmarkError)
    _check_content(data, root / path, size, sha256)
    return data


def verify_tables(benchmark: Benchmark) -> None:
    """Compare the header and the tables.

    Raises:
        BenchmarkError: One changed, or is not in the manifest.
    """
    if (benchmark.root / "manifest.csv").stat().st_size == 0:
        raise BenchmarkError("manifest.csv is empty", where=benchmark.root, fix="build the benchmark again")
    for name in TABLES:
        _verify(benchmark, name)


def verify_frames(benchmark: Benchmark, video: str, frames: int) -> None:
    """Compare a video's first ``frames`` frames.

    Raises:
        BenchmarkError: One changed, or is not in the manifest.
    """
    _verify(benchmark, f"videos/{video}/JPEGImages/", frames)


def verify_frame(benchmark: Benchmark, video: str, index: int) -> None:
    """Compare one frame of a video.

    Raises:
        BenchmarkError: It changed, or is not in the manifest.
    """
    _verify(benchmark, f"videos/{video}/JPEGImages/{index:05d}.")


def verify_mask(benchmark: Benchmark, video: str, category: int, index: int) -> None:
    """Compare a category's mask on one frame.

    Raises:
        BenchmarkError: It changed, or is not in the manifest.
    """
    _verify(benchmark, f"videos/{video}/Annotations/{category}/{index:05d}.")


def verify_masks(benchmark: Benchmark, video: str, category: int, frames: int) -> None:
    """Compare a category's masks on a video's first ``frames`` frames.

    Raises:
        BenchmarkError: One changed, or is not in the manifest.
    """
    _verify(benchmark, f"videos/{video}/Annotations/{category}/", frames)


def verify_supports(benchmark: Benchmark, category: int, name: str) -> None:
    """Compare a support's image and mask.

    Raises:
        BenchmarkError: One changed, or is not in the manifest.
    """
    _verify(benchmark, f"supports/images/{name}.")
    _verify(benchmark, f"supports/masks/{category}/{name}.")


def verify_query(benchmark: Benchmark, category: int, name: str) -> None:
    """Compare a query's image and mask.

    Raises:
        BenchmarkError: One changed, or is not in the manifest.
    """
    _verify(benchmark, f"queries/images/{name}.")
    verify_query_mask(benchmark, category, name)


def verify_query_mask(benchmark: Benchmark, category: int, name: str) -> None:
    """Compare a query's mask.

    Raises:
        BenchmarkError: It changed, or is not in the manifest.
    """
    _verify(benchmark, f"queries/masks/{category}/{name}.")
