"""What figures are computed from (the frames of an episode, the sums of a fold), and the formulas of figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

__all__ = [
    "FOLD_COUNTS",
    "FoldSums",
    "FrameValues",
    "average",
    "back",
    "decay",
    "gone",
    "half_sum",
    "last_quarter",
    "mean",
    "mean_of_runs",
    "percent",
    "recall",
    "standard_deviation",
    "total",
]

_NOTHING = np.zeros(0)
# Pixels of a few-shot episode, as its record has them.
FOLD_COUNTS = ("inter_fg", "union_fg", "inter_bg", "union_bg")


@dataclass(frozen=True)
class FrameValues:
    """What is known of the T scored frames of a video episode.

    Attributes:
        columns: What the protocol measures of a frame, by its name: (T,) float64; J and F in 0..1.
        visible: (T,) bool: the ground truth is not empty.
        absent_correct: (A,) bool, of the frames whose ground truth is empty: the prediction is empty too.
    """

    columns: Mapping[str, np.ndarray]
    visible: np.ndarray
    absent_correct: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column; one that the protocol does not measure is empty."""
        return self.columns.get(name, _NOTHING)

    @property
    def j(self) -> np.ndarray:
        """J of each frame, in 0..1."""
        return self["J"]

    @property
    def f(self) -> np.ndarray:
        """F of each frame, in 0..1."""
        return self["F"]

    def where_visible(self, name: str) -> np.ndarray:
        """Return a column on the frames where the ground truth is not empty."""
        values = self[name]
        return values[self.visible] if len(values) else values


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


def last_quarter(values: np.ndarray) -> np.ndarray:
    """Return the values from place floor(0.75 n) on, as VOST cuts its ``J_last``."""
    return values[math.floor(0.75 * len(values)) :]


def standard_deviation(values: np.ndarray) -> float | None:
    """Return how much values vary, as LVOS has its V: the mean square is rounded to 4 places before the root."""
    if not len(values):
        return None
    return math.sqrt(float(np.round(np.mean((values.mean() - values) ** 2), 4)))


def _runs(visible: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the first frame and the end of each run of frames of one kind, in order."""
    ends = [0, *(np.flatnonzero(np.diff(visible)) + 1).tolist(), len(visible)]
    yield from pairwise(ends if len(visible) else [])


def mean_of_runs(values: np.ndarray, visible: np.ndarray, *, seen: bool, leading: bool = False) -> float | None:
    """Return the mean over runs of frames of each run's mean; None without such a run.

    Args:
        values: (T,) float64.
        visible: (T,) bool: the ground truth is not empty.
        seen: Runs of visible frames, as the thing comes back; or of others, as it is gone.
        leading: Whether a run counts that begins with the first frame, so that nothing went before it.
    """
    if not len(values):
        return None
    runs = [run for run in _runs(visible) if bool(visible[run[0]]) is seen and (leading or run[0] > 0)]
    return average(float(values[first:end].mean()) for first, end in runs)


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


def gone(frames: FrameValues, boundary: str = "F", *, leading: bool = True) -> float | None:
    """Return J&F over the runs of frames on which the thing is gone, percent; None without one.

    Args:
        frames: Of an episode.
        boundary: The column of F.
        leading: Whether it is gone too on the first scored frame and those after it, until it is first seen.
    """
    values = (frames.j + frames[boundary]) / 2
    return percent(mean_of_runs(values, frames.visible, seen=False, leading=leading))


def back(frames: FrameValues, boundary: str = "F") -> float | None:
    """Return J&F over the runs of frames on which the thing is back after it was gone, percent; None without one."""
    return percent(mean_of_runs((frames.j + frames[boundary]) / 2, frames.visible, seen=True))
