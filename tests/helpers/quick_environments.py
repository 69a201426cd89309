"""Environments of methods that are made at once and from no registry: of numpy alone, whatever is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from interpreters import numpy_alone

from icvos.models import environments
from icvos.models.dependencies import Dependencies


def header(*lines: str) -> str:
    """The lines of a file's header."""
    return "\n".join(["# /// script", *(f"# {line}".rstrip() for line in lines), "# ///", ""])


def quick_steps(folder: Path, asked: Dependencies, program: str) -> list[list[str]]:
    """Make such an environment, in place of ``environments._steps``; nothing is left to be run."""
    numpy_alone(folder)
    return []


def make_quickly(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Let environments be made so, in a folder of the test's own."""
    patch.setenv("ICVOS_HOME", str(home))
    patch.setattr(environments, "_steps", quick_steps)
