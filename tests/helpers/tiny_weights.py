"""Tiny checkpoints with random weights, in the project's own form, for tests that need a model that loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from dcsam.checkpoint import save_checkpoint
from dcsam.config import DCSAMConfig
from dcsam.model import DCSAM
from icvos.foundation.load import build_sam, save_sam
from icvos.foundation.sam2 import Sam2
from icvos.foundation.sam2_config import Sam2Config

TINY_SAM2 = Sam2Config(
    "tiny-test",
    image_size=64,
    width=16,
    heads=1,
    stages=(1, 1, 2, 1),
    global_blocks=(3,),
    window_spec=(4, 2, 2, 2),
    background=2,
    embed_dim=64,
    memory_dim=16,
    memory_layers=1,
    memory_mlp=64,
    decoder_heads=4,
    decoder_mlp=64,
)


def tiny_sam2(seed: int = 0) -> Sam2:
    """Return a SAM 2 of some hundred thousand parameters, random but always the same."""
    torch.manual_seed(seed)
    return build_sam(Sam2, TINY_SAM2)


def tiny_sam2_file(folder: Path) -> Path:
    """Write it as a checkpoint and return its path."""
    path = folder / "tiny_sam2.safetensors"
    if not path.exists():
        save_sam(path, tiny_sam2())
    return path


def tiny_dcsam(*, reference: bool = False, **changes: Any) -> DCSAM:
    """Return a DC-SAM that prompts ``tiny_sam2``; random but always the same."""
    torch.manual_seed(1)
    make = DCSAMConfig.reference if reference else DCSAMConfig.corrected
    sizes: dict[str, Any] = {
        "sam": 2,
        "backbone": "small",
        "backbone_options": {"width": 8},
        "image_size": 64,
        "width": 64,
        "heads": 4,
        "queries": 4,
        "sam_channels": 64,
        "sam_high_res": (8, 16),
    }
    return DCSAM(make(**{**sizes, **changes})).eval()


def tiny_dcsam_file(folder: Path, **changes: Any) -> Path:
    """Write a video checkpoint: the tiny DC-SAM with its tiny SAM 2 inside."""
    path = folder / f"tiny_dcsam{'_reference' if changes.get('reference') else ''}.safetensors"
    if not path.exists():
        sam2 = tiny_sam2()
        # A fresh score head often says "not there", which hides everything else.
        with torch.no_grad():
            sam2.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(5.0)
        metadata = {"sam2_config": json.dumps(sam2.config.to_dict())}
        save_checkpoint(path, tiny_dcsam(**changes), sam2=sam2.model.state_dict(), metadata=metadata)
    return path
