"""The small weights shipped for the demo world: package data in ``dcsam/weights/``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = ["demo_weights"]


def demo_weights(*names: str) -> dict[str, Path]:
    """Return the shipped files ``demo_<name>.safetensors`` by name; nothing at all if one of them is not there."""
    found = importlib.util.find_spec("dcsam")
    if found is None or not found.submodule_search_locations:
        return {}
    folder = Path(next(iter(found.submodule_search_locations))) / "weights"
    files = {name: folder / f"demo_{name}.safetensors" for name in names}
    return files if all(path.is_file() for path in files.values()) else {}
