r"""``icvos train pfenet``: PFENet on a frozen backbone.

    icvos train pfenet --set data=pascal-5i --set root=VOC2012 --set sbd=SBD --set fold=0 \
        --weights backbone=resnet50_v2.pth --out runs/pfenet
    icvos train pfenet --set data=coco-20i --set root=COCO --set fold=0 --set backbone=resnet101 …

The authors' settings are the defaults. PASCAL-5i: 473 pixels, 200 epochs, batch 4, base rate 0.0025. COCO-20i: 641
pixels, 50 epochs, batch 8 and 0.005 on one GPU; they also used 4 GPUs, 32 and 0.02 (``torchrun --nproc-per-node 4 …
--lr 0.02``). SGD with momentum 0.9, weight decay 1e-4, the rate falls as (1 - step / steps) ** 0.9. Cross-entropy plus
the mean cross-entropy of the four side heads, 1 : 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from baselines.head_task import PAIRS, HeadTask
from baselines.heads import config_of, fill_head, save_head
from baselines.pfenet.data import IGNORE, Augmentation, Crop, Pad
from baselines.pfenet.model import KIND, PFENet, PFENetConfig, PFENetHead, pfenet_loss
from icvos.data.options import PairOptions
from icvos.datasets.pairs import Transform
from icvos.datasets.samples import EpisodeBatch
from icvos.foundation.pixels import to_float
from icvos.training.loss import iou
from icvos.training.task import Settings

__all__ = ["PfeNetTask"]

#: The grids of the drawn world's small network, as shares of the feature grid.
SHARES = (1.0, 0.5, 0.25, 0.125)


@dataclass(frozen=True)
class PfeNetSizes:
    """Sizes of a new head.

    Attributes:
        backbone: Name of the backbone: ``resnet50``, ``resnet101``, ``vgg16_bn``, … .
        image_size: Side of the crops; 0 chooses 473 for PASCAL-5i, 641 for COCO, 192 for the drawn world.
        width: Channels of the head.
        dropout: Share of the projected features that training drops.
    """

    backbone: str = "resnet50"
    image_size: int = 0
    width: int = 256
    dropout: float = 0.5


SIZES = PfeNetSizes()


class PfeNetTask(HeadTask):
    """PFENet's head, on a frozen backbone.

    Args:
        weights: See ``known_weights``.
        sizes: Of a new head.
        times_ten: The published code's rate for all that is trained: ten times the base rate, since a branch meant for
            some layers takes all of them.
        drift: The published code's batch norms: the frozen backbone's stay in training mode, so that its features are
            normalised by the batch and its running statistics move (they are then stored with the head).
        foreground: How much a pixel of the thing counts in the loss (1 is the authors'; a short training on the drawn
            world's small things would answer nothing at all).
        source: The training data; things of 2048 pixels at least, as the authors.
    """

    name = KIND
    known_weights: ClassVar[Mapping[str, str]] = {
        "backbone": "needed: the frozen backbone",
        "pfenet": "a head to go on from, which brings its sizes",
    }

    def __init__(
        self,
        *,
        weights: Mapping[str, Path] | None = None,
        sizes: PfeNetSizes = SIZES,
        times_ten: bool = False,
        drift: bool = False,
        foreground: float = 1.0,
        source: PairOptions = PAIRS,
    ) -> None:
        super().__init__(weights=weights, source=source)
        self.times_ten, self.drift, self.foreground = times_ten, drift, foreground
        pascal = source.data == "pascal-5i"
        self.sizes: dict[str, Any] = {
            **asdict(sizes),
            "image_size": sizes.image_size or {"pascal-5i": 473, "demo": 192}.get(source.data, 641),
            # A size of one's own has a grid of its own, for which 60 cells are no natural number.
            "scales": (60, 30, 15, 8) if pascal and sizes.image_size in (0, 473) else SHARES,
            "resize": "squash" if source.data == "demo" else "pad",
        }
        self._config: PFENetConfig | None = None

    def defaults(self) -> Settings:
        """Return the authors' settings for one GPU."""
        if self.source.data == "pascal-5i":
            return Settings(epochs=200, batch=4, lr=0.0025, weight_decay=1e-4)
        return Settings(epochs=50, batch=8, lr=0.005, weight_decay=1e-4)

    @property
    def config(self) -> PFENetConfig:
        if self._config is None:
            saved = self.start()
            self._config = (
                PFENetConfig(**self.sizes) if saved is None else config_of(PFENetConfig, saved.config, where=saved.path)
            )
        return self._config

    def model(self) -> PFENet:
        backbone = self.frozen_backbone()
        head = PFENetHead(self.config, sum(backbone.channels))
        saved = self.start()
        if saved is not None:
            fill_head(head, saved, KIND)
        return PFENet(head, backbone, drift=self.drift)

    def transform(self, part: str) -> Transform:
        """Return augmented crops for training, padded images for validation."""
        if part != "train":
            return Pad(self.config.image_size)
        augmentation = Augmentation() if self.source.data == "pascal-5i" else Augmentation(scale=(0.8, 1.25))
        return Crop(self.config.image_size, augmentation)

    def truth(self, batch: EpisodeBatch) -> Tensor:
        masks = batch.masks[:, 0].to(torch.uint8)
        return masks if batch.ignores is None else masks.masked_fill(batch.ignores[:, 0], IGNORE)

    # ------------------------------------------------------------------------------------------------- optimisation

    def parameter_groups(self, model: nn.Module, settings: Settings) -> list[dict[str, Any]]:
        assert isinstance(model, PFENet)
        factor = 10 if self.times_ten else 1
        return [{"params": list(model.head.parameters()), "lr": factor * settings.lr}]

    def optimiser(self, groups: list[dict[str, Any]], settings: Settings) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, weight_decay=settings.weight_decay)

    def rate(self, step: int, steps: int, settings: Settings) -> float:
        """Return (1 - step / steps) ** 0.9, after the warm-up if one is asked for (the authors have none)."""
        if step < settings.warmup:
            return (step + 1) / (settings.warmup + 1)
        return (1 - min(step / max(steps, 1), 1)) ** 0.9

    def loss(self, model: nn.Module, batch: EpisodeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        logits, sides = self._logits(model, batch)
        truth = self.truth(batch).long()
        main, side = pfenet_loss(logits, sides, truth, foreground=self.foreground)
        masks = (logits.argmax(dim=1) == 1) & (truth != 255)
        scalars = {"main_loss": main, "side_loss": side, "train_mIoU": 100 * iou(masks, truth == 1).mean()}
        return main + side, {name: scalar.detach() for name, scalar in scalars.items()}

    def masks(self, model: nn.Module, batch: EpisodeBatch) -> Tensor:
        logits, _ = self._logits(model, batch)
        return logits.argmax(dim=1) == 1

    def _logits(self, model: nn.Module, batch: EpisodeBatch) -> Any:
        """Return the logits, and those of the side heads."""
        return model(to_float(batch.supports[:, 0]), batch.support_masks[:, 0], to_float(batch.frames[:, 0]))

    # ------------------------------------------------------------------------------------------------------ records

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "times_ten": self.times_ten,
            "drift": self.drift,
            "foreground": self.foreground,
        }

    def export(self, model: nn.Module, path: Path) -> None:
        assert isinstance(model, PFENet)
        save_head(
            path,
            KIND,
            self.config,
            model.head,
            backbone_sha256=self._digest,
            statistics=model.statistics() if self.drift else None,
            metadata={
                **self.trained_on(),
                "times_ten": self.times_ten,
                "drift": self.drift,
                "foreground": self.foreground,
            },
        )
