"""The generator's version: a number for people, and hashes of its sources that no change escapes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["VERSION", "drawing_hash", "generator_hash", "generator_version"]

VERSION = "1"
_UNWRITTEN = ("__init__.py", "episodes.py", "sheet.py", "version.py")  # sources that no written file depends on
_WRITERS = ("plan.py", "recipe_files.py", "*_layout.py")  # sources that training scenes do not depend on


@cache
def generator_hash() -> str:
    """Return the SHA-256 of all sources that the raw data depend on: whatever is drawn or written otherwise has
    another."""
    return _hash(_UNWRITTEN)


@cache
def drawing_hash() -> str:
    """Return the SHA-256 of the sources that draw: shapes, paint and scenes, which trained models have seen."""
    return _hash((*_UNWRITTEN, *_WRITERS))


def generator_version() -> str:
    """Return ``VERSION-hash``, which names the demo's folders."""
    return f"{VERSION}-{generator_hash()[:10]}"


def _hash(without: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not any(path.match(pattern) for pattern in without):
            digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()
