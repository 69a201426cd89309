"""Filling small holes in mask logits, as SAM 2's video predictor does where its compiled extension was built."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from icvos.errors import UsageError, in_words

__all__ = ["FILLED", "check_area", "fill_holes", "small_components"]

# The logit of a filled pixel (sam2.utils.misc.fill_holes_in_mask_scores).
FILLED = 0.1


def check_area(area: int) -> None:
    """Check a hole's greatest area.

    Raises:
        UsageError: It is no whole number from 0.
    """
    if isinstance(area, bool) or not isinstance(area, int) or area < 0:
        raise UsageError(
            f"holes of at most {in_words(area)} pixels cannot be filled",
            expected="a whole number; 0 fills none, SAM 2 has 8",
        )


def fill_holes(logits: Tensor, area: int) -> Tensor:
    """Return logits whose small holes are filled: the holes' pixels become 0.1.

    A hole is an 8-connected component of the pixels at or below 0, of at most ``area`` pixels; one that touches the
    border is a hole too.

    Args:
        logits: (..., h, w) float.
        area: In pixels; 0 fills nothing.
    """
    if area < 1:
        return logits
    return logits.masked_fill(small_components(logits <= 0, area), FILLED)


@torch.no_grad()
def small_components(mask: Tensor, area: int) -> Tensor:
    """Return the pixels of the 8-connected components of at most ``area`` pixels, the same on any device.

    The greatest pixel number of a neighbourhood spreads through a component, a pixel a round. After ``area - 1`` rounds
    a small component has one number throughout. A large one may have pieces with numbers of their own, which are told
    from a component by a neighbour with another number.

    Args:
        mask: (..., h, w) bool, fewer than 2^24 pixels each.
        area: In pixels, from 1.

    Returns:
        (..., h, w) bool, a part of ``mask``.
    """
    height, width = mask.shape[-2:]
    area = min(area, height * width)
    inside = mask.reshape(-1, 1, height, width)
    numbers = torch.arange(1, height * width + 1, dtype=torch.float32, device=mask.device).view(height, width)
    labels = numbers * inside
    for _ in range(area - 1):
        spread = _greatest_neighbour(labels) * inside
        if torch.equal(spread, labels):
            break
        labels = spread
    unlike = (_greatest_neighbour(labels) != labels) | (_least_neighbour(labels, inside) != labels)
    # A pixel with a neighbour unlike it counts for more than a small component may have; every piece of a large one
    # has such a pixel. Label 0 is what is outside.
    weights = torch.where(unlike, area + 1, 1).flatten(1)
    index = labels.long().flatten(1)
    totals = torch.zeros(len(index), height * width + 1, dtype=torch.long, device=mask.device)
    totals.scatter_add_(1, index, weights)
    return (totals.gather(1, index).view_as(inside) <= area).logical_and_(inside).view_as(mask)


def _least_neighbour(labels: Tensor, inside: Tensor) -> Tensor:
    """Return the least label within a pixel's 3x3 neighbourhood, of what is inside."""
    return -_greatest_neighbour(torch.where(inside, -labels, -torch.inf))


def _greatest_neighbour(values: Tensor) -> Tensor:
    """Return the greatest value among each pixel and its eight neighbours, of (N, 1, h, w)."""
    return F.max_pool2d(values, kernel_size=3, stride=1, padding=1)
