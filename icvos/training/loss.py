"""The loss that most in-context segmenters train with, and the IoU they are validated by."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from icvos.errors import UsageError
from icvos.foundation.prior import prior_mask

__all__ = ["iou", "prior_logits", "segmentation_loss"]


def segmentation_loss(logits: Tensor, truth: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Return binary cross-entropy plus Dice, weights 1 : 1, of a batch.

    BCE is the mean over all pixels. Dice is taken over all pixels of a sample (of a video: over all its frames at once)
    and averaged over samples. Pixels to be ignored count as background.

    Args:
        logits: (B, 1, H, W), (B, H, W) or, of video, (B, T, H, W) float.
        truth: The same number of elements a sample, 0 or 1 (bool, integer or float).
        smooth: Added to both sides of the Dice ratio, pixels.

    Returns:
        Scalar float32.

    Raises:
        UsageError: The shapes do not fit.
    """
    if len(logits) != len(truth) or logits.numel() != truth.numel() or not len(logits):
        raise UsageError(f"logits of shape {tuple(logits.shape)} do not fit a truth of shape {tuple(truth.shape)}")
    flat, target = logits.flatten(1).float(), truth.flatten(1).float()
    probability = flat.sigmoid()
    overlap = (probability * target).sum(dim=1)
    total = probability.sum(dim=1) + target.sum(dim=1)
    dice = 1 - (2 * overlap + smooth) / (total + smooth)
    return F.binary_cross_entropy_with_logits(flat, target) + dice.mean()


def iou(masks: Tensor, truth: Tensor) -> Tensor:
    """Return the (B,) IoU of (B, H, W) bool masks; both empty is 1."""
    both = (masks & truth).flatten(1).sum(dim=1).float()
    either = (masks | truth).flatten(1).sum(dim=1).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))


#: How sharply the difference of two cosines tells inside from outside.
SHARPNESS = 10.0


def prior_logits(top: Any, support: Any, inside: Tensor, query: Tensor) -> Tensor:
    """Return (B, 1, h, w): the greatest cosine to the support's thing less that to its background, sharpened.

    Args:
        top: Gives the top map of backbone features under a mask.
        support: Backbone features of B images.
        inside: (B, 1, h, w) float {0, 1}, the thing on the support.
        query: (B, C, h, w) top map of the queries.
    """
    near = prior_mask(query, top(support, inside), inside)
    far = prior_mask(query, top(support, 1 - inside), 1 - inside)
    return SHARPNESS * (near - far)


def balanced_bce(logits: Tensor, target: Tensor) -> Tensor:
    """Return BCE whose places inside weigh three times."""
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * (1 + 2 * target)).mean()


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean Dice loss of (B, 1, h, w) logits against (B, 1, h, w) shares."""
    chance = logits.sigmoid()
    both = 2 * (chance * target).sum(dim=(1, 2, 3)) + 1
    return (1 - both / (chance.sum(dim=(1, 2, 3)) + target.sum(dim=(1, 2, 3)) + 1)).mean()
