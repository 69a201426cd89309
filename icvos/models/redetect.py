"""``@redetect``: a tracker whose in-context model looks again, and whose confident answers become prompts.

How the thresholds were chosen: docs/how-to/track.md, ``benchmarks/redetect.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from icvos.types import Prediction

__all__ = ["Answer", "RedetectRules", "Redetector", "confidence_of"]


@dataclass(frozen=True)
class RedetectRules:
    """When the in-context model looks at a frame, and when its answer becomes a prompt.

    Attributes:
        every: It looks each so many frames.
        absent: It also looks where the tracker's object score (a logit) is at most this,
        unsure: and where the tracker's predicted IoU is under this.
        covered: An answer of which this share or more lies in the tracker's mask is no news.
        gain: Else it becomes a prompt where its confidence is at least so many times that of the last prompt. A share
            goes by the scale of any model.
        union: Prompt with the answer and the tracker's mask together, as a kind of thing may be there several times;
            else, and where the tracker says that nothing is there, with the answer alone.
    """

    every: int = 5
    absent: float = 0.0
    unsure: float = 0.5
    covered: float = 0.5
    gain: float = 1.0
    union: bool = True


@dataclass(frozen=True)
class Answer:
    """What an in-context model finds on a frame.

    Attributes:
        prompt: For the tracker.
        mask: (1, H, W) bool, not empty.
        confidence: 0 or more, on the model's own scale.
    """

    prompt: Any
    mask: Any
    confidence: float


def confidence_of(prediction: Prediction) -> float:
    """Return a prediction's own confidence, else the mean score of its mask, else 1; 0 or more."""
    if prediction.confidence is not None:
        return max(float(prediction.confidence), 0.0)
    mask = prediction.to_numpy()
    if prediction.score is None or not mask.any():
        return 1.0
    score = prediction.score
    score = score.detach().float().cpu() if hasattr(score, "detach") else score
    return max(float(np.asarray(score)[mask].mean()), 0.0)


class Redetector:
    """Follows the thing of one episode, frame by frame.

    Args:
        tracker: As ``icvos.foundation.tracker.Tracker``.
        mask_of: Returns the (1, H, W) bool mask of a ``TrackedFrame``.
        rules: When it looks, and what it believes.
    """

    def __init__(self, tracker: Any, mask_of: Callable[[Any], Any], rules: RedetectRules) -> None:
        self.tracker, self.mask_of, self.rules = tracker, mask_of, rules
        self.bank: Any = None
        self.frame = 0
        self.confidence = 0.0

    def step(self, features: Any, look: Callable[[], Answer | None], *, left: int) -> Any:
        """Return the (1, H, W) bool mask of the next frame, or None while nothing was found.

        Args:
            features: Of the frame, as the tracker encodes it.
            look: Asks the in-context model about the frame; None where it finds nothing.
            left: Frames from this one to the video's end.
        """
        self.frame += 1
        if self.bank is None:
            answer = look()
            if answer is None:
                return None
            self.bank = self.tracker.start(num_frames=left)
            self.confidence = answer.confidence
            return self.mask_of(self.tracker.step(self.bank, features, prompt=answer.prompt))
        tracked = self.tracker.step(self.bank, features)
        mask = self.mask_of(tracked)
        absent = float(tracked.object_score) <= self.rules.absent or not bool(mask.any())
        if not absent and float(tracked.iou) >= self.rules.unsure and (self.frame - 1) % self.rules.every:
            return mask
        answer = look()
        if answer is None or not self._is_news(answer, mask):
            return mask
        prompt = answer.prompt
        if self.rules.union and not absent:
            prompt = type(prompt)(masks=(answer.mask | mask).float())
        self.confidence = answer.confidence
        return self.mask_of(self.tracker.correct(self.bank, features, prompt))

    def _is_news(self, answer: Answer, mask: Any) -> bool:
        covered = float((answer.mask & mask).sum() / answer.mask.sum())
        return covered < self.rules.covered and answer.confidence >= self.rules.gain * self.confidence
