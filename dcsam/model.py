"""The DC-SAM prompt generator: supports with masks and a query image in, prompt tokens for SAM or SAM 2 out.

The frozen part and the head are apart, and each image goes through each of them once::

    features = model.extract(images)                           # frozen backbone, no_grad; may be cached
    support = model.encode_supports(model.extract(pictures), masks, sam_features, shots=n)
    query = model.encode_query(model.extract(images, top=True), sam_features)
    first = model.first_stage(support, query)                  # needs no query unless Q3 is switched off
    coarse = decode(model.tokens(first, point_embeddings))     # SAM, on the encoded query; the caller thresholds
    final = model.second_stage(support, query, first, coarse > 0)

or all of it by ``model(support, query, decode=…)``. No method changes its arguments, or sets a grad mode for the head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcsam.config import DCSAMConfig
from dcsam.features import Prompts, QueryState, SamFeatures, SupportState
from dcsam.prompts import PromptDecoder
from icvos.errors import ModelError, UsageError
from icvos.foundation.backbone import BackboneFeatures
from icvos.foundation.backbones import create_backbone
from icvos.foundation.bottleneck import fold_norms
from icvos.foundation.cpu.convolution import Conv1x1
from icvos.foundation.prior import prior_mask

__all__ = ["DCSAM", "Output"]

#: Added to a mask's area in its prototype, in grid cells.
AREA_EPS = 0.0005


@dataclass(frozen=True)
class Output:
    """Both stages of a batch of B.

    Attributes:
        prompts: The final prompts.
        first: Those of the first stage.
        coarse_logits: (B, 1, H', W') float that ``decode`` gave for the first stage; None with one stage.
    """

    prompts: Prompts
    first: Prompts
    coarse_logits: Tensor | None


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class DCSAM(nn.Module):
    """The prompt generator. Files name its tensors otherwise, see ``dcsam.checkpoint.file_key``.

    Args:
        config: Sizes and behaviour.
    """

    def __init__(self, config: DCSAMConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = create_backbone(config.backbone, config.backbone_options)
        width = config.width
        self.downsample_query = self._project(sum(self.backbone.channels), dropout=config.dropout)
        merged = 2 * width + 1 + (config.sam_channels if config.sam_features else 0)
        self.merge_1 = self._project(merged)
        # One a branch. Without the negative one merge_2 would never get a gradient.
        if config.negative:
            self.merge_2 = self._project(merged)
        if config.sam == 2 and config.sam_features:
            finest, finer = config.sam_high_res
            self.sam_downscaling = nn.Sequential(
                nn.Conv2d(finest, finer, 2, 2),
                LayerNorm2d(finer),
                nn.GELU(),
                nn.Conv2d(finer, config.sam_channels, 2, 2),
                nn.GELU(),
            )
        self.transformer_decoder = self._decoder()
        if config.negative:
            self.neg_transformer_decoder = self._decoder()

    def _project(self, inside: int, *, dropout: float | None = None) -> nn.Sequential:
        layers: list[nn.Module] = [Conv1x1(inside, self.config.width, bias=False), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, *([] if dropout is None else [nn.Dropout2d(dropout)]))

    def _decoder(self) -> PromptDecoder:
        c = self.config
        return PromptDecoder(
            c.width,
            c.heads,
            c.queries,
            cyclic=c.cyclic,
            shared_masks=c.shared_head_masks,
            scores_in_autocast=c.scores_in_autocast,
        )

    # ---- the frozen part -------------------------------------------------------------------------------------------

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters meant to train, by name."""
        return {name: value for name, value in self.named_parameters() if not name.startswith("backbone.")}

    def train(self, mode: bool = True) -> DCSAM:
        """Switch the head; the backbone stays in eval, so that its running statistics never move (fact Q11)."""
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def extract(self, images: Tensor, *, top: bool = False) -> BackboneFeatures:
        """Run the frozen backbone.

        Args:
            images: (B, 3, S, S) float, normalised with ImageNet's mean and deviation; any S that the backbone divides.
            top: Also the top map, which a query needs and a support does not.
        """
        return self.backbone(images, top=top)

    @torch.no_grad()
    def top(self, features: BackboneFeatures, mask: Tensor | None = None) -> Tensor:
        """Return the backbone's top map, of what lies in ``mask`` (B, 1, h, w) alone where the backbone can."""
        return self.backbone.top(features, mask)

    @torch.no_grad()
    def tops(self, features: BackboneFeatures, masks: Sequence[Tensor]) -> list[Tensor]:
        """Return ``top`` for each of several masks; places outside a mask may hold anything."""
        return self.backbone.tops(features, masks)

    def fold_backbone(self) -> None:
        """Fold the frozen backbone's norms into its convolutions, for inference: faster, other keys, no way back."""
        fold_norms(self.backbone)
        self.backbone.to(memory_format=torch.channels_last)

    # ---- one image ---------------------------------------------------------------------------------------------------

    def encode_query(self, features: BackboneFeatures, sam: SamFeatures | None = None) -> QueryState:
        """Project a batch of query images; ``sam`` may be left out where the configuration does not fuse it."""
        top = features.top if features.top is not None else self.top(features)
        projected, fused = self._embed(features, sam)
        position = None
        if self.config.place_codes:
            if sam is None or sam.position is None:
                raise UsageError("this DC-SAM's prompts carry SAM's code of places", expected="sam= with its position")
            position = _resize(sam.position, projected.shape[-2:]).to(projected.dtype)
        return QueryState(projected, fused, top, position)

    def encode_supports(
        self, features: BackboneFeatures, masks: Tensor, sam: SamFeatures | None = None, *, shots: int = 1
    ) -> SupportState:
        """Project the supports of B samples and merge them with their masks.

        Args:
            features: Of B * n images, sample by sample.
            masks: (B * n, H, W) or (B * n, 1, H, W), nonzero inside; taken to the grid by nearest pixel.
            sam: Of the same images.
            shots: n, supports a sample.
        """
        count = len(features)
        if shots < 1 or count % shots or len(masks) != count:
            raise UsageError(f"{count} support images with {len(masks)} masks for {shots} shots a sample")
        projected, fused = self._embed(features, sam)
        grid = features.deep.shape[-2:]
        mask = _to_grid(masks, grid).to(projected.dtype)
        sides = (mask, 1 - mask) if self.config.negative else (mask,)
        prototypes, merged = [], []
        for negative, side in enumerate(sides):
            prototype = _prototype(projected, side)
            merged.append(self._merge(projected, prototype, fused, side, negative=bool(negative)))
            prototypes.append(prototype)
        return SupportState(
            mask.unflatten(0, (-1, shots)).squeeze(2),
            tuple(x.unflatten(0, (-1, shots)) for x in prototypes),
            tuple(x.unflatten(0, (-1, shots)) for x in merged),
            tuple(self.tops(features, sides)),
        )

    def _embed(self, features: BackboneFeatures, sam: SamFeatures | None) -> tuple[Tensor, Tensor | None]:
        grid = features.deep.shape[-2:]
        both = torch.cat((_resize(features.middle, grid), features.deep), dim=1)
        projected = self.downsample_query(both)
        if not self.config.sam_features:
            return projected, None
        if sam is None:
            raise UsageError("DC-SAM fuses SAM's features, and none were given", fix="pass sam=, or sam_features=False")
        return projected, self._fuse(sam, grid).to(projected.dtype)

    def _fuse(self, sam: SamFeatures, grid: torch.Size) -> Tensor:
        if self.config.sam == 1:
            return _resize(sam.embedding, grid)
        resized = tuple(sam.embedding.shape[-2:]) != tuple(grid)
        # Q8: the public code resizes and fuses within one no_grad block, so that what it never trains stays random.
        frozen = self.config.freeze_sam_fusion and resized
        with torch.no_grad() if frozen else contextlib.nullcontext():
            fine, norm, act, coarse, last = self.sam_downscaling
            finest, finer = sam.high_res
            return _resize(last(coarse(act(norm(fine(finest) + finer))) + sam.embedding), grid)

    def _merge(
        self, projected: Tensor, prototype: Tensor, fused: Tensor | None, mask: Tensor, *, negative: bool
    ) -> Tensor:
        merge = self.merge_2 if negative else self.merge_1
        parts = [projected, prototype.expand_as(projected)]
        if fused is not None:
            parts.append(fused)
        return merge(torch.cat((*parts, mask * self.config.prior_scale), dim=1))

    # ---- pairs -------------------------------------------------------------------------------------------------------

    def prior(self, support: SupportState, query: QueryState, *, negative: bool = False) -> Tensor:
        """Return the prior mask (B, 1, h, w) of the thing, or of all that is not it, in -1..1."""
        mask = support.masks.flatten(0, 1).unsqueeze(1)
        top = support.tops[negative]
        with torch.no_grad():
            prior = prior_mask(query.top, top, 1 - mask if negative else mask)
            return _resize(prior, query.projected.shape[-2:])

    def query_features(self, support: SupportState, query: QueryState, *, negative: bool = False) -> Tensor:
        """Return (B, C, h, w): the query merged with the support's prototype and the prior mask of one side."""
        prior = self.prior(support, query, negative=negative).to(query.projected.dtype)
        prototype = support.prototypes[negative].mean(dim=1)
        return self._merge(query.projected, prototype, query.fused, prior, negative=negative)

    def first_stage(self, support: SupportState, query: QueryState | None = None) -> Prompts:
        """Return prompts that describe the thing, (B, N, C) a side.

        Args:
            support: Of B samples.
            query: Of B images; needed only where ``first_stage_ignores_query`` is off (Q3).
        """
        c = self.config
        sides = []
        for negative, decoder in enumerate(self._decoders()):
            features, masks = support.merged[negative], support.side(bool(negative))
            if c.last_support_only:
                features, masks = features[:, -1:], masks[:, -1:]
            if not c.first_stage_ignores_query:
                if query is None:
                    raise UsageError("the first stage sees the query here (Q3 off)", expected="query=")
                queried = self.query_features(support, query, negative=bool(negative))
                guess = self._guess(support, query)
                features = torch.cat((features, queried.unsqueeze(1)), dim=1)
                masks = torch.cat((masks, (1 - guess if negative else guess).to(masks.dtype)), dim=1)
            sides.append(decoder.first_stage(features, masks))
        return self._prompts(sides)

    def _guess(self, support: SupportState, query: QueryState) -> Tensor:
        """Return (B, 1, h, w) the cells whose prior lies above the middle of its range."""
        prior = self.prior(support, query)
        low, high = prior.amin(dim=(2, 3), keepdim=True), prior.amax(dim=(2, 3), keepdim=True)
        return (prior > (low + high) / 2).float()

    def second_stage(self, support: SupportState, query: QueryState, first: Prompts, coarse: Tensor) -> Prompts:
        """Refine the prompts on the query.

        Args:
            support: Of B samples.
            query: Of B images.
            first: Prompts of the first stage; with Q6, those after ``inserted``.
            coarse: (B, H, W) or (B, 1, H, W) bool or {0, 1}: the mask that the first stage's prompts give.

        Raises:
            UsageError: More than one support in the reference variant, where the public code crashes (Q5).
        """
        c = self.config
        if c.single_support and support.shots > 1:
            raise UsageError(
                f"the reference variant of DC-SAM takes one support, not {support.shots}",
                expected="one support: the public code fails in its second stage with more",
                fix="use variant=corrected, or --shots 1",
            )
        mask = _to_grid(coarse, query.projected.shape[-2:]).squeeze(1).to(query.projected.dtype)
        if c.first_coarse_mask_only:
            mask = torch.cat((mask[:1], torch.zeros_like(mask[1:])))
        sides = []
        for negative, (decoder, prompts) in enumerate(zip(self._decoders(), first.sides())):
            if negative and c.negative_from_support:
                features = support.merged[0][:, -1]
            else:
                features = self.query_features(support, query, negative=bool(negative))
            # The code of the query's places means nothing on a support.
            position = None if negative and c.negative_from_support else query.position
            sides.append(decoder.second_stage(prompts, features, 1 - mask if negative else mask, position))
        return self._prompts(sides)

    def _decoders(self) -> list[PromptDecoder]:
        return [self.transformer_decoder] + ([self.neg_transformer_decoder] if self.config.negative else [])

    def _prompts(self, sides: list[tuple[Tensor, Tensor]]) -> Prompts:
        for tokens, _ in sides:
            if not self.config.pass_non_finite and not self.training and not bool(tokens.isfinite().all()):
                raise ModelError("DC-SAM's prompts are not finite", expected="finite features from backbone and SAM")
        (positive, seen), *rest = sides
        return Prompts(positive, rest[0][0] if rest else None, seen, rest[0][1] if rest else None)

    # ---- to SAM ------------------------------------------------------------------------------------------------------

    def tokens(self, prompts: Prompts, point_embeddings: tuple[Tensor, Tensor]) -> Tensor:
        """Return (B, 2N or N, C) sparse tokens for SAM's mask decoder: positive prompts, then negative ones.

        Args:
            prompts: Of B samples.
            point_embeddings: SAM's own (1, C) or (C,) for a negative point, then for a positive one
                (``PromptableSegmenter.point_embeddings``).
        """
        return torch.cat(self.inserted(prompts, point_embeddings).sides(), dim=1)

    def inserted(self, prompts: Prompts, point_embeddings: tuple[Tensor, Tensor]) -> Prompts:
        """Return the prompts with SAM's point embeddings added."""
        outside, inside = point_embeddings
        negative = None if prompts.negative is None else prompts.negative + outside
        return Prompts(prompts.positive + inside, negative, prompts.attention, prompts.negative_attention)

    def forward(
        self,
        support: SupportState,
        query: QueryState,
        *,
        decode: Callable[[Tensor], Tensor],
        point_embeddings: tuple[Tensor, Tensor],
    ) -> Output:
        """Run both stages with the coarse mask between them.

        Args:
            support: Of B samples, or of one, for all queries.
            query: Of B images, or of one, for all samples.
            decode: Takes (B, 2N or N, C) tokens, gives (B, 1, H', W') logits of masks on the query images. Called once;
                the coarse mask passes no gradient. The grid takes the nearest pixel of the thresholded mask, so H' and
                the way up to it matter a little: the public code goes from SAM's 256 to 512, with corners aligned on
                images and not aligned on video.
            point_embeddings: See ``tokens``.
        """
        batch = max(len(support), len(query))
        support, query = support.expand(batch), query.expand(batch)
        first = self.first_stage(support, query)
        if not self.config.two_stages:
            return Output(first, first, None)
        with torch.no_grad():
            logits = decode(self.tokens(first, point_embeddings))
        # Q6: SAM 1's prompt encoder adds to the prompts in place, so that the second stage starts elsewhere.
        moved = self.config.prompts_in_place and self.config.sam == 1
        start = self.inserted(first, point_embeddings) if moved else first
        return Output(self.second_stage(support, query, start, logits > 0), first, logits)


def _resize(maps: Tensor, grid: torch.Size) -> Tensor:
    if maps.shape[-2:] == grid:
        return maps
    return F.interpolate(maps, grid, mode="bilinear", align_corners=True)


def _to_grid(masks: Tensor, grid: torch.Size) -> Tensor:
    """Return (B, 1, h, w) float in {0, 1}, by nearest pixel (the one at floor(i * H / h))."""
    if masks.ndim == 3:
        masks = masks.unsqueeze(1)
    return F.interpolate((masks != 0).float(), grid, mode="nearest")


def _prototype(features: Tensor, mask: Tensor) -> Tensor:
    """Return (B, C, 1, 1), the mean of (B, C, h, w) features under (B, 1, h, w) masks."""
    total = (features * mask).sum(dim=(2, 3), keepdim=True)
    return total / (mask.sum(dim=(2, 3), keepdim=True) + AREA_EPS)
