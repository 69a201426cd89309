"""How the wall time of a run divides, worker by worker: in ``run.json``, and as one line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

from icvos.progress import duration

__all__ = ["PARTS", "Stopwatch", "add_times", "join_times", "run_times", "times_line"]

PARTS = {
    "starting": "starting",
    "model": "model",
    "decoding": "waiting for frames",
    "scoring": "scoring",
    "writing": "writing",
    "idle": "idle",
    "verifying": "verifying",
    "other": "the rest",
}
"""The parts of a worker's wall time in ``run.json``, and what they are called in the line that is printed."""


class Stopwatch:
    """Divides the time of one thread into parts.

    While a part within another lasts, the outer one stands: every moment counts once, so that the parts add up to the
    time since the stopwatch was made.

    Args:
        now: Returns the time in seconds; by default ``time.perf_counter``.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or time.perf_counter
        self._since = self._now()
        self._open = ["other"]
        self._seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done within to one of ``PARTS``."""
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def _count(self) -> None:
        now = self._now()
        self._seconds[self._open[-1]] += now - self._since
        self._since = now

    @property
    def seconds(self) -> dict[str, float]:
        """Of each part, so far."""
        self._count()
        return dict(self._seconds)


def run_times(watch: Mapping[str, float], workers: Mapping[int, Mapping[str, float]]) -> list[dict[str, float]]:
    """Return the seconds of each worker by part, ``wall`` first, which the parts add up to.

    Args:
        watch: Seconds of the main process by part.
        workers: Seconds of each worker process by part, as far as they are known; empty where the main process does
            the work. All of them wait while the main process starts and verifies.
    """
    if not workers:
        return [{"wall": sum(watch.values()), **watch}]
    rows = []
    for number in sorted(workers):
        row = {**dict.fromkeys(PARTS, 0.0), "verifying": watch["verifying"]}
        row["starting"] = watch["starting"]
        for name, seconds in workers[number].items():
            row[name] += seconds
        wall = sum(watch.values())
        row["other"] = max(wall - sum(row[name] for name in PARTS if name != "other"), 0.0)
        rows.append({"wall": wall, **row})
    return rows


def _sums(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) for name in ("wall", *PARTS)}


def _times(episodes: int, rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {"episodes": episodes, "total": _sums(rows), "workers": list(rows)}


def _whole(times: Any) -> bool:
    """Whether a value is ``times`` of a ``run.json``; an earlier version wrote none, and a file may be damaged."""
    rows = times.get("workers") if isinstance(times, dict) else None
    return (
        isinstance(rows, list)
        and rows != []
        and type(times.get("episodes")) is int
        and all(isinstance(row, dict) for row in [*rows, times.get("total")])
        and all(_is_seconds(row.get(name)) for row in [*rows, times["total"]] for name in ("wall", *PARTS))
    )


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value < 2**53


def add_times(earlier: Any, rows: Sequence[dict[str, float]], *, episodes: int) -> dict[str, Any]:
    """Return ``times`` for ``run.json``, with those of earlier parts of a run that was stopped and goes on.

    Args:
        earlier: What ``run.json`` said before, or None. A part that was killed has left nothing there.
        rows: Of each worker, from ``run_times``; added to those of the same number.
        episodes: How many episodes ran meanwhile.
    """
    before = earlier if _whole(earlier) else _times(0, [])
    nothing = dict.fromkeys(("wall", *PARTS), 0.0)
    both = [_sums(pair) for pair in zip_longest(before["workers"], rows, fillvalue=nothing)]
    return _times(before["episodes"] + episodes, both)


def join_times(shards: Sequence[Any]) -> dict[str, Any] | None:
    """Return ``times`` of runs that are shards of one: the workers of all; None where no shard has any."""
    known = [times for times in shards if _whole(times)]
    rows = [row for times in known for row in times["workers"]]
    return _times(sum(times["episodes"] for times in known), rows) if known else None


def times_line(times: Any) -> str:
    """Return how the time of a run divides: ``time: 92 % model, 5 % starting, 3 % scoring; 2 workers, 31 s each``.

    Empty where it is not known. Parts under half a percent are left out.
    """
    if not _whole(times) or not times["total"]["wall"]:
        return ""
    total, rows = times["total"], times["workers"]
    shares = {text: 100 * total[name] / total["wall"] for name, text in PARTS.items()}
    parts = [f"{share:.0f} % {text}" for text, share in sorted(shares.items(), key=lambda i: -i[1]) if share >= 0.5]
    each = duration(total["wall"] / len(rows))
    return f"time: {', '.join(parts)}; {f'{len(rows)} workers, {each} each' if len(rows) > 1 else each}"
