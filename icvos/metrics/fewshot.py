"""Few-shot image segmentation: mIoU by class sums, FB-IoU, and the mean of per-episode IoU under its own name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from icvos.errors import UsageError

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
        for place, value in enumerate((inter_fg, union_fg, inter_bg, union_bg)):
            sums[place] += value
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
        drawn = [category for category in wanted if category in self._sums]
        ious = {c: 100.0 * self._sums[c][0] / max(self._sums[c][1], 1) for c in drawn}
        total = [sum(self._sums[c][place] for c in drawn) for place in range(4)]
        both = (total[0] / max(total[1], 1), total[2] / max(total[3], 1))
        total_iou = np.sum(list(ious.values()))
        over_drawn, over_all = (float(total_iou / len(group)) if drawn else None for group in (drawn, wanted))
        return {
            "mIoU": over_all if undrawn_as_zero else over_drawn,
            "mIoU_drawn": over_drawn,
            "mIoU_undrawn_as_0": over_all,
            "FB_IoU": 50.0 * (both[0] + both[1]) if drawn else None,
            "mean_IoU": 100.0 * float(np.mean(self._episodes)) if self._episodes else None,
            "per_category": ious,
            "undrawn": [category for category in wanted if category not in self._sums],
        }
