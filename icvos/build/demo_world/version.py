"""The generator's version: a number for people, and a hash of its sources that no change escapes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["VERSION", "generator_hash", "generator_version"]

VERSION = "1"
_UNDRAWN = {"__init__.py", "episodes.py", "sheet.py", "version.py"}  # sources that no written file depends on


@cache
def generator_hash() -> str:
    """Return the SHA-256 of the generator's sources: whatever is drawn differently has another."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in _UNDRAWN:
            digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def generator_version() -> str:
    """Return ``VERSION-hash``, which names the demo's folders."""
    return f"{VERSION}-{generator_hash()[:10]}"
