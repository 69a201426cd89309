"""SAM 2's image encoder on the CPU: the same sums, worked out in pieces that stay in the caches.

Windows and places of a Hiera block (arXiv 2306.00989) do not see one another outside of its global attention.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from icvos.foundation.pieces import pieces

__all__ = ["hiera_in_pieces"]


def hiera_in_pieces(model: Any, images: Tensor) -> list[Tensor]:
    """Return what ``SAM2Base.forward_image`` returns as ``backbone_fpn``, but for the order of a few sums.

    The codes of places of each level, which that computes as well, are left out.

    Args:
        model: The package's ``SAM2Base``.
        images: (B, 3, S, S) float.
    """
    encoder, decoder = model.image_encoder, model.sam_mask_decoder
    maps = _trunk(encoder.trunk, images)
    neck = encoder.neck
    last = len(neck.convs) - 1
    found: list[Tensor] = []
    above: Tensor | None = None
    for level in range(last, -1, -1):
        lateral = neck.convs[last - level]
        if level < 2 and level not in neck.fpn_top_down_levels:
            project = decoder.conv_s1 if level else decoder.conv_s0
            found.append(_rows(nn.Sequential(lateral, project), maps[level], neck.d_model))
            continue
        x = lateral(maps[level])
        if level in neck.fpn_top_down_levels and above is not None:
            aligned = None if neck.fpn_interp_model == "nearest" else False
            x = x + F.interpolate(
                above.float(), scale_factor=2.0, mode=neck.fpn_interp_model, align_corners=aligned, antialias=False
            )
            if neck.fuse_type == "avg":
                x = x / 2
        above = x
        if level < 2:
            x = (decoder.conv_s1 if level else decoder.conv_s0)(x)
        found.append(x)
    return found[::-1][: len(found) - encoder.scalp]


def _trunk(trunk: Any, images: Tensor) -> list[Tensor]:
    """Return the (B, C, h, w) map at the end of each stage, finest first."""
    x = trunk.patch_embed(images)
    x = x + trunk._get_pos_embed(x.shape[1:3])
    maps = []
    for number, block in enumerate(trunk.blocks):
        x = _block(block, x)
        if number in trunk.stage_ends:
            maps.append(x.permute(0, 3, 1, 2))
    return maps


def _block(block: Any, x: Tensor) -> Tensor:
    """Return what a ``MultiScaleBlock`` makes of (B, h, w, C)."""
    from sam2.modeling.backbones.hieradet import do_pool
    from sam2.modeling.backbones.utils import window_partition, window_unpartition

    kept, x = x, block.norm1(x)
    if block.dim != block.dim_out:
        kept = do_pool(block.proj(x), block.pool)
    size = block.window_size
    if size == 0:
        x = block.attn(x)
    else:
        windows, padded = window_partition(x, size)
        x = _windows(block.attn, windows, 3 * block.dim_out)
        height, width = kept.shape[1:3]
        if block.q_stride:
            size //= block.q_stride[0]
            padded = (height + -height % size, width + -width % size)
        x = window_unpartition(x, size, padded, (height, width))
    x = kept + x
    for piece in pieces(x.shape[1], len(x) * x.shape[2] * block.mlp.layers[0].out_features):
        rows = x[:, piece]
        rows += block.mlp(block.norm2(rows))
    return x


def _windows(attention: nn.Module, windows: Tensor, channels: int) -> Tensor:
    """Return the attention's (n, h', w', C') for (n, h, w, C) windows, some at a time."""
    out: Tensor | None = None
    for piece in pieces(len(windows), windows.shape[1] * windows.shape[2] * channels):
        some = attention(windows[piece])
        if len(some) == len(windows):
            return some
        if out is None:
            out = some.new_empty((len(windows), *some.shape[1:]))
        out[piece] = some
    assert out is not None
    return out


def _rows(convolutions: nn.Module, x: Tensor, channels: int) -> Tensor:
    """Return 1x1 convolutions of (B, C, h, w), some rows at a time."""
    out: Tensor | None = None
    for piece in pieces(x.shape[2], len(x) * x.shape[3] * channels):
        some = convolutions(x[:, :, piece])
        if some.shape[2] == x.shape[2]:
            return some
        if out is None:
            out = some.new_empty((*some.shape[:2], *x.shape[2:]))
        out[:, :, piece] = some
    assert out is not None
    return out
