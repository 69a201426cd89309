"""SAM 2's memory encoder on the CPU: the same sums, products and 1x1 convolutions by oneDNN, with the GELU in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from icvos.foundation.cpu.convolution import convolve
from icvos.foundation.cpu.matmul import project
from icvos.foundation.cpu.memory import fits_memory
from icvos.foundation.sam2 import Sam2

__all__ = ["encoded_memory", "quick_memory_encoder"]


@contextmanager
def quick_memory_encoder(segmenter: Sam2) -> Iterator[None]:
    """Let a SAM 2 encode its memories as written here, inside the block, where that may be done.

    Not for two threads at once.
    """
    encoder = segmenter.model.memory_encoder
    if not fits_memory(segmenter) or encoder._compiled_call_impl is not None:
        yield
        return
    encoder.forward = partial(encoded_memory, encoder)
    try:
        yield
    finally:
        del encoder.forward


def encoded_memory(encoder: Any, features: Tensor, masks: Tensor, skip_mask_sigmoid: bool = False) -> dict[str, Any]:
    """Return what the package's ``MemoryEncoder`` returns, but for the order of a few sums.

    Args:
        encoder: The package's module.
        features: (B, C, h, w) float.
        masks: (B, 1, 16h, 16w) float: logits, or with ``skip_mask_sigmoid`` what is made of them.
        skip_mask_sigmoid: See above.
    """
    masks = masks if skip_mask_sigmoid else torch.sigmoid(masks)
    *layers, last = encoder.mask_downsampler.encoder
    for layer in layers:
        masks = layer(masks)
    x = _convolved(last, masks, add=_convolved(encoder.pix_feat_proj, features))
    x = encoder.fuser.proj(x)
    for block in encoder.fuser.layers:
        x = x + _block(block, x)
    if isinstance(encoder.out_proj, torch.nn.Conv2d):
        x = _convolved(encoder.out_proj, x)
    return {"vision_features": x, "vision_pos_enc": [encoder.position_encoding(x).to(x.dtype)]}


def _convolved(conv: torch.nn.Conv2d, x: Tensor, *, add: Tensor | None = None) -> Tensor:
    return convolve(x, conv, conv.weight, conv.bias, add=add)


def _block(block: Any, x: Tensor) -> Tensor:
    """Return what a ``CXBlock`` adds to (B, C, h, w)."""
    x = block.norm(block.dwconv(x)).permute(0, 2, 3, 1)
    x = project(block.pwconv2, project(block.pwconv1, x, gelu=True))
    return (x if block.gamma is None else block.gamma * x).permute(0, 3, 1, 2)
