"""From features and masks to prompt tokens: learned queries gather from the support, then from the query image."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from dcsam.attention import CyclicAttention

__all__ = ["PromptDecoder", "sine_position"]


def sine_position(height: int, width: int, channels: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return the (height * width, channels) sine code of a grid: y in the first half of the channels, x in the second.

    Positions count from 1 and are normalised to (0, 2 pi] (DETR, arXiv 2005.12872, with its temperature of 10,000).
    """
    half = channels // 2
    step = torch.arange(half, device=device, dtype=torch.float32)
    period = 10000.0 ** (2 * torch.div(step, 2, rounding_mode="floor") / half)

    def code(count: int) -> Tensor:
        place = torch.arange(1, count + 1, device=device, dtype=torch.float32)
        angle = (place / (count + 1e-6) * (2 * math.pi))[:, None] / period
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    y = code(height)[:, None].expand(-1, width, -1)
    x = code(width)[None].expand(height, -1, -1)
    return torch.cat((y, x), dim=-1).flatten(0, 1)


class _Cross(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = CyclicAttention(width, heads)
        self.norm = nn.LayerNorm(width)


class _Self(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)


class PromptDecoder(nn.Module):
    """One branch (positive or negative): both stages. Attribute names are those of the published checkpoints.

    Args:
        width: Channels.
        heads: Heads.
        queries: Prompt tokens.
        cyclic: Use the masks to drop inconsistent keys.
        shared_masks: Q1, see ``CyclicAttention``.
    """

    def __init__(
        self, width: int, heads: int, queries: int, *, cyclic: bool = True, shared_masks: bool = False
    ) -> None:
        super().__init__()
        self.cyclic, self.shared_masks = cyclic, shared_masks
        self.transformer_self_attention_layers = nn.ModuleList([_Self(width, heads)])
        self.transformer_cross_attention_layers = nn.ModuleList([_Cross(width, heads)])
        self.transformer_cross_attention_layers_0 = nn.ModuleList([_Cross(width, heads)])
        self.supp_q_feat = nn.Embedding(queries, width)
        self.q_embed = nn.Embedding(queries, width)

    def first_stage(self, features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Gather from the supports.

        Args:
            features: (B, n, C, h, w) float, merged features of the n supports that are attended to.
            masks: (B, n, h, w), this branch's side of each cell.

        Returns:
            prompts (B, N, C) and weights (B, N, n, h, w).
        """
        prompts = self.supp_q_feat.weight.expand(len(features), -1, -1)
        layer = cast(_Cross, self.transformer_cross_attention_layers_0[0])
        return self._cross(layer, prompts, features, masks)

    def second_stage(self, prompts: Tensor, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Refine on the query image.

        Args:
            prompts: (B, N, C) of the first stage.
            features: (B, C, h, w) float, merged features.
            mask: (B, h, w), this branch's side of each cell in the coarse mask.

        Returns:
            prompts (B, N, C) and weights (B, N, h, w).
        """
        layer = cast(_Cross, self.transformer_cross_attention_layers[0])
        prompts, weights = self._cross(layer, prompts, features.unsqueeze(1), mask.unsqueeze(1))
        block = cast(_Self, self.transformer_self_attention_layers[0])
        query = prompts + self.q_embed.weight
        update, _ = block.self_attn(query, query, prompts, need_weights=False)
        return block.norm(prompts + update), weights.squeeze(2)

    def _cross(self, layer: _Cross, prompts: Tensor, features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        shots, channels, height, width = features.shape[1:]
        value = features.permute(0, 1, 3, 4, 2).flatten(1, 3)
        position = sine_position(height, width, channels, device=features.device).repeat(shots, 1)
        update, weights = layer.multihead_attn(
            prompts + self.q_embed.weight,
            value + position.to(value.dtype),
            value,
            masks.flatten(1) if self.cyclic else None,
            shared_masks=self.shared_masks,
        )
        return layer.norm(prompts + update), weights.unflatten(2, (shots, height, width))
