"""What figures are computed from (the frames of an episode, the sums of a fold), and the formulas of figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = [
    "FOLD_COUNTS",
    "FoldSums",
    "FrameValues",
    "average",
    "decay",
    "half_sum",
    "mean",
    "percent",
    "recall",
    "total",
]

# Pixels of a few-shot episode, as its record has them.
FOLD_COUNTS = ("inter_fg", "union_fg", "inter_bg", "union_bg")


@dataclass(frozen=True)
class FrameValues:
    """What is known of the T frames of a video episode.

    Attributes:
        j, f: (T,) float64 in 0..1.
        visible: (T,) bool: the ground truth is not empty.
        absent_correct: (A,) bool, of the frames whose ground truth is empty: the prediction is empty too.
    """

    j: np.ndarray
    f: np.ndarray
    visible: np.ndarray
    absent_correct: np.ndarray


@dataclass(frozen=True)
class FoldSums:
    """What is known of a few-shot fold.

    Attributes:
        sums: Of each category that some episode drew, the sums of ``FOLD_COUNTS`` over its episodes.
        categories: Of the fold, sorted.
        episode_ious: Of each episode, in 0..1.
        undrawn_as_zero: Whether the protocol's mIoU counts a category that no episode drew as 0.
    """

    sums: Mapping[int, Sequence[int]]
    categories: Sequence[int]
    episode_ious: Sequence[float]
    undrawn_as_zero: bool

    @cached_property
    def ious(self) -> dict[int, float]:
        """IoU of each category that some episode drew, percent."""
        drawn = [category for category in self.categories if category in self.sums]
        return {c: 100.0 * self.sums[c][0] / max(self.sums[c][1], 1) for c in drawn}

    @property
    def undrawn(self) -> list[int]:
        """The categories that no episode drew."""
        return [category for category in self.categories if category not in self.sums]

    def miou(self, *, undrawn_as_zero: bool) -> float | None:
        """Return the mean of ``ious``, percent, over all categories or over those drawn; None if none is drawn."""
        count = len(self.categories) if undrawn_as_zero else len(self.ious)
        return float(np.sum(list(self.ious.values())) / count) if self.ious else None

    def fb_iou(self) -> float | None:
        """Return the mean of foreground and background IoU of the sums over all categories, percent."""
        if not self.ious:
            return None
        total = [sum(self.sums[c][index] for c in self.ious) for index in range(4)]
        return 50.0 * (total[0] / max(total[1], 1) + total[2] / max(total[3], 1))

    def mean_iou(self) -> float | None:
        """Return the mean over episodes, percent."""
        return 100.0 * float(np.mean(self.episode_ious)) if self.episode_ious else None


def recall(values: Sequence[float] | np.ndarray) -> float | None:
    """Return the share of frames above 0.5, in 0..1; None without frames (official DAVIS: ``> 0.5``)."""
    values = np.asarray(values, np.float64)
    return float(np.mean(values > 0.5)) if len(values) else None


def decay(values: Sequence[float] | np.ndarray) -> float | None:
    """Return the mean of the first quarter less that of the last, as the official DAVIS code cuts quarters.

    ``ids = round(linspace(1, T, 5) + 1e-10) - 1``, quarter i = values[ids[i] : ids[i + 1] + 1]: neighbours share a
    frame. The bins are whole numbers that do not wrap; the official code's are uint8 and go wrong beyond 256 frames.
    None under 4 frames.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 4:
        return None
    ids = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(np.int64) - 1
    return float(values[ids[0] : ids[1] + 1].mean() - values[ids[3] : ids[4] + 1].mean())


def mean(values: np.ndarray) -> float | None:
    """Return the mean as float64; None of nothing."""
    return float(values.mean(dtype=np.float64)) if len(values) else None


def total(figures: Iterable[float]) -> float:
    """Return the sum, added one after another: Python's own ``sum`` of floats rounds otherwise from 3.12 on.

    So results are the same, byte for byte, under every Python.
    """
    added = 0.0
    for figure in figures:
        added += figure
    return added


def average(figures: Iterable[float | None]) -> float | None:
    """Return the mean of those that are not None; None of none."""
    known = [figure for figure in figures if figure is not None]
    return total(known) / len(known) if known else None


def percent(share: float | None) -> float | None:
    """Return a share of 0..1 in percent; None stays None."""
    return None if share is None else 100.0 * share


def half_sum(first: float | None, second: float | None) -> float | None:
    """Return the mean of two figures (J&F from J and F); None where one is missing."""
    return None if first is None or second is None else (first + second) / 2
