"""What a rung of the ladder is: a published figure, its inputs, the commands that should give it, and the judgement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["DataSet", "Figure", "Rung", "Step", "fill_in"]

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class DataSet:
    """A raw data set that rungs are built from.

    Attributes:
        title: What ``icvos build-data source`` must find in its folder.
        page: Where its publisher offers it.
    """

    title: str
    page: str


@dataclass(frozen=True)
class Step:
    """A command of a rung.

    Attributes:
        what: What it does, in words.
        words: What follows ``icvos``, with placeholders in braces: a data set, a checkpoint, ``out``, ``device``,
            ``workers``.
        leaves: What is there when it is done, below the folder of all rungs: a benchmark, a run, a file of weights.
    """

    what: str
    words: tuple[str, ...]
    leaves: str


@dataclass(frozen=True)
class Figure:
    """A figure that a rung measures.

    Attributes:
        name: What it is called.
        metric: A metric of ``result.json``, percent: ``J&F``, ``mIoU``.
        runs: Run folders below the folder of all rungs; of several the mean is taken.
        printed: The published value; None where none could be sourced.
        tolerance: How far a measured value may be from it, points; None where the two are not compared.
        fold: Of a few-shot benchmark, the one fold that it is of.
    """

    name: str
    metric: str
    runs: tuple[str, ...]
    printed: float | None = None
    tolerance: float | None = None
    fold: int | None = None

    @property
    def compared(self) -> bool:
        """Whether a measured value is held against the printed one."""
        return self.printed is not None and self.tolerance is not None

    def verdict(self, measured: float) -> str:
        """Return ``reproduced``, ``off by +1.20``, or ``not compared``."""
        if self.printed is None or self.tolerance is None:
            return "not compared"
        off = measured - self.printed
        # Printed values have one or two decimals: what is on the border is within, whatever floats make of it.
        return "reproduced" if abs(off) <= self.tolerance + 1e-9 else f"off by {off:+.2f}"


@dataclass(frozen=True)
class Rung:
    """A published figure, and how it is measured here.

    Attributes:
        name, title: What it is called, and in words.
        data: Names of data sets, in ``DATA``.
        weights: Names of checkpoints, in ``CHECKPOINTS``.
        steps: Its commands, in their order.
        figures: What is measured. The first decides; the others stand beside it.
        source: Where exactly the printed values stand.
        reason: Why the tolerance is what it is; fixed before anything was measured.
        suspects: Where to look if it is off, in order.
        hours: Hours of one GPU, an estimate; None where there is no ground for one.
        basis: What the estimate rests on.
        memory: Peak memory of the GPU, or that it was not measured.
        extra: The pip extra that its model needs.
        counts: What its benchmarks have, each of them, where the data is whole: by the names of ``benchmark.json``. On
            others the figures are measured and not compared.
    """

    name: str
    title: str
    data: tuple[str, ...]
    weights: tuple[str, ...]
    steps: tuple[Step, ...]
    figures: tuple[Figure, ...]
    source: str
    reason: str
    suspects: tuple[str, ...]
    hours: float | None
    basis: str
    memory: str = "not measured"
    extra: str = "sam"
    counts: Mapping[str, int] = field(default_factory=dict)


def fill_in(words: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """Return words with their placeholders replaced.

    Raises:
        KeyError: A placeholder has no value.
    """
    return [_PLACEHOLDER.sub(lambda match: values[match[1]], word) for word in words]
