"""SAM 2's memory attention on the CPU: the package's sums with fewer products, in pieces that stay in the caches.

A memory has fewer channels than the keys and values made of it (64 against 256). Values are weighted before they are
projected, which takes a quarter of the products; keys carry rotary codes and are projected as they are. Objects of one
frame part at the first look into their memories: what comes before is worked out once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from icvos.foundation.cpu.chunks import in_pieces
from icvos.foundation.cpu.matmul import attend, linear, project
from icvos.foundation.sam2 import Sam2

__all__ = ["attended_memory", "fits_memory", "quick_memory"]

#: Side of the smallest grid that gains.
LEAST = 16


def fits_memory(segmenter: Sam2) -> bool:
    """Return whether memories may be worked out in pieces: on the CPU, in eval mode, without gradients and autocast.

    On a smaller grid than ``LEAST`` the package takes fewer steps, and is faster.
    """
    if segmenter.device.type != "cpu" or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    return segmenter.in_pieces and not segmenter.model.training and segmenter.grid >= LEAST


@contextmanager
def quick_memory(segmenter: Sam2, *, shared: bool) -> Iterator[None]:
    """Let a SAM 2 look into its memories as written here, inside the block, where that may be done.

    Not for two threads at once.

    Args:
        segmenter: The SAM 2.
        shared: All objects are on the same image.
    """
    if not fits_memory(segmenter):
        yield
        return
    attention = segmenter.model.memory_attention

    def forward(
        curr: list[Tensor], memory: Tensor, curr_pos: list[Tensor], memory_pos: Tensor, num_obj_ptr_tokens: int = 0
    ) -> Tensor:
        return attended_memory(attention, curr[0], memory, curr_pos[0], memory_pos, num_obj_ptr_tokens, shared=shared)

    attention.forward = forward
    try:
        yield
    finally:
        del attention.forward


def attended_memory(
    attention: Any,
    frame: Tensor,
    memory: Tensor,
    frame_places: Tensor,
    memory_places: Tensor,
    pointers: int,
    *,
    shared: bool,
) -> Tensor:
    """Return what the package's ``MemoryAttention`` returns, (HW, B, C) float, but for the order of sums.

    Args:
        attention: With ``RoPEAttention`` in its layers.
        frame: (HW, B, C) features; with ``shared`` alike for all B objects.
        memory: (M, B, D).
        frame_places: (HW, B, C), alike for all.
        memory_places: (M, B, D).
        pointers: So many of the M last tokens are object pointers, which have no place.
        shared: See above.
    """
    x, places = frame.transpose(0, 1), frame_places.transpose(0, 1)[:1]
    memory, memory_places = memory.transpose(0, 1), memory_places.transpose(0, 1)
    if shared:
        x = x[:1]
    if attention.pos_enc_at_input:
        x = x + 0.1 * places
    placed = memory + memory_places
    for layer in attention.layers:
        values = layer.norm1(x)
        queries = values + places if layer.pos_enc_at_attn else values
        x = x + _look(layer.self_attn, queries, queries, values, 0)
        queries = layer.norm2(x)
        if layer.pos_enc_at_cross_attn_queries:
            queries = queries + places
        keys = placed if layer.pos_enc_at_cross_attn_keys else memory
        x = x + _look(layer.cross_attn_image, queries, keys, memory, pointers)
        # In place: the sum above is nobody else's.
        x += in_pieces(partial(_feed, layer), x, 1, len(x) * layer.linear1.out_features)
    return attention.norm(x).transpose(0, 1)


def _feed(layer: Any, x: Tensor) -> Tensor:
    """Return a layer's feed-forward part of (B, n, C) rows."""
    hidden = project(layer.linear1, layer.norm3(x))
    hidden = F.relu(hidden, inplace=True) if layer.activation is F.relu else layer.activation(hidden)
    return project(layer.linear2, hidden)


def _look(attention: Any, queries: Tensor, keys: Tensor, values: Tensor, pointers: int) -> Tensor:
    """Return what a ``RoPEAttention`` returns, (B, HW, C), for (B or 1, HW, C) queries.

    The weights of each place sum to one, so that values may be weighted first and projected after.
    """
    heads = attention.num_heads
    q, k = (_split(x, heads) for x in (project(attention.q_proj, queries), project(attention.k_proj, keys)))
    codes = _codes(attention, q.shape[2])
    _turn(q, codes)
    _turn(k[:, :, : k.shape[2] - pointers], codes)
    width = q.shape[3]
    q *= width**-0.5
    late = values.shape[2] < width
    v = None if late else _split(project(attention.v_proj, values), heads)
    outputs = []
    for head in range(heads):
        mixed = torch.stack(
            [
                attend(q[min(n, len(q) - 1), head], k[n, head], values[n] if v is None else v[n, head])
                for n in range(len(k))
            ]
        )
        if late:
            rows = slice(head * width, (head + 1) * width)
            mixed = linear(mixed, attention.v_proj.weight[rows], attention.v_proj.bias[rows])
        outputs.append(mixed)
    return project(attention.out_proj, torch.cat(outputs, dim=2))


def _split(x: Tensor, heads: int) -> Tensor:
    """Return (B, n, C) as (B, heads, n, C / heads)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _codes(attention: Any, count: int) -> Tensor:
    """Return the (HW, C / 2) complex rotary codes of a square grid, as the package keeps them."""
    if len(attention.freqs_cis) != count:
        side = round(count**0.5)
        attention.freqs_cis = attention.compute_cis(end_x=side, end_y=side)
    # The package puts them on a GPU wherever there is one.
    attention.freqs_cis = attention.freqs_cis.cpu()
    return attention.freqs_cis


def _turn(x: Tensor, codes: Tensor) -> None:
    """Turn (B, heads, r * HW, C) tokens by the codes of their places, in place; each of r memories has all places."""
    pairs = torch.view_as_complex(x.unflatten(3, (-1, 2)))
    for start in range(0, pairs.shape[2], len(codes)):
        pairs[:, :, start : start + len(codes)] *= codes
