"""Building, loading and saving SAM 1 and SAM 2 of any size."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from icvos.errors import UsageError, WeightsError, did_you_mean
from icvos.foundation.construct import load_into, on_meta
from icvos.foundation.sam1 import SAM1, Sam1, Sam1Config, recognise_sam1
from icvos.foundation.sam2 import Sam2
from icvos.foundation.sam2_config import OBJECT_SCORES, SAM2, Sam2Config, recognise_sam2
from icvos.foundation.segmenter import PromptableSegmenter
from icvos.foundation.trainings import lineage_in
from icvos.foundation.weights import load_metadata, load_state, save_state

__all__ = ["build_sam", "load_sam", "open_segmenter", "save_sam"]

S = TypeVar("S", Sam1, Sam2)


@dataclass(frozen=True)
class _Family:
    """What differs between SAM 1 and SAM 2.

    Attributes:
        name: For messages; ``metadata_key`` is where a file of ``save_sam`` holds the configuration.
        config: The class of its configurations; ``published`` holds those of the published sizes by name.
        recognise: Returns the configuration that a published checkpoint's keys show.
    """

    name: str
    metadata_key: str
    config: Any
    published: Mapping[str, Any]
    recognise: Callable[..., Any]


_FAMILIES: dict[type[PromptableSegmenter], _Family] = {
    Sam1: _Family("SAM 1", "sam1_config", Sam1Config, SAM1, recognise_sam1),
    Sam2: _Family("SAM 2", "sam2_config", Sam2Config, SAM2, recognise_sam2),
}


def build_sam(kind: type[S], config: str | Sam1Config | Sam2Config | Mapping[str, Any], *, meta: bool = False) -> S:
    """Build a SAM with random weights, in eval mode.

    Args:
        kind: ``Sam1`` or ``Sam2``.
        config: A published name (``vit_b``, ``sam2.1_hiera_tiny``), a configuration, or its plain values.
        meta: Build on the meta device: shapes without memory, to be filled by a checkpoint.

    Raises:
        UsageError: An unknown name, or sizes that do not fit.
        MissingExtraError: The package, ``segment-anything`` or ``sam2``, is not installed.
    """
    family = _FAMILIES[kind]
    if isinstance(config, str):
        if config not in family.published:
            raise UsageError(f"no {family.name} '{config}'", fix=did_you_mean(config, family.published))
        config = family.published[config]
    elif isinstance(config, Mapping):
        config = family.config.from_dict(config)
    sizes: Any = config
    if meta:
        with on_meta():
            return kind(sizes).eval()
    return kind(sizes).eval()


def load_sam(
    kind: type[S],
    path: str | Path,
    *,
    config: Sam1Config | Sam2Config | None = None,
    changes: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
) -> S:
    """Load a SAM from a published checkpoint, known by its keys, or from a file of ``save_sam``, by its metadata.

    Args:
        kind: ``Sam1`` or ``Sam2``.
        path: ``.pth``, ``.pt`` or ``.safetensors``.
        config: The sizes, where neither the keys nor the metadata hold them.
        changes: Values of the configuration that take the place of the file's; without ``pred_obj_scores`` the tensors
            of object scores are left out.
        device: Where to put the model.

    Raises:
        WeightsError: The file is missing, truncated, hostile, or of another model.
    """
    family = _FAMILIES[kind]
    state, metadata = load_state(path), load_metadata(path)
    if config is None:
        text = metadata.get(family.metadata_key)
        try:
            config = family.config.from_dict(json.loads(text)) if text else family.recognise(state, where=path)
        except (ValueError, TypeError, KeyError, UsageError) as error:
            raise WeightsError(f"the {family.name} configuration inside is broken ({error})", where=path) from None
    sizes: Any = replace(config, **(changes or {}))
    if not getattr(sizes, "pred_obj_scores", True):
        state = {key: value for key, value in state.items() if not key.startswith(OBJECT_SCORES)}
    segmenter = build_sam(kind, sizes, meta=True)
    load_into(segmenter.model, state, where=path, what=f"SAM {sizes.version} {sizes.name}")
    seen = lineage_in(metadata)
    if seen is not None:
        segmenter.trained_on = seen.data
    return segmenter.to(device)


def save_sam(
    path: str | Path, segmenter: Sam1 | Sam2, *, half: bool = False, training: Mapping[str, str] | None = None
) -> None:
    """Write a SAM of any size as safetensors with its configuration inside, atomically.

    Args:
        path: The file.
        segmenter: The SAM.
        half: Store fp16.
        training: What it says of its training (``icvos.foundation.trainings.training_texts``).
    """
    config = {_FAMILIES[type(segmenter)].metadata_key: json.dumps(segmenter.config.to_dict(), sort_keys=True)}
    save_state(path, segmenter.model.state_dict(), metadata={**config, **(training or {})}, half=half)


def open_segmenter(path: str | Path, *, device: str | torch.device = "cpu") -> PromptableSegmenter:
    """Load a SAM 1, SAM 2.0 or SAM 2.1 checkpoint, or one of the project's own; its kind is read from the keys.

    Raises:
        WeightsError: Missing, truncated, hostile, or of another model.
    """
    sam2 = any(key.startswith("image_encoder.trunk.") for key in load_state(path))
    return load_sam(Sam2, path, device=device) if sam2 else load_sam(Sam1, path, device=device)
