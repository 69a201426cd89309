"""Tiny checkpoints with random weights, in the project's own form, for tests that need a model that loads."""

from __future__ import annotations

from pathlib import Path

import torch

from icvos.foundation.sam2_config import Sam2Config
from icvos.foundation.sam2_image import Sam2, build_sam2, save_sam2

TINY_SAM2 = Sam2Config(
    "tiny-test", image_size=64, width=16, heads=1, stages=(1, 1, 2, 1), global_blocks=(3,), window_spec=(4, 2, 2, 2),
    background=2, embed_dim=64, memory_dim=16, memory_layers=1, memory_mlp=64, decoder_heads=4, decoder_mlp=64,
)  # fmt: skip


def tiny_sam2(seed: int = 0) -> Sam2:
    """Return a SAM 2 of some hundred thousand parameters, random but always the same."""
    torch.manual_seed(seed)
    return build_sam2(TINY_SAM2)


def tiny_sam2_file(folder: Path) -> Path:
    """Write it as a checkpoint and return its path."""
    path = folder / "tiny_sam2.safetensors"
    if not path.exists():
        save_sam2(path, tiny_sam2())
    return path
