"""The frames of a video, one at a time, and what is summed up from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icvos.metrics.formulas import FrameValues
from icvos.metrics.table import episode_figures

__all__ = ["VideoScore"]


class VideoScore:
    """Scores of one video's frames, added one by one; it holds a few bytes a frame, never a mask.

    Args:
        columns: What is measured of a frame, in the order of ``add``.
    """

    def __init__(self, columns: Sequence[str] = ("J", "F")) -> None:
        self._columns: dict[str, list[float]] = {name: [] for name in columns}
        self._visible: list[bool] = []
        self._absent_correct: list[bool] = []

    def __len__(self) -> int:
        return len(self._visible)

    @property
    def absent_frames(self) -> int:
        """How many frames' ground truth is empty."""
        return len(self._absent_correct)

    def add(self, *values: float, visible: bool, absent_correct: bool | None = None) -> None:
        """Add a frame.

        Args:
            values: What is measured of it: J and F, in 0..1.
            visible: Whether the ground truth has the thing on this frame.
            absent_correct: Where it has not: whether the prediction is empty too. None where it has.
        """
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)
        self._visible.append(visible)
        if not visible:
            self._absent_correct.append(bool(absent_correct))

    def columns(self) -> dict[str, np.ndarray]:
        """Return each column, (T,) float64; J and F in 0..1."""
        return {name: np.array(values, np.float64) for name, values in self._columns.items()}

    def values(self) -> tuple[np.ndarray, ...]:
        """Return the columns alone: J and F of every frame, (T,) float64 in 0..1."""
        return tuple(self.columns().values())

    def frames(self) -> FrameValues:
        """Return all that figures are computed from."""
        return FrameValues(self.columns(), np.array(self._visible, bool), np.array(self._absent_correct, bool))

    def summary(self) -> dict[str, float | None]:
        """Return every video metric of the table that all protocols have: J, F, J_visible, …; percent, unrounded."""
        return episode_figures(self.frames())
