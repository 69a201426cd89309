"""PerSAM and PerSAM-F: Zhang et al., "Personalize Segment Anything Model with One Shot" (ICLR 2024, arXiv 2305.03048).

PerSAM (section 3.1): the support's masked features give a target vector; its cosine similarity to the query's features
gives a positive and a negative point (location prior), an attention guide and a semantic prompt (section 3.2), and two
further decodings refine the mask (section 3.3). PerSAM-F (section 3.4) learns on the support alone the weights in which
the decoder's three masks are mixed. Numbers and order follow the authors' code (MIT); departures are marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, WeightInfo

__all__ = ["PerSam", "PerSamF"]

_PAPER = "Zhang et al., Personalize Segment Anything Model with One Shot, ICLR 2024 (arXiv 2305.03048)"
_WEIGHTS = {"sam": WeightInfo("a SAM or SAM 2 checkpoint; the paper used SAM ViT-H (icvos weights list)")}
_DATA = ("sa-1b:train",)


@dataclass(frozen=True)
class Target:
    """What PerSAM keeps of the supports: the target vector (1, C), and PerSAM-F's mixing weights (3,) if fitted."""

    vector: Any
    mixing: Any = None


class PerSam(ImageModel):
    """Training-free personalisation of SAM.

    Several supports (the paper has one): the target is the mean over the kept cells of all of them.

    Args:
        guidance: Guide the decoder's attention and add the semantic prompt in the first decoding (the paper's section
            3.2).
        aligned_guide: Compute the guide on the padded grid that the decoder sees. False repeats the published code,
            whose guide is stretched over the padding of images that are not square.
        target_in_prompt: Repeat the published code's in-place addition, by which the target enters the position codes
            too.
    """

    info = ModelInfo(
        name="persam",
        version="1",
        paper=_PAPER,
        licence="Apache-2.0",
        weights=_WEIGHTS,
        training_data=_DATA,
        extra="sam",
        demo_weights={"sam": "icvos/demo/weights/demo_sam2.safetensors"},
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        guidance: bool = True,
        aligned_guide: bool = True,
        target_in_prompt: bool = False,
    ) -> None:
        super().__init__(device=device, weights=weights)
        from icvos.foundation.load import open_segmenter

        self.segmenter = open_segmenter(self.weights["sam"], device=device)
        self.info = replace(self.info, training_data=self.segmenter.trained_on or _DATA)
        self.guidance, self.aligned_guide, self.target_in_prompt = guidance, aligned_guide, target_in_prompt

    # ---------------------------------------------------------------------------------------------------- support

    def _cells(self, support: Support) -> tuple[Any, Any] | None:
        """Return a support's image features and the (N, C) cells on its mask, or None if the mask is empty."""
        import torch.nn.functional as F

        if not support.mask.any():
            return None
        features = self.segmenter.encode(support.image)
        # The mask goes the image's way (resized, normalised, padded), as the published code sends it.
        as_image = np.repeat((support.mask * np.uint8(255))[..., None], 3, axis=2)
        grid = F.interpolate(
            self.segmenter.preprocess(as_image), (self.segmenter.grid, self.segmenter.grid), mode="bilinear"
        )[0, 0]
        kept = grid > 0
        if not kept.any():
            kept = self._most_covered(support)  # the published code divides by zero here
        return features, features.embedding[0].permute(1, 2, 0)[kept]

    def _most_covered(self, support: Support) -> Any:
        """Return (h, w) bool: the one cell of the grid that a support's mask covers most, never one of padding."""
        import torch
        import torch.nn.functional as F

        placement, grid = self.segmenter.place(support.size), self.segmenter.grid
        mask = torch.tensor(support.mask, device=self.segmenter.device)[None].float()
        content = F.adaptive_avg_pool2d(mask, placement.content)
        padded = F.pad(content, (0, placement.size - placement.content[1], 0, placement.size - placement.content[0]))
        share = F.adaptive_avg_pool2d(padded, (grid, grid)).flatten()
        return F.one_hot(share.argmax(), grid * grid).view(grid, grid).bool()

    def _vector(self, cells: Any) -> Any:
        """Return the target vector (1, C) of (N, C) cells."""
        return cells.mean(dim=0, keepdim=True)

    def fit(self, supports: Sequence[Support], *, seed: int) -> Target | None:
        """Return the target of the supports, or None if no support has a mask."""
        import torch

        with torch.no_grad():
            encoded = [pair for pair in map(self._cells, supports) if pair is not None]
            if not encoded:
                return None
            return Target(self._vector(torch.cat([cells for _, cells in encoded])))

    # ------------------------------------------------------------------------------------------------------ query

    def _similarity(self, features: Any, vector: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        """Return the cosine similarity on the grid (h, w) and at the image's size (H, W)."""
        import torch.nn.functional as F

        field = F.normalize(features.embedding[0], dim=0)
        grid = (F.normalize(vector, dim=1)[0][:, None, None] * field).sum(dim=0)
        low = F.interpolate(grid[None, None], scale_factor=4, mode="bilinear")
        return grid, self.segmenter.place(size).restore(low)[0, 0]

    def _extreme(self, similarity: Any, *, largest: bool) -> tuple[int, int]:
        index = int(similarity.argmax() if largest else similarity.argmin())
        return index % similarity.shape[1], index // similarity.shape[1]

    def _points(self, coordinates: list[tuple[int, int]], labels: list[int], size: tuple[int, int]) -> tuple[Any, Any]:
        import torch

        device = self.segmenter.device
        points = torch.tensor([coordinates], dtype=torch.float32, device=device)
        return self.segmenter.place(size).points(points), torch.tensor([labels], device=device)

    def _guide(self, grid: Any, full: Any, vector: Any) -> Any:
        """Return the decoder's guidance: attention (1, 1, 1, h*w) in 0..1 and the target (1, 1, C)."""
        import torch.nn.functional as F

        from icvos.foundation.segmenter import Guidance

        scaled = (full - full.mean()) / full.std()
        if self.aligned_guide:
            side = (grid - full.mean()) / full.std()
        else:
            side = F.interpolate(scaled[None, None], grid.shape, mode="bilinear")[0, 0]
        return Guidance(side.sigmoid().reshape(1, 1, 1, -1), vector[None], target_in_prompt=self.target_in_prompt)

    def _box(self, mask: Any, size: tuple[int, int]) -> Any:
        """Return the tight box of a (H, W) bool mask in input pixels, (1, 4); the whole image if it is empty."""
        import torch

        rows, columns = torch.nonzero(mask, as_tuple=True)
        if len(rows) == 0:
            box = torch.tensor([[0.0, 0.0, size[1] - 1.0, size[0] - 1.0]], device=self.segmenter.device)
        else:
            box = torch.stack([columns.min(), rows.min(), columns.max(), rows.max()])[None].float()
        return self.segmenter.place(size).boxes(box)

    def _refine(self, features: Any, points: Any, logits: Any, boxes: Any = None) -> Any:
        """Decode three masks from points, an earlier mask and a box; the one with the best predicted IoU."""
        return self.segmenter.decode(features, points=points, boxes=boxes, masks=logits, multimask=True).best()

    def predict(self, fitted: Target | None, image: np.ndarray) -> Prediction:
        import torch

        size = (image.shape[0], image.shape[1])
        if fitted is None:
            return Prediction(np.zeros(size, bool), confidence=0.0)
        with torch.no_grad():
            features = self.segmenter.encode(image)
            decoded = self._decode(features, fitted, size)
            full = self.segmenter.place(size).restore(decoded.logits)[0, 0]
            return Prediction(full > 0, score=full, confidence=float(decoded.iou.max()))

    def _decode(self, features: Any, target: Target, size: tuple[int, int]) -> Any:
        grid, full = self._similarity(features, target.vector, size)
        places = [self._extreme(full, largest=True), self._extreme(full, largest=False)]
        points = self._points(places, [1, 0], size)
        guide = self._guide(grid, full, target.vector) if self.guidance else None
        first = self.segmenter.decode(features, points=points, guidance=guide)
        second = self._refine(features, points, first.logits)
        box = self._box(self.segmenter.place(size).restore(second.logits)[0, 0] > 0, size)
        return self._refine(features, points, second.logits, box)


class PerSamF(PerSam):
    """PerSAM-F: two weights mix the decoder's three masks, fitted on the supports.

    Args:
        steps: Fitting steps (the published code: 1000).
        lr: Learning rate of AdamW (the published code: 1e-3, epsilon 1e-4, cosine to zero).
    """

    info = ModelInfo(
        name="persam-f",
        version="1",
        paper=_PAPER,
        licence="Apache-2.0",
        weights=_WEIGHTS,
        training_data=_DATA,
        extra="sam",
        demo_weights={"sam": "icvos/demo/weights/demo_sam2.safetensors"},
    )

    def __init__(
        self, *, device: str = "cpu", weights: Mapping[str, Path] | None = None, steps: int = 1000, lr: float = 1e-3
    ) -> None:
        super().__init__(device=device, weights=weights, guidance=False)
        self.steps, self.lr = steps, lr

    def _vector(self, cells: Any) -> Any:
        return cells.max(dim=0, keepdim=True).values / 2 + cells.mean(dim=0, keepdim=True) / 2

    def fit(self, supports: Sequence[Support], *, seed: int) -> Target | None:
        import torch

        with torch.no_grad():
            encoded = [(support, pair) for support in supports if (pair := self._cells(support)) is not None]
            if not encoded:
                return None
            vector = self._vector(torch.cat([cells for _, (_, cells) in encoded]))
            logits, truths = [], []
            for support, (features, _) in encoded:
                decoded = self._three(features, vector, support.size)
                logits.append(self.segmenter.place(support.size).restore(decoded.logits)[0].flatten(1))
                truths.append(torch.tensor(support.mask).to(logits[-1]).flatten())
        return Target(vector, fit_mixing(logits, truths, steps=self.steps, lr=self.lr))

    def _three(self, features: Any, vector: Any, size: tuple[int, int]) -> Any:
        _, full = self._similarity(features, vector, size)
        points = self._points([self._extreme(full, largest=True)], [1], size)
        return self.segmenter.decode(features, points=points, multimask=True)

    def _decode(self, features: Any, target: Target, size: tuple[int, int]) -> Any:
        _, full = self._similarity(features, target.vector, size)
        points = self._points([self._extreme(full, largest=True)], [1], size)
        first = self.segmenter.decode(features, points=points, multimask=True)
        mixed = (first.logits * target.mixing[None, :, None, None]).sum(dim=1, keepdim=True)
        placement = self.segmenter.place(size)
        second = self._refine(features, points, mixed, self._box(placement.restore(mixed)[0, 0] > 0, size))
        return self._refine(
            features, points, second.logits, self._box(placement.restore(second.logits)[0, 0] > 0, size)
        )


def fit_mixing(logits: Sequence[Any], truths: Sequence[Any], *, steps: int, lr: float) -> Any:
    """Fit PerSAM-F's weights (1 - a - b, a, b) of three masks.

    Args:
        logits: Of each support, (3, N) mask logits at its size.
        truths: Of each support, (N,) float 0 or 1.
        steps, lr: Of AdamW (epsilon 1e-4) with a cosine schedule.

    Returns:
        (3,) float; they sum to one.
    """
    import torch

    with torch.no_grad():
        free = torch.nn.Parameter(torch.full((2,), 1 / 3, device=logits[0].device))
        optimiser = torch.optim.AdamW([free], lr=lr, eps=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
        losses = [(three, DiceFocalSlope(truth)) for three, truth in zip(logits, truths)]
        for _ in range(steps):
            weights = torch.cat([1 - free.sum(dim=0, keepdim=True), free])
            slopes = sum(three @ slope(weights @ three) for three, slope in losses)
            slopes = torch.as_tensor(slopes) / len(logits)
            free.grad = slopes[1:] - slopes[0]
            optimiser.step()
            schedule.step()
        return torch.cat([1 - free.sum(dim=0, keepdim=True), free]).detach()


class DiceFocalSlope:
    """The derivative, by each of (N,) logits, of the loss that PerSAM-F fits its weights with.

    The loss is Dice (smooth 1) plus focal loss (alpha 0.25, gamma 2, mean over pixels). Two numbers are fitted, a
    thousand steps long: written out, with what hangs on the truth alone computed once, a step on 77,000 pixels takes
    0.4 ms, by autograd 1.8.

    Args:
        truth: (N,) float 0 or 1.
    """

    def __init__(self, truth: Any) -> None:
        self._truth, self._area, self._twice = truth, truth.sum(), 2 * truth
        self._sign = self._twice - 1
        self._alpha = (0.75 - 0.5 * truth) * self._sign

    def __call__(self, logit: Any) -> Any:
        """Return the derivative at (N,) logits, (N,)."""
        import torch

        chance = logit.sigmoid()
        total = chance.sum() + self._area + 1
        dice = ((2 * (chance @ self._truth) + 1) / total - self._twice).div_(total)
        right = (logit * self._sign).sigmoid_()
        wrong = 1 - right
        # d/dz of -alpha (1 - q)^2 log q where q = sigmoid(z), z the logit of what is true
        focal = torch.xlogy(right, right).mul_(2).sub_(wrong).mul_(wrong * wrong)
        return dice.mul_(chance).mul_(1 - chance).add_(focal.mul_(self._alpha).div_(logit.numel()))
