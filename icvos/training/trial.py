"""What a training would cost: a few steps and a batch of validation, timed; its files, measured and removed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from icvos.costs import bytes_in, disk_cost, in_bytes, in_gib, in_seconds, memory_cost, peak_resident
from icvos.files import work_folder
from icvos.training.data import batches
from icvos.training.logs import TrainingLog
from icvos.training.loop import Trainer

__all__ = ["Trial", "seconds_a_step", "try_steps"]

#: Steps that are not timed: libraries choose their algorithms in them, and memory is asked for.
WARM = 2
#: Steps that are timed: at least, and at most where a step is short.
LEAST, MOST = 3, 50
#: Seconds after which no further step is timed.
ENOUGH = 5.0


@dataclass(frozen=True)
class Trial:
    """What a few steps took.

    Attributes:
        computing: Seconds of each timed step without loading its examples.
        loading: Seconds of loading the examples of each timed step, in one process.
        validating: Seconds of one validation, from its first batch.
        loss: Of the last step.
        memory: Peak bytes of this process.
        gpu_memory: Peak bytes of the GPU, or None.
        checkpoint, weights: Bytes of the checkpoint, and of the weights at the end.
        logs: Bytes of the logs of all steps.
        out: The training's folder.
        steps, validations: Of the whole training.
        examples, validation_examples: Of a step and of a validation, in one process.
        workers: Data-loading processes of the training.
    """

    computing: tuple[float, ...]
    loading: tuple[float, ...]
    validating: float
    loss: float
    memory: int
    gpu_memory: int | None
    checkpoint: int
    weights: int
    logs: int
    out: Path
    steps: int
    validations: int
    examples: int
    validation_examples: int
    workers: int

    @property
    def computing_total(self) -> float:
        """Seconds that all steps compute, from the median."""
        return self.steps * median(self.computing)

    @property
    def loading_total(self) -> float:
        """Seconds that the training's processes take to load the examples of all steps, from the median."""
        return self.steps * median(self.loading) / max(self.workers, 1)

    @property
    def total(self) -> float:
        """Seconds of the whole training; data-loading processes load while it computes."""
        parts = (self.computing_total, self.loading_total)
        return (max(parts) if self.workers else sum(parts)) + self.validations * self.validating

    def lines(self) -> list[str]:
        """Return the trial in words."""
        how = f"meanwhile, in {self.workers} process(es)" if self.workers else "in turn (--workers N: meanwhile)"
        lines = [
            f"a step, median of {len(self.computing)}: {_spread(self.computing)} to compute, {_spread(self.loading)} "
            f"to load {self.examples:,} examples; loss {self.loss:.4f}",
            f"{self.steps:,} steps: {in_seconds(self.computing_total)} to compute, {in_seconds(self.loading_total)} "
            f"to load the data {how}",
        ]
        if self.validations:
            each = f"{self.validation_examples:,} examples, {in_seconds(self.validating)} each"
            lines.append(f"{self.validations:,} validation(s) of {each}")
        gpu = "" if self.gpu_memory is None else f", and {in_gib(self.gpu_memory)} of the GPU"
        for cost in (
            memory_cost(self.memory, 1, f"the peak of this process{gpu}"),
            disk_cost(self.disk, self.out, self._files()),
        ):
            lines.append(f"{cost.what} {cost.amount}: {cost.how}")
        return [*lines, f"in all about {in_seconds(self.total)}"]

    @property
    def disk(self) -> int:
        """Bytes that the training's folder takes at most."""
        # A checkpoint stays until the next one is whole.
        return 2 * self.checkpoint + self._kept * self.weights + self.logs

    @property
    def _kept(self) -> int:
        return 2 if self.validations else 1

    def _files(self) -> str:
        best = ", the last and the best" if self.validations else ""
        return (
            f"checkpoint {in_bytes(self.checkpoint)}, two while one replaces the other, weights "
            f"{in_bytes(self.weights)}{best}, logs {in_bytes(self.logs)}"
        )


def try_steps(trainer: Trainer, *, workers: int) -> Trial:
    """Time some steps of a trainer, which is of no use afterwards, and write its files into a temporary folder.

    Args:
        trainer: Loads its examples itself (``Settings.workers`` is 0), so that what loading takes is seen apart.
        workers: Data-loading processes of the training.
    """
    world, settings, clock = trainer.world, trainer.settings, trainer.clock
    stream = iter(batches(trainer.task, trainer.examples, settings, world, 0, WARM + MOST))
    computing: list[float] = []
    loading: list[float] = []
    for _ in range(WARM):
        values, _ = trainer.one_step(stream)
    since = clock()
    # Every rank does the same number of steps, or one would wait for the others for ever.
    while len(computing) < LEAST or (len(computing) < MOST and world.any(clock() - since < ENOUGH)):
        begin = clock()
        values, wait = trainer.one_step(stream)
        if world.device.type == "cuda":
            torch.cuda.synchronize(world.device)
        computing.append(clock() - begin - wait)
        loading.append(wait)
    every = settings.validate_every
    validations = math.ceil(math.ceil(trainer.steps / trainer.per_epoch) / every) if every else 0
    examples = trainer.task.validation_examples() if validations else None
    share = -(-len(examples) // world.size) if examples is not None else 0
    begin = clock()
    if examples is not None and share:
        trainer.figures(examples, limit=1)
    out = trainer.out
    checkpoint, weights, logs = _written(trainer, values)
    cuda = world.device.type == "cuda"
    return Trial(
        computing=tuple(computing),
        loading=tuple(loading),
        validating=(clock() - begin) * max(share / settings.batch, 1),
        loss=values["loss"],
        memory=peak_resident(),
        gpu_memory=torch.cuda.max_memory_allocated(world.device) if cuda else None,
        checkpoint=checkpoint,
        weights=weights,
        logs=logs,
        out=out,
        steps=trainer.steps,
        validations=validations if share else 0,
        examples=settings.batch * settings.accumulate,
        validation_examples=share,
        workers=workers,
    )


def seconds_a_step(trainer: Trainer, count: int) -> float:
    """Return the mean seconds of a step, its data with it, over the second half of ``count`` steps.

    Args:
        trainer: Writes nothing, and is of no use afterwards.
        count: 4 or more.
    """
    stream = iter(batches(trainer.task, trainer.examples, trainer.settings, trainer.world, 0, count))
    half = count // 2
    for _ in range(half + 1):
        trainer.one_step(stream)
    begin = trainer.clock()
    for _ in range(count - half - 1):
        trainer.one_step(stream)
    return (trainer.clock() - begin) / (count - half - 1)


def _written(trainer: Trainer, values: dict[str, float]) -> tuple[int, int, int]:
    """Return the bytes of a trainer's checkpoint, of its weights, and of the logs of all its steps."""
    with work_folder("icvos-trial") as folder:
        trainer.out = folder
        trainer.save()
        if not trainer.world.main:
            return 0, 0, 0
        checkpoint = bytes_in(trainer.out)
        trainer.task.export(trainer.model, trainer.out / "last.safetensors")
        weights = bytes_in(trainer.out) - checkpoint
        log = TrainingLog(trainer.out / "logs", 0)
        for _ in range(MOST):
            log.add(trainer.steps, values)
        log.close()
        return checkpoint, weights, bytes_in(trainer.out / "logs") * trainer.steps // MOST


def _spread(seconds: tuple[float, ...]) -> str:
    return f"{in_seconds(median(seconds))} ({in_seconds(min(seconds))} to {in_seconds(max(seconds))})"
