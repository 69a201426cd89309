"""Writing a benchmark folder: into ``OUT.partial``, manifest last, then renamed to ``OUT``."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from icvos.costs import in_bytes
from icvos.errors import BenchmarkError, InputError
from icvos.files import absolute_path, free_bytes, lock_folder, read_file, read_json, real_path, write_csv, write_json
from icvos.manifest import Digest, iter_files, write_manifest
from icvos.masks import encode_mask
from icvos.processes import in_order
from icvos.progress import Progress, Update

__all__ = ["BenchmarkWriter", "Table", "check_place", "is_within", "place_file", "write_file"]

# In the state of a build: who renamed its folder, for the case that it is killed right then.
_COMMAND = ".command.json"

T = TypeVar("T")
R = TypeVar("R")

Table = tuple[Sequence[str], Iterable[Mapping[str, Any]]]
"""Columns and rows of a CSV file."""


def write_file(path: str | os.PathLike[str], data: bytes) -> Digest:
    """Write bytes and return their size and SHA-256. Half a file is removed again (a full disk, say)."""
    try:
        with open(path, "wb", buffering=0) as stream:  # noqa: PTH123 - a third of the time of Path.open
            rest = memoryview(data)
            while rest:  # a disk that is nearly full takes a part, and refuses the next
                rest = rest[stream.write(rest) :]
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return write_file(path, data)
    except OSError as problem:
        with contextlib.suppress(OSError):
            Path(path).unlink(missing_ok=True)
        problem.filename = str(path)
        raise
    return len(data), hashlib.sha256(data).hexdigest()


def place_file(
    path: str | os.PathLike[str], source: str | os.PathLike[str], *, link: bool = False, data: bytes | None = None
) -> Digest:
    """Put a source's file into a benchmark, byte for byte, and return its size and SHA-256.

    Args:
        path: Where to. A file there is replaced, never written through.
        source: Where from.
        link: As a hard link; copied where that is not possible (another file system).
        data: The source's bytes, where they were read already.
    """
    if data is None:
        data = read_file(source)
    if link and _link(path, source):
        return len(data), hashlib.sha256(data).hexdigest()
    # An earlier build may have left a hard link into the source.
    Path(path).unlink(missing_ok=True)
    return write_file(path, data)


def _link(path: str | os.PathLike[str], source: str | os.PathLike[str]) -> bool:
    if os.path.islink(source):  # noqa: PTH114 - a link to a link would not be the frame
        source = os.path.realpath(source)
    try:
        os.link(source, path)
    except FileExistsError:
        os.unlink(path)  # noqa: PTH108
        return _link(path, source)
    except FileNotFoundError:
        folder = os.path.dirname(path)  # noqa: PTH120 - as fast as the rest
        if os.path.isdir(folder):  # noqa: PTH112
            return False
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        return _link(path, source)
    except OSError:
        return False
    return True


def check_place(out: str | os.PathLike[str]) -> None:
    """Ask whether a benchmark can be built at ``out``: an empty folder may be there, and what an earlier build left.

    Raises:
        BenchmarkError: Something else is there.
    """
    out = absolute_path(out)
    root, state = _partial(out)
    if _is_taken(out) and not _is_left_behind(out):
        raise BenchmarkError("the folder is there already", where=out, fix="choose another --out, or delete it")
    if root.exists() and not state.exists():
        raise BenchmarkError(
            "a folder is in the way that no build made", where=root, fix="rename it, or take another --out"
        )


def is_within(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> bool:
    """Whether a file would lie in a benchmark that is built at ``out``, or in what becomes of it."""
    place, folder = real_path(path), real_path(out)
    return any(place.is_relative_to(each) for each in (folder, *(_partial(folder) if folder.name else ())))


def _is_taken(out: Path) -> bool:
    return out.exists() and (not out.is_dir() or any(out.iterdir()))


def _is_left_behind(out: Path) -> bool:
    """Whether this same command built ``out`` and was killed after it was renamed, before it ended."""
    root, state = _partial(out)
    if root.exists() or not (out / "manifest.csv").is_file():
        return False
    try:
        return bool(read_json(state / _COMMAND) == _command())
    except InputError:
        return False


def _command() -> list[str]:
    return [str(Path.cwd()), *sys.argv]


def _partial(out: Path) -> tuple[Path, Path]:
    """Return where a build writes, and what it keeps of its state: beside the folder, so that nothing else is in it.

    Raises:
        BenchmarkError: ``out`` is the root of all folders, which nothing is beside.
    """
    if not out.name:
        raise BenchmarkError("the folder is there already", where=out, fix="choose another --out")
    return out.with_name(out.name + ".partial"), out.with_name(out.name + ".partial-state")


class BenchmarkWriter:
    """Writes the layout of a benchmark; used as a context.

    ::

        with BenchmarkWriter(out) as writer:
            writer.place("queries/images/a.jpg", source)
            writer.mask("queries/masks/3/a.png", labels)
            writer.finish(header, {"episodes.csv": (columns, rows)})

    Everything goes to ``OUT.partial`` (``writer.root``) under a lock. ``finish`` writes the tables, ``benchmark.json``
    and the manifest and renames the folder. Without it nothing appears at ``OUT``; the partial folder stays for a
    later ``resume`` or is wiped by the next build.

    Args:
        out: The benchmark's folder, which must not exist (an empty folder may).
        need: Bytes that will be written, about.
        resume: Keep what an earlier, killed build left in ``OUT.partial``.

    Raises:
        LockedError: Another build works on it.
        BenchmarkError: ``out`` is there already.
        InputError: The disk has less room than ``need`` and 5 % more.
    """

    def __init__(self, out: str | os.PathLike[str], *, need: int = 0, resume: bool = False) -> None:
        self.out = absolute_path(out)
        self.root, self.state = _partial(self.out)
        free = free_bytes(self.out)
        if need * 1.05 > free:
            raise InputError(
                f"the disk has {in_bytes(free)} free",
                where=self.out.parent,
                expected=f"about {in_bytes(need * 1.05)}",
                fix="use --link or --limit, where the builder has them, or another disk",
            )
        self._resume = resume
        self._known: dict[str, Digest] = {}
        self._videos: set[str] = set()
        self._recorded: tuple[str, dict[str, Any]] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> BenchmarkWriter:
        self._stack.enter_context(lock_folder(self.out))
        try:
            check_place(self.out)
            if _is_taken(self.out):
                (self.out / "manifest.csv").unlink()
                self.out.rename(self.root)
            for folder in (self.state, self.root):
                if folder.exists() and not self._resume:
                    shutil.rmtree(folder)
                folder.mkdir(parents=True, exist_ok=True)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._resume and isinstance(error, (KeyboardInterrupt, SystemExit)):
            error.add_note(f"what was built is kept in {self.root}; the same command goes on")
        self._stack.close()

    def write(self, path: str, data: bytes) -> None:
        """Write a file of the benchmark."""
        self._known[path] = write_file(self.root / path, data)

    def mask(self, path: str, labels: np.ndarray) -> None:
        """Write (H, W) uint8 labels {0, 1, 255} as an 8-bit grey PNG."""
        self.write(path, encode_mask(labels))

    def place(self, path: str, source: Path, *, link: bool = False, data: bytes | None = None) -> None:
        """Copy (or hard-link) a source's file, byte for byte; ``data`` are its bytes, where they were read already."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        self._known[path] = place_file(self.root / path, source, link=link, data=data)

    def record(self, path: str, digest: Digest) -> None:
        """Take note of a file that a worker wrote (with ``write_file`` or ``place_file``)."""
        self._known[path] = digest

    def record_video(self, video: str) -> None:
        """Take note of a video that a worker built, of whose files it left a record.

        A record of another video is of an earlier build that was killed, of other data or by other rules, and counts
        nothing.
        """
        self._videos.add(video)

    def work(
        self,
        function: Callable[[T], R],
        tasks: Iterable[T],
        *,
        what: str,
        total: int,
        workers: int,
        progress: Progress | None,
        size: Callable[[R], int] = lambda _: 1,
    ) -> Iterator[R]:
        """Yield ``function(task)`` for each task, in order, from several processes, and tell how much is done.

        Args:
            function, tasks, workers: As for ``processes.in_order``.
            what: What is counted, in the plural: ``tubes``.
            total: Of how many.
            progress: Who is told, or None.
            size: How many a result stands for.
        """
        done = 0
        if progress is not None:
            progress(Update(what, done, total))
        for result in in_order(function, tasks, workers):
            done += size(result)
            if progress is not None:
                progress(Update(what, done, total))
            yield result

    def finish(self, header: Mapping[str, Any], tables: Mapping[str, Table], *, adopt: bool = True) -> str:
        """Write the tables, ``benchmark.json`` and the manifest, rename the folder, and return the manifest's SHA-256.

        Args:
            header: ``benchmark.json``, without any time, host or path.
            tables: Columns and rows of each CSV file by its name.
            adopt: Hash and keep files that this writer does not know; otherwise they are removed.
        """
        for name, (columns, rows) in tables.items():
            write_csv(self.root / name, columns, rows)
        write_json(self.root / "benchmark.json", header)
        keep = {*tables, "benchmark.json"}
        if not adopt:
            self._remove_unknown(keep)
        sha256 = write_manifest(self.root, self.digest)
        write_json(self.state / _COMMAND, _command())
        if self.out.exists():
            self.out.rmdir()
        self.root.rename(self.out)
        shutil.rmtree(self.state, ignore_errors=True)
        return sha256

    def _remove_unknown(self, keep: set[str]) -> None:
        for path in iter_files(self.root):
            if path not in keep and self.digest(path) is None:
                (self.root / path).unlink()
        for folder, _, _ in os.walk(self.root, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)  # noqa: PTH106 - only the empty ones go

    def digest(self, path: str) -> Digest | None:
        """Return size and SHA-256 of a file written in this build, or by a worker that left a record of its video."""
        known = self._known.get(path)
        parts = path.split("/", 2)
        if known is not None or parts[0] != "videos" or len(parts) < 3 or parts[1] not in self._videos:
            return known
        # One video's record is held at a time, so that memory does not grow with the number of videos.
        if self._recorded is None or self._recorded[0] != parts[1]:
            self._recorded = (parts[1], self._read_record(parts[1]))
        entry = self._recorded[1].get(parts[2])
        return (int(entry[0]), str(entry[1])) if entry else None

    def _read_record(self, video: str) -> dict[str, Any]:
        try:
            return read_json(self.state / f"{video}.json")["files"]
        except InputError:
            return {}
