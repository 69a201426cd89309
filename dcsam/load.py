"""From files of weights to a working DC-SAM; a combination that does not work says what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import torch

from dcsam.checkpoint import DCSAMCheckpoint, load_model, read_checkpoint
from dcsam.config import Variant
from dcsam.engine import Engine
from dcsam.model import DCSAM
from icvos.data.lineage import Lineage
from icvos.errors import UsageError, WeightsError
from icvos.foundation.backbones import load_backbone
from icvos.foundation.construct import load_into
from icvos.foundation.load import build_sam, load_sam
from icvos.foundation.sam1 import Sam1
from icvos.foundation.sam2 import Sam2
from icvos.foundation.sam2_config import Sam2Config
from icvos.foundation.segmenter import PromptableSegmenter
from icvos.foundation.sizes import check_types
from icvos.foundation.weights import load_state

__all__ = ["fill_backbone", "open_engine", "overlay", "sam2_of_checkpoint"]


def sam2_of_checkpoint(checkpoint: DCSAMCheckpoint) -> Sam2:
    """Build the SAM 2 that a video checkpoint holds.

    Raises:
        WeightsError: It is of no known size, and the file does not say which.
    """
    if checkpoint.sam2 is None:
        raise WeightsError("this checkpoint holds no SAM 2", where=checkpoint.path)
    text = checkpoint.metadata.get("sam2_config")
    config: str | Sam2Config | None = checkpoint.sam2_name
    if text is not None:
        try:
            config = Sam2Config.from_dict(json.loads(text))
        except (ValueError, TypeError, UsageError) as error:
            raise WeightsError(f"the SAM 2 configuration inside is broken ({error})", where=checkpoint.path) from None
    if config is None:
        raise WeightsError("the SAM 2 in this checkpoint is of no known size", where=checkpoint.path)
    segmenter = build_sam(Sam2, config, meta=True)
    load_into(segmenter.model, checkpoint.sam2, where=checkpoint.path, what=f"SAM 2 {segmenter.name}")
    return segmenter


def overlay(segmenter: Sam2, checkpoint: DCSAMCheckpoint) -> None:
    """Put the SAM 2 tensors that a checkpoint changed over those of the SAM 2 that it was trained on.

    Raises:
        WeightsError: They do not fit.
    """
    expected = segmenter.model.state_dict()
    changed = checkpoint.sam2 or {}
    wrong = [name for name, value in changed.items() if name not in expected or expected[name].shape != value.shape]
    if wrong:
        raise WeightsError(f"the SAM 2 given is not the one this was trained on ({wrong[0]})", where=checkpoint.path)
    check_types(expected, changed, where=checkpoint.path)
    segmenter.model.load_state_dict({name: value.float() for name, value in changed.items()}, strict=False)


def fill_backbone(generator: DCSAM, path: Path) -> None:
    """Load a backbone's own weights (a publisher's file, or our own) into a prompt generator.

    Raises:
        WeightsError: They are of another backbone.
    """
    load_backbone(generator.backbone, load_state(path), where=str(path))


def _segmenters(
    checkpoint: DCSAMCheckpoint, weights: Mapping[str, Path]
) -> tuple[PromptableSegmenter, PromptableSegmenter]:
    """Return the SAM that is prompted and the one that tracks: another where the first never saw a video."""
    if checkpoint.metadata.get("sam2_part") == "changed" and "sam2" in weights:
        base = load_sam(Sam2, weights["sam2"])
        changed = deepcopy(base)
        overlay(changed, checkpoint)
        return changed, base if checkpoint.metadata.get("stage") == "image" else changed
    segmenter = _segmenter(checkpoint, weights)
    return segmenter, segmenter


def _segmenter(checkpoint: DCSAMCheckpoint, weights: Mapping[str, Path]) -> PromptableSegmenter:
    if checkpoint.sam2 is not None and "sam2" not in weights and "sam2_part" not in checkpoint.metadata:
        return sam2_of_checkpoint(checkpoint)
    name = "sam2" if checkpoint.config.sam == 2 else "sam"
    if name not in weights:
        wrong = " (sam= was given, which is SAM 1)" if "sam" in weights else ""
        raise UsageError(
            f"this DC-SAM checkpoint holds no SAM, and prompts SAM {checkpoint.config.sam}{wrong}",
            where=checkpoint.path,
            fix=f"give --weights {name}=PATH ('icvos weights list' says where they come from)",
        )
    return load_sam(Sam2, weights[name]) if name == "sam2" else load_sam(Sam1, weights[name])


def open_engine(
    weights: Mapping[str, Path],
    *,
    device: str = "cpu",
    variant: Variant | None = None,
    precision: str = "fp32",
    ahead: int = 1,
    fold: bool = True,
    trained_on: str = "",
) -> Engine:
    """Open a DC-SAM from ``weights``: ``dcsam``, and ``sam2`` or ``sam`` where the checkpoint holds none.

    ``fold``: fold the backbone's norms into its convolutions and cast weights ahead for bf16, which is faster; not for
    what goes into training mode. ``trained_on``: beside what the checkpoint says, see ``Lineage.named``.

    Raises:
        UsageError: A SAM is missing or of the wrong version, or ``trained_on`` is wrong.
        WeightsError: A file is missing, partial, hostile or of another model.
    """
    checkpoint = read_checkpoint(weights["dcsam"])
    lineage = checkpoint.lineage
    if trained_on:
        lineage = Lineage.named(trained_on) + (Lineage.of_record(checkpoint.metadata) or Lineage())
    segmenter, tracking = _segmenters(checkpoint, weights)
    model = load_model(checkpoint, variant=variant)
    for module in (segmenter, tracking, model):
        # Weights stored in half precision compute in single.
        module.to(device, torch.float32).requires_grad_(False).eval()
    if fold:
        model.fold_backbone()
    engine = Engine(model, segmenter, tracking=tracking, precision=precision, ahead=ahead)
    engine.lineage = lineage + Lineage(tuple(sorted(segmenter.trained_on or ())))
    if fold:
        engine.cast_weights()
    return engine
