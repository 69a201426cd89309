"""What is measured of a frame: one object for each way, which protocols name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icvos.metrics.frames import jf, jf_labels, overlap, overlap_labels, region, region_labels
from icvos.metrics.mosev2 import mosev2_labels, mosev2_masks

__all__ = ["MOSEV2", "OVERLAP", "PRESENCE", "REGION", "REGION_AND_BOUNDARY", "Measure"]

Columns = tuple[Any, ...]


@dataclass(frozen=True)
class Measure:
    """What is measured of a frame, and how.

    Attributes:
        columns: Names of the figures, in the order in which both functions return them.
        of_masks: From a prediction and its ground truth, (H, W) or (N, H, W) masks of one size, returns a column each:
            N values, or one.
        of_labels: From two (H, W) label maps and K ids, returns a column each: K values.
        pixels: Those of the columns that count pixels, and are no share of 1.
        on_device: Whether ``of_masks`` takes torch masks where they are; what does not gets numpy masks.
    """

    columns: tuple[str, ...]
    of_masks: Callable[[Any, Any], Columns]
    of_labels: Callable[[Any, Any, Sequence[int]], Columns]
    pixels: tuple[str, ...] = ()
    on_device: bool = False

    def __call__(self, prediction: Any, truth: Any) -> tuple[float, ...]:
        """Return the figures of one frame's masks, (H, W) each."""
        return tuple(
            float(column if isinstance(column, float) else column[0]) for column in self.of_masks(prediction, truth)
        )


def _with_found(prediction: Any, truth: Any) -> Columns:
    pixels = prediction.reshape(-1, prediction.shape[-2] * prediction.shape[-1]) != 0
    found = pixels.any(1)
    return *jf(prediction, truth), found.double() if hasattr(found, "double") else found.astype(np.float64)


def _labels_with_found(prediction: Any, truth: Any, objects: Sequence[int]) -> Columns:
    found = np.array([bool((prediction == number).any()) for number in objects], np.float64)
    return *jf_labels(prediction, truth, objects), found


REGION_AND_BOUNDARY = Measure(("J", "F"), jf, jf_labels, on_device=True)
"""J and F of the official DAVIS-2017 code."""
REGION = Measure(("J",), region, region_labels)
"""J alone."""
OVERLAP = Measure(("J", "union"), overlap, overlap_labels, pixels=("union",))
"""J, and the pixels that it is a share of."""
MOSEV2 = Measure((*REGION_AND_BOUNDARY.columns, "F_dot"), mosev2_masks, mosev2_labels)
"""J with one more pixel above and below the line; F, and F_dot whose tolerance follows the object's size."""
PRESENCE = Measure((*REGION_AND_BOUNDARY.columns, "found"), _with_found, _labels_with_found, on_device=True)
"""J and F, and whether the prediction has any pixel: 1 or 0."""
