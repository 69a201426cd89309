"""Sums over the frames of a video, one frame at a time: means, recall, decay, and the visible/absent split."""

from __future__ import annotations

import numpy as np

from icvos.metrics.formulas import FrameValues
from icvos.metrics.table import episode_metrics

__all__ = ["VideoScore"]


class VideoScore:
    """Scores of one video's frames, added one by one; it holds a few bytes a frame, never a mask."""

    def __init__(self) -> None:
        self._j: list[float] = []
        self._f: list[float] = []
        self._visible: list[bool] = []
        self._absent_correct: list[bool] = []

    def __len__(self) -> int:
        return len(self._j)

    @property
    def absent_frames(self) -> int:
        """How many frames' ground truth is empty."""
        return len(self._absent_correct)

    def add(self, j: float, f: float, *, visible: bool, absent_correct: bool | None = None) -> None:
        """Add a frame.

        Args:
            j, f: In 0..1.
            visible: Whether the ground truth has the thing on this frame.
            absent_correct: Where it has not: whether the prediction is empty too. None where it has.
        """
        self._j.append(j)
        self._f.append(f)
        self._visible.append(visible)
        if not visible:
            self._absent_correct.append(bool(absent_correct))

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Return J and F of every frame, (T,) float64 in 0..1."""
        return np.array(self._j, np.float64), np.array(self._f, np.float64)

    def summary(self) -> dict[str, float | None]:
        """Return every video metric of the table that is computed from frames: J, F, J_visible, …

        In percent, unrounded; None where it does not apply (no frame at all, none visible, none absent, under four).
        """
        j, f = self.values()
        frames = FrameValues(j, f, np.array(self._visible, bool), np.array(self._absent_correct, bool))
        return {metric.name: metric.of_frames(frames) for metric in episode_metrics() if metric.of_frames}
