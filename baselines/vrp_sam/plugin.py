"""VRP-SAM: Sun et al., "VRP-SAM: SAM with Visual Reference Prompt" (CVPR 2024, arXiv 2402.17726).

A trained encoder turns a support and its mask into prompt tokens for a frozen SAM. The authors publish no checkpoint:
``icvos train vrp-sam`` makes one (``baselines/vrp_sam/train.py``); the steps and departures are in
``baselines/vrp_sam/model.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, WeightInfo

if TYPE_CHECKING:
    from baselines.vrp_sam.model import VRPSupports

__all__ = ["VrpSam"]


class VrpSam(ImageModel):
    """VRP-SAM with SAM or SAM 2.

    Several supports give 50 tokens each, side by side (the published code provides for it and never calls it).

    Args:
        prompt: What the encoder sees of the support: its mask, or the mask's tight box, filled (both are the
            paper's; its points and scribbles are left out: a support here always has a mask).
    """

    info = ModelInfo(
        name="vrp-sam",
        version="1",
        paper="Sun et al., VRP-SAM: SAM with Visual Reference Prompt, CVPR 2024 (arXiv 2402.17726)",
        licence="Apache-2.0",
        weights={
            "vrp-sam": WeightInfo("icvos train vrp-sam (the authors publish no checkpoint)"),
            "backbone": WeightInfo(
                "the frozen backbone it was trained on: resnet50-v2 or vgg16-bn (icvos weights list)"
            ),
            "sam": WeightInfo("a SAM or SAM 2 checkpoint; the paper used SAM ViT-H (icvos weights list)"),
        },
        training_data=("coco2014:train", "sa-1b:train"),
        extra="sam",
        demo_weights={
            "vrp-sam": "baselines/weights/demo_vrp_sam.safetensors",
            "backbone": "dcsam/weights/demo_dcsam.safetensors",
            "sam": "icvos/demo/weights/demo_sam2.safetensors",
        },
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        prompt: Literal["mask", "box"] = "mask",
    ) -> None:
        super().__init__(device=device, weights=weights)
        from baselines.heads import trained_info
        from baselines.vrp_sam.model import open_vrp
        from icvos.foundation.load import open_segmenter

        segmenter = open_segmenter(self.weights["sam"])
        model, saved = open_vrp(self.weights["vrp-sam"], self.weights["backbone"], segmenter)
        self.model = model.float().to(device)
        self.prompt = prompt
        self.size = self.model.head.config.image_size
        self.info = trained_info(type(self).info, saved, others=segmenter.trained_on or ("sa-1b:train",))

    def fit(self, supports: Sequence[Support], *, seed: int) -> VRPSupports | None:
        """Return the encoded supports, or None if no support has a mask."""
        import torch

        from baselines.vrp_sam.model import support_prompts
        from icvos.foundation.pixels import to_float
        from icvos.images import squeezed

        squares = [squeezed(support.image, support.mask, self.size) for support in supports if support.mask.any()]
        if not squares:
            return None
        with torch.no_grad():
            pixels = to_float(torch.from_numpy(np.stack([image for image, _ in squares])).to(self.device))
            masks = torch.from_numpy(np.stack([mask for _, mask in squares])).to(self.device)
            return self.model.encode_supports(pixels, support_prompts(masks, self.prompt))

    def predict(self, fitted: VRPSupports | None, image: np.ndarray) -> Prediction:
        import torch
        from torch.nn.functional import interpolate

        from icvos.foundation.pixels import to_float
        from icvos.images import squeezed

        size = (image.shape[0], image.shape[1])
        if fitted is None:
            return Prediction(np.zeros(size, bool), confidence=0.0)
        small, _ = squeezed(image, np.zeros(size, bool), self.size)
        with torch.no_grad():
            pixels = to_float(torch.from_numpy(np.array(small))[None].to(self.device))
            tokens = self.model.tokens(fitted, pixels)
            logits = self.model.decode(self.model.encode_sam(pixels), tokens)
            full = interpolate(logits, size, mode="bilinear", align_corners=False)[0, 0]
            mask = full > 0
            confidence = float(full[mask].sigmoid().mean()) if bool(mask.any()) else 0.0
        return Prediction(mask, score=full, confidence=confidence)
