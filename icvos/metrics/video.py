"""Sums over the frames of a video, one frame at a time: means, recall, decay, and the visible/absent split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["VideoScore", "decay", "recall"]


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


def _percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * value


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


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
        """Return J, F, J_visible, F_visible, absent_correct, J_recall, F_recall, J_decay and F_decay.

        In percent, unrounded; None where it does not apply (no frame at all, none visible, none absent, under four).
        """
        j, f = self.values()
        visible = np.array(self._visible, bool)
        return {
            "J": _percent(_mean(j)),
            "F": _percent(_mean(f)),
            "J_visible": _percent(_mean(j[visible])),
            "F_visible": _percent(_mean(f[visible])),
            "absent_correct": _percent(_mean(np.array(self._absent_correct, np.float64))),
            "J_recall": _percent(recall(j)),
            "F_recall": _percent(recall(f)),
            "J_decay": _percent(decay(j)),
            "F_decay": _percent(decay(f)),
        }
