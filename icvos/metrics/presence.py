"""Presence: whether a method says rightly that a thing is in a video at all, and what it is worth with the masks.

A method says that a thing is there by one predicted pixel on one scored frame. Where what was asked is there the pair
is positive, where people verified that it is not, negative.

The correlation is that of Matthews (1975), as ``IL_MCC`` of SA-Co's evaluation without the 1e-6 that is added there;
``icF1`` is icvos' own: no public evaluation has it, and it is not SA-Co's cgF1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icvos.metrics.formulas import FrameValues
from icvos.metrics.summaries import Pool, Row, mean_over_draws

__all__ = ["PRESENCE_POOL", "matthews", "presence_figures", "presence_of_episode", "presence_summary"]

Figures = dict[str, float | None]


def presence_of_episode(frames: FrameValues) -> Figures:
    """Return ``found``, 100 if any frame of the prediction has a pixel and 0 if none has; None without a frame."""
    found = frames["found"]
    return {"found": 100.0 * float(found.any()) if len(found) else None}


def matthews(
    *, tp: float | np.ndarray, fp: float | np.ndarray, tn: float | np.ndarray, fn: float | np.ndarray
) -> np.ndarray:
    """Return the correlation of two answers, yes or no, from the counts of a table of four.

    Args:
        tp, fp, tn, fn: Counts, of one shape.

    Returns:
        float64 of that shape, -1 to 1; NaN where a margin is 0, so that one of the answers is always the same.
    """
    tp, fp, tn, fn = (np.asarray(count, np.float64) for count in (tp, fp, tn, fn))
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(product > 0, (tp * tn - fp * fn) / np.sqrt(product), np.nan)


def presence_terms(row: Row) -> tuple[float, ...]:
    """Return what is summed of an episode: pairs whose masks count, their J and F, TP, FP, TN and FN.

    The answer of an episode that failed is wrong.
    """
    positive, found = bool(row["positive"]), row["found"]
    there = not positive if found is None else found > 0
    j, f = row["J_visible"], row["F_visible"]
    scored = positive and (found is None or j is not None)
    counts = (positive and there, not positive and there, not (positive or there), positive and not there)
    return float(scored), j or 0.0, f or 0.0, *map(float, counts)


def presence_figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Return the figures of presence from sums.

    Args:
        sums: (…, 7) float64: sums of ``presence_terms``, or of them by weights.

    Returns:
        (…) float64 each, percent; NaN where one does not apply. ``presence_MCC`` does not where all answers, or all
        truths, are the same. ``icF1`` is the mean of J&F over visible frames times it, where it is above 0: a method
        that gives one answer alone has 0, and without positive or without negative pairs there is none.
    """
    masks, j, f, tp, fp, tn, fn = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    correlation = matthews(tp=tp, fp=fp, tn=tn, fn=fn)
    both_kinds = (tp + fn > 0) & (fp + tn > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        overlap = (j + f) / (2 * masks)
        skill = np.where(both_kinds, np.maximum(np.nan_to_num(correlation), 0.0), np.nan)
        return {
            "presence_MCC": 100 * correlation,
            "presence_FPR": np.where(fp + tn > 0, 100 * fp / (fp + tn), np.nan),
            "presence_FNR": np.where(tp + fn > 0, 100 * fn / (tp + fn), np.nan),
            "icF1": overlap * skill,
        }


PRESENCE_POOL = Pool(presence_terms, presence_figures)
"""The figures of presence from sums over pairs."""


def presence_summary(rows: Sequence[Row], metrics: Sequence[str]) -> Figures:
    """Return the means of ``metrics``, the figures of presence, and ``absent_correct`` of negative pairs alone.

    Each is over the pairs of a draw, then the mean over draws.
    """
    negative = [row for row in rows if not row["positive"]]
    of_negative = mean_over_draws(negative, ["absent_correct"]).get("absent_correct")
    return {
        **mean_over_draws(rows, metrics),
        **PRESENCE_POOL.over_draws(rows),
        "absent_correct_negative": of_negative,
    }
