"""A leaderboard record: one submission as one JSON file, checked whenever it is read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.errors import RunError, in_words, printable
from icvos.files import atomic_write, escape_id, parse_json, read_bytes, to_json
from icvos.leaderboard.consistency import check_values, recompute
from icvos.names import is_name
from icvos.runs.run import CHECKED, Run
from icvos.runs.schema import RECORD_SCHEMA

__all__ = [
    "Record",
    "may_replace",
    "open_record",
    "open_run",
    "read_record",
    "record_of",
    "record_path",
    "write_record",
]

MAX_BYTES = 64 << 20
# Letters of a file's name; while it is written some stand around it.
MAX_NAME = 240


def record_path(board: Path, entry: Run) -> Path:
    """Return ``<benchmark>/<protocol>/<model>@<version>.json``, with more than one shot and a run's name behind it.

    Also a part of the hash of trained weights that tell their seed, so that trainings of one method stand side by side.

    Raises:
        RunError: A file's name would be too long.
    """
    shots = f"@{entry.shots}-shot" if entry.shots != 1 else ""
    called = f"@name={escape_id(entry.name, keep='+')}" if entry.name else ""
    weights = entry.run["model"].get("weights") or {}
    seeded = [str(weights.get(name))[:8] for name, each in sorted(entry.trainings.items()) if "seed" in each]
    trained = f"@training={escape_id('+'.join(seeded), keep='+')}" if seeded else ""
    benchmark, protocol, model, version = (
        escape_id(name, keep="+") for name in (entry.benchmark_name, entry.protocol, entry.model, entry.version)
    )
    name = f"{model}@{version}{shots}{called}{trained}.json"
    for part in (benchmark, protocol, name):
        if len(part) > MAX_NAME:
            raise RunError(
                f"its record's file would have a name of {len(part)} letters",
                where=entry.where,
                expected=f"at most {MAX_NAME}: shorter names of the model, version, benchmark or run",
            )
    return board / benchmark / protocol / name


@dataclass(frozen=True)
class Record:
    """A record as it was read.

    Attributes:
        entry: The run.
        sha256: Of the record's content without this field; None of one that an earlier version wrote.
        submission_sha256: Of the archive that it came from; None of a run folder.
        checks: What was checked, a sentence each.
        content: The whole.
    """

    entry: Run
    sha256: str | None
    submission_sha256: str | None
    checks: tuple[str, ...]
    content: Mapping[str, Any]


def record_of(
    entry: Run,
    checked: str,
    checks: Sequence[str] = (),
    *,
    submitter: str | None = None,
    submission_sha256: str | None = None,
) -> dict[str, Any]:
    """Return a run as a board's record, without ``benchmark_folder``.

    Args:
        entry: The run.
        checked: How far it was checked, one of ``runs.run.CHECKED``.
        checks: What was checked, a sentence each.
        submitter: Who sent it.
        submission_sha256: Of the archive that it came from.
    """
    environment = {k: v for k, v in (entry.run.get("environment") or {}).items() if k != "benchmark_folder"}
    record = {
        "schema": RECORD_SCHEMA,
        "checked": checked,
        "checks": list(checks),
        "submitter": submitter,
        "submission_sha256": submission_sha256,
        "run": {**entry.run, "environment": environment},
        "result": dict(entry.result),
        "episodes": [dict(record) for record in entry.records],
    }
    return {**record, "sha256": sha256_of(record)}


def sha256_of(record: Mapping[str, Any]) -> str:
    """Return the hash that a record holds: of its content as JSON without blanks and without the hash, in UTF-8."""
    # Without line breaks: so it is quick, and boards have a thousand of them.
    content = {name: value for name, value in record.items() if name != "sha256"}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_record(board: Path, entry: Run, checked: str, checks: Sequence[str] = (), **source: str | None) -> Path:
    """Write a record into a board, and return its place; what is there is replaced by what can be read again alone.

    Args:
        board: A folder, which is made.
        entry, checked, checks: As of ``record_of``.
        source: ``submitter`` and ``submission_sha256``, as of ``record_of``.

    Raises:
        RunError: The record would be too large, could not be read again, or its place has too long a name.
    """
    path = record_path(board, entry)
    try:
        record = record_of(entry, checked, checks, **source)
        data = to_json(record).encode()
    except ValueError as problem:
        raise RunError(f"a record cannot be written of it ({problem})", where=entry.where) from None
    if parsed(data, path).content != record:
        raise RunError("a record cannot be written of it: it reads otherwise", where=entry.where)
    with atomic_write(path) as stream:
        stream.write(data)
    return path


def parsed(data: bytes, path: Path) -> Record:
    """Return the record that a file holds: its schema, ranges and hash checked, and its result by its episodes.

    Raises:
        RunError: It is none, or contradicts itself.
    """
    if len(data) > MAX_BYTES:
        raise _too_large(len(data), path)
    record = parse_json(data, path, RunError)
    if not isinstance(record, dict) or record.get("schema") != RECORD_SCHEMA:
        raise RunError("the record is of another schema", where=path, expected=RECORD_SCHEMA)
    entry = Run.of_record(record, path)
    problems = check_values(entry) or recompute(entry) or _of_itself(record)
    if problems:
        raise RunError(problems[0], where=path, fix="add the run again: icvos leaderboard add RUN")
    checks = tuple(record.get("checks", ()))
    return Record(entry, record.get("sha256"), record.get("submission_sha256"), checks, record)


def _too_large(size: int, path: Path) -> RunError:
    return RunError(f"a record of {size >> 20} MiB", where=path, expected=f"at most {MAX_BYTES >> 20} MiB")


def _of_itself(record: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with what a record says of itself."""
    checks = record.get("checks", [])
    if not isinstance(checks, list) or not all(isinstance(line, str) and printable(line) == line for line in checks):
        return ["what was checked is no list of lines"]
    if record.get("submitter") is not None and not is_name(record["submitter"]):
        return ["the submitter is no name"]
    for name in ("sha256", "submission_sha256"):
        value = record.get(name)
        if value is not None and not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
            return [f"{name} is no hash"]
    if record.get("sha256") not in (None, sha256_of(record)):
        return ["the record was changed after it was written (its SHA-256 is another)"]
    return []


def open_record(path: Path) -> Record:
    """Read a record and check it, as ``parsed``.

    Raises:
        RunError: It cannot be read, is none, or contradicts itself.
    """
    try:
        if not path.is_file():
            raise RunError("no file", where=path, expected="a board's record (.json)")
        if path.stat().st_size > MAX_BYTES:
            raise _too_large(path.stat().st_size, path)
        return parsed(read_bytes(path, "record", RunError), path)
    except OSError as problem:
        raise RunError(f"the record cannot be read ({problem.strerror})", where=path) from None
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as problem:
        raise RunError(f"the record is damaged ({type(problem).__name__})", where=path) from None


def read_record(path: Path) -> Run:
    """Return the run of a record, checked as ``open_record`` does.

    Raises:
        RunError: It is none, or contradicts itself.
    """
    return open_record(path).entry


def may_replace(path: Path, entry: Run, checked: str, submitter: str | None, *, force: bool = False) -> None:
    """Look whether a record may be replaced.

    Args:
        path: The record that is there.
        entry, checked, submitter: Of the new one.
        force: Whether only a record of another benchmark stays.

    Raises:
        RunError: It is broken, of another benchmark or submitter, or was checked further.
    """
    try:
        there = open_record(path)
    except RunError:
        if force:
            return
        raise
    if there.entry.group[:3] != entry.group[:3]:
        raise RunError(
            f"it stands on the board already, on another benchmark of the name '{entry.benchmark_name}'",
            where=path,
            fix="give --board DIR, another folder, or build the benchmark with a --name of its own",
        )
    if force:
        return
    if there.entry.submitter != submitter:
        whose, mine = (in_words(who) if who else "nobody who is named" for who in (there.entry.submitter, submitter))
        raise RunError(f"the record there was sent by {whose}, and this by {mine}", where=path, fix="give --force too")
    if CHECKED.index(there.entry.checked) > CHECKED.index(checked):
        raise RunError(
            f"the record there is '{there.entry.checked}', and this '{checked}'", where=path, fix="give --force too"
        )


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
