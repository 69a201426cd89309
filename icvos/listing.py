"""The listing of a folder's files: sorted, by suffix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from icvos.errors import InputError

__all__ = ["listing"]


def listing(folder: Path, suffixes: Sequence[str] | None = None) -> list[Path]:
    """Return the files of ``folder`` (not hidden), sorted by name; with ``suffixes`` only those.

    Raises:
        InputError: The folder is missing.
    """
    if not folder.is_dir():
        raise InputError("folder not found", where=folder)
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())
    if suffixes is not None:
        names = [name for name in names if os.path.splitext(name)[1].lower() in suffixes]  # noqa: PTH122
    return [folder / name for name in names]
