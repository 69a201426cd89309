"""Scoring one episode's predictions as a model yields them, on the device where they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from icvos.masks import write_mask
from icvos.metrics import VideoScore, jf
from icvos.runs.times import Stopwatch
from icvos.types import Prediction

__all__ = ["FrameScorer"]

# Frames of a GPU model that are scored together: fewer host round trips, and still a flat memory.
GPU_BATCH = 16


class FrameScorer:
    """Scores of one episode, frame by frame.

    Args:
        size: (H, W) that every mask must have.
        masks: The episode's folder for the predicted masks, or None; they appear there when all are written.
        watch: Counts to ``writing`` what the masks take.
    """

    def __init__(self, size: tuple[int, int], masks: Path | None, watch: Stopwatch) -> None:
        self.size, self.masks, self._watch = size, masks, watch
        self.score = VideoScore()
        self.count = self.visible = 0
        self._pending: list[tuple[Any, np.ndarray]] = []
        self._partial = None if masks is None else masks.with_name(f"{masks.name}.partial")
        if self._partial is not None:
            shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, prediction: Prediction, truth: np.ndarray, *, scored: bool = True) -> None:
        """Take the next frame: a valid prediction against (H, W) bool; one that is not scored is only kept."""
        if self._partial is not None:
            with self._watch.part("writing"):
                write_mask(self._partial / f"{self.count:05d}.png", prediction.to_numpy())
        self.count += 1
        if not scored:
            return
        mask = prediction.mask
        if hasattr(mask, "detach") and mask.device.type != "cpu":
            self._pending.append((mask.detach() != 0, truth))
            if len(self._pending) == GPU_BATCH:
                self.flush()
            return
        predicted = prediction.to_numpy()
        j, f = jf(predicted, truth)
        self._note(float(j), float(f), bool(truth.any()), not predicted.any())

    def _note(self, j: float, f: float, visible: bool, empty: bool) -> None:
        self.visible += visible
        self.score.add(j, f, visible=visible, absent_correct=None if visible else empty)

    def flush(self) -> None:
        """Score the frames that wait on the GPU: one host round trip for all of them."""
        if not self._pending:
            return
        import torch

        masks = torch.stack([mask for mask, _ in self._pending])
        truths = torch.from_numpy(np.stack([truth for _, truth in self._pending])).to(masks.device)
        j, f = jf(masks, truths)
        rows = torch.stack([j, f, truths.flatten(1).any(1).double(), (~masks.flatten(1).any(1)).double()], 1).tolist()
        self._pending.clear()
        for row in rows:
            self._note(row[0], row[1], bool(row[2]), bool(row[3]))

    def finish(self) -> None:
        """Score what waits, and put the masks in their place."""
        self.flush()
        if self.masks is not None and self._partial is not None:
            with self._watch.part("writing"):
                shutil.rmtree(self.masks, ignore_errors=True)
                self._partial.rename(self.masks)

    def abandon(self) -> None:
        """Remove the masks of an episode that failed."""
        if self._partial is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
