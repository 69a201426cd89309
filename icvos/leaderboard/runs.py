"""Finished runs as rows of a table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.errors import RunError
from icvos.evaluation.records import read_result, read_run

__all__ = ["RunRow", "find_runs", "read_row"]


@dataclass(frozen=True)
class RunRow:
    """A run.

    Attributes:
        place: Its folder.
        model, version: The method's.
        benchmark, benchmark_version, manifest: What it ran on.
        protocol, shots: How.
        summary: Percent, unrounded; None where it does not apply.
        fps: Frames a second, or None.
        device: What it ran on.
        unranked: Why it takes no rank, or "".
    """

    place: Path
    model: str
    version: str
    benchmark: str
    benchmark_version: str
    manifest: str
    protocol: str
    shots: int | None
    summary: dict[str, Any]
    fps: float | None
    device: str
    unranked: str


def _unranked(run: dict[str, Any], result: dict[str, Any]) -> str:
    key = run["key"]
    if result["summary"]["failed"]:
        return f"{result['summary']['failed']} of {result['summary']['episodes']} episodes failed"
    if run.get("status") != "complete":
        return f"the run is {run.get('status')}"
    for name in ("limit_episodes", "limit_frames"):
        if key.get(name) or result["protocol"].get(name):
            return "only a part was run"
    return f"shard {key['shard']} alone" if key.get("shard") else ""


def read_row(place: Path) -> RunRow:
    """Read a run folder.

    Raises:
        RunError: It is none, or not finished.
    """
    run, result = read_run(place), read_result(place)
    environment = run.get("environment") or {}
    benchmark, model = result["benchmark"], result["model"]
    return RunRow(
        place, str(model.get("name")), str(model.get("version")), str(benchmark.get("name")),
        str(benchmark.get("version") or ""), str(benchmark.get("manifest_sha256") or ""),
        str(result["protocol"]["name"]), result["protocol"].get("shots"), result["summary"], run.get("fps"),
        str(environment.get("gpu") or environment.get("device") or ""), _unranked(run, result),
    )  # fmt: skip


def find_runs(folder: Path) -> Iterator[RunRow]:
    """Yield the finished runs below a folder, sorted by path; runs set aside (``….old1``) are left out."""
    if not folder.is_dir():
        return
    for place, folders, names in os.walk(folder):
        folders.sort()
        if "run.json" in names:
            folders.clear()
            if "result.json" in names and ".old" not in Path(place).name:
                try:
                    yield read_row(Path(place))
                except RunError:
                    continue
