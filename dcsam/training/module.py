"""DC-SAM and its SAM 2 as one module to train: what requires a gradient, and the forward passes of the stages."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcsam.checkpoint import model_key
from dcsam.features import SamFeatures
from dcsam.model import DCSAM, Output
from icvos.errors import MissingExtraError, UsageError
from icvos.foundation.backbone import BackboneFeatures
from icvos.foundation.frame_tracker import Prompt, TrackedFrame
from icvos.foundation.sam2 import Sam2
from icvos.foundation.segmenter import ImageFeatures, PromptableSegmenter
from icvos.foundation.tracker import Tracker, TrackerOptions
from icvos.training.loss import balanced_bce, dice, prior_logits

__all__ = ["Both", "TrainSam", "TrainableDCSAM", "add_lora", "merged_state", "sam_parameters", "trained_names"]

Both = tuple[BackboneFeatures, ImageFeatures]
TrainSam = Literal["none", "decoder", "memory", "decoder+memory", "lora"]

# The heads that the authors leave frozen when they train the decoder (facts: reference, section 3, Gradients).
_FROZEN_HEADS = ("iou_prediction_head.", "pred_obj_score_head.")
_MEMORY = ("memory_attention.", "memory_encoder.")
_LORA_TARGETS = ("q_proj", "v_proj", "conv_s0", "conv_s1")


def sam_parameters(sam2: nn.Module, choice: TrainSam) -> dict[str, nn.Parameter]:
    """Return the parameters of a SAM 2 that a choice trains, by name (the paper's Tables VII and X).

    Args:
        sam2: The package's module, or one on the meta device.
        choice: ``decoder`` is the mask decoder without its IoU and object-score heads; ``memory`` the memory attention
            and memory encoder. ``lora`` trains adapters, see ``add_lora``.
    """
    wanted = []
    if choice in ("decoder", "decoder+memory"):
        prefix = "sam_mask_decoder."
        wanted += [
            n
            for n, _ in sam2.named_parameters()
            if n.startswith(prefix) and not n.removeprefix(prefix).startswith(_FROZEN_HEADS)
        ]
    if choice in ("memory", "decoder+memory"):
        wanted += [n for n, _ in sam2.named_parameters() if n.startswith(_MEMORY)]
    if choice == "lora":
        wanted += [n for n, _ in sam2.named_parameters() if ".lora_" in n]
    chosen = set(wanted)
    return {name: parameter for name, parameter in sam2.named_parameters() if name in chosen}


def add_lora(sam2: nn.Module) -> nn.Module:
    """Put the authors' LoRA adapters into a SAM 2, in place (peft; r 8, alpha 16, dropout 0.05); all else is frozen."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError:
        raise MissingExtraError("peft", "train", "--set train_sam=lora") from None
    config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.05, bias="none", target_modules=list(_LORA_TARGETS))
    sam2.requires_grad_(False)
    return inject_adapter_in_model(config, sam2)


def merged_state(sam2: nn.Module) -> dict[str, Tensor]:
    """Return the state of a SAM 2 with its adapters, if it has any, merged into the weights: the package's own keys."""
    state = sam2.state_dict()
    if not any(".lora_" in name for name in state):
        return state
    deltas = {
        f"{name}.weight": module.get_delta_weight("default")
        for name, module in sam2.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    out = {}
    for name, value in state.items():
        if ".lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        out[plain] = value + deltas[plain].to(value) if plain in deltas else value
    return out


def trained_names(sam2: nn.Module) -> list[str]:
    """Return the names of what is trained of a SAM 2 as ``merged_state`` has them: those of adapters' weights too."""
    names = [name for name, parameter in sam2.named_parameters() if parameter.requires_grad]
    plain = [f"{n.split('.lora_')[0]}.weight" if ".lora_" in n else n.replace(".base_layer.", ".") for n in names]
    return list(dict.fromkeys(plain))


class TrainableDCSAM(nn.Module):
    """The prompt generator and its SAM.

    Args:
        generator: The prompt generator; its head is trained.
        sam: SAM 1 or 2; frozen but for ``train_sam``.
        train_sam: What of SAM 2 is trained.
        train_backbone: Train the backbone too, from nothing (the demo's; the published models keep it frozen).
    """

    def __init__(
        self,
        generator: DCSAM,
        sam: PromptableSegmenter,
        *,
        train_sam: TrainSam = "none",
        train_backbone: bool = False,
    ) -> None:
        super().__init__()
        if train_sam != "none" and not isinstance(sam, Sam2):
            raise UsageError(f"train_sam={train_sam} is for SAM 2", fix="use train_sam=none with SAM 1")
        self.generator, self.sam, self.train_backbone = generator, sam, train_backbone
        generator.requires_grad_(train_backbone)
        for parameter in generator.head_parameters().values():
            parameter.requires_grad_(True)
        sam.requires_grad_(False)
        if train_sam == "lora":
            add_lora(sam.model)
        elif train_sam != "none":
            for parameter in sam_parameters(sam.model, train_sam).values():
                parameter.requires_grad_(True)
        self.register_load_state_dict_pre_hook(_rename_old_layers)

    def train(self, mode: bool = True) -> TrainableDCSAM:
        """Switch to training; a backbone that is trained from nothing learns its batch statistics too."""
        super().train(mode)
        if self.train_backbone:
            self.generator.backbone.train(mode)
        return self

    # ----------------------------------------------------------------------------------------------------- encoding

    def encode(self, pixels: Tensor, *, top: bool = False) -> tuple[BackboneFeatures, ImageFeatures]:
        """Encode (B, 3, S, S) normalised images once by both encoders."""
        return self.extract(pixels, top=top), self.encode_sam(pixels)

    def extract(self, pixels: Tensor, *, top: bool = False) -> BackboneFeatures:
        """Run the backbone, with gradients only where it is trained."""
        if not self.train_backbone:
            return self.generator.extract(pixels, top=top)
        return self.generator.backbone(pixels, top=top)

    def encode_sam(self, pixels: Tensor) -> ImageFeatures:
        """Run SAM's encoder; gradients reach what of it is trained, as conv_s0 and conv_s1 may be."""
        side = self.sam.image_size
        if pixels.shape[-1] != side:
            pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=True)
        return self.sam.encode(pixels)

    def decode(self, features: ImageFeatures, tokens: Tensor) -> Tensor:
        """Return (B, 1, 4h, 4w) logits of (B, N, C) prompts on B images."""
        return self.sam.decode(features, embeddings=tokens).logits

    # ------------------------------------------------------------------------------------------------------- passes

    def prompts(
        self, support: Both, masks: Tensor, query: Both, *, shots: int, align: bool
    ) -> tuple[Tensor, Tensor, Output]:
        """Return the tokens of both stages, (B, 2N, C) each, the first stage's first; and what led to them."""
        generator, side = self.generator, self.generator.config.image_size

        def coarse(tokens: Tensor) -> Tensor:
            logits = self.decode(query[1], tokens)
            return F.interpolate(logits.float(), (side, side), mode="bilinear", align_corners=align)

        position = self.sam.dense_pe() if generator.config.place_codes else None
        state = generator.encode_supports(support[0], masks, _fused(support[1], None), shots=shots)
        query_tokens = generator.encode_query(query[0], _fused(query[1], position))
        points = self.sam.point_embeddings
        output = generator(state, query_tokens, decode=coarse, point_embeddings=points)
        return generator.tokens(output.first, points), generator.tokens(output.prompts, points), output

    def prior_loss(self, support: BackboneFeatures, masks: Tensor, query: BackboneFeatures, truth: Tensor) -> Tensor:
        """Return a loss that keeps a backbone telling kinds apart: its prior maps against the query's mask."""
        inside = F.interpolate(masks[:, None].float(), support.deep.shape[-2:], mode="nearest")
        assert query.top is not None
        logits = prior_logits(self.generator.backbone.top, support, inside, query.top)
        target = F.interpolate(truth[:, None].float(), logits.shape[-2:], mode="area")
        return balanced_bce(logits, target) + dice(logits, target)

    def attention_loss(self, output: Output, truth: Tensor) -> Tensor:
        """Return how little of the final prompts' attention falls where it should, as -log of its share.

        That of positive prompts should fall on the thing, that of negative ones beside it; an absent thing rests.
        """
        attention = output.prompts.attention
        assert attention is not None
        inside = F.interpolate(truth[:, None].float(), attention.shape[-2:], mode="area")
        there = truth.flatten(1).any(dim=1).float()[:, None]
        share = (attention.float() * inside).sum(dim=(2, 3))
        loss = (-(share + 1e-3).log() * there).mean()
        if output.prompts.negative_attention is not None:
            beside = (output.prompts.negative_attention.float() * (1 - inside)).sum(dim=(2, 3))
            loss = loss - (beside + 1e-3).log().mean()
        return loss

    def track(self, tokens: Tensor, frames: ImageFeatures, count: int, length: int) -> list[TrackedFrame]:
        """Track B prompts through B clips of ``length`` frames, whose features are those of B * length images.

        Memories are stored in bfloat16 where the configuration says so (Q20), else in the dtype of the features.
        """
        if not isinstance(self.sam, Sam2):
            raise UsageError("SAM 1 does not track", fix="train tubes with SAM 2")
        memory_dtype = torch.bfloat16 if self.generator.config.bfloat16_memories else None
        tracker = Tracker(self.sam, TrackerOptions.dc_sam(memory_dtype=memory_dtype))
        bank = tracker.start(num_frames=length)
        order = torch.arange(count * length, device=tokens.device).view(count, length)
        return [
            tracker.step(bank, frames[order[:, t]], prompt=Prompt(embeddings=tokens) if t == 0 else None)
            for t in range(length)
        ]


def _rename_old_layers(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Rename the backbone's layers in a training checkpoint of 0.1.0, which has them at the generator's top."""
    start = f"{prefix}generator."
    for key in [key for key in state if key.startswith(start)]:
        state[start + model_key(key.removeprefix(start))] = state.pop(key)


def _fused(features: ImageFeatures, position: Tensor | None) -> SamFeatures:
    return SamFeatures(features.embedding, features.high_res, position)
