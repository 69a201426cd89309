"""Tiny SAM and SAM 2 with weights drawn so that every branch matters, for the tests of the foundation models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

SAM2_TINY: dict[str, Any] = {
    "name": "tiny",
    "image_size": 64,
    "width": 16,
    "heads": 1,
    "stages": (1, 1, 2, 1),
    "global_blocks": (3,),
    "window_spec": (4, 4, 4, 2),
    "embed_dim": 32,
    "memory_dim": 16,
    "memory_layers": 2,
    "memory_mlp": 64,
    "decoder_heads": 4,
    "decoder_mlp": 64,
}
SAM1_TINY: dict[str, Any] = {
    "name": "tiny",
    "width": 24,
    "depth": 2,
    "heads": 2,
    "global_blocks": (1,),
    "image_size": 64,
    "window": 3,
    "embed_dim": 32,
    "decoder_heads": 4,
    "decoder_mlp": 64,
}


def shake(module: Any, seed: int = 0) -> Any:
    """Draw all parameters anew: many start at 0, 1 or 1e-6, where a mistake would not show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(1.5 * noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.2 * noise + (0.0 if name.endswith("bias") else 0.9))
    return module


def tiny_sam2(**changes: Any) -> Any:
    """Return a shaken tiny SAM 2, built by icvos."""
    pytest.importorskip("sam2")
    from icvos.foundation.load import build_sam
    from icvos.foundation.sam2 import Sam2
    from icvos.foundation.sam2_config import Sam2Config

    torch.manual_seed(0)  # the buffer of point codes is drawn, not learned
    return shake(build_sam(Sam2, Sam2Config(**{**SAM2_TINY, **changes})))


def tiny_sam1(**changes: Any) -> Any:
    """Return a shaken tiny SAM 1, built by icvos."""
    pytest.importorskip("segment_anything")
    from icvos.foundation.load import build_sam
    from icvos.foundation.sam1 import Sam1, Sam1Config

    torch.manual_seed(0)
    return shake(build_sam(Sam1, Sam1Config(**{**SAM1_TINY, **changes})))


def clip(frames: int, size: int = 64, seed: int = 3) -> tuple[Any, Any]:
    """Return (T, 3, S, S) normalised frames of a square that leaves and comes back, and its (T, S, S) masks."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(size=(3, size, size)).astype(np.float32)
    images, masks = [], []
    for t in range(frames):
        x = int(size * 0.3 + size * 0.9 * np.sin(2 * np.pi * t / 26))
        mask = np.zeros((size, size), bool)
        mask[size // 3 : size // 3 + 20, max(x, 0) : max(min(x + 20, size), 0)] = True
        images.append(np.where(mask, 2.5, ground) + rng.normal(scale=0.1, size=ground.shape))
        masks.append(mask)
    return torch.tensor(np.stack(images), dtype=torch.float32), torch.tensor(np.stack(masks))


def balance(segmenter: Any, images: Any, mask: Any) -> None:
    """Set the object-score head so that the object is judged there on some tracked frames and absent on others."""
    from icvos.foundation.frame_tracker import Prompt
    from icvos.foundation.tracker import Tracker

    head = segmenter.model.sam_mask_decoder.pred_obj_score_head.layers[-1]
    with torch.no_grad():
        head.bias.fill_(100.0)  # there on all frames
        tracked = list(Tracker(segmenter).track(images, Prompt(masks=mask[None]), num_frames=len(images)))
        scores = torch.stack([frame.object_score[0, 0] for frame in tracked[1:]]) - 100
        head.weight.mul_(10)
        head.bias.fill_(-10 * float(scores.median()))
