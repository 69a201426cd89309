"""SAM 2's image encoder on the CPU: the same sums, in pieces that stay in the caches, products by oneDNN.

Windows and places of a Hiera block (arXiv 2306.00989) do not see one another outside of its global attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from icvos.foundation.cpu.chunks import in_pieces, pieces
from icvos.foundation.cpu.constants import constant
from icvos.foundation.cpu.matmul import attend, linear, pays_product, project

__all__ = ["hiera_in_pieces"]

#: Places from which attention among them is worked out by ``attend``.
MANY = 1024


def hiera_in_pieces(encoder: Any, images: Tensor, projections: Sequence[nn.Module]) -> list[Tensor]:
    """Return the levels of the package's ``ImageEncoder``, finest first, but for the order of a few sums.

    The codes of places of each level, which that computes as well, are left out.

    Args:
        encoder: The package's module.
        images: (B, 3, S, S) float.
        projections: What the mask decoder makes of the finest levels, done here; may be empty.
    """
    maps = _trunk(encoder.trunk, images)
    neck = encoder.neck
    last = len(neck.convs) - 1
    levels: list[Tensor] = []
    above: Tensor | None = None
    for level in range(last, -1, -1):
        x, lateral = maps[level], neck.convs[last - level]
        after = projections[level] if level < len(projections) else nn.Identity()
        joined = level in neck.fpn_top_down_levels
        if level < 2 and not joined:
            levels.append(_projected(x, lateral.conv, after))
            continue
        x = lateral(x)
        if joined and above is not None:
            aligned = None if neck.fpn_interp_model == "nearest" else False
            x = x + F.interpolate(
                above.float(), scale_factor=2.0, mode=neck.fpn_interp_model, align_corners=aligned, antialias=False
            )
            if neck.fuse_type == "avg":
                x = x / 2
        above = x
        levels.append(after(x))
    return levels[::-1][: len(levels) - encoder.scalp]


def _projected(x: Tensor, lateral: Any, after: nn.Module) -> Tensor:
    """Return ``after(lateral(x))`` of 1x1 convolutions, the second perhaps an identity; a large map by one product."""
    if not pays_product(x, lateral.weight):
        return in_pieces(nn.Sequential(lateral, after), x, 2, len(x) * x.shape[3] * lateral.out_channels)
    weight, bias = lateral.weight[:, :, 0, 0], lateral.bias
    if isinstance(after, nn.Conv2d):
        second = after.weight[:, :, 0, 0]
        weight, bias = second @ weight, F.linear(bias, second, after.bias)
    return linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def _trunk(trunk: Any, images: Tensor) -> list[Tensor]:
    """Return the (B, C, h, w) map at the end of each stage, finest first."""
    x = trunk.patch_embed(images)
    size = (x.shape[1], x.shape[2])
    x = x + constant(trunk, (trunk.pos_embed, trunk.pos_embed_window), size, lambda: trunk._get_pos_embed(size))
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
        kept = do_pool(project(block.proj, x), block.pool)
    size = block.window_size
    if size == 0:
        x = _attention(block.attn, x)
    else:
        windows, padded = window_partition(x, size)
        x = in_pieces(partial(_attention, block.attn), windows, 0, size**2 * 3 * block.dim_out)
        height, width = kept.shape[1:3]
        if block.q_stride:
            size //= block.q_stride[0]
            padded = (height + -height % size, width + -width % size)
        x = window_unpartition(x, size, padded, (height, width))
    x = kept + x
    for piece in pieces(x.shape[1], len(x) * x.shape[2] * block.mlp.layers[0].out_features):
        rows = x[:, piece]
        rows += _feed(block.mlp, block.norm2(rows))
    return x


def _feed(mlp: Any, x: Tensor) -> Tensor:
    """Return what the package's ``MLP`` of two layers and a GELU returns, with its hooks where it has some."""
    first, second = mlp.layers
    out = project(second, project(first, x, gelu=True))
    for hook in mlp._forward_hooks.values():
        changed = hook(mlp, (x,), out)
        out = out if changed is None else changed
    return out


def _attention(attention: Any, x: Tensor) -> Tensor:
    """Return what a ``MultiScaleAttention`` makes of (B, h, w, C) windows."""
    from sam2.modeling.backbones.hieradet import do_pool

    batch, height, width, _ = x.shape
    heads = attention.num_heads
    qkv = project(attention.qkv, x).view(batch, height * width, 3, heads, -1)
    q, k, v = qkv.unbind(2)
    if attention.q_pool:
        q = do_pool(q.reshape(batch, height, width, -1), attention.q_pool)
        height, width = q.shape[1:3]
        q = q.reshape(batch, height * width, heads, -1)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    if q.shape[2] < MANY:
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    else:
        scaled = q * q.shape[3] ** -0.5
        seen = x.new_empty(batch, height * width, heads, v.shape[3])
        for sample in range(batch):
            for head in range(heads):
                seen[sample, :, head] = attend(scaled[sample, head], k[sample, head], v[sample, head])
    return project(attention.proj, seen.reshape(batch, height, width, -1))
