"""Fast decoding of the PNGs that label masks are: 8-bit, grey or palette, not interlaced."""

from __future__ import annotations

import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["decode_labels", "header", "stored_size"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LARGEST = 1 << 28  # pixels; beyond that Pillow's own guard answers


def header(data: bytes) -> tuple[int, int, int, int, int] | None:
    """Return (height, width, bit depth, colour type, interlaced) of a PNG's first 33 bytes, or None if it is none.

    Colour types: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA.
    """
    if len(data) < 33 or data[:8] != _SIGNATURE or data[8:16] != b"\0\0\0\rIHDR":
        return None
    if zlib.crc32(data[12:29]).to_bytes(4, "big") != data[29:33]:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    return height, width, depth, colour, interlaced


def stored_size(path: Path) -> tuple[int, int] | None:
    """Return (H, W) from a PNG file's header, or None where there is none (reading it says what is wrong)."""
    try:
        with path.open("rb") as stream:
            found = header(stream.read(33))
    except OSError:
        return None
    return None if found is None else found[:2]


@cache
def _tools() -> tuple[Any, Any]:
    """Return a zlib module and the compiled engine (or None)."""
    try:
        from isal import isal_zlib as codec
    except ImportError:
        import zlib as codec  # type: ignore[no-redef]
    try:
        from icvos import _engine  # type: ignore[attr-defined]
    except ImportError:
        _engine = None
    return codec, _engine


def decode_labels(data: bytes) -> np.ndarray | None:
    """Decode a PNG's stored values as (H, W) uint8, or return None where it is not of the plain kind, or broken.

    Whoever gets None asks Pillow, which reads the other kinds and says what is wrong with the broken ones.
    """
    described = header(data)
    if described is None:
        return None
    height, width, depth, colour, interlaced = described
    size = height * width
    if depth != 8 or colour not in (0, 3) or interlaced or not 0 < size <= _LARGEST:
        return None
    parts = []
    place = 33
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind = data[place + 4 : place + 8]
        if kind == b"IDAT":
            parts.append(data[place + 8 : place + 8 + length])
        elif kind == b"IEND":
            break
        place += 12 + length
    else:
        return None
    codec, engine = _tools()
    wanted = height * (width + 1)
    try:
        inflate = codec.decompressobj()
        raw = inflate.decompress(parts[0] if len(parts) == 1 else b"".join(parts), wanted + 1)
    except (codec.error, IndexError):
        return None
    if len(raw) != wanted or not inflate.eof:
        return None
    rows = np.frombuffer(raw, np.uint8).reshape(height, width + 1)
    if not rows[:, 0].any():
        return np.ascontiguousarray(rows[:, 1:])
    if engine is None:
        return None
    out = np.empty((height, width), np.uint8)
    try:
        engine.unfilter(raw, height, width, out)
    except ValueError:
        return None
    return out
