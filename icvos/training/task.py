"""What a method brings to be trained by ``icvos train``: its model, its loss and its data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from icvos.errors import UsageError, did_you_mean
from icvos.plugins import class_in, import_plugin, split_target

if TYPE_CHECKING:
    import torch

__all__ = ["Examples", "GraphedStep", "Settings", "TrainingTask", "check_options", "resolve_task"]


class Examples(Protocol):
    """Training or validation examples as a pure function of (epoch, index): no hidden generator, any worker.

    ``__len__`` is the number of examples of one epoch. ``get(epoch, index)`` returns one example as the task's
    ``collate`` takes it, for instance a mapping of numpy arrays; it must be picklable to data-loading processes. The
    data sets of ``icvos.datasets`` are such examples.
    """

    def __len__(self) -> int: ...

    def get(self, epoch: int, index: int) -> Any: ...


class GraphedStep(Protocol):
    """An optimiser step as one CUDA graph: returns ``loss`` and further scalars of a batch, on the device."""

    def __call__(self, batch: Any) -> dict[str, torch.Tensor]: ...

    def plainly(self, batch: Any) -> dict[str, torch.Tensor]:
        """Do one step without a graph."""


@dataclass(frozen=True)
class Settings:
    """How to train; a task's ``defaults`` give its paper's values.

    Attributes:
        epochs, max_steps: Length; ``max_steps`` (optimiser steps) cuts it when not None.
        batch: Examples a process and step, before accumulation.
        accumulate: Batches whose gradients are summed into one step.
        lr, weight_decay: Of the task's optimiser (AdamW, if it names no other); the rate follows the task's curve (a
            cosine to zero over all steps, if it gives no other).
        warmup: Steps of linear warm-up.
        clip: Largest gradient norm, or None.
        precision: ``fp32`` or ``bf16`` (autocast).
        workers: Data-loading processes a rank.
        validate_every: Epochs between validations; 0 never.
        save_every: Steps between checkpoints (one is written at each epoch's end too); 0 for epochs only.
        average: Decay of an exponential mean of the weights, which is what is validated and exported; 0 takes none.
        seed: Of every random choice.
        graphs: Run each step as one CUDA graph (small models on one GPU, a loss without a look at the host).
    """

    epochs: int = 1
    max_steps: int | None = None
    batch: int = 2
    accumulate: int = 1
    lr: float = 1e-4
    weight_decay: float = 1e-6
    warmup: int = 0
    clip: float | None = None
    precision: str = "fp32"
    workers: int = 0
    validate_every: int = 1
    save_every: int = 0
    average: float = 0.0
    seed: int = 0
    graphs: bool = False


class TrainingTask(ABC):
    """A method's training: built once a process, in every process alike.

    ``icvos train --list`` shows the first line of a subclass's docstring, ``icvos train NAME --help`` its options: the
    keyword arguments of ``__init__``, as the docstring's ``Args`` explain them.

    Attributes:
        name: As ``icvos train NAME``.
        known_weights: The weights that it takes, by name, and what each is for.
    """

    name: str
    known_weights: ClassVar[Mapping[str, str]] = {}
    #: What exported weights say of their training (``icvos.foundation.trainings``); the loop sets it before ``export``.
    training: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def defaults(self) -> Settings:
        """Return the settings that the method's paper or authors use."""

    @abstractmethod
    def model(self) -> torch.nn.Module:
        """Build the model, its start weights loaded; what is frozen has ``requires_grad`` False."""

    @abstractmethod
    def train_examples(self) -> Examples:
        """Return the training examples."""

    def validation_examples(self) -> Examples | None:
        """Return validation examples (of the training classes, never of the test fold), or None."""
        return None

    @abstractmethod
    def collate(self, examples: Sequence[Any]) -> Any:
        """Join examples to a batch, ``TensorFields`` or a mapping; the loop moves the tensors in it to the device."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss (a mean over the batch) and further scalars to log. Gradients flow through the loss only."""

    def validate(self, model: torch.nn.Module, batches: Iterable[Any]) -> dict[str, list[float]]:
        """Return validation figures as what each example adds; the loop takes the mean over the examples of all ranks.

        ``mIoU`` (percent) selects the best checkpoint. The model is in eval mode. A rank may have no batch at all.
        """
        return {}

    def parameter_groups(self, model: torch.nn.Module, settings: Settings) -> list[dict[str, Any]]:
        """Return the optimiser's groups; by default one of all that requires gradients."""
        return [{"params": [p for p in model.parameters() if p.requires_grad]}]

    def optimiser(self, groups: list[dict[str, Any]], settings: Settings) -> torch.optim.Optimizer:
        """Return the optimiser of the groups; AdamW where a method's authors used no other."""
        import torch

        return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)

    def graphed_step(
        self,
        compute: Callable[[Any], tuple[torch.Tensor, dict[str, torch.Tensor]]],
        optimiser: torch.optim.Optimizer,
        parameters: Sequence[torch.nn.Parameter],
        settings: Settings,
    ) -> GraphedStep | None:
        """Return how a step runs as one CUDA graph, where ``settings.graphs`` asks for it; None runs it as usual."""
        return None

    def rate(self, step: int, steps: int, settings: Settings) -> float:
        """Return what the learning rate is multiplied by at a step: a linear warm-up, then a cosine to zero."""
        warm = settings.warmup
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))

    def notes(self, model: torch.nn.Module) -> list[str]:
        """Return lines to print before the start, or raise what forbids it."""
        return []

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what was trained on what, as JSON values: a run resumes only where this is the same."""

    @abstractmethod
    def export(self, model: torch.nn.Module, path: Path) -> None:
        """Write the trained weights as ``icvos evaluate --weights`` takes them."""


def check_options(
    task: str, *, weights: Mapping[str, Path], known: Collection[str], **least: tuple[float, float]
) -> None:
    """Compare a task's weights and numbers with what it takes.

    Args:
        task: Its name.
        weights: As given.
        known: The names that it takes.
        least: For each number its value and the smallest allowed; ``…_share`` lies between that and 1.

    Raises:
        UsageError: One is unknown, or too small or great.
    """
    for name in weights:
        if name not in known:
            raise UsageError(f"'{task}' takes no weights '{name}'", fix=did_you_mean(name, known))
    for name, (value, low) in least.items():
        share = name.endswith("_share")
        if not (low <= value <= 1 if share else low <= value):
            raise UsageError(f"option {name} is {value}", expected=f"{low} to 1" if share else f"{low} or more")


GROUP = "icvos.trainers"


def resolve_task(spec: str) -> type[TrainingTask]:
    """Return the task that a name (or ``package.module:Class``) stands for.

    Raises:
        UsageError: There is none.
    """
    module, attribute = split_target(spec, GROUP, unknown="nothing to train is called")
    loaded = import_plugin(module, extra="train", feature="the trainer in")
    expected = "a subclass of icvos.training.task.TrainingTask"
    return class_in(loaded, attribute, bases=(TrainingTask,), kind="training task", expected=expected, where=module)
