"""The public codes' layers in place of ours, for the sides of a comparison that stand for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from torch import Tensor

import icvos.foundation.cpu.convolution
import icvos.foundation.cpu.matmul
from dcsam.model import DCSAM
from icvos.foundation.backbone import BackboneFeatures
from icvos.foundation.segmenter import PromptableSegmenter

__all__ = ["published_layers"]


@contextmanager
def published_layers(model: DCSAM, segmenter: PromptableSegmenter) -> Iterator[None]:
    """Run DC-SAM and its SAM by the packages' and torch's own layers.

    Convolutions, norms, sums and ReLUs one after another and the backbone's whole top layer for each side of the mask,
    SAM as its package runs it, and matrix products by torch.
    """

    def tops(features: BackboneFeatures, masks: Sequence[Tensor]) -> list[Tensor]:
        return [model.top(features, mask) for mask in masks]

    with (
        patch.object(icvos.foundation.cpu.convolution, "_CONVOLUTION", None),
        patch.object(icvos.foundation.cpu.matmul, "_LINEAR", None),
        patch.object(segmenter, "in_pieces", False),
        patch.object(model, "tops", tops),
    ):
        yield
