"""SAM 2 and 2.1 (``sam2``, arXiv 2408.00714) on images as a promptable segmenter, at published or any other size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from icvos.errors import UsageError, WeightsError, did_you_mean
from icvos.foundation.construct import load_into, on_meta
from icvos.foundation.cpu.chunks import fits_pieces
from icvos.foundation.cpu.hiera import hiera_in_pieces
from icvos.foundation.guidance import guided
from icvos.foundation.sam2_config import SAM2, Sam2Config, build_model, recognise_sam2
from icvos.foundation.segmenter import Decoded, Guidance, ImageFeatures, PromptableSegmenter

__all__ = ["Sam2", "build_sam2", "load_sam2", "save_sam2"]


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

    @property
    def point_embeddings(self) -> tuple[Tensor, Tensor]:
        negative, positive = self.model.sam_prompt_encoder.point_embeddings[:2]
        return negative.weight, positive.weight

    def dense_pe(self) -> Tensor:
        return self.model.sam_prompt_encoder.get_dense_pe()

    def encoder_blocks(self) -> list[nn.Module]:
        return list(self.model.image_encoder.trunk.blocks)

    def encode_batch(self, images: Tensor) -> ImageFeatures:
        if self.in_pieces and fits_pieces(images, self.encoder_blocks()):
            *high_res, raw = hiera_in_pieces(self.model, images)
        else:
            *high_res, raw = self.model.forward_image(images)["backbone_fpn"]
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


def build_sam2(config: str | Sam2Config | Mapping[str, Any], *, meta: bool = False) -> Sam2:
    """Build a SAM 2 with random weights, in eval mode; with ``meta`` on the meta device, without memory.

    Args:
        config: A published name (``sam2.1_hiera_tiny``), a configuration, or its plain values.
        meta: Shapes only, to be filled by a checkpoint.

    Raises:
        UsageError: An unknown name, or sizes that do not fit.
        MissingExtraError: ``sam2`` is not installed.
    """
    if isinstance(config, str):
        if config not in SAM2:
            raise UsageError(f"no SAM 2 '{config}'", fix=did_you_mean(config, SAM2))
        config = SAM2[config]
    elif not isinstance(config, Sam2Config):
        config = Sam2Config.from_dict(config)
    if meta:
        with on_meta():
            return Sam2(config).eval()
    return Sam2(config).eval()


def load_sam2(path: str | Path, *, config: Sam2Config | None = None, device: str | torch.device = "cpu") -> Sam2:
    """Load a SAM 2: a published checkpoint, told by its keys, or a file of ``save_sam2``, told by what it holds.

    Args:
        path: ``.pt`` or ``.safetensors``.
        config: Which model it is, where neither tells.
        device: Where to put it.

    Raises:
        WeightsError: Missing, truncated, hostile, or of another model.
    """
    import json

    from icvos.foundation.weights import load_metadata, load_state

    state = load_state(path)
    if config is None:
        text = load_metadata(path).get("sam2_config")
        try:
            config = Sam2Config.from_dict(json.loads(text)) if text else recognise_sam2(state, where=path)
        except (ValueError, TypeError, UsageError) as error:
            raise WeightsError(f"the SAM 2 configuration inside is broken ({error})", where=path) from None
    segmenter = build_sam2(config, meta=True)
    load_into(segmenter.model, state, where=path, what=f"SAM {config.version} {config.name}")
    return segmenter.to(device)


def save_sam2(path: str | Path, segmenter: Sam2, *, half: bool = False) -> None:
    """Write a SAM 2 of any size as safetensors with its configuration inside, atomically; ``half`` stores fp16."""
    import json

    from icvos.foundation.weights import save_state

    metadata = {"sam2_config": json.dumps(segmenter.config.to_dict(), sort_keys=True)}
    save_state(path, segmenter.model.state_dict(), metadata=metadata, half=half)
