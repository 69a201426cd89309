"""Exports for tests: made by the command, changed as a broken tool would leave them, and what check says of that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_runs import icvos

from icvos.exports.export import check_export
from icvos.manifest import write_manifest


def export(subject: Path, to: str, out: Path, *words: Any) -> Path:
    """Export and check, and return the folder."""
    assert icvos("export", subject, "--to", to, "--out", out, *words) == 0
    assert icvos("export", "check", out) == 0
    return out


def refusal(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    """The one line with which a command of bad input ends."""
    capsys.readouterr()
    assert icvos(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def problems_of(good: Path, bad: Path, change: Callable[[Path], None]) -> str:
    """What the check says of a copy that was changed and is whole by its manifest."""
    shutil.copytree(good, bad)
    change(bad)
    write_manifest(bad)
    return "\n".join(check_export(bad))


def edit(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    """A change of a JSON file."""

    def changed(root: Path) -> None:
        content = json.loads((root / name).read_text())
        change(content)
        (root / name).write_text(json.dumps(content))

    return changed
