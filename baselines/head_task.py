"""What the trainings of the few-shot baselines share: pairs of a data set, a frozen backbone, records, files."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from baselines.heads import HeadConfig, SavedHead, backbone_digest, check_backbone, open_backbone, read_head
from icvos.data.lineage import DRAWN, Lineage
from icvos.data.options import PairOptions
from icvos.data.pairs import part_seed
from icvos.datasets.pairs import PairDataset, Transform
from icvos.datasets.samples import EpisodeBatch, EpisodeSample, stack
from icvos.demo.training.examples import DrawnPairs
from icvos.errors import UsageError
from icvos.foundation.backbone import Backbone
from icvos.training.loss import iou
from icvos.training.task import Examples, TrainingTask, check_options

__all__ = ["PAIRS", "HeadTask", "PairTask"]

#: Pairs of the synthetic world.
PAIRS = PairOptions()
#: Pairs of the drawn world that validation takes.
DRAWN_VALIDATION = 64


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
            self._opened[part] = self._open(part)
        return self._opened[part]

    def _open(self, part: str) -> Examples:
        """Return a part's pairs; of the drawn world those of its training shapes, validation from another stream."""
        size = self.config.image_size
        if self.source.data == "demo":
            length = self.source.length if part == "train" else DRAWN_VALIDATION
            return DrawnPairs(size, part_seed(self.source, part), length)
        return PairDataset.open(self.source, part, size=size, transform=self.transform(part))

    def transform(self, part: str) -> Transform | None:
        """Return what becomes of the images of a data set; None squeezes them to squares."""
        return None

    def collate(self, examples: Sequence[EpisodeSample]) -> EpisodeBatch:
        return stack(examples)

    # --------------------------------------------------------------------------------------------------- validation

    @abstractmethod
    def masks(self, model: nn.Module, batch: EpisodeBatch) -> Tensor:
        """Return the (B, S, S) bool masks that the model finds."""

    def truth(self, batch: EpisodeBatch) -> Tensor:
        """Return the queries' (B, S, S) masks: bool, or uint8 with 255 where nothing is known."""
        return batch.masks[:, 0]

    def validate(self, model: nn.Module, batches: Iterable[EpisodeBatch]) -> dict[str, list[float]]:
        """Return the IoU of each pair, and of those whose query shows the thing."""
        every: list[float] = []
        seen: list[float] = []
        for batch in batches:
            labels = self.truth(batch)
            known, truth = labels != 255, labels == 1
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
        pairs = self.train_examples()
        examples = {"examples": pairs.describe()} if isinstance(pairs, PairDataset) else {}
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
        pairs = self.train_examples()
        lineage = pairs.lineage() if isinstance(pairs, PairDataset) else DRAWN
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
