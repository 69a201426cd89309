"""Masks of several objects of one frame: a pixel belongs to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from icvos.types import Prediction

__all__ = ["overlap", "without_overlap"]


def overlap(predictions: Sequence[Prediction]) -> bool:
    """Whether a pixel is in the masks of two objects."""
    masks = [prediction.mask for prediction in predictions]
    if len({getattr(mask, "device", None) for mask in masks}) > 1:
        masks = [prediction.to_numpy() for prediction in predictions]
    count: Any = 0
    for mask in masks:  # where they are: one answer comes from the device to the host
        count = count + (mask != 0)
    return len(masks) > 1 and bool((count > 1).any())


def without_overlap(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return objects' predictions of a frame with each pixel in one mask, as a label map has it.

    Where masks overlap the object of the highest score keeps the pixel; of equal ones, and where a prediction comes
    without scores, the first.

    Args:
        predictions: Of each object, in the order of their numbers; all of one size.
    """
    if not overlap(predictions):
        return list(predictions)
    masks = np.stack([prediction.to_numpy() for prediction in predictions])
    scores = [_scores(prediction) for prediction in predictions]
    known = [score for score in scores if score is not None]
    ranked = np.where(masks, np.stack(known), -np.inf) if len(known) == len(scores) else masks
    first = ranked.argmax(axis=0)
    return [replace(each, mask=mask & (first == i)) for i, (each, mask) in enumerate(zip(predictions, masks))]


def _scores(prediction: Prediction) -> np.ndarray | None:
    score = prediction.score
    return None if score is None else np.asarray(score.detach().cpu() if hasattr(score, "detach") else score)
