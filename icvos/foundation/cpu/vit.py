"""SAM 1's image encoder on the CPU: the same sums, in pieces that stay in the caches, products by oneDNN.

A global block of ViT-B holds the attention of all places to all in 800 MB, several times over; here a row of places at
a time attends to the rest. Equations: ViTDet (arXiv 2203.16527) with decomposed relative positions (arXiv 2112.01526).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from icvos.foundation.cpu.chunks import in_pieces, pieces
from icvos.foundation.cpu.matmul import linear, project

__all__ = ["vit_in_pieces"]


def vit_in_pieces(encoder: Any, images: Tensor) -> Tensor:
    """Return what the package's ``ImageEncoderViT`` returns, (B, C, h, w), but for the order of a few sums.

    Args:
        encoder: The package's module.
        images: (B, 3, S, S) float.
    """
    x = encoder.patch_embed(images)
    if encoder.pos_embed is not None:
        x = x + encoder.pos_embed
    for block in encoder.blocks:
        x = x + _attention(block, block.norm1(x))
        for piece in pieces(x.shape[1], len(x) * x.shape[2] * block.mlp.lin1.out_features):
            rows = x[:, piece]
            rows += _feed(block.mlp, block.norm2(rows))
    features: Tensor = encoder.neck(x.permute(0, 3, 1, 2))
    return features


def _attention(block: Any, x: Tensor) -> Tensor:
    """Return a block's attention within windows, or of all places, of (B, h, w, C)."""
    from segment_anything.modeling.image_encoder import window_partition, window_unpartition

    size = block.window_size
    if size == 0:
        return _everywhere(block.attn, x)
    windows, padded = window_partition(x, size)
    each = size**2 * max(block.attn.num_heads * size**2, 3 * x.shape[-1])
    return window_unpartition(in_pieces(partial(_within, block.attn), windows, 0, each), size, padded, x.shape[1:3])


def _feed(mlp: Any, x: Tensor) -> Tensor:
    """Return what the package's ``MLPBlock`` with a GELU returns."""
    return project(mlp.lin2, project(mlp.lin1, x, gelu=True))


def _within(attention: Any, x: Tensor) -> Tensor:
    """Return what the package's ``Attention`` makes of (B, h, w, C) windows."""
    from segment_anything.modeling.image_encoder import add_decomposed_rel_pos

    batch, height, width, _ = x.shape
    qkv = project(attention.qkv, x)
    qkv = qkv.view(batch, height * width, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.flatten(1, 2).unbind(0)
    scores = (query * attention.scale) @ key.transpose(1, 2)
    if attention.use_rel_pos:
        size = (height, width)
        scores = add_decomposed_rel_pos(scores, query, attention.rel_pos_h, attention.rel_pos_w, size, size)
    seen = torch.softmax(scores, dim=2) @ value
    seen = seen.view(batch, attention.num_heads, height, width, -1).permute(0, 2, 3, 1, 4).flatten(3)
    return project(attention.proj, seen)


def _everywhere(attention: Any, x: Tensor) -> Tensor:
    """Return the attention of all places to all, some rows of an image at a time."""
    from segment_anything.modeling.image_encoder import get_rel_pos

    batch, height, width, _ = x.shape
    heads = attention.num_heads
    parts = list(pieces(height, heads * width * height * width))
    if len(parts) == 1:
        return torch.cat([_within(attention, image) for image in x.split(1)])
    down = along = None
    if attention.use_rel_pos:
        down = get_rel_pos(height, height, attention.rel_pos_h)
        along = get_rel_pos(width, width, attention.rel_pos_w)
    out = torch.empty_like(x)
    by_head = out.unflatten(3, (heads, -1))
    for sample in range(batch):
        qkv = project(attention.qkv, x[sample]).view(height, width, 3, heads, -1)
        query, key, value = qkv.permute(2, 3, 0, 1, 4).unbind(0)
        keys, turned = key.flatten(1, 2).contiguous(), value.flatten(1, 2).transpose(1, 2).contiguous()
        for piece in parts:
            rows = query[:, piece]
            bias = None
            if down is not None and along is not None:
                vertical = torch.einsum("nhwc,hkc->nhwk", rows, down[piece])
                horizontal = torch.einsum("nhwc,wkc->nhwk", rows, along)
                bias = vertical.unsqueeze(-1), horizontal.unsqueeze(-2)
            scaled = rows.flatten(1, 2) * attention.scale
            for head in range(heads):
                scores = linear(scaled[head], keys[head])
                if bias is not None:
                    shaped = scores.view(*rows.shape[1:3], height, width)
                    shaped += bias[0][head]
                    shaped += bias[1][head]
                torch.softmax(scores, dim=1, out=scores)
                by_head[sample, piece, :, head] = linear(scores, turned[head]).unflatten(0, (-1, width))
    return project(attention.proj, out)
