"""Few-shot image segmentation: mIoU by class sums, FB-IoU, and the mean of per-episode IoU under its own name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from icvos.errors import UsageError
from icvos.metrics.formulas import FoldSums
from icvos.metrics.table import fold_metrics

__all__ = ["FewShotScore", "fss_counts"]


def fss_counts(prediction: Any, truth: Any, *, ignore: Any = None) -> tuple[int, int, int, int]:
    """Return intersection and union of the foreground, then of the background, of two (H, W) bool masks.

    Args:
        prediction, truth: (H, W) bool, numpy or torch.
        ignore: (H, W) bool: pixels that count nowhere (the void border of VOC, crowds); or None.
    """
    if tuple(prediction.shape) != tuple(truth.shape) or prediction.ndim != 2:
        raise UsageError(f"masks of shapes {tuple(prediction.shape)} and {tuple(truth.shape)}", expected="one (H, W)")
    if hasattr(prediction, "detach"):
        import torch

        known = torch.ones_like(truth, dtype=torch.bool) if ignore is None else ~ignore.bool()
        p, t = prediction.bool() & known, truth.bool() & known
        counts = torch.stack([(p & t).sum(), (p | t).sum(), known.sum()]).tolist()
    else:
        known = np.ones(truth.shape, bool) if ignore is None else ~np.asarray(ignore, bool)
        p, t = np.asarray(prediction, bool) & known, np.asarray(truth, bool) & known
        counts = [int(np.count_nonzero(a)) for a in (p & t, p | t, known)]
    inter, union, pixels = (int(count) for count in counts)
    return inter, union, pixels - union, pixels - inter


class FewShotScore:
    """Sums over the episodes of a fold, by category."""

    def __init__(self) -> None:
        self._sums: dict[int, list[int]] = {}
        self._episodes: list[float] = []

    def add(self, category: int, inter_fg: int, union_fg: int, inter_bg: int, union_bg: int) -> None:
        """Add an episode's counts, as ``fss_counts`` gives them."""
        sums = self._sums.setdefault(category, [0, 0, 0, 0])
        for index, value in enumerate((inter_fg, union_fg, inter_bg, union_bg)):
            sums[index] += value
        self._episodes.append(inter_fg / union_fg if union_fg else 1.0)

    def summary(self, categories: Iterable[int] | None = None, *, undrawn_as_zero: bool = False) -> dict[str, Any]:
        """Return the figures in percent, unrounded.

        Args:
            categories: Of the fold; those drawn by default.
            undrawn_as_zero: What ``mIoU`` is: ``mIoU_undrawn_as_0`` (as DC-SAM's public code) or ``mIoU_drawn``.

        Returns:
            mIoU_drawn (intersections over unions summed by category, mean over the categories that some episode drew),
            mIoU_undrawn_as_0 (mean over all categories, one that no episode drew counts as 0), mIoU (one of the two),
            FB_IoU (sums over all, mean of foreground and background), mean_IoU (mean over episodes), per_category,
            undrawn (the categories that no episode drew). Without any episode the figures are None.
        """
        wanted = sorted(self._sums if categories is None else set(categories))
        fold = FoldSums(self._sums, wanted, self._episodes, undrawn_as_zero)
        figures = {metric.name: metric.of_fold(fold) for metric in fold_metrics() if metric.of_fold}
        return {**figures, "per_category": fold.ious, "undrawn": fold.undrawn}
