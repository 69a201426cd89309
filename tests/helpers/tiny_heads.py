"""Tiny heads of the trained baselines with random weights, and the tiny backbone they work with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from baselines.heads import backbone_digest, save_head
from baselines.pfenet.model import PFENetConfig, PFENetHead
from baselines.vrp_sam.model import VRPConfig, VRPEncoder
from icvos.datasets.samples import EpisodeSample
from icvos.foundation.backbone import Backbone
from icvos.foundation.backbones import create_backbone
from icvos.foundation.weights import save_state
from icvos.training.task import Examples

SMALL = {"width": 8}
CHANNELS = 16 + 32


def tiny_backbone(seed: int = 0, options: dict[str, Any] | None = None) -> Backbone:
    """Return a small backbone, random but always the same, in eval mode."""
    torch.manual_seed(seed)
    return create_backbone("small", SMALL if options is None else options)


def tiny_backbone_file(folder: Path, *, options: dict[str, Any] | None = None) -> Path:
    """Write it; beside its own tensors lies another, as in a model's checkpoint."""
    path = folder / "tiny_backbone.safetensors"
    state = tiny_backbone(options=options).state_dict()
    save_state(path, {**{f"prompt_encoder.{k}": v for k, v in state.items()}, "sam2.other": torch.ones(2)})
    return path


def tiny_vrp(**changes: Any) -> VRPEncoder:
    """Return an encoder for a SAM of 64 channels."""
    torch.manual_seed(2)
    sizes: dict[str, Any] = {
        "backbone": "small",
        "backbone_options": SMALL,
        "image_size": 64,
        "width": 64,
        "queries": 4,
    }
    return VRPEncoder(VRPConfig(**{**sizes, **changes}), CHANNELS).eval()


def tiny_pfenet(**changes: Any) -> PFENetHead:
    """Return a head of two scales."""
    torch.manual_seed(3)
    sizes: dict[str, Any] = {
        "backbone": "small",
        "backbone_options": SMALL,
        "image_size": 64,
        "width": 16,
        "scales": (1.0, 0.5),
    }
    return PFENetHead(PFENetConfig(**{**sizes, **changes}), CHANNELS).eval()


def head_file(path: Path, kind: str, head: nn.Module, **more: Any) -> Path:
    """Write a head's file for the tiny backbone."""
    save_head(path, kind, head.config, head, backbone_sha256=backbone_digest(tiny_backbone()), **more)  # type: ignore[arg-type]
    return path


class OnePair:
    """The first pair of some examples whose query shows the thing, again and again."""

    def __init__(self, examples: Examples) -> None:
        self.pair = next(pair for pair in (examples.get(epoch, 0) for epoch in range(99)) if pair.visible.any())

    def __len__(self) -> int:
        return 1

    def get(self, epoch: int, index: int) -> EpisodeSample:
        return self.pair
