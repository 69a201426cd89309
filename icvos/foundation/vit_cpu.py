"""SAM 1's image encoder on the CPU: the same sums, worked out in pieces that stay in the caches.

A global block of ViT-B holds the attention of all places to all in 800 MB, several times over; here a row of places at
a time attends to the rest. Equations: ViTDet (arXiv 2203.16527) with decomposed relative positions (arXiv 2112.01526).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from icvos.foundation.pieces import in_pieces, pieces

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
            rows += block.mlp(block.norm2(rows))
    found: Tensor = encoder.neck(x.permute(0, 3, 1, 2))
    return found


def _attention(block: Any, x: Tensor) -> Tensor:
    """Return a block's attention within windows, or of all places, of (B, h, w, C)."""
    from segment_anything.modeling.image_encoder import window_partition, window_unpartition

    size = block.window_size
    if size == 0:
        return _everywhere(block.attn, x)
    windows, padded = window_partition(x, size)
    each = size**2 * max(block.attn.num_heads * size**2, 3 * x.shape[-1])
    return window_unpartition(in_pieces(block.attn, windows, 0, each), size, padded, x.shape[1:3])


def _everywhere(attention: Any, x: Tensor) -> Tensor:
    """Return the attention of all places to all, some rows of an image at a time."""
    from segment_anything.modeling.image_encoder import get_rel_pos

    batch, height, width, channels = x.shape
    heads = attention.num_heads
    parts = list(pieces(height, heads * width * height * width))
    if len(parts) == 1:
        return torch.cat([attention(image) for image in x.split(1)])
    down = along = None
    if attention.use_rel_pos:
        down = get_rel_pos(height, height, attention.rel_pos_h)
        along = get_rel_pos(width, width, attention.rel_pos_w)
    out = torch.empty_like(x)
    for sample in range(batch):
        qkv = attention.qkv(x[sample]).view(height, width, 3, heads, -1).permute(2, 3, 0, 1, 4)
        query, key, value = qkv.unbind(0)
        key, value = key.flatten(1, 2), value.flatten(1, 2)
        for piece in parts:
            rows = query[:, piece]
            bias = None
            if down is not None and along is not None:
                vertical = torch.einsum("nhwc,hkc->nhwk", rows, down[piece])
                horizontal = torch.einsum("nhwc,wkc->nhwk", rows, along)
                bias = (vertical.unsqueeze(-1) + horizontal.unsqueeze(-2)).flatten(3).flatten(1, 2)[None]
            seen = F.scaled_dot_product_attention(
                rows.flatten(1, 2)[None], key[None], value[None], attn_mask=bias, scale=attention.scale
            )
            out[sample, piece] = seen[0].view(heads, -1, width, channels // heads).permute(1, 2, 0, 3).flatten(2)
    found: Tensor = attention.proj(out)
    return found
