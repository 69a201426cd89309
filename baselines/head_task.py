"""What the trainings of the few-shot baselines share: pairs of a data set, a frozen backbone, records, files."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from baselines.heads import HeadConfig, SavedHead, backbone_digest, check_backbone, open_backbone, read_head
from icvos.data.lineage import DRAWN, Lineage
from icvos.data.options import PairOptions
from icvos.data.pairs import ImagePairs, open_sampler, part_seed, sampler_lineage
from icvos.data.sampler import EpisodeSampler
from icvos.demo.training.examples import DrawnPairs
from icvos.errors import UsageError
from icvos.foundation.backbone import Backbone
from icvos.training.data import Batch
from icvos.training.loss import iou
from icvos.training.task import Examples, TrainingTask, check_options

__all__ = ["PAIRS", "HeadTask", "PairBatch", "PairTask"]

#: Pairs of the synthetic world.
PAIRS = PairOptions()
#: Pairs of the drawn world that validation takes.
DRAWN_VALIDATION = 64


@dataclass(frozen=True)
class PairBatch(Batch):
    """B pairs of a support and a query.

    Attributes:
        support, query: (B, S, S, 3) uint8.
        support_mask: (B, S, S) bool.
        truth: (B, S, S) of the query, bool, or uint8 with 255 where nothing is known.
    """

    support: Tensor
    support_mask: Tensor
    query: Tensor
    truth: Tensor


class Squares(Protocol):
    """Sizes of a head, a dataclass, that say the side of the squares it is trained on."""

    @property
    def image_size(self) -> int: ...


class PairTask(TrainingTask):
    """The training of a head on pairs.

    The authors pick their best epoch on the test fold's classes; here validation is on images of the training split and
    its classes that training never sees.

    Args:
        weights: See ``known_weights``.
        source: The training data.
    """

    def __init__(self, *, weights: Mapping[str, Path] | None = None, source: PairOptions = PAIRS) -> None:
        self.weights = {name: Path(path) for name, path in (weights or {}).items()}
        check_options(self.name, weights=self.weights, known=self.known_weights)
        self.source = source
        self._opened: dict[str, Examples] = {}
        self._samplers: dict[str, EpisodeSampler] = {}
        self._hashes: dict[str, str] = {}
        self._digest = ""

    # -------------------------------------------------------------------------------------------------------- model

    @property
    @abstractmethod
    def config(self) -> Squares:
        """The sizes of the head that is trained."""

    def start(self) -> SavedHead | None:
        """Return the head to go on from, if one was given."""
        return read_head(self.weights[self.name], self.name) if self.name in self.weights else None

    # --------------------------------------------------------------------------------------------------------- data

    def train_examples(self) -> Examples:
        return self._examples("train")

    def validation_examples(self) -> Examples | None:
        return self._examples("validation")

    def _examples(self, part: str) -> Examples:
        if part not in self._opened:
            self._opened[part] = (
                self.drawn(part) if self.source.data == "demo" else self.pairs(self.sampler(part), part)
            )
        return self._opened[part]

    def drawn(self, part: str) -> Examples:
        """Return pairs of the drawn world's training shapes; validation draws from another stream."""
        length = self.source.length if part == "train" else DRAWN_VALIDATION
        return DrawnPairs(self.config.image_size, part_seed(self.source, part), length)

    def pairs(self, sampler: EpisodeSampler, part: str) -> Examples:
        """Return pairs of a data set's images, squeezed to squares."""
        return ImagePairs(sampler, self.config.image_size)

    def sampler(self, part: str) -> EpisodeSampler:
        """Return the sampler of the data set's pairs."""
        if part not in self._samplers:
            self._samplers[part] = open_sampler(self.source, part)
        return self._samplers[part]

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> PairBatch:
        return PairBatch(
            support=torch.from_numpy(np.stack([e["support"] for e in examples])),
            support_mask=torch.from_numpy(np.stack([e["support_mask"] for e in examples])),
            query=torch.from_numpy(np.stack([e["frames"][0] for e in examples])),
            truth=torch.from_numpy(np.stack([e["masks"][0] for e in examples])),
        )

    # --------------------------------------------------------------------------------------------------- validation

    @abstractmethod
    def masks(self, model: nn.Module, batch: PairBatch) -> Tensor:
        """Return the (B, S, S) bool masks that the model finds."""

    def validate(self, model: nn.Module, batches: Iterable[PairBatch]) -> dict[str, list[float]]:
        """Return the IoU of each pair, and of those whose query shows the thing."""
        every: list[float] = []
        seen: list[float] = []
        for batch in batches:
            known, truth = batch.truth != 255, batch.truth == 1
            values = 100 * iou(self.masks(model, batch) & known, truth)
            every += values.tolist()
            seen += values[truth.flatten(1).any(dim=1)].tolist()
        return {"mIoU": every, "visible_IoU": seen}

    # ------------------------------------------------------------------------------------------------------ records

    def describe(self) -> dict[str, Any]:
        from icvos.files import file_sha256

        for name, path in sorted(self.weights.items()):
            if name not in self._hashes:
                self._hashes[name] = file_sha256(path)
        examples = {} if self.source.data == "demo" else {"examples": self.sampler("train").describe()}
        sizes: Any = self.config
        config = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(sizes).items()}
        return {
            **{name: getattr(self.source, name) for name in ("data", "fold", "length", "seed")},
            "config": config,
            "weights": self._hashes,
            **examples,
        }

    def trained_on(self) -> dict[str, Any]:
        """Return what a head's file says of its training: data sets and categories, and those of the head before."""
        lineage = DRAWN if self.source.data == "demo" else sampler_lineage(self.sampler("train"))
        said = {"training": dict(self.training)} if self.training else {}
        return {"data": self.source.data, "fold": self.source.fold, **(self._before + lineage).record(), **said}

    @cached_property
    def _before(self) -> Lineage:
        saved = self.start()
        return (Lineage.of_record(saved.metadata) if saved is not None else None) or Lineage()


class HeadTask(PairTask):
    """The training of a head on a frozen backbone."""

    @property
    @abstractmethod
    def config(self) -> HeadConfig: ...

    def frozen_backbone(self) -> Backbone:
        """Return the backbone with its weights.

        Raises:
            UsageError: None was given.
            WeightsError: It is of another model, or not the one that the head to go on from was trained on.
        """
        if "backbone" not in self.weights:
            raise UsageError(
                f"{self.name} needs a trained backbone", fix="give --weights backbone=PATH ('icvos weights list')"
            )
        path = self.weights["backbone"]
        backbone = open_backbone(self.config.backbone, self.config.backbone_options, path)
        self._digest = backbone_digest(backbone)
        saved = self.start()
        if saved is not None:
            check_backbone(saved, backbone, path)
        return backbone
