"""Files are compared with the manifest before they are used: a changed benchmark is another benchmark."""

from __future__ import annotations

import csv
import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakKeyDictionary

from icvos.benchmark import Benchmark
from icvos.errors import BenchmarkError

__all__ = ["manifest_rows", "verify_masks", "verify_query", "verify_supports", "verify_tables", "verify_video"]

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
    with manifest.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
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
        if frames is None or not stem.isdigit() or int(stem) < frames:
            _compare(benchmark.root / path, size, sha256)
    if not known and next(benchmark.root.glob(f"{prefix}*"), None) is not None:
        raise BenchmarkError(
            "a file is not in the manifest", where=benchmark.root / prefix.rstrip("./"), fix="build the benchmark again"
        )
    done.add(name)


def _compare(path: Path, size: int, sha256: str) -> None:
    try:
        data = path.read_bytes()
    except OSError:
        return  # who reads it says so, and knows what it is
    if not data:
        return
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        raise BenchmarkError(
            "file changed since the benchmark was built",
            where=path,
            expected=f"SHA-256 {sha256[:16]}…",
            fix="build it again; icvos build-data check lists all that changed",
        )


def verify_tables(benchmark: Benchmark) -> None:
    """Compare the header and the tables.

    Raises:
        BenchmarkError: One changed, or is not in the manifest.
    """
    if (benchmark.root / "manifest.csv").stat().st_size == 0:
        raise BenchmarkError("manifest.csv is empty", where=benchmark.root, fix="build the benchmark again")
    for name in TABLES:
        _verify(benchmark, name)


def verify_video(benchmark: Benchmark, video: str, category: int, frames: int) -> None:
    """Compare a video's first ``frames`` frames and a category's masks on them.

    Raises:
        BenchmarkError: One changed, or is not in the manifest.
    """
    _verify(benchmark, f"videos/{video}/JPEGImages/", frames)
    verify_masks(benchmark, video, category, frames)


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
    _verify(benchmark, f"queries/masks/{category}/{name}.")
