"""What a frozen image backbone offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Backbone", "BackboneFeatures"]


@dataclass(frozen=True)
class BackboneFeatures:
    """Feature maps of B images.

    Attributes:
        middle: (B, C2, h2, w2) float.
        deep: (B, C3, h, w) float; its grid is the model's.
        top: (B, C4, h4, w4) float, for the prior mask; None where it was not asked for.
    """

    middle: Tensor
    deep: Tensor
    top: Tensor | None = None

    def __len__(self) -> int:
        return len(self.deep)

    @classmethod
    def join(cls, parts: Sequence[BackboneFeatures]) -> BackboneFeatures:
        """Return the features of several batches as one; all have top maps, or none has."""
        if len(parts) == 1:
            return parts[0]
        tops = [part.top for part in parts if part.top is not None]
        return cls(
            torch.cat([part.middle for part in parts]),
            torch.cat([part.deep for part in parts]),
            torch.cat(tops) if tops else None,
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> BackboneFeatures:
        """Return the features with ``function`` applied to each map (indexing, expanding, moving)."""
        return BackboneFeatures(
            function(self.middle), function(self.deep), None if self.top is None else function(self.top)
        )


class Backbone(nn.Module):
    """What a backbone offers.

    Attributes:
        channels: (C2, C3) of the middle and the deep map.
        trained_on: What published weights of it have seen, as ``ModelInfo.training_data``.
    """

    channels: tuple[int, int]
    trained_on: tuple[str, ...] = ("imagenet-1k:train",)

    def forward(self, images: Tensor, *, top: bool = False) -> BackboneFeatures:
        """Return the maps of (B, 3, H, W) float images, normalised with ImageNet's mean and deviation."""
        raise NotImplementedError

    def top(self, features: BackboneFeatures, mask: Tensor | None = None) -> Tensor:
        """Return (B, C4, h4, w4) top features, of what lies in ``mask`` (B, 1, h, w) alone where that is possible."""
        raise NotImplementedError

    def tops(self, features: BackboneFeatures, masks: Sequence[Tensor]) -> list[Tensor]:
        """Return ``top`` for each of several masks (B, 1, h, w). Only places inside a mask are sure to hold a value."""
        return [self.top(features, mask) for mask in masks]
