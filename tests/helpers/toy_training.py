"""A training task small enough for the tests of the loop: a linear model with dropout and a frozen batch norm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from icvos.training.task import Examples, Settings, TrainingTask


class ToyExamples:
    """(epoch, index) -> x (4,) and y (1,), a pure function."""

    def __init__(self, length: int, poison: int | None = None) -> None:
        self.length, self.poison = length, poison

    def __len__(self) -> int:
        return self.length

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        generator = np.random.default_rng((epoch, index))
        x = generator.standard_normal(4).astype(np.float32)
        if self.poison == index and epoch == 1:
            x[:] = np.nan
        return {"x": x, "y": x.sum(keepdims=True), "key": (epoch, index)}


class ToyModel(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.frozen = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.frozen.requires_grad_(False)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.frozen(x))


class ToyTask(TrainingTask):
    """A toy.

    Args:
        length: Examples of an
            epoch.
        dropout: Share that is dropped.
    """

    name = "toy"
    known_weights: ClassVar[Mapping[str, str]] = {"start": "where the toy goes on from"}

    def __init__(
        self, *, weights: Any = None, length: int = 12, dropout: float = 0.3, poison: int | None = None
    ) -> None:
        self.length, self.dropout, self.poison = length, dropout, poison

    def defaults(self) -> Settings:
        return Settings(epochs=3, batch=2, lr=1e-2)

    def model(self) -> nn.Module:
        return ToyModel(self.dropout)

    def train_examples(self) -> Examples:
        return ToyExamples(self.length, self.poison)

    def validation_examples(self) -> Examples:
        return ToyExamples(5)

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return {
            "x": torch.from_numpy(np.stack([e["x"] for e in examples])),
            "y": torch.from_numpy(np.stack([e["y"] for e in examples])),
            "keys": [e["key"] for e in examples],
        }

    def loss(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        error = model(batch["x"]) - batch["y"]
        return (error**2).mean(), {"error": error.detach().abs().mean()}

    def validate(self, model: nn.Module, batches: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
        assert not model.training
        values: list[float] = []
        for batch in batches:
            torch.rand(())  # a validation that draws must not shift what training draws
            values += (100 / (1 + (model(batch["x"]) - batch["y"]).abs().flatten())).tolist()
        return {"mIoU": values}

    def describe(self) -> dict[str, Any]:
        return {"length": self.length, "dropout": self.dropout}

    def export(self, model: nn.Module, path: Path) -> None:
        save_file({k: v.contiguous() for k, v in model.head.state_dict().items()}, path)
