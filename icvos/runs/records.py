"""The run folder: ``run.json``, ``episodes.jsonl``, ``frames/`` and ``result.json``, resumable after any kill."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from icvos.errors import InputError, RunError
from icvos.files import atomic_write, check_id, lock_folder, read_json, write_json
from icvos.metrics.formulas import FOLD_COUNTS
from icvos.metrics.table import METRICS, episode_metrics, ranked_parts, summary_names
from icvos.runs.undrawn import complete_means

__all__ = ["RESULT_SCHEMA", "RUN_SCHEMA", "RunFolder", "complete_summary", "key_hash", "numbers", "read_result", "read_run"]

RUN_SCHEMA = "icvos-run/1"
RESULT_SCHEMA = "icvos-result/1"

# What may change under a run's feet (an edited method, other weights, a newer icvos): such a run is done anew. A
# difference in anything else is another run, which has no business in the same folder.
STALE = frozenset({"icvos", "model_version", "source", "weights", "dtype", "device", "benchmark", "masks"})
PARTS = ("key", "model", "benchmark", "environment")
COUNTS = (*FOLD_COUNTS, "frames", "visible_frames", "peak_memory")


def numbers() -> tuple[str, ...]:
    """Return what a record holds as numbers where it holds it at all, beside ``COUNTS``."""
    return (*(metric.name for metric in episode_metrics()), "seconds", "support_seconds", "fps")


def complete_summary(result: dict[str, Any]) -> dict[str, Any] | None:
    """Return a result with all keys of its summary: those that came after it was made; None where others are missing.

    mIoU of a result that 0.1.0 wrote is completed by ``complete_means``; a later metric is None.
    """
    result = complete_means(result)
    missing = [name for name in summary_names() if name not in result["summary"]]
    if any(name not in METRICS or METRICS[name].required for name in missing):
        return None
    return {**result, "summary": {**result["summary"], **dict.fromkeys(missing)}} if missing else result


def key_hash(key: Mapping[str, Any]) -> str:
    """Return a short hash of a reuse key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


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
    if not all(isinstance(run.get(name, {} if name == "environment" else None), dict) for name in PARTS):
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
    parts = ("summary", "model", "benchmark", "protocol", "per_category", "per_source", "per_video", "per_draw")
    good = all(isinstance(result.get(name), dict) for name in parts)
    whole = complete_summary(result) if good else None
    if whole is None or not all(_finite(whole["summary"][name]) for name in summary_names()):
        raise RunError("result.json is damaged", where=path, fix="run the same icvos evaluate again")
    return whole


def _finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value is None
    return abs(value) < 2**63 and math.isfinite(value)


def _record(line: bytes) -> dict[str, Any] | None:
    """Return a line of ``episodes.jsonl`` as a record, or None if it is none (a flipped bit, say)."""
    try:
        record = json.loads(line)
        check_id(record["id"])
    except (ValueError, RecursionError, TypeError, KeyError, InputError):
        return None
    if record.get("error") is not None and not isinstance(record["error"], str):
        return None
    scored = any(all(record.get(name) is not None for name in needed) for needed in (ranked_parts(), FOLD_COUNTS))
    whole = all(
        record.get(name) is None or (type(record[name]) is int and 0 <= record[name] < 2**63) for name in COUNTS
    )
    return record if whole and scored and all(_finite(record.get(name)) for name in numbers()) else None


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
        root = Path(os.path.abspath(root))  # noqa: PTH100 - symlinks stay as they are named
        with lock_folder(root):
            if root.exists() and not root.is_dir():
                raise RunError("a file is in the way", where=root, fix="choose another --out")
            moved = None
            if root.is_dir() and not _is_empty(root):
                there = read_run(root)
                changed = _differences(there["key"], run["key"])
                if not changed:
                    run = {**run, "start": there.get("start", run.get("start"))}
                elif set_aside and STALE.issuperset(changed):
                    moved = _set_aside(root)
                else:
                    name = next((name for name in changed if name not in STALE), changed[0])
                    a, b = str(there["key"].get(name))[:60], str(run["key"].get(name))[:60]
                    raise RunError(
                        f"another run is there (its {name.replace('_', ' ')} is {a}, not {b})",
                        where=root,
                        fix="choose another --out",
                    )
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

    def write_run(self, **changes: Any) -> None:
        """Write ``run.json``, with some values changed."""
        self.run.update(changes)
        write_json(self.root / "run.json", self.run)

    def _open_lines(self) -> IO[str]:
        path = self.root / "episodes.jsonl"
        if path.exists():
            # What a kill tore off would run into the next line.
            data = path.read_bytes()
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

    def records(self) -> dict[str, dict[str, Any]]:
        """Return the records by id; the last line of an id wins, a torn last line is dropped.

        Raises:
            RunError: A line within is no record.
        """
        path = self.root / "episodes.jsonl"
        out: dict[str, dict[str, Any]] = {}
        if not path.exists():
            return out
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            record = _record(line)
            if record is None:
                raise RunError(f"line {number} is no record", where=path, fix="delete the line and resume")
            out[record["id"]] = record
        return out

    def done(self, ids: Sequence[str]) -> set[str]:
        """Return which of ``ids`` have a good record (failed ones are tried again)."""
        records = self.records()
        return {name for name in ids if name in records and not records[name].get("error")}

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``."""
        write_json(self.root / "result.json", result)


def _is_empty(root: Path) -> bool:
    """Whether a folder holds nothing but what killed writers left; that is removed (the folder is locked)."""
    for folder in (root, root / "frames"):
        if folder.is_dir():
            for left in folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
    return not any(root.iterdir())


def _set_aside(root: Path) -> Path:
    number = 1
    while (place := root.with_name(f"{root.name}.old{number}")).exists():
        number += 1
    return root.rename(place)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
