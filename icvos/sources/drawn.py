"""Raw data of the demo's drawn world, which lie in the layouts of real data sets and are none of theirs."""

from __future__ import annotations

from pathlib import Path

from icvos.errors import InputError
from icvos.files import read_json, real_path

__all__ = ["LICENCE", "is_drawn", "licence_of"]

LICENCE = "drawn by icvos (Apache-2.0), no rights of others"


def is_drawn(root: Path) -> bool:
    """Whether a data set's folder is of a drawn world: ``world.json`` lies beside it, or beside the one around it."""
    for folder in list(real_path(root).parents)[:2]:
        path = folder / "world.json"
        try:
            content = read_json(path) if path.is_file() else None
        except (InputError, OSError):
            continue
        if isinstance(content, dict) and {"generator", "size", "seed"} <= content.keys():
            return True
    return False


def licence_of(root: Path, licence: str) -> str:
    """Return the licence of what lies in a data set's folder: its own, or that of a drawn world."""
    return LICENCE if is_drawn(root) else licence
