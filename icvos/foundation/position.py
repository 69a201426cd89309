"""Sine codes of places on a grid (DETR, arXiv 2005.12872)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["sine_position"]


def sine_position(height: int, width: int, channels: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return the (height * width, channels) float code of a grid: y in the first half of the channels, x in the second.

    Positions count from 1 and are normalised to (0, 2 pi]; DETR's temperature of 10,000; 4 divides ``channels``.
    """
    half = channels // 2
    step = torch.arange(half, device=device, dtype=torch.float32)
    period = 10000.0 ** (2 * torch.div(step, 2, rounding_mode="floor") / half)

    def code(count: int) -> Tensor:
        steps = torch.arange(1, count + 1, device=device, dtype=torch.float32)
        angle = (steps / (count + 1e-6) * (2 * math.pi))[:, None] / period
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    y = code(height)[:, None].expand(-1, width, -1)
    x = code(width)[None].expand(height, -1, -1)
    return torch.cat((y, x), dim=-1).flatten(0, 1)
