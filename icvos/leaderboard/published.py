"""What the papers printed: package data, kept apart from what was measured here."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Published", "published"]


@dataclass(frozen=True)
class Published:
    """A printed number.

    Attributes:
        benchmark: ``ic-vos``, ``coco-20i``, ``pascal-5i``, ``coco2pascal`` or ``lvos-v2``.
        table: Of the paper.
        method, encoder, shots: As printed.
        metric: ``J``, ``F``, ``J&F``, ``mIoU`` or ``fold N``.
        value: Percent, as printed.
        source: Paper and table.
        note: What is odd about it.
    """

    benchmark: str
    table: str
    method: str
    encoder: str
    shots: str
    metric: str
    value: float
    source: str
    note: str


@cache
def published() -> tuple[Published, ...]:
    """Return all printed numbers, in the order of their tables."""
    text = files("leaderboards").joinpath("published.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(io.StringIO(text))
    return tuple(Published(**{**row, "value": float(row["value"])}) for row in rows)  # type: ignore[arg-type]
