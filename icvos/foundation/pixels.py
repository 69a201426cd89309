"""Images as networks take them: ImageNet's mean and deviation on [0, 1], which are SAM's and SAM 2's too."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

__all__ = ["MEAN", "STD", "to_float"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def to_float(images: Tensor) -> Tensor:
    """Return (..., H, W, 3) uint8 RGB as (..., 3, H, W) float, normalised, on the images' device; floats stay."""
    if images.dtype != torch.uint8:
        return images
    mean, deviation = _constants(images.device)
    return (images.movedim(-1, -3).float() / 255 - mean) / deviation


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """Kept on the device: a CUDA graph may not copy from the host."""
    mean, deviation = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))
    return mean, deviation
