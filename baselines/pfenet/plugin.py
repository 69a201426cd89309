"""PFENet: Tian et al., "Prior Guided Feature Enrichment Network for Few-Shot Segmentation" (TPAMI 2020; 2008.01449).

A few-shot segmenter without SAM: the steps and departures are in ``baselines/pfenet/model.py``, the training in
``baselines/pfenet/train.py`` (``icvos train pfenet``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, WeightInfo

if TYPE_CHECKING:
    from baselines.pfenet.model import PFESupports

__all__ = ["PfeNet", "squared_up"]


class PfeNet(ImageModel):
    """PFENet on an image; several supports count by the mean of their prototypes and of their priors.

    Args:
        aligned: Take the image's own part of the padded square back to the image. False repeats the published test,
            which stretches the whole square to a square of the longer side: off by up to 7 / 473 of the image.
    """

    info = ModelInfo(
        name="pfenet",
        version="1",
        paper="Tian et al., Prior Guided Feature Enrichment Network for Few-Shot Segmentation, TPAMI 2020 "
        "(arXiv 2008.01449)",
        licence="Apache-2.0",
        weights={
            "pfenet": WeightInfo("icvos train pfenet (the authors' 8 models have another layout and no licence)"),
            "backbone": WeightInfo(
                "the frozen backbone it was trained on: resnet50-v2, resnet101-v2 or vgg16-bn (icvos weights list)"
            ),
        },
        training_data=("coco2014:train",),
        extra="torch",
        demo_weights={
            "pfenet": "baselines/weights/demo_pfenet.safetensors",
            "backbone": "dcsam/weights/demo_dcsam.safetensors",
        },
    )

    def __init__(self, *, device: str = "cpu", weights: Mapping[str, Path] | None = None, aligned: bool = True) -> None:
        super().__init__(device=device, weights=weights)
        from baselines.heads import trained_info
        from baselines.pfenet.model import open_pfenet

        model, saved = open_pfenet(self.weights["pfenet"], self.weights["backbone"])
        self.model = model.float().to(device)
        self.aligned = aligned
        self.info = trained_info(type(self).info, saved)

    def _square(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        config = self.model.head.config
        return squared_up(image, mask, config.image_size, resize=config.resize)

    def fit(self, supports: Sequence[Support], *, seed: int) -> PFESupports | None:
        """Return the encoded supports, or None if no support has a mask."""
        import torch

        from icvos.foundation.pixels import to_float

        squares = [self._square(support.image, support.mask) for support in supports if support.mask.any()]
        if not squares:
            return None
        with torch.no_grad():
            pixels = to_float(torch.from_numpy(np.stack([image for image, _, _ in squares])).to(self.device))
            masks = torch.from_numpy(np.stack([mask for _, mask, _ in squares])).to(self.device)
            return self.model.encode_supports(pixels, masks, shots=len(squares))

    def predict(self, fitted: PFESupports | None, image: np.ndarray) -> Prediction:
        import torch

        from icvos.foundation.pixels import to_float

        size = (image.shape[0], image.shape[1])
        if fitted is None:
            return Prediction(np.zeros(size, bool), confidence=0.0)
        square, _, content = self._square(image, np.zeros(size, bool))
        with torch.no_grad():
            pixels = to_float(torch.from_numpy(square)[None].to(self.device))
            logits, _ = self.model.decode(fitted, pixels)
            full = self._restored(logits[:, 1:] - logits[:, :1], content, size)[0, 0]
            mask = full > 0
            confidence = float(full[mask].sigmoid().mean()) if bool(mask.any()) else 0.0
        return Prediction(mask, score=full, confidence=confidence)

    def _restored(self, logits: Any, content: tuple[int, int], size: tuple[int, int]) -> Any:
        """Return (1, 1, H, W) of (1, 1, S, S) logits of foreground over background."""
        from torch.nn.functional import interpolate

        if self.aligned or self.model.head.config.resize == "squash":
            inside = logits[..., : content[0], : content[1]]
            return interpolate(inside, size, mode="bilinear", align_corners=False)
        side = max(size)
        return interpolate(logits, (side, side), mode="bilinear", align_corners=True)[..., : size[0], : size[1]]


def squared_up(
    image: np.ndarray, mask: np.ndarray, size: int, *, resize: Literal["pad", "squash"]
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return an image and its mask as squares, and (h, w) that the image takes up from the top left corner.

    Args:
        image: (H, W, 3) uint8 RGB; bilinear.
        mask: (H, W) bool; nearest.
        size: Side of the squares.
        resize: ``pad``: the longer side becomes ``size``, both sides are floored to a multiple of 8 (at least 8), black
            fills the rest, as in the published test; ``squash``: the whole square (Pillow's bilinear, as in training).
    """
    from icvos.images import squeezed

    if resize == "squash":
        pixels, labels = squeezed(image, mask, size)
        return np.array(pixels), np.array(labels), (size, size)
    import cv2

    height, width = mask.shape
    ratio = size / max(height, width)
    content = (max(int(height * ratio + 1e-6) // 8 * 8, 8), max(int(width * ratio + 1e-6) // 8 * 8, 8))
    square = np.zeros((size, size, 3), np.uint8)
    labels = np.zeros((size, size), bool)
    window = (slice(0, content[0]), slice(0, content[1]))
    square[window] = cv2.resize(image, content[::-1], interpolation=cv2.INTER_LINEAR)
    labels[window] = cv2.resize(mask.astype(np.uint8), content[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return square, labels, content
