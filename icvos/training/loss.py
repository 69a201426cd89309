"""The loss that most in-context segmenters train with, and the IoU they are validated by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from icvos.errors import UsageError

__all__ = ["iou", "segmentation_loss"]


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
