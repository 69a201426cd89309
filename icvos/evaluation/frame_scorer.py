"""Scoring one episode's predictions as a model yields them, on the device where they are."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from icvos.masks import write_mask
from icvos.metrics import VideoScore
from icvos.metrics.measures import REGION_AND_BOUNDARY, Measure
from icvos.runs.times import Stopwatch
from icvos.types import Prediction

__all__ = ["FrameScorer"]

# Frames of a GPU model that are scored together: fewer host round trips, and still a flat memory.
GPU_BATCH = 16
# Masks that wait for a thread to score them, and as many to write them, at most.
BEHIND = 2

# What is measured of a frame, whether the thing is visible, whether the prediction is empty.
Row = tuple[tuple[float, ...], bool, bool]


class FrameScorer:
    """Scores of one episode, frame by frame.

    Masks on the CPU are scored, and all masks are written, on threads while the model is at its next frame.

    Args:
        size: (H, W) that every mask must have.
        masks: The episode's folder for the predicted masks, or None; they appear there when all are written.
        pool: The threads.
        watch: Counts to ``writing`` what is waited for masks to be written.
        measure: Of a frame.
    """

    def __init__(
        self,
        size: tuple[int, int],
        masks: Path | None,
        pool: ThreadPoolExecutor,
        watch: Stopwatch,
        measure: Measure = REGION_AND_BOUNDARY,
    ) -> None:
        self.size, self.masks, self._pool, self._watch, self._measure = size, masks, pool, watch, measure
        self.score = VideoScore(measure.columns)
        self.count = self.visible = 0
        self._unscored: deque[Future[Row]] = deque()
        self._unwritten: deque[Future[None]] = deque()
        self._pending: list[tuple[Any, np.ndarray]] = []
        self._partial = None if masks is None else masks.with_name(f"{masks.name}.partial")
        if self._partial is not None:
            shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, prediction: Prediction, truth: np.ndarray, *, scored: bool = True) -> None:
        """Take the next frame: a valid prediction against (H, W) bool; one that is not scored is only kept."""
        path = None if self._partial is None else self._partial / f"{self.count:05d}.png"
        self.count += 1
        mask = prediction.mask
        on_gpu = self._measure.on_device and hasattr(mask, "detach") and mask.device.type != "cpu"
        if on_gpu:
            self._take_scores()  # the order of frames, where some masks are on the CPU and some on a GPU
        else:
            self.flush()
        if scored and on_gpu:
            self._pending.append((mask.detach() != 0, truth))
            if len(self._pending) == GPU_BATCH:
                self.flush()
        if path is None and (on_gpu or not scored):
            return
        # A copy: the model may put its next mask into the same array.
        predicted = np.array(prediction.to_numpy())
        if path is not None:
            with self._watch.part("writing"):
                self._wait_for_masks(BEHIND - 1)
                self._unwritten.append(self._pool.submit(write_mask, path, predicted))
        if scored and not on_gpu:
            self._take_scores(BEHIND - 1)
            self._unscored.append(self._pool.submit(_score, predicted, truth, self._measure))

    def _take_scores(self, most: int = 0) -> None:
        """Take note of scores until no more than so many are missing."""
        while len(self._unscored) > most:
            self._note(*self._unscored.popleft().result())

    def _wait_for_masks(self, most: int = 0) -> None:
        """Wait until no more than so many masks are to be written."""
        while len(self._unwritten) > most:
            self._unwritten.popleft().result()

    def _note(self, values: Sequence[float], visible: bool, empty: bool) -> None:
        self.visible += visible
        self.score.add(*values, visible=visible, absent_correct=None if visible else empty)

    def flush(self) -> None:
        """Score the frames that wait on the GPU: one host round trip for all of them."""
        if not self._pending:
            return
        import torch

        masks = torch.stack([mask for mask, _ in self._pending])
        truths = torch.from_numpy(np.stack([truth for _, truth in self._pending])).to(masks.device)
        columns = self._measure.of_masks(masks, truths)
        flags = truths.flatten(1).any(1).double(), (~masks.flatten(1).any(1)).double()
        rows = torch.stack([*columns, *flags], 1).tolist()
        self._pending.clear()
        for *values, visible, empty in rows:
            self._note(values, bool(visible), bool(empty))

    def finish(self) -> None:
        """Score what waits, and put the masks in their place."""
        self._take_scores()
        self.flush()
        if self.masks is not None and self._partial is not None:
            with self._watch.part("writing"):
                self._wait_for_masks()
                shutil.rmtree(self.masks, ignore_errors=True)
                self._partial.rename(self.masks)

    def abandon(self) -> None:
        """Remove the masks of an episode that failed."""
        if self._partial is not None:
            wait(self._unwritten)  # what is being written would make the folder anew
            shutil.rmtree(self._partial, ignore_errors=True)


def _score(predicted: np.ndarray, truth: np.ndarray, measure: Measure = REGION_AND_BOUNDARY) -> Row:
    return measure(predicted, truth), bool(truth.any()), not predicted.any()
