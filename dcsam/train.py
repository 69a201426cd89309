"""``icvos train dcsam``: the stages of the paper, on COCO, PASCAL or the drawn world.

    icvos train dcsam --set stage=image --set data=coco-20i --set root=COCO --set fold=0 --weights sam2=… …
    icvos train dcsam --set stage=tube-pretrain --set data=mask-tubes --set root=COCO --weights dcsam=… …
    icvos train dcsam --set stage=tube-finetune --set data=mask-tubes --set train_sam=decoder+memory …

``image``: one support, one query image. ``tube-pretrain``: the same with the first two frames of a mask tube. On
``tube-finetune`` the prompts of a tube's first frame are tracked through all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcsam.checkpoint import load_model, read_checkpoint, save_checkpoint
from dcsam.config import DCSAMConfig
from dcsam.examples import open_examples
from dcsam.loss import segmentation_loss
from dcsam.model import DCSAM
from dcsam.opening import overlay, sam2_of_checkpoint
from dcsam.train_sam2 import iou, normalised
from dcsam.trainable import TrainableDCSAM, TrainSam
from icvos.errors import UsageError
from icvos.foundation.open import open_segmenter
from icvos.foundation.sam2_image import Sam2
from icvos.foundation.segmenter import PromptableSegmenter
from icvos.training.task import Examples, Settings, TrainingTask

__all__ = ["DCSamTask"]

Stage = Literal["image", "tube-pretrain", "tube-finetune"]


class DCSamTask(TrainingTask):
    """DC-SAM's training.

    Args:
        weights: ``dcsam``: a checkpoint to go on from (published or our own), or nothing; ``sam2`` or ``sam``: the SAM
            (a video checkpoint holds its own); ``backbone``: ImageNet weights for a new model.
        stage: ``image``, ``tube-pretrain`` or ``tube-finetune``.
        data: ``demo`` (drawn), ``coco-20i``, ``pascal-5i``, ``coco`` or ``mask-tubes``.
        root: The data set's folder, where it is not drawn.
        fold: Of COCO-20i and PASCAL-5i: the classes of its test fold are not trained on.
        train_sam: What of SAM 2 is trained (the paper's Tables VI, VII and X).
        train_backbone: Train the backbone too (the demo's, which starts from nothing).
        backbone, sam, image_size, queries, width, dropout: Sizes of a new model.
        negative, cyclic: Parts to switch off, for ablations.
        variant: ``corrected`` or ``reference``.
        coarse_weight: Weight of the same loss on the first stage's mask; the authors have none.
        prior_weight: Weight of the loss that teaches a backbone from nothing (with ``train_backbone``).
        sam_file: Write the whole SAM 2 into a checkpoint, or only what of it was trained (``changed``: the checkpoint
            then needs the same ``--weights sam2=`` again).
        length: Examples of an epoch, where they are drawn without end.
        frames: Of a tube or clip.
    """

    name = "dcsam"

    def __init__(
        self,
        *,
        weights: Mapping[str, Path] | None = None,
        stage: Stage = "image",
        data: Literal["demo", "coco-20i", "pascal-5i", "coco", "mask-tubes"] = "demo",
        root: Path | None = None,
        fold: int = 0,
        train_sam: TrainSam = "none",
        train_backbone: bool = False,
        backbone: str = "resnet50",
        image_size: int = 512,
        queries: int = 25,
        dropout: float = 0.5,
        negative: bool = True,
        cyclic: bool = True,
        variant: Literal["corrected", "reference"] = "corrected",
        coarse_weight: float = 0.0,
        prior_weight: float = 0.0,
        sam_file: Literal["whole", "changed"] = "whole",
        length: int = 20_000,
        frames: int = 5,
        seed: int = 1,
    ) -> None:
        self.weights = dict(weights or {})
        if stage == "image" and train_sam != "none" and data != "demo":
            raise UsageError("SAM is frozen in the image stage", expected="train_sam=none")
        self.stage, self.data, self.root, self.fold, self.train_sam = stage, data, root, fold, train_sam
        self.train_backbone, self.coarse_weight, self.prior_weight = train_backbone, coarse_weight, prior_weight
        self.length, self.frames, self.seed, self.sam_file = length, frames, seed, sam_file
        self.sizes: dict[str, Any] = {
            "backbone": backbone, "image_size": image_size, "queries": queries, "dropout": dropout,
            "negative": negative, "cyclic": cyclic,
        }  # fmt: skip
        self.variant = variant
        self.side = image_size

    def defaults(self) -> Settings:
        """Return the authors' settings (their README; facts: paper tables, training facts)."""
        if self.stage == "image":
            pascal = self.data == "pascal-5i"
            return Settings(epochs=100 if pascal else 50, batch=2, lr=2e-4 if pascal else 1e-4)
        if self.stage == "tube-pretrain":
            return Settings(epochs=40, batch=8, lr=1e-4)
        return Settings(epochs=10, batch=1, lr=1e-5)

    # -------------------------------------------------------------------------------------------------------- model

    def model(self) -> nn.Module:
        sam, generator = self._parts()
        if not isinstance(sam, Sam2) and self.stage != "image":
            raise UsageError(f"stage {self.stage} needs SAM 2", fix="give --weights sam2=PATH")
        return TrainableDCSAM(generator, sam, train_sam=self.train_sam, train_backbone=self.train_backbone)

    def _parts(self) -> tuple[PromptableSegmenter, DCSAM]:
        checkpoint = read_checkpoint(self.weights["dcsam"]) if "dcsam" in self.weights else None
        given = self.weights.get("sam2") or self.weights.get("sam")
        if given is not None:
            sam = open_segmenter(given)
            if checkpoint is not None and checkpoint.metadata.get("sam2_part") == "changed" and isinstance(sam, Sam2):
                overlay(sam, checkpoint)
        elif checkpoint is not None and checkpoint.sam2 is not None:
            sam = sam2_of_checkpoint(checkpoint)
        else:
            raise UsageError("no SAM to train with", fix="give --weights sam2=PATH (or sam=PATH)")
        if checkpoint is not None:
            model = load_model(checkpoint, variant=self.variant).float()
            self.side = model.config.image_size
            return sam.float(), model
        return sam.float(), self._new(sam)

    def _new(self, sam: PromptableSegmenter) -> DCSAM:
        sizes = dict(self.sizes)
        high = (32, 64)
        if isinstance(sam, Sam2):
            high = (sam.embed_dim // 8, sam.embed_dim // 4)
        make = DCSAMConfig.reference if self.variant == "reference" else DCSAMConfig.corrected
        config = make(
            sam=2 if isinstance(sam, Sam2) else 1, width=sam.embed_dim, sam_channels=sam.embed_dim,
            sam_high_res=high, **sizes,
        )  # fmt: skip
        generator = DCSAM(config)
        if "backbone" in self.weights:
            _load_backbone(generator, self.weights["backbone"])
        elif not self.train_backbone:
            raise UsageError(
                "a new DC-SAM needs a trained backbone", fix="give --weights backbone=PATH ('icvos weights list')"
            )
        return generator

    # --------------------------------------------------------------------------------------------------------- data

    def train_examples(self) -> Examples:
        return self._examples("train")

    def validation_examples(self) -> Examples | None:
        return self._examples("validation")

    def _examples(self, part: str) -> Examples:
        return open_examples(
            self.data, part, root=self.root, fold=self.fold, size=self.side, length=self.length, seed=self.seed,
            frames=1 if self.stage == "image" else self.frames, tubes=self.stage != "image",
        )  # fmt: skip

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Join examples: support (B, 3, S, S), its mask (B, S, S), frames (B, T, 3, S, S), masks (B, T, S, S)."""
        return {
            "support": normalised(np.stack([e["support"] for e in examples])),
            "support_mask": torch.from_numpy(np.stack([e["support_mask"] for e in examples])),
            "frames": normalised(np.stack([e["frames"] for e in examples])),
            "masks": torch.from_numpy(np.stack([e["masks"] for e in examples])),
        }

    # --------------------------------------------------------------------------------------------------------- loss

    def loss(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(model, TrainableDCSAM)
        logits, coarse, extra = self._forward(model, batch)
        scalars: dict[str, Tensor] = {}
        truth = batch["masks"] if self.stage == "tube-finetune" else batch["masks"][:, :1]
        loss = segmentation_loss(logits, truth)
        scalars["mask_loss"] = loss.detach()
        if self.coarse_weight:
            loss = loss + self.coarse_weight * segmentation_loss(coarse, batch["masks"][:, :1])
        if extra is not None:
            scalars["prior_loss"] = extra.detach()
            loss = loss + self.prior_weight * extra
        with torch.no_grad():
            scalars["train_mIoU"] = 100 * iou((logits > 0).flatten(1)[:, None], truth.bool().flatten(1)[:, None]).mean()
        return loss, scalars

    def _forward(self, model: TrainableDCSAM, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the final logits (B, T, S, S), the first stage's (B, 1, S, S) on frame 0, and the backbone's loss."""
        support, frames = batch["support"], batch["frames"]
        count, length = frames.shape[:2]
        video = self.stage == "tube-finetune"
        side = (frames.shape[-2], frames.shape[-1])
        # Supports and queries go through the encoders together, each once.
        together = model.encode(torch.cat([support, frames[:, 0]]), top=True)
        first = torch.arange(count, device=frames.device)
        shown = together[0].map(lambda maps: maps[:count]), together[1][first]
        asked = together[0].map(lambda maps: maps[count:]), together[1][first + count]
        stages = model.prompts(shown, batch["support_mask"], asked, shots=1, align=not video)
        align = not video
        coarse = F.interpolate(model.decode(asked[1], stages[0]).float(), side, mode="bilinear", align_corners=align) \
            if self.coarse_weight else frames.new_zeros(count, 1, *side)  # fmt: skip
        extra = None
        if self.prior_weight:
            extra = model.prior_loss(shown[0], batch["support_mask"], asked[0], batch["masks"][:, 0])
        if not video:
            logits = model.decode(asked[1], stages[1]).float()
            return F.interpolate(logits, side, mode="bilinear", align_corners=True), coarse, extra
        rest = model.encode_sam(frames.flatten(0, 1))
        tracked = model.track(stages[1], rest, count, length)
        logits = torch.cat([frame.logits.float().clamp(-50, 50) for frame in tracked], dim=1)
        return F.interpolate(logits, side, mode="bilinear", align_corners=False), coarse, extra

    def validate(self, model: nn.Module, batches: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        assert isinstance(model, TrainableDCSAM)
        ious: list[float] = []
        found: list[float] = []
        for batch in batches:
            logits, _, _ = self._forward(model, batch)
            truth = batch["masks"][:, : logits.shape[1]].bool()
            values = iou((logits > 0).flatten(0, 1), truth.flatten(0, 1)).tolist()
            there = truth.flatten(0, 1).flatten(1).any(dim=1).tolist()
            ious += values
            found += [value for value, visible in zip(values, there) if visible]
        return {"mIoU": 100 * float(np.mean(ious)), "visible_IoU": 100 * float(np.mean(found)) if found else 0.0}

    # ------------------------------------------------------------------------------------------------------ records

    def describe(self) -> dict[str, Any]:
        from icvos.files import file_sha256

        return {
            "stage": self.stage, "data": self.data, "fold": self.fold, "train_sam": self.train_sam,
            "train_backbone": self.train_backbone, "variant": self.variant, "sizes": self.sizes,
            "coarse_weight": self.coarse_weight, "prior_weight": self.prior_weight, "length": self.length,
            "frames": self.frames, "seed": self.seed,
            "weights": {name: file_sha256(path) for name, path in sorted(self.weights.items())},
        }  # fmt: skip

    def export(self, model: nn.Module, path: Path) -> None:
        assert isinstance(model, TrainableDCSAM)
        trained_sam = self.train_sam != "none" or self.data == "demo" or self.stage != "image"
        metadata: dict[str, str] = {"stage": self.stage, "data": self.data, "train_sam": self.train_sam}
        sam2 = None
        if isinstance(model.sam, Sam2) and trained_sam:
            metadata["sam2_config"] = json.dumps(model.sam.config.to_dict())
            sam2 = model.sam.model.state_dict()
            if self.sam_file == "changed":
                metadata["sam2_part"] = "changed"
                trained = {name for name, p in model.sam.model.named_parameters() if p.requires_grad}
                sam2 = {name: value for name, value in sam2.items() if name in trained}
        save_checkpoint(path, model.generator, sam2=sam2, metadata=metadata)


def _load_backbone(generator: DCSAM, path: Path) -> None:
    from icvos.foundation.backbones import create_backbone, load_backbone
    from icvos.foundation.weights import load_state

    backbone = create_backbone(generator.config.backbone, generator.config.backbone_options)
    load_backbone(backbone, load_state(path), where=str(path))
    prefix = "" if generator.layered else "backbone."
    state = {f"{prefix}{name}": value for name, value in backbone.state_dict().items()}
    generator.load_state_dict(state, strict=False)
