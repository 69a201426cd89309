"""Opening a promptable segmenter from a checkpoint, whatever SAM it is."""

from __future__ import annotations

from pathlib import Path

import torch

from icvos.foundation.sam1 import load_sam1
from icvos.foundation.sam2 import load_sam2
from icvos.foundation.segmenter import PromptableSegmenter
from icvos.foundation.weights import load_state

__all__ = ["open_segmenter"]


def open_segmenter(path: str | Path, *, device: str | torch.device = "cpu") -> PromptableSegmenter:
    """Load a SAM 1, SAM 2.0 or SAM 2.1 checkpoint, or one of the project's own; its kind is read from the keys.

    Raises:
        WeightsError: Missing, truncated, hostile, or of another model.
    """
    sam2 = any(key.startswith("image_encoder.trunk.") for key in load_state(path))
    return load_sam2(path, device=device) if sam2 else load_sam1(path, device=device)
