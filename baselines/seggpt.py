"""SegGPT: Wang et al., "SegGPT: Segmenting Everything In Context" (ICCV 2023, arXiv 2304.03284).

A painter: the support stacked over the query is one image, the support's mask coloured white stands over an unknown
half, and a plain ViT paints the unknown half (section 3.1). Several supports run side by side, and the query's features
are averaged over them in every block (section 3.2, "feature ensemble"). The network is that of the transformers
library (optional extra ``hf``), whose weights are a conversion of the authors'; order and numbers follow the
authors' code (MIT). Departures: images are resized by torchvision's antialiased bicubic filter instead of Pillow's.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, WeightInfo
from icvos.categories import get_vocabulary
from icvos.errors import MissingExtraError
from icvos.foundation.seggpt import PUBLISHED, load_seggpt, seggpt_processor

__all__ = ["SegGpt"]

_PACKAGES = ("torch", "torchvision", "safetensors", "transformers")
# Section 4.1 of the paper.
_DATA = (
    "ade20k:train",
    "coco2017:train",
    "voc2012:train",
    "sbd:train",
    "cityscapes:train",
    "lip:train",
    "paco:train",
    "chase-db1:train",
    "drive:train",
    "hrf:train",
    "stare:train",
    "isaid:train",
    "loveda:train",
)


@dataclass(frozen=True)
class Prompts:
    """The supports as the network takes them: images and masks, both (K, 3, H, W) float, normalised."""

    images: Any
    masks: Any


class SegGpt(ImageModel):
    """In-context painting with a pretrained ViT; nothing is trained or tuned here.

    Supports whose mask is empty are left out. Nothing is ever downloaded.

    Args:
        embedding: Which of the two type tokens is added: ``instance`` (what the authors' inference uses) or
            ``semantic``.
        port_ensemble: With several supports, repeat the transformers library in the block that merges the image and
            mask streams: it averages over both streams there. The authors' code averages each by itself.
    """

    info = ModelInfo(
        name="seggpt",
        version="1",
        paper="Wang et al., SegGPT: Segmenting Everything In Context, ICCV 2023 (arXiv 2304.03284)",
        licence="Apache-2.0; the authors' code and weights are MIT",
        weights={
            "seggpt": WeightInfo(
                f"{PUBLISHED}, or its model.safetensors",
                sha256="809d3b653873a6fb9e9b5addab94ce2be9f7e49e56ac77da26a1ca0fc03f5c8f",
            ),
            "config": WeightInfo("the config.json of these weights, where it is not beside them", required=False),
        },
        training_categories=get_vocabulary("coco80").names,
        training_data=_DATA,
        extra="hf",
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        embedding: Literal["instance", "semantic"] = "instance",
        port_ensemble: bool = False,
    ) -> None:
        super().__init__(device=device, weights=weights)
        for package in _PACKAGES:
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "hf", "model 'seggpt'")
        # What the weights mean stands in their configuration: it is part of the record, as they are.
        self.weights.setdefault("config", self.weights["seggpt"].with_name("config.json"))
        self.embedding, self.port_ensemble = embedding, port_ensemble
        self.network = load_seggpt(self.weights["seggpt"], self.weights["config"]).to(device)
        if not port_ensemble:
            self._ensemble_each_stream()
        self.processor = seggpt_processor(self.network.config)

    def _ensemble_each_stream(self) -> None:
        """Have the merging block average over the supports of each stream, as the blocks before it do."""
        encoder = self.network.model.encoder

        def each_stream(layer: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            # The second argument is how many rows a support has: 2 while the streams are apart.
            return (args, {**kwargs, "ensemble_cond": 2}) if len(args) < 2 else ((args[0], 2, *args[2:]), kwargs)

        encoder.layers[encoder.config.merge_index].register_forward_pre_hook(each_stream, with_kwargs=True)

    def fit(self, supports: Sequence[Support], *, seed: int) -> Prompts | None:
        """Return the supports as the network takes them, or None if no support has a mask."""
        seen = [support for support in supports if support.mask.any()]
        if not seen:
            return None
        prepared = self.processor(
            images=None,
            prompt_images=[_writable(support.image) for support in seen],
            prompt_masks=[support.mask.astype(np.uint8) for support in seen],
            num_labels=1,  # the mask's colours: black and white
            return_tensors="pt",
        )
        return Prompts(prepared["prompt_pixel_values"].to(self.device), prepared["prompt_masks"].to(self.device))

    def predict(self, fitted: Prompts | None, image: np.ndarray) -> Prediction:
        """Return the mask of an image: where what is painted is nearer white than black.

        The score is the painted brightness, 0 to 1; the confidence is its mean over the mask, 0 if that is empty.
        """
        import torch

        if fitted is None:
            return Prediction(np.zeros(image.shape[:2], bool), confidence=0.0)
        count = len(fitted.images)
        with torch.no_grad():
            query = self.processor(images=[_writable(image)], return_tensors="pt")["pixel_values"].to(self.device)
            painted = self.network(
                pixel_values=query.expand(count, -1, -1, -1),
                prompt_pixel_values=fitted.images,
                prompt_masks=fitted.masks,
                feature_ensemble=count > 1,  # the library would mix the streams even with one support
                embedding_type=self.embedding,
            ).pred_masks
            # Row 0 is the answer, as in the authors' code: others differ where the last convolution sees their support.
            score = self._brightness(painted[0], (image.shape[0], image.shape[1]))
        mask = score > 0.5
        return Prediction(mask, score=score, confidence=float(score[mask].mean()) if bool(mask.any()) else 0.0)

    def _brightness(self, painted: Any, size: tuple[int, int]) -> Any:
        """Return the brightness, (H, W) in 0..1, of the lower half of what was painted, (3, 2h, w) normalised.

        Above a half is nearer white than black; nearest resize to ``size``, as the authors' code does.
        """
        import torch
        from torch.nn import functional

        lower = painted[:, painted.shape[1] // 2 :].float()
        std, mean = (
            torch.tensor(v, device=lower.device)[:, None, None]
            for v in (self.processor.image_std, self.processor.image_mean)
        )
        colours = (lower * std + mean).clamp(0, 1)
        return functional.interpolate(colours[None], size=size, mode="nearest")[0].mean(dim=0)


def _writable(image: np.ndarray) -> np.ndarray:
    """Return an image that torch may wrap without a warning: itself, or a copy where it is read-only."""
    return np.require(image, requirements=["C", "W"])
