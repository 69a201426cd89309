"""Building, loading and saving SAM 1 and SAM 2 of any size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from icvos.errors import UsageError, WeightsError, did_you_mean
from icvos.foundation.construct import load_into, on_meta
from icvos.foundation.sam1 import SAM1, Sam1, Sam1Config, recognise_sam1
from icvos.foundation.sam2 import Sam2
from icvos.foundation.sam2_config import SAM2, Sam2Config, recognise_sam2
from icvos.foundation.segmenter import PromptableSegmenter
from icvos.foundation.weights import load_state

__all__ = ["build_sam1", "build_sam2", "load_sam1", "load_sam2", "open_segmenter", "save_sam1", "save_sam2"]


def build_sam1(config: str | Sam1Config, *, meta: bool = False) -> Sam1:
    """Build a SAM 1 with random weights, in eval mode; with ``meta`` on the meta device, without memory.

    Raises:
        UsageError: An unknown name.
        MissingExtraError: ``segment-anything`` is not installed.
    """
    if isinstance(config, str):
        if config not in SAM1:
            raise UsageError(f"no SAM 1 '{config}'", fix=did_you_mean(config, SAM1))
        config = SAM1[config]
    if meta:
        with on_meta():
            return Sam1(config).eval()
    return Sam1(config).eval()


def load_sam1(path: str | Path, *, config: Sam1Config | None = None, device: str | torch.device = "cpu") -> Sam1:
    """Load a SAM 1: a published checkpoint, told by its keys, or a file of ``save_sam1``, told by what it holds.

    Args:
        path: ``.pth`` or ``.safetensors``.
        config: Which model it is, where neither tells.
        device: Where to put it.

    Raises:
        WeightsError: Missing, truncated, hostile, or of another model.
    """
    import json

    from icvos.foundation.weights import load_metadata, load_state

    state = load_state(path)
    if config is None:
        text = load_metadata(path).get("sam1_config")
        try:
            config = Sam1Config.from_dict(json.loads(text)) if text else recognise_sam1(state, where=path)
        except (ValueError, TypeError, KeyError, UsageError) as error:
            raise WeightsError(f"the SAM 1 configuration inside is broken ({error})", where=path) from None
    segmenter = build_sam1(config, meta=True)
    load_into(segmenter.model, state, where=path, what=f"SAM 1 {config.name}")
    return segmenter.to(device)


def save_sam1(path: str | Path, segmenter: Sam1, *, half: bool = False) -> None:
    """Write a SAM 1 of any size as safetensors with its configuration inside, atomically; ``half`` stores fp16."""
    import json

    from icvos.foundation.weights import save_state

    metadata = {"sam1_config": json.dumps(segmenter.config.to_dict(), sort_keys=True)}
    save_state(path, segmenter.model.state_dict(), metadata=metadata, half=half)


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


def open_segmenter(path: str | Path, *, device: str | torch.device = "cpu") -> PromptableSegmenter:
    """Load a SAM 1, SAM 2.0 or SAM 2.1 checkpoint, or one of the project's own; its kind is read from the keys.

    Raises:
        WeightsError: Missing, truncated, hostile, or of another model.
    """
    sam2 = any(key.startswith("image_encoder.trunk.") for key in load_state(path))
    return load_sam2(path, device=device) if sam2 else load_sam1(path, device=device)
