"""Scoring frame by frame: masks on the CPU and on a GPU, mixed, count in the order of frames."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from icvos.evaluation.frame_scorer import FrameScorer, _score
from icvos.runs.times import Stopwatch
from icvos.types import Prediction

torch = pytest.importorskip("torch")


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU."""

    device = property(lambda self: torch.device("cuda"))  # type: ignore[assignment]


class Scorer(FrameScorer):
    """Scores on the CPU what waits for the GPU."""

    def flush(self) -> None:
        for mask, truth in self._pending:
            self._note(*_score(np.array(mask.as_subclass(torch.Tensor)), truth))
        self._pending.clear()


@pytest.mark.parametrize("order", ["cg", "gc", "ccgcggcc", "gggccgc"])
def test_frames_keep_their_order_where_devices_are_mixed(order: str) -> None:
    truth = np.ones((8, 10), bool)
    masks = [np.arange(80).reshape(8, 10) < 8 * index for index in range(len(order))]
    with ThreadPoolExecutor(2) as pool:
        scorer = Scorer((8, 10), None, pool, Stopwatch())
        for letter, mask in zip(order, masks, strict=True):
            on_gpu: Any = torch.from_numpy(mask).as_subclass(OnGpu)
            scorer.add(Prediction(on_gpu if letter == "g" else mask), truth)
        scorer.finish()
    assert scorer.score.values()[0].tolist() == [mask.mean() for mask in masks]
