"""Cyclic-consistent cross-attention (DC-SAM, section III-C; the idea is that of CyCTR, arXiv 2106.02320).

A key is kept only if going from it to the query that likes it best, and from there to that query's favourite key, ends
on the same side of the mask: in the foreground if it started there, else in the background.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from icvos.foundation.cpu.matmul import linear

__all__ = ["CyclicAttention", "cyclic_attention", "cyclic_bias"]


def cyclic_bias(scores: Tensor, mask: Tensor) -> Tensor:
    """Return what is added to the scores: 0 for a consistent key, -inf for another.

    A row can never be -inf throughout: the key of the greatest score of all returns to itself (ties go to the first).

    Args:
        scores: (..., N, S) float, queries by keys.
        mask: (..., S), the side of each key, compared for equality.

    Returns:
        (..., 1, S) float, the same for all queries.
    """
    best_query = scores.argmax(dim=-2)
    favourite_key = scores.argmax(dim=-1)
    returned = favourite_key.gather(-1, best_query)
    inconsistent = mask.gather(-1, returned) != mask
    return torch.zeros_like(scores[..., 0, :]).masked_fill_(inconsistent, float("-inf")).unsqueeze(-2)


def cyclic_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scores_in_autocast: bool = False
) -> tuple[Tensor, Tensor]:
    """Attend, over any leading dimensions.

    The scores are taken in float32 also under autocast: in bfloat16 ties would decide which keys are dropped.

    Args:
        query: (..., N, E) float.
        key: (..., S, E) float.
        value: (..., S, E) float.
        mask: (..., S) side of each key; None attends to all keys.
        scores_in_autocast: Q18: under autocast the public code has scores and output in its dtype, the softmax alone in
            float32.

    Returns:
        output (..., N, E) and weights (..., N, S) float32, which sum to 1.
    """
    if scores_in_autocast:
        return _attend(query, key, value, mask)
    with torch.autocast(query.device.type, enabled=False):
        output, weights = _attend(query.float(), key.float(), value.float(), mask)
        return output.to(value.dtype), weights


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attend with scores in the dtype that the product of queries and keys has here."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    # The choice of keys is not differentiable; detached, it keeps the argmax out of the graph.
    bias = None if mask is None else cyclic_bias(scores.detach(), mask)
    scores = scores.float()
    weights = (scores if bias is None else scores + bias).softmax(dim=-1)
    return weights.to(value.dtype) @ value, weights


class CyclicAttention(nn.Module):
    """Multi-head form; parameters are named as those of ``torch.nn.MultiheadAttention``.

    Args:
        width: Channels.
        heads: Heads.
        scores_in_autocast: Q18, see ``cyclic_attention``.
    """

    def __init__(self, width: int, heads: int, *, scores_in_autocast: bool = False) -> None:
        super().__init__()
        self.heads, self.scores_in_autocast = heads, scores_in_autocast
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, shared_masks: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: (B, N, C) float.
            key: (B, S, C) float.
            value: (B, S, C) float.
            mask: (B, S) side of each key, for every head of its own sample; None for plain attention.
            shared_masks: Q1: the public code tiles the masks where it should repeat them, so that row b * heads + h
                gets mask (b * heads + h) % B: another sample's.

        Returns:
            output (B, N, C) and the mean of the heads' weights (B, N, S).
        """
        q, k, v = (
            linear(x, w, b).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, w, b in zip((query, key, value), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3))
        )
        if mask is not None:
            if shared_masks:
                mask = mask.repeat(self.heads, 1).unflatten(0, (-1, self.heads))
            else:
                mask = mask.unsqueeze(1).expand(-1, self.heads, -1)
        output, weights = cyclic_attention(q, k, v, mask, scores_in_autocast=self.scores_in_autocast)
        return self.out_proj(output.transpose(1, 2).flatten(2)), weights.mean(dim=1)
