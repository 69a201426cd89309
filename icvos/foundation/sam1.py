"""SAM 1 (``segment-anything``, arXiv 2304.02643) as a promptable segmenter: vit_b, vit_l, vit_h, or any size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from icvos.errors import UsageError, WeightsError
from icvos.foundation.construct import require_sam
from icvos.foundation.cpu.chunks import fits_pieces
from icvos.foundation.cpu.vit import vit_in_pieces
from icvos.foundation.guidance import guided
from icvos.foundation.segmenter import Decoded, Guidance, ImageFeatures, PromptableSegmenter, needs_gradient
from icvos.foundation.sizes import check_sizes
from icvos.foundation.weights import WITH_METADATA

__all__ = ["SAM1", "Sam1", "Sam1Config", "recognise_sam1"]


@dataclass(frozen=True)
class Sam1Config:
    """Sizes of a SAM 1: the image encoder's width, depth and heads, its global blocks, window, and the rest.

    Each is within ``icvos.foundation.sizes.BOUNDS``.
    """

    version: ClassVar[str] = "1"

    name: str
    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    image_size: int = 1024
    patch: int = 16
    window: int = 14
    embed_dim: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048

    def __post_init__(self) -> None:
        check_sizes("a SAM 1 configuration", self)
        if self.image_size % self.patch:
            raise UsageError(f"SAM image size {self.image_size}", expected=f"a multiple of {self.patch}")
        if self.width % self.heads or self.embed_dim % (2 * self.decoder_heads):
            raise UsageError("SAM widths that the attention heads do not divide")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them."""
        return {**asdict(self), "global_blocks": list(self.global_blocks)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Sam1Config:
        """Build from plain values."""
        return cls(**{**values, "global_blocks": tuple(values["global_blocks"])})


#: The published sizes [segment_anything/build_sam.py].
SAM1 = {
    "vit_b": Sam1Config("vit_b", 768, 12, 12, (2, 5, 8, 11)),
    "vit_l": Sam1Config("vit_l", 1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": Sam1Config("vit_h", 1280, 32, 16, (7, 15, 23, 31)),
}


class Sam1(PromptableSegmenter):
    """SAM 1. Prompts and results are those of the package's ``SamPredictor.predict_torch``, before resizing."""

    pads = True
    resample = "pil-bilinear"
    white = 255.0

    def __init__(self, config: Sam1Config) -> None:
        super().__init__()
        self.config, self.name = config, config.name
        self.model: Any = _build(config)
        self.image_size, self.embed_dim = config.image_size, config.embed_dim
        self.grid = config.image_size // config.patch
        self.trained_on = ("sa-1b:train",) if config.name in SAM1 else None

    @property
    def point_embeddings(self) -> tuple[Tensor, Tensor]:
        negative, positive = self.model.prompt_encoder.point_embeddings[:2]
        return negative.weight, positive.weight

    def dense_pe(self) -> Tensor:
        return self.model.prompt_encoder.get_dense_pe()

    def encoder_blocks(self) -> list[nn.Module]:
        return list(self.model.image_encoder.blocks)

    def per_frame(self) -> list[nn.Module]:
        return [self.model.mask_decoder.transformer]

    def encode_batch(self, images: Tensor) -> ImageFeatures:
        encoder = self.model.image_encoder
        with torch.set_grad_enabled(needs_gradient(encoder, images=images)):
            pieces = self.in_pieces and fits_pieces(images, encoder.blocks)
            return ImageFeatures(vit_in_pieces(encoder, images) if pieces else encoder(images))

    def embed(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return self.model.prompt_encoder(points=points, boxes=boxes, masks=masks)

    def decode_tokens(
        self, features: ImageFeatures, sparse: Tensor, dense: Tensor, *, multimask: bool, guidance: Guidance | None
    ) -> Decoded:
        decoder = self.model.mask_decoder
        with guided(decoder.transformer, guidance):
            if len(features) == 1:
                logits, iou = decoder(
                    image_embeddings=features.embedding,
                    image_pe=self.dense_pe(),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=multimask,
                )
                return Decoded(logits, iou)
            logits, iou = _decode_paired(decoder, features.embedding, self.dense_pe(), sparse, dense)
        kept = slice(1, None) if multimask else slice(0, 1)
        return Decoded(logits[:, kept], iou[:, kept])


def _decode_paired(decoder: Any, image: Tensor, pe: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Decode prompt i on image i, all P at once: the package's decoder takes one image a call, and repeats it."""
    count = len(sparse)
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(count, -1, -1)
    tokens, source = decoder.transformer(
        image + dense, pe.expand(count, -1, -1, -1), torch.cat([output_tokens, sparse], dim=1)
    )
    upscaled = decoder.output_upscaling(source.transpose(1, 2).reshape(image.shape))
    weights = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1)
    logits = torch.einsum("pmc,pchw->pmhw", weights, upscaled)
    return logits, decoder.iou_prediction_head(tokens[:, 0])


def _build(config: Sam1Config) -> nn.Module:
    modeling = require_sam("segment_anything.modeling", f"SAM 1 ({config.name})")
    grid = config.image_size // config.patch
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=config.image_size,
            patch_size=config.patch,
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=4,
            out_chans=config.embed_dim,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=config.window,
            global_attn_indexes=config.global_blocks,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=config.embed_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=16,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(
                depth=2, embedding_dim=config.embed_dim, mlp_dim=config.decoder_mlp, num_heads=config.decoder_heads
            ),
            transformer_dim=config.embed_dim,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
    )


def recognise_sam1(state: Mapping[str, Tensor], *, where: str | Path = "the checkpoint") -> Sam1Config:
    """Tell the size of a published SAM 1 from its keys.

    Raises:
        WeightsError: It is none of them.
    """
    patch = state.get("image_encoder.patch_embed.proj.weight")
    if patch is not None:
        for config in SAM1.values():
            if config.width == patch.shape[0]:
                return replace(config, image_size=state["image_encoder.pos_embed"].shape[1] * config.patch)
        raise WeightsError(
            "the configuration of this SAM 1 is not in the file, and its sizes are of no published one",
            where=where,
            expected=f"{WITH_METADATA}, or a published checkpoint ({', '.join(SAM1)})",
        )
    raise WeightsError("no SAM 1 checkpoint", where=where, expected=f"one of {', '.join(SAM1)}")
