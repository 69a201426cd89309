"""A tiny demo benchmark and runs on it, for the tests of leaderboards and submissions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from icvos import cli


def icvos(*words: Any) -> int:
    """Run a command in this process and return its exit status."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


def build(root: Path) -> Path:
    """Build the tiny demo and return the folder of its benchmarks."""
    assert icvos("build-data", "demo", "--size", "tiny", "--out", root / "world") == 0
    return root / "world" / "benchmarks"


def run(benchmark: Path, out: Path, model: str = "histogram", *more: Any) -> Path:
    """Evaluate a method and return the run's folder."""
    assert icvos("evaluate", "--model", model, "--benchmark", benchmark, "--out", out, *more) == 0
    return out
