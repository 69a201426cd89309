r"""``icvos train sansa``: SANSA's adapters, in a frozen SAM 2.

    icvos train sansa --set data=coco-20i --set root=COCO --set fold=0 --weights sam2=sam2_hiera_large.pt --out S

The authors' settings are the defaults: AdamW 1e-4 without weight decay, a cosine to zero over all steps, 5 epochs, 32
pairs a step (here 4 a process and 8 accumulated), gradients clipped at 0.1, focal plus Dice 1 : 1 on squares of 640
pixels, one support and one query. Left out: their generalist's mixture of data sets, and several supports a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.head_task import PAIRS, PairTask
from baselines.heads import fill_head, save_head
from baselines.sansa import PromptKind, sansa_tracker, support_prompt
from baselines.sansa_adapters import KIND, SansaConfig, SansaNetwork, open_sam2, saved_config
from icvos.data.options import PairOptions
from icvos.datasets.samples import EpisodeBatch
from icvos.errors import UsageError, WeightsError
from icvos.foundation.pixels import to_float
from icvos.training.loss import dice, iou
from icvos.training.task import Settings

__all__ = ["SansaTask", "sansa_loss"]

KINDS: tuple[PromptKind, ...] = ("mask", "point", "box", "scribble")


class SansaTask(PairTask):
    """SANSA's adapters, in a frozen SAM 2.

    Args:
        weights: See ``known_weights``.
        factor: Width of a new adapter's bottleneck over its block's input width; the authors' generalist has 0.8.
        image_size: Side of the data's squares, pixels; SAM 2 sees them at its own size.
        prompt: What the supports are prompted by: ``mask``, ``point``, ``scribble``, ``box``, or ``multi``, one of them
            at random a step. But for masks alone the loss is over the support's own frame too.
        dropout: Keep the frozen memory attention's dropout on, as the authors' training does.
        source: The training data.
    """

    name = KIND
    known_weights: ClassVar[Mapping[str, str]] = {
        "sam2": "needed: the frozen SAM 2 (the authors' are on SAM 2.0 large)",
        "sansa": "adapters of icvos train sansa to go on from, which bring their sizes",
    }

    def __init__(
        self,
        *,
        weights: Mapping[str, Path] | None = None,
        factor: float = 0.3,
        image_size: int = 640,
        prompt: Literal["mask", "point", "scribble", "box", "multi"] = "mask",
        dropout: bool = True,
        source: PairOptions = PAIRS,
    ) -> None:
        super().__init__(weights=weights, source=source)
        self.prompt, self.dropout = prompt, dropout
        saved = self.start()
        self._config = SansaConfig(factor, image_size) if saved is None else saved_config(saved)

    def defaults(self) -> Settings:
        """Return the authors' settings."""
        return Settings(epochs=5, batch=4, accumulate=8, lr=1e-4, weight_decay=0.0, clip=0.1)

    @property
    def config(self) -> SansaConfig:
        return self._config

    def model(self) -> SansaNetwork:
        if "sam2" not in self.weights:
            raise UsageError("sansa needs a SAM 2", fix="give --weights sam2=PATH ('icvos weights list')")
        segmenter, self._digest = open_sam2(self.weights["sam2"])
        network = SansaNetwork(segmenter, self.config)
        saved = self.start()
        if saved is not None:
            if saved.backbone_sha256 != self._digest:
                raise WeightsError(
                    f"another SAM 2 than {saved.path.name} was trained on",
                    where=self.weights["sam2"],
                    expected=f"weights with the digest {saved.backbone_sha256[:12]}…",
                )
            fill_head(network.adapters, saved, KIND)
        if self.dropout:
            segmenter.model.memory_attention.drifts = True
        return network

    def logits(self, model: SansaNetwork, batch: EpisodeBatch, prompt: PromptKind) -> Tensor:
        """Return (B, 2, S, S) logits of the support's frame and of the query's, at the data's size.

        Random points and the like are drawn from torch's generator, so that a run that goes on draws the same.
        """
        tracker = sansa_tracker(model.segmenter)
        support, query, support_masks = batch.supports[:, 0], batch.frames[:, 0], batch.support_masks[:, 0]
        side, size = model.segmenter.image_size, query.shape[1:3]
        frames = to_float(torch.stack([support, query])).flatten(0, 1)
        frames = F.interpolate(frames, (side, side), mode="bilinear", align_corners=False, antialias=True)
        features = model.segmenter.encode(frames)
        count = len(batch)
        if not bool(support_masks.flatten(1).any(dim=1).all()):
            prompt = "mask"  # a thing so small that the square lost it has no points
        seeds = torch.randint(2**31, (count,)).tolist() if prompt != "mask" else []
        generators = [np.random.default_rng(seed) for seed in seeds]
        masks = list(support_masks.cpu().numpy())
        bank = tracker.start(num_frames=0)
        shown = tracker.step(bank, features[:count], prompt=support_prompt(masks, prompt, tracker, generators))
        found = tracker.step(bank, features[count:])
        return torch.cat([frame.resized((size[0], size[1])) for frame in (shown, found)], dim=1)

    def loss(self, model: nn.Module, batch: EpisodeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(model, SansaNetwork)
        kind = KINDS[int(torch.randint(len(KINDS), ()))] if self.prompt == "multi" else self.prompt
        logits = self.logits(model, batch, kind)
        truth = torch.stack([batch.support_masks[:, 0], self.truth(batch)], dim=1)
        first = 1 if self.prompt == "mask" else 0
        focal, overlap = sansa_loss(logits[:, first:], truth[:, first:].float())
        found = 100 * iou(logits[:, 1] > 0, truth[:, 1]).mean().detach()
        return focal + overlap, {"focal_loss": focal.detach(), "dice_loss": overlap.detach(), "train_mIoU": found}

    def masks(self, model: nn.Module, batch: EpisodeBatch) -> Tensor:
        assert isinstance(model, SansaNetwork)
        return self.logits(model, batch, "mask" if self.prompt == "multi" else self.prompt)[:, 1] > 0

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "prompt": self.prompt, "dropout": self.dropout}

    def export(self, model: nn.Module, path: Path) -> None:
        assert isinstance(model, SansaNetwork)
        metadata = {**self.trained_on(), "prompt": self.prompt, "sam2": model.segmenter.name}
        save_head(path, KIND, self.config, model.adapters, backbone_sha256=self._digest, metadata=metadata)


def sansa_loss(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the focal and the Dice loss of (B, T, H, W) logits and truth {0, 1}; an item's frames are one mask.

    Focal (arXiv 1708.02002) with alpha 0.25 and gamma 2 is the mean over pixels; Dice has 1 added to both sides.
    """
    logits, truth = logits.float(), truth.float()
    chance = logits.sigmoid()
    right = chance * truth + (1 - chance) * (1 - truth)
    alpha = 0.25 * truth + 0.75 * (1 - truth)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (alpha * (1 - right) ** 2 * entropy).mean(), dice(logits, truth)
