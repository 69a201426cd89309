"""The schema of a run, which strangers write: parts, types, finite numbers, and text that a terminal can bear."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from icvos.errors import InputError, RunError, in_words, printable
from icvos.files import check_id, is_utf8
from icvos.metrics.formulas import FOLD_COUNTS
from icvos.metrics.table import METRICS, episode_metrics, summary_names
from icvos.names import is_name
from icvos.protocols import ORACLES, PROTOCOLS
from icvos.runs.undrawn import complete_means

__all__ = [
    "RECORD_SCHEMA",
    "RESULT_SCHEMA",
    "RUN_SCHEMA",
    "TIMES",
    "complete_result",
    "has_run_parts",
    "record_problem",
    "validate",
]

RUN_SCHEMA = "icvos-run/1"
RESULT_SCHEMA = "icvos-result/1"
RECORD_SCHEMA = "icvos-record/1"

MAX_DEPTH, MAX_TEXT, MAX_RUN = 12, 20_000, 1_000_000
# What an episode's record holds where it holds it at all.
RECORD = {
    "video": str,
    "source": str,
    "category_name": str,
    "query": str,
    "category": int,
    "draw": int,
    "run": int,
    "fold": int,
    "object": int,
    "supports": list,
    "unseen": bool,
    "positive": bool,
}
LONG = frozenset({"error", "traceback"})
TIMES = (
    "seconds",
    "support_seconds",
    "fps",
    "fps_amortised",
    "first_mask_seconds",
    "frame_seconds_p50",
    "frame_seconds_p95",
)
"""What a record may say of time: seconds, and frames a second."""
# Field of a number, wherever it stands: (kind, least, most). Scores are judged by what metrics they are.
RANGES: dict[str, tuple[type, float, float]] = {
    **dict.fromkeys(TIMES, (float, 0, 1e9)),
    "wall": (float, 0, 1e12),
    "peak_memory": (int, 0, 2**60),
    "shots": (int, 1, 1000),
    **dict.fromkeys(("limit_episodes", "limit_frames"), (int, 1, 10**9)),
    **dict.fromkeys(("frames", "visible_frames", "episodes", "failed"), (int, 0, 10**9)),
    **dict.fromkeys(("draw", "fold", "object", "category"), (int, -1, 10**9)),
}
FREE = frozenset({"options", "settings", "weights", "per_video", "per_category", "per_source", "per_draw", "per_fold"})
"""Whose keys are names that anybody chose."""
COUNTS = (*FOLD_COUNTS, "frames", "visible_frames", "union", "peak_memory")
RUN_PARTS = ("key", "model", "benchmark", "environment")
RESULT_PARTS = ("summary", "model", "benchmark", "protocol", "per_category", "per_source", "per_video", "per_draw")


def has_run_parts(run: Mapping[str, Any]) -> bool:
    """Whether ``run.json`` has its tables; that of the environment may be missing."""
    return all(isinstance(run.get(name, {} if name == "environment" else None), dict) for name in RUN_PARTS)


def complete_result(result: dict[str, Any]) -> dict[str, Any] | None:
    """Return ``result.json`` with every key of its summary, those that came after it was made too; None if damaged.

    mIoU of a result that 0.1.0 wrote is completed by ``complete_means``; a later metric is None.
    """
    if not all(isinstance(result.get(name), dict) for name in RESULT_PARTS):
        return None
    result = complete_means(result)
    summary = result["summary"]
    names = summary_names(str(result["protocol"].get("name")))
    missing = [name for name in names if name not in summary]
    if any(name not in METRICS or METRICS[name].required for name in missing):
        return None
    if missing:
        result = {**result, "summary": {**summary, **dict.fromkeys(missing)}}
    return result if all(_finite(result["summary"][name]) for name in names) else None


def record_problem(record: Any, protocol: object = None) -> str | None:
    """Return what keeps a value from being an episode's record, as one line; None if it is one.

    Args:
        record: The value.
        protocol: Name of its protocol, by which it has a score; ``native`` where that is unknown.
    """
    if not isinstance(record, dict) or not isinstance(record.get("id"), str):
        return "an episode of the record has no id"
    try:
        check_id(record["id"])
    except InputError as error:
        return error.what
    whole = f"of episode {record['id']} is no"
    if record.get("error") is not None and not isinstance(record["error"], str):
        return f"error {whole} text"
    for name in COUNTS:
        if record.get(name) is not None and not (type(record[name]) is int and 0 <= record[name] < 2**63):
            return f"{name} {whole} number of things"
    for name in (*(metric.name for metric in episode_metrics()), *TIMES):
        if not _finite(record.get(name)):
            return f"{name} {whole} number"
    rules = PROTOCOLS.get(protocol) if isinstance(protocol, str) else None
    needed = ((rules or PROTOCOLS["native"]).parts, FOLD_COUNTS)
    if not any(all(record.get(name) is not None for name in names) for names in needed):
        return f"episode {record['id']} has no score"
    return None


def _finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value is None
    return abs(value) < 2**63 and math.isfinite(value)


def validate(run: Mapping[str, Any], result: Mapping[str, Any], records: Iterable[Any], where: Path) -> None:
    """Check what readers of a run rely on; ranges and contradictions are judged elsewhere.

    Args:
        run, result: ``run.json`` and ``result.json``, both objects with their parts.
        records: Of the episodes.
        where: The run's folder or a record's file.

    Raises:
        RunError: The first thing that is wrong.
    """
    episodes = bool(result["per_draw"])
    problem = (
        _clean(run, "run.json")
        or _size(run)
        or _clean(result, "result.json")
        or _model(run["model"])
        or _names(run, result)
        or _protocol(result)
        or _tables(result)
        or next(filter(None, (_record(record, episodes) for record in records)), None)
    )
    if problem:
        raise RunError(f"the run is damaged: {problem}", where=where, fix="evaluate again")


def _clean(value: Any, part: str) -> str | None:
    """Return the first text or number within that no reader should bear, or that is out of its field's range."""
    fault = _fault(value, 0, ranged=True)
    if fault is None:
        return None
    message, keys = fault
    return message.replace("{}", ", ".join([part, *reversed(keys)])[:300], 1)


def _size(run: Mapping[str, Any]) -> str | None:
    """Judge all that a run says of itself; what it measured is in its result and its episodes."""
    size = len(json.dumps(run, ensure_ascii=False))
    return f"run.json has {size:,} letters, and {MAX_RUN:,} at most" if size > MAX_RUN else None


def _fault(value: Any, depth: int, *, ranged: bool) -> tuple[str, list[str]] | None:
    """Return what is wrong, {} where its place is to stand, and the keys that lead there, the last first."""
    kind = type(value)
    if kind is float:
        return None if math.isfinite(value) else (f"{{}} is {value}", [])
    if kind is str:
        problem = _text(value)
        return (problem, []) if problem else None
    if kind is int:
        return None if abs(value) < 2**63 else ("{} is too large", [])
    if depth > MAX_DEPTH:
        return "{} is nested too deep", []
    if kind is dict:
        for key, inner in value.items():
            problem = _text(str(key))
            if problem:
                return problem.replace("{}", "a name in {}"), []
            if ranged and key in RANGES and inner is not None and not _within(inner, *RANGES[key]):
                return f"{{}} is {in_words(inner)[:60]}, out of its range", [key]
            fault = _fault(inner, depth + 1, ranged=ranged and key not in FREE)
            if fault:
                fault[1].append(str(key)[:80])
                return fault
    if kind is list:
        return next(filter(None, (_fault(inner, depth + 1, ranged=ranged) for inner in value)), None)
    return None


def _within(value: Any, kind: type, low: float, high: float) -> bool:
    """Whether a number is of its field's kind and range; a mapping or list by a field's name is no number of it."""
    if isinstance(value, (dict, list)):
        return True
    return type(value) in ((int,) if kind is int else (int, float)) and low <= value <= high


def _text(text: str) -> str:
    """Return what is wrong with a text, {} where its place is to stand; "" if nothing is."""
    if len(text) > MAX_TEXT:
        return f"{{}} is a text of {len(text):,} letters"
    if printable(text) != text:
        return "{} holds letters that are not to be printed"
    return ""


def _model(model: Mapping[str, Any]) -> str | None:
    for name in ("training_data", "training_categories", "uses"):
        value = model.get(name)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            return f"the model's {name.replace('_', ' ')} is no list of names"
    for name in ("options", "weights"):
        if not isinstance(model.get(name), (dict, type(None))):
            return f"the model's {name} is no mapping"
    trainings = model.get("trainings", {})
    if not isinstance(trainings, dict) or not all(map(_is_training, trainings.values())):
        return "the model's trainings say no settings, seed and what was kept"
    for name in ("access", "paper", "licence", "source_sha256", "dtype", "autocast", "backend", "kind"):
        if not isinstance(model.get(name), (str, type(None))):
            return f"the model's {name} is no text"
    return None


def _is_training(value: Any) -> bool:
    kinds = {"settings": str, "seed": int, "data_seed": int, "kept": str}
    return isinstance(value, dict) and all(type(each) is kinds.get(name) for name, each in value.items())


def _names(run: Mapping[str, Any], result: Mapping[str, Any]) -> str | None:
    if run.get("name") and not is_name(run["name"]):
        return "the run's name is no name"
    for part, name in (("model", "name"), ("model", "version"), ("benchmark", "name"), ("protocol", "name")):
        value = result[part].get(name)
        if not is_name(value):
            return f"the {part}'s {name} is no name"
    for name in ("version", "manifest_sha256"):
        if not isinstance(result["benchmark"].get(name), (str, type(None))):
            return f"the benchmark's {name} is no text"
    return None


def _protocol(result: Mapping[str, Any]) -> str | None:
    for name in ("shots", "seed", "limit_episodes", "limit_frames"):
        if type(result["protocol"].get(name)) not in (int, type(None)):
            return f"the protocol's {name} is no number"
    if result["protocol"].get("oracle") not in (None, *ORACLES):
        return "the protocol's oracle is unknown"
    for name in ("episodes", "failed"):
        value = result["summary"].get(name)
        if type(value) is not int or value < 0:
            return f"the result's number of {name} is {value}"
    return None


def _tables(result: Mapping[str, Any]) -> str | None:
    for part in ("per_category", "per_source", "per_video", "per_draw", "per_fold"):
        table = result.get(part, {})
        if not isinstance(table, dict):
            return f"{part} is no table"
        for key, row in table.items():
            if not isinstance(row, dict):
                return f"{part}, {key} is no row of figures"
            for name, value in row.items():
                if name == "undrawn" and isinstance(value, list):  # categories that no episode of the fold drew
                    continue
                if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                    return f"{part}, {key}, {name} is no number"
    return None


def _record(record: Any, episodes: bool) -> str | None:
    """Judge a record; ``episodes`` says that a video benchmark's are expected, not objects of label maps."""
    if not isinstance(record, dict):
        return "an episode's record is none"
    if record.get("inter_fg") is not None:
        needed: tuple[str, ...] = ("query", "category", "fold")
    else:
        needed = ("video", "category", "category_name", "draw") if episodes else ("video",)
    for name in needed:
        if name not in record:
            return f"episode {record.get('id')} does not say its {name.replace('_', ' ')}"
    for name, kind in RECORD.items():
        if name in record and type(record[name]) is not kind:
            return f"{name} of episode {record.get('id')} is not of its kind"
    for name in LONG & set(record):
        if not _is_long(record[name]):
            return f"{name} of episode {record.get('id')} is no text of at most {MAX_TEXT:,} letters"
    return _clean({key: value for key, value in record.items() if key not in LONG}, f"episode {record.get('id')}")


def _is_long(value: Any) -> bool:
    """Whether a field holds what an exception said: many lines, maybe with letters that are replaced where shown."""
    return value is None or (isinstance(value, str) and len(value) <= MAX_TEXT and is_utf8(value))
