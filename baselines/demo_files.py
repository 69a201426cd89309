"""The small heads shipped for the demo world: package data in ``baselines/weights/``, on DC-SAM's demo backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["demo_files", "head_file"]


def head_file(name: str, folder: Path | None = None) -> Path:
    """Return the place of a shipped head: ``demo_<name>.safetensors``."""
    return (folder or Path(__file__).parent / "weights") / f"demo_{name.replace('-', '_')}.safetensors"


def demo_files(name: str, *, sam: str | None = None) -> Mapping[str, Path]:
    """Return a shipped head and what it works with, by the names that the model takes; nothing if one is missing.

    Args:
        name: The model's.
        sam: The name under which it takes a SAM, if it does.
    """
    from icvos.foundation.demo import demo_weights

    shared = demo_weights("dcsam", "sam2")
    head = head_file(name)
    if not shared or not head.is_file():
        return {}
    return {name: head, "backbone": shared["dcsam"], **({sam: shared["sam2"]} if sam else {})}
