"""Environments of methods that are made at once and from no registry: this one's packages, by a link."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icvos.models import environments
from icvos.models.dependencies import Dependencies

LINK = "import sys, sysconfig; open(sysconfig.get_path('purelib') + '/here.pth', 'w').write(sys.argv[1])"


def header(*lines: str) -> str:
    """The lines of a file's header."""
    return "\n".join(["# /// script", *(f"# {line}".rstrip() for line in lines), "# ///", ""])


def quick_steps(folder: Path, asked: Dependencies, program: str) -> list[list[str]]:
    """The commands of such an environment, in place of ``environments._steps``."""
    packages = str(Path(np.__file__).parents[1])
    return [
        [program, "-I", "-m", "venv", "--without-pip", str(folder)],
        [str(folder / "bin" / "python"), "-I", "-c", LINK, packages],
    ]


def make_quickly(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Let environments be made so, in a folder of the test's own."""
    patch.setenv("ICVOS_HOME", str(home))
    patch.setattr(environments, "_steps", quick_steps)
