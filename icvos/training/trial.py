"""What a training would cost: a few of its steps and a batch of its validation, timed; nothing is written."""

from __future__ import annotations

import math
import resource
from dataclasses import dataclass
from statistics import median

import torch

from icvos.progress import duration
from icvos.training.data import batches
from icvos.training.loop import Trainer, set_training_mode

__all__ = ["Trial", "try_steps"]

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
        memory: Peak in bytes: of the GPU where there is one, else of the process.
        steps, validations: Of the whole training.
        examples, validation_examples: Of a step and of a validation, in one process.
        workers: Data-loading processes of the training.
    """

    computing: tuple[float, ...]
    loading: tuple[float, ...]
    validating: float
    loss: float
    memory: int
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
            f"to load {self.examples:,} examples; loss {self.loss:.4f}, peak memory {self.memory / 2**30:.2f} GiB",
            f"{self.steps:,} steps: {_time(self.computing_total)} to compute, {_time(self.loading_total)} "
            f"to load the data {how}",
        ]
        if self.validations:
            each = f"{self.validation_examples:,} examples, {_time(self.validating)} each"
            lines.append(f"{self.validations:,} validation(s) of {each}")
        return [*lines, f"in all about {_time(self.total)}"]


def try_steps(trainer: Trainer, *, workers: int) -> Trial:
    """Time some steps of a trainer, which is of no use afterwards.

    Args:
        trainer: Loads its examples itself (``Settings.workers`` is 0), so that what loading takes is seen apart.
        workers: Data-loading processes of the training.
    """
    world, settings, clock = trainer.world, trainer.settings, trainer.clock
    stream = iter(batches(trainer.task, trainer.examples, settings, world, 0, WARM + MOST))
    computing: list[float] = []
    loading: list[float] = []
    set_training_mode(trainer.model)
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
    return Trial(
        computing=tuple(computing),
        loading=tuple(loading),
        validating=(clock() - begin) * max(share / settings.batch, 1),
        loss=values["loss"],
        memory=torch.cuda.max_memory_allocated(world.device)
        if world.device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        steps=trainer.steps,
        validations=validations if share else 0,
        examples=settings.batch * settings.accumulate,
        validation_examples=share,
        workers=workers,
    )


def _spread(seconds: tuple[float, ...]) -> str:
    return f"{_time(median(seconds))} ({_time(min(seconds))} to {_time(max(seconds))})"


def _time(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
