"""A leaderboard record: one submission as one JSON file, checked whenever it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icvos.errors import RunError
from icvos.files import escape_id, read_json, write_json
from icvos.leaderboard.consistency import check_values, recompute
from icvos.runs.run import Run
from icvos.runs.schema import RECORD_SCHEMA

__all__ = ["open_run", "read_record", "record_of", "record_path", "write_record"]

MAX_BYTES = 256 << 20


def record_path(board: Path, entry: Run) -> Path:
    """Return ``<benchmark>/<protocol>/<model>@<version>.json``, with more than one shot and a run's name behind it.

    Also a part of the hash of trained weights that tell their seed, so that trainings of one method stand side by side.
    """
    shots = f"@{entry.shots}-shot" if entry.shots != 1 else ""
    called = f"@name={escape_id(entry.name, keep='+')}" if entry.name else ""
    weights = entry.run["model"].get("weights") or {}
    seeded = [str(weights.get(name))[:8] for name, each in sorted(entry.trainings.items()) if "seed" in each]
    trained = f"@training={escape_id('+'.join(seeded), keep='+')}" if seeded else ""
    benchmark, protocol, model, version = (
        escape_id(name, keep="+") for name in (entry.benchmark_name, entry.protocol, entry.model, entry.version)
    )
    return board / benchmark / protocol / f"{model}@{version}{shots}{called}{trained}.json"


def record_of(entry: Run, checked: str, checks: Sequence[str] = ()) -> dict[str, Any]:
    """Return a run as a board's record, without ``benchmark_folder``.

    Args:
        entry: The run.
        checked: How far it was checked, one of ``runs.run.CHECKED``.
        checks: What was checked, a sentence each.
    """
    environment = {k: v for k, v in (entry.run.get("environment") or {}).items() if k != "benchmark_folder"}
    return {
        "schema": RECORD_SCHEMA,
        "checked": checked,
        "checks": list(checks),
        "run": {**entry.run, "environment": environment},
        "result": dict(entry.result),
        "episodes": [dict(record) for record in entry.records],
    }


def write_record(board: Path, entry: Run, checked: str, checks: Sequence[str] = ()) -> Path:
    """Write a record into a board, and return its place."""
    path = record_path(board, entry)
    write_json(path, record_of(entry, checked, checks))
    return path


def read_record(path: Path) -> Run:
    """Read a record and check it: schema, ranges, and that its result follows from its episodes.

    Raises:
        RunError: It is none, or contradicts itself.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RunError(f"a record of {path.stat().st_size >> 20} MiB", where=path, expected="at most 256 MiB")
    record = read_json(path, RunError)
    if not isinstance(record, dict) or record.get("schema") != RECORD_SCHEMA:
        raise RunError("the record is of another schema", where=path, expected=RECORD_SCHEMA)
    entry = Run.of_record(record, path)
    problems = check_values(entry) or recompute(entry)
    if problems:
        raise RunError(problems[0], where=path, fix="add the run again: icvos leaderboard add RUN")
    return entry


def open_run(path: str | Path) -> Run:
    """Open a finished run: its folder, or a board's record of it.

    Args:
        path: A folder as ``evaluate`` and ``score`` make it, or a ``.json`` of a board.

    Returns:
        The run: ``summary``, tables by ``episodes()``, ``per_video()``, ``per_category()``, …, and ``frames(episode)``.

    Raises:
        RunError: It is no run, is not finished, or is damaged.
    """
    path = Path(path)
    if path.is_file():
        if (path.parent / "run.json").is_file():
            raise RunError("a file of a run", where=path, expected=f"the run's folder, {path.parent}")
        if path.suffix != ".json":
            raise RunError("no run", where=path, expected="a run's folder, or a board's record (.json)")
        return read_record(path)
    inner = sorted(each.parent for pattern in ("*", "*/*") for each in path.glob(f"{pattern}/run.json"))
    if inner and not (path / "run.json").exists():
        raise RunError("a folder of runs", where=path, expected=f"one of them, as {inner[0]}")
    return Run.open(path)
