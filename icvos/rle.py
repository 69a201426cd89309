"""COCO run-length masks, decoded with every bound checked: pycocotools trusts what it is given."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["decode_rle"]


def _runs(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed text: base 32 from ``0``, differences from two runs before."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64:
            raise ValueError("a character that COCO's text has not")
        value |= (digit & 31) << shift
        shift += 5
        if shift > 60:
            raise ValueError("a run of impossible length")
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("text is cut off")
    return counts


def decode_rle(counts: Any, size: tuple[int, int]) -> np.ndarray:
    """Decode COCO's run lengths, compressed text or a list, as (H, W) bool.

    Args:
        counts: Lengths of runs of 0 and 1 in turn, column by column.
        size: (H, W).

    Raises:
        ValueError: Not run lengths, or of another number of pixels.
    """
    if isinstance(counts, (str, bytes)):
        runs = _runs(counts if isinstance(counts, str) else counts.decode("ascii"))
    elif isinstance(counts, list) and all(isinstance(run, int) and not isinstance(run, bool) for run in counts):
        runs = counts
    else:
        raise ValueError("counts are neither text nor a list of whole numbers")
    pixels = size[0] * size[1]
    if any(run < 0 or run > pixels for run in runs) or sum(runs) != pixels:
        raise ValueError(f"runs do not add up to {pixels} pixels")
    values = np.zeros(len(runs), bool)
    values[1::2] = True
    return np.ascontiguousarray(np.repeat(values, runs).reshape(size[1], size[0]).T)
