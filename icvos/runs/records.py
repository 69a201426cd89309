"""The run folder: ``run.json``, ``episodes.jsonl``, ``frames/`` and ``result.json``, resumable after any kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from icvos.errors import RunError, in_words
from icvos.files import (
    absolute_path,
    atomic_write,
    lock_folder,
    open_file,
    read_file,
    read_json,
    remove_partial_files,
    write_json,
)
from icvos.protocols import PROTOCOLS
from icvos.runs.schema import RESULT_SCHEMA, RUN_SCHEMA, complete_result, has_run_parts, record_problem

__all__ = ["Records", "RunFolder", "read_frames", "read_result", "read_run"]

# What may change under a run's feet (an edited method, other weights, a newer icvos): such a run is done anew. A
# difference in anything else is another run, which has no business in the same folder.
STALE = frozenset({"icvos", "model_version", "source", "weights", "dtype", "device", "benchmark", "masks"})


def read_run(folder: Path) -> dict[str, Any]:
    """Read ``run.json``.

    Raises:
        RunError: The folder is no run, or of another schema.
    """
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise RunError("no run here", where=folder, expected="a folder with run.json, as icvos evaluate makes it")
    run = read_json(folder / "run.json", RunError)
    if not isinstance(run, dict) or run.get("schema") != RUN_SCHEMA:
        raise RunError("run.json is of another schema", where=folder / "run.json", expected=RUN_SCHEMA)
    if not has_run_parts(run):
        raise RunError("run.json is damaged", where=folder / "run.json", fix="evaluate again into another --out")
    return run


def read_result(folder: Path) -> dict[str, Any]:
    """Read ``result.json``; what its summary lacks because an earlier version made it is completed.

    Raises:
        RunError: Missing, or of another schema.
    """
    path = Path(folder) / "result.json"
    if not path.is_file():
        raise RunError("the run has no result yet", where=folder, fix="run the same icvos evaluate again to finish it")
    result = read_json(path, RunError)
    if not isinstance(result, dict) or result.get("schema") != RESULT_SCHEMA:
        raise RunError("result.json is of another schema", where=path, expected=RESULT_SCHEMA)
    whole = complete_result(result)
    if whole is None:
        raise RunError("result.json is damaged", where=path, fix="run the same icvos evaluate again")
    return whole


def read_frames(folder: Path, identity: str) -> dict[str, np.ndarray] | None:
    """Read what was measured of an episode's frames, (T,) float each: J and F in 0..1; None where their file is gone.

    Raises:
        RunError: The file is broken.
    """
    path = Path(folder) / "frames" / f"{identity}.npz"
    if not path.is_file():
        return None
    try:
        with open_file(path) as stream, np.load(stream, allow_pickle=False) as stored:
            known = {protocol.measure.columns for protocol in PROTOCOLS.values()}
            columns = next((each for each in known if {*each} == {*stored.files}), ("J", "F"))
            values = {name: np.asarray(stored[name], np.float64) for name in columns}
        if any(each.ndim != 1 or each.shape != values[columns[0]].shape for each in values.values()):
            raise ValueError(f"{' and '.join(columns)} are no rows of one length")
    except Exception as problem:  # what NumPy raises on broken archives is of many kinds
        raise RunError(
            f"values of frames cannot be read ({problem})", where=path, fix="delete the file to go on without it"
        ) from None
    return values


def read_record_line(line: bytes, protocol: object = None) -> dict[str, Any] | None:
    """Return a line of ``episodes.jsonl`` as a record of a protocol, or None if it is none (a flipped bit, say)."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if record_problem(record, protocol) is None else None


class Records(Mapping[str, dict[str, Any]]):
    """The records of a file by id. Only where each one lies is held: a record is read anew whenever it is asked for.

    Args:
        path: ``episodes.jsonl``, or nothing yet; lines that are added later are not seen.
        protocol: Name of the run's, or None.

    Raises:
        RunError: A line is no record.
    """

    def __init__(self, path: Path, protocol: object = None) -> None:
        self._path, self._protocol = path, protocol
        self._offsets: dict[str, int] = {}
        if not path.exists() and not path.is_symlink():
            return
        try:
            with open_file(path) as stream:
                self._index(stream)
        except OSError as problem:
            raise RunError(f"records cannot be read ({problem.strerror})", where=path) from None

    def _index(self, stream: IO[bytes]) -> None:
        begin = 0
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                break
            record = read_record_line(line, self._protocol)
            if record is None:
                raise RunError(f"line {number} is no record", where=self._path, fix="delete the line and resume")
            self._offsets[record["id"]] = begin
            begin += len(line)

    def __getitem__(self, name: str) -> dict[str, Any]:
        begin = self._offsets[name]
        with open_file(self._path) as stream:
            stream.seek(begin)
            record: dict[str, Any] = json.loads(stream.readline())
        return record

    def __contains__(self, name: object) -> bool:
        return name in self._offsets

    def __iter__(self) -> Iterator[str]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)


class RunFolder:
    """One run's folder; made by ``open``. Only one process writes to it at a time."""

    def __init__(self, root: Path, run: dict[str, Any]) -> None:
        self.root = root
        self.run = run
        self.moved: Path | None = None
        self._stream: IO[str] | None = None

    @classmethod
    @contextmanager
    def open(cls, root: Path, run: dict[str, Any], *, set_aside: bool = True) -> Iterator[RunFolder]:
        """Open a folder for writing, locked: a new run, or the same run again.

        Args:
            root: Absent, empty, or a folder of the same run.
            run: What ``run.json`` shall say; ``run["key"]`` decides whether a record is reused.
            set_aside: The same run of an edited method, with other weights, … (``STALE``) is renamed to ``ROOT.old1``,
                … and done anew (``moved`` says where it went); otherwise it is refused too.

        Raises:
            RunError: Something else is there.
            LockedError: Another process writes there.
        """
        root = absolute_path(root)
        with lock_folder(root):
            _check_no_file(root)
            moved = None
            if root.is_dir() and not _is_empty(root):
                there = read_run(root)
                if _is_same(root, there, run, set_aside):
                    run = {**run, "start": there.get("start", run.get("start"))}
                    run |= {"times": there["times"]} if "times" in there else {}
                else:
                    moved = _set_aside(root)
            folder = cls(root, run)
            folder.moved = moved
            root.mkdir(parents=True, exist_ok=True)
            folder.write_run()
            folder._stream = folder._open_lines()
            try:
                yield folder
            finally:
                folder._stream.close()
                folder._stream = None

    @classmethod
    def look(cls, root: Path, run: dict[str, Any]) -> RunFolder | None:
        """Return what ``open`` would go on with, or None where it would begin a new run; nothing is touched.

        Args:
            root: Absent, empty, or a folder of the same run.
            run: What ``run.json`` shall say.

        Raises:
            RunError: Something else is there.
        """
        _check_no_file(root)
        # What killed writers left is removed when the folder is opened.
        if not root.is_dir() or all(path.match(".*.tmp") for path in root.iterdir()):
            return None
        return cls(root, run) if _is_same(root, read_run(root), run, True) else None

    def write_run(self, **changes: Any) -> None:
        """Write ``run.json``, with some values changed."""
        self.run.update(changes)
        write_json(self.root / "run.json", self.run)

    def _open_lines(self) -> IO[str]:
        path = self.root / "episodes.jsonl"
        if path.exists():
            # What a kill tore off would run into the next line.
            data = read_file(path)
            end = data.rfind(b"\n") + 1
            if end < len(data):
                os.truncate(path, end)
        return path.open("a", encoding="utf-8", newline="\n")

    def add(self, record: Mapping[str, Any], frames: Mapping[str, np.ndarray] | None = None) -> None:
        """Append an episode's record; its frames' values are written first, so that a record is never without them."""
        if self._stream is None:
            raise RunError("the run is not open for writing", where=self.root)
        if frames is not None:
            with atomic_write(self.root / "frames" / f"{record['id']}.npz") as stream:
                np.savez(stream, **dict(frames))  # type: ignore[arg-type]
        self._stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self._stream.flush()

    def records(self) -> Records:
        """Return the records by id; the last line of an id wins, a torn last line is dropped.

        Raises:
            RunError: A line within is no record.
        """
        key = self.run.get("key")
        return Records(self.root / "episodes.jsonl", key.get("protocol") if isinstance(key, dict) else None)

    def done(self, ids: Sequence[str]) -> set[str]:
        """Return which of ``ids`` have a good record (failed ones are tried again)."""
        records = self.records()
        return {name for name in ids if name in records and not records[name].get("error")}

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``."""
        write_json(self.root / "result.json", result)


def _check_no_file(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise RunError("a file is in the way", where=root, fix="choose another --out")


def _is_same(root: Path, there: Mapping[str, Any], run: Mapping[str, Any], set_aside: bool) -> bool:
    """Whether the run in a folder is this one; False where it is of an older state of things and may be set aside.

    Raises:
        RunError: It is another.
    """
    changed = _differences(there["key"], run["key"])
    if not changed or (set_aside and STALE.issuperset(changed)):
        return not changed
    name = next((name for name in changed if name not in STALE), changed[0])
    old, new = there["key"].get(name), run["key"].get(name)
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(iter(_differences(old, new)), "")
        name, old, new = f"{name} {inner}", old.get(inner), new.get(inner)
    a, b = (in_words(value)[:60] for value in (old, new))
    raise RunError(
        f"another run is there (its {name.replace('_', ' ')} is {a}, not {b})",
        where=root,
        fix="choose another --out",
    )


def _is_empty(root: Path) -> bool:
    """Whether a folder holds nothing but what killed writers left; that is removed (the folder is locked)."""
    for folder in (root, root / "frames"):
        if folder.is_dir():
            remove_partial_files(folder)
    return not any(root.iterdir())


def _set_aside(root: Path) -> Path:
    number = 1
    while (aside := root.with_name(f"{root.name}.old{number}")).exists():
        number += 1
    return root.rename(aside)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
