"""``icvos train demo-backbone``: the drawn world's small backbone, from nothing, by telling families of shapes apart.

A step sees worlds of few images. Things of one family, drawn on different images, are pulled together and all others
apart (supervised contrastive, arXiv 2004.11362); the prior maps that DC-SAM will use are asked for the query's mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icvos.data.lineage import DRAWN, Lineage
from icvos.demo.training.examples import INSTANCES, DrawnWorld, DrawnWorlds, Scenes, WorldBatch, join_worlds
from icvos.demo.training.graphs import GraphedStep
from icvos.demo.world.episodes import TrainingWorld
from icvos.foundation.backbones import create_backbone
from icvos.foundation.pixels import to_float
from icvos.foundation.trainings import lineage_in, training_texts
from icvos.foundation.weights import load_metadata, load_state, save_state
from icvos.training.loss import balanced_bce, dice, iou, prior_logits
from icvos.training.task import Examples, Settings, TrainingTask, check_options

__all__ = ["BackboneTask"]

TEMPERATURE = 0.1


class _Learner(nn.Module):
    """The backbone and what its training needs beside it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone = create_backbone(name).requires_grad_(True)
        self.thing = nn.Conv2d(self.backbone.channels[1], 1, 1)


class BackboneTask(TrainingTask):
    """A small backbone from nothing, on the drawn world.

    Args:
        weights: See ``known_weights``.
        backbone: Its name, as ``compact``.
        image_size: Side of the square images.
        length: Worlds of an epoch.
        random_share: Share of families drawn anew.
        seed: Of the drawn world.
        pool: Scenes drawn ahead.
    """

    name = "demo-backbone"
    known_weights: ClassVar[Mapping[str, str]] = {"backbone": "weights to go on from"}

    def __init__(
        self,
        *,
        weights: Mapping[str, Path] | None = None,
        backbone: str = "compact",
        image_size: int = 192,
        length: int = 20_000,
        random_share: float = 0.5,
        seed: int = 1,
        pool: Scenes | None = None,
    ) -> None:
        self.weights = dict(weights or {})
        check_options(
            self.name,
            weights=self.weights,
            known=self.known_weights,
            length=(length, 1),
            image_size=(image_size, 32),
            random_share=(random_share, 0),
            seed=(seed, 0),
        )
        self.pool = pool
        self.backbone, self.side, self.length = backbone, image_size, length
        self.random_share, self.seed = random_share, seed

    def defaults(self) -> Settings:
        return Settings(epochs=1, batch=4, lr=1.5e-3, weight_decay=0.01, warmup=40, clip=1.0)

    def model(self) -> nn.Module:
        model = _Learner(self.backbone)
        if "backbone" in self.weights:
            model.backbone.load_state_dict(
                {k: v.float() if v.is_floating_point() else v for k, v in load_state(self.weights["backbone"]).items()}
            )
        return model

    def train_examples(self) -> Examples:
        world = self.pool or TrainingWorld.of_layouts(self.side, self.seed, self.random_share)
        return DrawnWorlds(world, self.side, self.length)

    def validation_examples(self) -> Examples:
        return DrawnWorlds(TrainingWorld.of_layouts(self.side, self.seed + 1000, self.random_share), self.side, 60)

    def collate(self, examples: Sequence[DrawnWorld]) -> WorldBatch:
        return join_worlds(examples)

    def graphed_step(self, compute: Any, optimiser: Any, parameters: Any, settings: Settings) -> GraphedStep:
        return GraphedStep(compute, optimiser, parameters, settings.clip)

    def loss(self, model: nn.Module, batch: WorldBatch) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(model, _Learner)
        features = model.backbone(to_float(batch.images), top=True)
        grid = features.top.shape[-2:]
        pairs, labels, families = batch.pairs, batch.labels, batch.families
        support_masks, query_masks = batch.masks()
        target = F.interpolate(query_masks[:, None].float(), grid, mode="area")
        inside = F.interpolate(support_masks[:, None].float(), grid, mode="nearest")
        support = features.map(lambda x: x[pairs[:, 0]])
        near_top = model.backbone.top(support, inside)
        logits = prior_logits(
            lambda maps, mask: near_top if mask is inside else model.backbone.top(maps, mask),
            support,
            inside,
            features.top[pairs[:, 1]],
        )
        prior = balanced_bce(logits, target) + dice(logits, target)
        contrast = self._contrast(features.top, near_top, inside, labels, families, pairs)
        ground = F.interpolate((labels > 0)[:, None].float(), grid, mode="area")
        thing = F.binary_cross_entropy_with_logits(model.thing(features.deep), ground)
        scalars = {"prior_loss": prior.detach(), "contrast_loss": contrast.detach(), "thing_loss": thing.detach()}
        return prior + contrast + thing, scalars

    def _contrast(
        self, top: Tensor, near_top: Tensor, inside: Tensor, labels: Tensor, families: Tensor, pairs: Tensor
    ) -> Tensor:
        """Return the contrastive loss of each shown thing against every instance on the other images."""
        count = len(top)
        grid = (top.shape[-2], top.shape[-1])
        each = torch.stack([(labels == i + 1).float() for i in range(INSTANCES)], dim=1)
        each = F.interpolate(each, grid, mode="area")
        area = each.sum(dim=(2, 3))
        pooled = torch.einsum("nchw,nihw->nic", top, each) / area.clamp(min=1e-3)[..., None]
        there = ((area > 1.0) & (families[:, 1:] > 0)).flatten()
        instances = F.normalize(pooled.flatten(0, 1), dim=1)
        whose = torch.arange(count, device=top.device)[:, None].expand(-1, INSTANCES).flatten()
        family = families[:, 1:].flatten()
        supports = F.normalize((near_top * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)).clamp(min=1), dim=1)
        every = torch.ones_like(pairs[:, 0], dtype=torch.bool)
        first = _contrastive(supports, pairs[:, 0], pairs[:, 2], every, instances, whose, family, there)
        # The instances among themselves too: both sides of these come the same way, and are easier to bring together.
        return 0.5 * (first + _contrastive(instances, whose, family, there, instances, whose, family, there))

    def validate(self, model: nn.Module, batches: Iterable[WorldBatch]) -> dict[str, list[float]]:
        assert isinstance(model, _Learner)
        ious: list[float] = []
        for batch in batches:
            features = model.backbone(to_float(batch.images), top=True)
            pairs = batch.pairs
            support_masks, query_masks = batch.masks()
            inside = F.interpolate(support_masks[:, None].float(), features.top.shape[-2:], mode="nearest")
            support = features.map(lambda x, p=pairs: x[p[:, 0]])  # type: ignore[misc]
            logits = prior_logits(model.backbone.top, support, inside, features.top[pairs[:, 1]])
            masks = F.interpolate(logits, query_masks.shape[-2:], mode="bilinear")[:, 0] > 0
            visible = query_masks.flatten(1).any(dim=1)
            ious += (100 * iou(masks, query_masks)[visible]).tolist()
        return {"mIoU": ious}

    def describe(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone,
            "image_size": self.side,
            "length": self.length,
            "random_share": self.random_share,
            "seed": self.seed,
        }

    def export(self, model: nn.Module, path: Path) -> None:
        assert isinstance(model, _Learner)
        state = {name: value.detach().cpu().contiguous() for name, value in model.backbone.state_dict().items()}
        seen = training_texts(self.training, self._before(model) + DRAWN)
        save_state(path, state, metadata={"backbone": self.backbone, **seen})

    def _before(self, model: _Learner) -> Lineage:
        """Return what the weights that it goes on from have seen."""
        if "backbone" not in self.weights:
            return Lineage()
        return lineage_in(load_metadata(self.weights["backbone"])) or Lineage(model.backbone.trained_on)


def _contrastive(
    anchors: Tensor,
    images: Tensor,
    kinds: Tensor,
    real: Tensor,
    others: Tensor,
    their_images: Tensor,
    their_kinds: Tensor,
    they_are_real: Tensor,
) -> Tensor:
    """Return the supervised contrastive loss of unit vectors against those of other images; what is not real rests."""
    other = (their_images[None] != images[:, None]) & they_are_real[None]
    scores = (anchors @ others.T / TEMPERATURE).masked_fill(~other, -1e4)
    positive = (their_kinds[None] == kinds[:, None]) & other
    logs = scores.log_softmax(dim=1).masked_fill(~positive, 0.0)
    each = -logs.sum(dim=1) / positive.sum(dim=1).clamp(min=1)
    usable = positive.any(dim=1) & real
    return (each * usable).sum() / usable.sum().clamp(min=1)
