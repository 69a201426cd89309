"""From examples to batches: which example each rank sees at each step is a pure function of the step."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from icvos.datasets.fields import TensorFields
from icvos.training.distribute import World
from icvos.training.task import Examples, Settings, TrainingTask

__all__ = ["batches", "steps_per_epoch", "to_device", "validation_batches"]


class _Addressed(Dataset):
    """Examples behind (epoch, index) keys, as torch's loader wants them."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, str]:
        return self.examples.get(*key), f"epoch {key[0]}, example {key[1]}"


class _Steps(Sampler):
    """Batches of (epoch, index) keys of one rank, from a step on.

    Micro-batch ``m`` of a step on rank ``r`` takes the examples ``((step * accumulate + m) * size + r) * batch + i`` of
    an endless row of epochs: ranks never share one, and two processes with batch 1 see what one with batch 2 sees.
    """

    def __init__(self, length: int, settings: Settings, world: World, first: int, last: int) -> None:
        self.length, self.settings, self.world, self.first, self.last = length, settings, world, first, last

    def __len__(self) -> int:
        return (self.last - self.first) * self.settings.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        settings, world = self.settings, self.world
        group = settings.batch * world.size * settings.accumulate
        whole = max(self.length // group, 1)
        for step in range(self.first, self.last):
            epoch, step_in_epoch = divmod(step, whole)
            for micro in range(settings.accumulate):
                start = ((step_in_epoch * settings.accumulate + micro) * world.size + world.rank) * settings.batch
                # An epoch shorter than one step is gone through again within the step.
                yield [(epoch, (start + i) % self.length) for i in range(settings.batch)]


def steps_per_epoch(length: int, settings: Settings, world: World) -> int:
    """Return the optimiser steps of one epoch of ``length`` examples; what does not fill a step is left out."""
    return max(length // (settings.batch * world.size * settings.accumulate), 1)


def batches(
    task: TrainingTask, examples: Examples, settings: Settings, world: World, first: int, last: int
) -> DataLoader:
    """Return a loader of this rank's training batches from step ``first`` up to ``last``.

    Each comes as (batch, names): what the task's ``collate`` returns, and the names of the examples in it.
    """
    return _loader(task, examples, _Steps(len(examples), settings, world, first, last), settings, world)


def validation_batches(task: TrainingTask, examples: Examples, settings: Settings, world: World) -> DataLoader:
    """Return a loader, as ``batches`` does, of this rank's share of the validation examples, those of epoch 0."""
    mine = [(0, index) for index in range(world.rank, len(examples), world.size)]
    groups = [mine[start : start + settings.batch] for start in range(0, len(mine), settings.batch)]
    return _loader(task, examples, groups, settings, world)


class _Loader(DataLoader):
    """A loader whose processes leave Ctrl-C, which reaches all of a terminal, to the process that trains."""

    def __iter__(self) -> Any:
        try:
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # they inherit the ignoring
        except ValueError:  # not in the main thread
            return super().__iter__()
        try:
            return super().__iter__()
        finally:
            signal.signal(signal.SIGINT, before)


def _loader(task: TrainingTask, examples: Examples, keys: Any, settings: Settings, world: World) -> DataLoader:
    return _Loader(
        _Addressed(examples),
        batch_sampler=keys,
        collate_fn=_Collate(task),
        num_workers=settings.workers,
        pin_memory=world.device.type == "cuda",
        multiprocessing_context="spawn" if settings.workers else None,
        prefetch_factor=4 if settings.workers else None,
        # The loader draws a base seed from a generator of its own: the global stream stays the model's.
        generator=torch.Generator().manual_seed(settings.seed),
    )


class _Collate:
    """The task's ``collate``, with the examples' names beside the batch."""

    def __init__(self, task: TrainingTask) -> None:
        self.collate = task.collate

    def __call__(self, examples: list[tuple[Any, str]]) -> tuple[Any, list[str]]:
        return self.collate([example for example, _ in examples]), [name for _, name in examples]


def to_device(batch: Any, device: torch.device) -> Any:
    """Return a batch, ``TensorFields`` or a mapping, with its tensors on a device."""
    if isinstance(batch, TensorFields):
        return batch.to(device)
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for key, value in batch.items()
    }
