"""A leaderboard record: one submission as one JSON file, checked whenever it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icvos.errors import RunError
from icvos.files import check_id, read_json, write_json
from icvos.leaderboard.consistency import check_values, recompute
from icvos.leaderboard.entry import CHECKED, Entry
from icvos.runs.records import COUNTS, RESULT_SCHEMA, RUN_SCHEMA, complete_summary, numbers
from icvos.runs.schema import check_form

__all__ = ["RECORD_SCHEMA", "read_record", "record_of", "record_path", "write_record"]

RECORD_SCHEMA = "icvos-record/1"
MAX_BYTES = 256 << 20


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip(".-") or "_"


def record_path(board: Path, entry: Entry) -> Path:
    """Return ``<benchmark>/<protocol>/<model>@<version>.json``; more than one shot stands in the file's name."""
    shots = f"@{entry.shots}-shot" if entry.shots != 1 else ""
    name = f"{_safe(entry.model)}@{_safe(entry.version)}{shots}.json"
    return board / _safe(entry.benchmark) / _safe(entry.protocol) / name


def record_of(entry: Entry, checked: str, checks: Sequence[str] = ()) -> dict[str, Any]:
    """Return an entry as a record; what names places of the machine is left out."""
    environment = {k: v for k, v in (entry.run.get("environment") or {}).items() if k != "benchmark_folder"}
    return {
        "schema": RECORD_SCHEMA,
        "checked": checked,
        "checks": list(checks),
        "run": {**entry.run, "environment": environment},
        "result": dict(entry.result),
        "episodes": [dict(record) for record in entry.records],
    }


def write_record(board: Path, entry: Entry, checked: str, checks: Sequence[str] = ()) -> Path:
    """Write a record into a board, and return its place."""
    path = record_path(board, entry)
    write_json(path, record_of(entry, checked, checks))
    return path


def read_record(path: Path) -> Entry:
    """Read a record and check it: schema, ranges, and that its result follows from its episodes.

    Raises:
        RunError: It is none, or contradicts itself.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RunError(f"a record of {path.stat().st_size >> 20} MiB", where=path, expected="at most 256 MiB")
    record = read_json(path, RunError)
    if not isinstance(record, dict) or record.get("schema") != RECORD_SCHEMA:
        raise RunError("the record is of another schema", where=path, expected=RECORD_SCHEMA)
    entry = entry_of(record, path)
    problems = check_values(entry) or recompute(entry)
    if problems:
        raise RunError(problems[0], where=path, fix="add the run again: icvos leaderboard add RUN")
    return entry


def entry_of(record: Mapping[str, Any], path: Path) -> Entry:
    """Return a record's entry, its form checked.

    Raises:
        RunError: A part is missing or of another form.
    """
    run, result, episodes = record.get("run"), record.get("result"), record.get("episodes")
    whole = (
        isinstance(run, dict)
        and run.get("schema") == RUN_SCHEMA
        and isinstance(result, dict)
        and result.get("schema") == RESULT_SCHEMA
        and isinstance(episodes, list)
        and record.get("checked") in CHECKED[1:]
        and all(isinstance(run.get(part), dict) for part in ("key", "model", "benchmark"))
        and all(
            isinstance(result.get(part), dict)
            for part in (
                "model",
                "benchmark",
                "protocol",
                "summary",
                "per_category",
                "per_source",
                "per_video",
                "per_draw",
            )
        )
    )
    if whole and isinstance(result, dict):
        result = complete_summary(result)
        whole = result is not None
    if not whole or not isinstance(run, dict) or not isinstance(result, dict) or not isinstance(episodes, list):
        raise RunError("the record is damaged", where=path, expected=f"run, result, episodes as in {RECORD_SCHEMA}")
    for row in episodes:
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            raise RunError("an episode of the record has no id", where=path)
        check_id(row["id"])
        for name in (*numbers(), *COUNTS):
            if row.get(name) is not None and (isinstance(row[name], bool) or not isinstance(row[name], (int, float))):
                raise RunError(f"{name} of episode {row['id']} is no number", where=path)
    check_form(run, result, episodes, path)
    return Entry(run, result, tuple(episodes), str(record["checked"]), path)
