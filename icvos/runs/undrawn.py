"""Categories of a few-shot fold that no episode drew: mIoU counts them as 0 or leaves them out, by the protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icvos.metrics.formulas import total
from icvos.protocols import PROTOCOLS

__all__ = ["Undrawn", "complete_means", "undrawn_of"]

DRAWN, AS_ZERO = "mIoU_drawn", "mIoU_undrawn_as_0"


@dataclass(frozen=True)
class Undrawn:
    """What a few-shot result says of the categories that none of its episodes drew.

    Attributes:
        by_fold: How many of each evaluated fold.
        drawn: How many categories were drawn, in all evaluated folds.
        as_zero: Whether ``mIoU`` counts undrawn categories as 0 (``fss-paper``, ``fss-matcher``) or leaves them out
            (``fss-native``).
        over_drawn, over_all: ``mIoU_drawn`` and ``mIoU_undrawn_as_0``, percent.
    """

    by_fold: Mapping[int, int]
    drawn: int
    as_zero: bool
    over_drawn: float
    over_all: float

    @property
    def count(self) -> int:
        """How many categories no episode drew, in all evaluated folds."""
        return sum(self.by_fold.values())

    @property
    def counted_as_zero(self) -> Mapping[int, int] | None:
        """Return ``by_fold`` where ``mIoU`` counts undrawn categories as 0, else None."""
        return self.by_fold if self.as_zero else None

    @property
    def beside(self) -> str:
        """Key of the mIoU by the rule that the protocol does not have."""
        return DRAWN if self.as_zero else AS_ZERO

    @property
    def heading(self) -> str:
        """Heading of a column of the figure at ``beside``."""
        return "mIoU drawn" if self.as_zero else "mIoU undrawn=0"

    @property
    def rule(self) -> str:
        """What ``mIoU`` does with how many undrawn categories, as one line."""
        verb = "counts as 0" if self.as_zero else "leaves out"
        return f"mIoU {verb} the {self.count} of {self.drawn + self.count} categories that no episode drew"

    @property
    def text(self) -> str:
        """The rule, and mIoU by both rules."""
        if not self.count:
            return f"mIoU {self.over_drawn:.2f} by both rules: all {self.drawn} categories were drawn"
        return f"{self.rule}: {self.over_all:.2f} with undrawn ones as 0, {self.over_drawn:.2f} over drawn ones"


def undrawn_of(result: Mapping[str, Any]) -> Undrawn | None:
    """Return what a result says of undrawn categories; None if it is of videos, or does not say."""
    summary = result["summary"]
    over_drawn, over_all = summary.get(DRAWN), summary.get(AS_ZERO)
    counts = _undrawn_by_fold(result)
    if over_drawn is None or over_all is None or counts is None:
        return None
    drawn = sum(_drawn_by_fold(result, fold) for fold in counts)
    return Undrawn(counts, drawn, _as_zero(result), float(over_drawn), float(over_all))


def complete_means(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result with mIoU by both rules; one of 0.1.0 has only the mean over drawn categories, as ``mIoU``.

    The other mean follows from how many categories of each fold were drawn, and ``mIoU`` becomes the one of the
    result's protocol. In a result of videos, or one whose folds are damaged, the keys that it lacks are None.
    """
    summary = result["summary"]
    if DRAWN in summary and AS_ZERO in summary:
        return result
    counts = _undrawn_by_fold(result) if summary.get("mIoU") is not None else None
    folds: dict[str, Any] = {}
    for fold, undrawn in (counts or {}).items():
        row = result["per_fold"][str(fold)]
        drawn = _drawn_by_fold(result, fold)
        if type(row.get("mIoU")) is not float or not drawn:
            return {**result, "summary": {DRAWN: None, AS_ZERO: None, **summary}}
        folds[str(fold)] = {**row, **_means(result, row["mIoU"], row["mIoU"] * drawn / (drawn + undrawn))}
    if not folds:
        return {**result, "summary": {DRAWN: None, AS_ZERO: None, **summary}}
    over_drawn, over_all = (total(row[name] for row in folds.values()) / len(folds) for name in (DRAWN, AS_ZERO))
    return {**result, "summary": {**summary, **_means(result, over_drawn, over_all)}, "per_fold": folds}


def _means(result: Mapping[str, Any], over_drawn: float, over_all: float) -> dict[str, float]:
    return {"mIoU": over_all if _as_zero(result) else over_drawn, DRAWN: over_drawn, AS_ZERO: over_all}


def _as_zero(result: Mapping[str, Any]) -> bool:
    protocol = PROTOCOLS.get(str(result["protocol"].get("name")))
    return protocol is not None and protocol.undrawn_as_zero


def _undrawn_by_fold(result: Mapping[str, Any]) -> dict[int, int] | None:
    """Return how many categories of each fold no episode drew; None where the result has no whole table of folds."""
    table = result.get("per_fold")
    if not isinstance(table, dict) or not table:
        return None
    counts = {}
    for fold, row in table.items():
        undrawn = row.get("undrawn") if isinstance(row, dict) else None
        if not isinstance(undrawn, list) or not re.fullmatch(r"0|[1-9][0-9]{0,5}", fold):
            return None
        counts[int(fold)] = len(undrawn)
    return counts


def _drawn_by_fold(result: Mapping[str, Any], fold: int) -> int:
    rows = result["per_category"].values()
    return sum(isinstance(row, dict) and row.get("fold") == fold for row in rows)
