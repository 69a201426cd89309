"""SAM 2 and 2.1 (``sam2``, arXiv 2408.00714) on images as a promptable segmenter, at published or any other size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from icvos.foundation.cpu.chunks import fits_pieces
from icvos.foundation.cpu.constants import constant
from icvos.foundation.cpu.hiera import hiera_in_pieces
from icvos.foundation.guidance import guided
from icvos.foundation.sam2_config import SEEN, Sam2Config, build_model
from icvos.foundation.segmenter import Decoded, Guidance, ImageFeatures, PromptableSegmenter, needs_gradient

__all__ = ["Sam2"]


class Sam2(PromptableSegmenter):
    """SAM 2. Prompts and results are those of the package's ``SAM2ImagePredictor``, before resizing and clamping."""

    pads = False
    resample = "bilinear"
    white = 1.0

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.config, self.name = config, config.name
        self.model: Any = build_model(config)
        self.image_size, self.embed_dim, self.grid = config.image_size, config.embed_dim, config.grid
        self.trained_on = SEEN.get(config.name)

    @property
    def point_embeddings(self) -> tuple[Tensor, Tensor]:
        negative, positive = self.model.sam_prompt_encoder.point_embeddings[:2]
        return negative.weight, positive.weight

    def dense_pe(self) -> Tensor:
        encoder = self.model.sam_prompt_encoder
        weights = (encoder.pe_layer.positional_encoding_gaussian_matrix,)
        code: Tensor = constant(encoder, weights, encoder.image_embedding_size, encoder.get_dense_pe)
        return code

    def encoder_blocks(self) -> list[nn.Module]:
        return list(self.model.image_encoder.trunk.blocks)

    def per_frame(self) -> list[nn.Module]:
        return [self.model.sam_mask_decoder.transformer, self.model.memory_encoder]

    def encode_batch(self, images: Tensor) -> ImageFeatures:
        encoder, decoder = self.model.image_encoder, self.model.sam_mask_decoder
        high = (decoder.conv_s0, decoder.conv_s1)
        # What projects the finer levels may be trained where the rest is not.
        inside = () if needs_gradient(*high) else high
        with torch.set_grad_enabled(needs_gradient(encoder, images=images)):
            if self.in_pieces and fits_pieces(images, self.encoder_blocks()):
                levels = hiera_in_pieces(encoder, images, inside)
            else:
                levels, inside = list(encoder(images)["backbone_fpn"]), ()
        if not inside:
            levels[:2] = [conv(level) for conv, level in zip(high, levels, strict=False)]
        *high_res, raw = levels
        # The image predictor adds it because video training saw it on every frame without memory.
        return ImageFeatures(raw + self.model.no_mem_embed.reshape(1, -1, 1, 1), tuple(high_res), raw)

    def embed(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return self.model.sam_prompt_encoder(points=boxes_as_points(points, boxes), boxes=None, masks=masks)

    def decode_tokens(
        self, features: ImageFeatures, sparse: Tensor, dense: Tensor, *, multimask: bool, guidance: Guidance | None
    ) -> Decoded:
        decoder = self.model.sam_mask_decoder
        with guided(decoder.transformer, guidance):
            logits, iou, tokens, score = decoder(
                image_embeddings=features.embedding.expand(len(sparse), -1, -1, -1),
                image_pe=self.dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask,
                repeat_image=False,
                high_res_features=list(features.high_res),
            )
        return Decoded(logits, iou, tokens, score)


def boxes_as_points(points: tuple[Tensor, Tensor] | None, boxes: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Return (P, K, 2) points and (P, K) labels with each (P, 4) box in front as its two corners, labels 2 and 3."""
    if boxes is None:
        return points
    corners = boxes.reshape(-1, 2, 2)
    labels = torch.tensor([[2, 3]], dtype=torch.int32, device=boxes.device).expand(len(corners), -1)
    if points is None:
        return corners, labels
    return torch.cat([corners, points[0]], dim=1), torch.cat([labels, points[1].to(torch.int32)], dim=1)
