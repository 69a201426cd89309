"""VRP-SAM's encoder (Sun et al., CVPR 2024, arXiv 2402.17726): a support and its mask become 50 prompt tokens for SAM.

Numbers and order follow the authors' code (MIT; facts: baselines, section 3), marked "step". Learned: 1,592,064
parameters with ResNet-50, as the authors' log says: the shared projection 1536 x 256 = 393,216; the merge 513 x 256 =
131,328; 50 x 256 = 12,800 queries; four attentions of 263,168 and their norms of 512.

Where we depart: VGG-16-bn's deep map has stride 16 here, so that its grid is 32 (their 64); more supports than one give
50 tokens each, as their code provides for and never calls; a thing smaller than a cell keeps one cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.heads import (
    HeadConfig,
    SavedHead,
    check_backbone,
    config_of,
    each_prior,
    fill_head,
    grid_mask,
    joined,
    masked_mean,
    open_backbone,
    read_head,
)
from icvos.errors import UsageError, WeightsError
from icvos.foundation.backbone import Backbone
from icvos.foundation.backbones import Dilation
from icvos.foundation.cpu.convolution import Conv1x1
from icvos.foundation.position import sine_position
from icvos.foundation.segmenter import ImageFeatures, PromptableSegmenter

__all__ = ["KIND", "VRPConfig", "VRPEncoder", "VRPSam", "VRPSupports", "filled_boxes", "open_vrp"]

KIND = "vrp-sam"


@dataclass(frozen=True)
class VRPConfig(HeadConfig):
    """Sizes of VRP-SAM's encoder.

    Attributes:
        queries: Tokens a support.
        heads: Attention heads.
        prior_scale: Factor on mask and prior before they are merged (step 5).
    """

    queries: int = 50
    heads: int = 4
    prior_scale: float = 10.0
    method_dilation: ClassVar[Dilation] = "torchvision"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1 or self.heads < 1 or self.width % self.heads:
            raise UsageError(
                f"queries={self.queries}, heads={self.heads} with width {self.width}",
                expected="at least 1, and a width that the heads divide",
            )


class _Attention(nn.Module):
    """Attention, then the sum with what asked, normed (post-norm; no feed-forward part)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, key: Tensor, value: Tensor) -> Tensor:
        update, _ = self.attention(tokens, key, value, need_weights=False)
        return self.norm(tokens + update)


class VRPEncoder(nn.Module):
    """The learned part: projection, merging, and the decoder of the queries (steps 4 to 6).

    Args:
        config: Its sizes.
        channels: Of the joined backbone map.
    """

    def __init__(self, config: VRPConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.project = nn.Sequential(Conv1x1(channels, width, bias=False), nn.ReLU(), nn.Dropout2d(config.dropout))
        self.merge = nn.Sequential(Conv1x1(2 * width + 1, width, bias=False), nn.ReLU())
        self.queries = nn.Embedding(config.queries, width)
        self.from_support, self.among_support, self.from_query, self.among_query = (
            _Attention(width, config.heads) for _ in range(4)
        )

    def merged(self, projected: Tensor, prototype: Tensor, plane: Tensor) -> Tensor:
        """Return (B, C, h, w): features, prototype (B, C, 1, 1) at every cell and mask or prior, merged (step 5)."""
        everywhere = prototype.expand(-1, -1, *projected.shape[-2:])
        return self.merge(torch.cat((projected, everywhere, plane * self.config.prior_scale), dim=1))

    def tokens(self, support: Tensor, query: Tensor) -> Tensor:
        """Return (B, N, C) tokens of merged maps (B, C, h, w) of supports and queries (step 6)."""
        tokens = self.queries.weight.expand(len(support), -1, -1)
        tokens = self._look(self.from_support, tokens, support)
        tokens = self.among_support(tokens, tokens, tokens)
        tokens = self._look(self.from_query, tokens, query)
        return self.among_query(tokens, tokens, tokens)

    def _look(self, block: nn.Module, tokens: Tensor, maps: Tensor) -> Tensor:
        value = maps.flatten(2).transpose(1, 2)
        # Positions are added to the keys alone.
        position = sine_position(maps.shape[2], maps.shape[3], maps.shape[1], device=maps.device).to(value.dtype)
        return block(tokens, value + position, value)


@dataclass(frozen=True)
class VRPSupports:
    """What is kept of B * n supports, sample by sample.

    Attributes:
        merged: (B * n, C, h, w) float.
        prototype: (B * n, C, 1, 1) float.
        top: (B * n, C4, h, w) float, the backbone's top features of the masked thing.
        mask: (B * n, 1, h, w) float {0, 1}.
    """

    merged: Tensor
    prototype: Tensor
    top: Tensor
    mask: Tensor


class VRPSam(nn.Module):
    """Encoder, frozen backbone and frozen SAM.

    Raises:
        UsageError: SAM's prompts have another width than the encoder's tokens.
    """

    def __init__(self, head: VRPEncoder, backbone: Backbone, segmenter: PromptableSegmenter) -> None:
        super().__init__()
        if segmenter.embed_dim != head.config.width:
            raise UsageError(
                f"VRP-SAM's tokens have {head.config.width} channels, {segmenter.name}'s prompts {segmenter.embed_dim}",
                fix="give the SAM that it was trained with",
            )
        self.head, self.backbone, self.segmenter = head, backbone, segmenter
        backbone.requires_grad_(False)
        segmenter.requires_grad_(False)

    def encode_supports(self, pixels: Tensor, masks: Tensor) -> VRPSupports:
        """Encode supports.

        Args:
            pixels: (B * n, 3, S, S) float, normalised.
            masks: (B * n, S, S) bool or float {0, 1}.
        """
        with torch.no_grad():
            features = self.backbone(pixels)
            mask = grid_mask(masks, features.deep.shape[-2:], "nearest")
            top = self.backbone.tops(features, [mask])[0]
        projected = self.head.project(joined(features))
        prototype = masked_mean(projected, mask)
        return VRPSupports(self.head.merged(projected, prototype, mask), prototype, top, mask)

    def tokens(self, supports: VRPSupports, pixels: Tensor) -> Tensor:
        """Return (B, n * N, C) prompt tokens for B query images (B, 3, S, S): the tokens of each support in turn."""
        with torch.no_grad():
            features = self.backbone(pixels, top=True)
            assert features.top is not None
            priors = each_prior(features.top, supports.top, supports.mask)
        shots = priors.shape[1]
        # One projection a query, whatever the number of supports; its prior and prototype are each support's own.
        projected = self.head.project(joined(features)).repeat_interleave(shots, dim=0)
        prior = priors.flatten(0, 1)
        if prior.shape[-2:] != projected.shape[-2:]:
            prior = F.interpolate(prior, projected.shape[-2:], mode="bilinear", align_corners=True)
        merged = self.head.merged(projected, supports.prototype, prior.to(projected.dtype))
        tokens = self.head.tokens(supports.merged, merged)
        return tokens.unflatten(0, (-1, shots)).flatten(1, 2)

    @torch.no_grad()
    def encode_sam(self, pixels: Tensor) -> ImageFeatures:
        """Run SAM's encoder on (B, 3, S, S), enlarged bilinearly with aligned corners (step 7)."""
        side = self.segmenter.image_size
        if pixels.shape[-1] != side:
            pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=True)
        return self.segmenter.encode(pixels)

    def decode(self, features: ImageFeatures, tokens: Tensor) -> Tensor:
        """Return (B, 1, S, S) logits: the tokens are the only sparse prompt; one mask (step 7)."""
        logits = self.segmenter.decode(features, embeddings=tokens.to(features.embedding.dtype)).logits
        side = self.head.config.image_size
        return F.interpolate(logits.float(), (side, side), mode="bilinear", align_corners=True)

    def forward(self, supports: Tensor, masks: Tensor, queries: Tensor) -> Tensor:
        """Return (B, 1, S, S) logits for (B * n, 3, S, S) supports, (B * n, S, S) masks and (B, 3, S, S) queries."""
        tokens = self.tokens(self.encode_supports(supports, masks), queries)
        return self.decode(self.encode_sam(queries), tokens)


def filled_boxes(masks: Tensor) -> Tensor:
    """Return (B, H, W) bool: each mask's tight box, filled (the paper's box prompt); an empty mask stays empty."""
    rows, columns = masks.bool().any(dim=2), masks.bool().any(dim=1)

    def span(line: Tensor) -> Tensor:
        return (line.cumsum(dim=1) > 0) & (line.flip(1).cumsum(dim=1).flip(1) > 0)

    return span(rows)[:, :, None] & span(columns)[:, None, :]


def support_prompts(masks: Tensor, prompt: Literal["mask", "box"]) -> Tensor:
    """Return (B, H, W) support masks as the encoder takes them: masks, or their filled boxes."""
    return filled_boxes(masks) if prompt == "box" else masks


def open_vrp(path: str | Path, backbone: str | Path, segmenter: PromptableSegmenter) -> tuple[VRPSam, SavedHead]:
    """Open a trained VRP-SAM in eval mode.

    Raises:
        WeightsError: A file is missing, hostile, partial or of another model, or not made for this SAM.
    """
    saved = read_head(path, KIND)
    config = config_of(VRPConfig, saved.config, where=saved.path)
    trained_with = saved.metadata.get("sam", segmenter.name)
    if trained_with != segmenter.name:
        raise WeightsError(
            f"trained with the SAM {trained_with}, and {segmenter.name} was given",
            where=saved.path,
            fix="give the SAM that it was trained with",
        )
    body = open_backbone(config.backbone, config.backbone_options, backbone)
    head = VRPEncoder(config, sum(body.channels))
    fill_head(head, saved, KIND)
    check_backbone(saved, body, backbone)
    try:
        model = VRPSam(head, body, segmenter)
    except UsageError as error:
        raise WeightsError(error.what, where=saved.path, fix="give the SAM that it was trained with") from None
    return model.eval().requires_grad_(False), saved
