"""Prototype: masked average pooling and cosine similarity, the floor of every few-shot segmenter, on any backbone.

A support's thing is the mean of its features under the mask (SG-One, Zhang et al. 2018, arXiv 1810.09091, section 3.1);
a cell of the query is the thing where its cosine to that prototype is high, or higher than to the background's
prototype (PANet, Wang et al., ICCV 2019, arXiv 1908.06391, section 3.2). Nothing is trained: where the line is drawn is
fitted on the supports themselves (ours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, WeightInfo
from icvos.errors import UsageError

__all__ = ["Fitted", "Prototype", "PrototypeOptions", "best_threshold"]


@dataclass(frozen=True)
class Fitted:
    """The prototypes (1, C, 1, 1) of the thing and of the background, and where the line is drawn."""

    thing: Any
    ground: Any
    threshold: float


@dataclass(frozen=True)
class PrototypeOptions:
    """Settings of Prototype.

    Attributes:
        backbone: As ``icvos.foundation.backbones`` names it; ``auto`` reads it from the file, else ResNet-50.
        dilation: Of a ResNet, as ``icvos.foundation.backbones.DILATIONS`` names it; ``auto``: what the file says, else
            ``pspnet``, as PFENet has it.
        size: Side of the square image that the backbone sees, pixels; 0: what the file says, else 512.
        feature: ``top``, ``deep`` or ``joined`` (middle and deep, as PFENet takes them).
        background: Compare with the background's prototype (PANet); off, the cosine itself is thresholded (SG-One).
        pool: What several supports are averaged over: their ``prototypes`` (PANet) or all ``cells``.
        fit_threshold: Draw the line where it is best on the supports themselves (ours).
        threshold: Where it is drawn otherwise, on the cosine or on the difference of both (PANet's is 0).
    """

    backbone: str = "auto"
    dilation: Literal["auto", "torchvision", "pspnet"] = "auto"
    size: int = 0
    feature: Literal["top", "deep", "joined"] = "top"
    background: bool = True
    pool: Literal["prototypes", "cells"] = "prototypes"
    fit_threshold: bool = True
    threshold: float = 0.0


DEFAULTS = PrototypeOptions()


class Prototype(ImageModel):
    """Cosine similarity to the mean of the support's features.

    Several supports: the mean of their prototypes (the mean of all their cells with ``pool=cells``).
    """

    info = ModelInfo(
        name="prototype",
        version="1",
        paper="Zhang et al., SG-One: Similarity Guidance Network for One-Shot Semantic Segmentation "
        "(arXiv 1810.09091); Wang et al., PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment, "
        "ICCV 2019 (arXiv 1908.06391)",
        licence="Apache-2.0",
        weights={
            "backbone": WeightInfo(
                "a frozen backbone: resnet50-v2, resnet101-v2, vgg16-bn, a DINOv2, or a checkpoint "
                "that holds one (icvos weights list)"
            ),
        },
        training_data=("imagenet-1k:train",),
        extra="torch",
        demo_weights={"backbone": "dcsam/weights/demo_dcsam.safetensors"},
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        options: PrototypeOptions = DEFAULTS,
    ) -> None:
        super().__init__(device=device, weights=weights)
        self.options = options
        from baselines.heads import open_backbone
        from icvos.foundation.backbones import with_dilation

        path = self.weights["backbone"]
        saved = backbone_inside(path)
        name = saved.get("backbone", "resnet50") if options.backbone == "auto" else options.backbone
        choices = saved.get("backbone_options", {}) if name == saved.get("backbone") else {}
        if options.dilation != "auto":
            choices = {**choices, "dilation": options.dilation}
        self.backbone = open_backbone(name, with_dilation(name, choices), path).float().to(device)
        self.size = options.size or int(saved.get("image_size", 512))
        if self.size < 32:
            raise UsageError(f"size={self.size}", expected="32 pixels or more")
        self.feature, self.background, self.pool = options.feature, options.background, options.pool
        self.threshold = None if options.fit_threshold else float(options.threshold)

    def features(self, images: Sequence[np.ndarray]) -> Any:
        """Return (B, C, h, w) float features of (H, W, 3) uint8 images, each squashed to the square."""
        import torch

        from baselines.heads import joined
        from icvos.foundation.pixels import to_float
        from icvos.images import squeezed

        squares = [squeezed(image, np.zeros(image.shape[:2], bool), self.size)[0] for image in images]
        with torch.no_grad():
            pixels = to_float(torch.from_numpy(np.stack(squares)).to(self.device))
            maps = self.backbone(pixels, top=self.feature == "top")
            return {"top": lambda: maps.top, "deep": lambda: maps.deep, "joined": lambda: joined(maps)}[self.feature]()

    def fit(self, supports: Sequence[Support], *, seed: int) -> Fitted | None:
        """Return the prototypes of the supports and the threshold, or None if no support has a mask."""
        import torch

        from baselines.heads import grid_mask

        seen = [support for support in supports if support.mask.any()]
        if not seen:
            return None
        features = self.features([support.image for support in seen])
        masks = torch.cat(
            [
                grid_mask(torch.from_numpy(np.array(s.mask))[None].to(self.device), features.shape[-2:], "bilinear")
                for s in seen
            ]
        )
        fitted = Fitted(self._pooled(features, masks), self._pooled(features, 1 - masks), 0.0)
        if self.threshold is not None:
            return Fitted(fitted.thing, fitted.ground, self.threshold)
        scores = self.scores(fitted, features)
        return Fitted(fitted.thing, fitted.ground, best_threshold(scores.flatten(), masks.flatten() > 0.5))

    def _pooled(self, features: Any, masks: Any) -> Any:
        from baselines.heads import masked_mean

        if self.pool == "prototypes":
            return masked_mean(features, masks).mean(dim=0, keepdim=True)
        total = (features * masks).sum(dim=(0, 2, 3), keepdim=True)
        return total / (masks.sum() + 0.0005)

    def scores(self, fitted: Fitted, features: Any) -> Any:
        """Return (B, 1, h, w): the cosine to the thing, less that to the background where it is used."""
        from torch.nn.functional import cosine_similarity

        score = cosine_similarity(features, fitted.thing, dim=1)
        if self.background:
            score = score - cosine_similarity(features, fitted.ground, dim=1)
        return score[:, None]

    def predict(self, fitted: Fitted | None, image: np.ndarray) -> Prediction:
        from torch.nn.functional import interpolate

        size = (image.shape[0], image.shape[1])
        if fitted is None:
            return Prediction(np.zeros(size, bool), confidence=0.0)
        score = self.scores(fitted, self.features([image])) - fitted.threshold
        full = interpolate(score, size, mode="bilinear", align_corners=False)[0, 0]
        mask = full > 0
        return Prediction(mask, score=full, confidence=float(full[mask].mean()) if bool(mask.any()) else 0.0)


def best_threshold(scores: Any, inside: Any) -> float:
    """Return the threshold that gives (P,) scores the greatest IoU with (P,) bool cells inside.

    It lies halfway between the lowest score kept and the highest one dropped.
    """
    import torch

    order = scores.argsort(descending=True)
    ranked = inside[order].to(torch.float64)
    hits = ranked.cumsum(0)
    union = torch.arange(1, len(ranked) + 1, device=ranked.device) + ranked.sum() - hits
    last = int((hits / union.clamp(min=1)).argmax())
    values = scores[order]
    below = values[min(last + 1, len(values) - 1)]
    return float((values[last] + below) / 2) if last + 1 < len(values) else float(values[last]) - 1e-6


def backbone_inside(path: Path) -> dict[str, Any]:
    """Return what a checkpoint's metadata says of the backbone inside: its name, options and image size; or nothing."""
    import json

    from icvos.foundation.weights import load_metadata

    metadata = load_metadata(path)
    out: dict[str, Any] = {"backbone": metadata["backbone"]} if "backbone" in metadata else {}
    for text in metadata.values():
        try:
            record = json.loads(text)
        except ValueError:
            continue
        config = record.get("config") if isinstance(record, dict) else None
        if isinstance(config, dict) and isinstance(config.get("backbone"), str):
            out |= {key: config[key] for key in ("backbone", "backbone_options", "image_size") if key in config}
    return out
