"""From features and masks to prompt tokens: learned queries gather from the support, then from the query image."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from dcsam.attention import CyclicAttention
from icvos.foundation.position import sine_position

__all__ = ["PromptDecoder"]


class _Cross(nn.Module):
    def __init__(self, width: int, heads: int, *, scores_in_autocast: bool) -> None:
        super().__init__()
        self.multihead_attn = CyclicAttention(width, heads, scores_in_autocast=scores_in_autocast)
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
        scores_in_autocast: Q18, see ``cyclic_attention``.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        queries: int,
        *,
        cyclic: bool = True,
        shared_masks: bool = False,
        scores_in_autocast: bool = False,
    ) -> None:
        super().__init__()
        self.cyclic, self.shared_masks = cyclic, shared_masks
        self.transformer_self_attention_layers = nn.ModuleList([_Self(width, heads)])
        cross = [_Cross(width, heads, scores_in_autocast=scores_in_autocast) for _ in range(2)]
        self.transformer_cross_attention_layers = nn.ModuleList(cross[:1])
        self.transformer_cross_attention_layers_0 = nn.ModuleList(cross[1:])
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

    def second_stage(
        self, prompts: Tensor, features: Tensor, mask: Tensor, position: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Refine on the query image.

        Args:
            prompts: (B, N, C) of the first stage.
            features: (B, C, h, w) float, merged features.
            mask: (B, h, w), this branch's side of each cell in the coarse mask.
            place: (1, C, h, w), code of the places, whose mean under the attention is added to the prompts; or None.

        Returns:
            prompts (B, N, C) and weights (B, N, h, w).
        """
        layer = cast(_Cross, self.transformer_cross_attention_layers[0])
        prompts, weights = self._cross(layer, prompts, features.unsqueeze(1), mask.unsqueeze(1))
        block = cast(_Self, self.transformer_self_attention_layers[0])
        query = prompts + self.q_embed.weight
        update, _ = block.self_attn(query, query, prompts, need_weights=False)
        prompts, weights = block.norm(prompts + update), weights.squeeze(2)
        if position is not None:
            prompts = prompts + (weights.flatten(2) @ position.flatten(2).transpose(1, 2).to(weights.dtype)).to(
                prompts.dtype
            )
        return prompts, weights

    def _cross(self, layer: _Cross, prompts: Tensor, features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        shots, channels, height, width = features.shape[1:]
        value = features.permute(0, 1, 3, 4, 2).flatten(1, 3)
        position = sine_position(height, width, channels, device=features.device).repeat(shots, 1)
        update, weights = layer.multihead_attn(
            prompts + self.q_embed.weight,
            value + position,  # in float32, as in the public code, also where autocast has the value in bfloat16
            value,
            masks.flatten(1) if self.cyclic else None,
            shared_masks=self.shared_masks,
        )
        return layer.norm(prompts + update), weights.unflatten(2, (shots, height, width))
