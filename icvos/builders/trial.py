"""What a build would cost: a few of its tasks done in a temporary folder, timed and removed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from icvos.builders.writer import check_place
from icvos.costs import Cost, disk_cost, in_gib, in_seconds, peak_resident
from icvos.errors import InputError
from icvos.files import absolute_path, work_folder
from icvos.processes import available_memory, in_order

__all__ = ["BuildTrial", "Sample", "spread", "trial_folder", "try_tasks"]

T = TypeVar("T")
R = TypeVar("R")

#: Tasks that are done at most, and seconds after which no further one is begun.
TASKS, ENOUGH = 24, 5.0


@dataclass(frozen=True)
class Sample:
    """What a few tasks took.

    Attributes:
        what: What is counted, as ``frames``.
        done: How many.
        seconds: Of one process after another.
        memory: Peak bytes of a process that did them.
        total: How many there are in the build.
        parallel: How many processes do them.
    """

    what: str
    done: int
    seconds: float
    memory: int
    total: int
    parallel: int = 1

    @property
    def each(self) -> float:
        """Seconds of one."""
        return self.seconds / max(self.done, 1)

    @property
    def whole(self) -> float:
        """Seconds of all in the build."""
        return self.total * self.each / self.parallel

    @property
    def words(self) -> str:
        """What was multiplied by what."""
        shared = f" / {self.parallel}" if self.parallel > 1 else ""
        return f"{self.total:,} {self.what} × {in_seconds(self.each)}{shared}"


@dataclass(frozen=True)
class BuildTrial:
    """What a build would cost.

    Attributes:
        out: The benchmark's folder.
        samples: What was timed, each kind of work once.
        need: Bytes to be written.
        files: What they are.
        workers: Processes of the build.
    """

    out: Path
    samples: tuple[Sample, ...]
    need: int
    files: str
    workers: int

    @property
    def seconds(self) -> float:
        """Of the whole build."""
        return sum(sample.whole for sample in self.samples)

    def costs(self) -> list[Cost]:
        """Return the rows of a table."""
        timed = ", ".join(f"{sample.done:,} {sample.what}" for sample in self.samples)
        how = f"{' + '.join(sample.words for sample in self.samples)}; {timed} built where the folder goes, and removed"
        own, workers = peak_resident(), max(sample.memory for sample in self.samples)
        several = self.workers > 1
        peak = own + self.workers * workers if several else own
        memory = "the peak of this process, building those"
        if several:
            memory = f"{in_gib(own)} of this process, and {self.workers} workers × {in_gib(workers)}, building those"
        available = available_memory()
        memory += "" if available is None else f"; {in_gib(available)} can be had now"
        return [
            Cost("time", in_seconds(self.seconds), how),
            Cost("memory", in_gib(peak), memory),
            disk_cost(self.need, self.out, self.files),
        ]


@contextmanager
def trial_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out``, on the same disk, that is removed again; its nearest parent that is there holds it.

    Raises:
        InputError: Nothing can be written there.
        BenchmarkError: ``out`` is there already, as the build would say.
    """
    check_place(out)
    parent = absolute_path(out).parent
    while not parent.exists():
        parent = parent.parent
    stack = ExitStack()
    try:
        folder = stack.enter_context(work_folder(".icvos-trial", parent))
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        raise InputError(f"nothing can be written here ({reason})", where=parent, fix="choose another --out") from None
    with stack:
        yield folder


def spread(items: Sequence[T], most: int = TASKS) -> list[T]:
    """Return so many items at most, from the first to the last in equal steps."""
    steps = min(most, len(items))
    return [items[round(i * (len(items) - 1) / max(steps - 1, 1))] for i in range(steps)]


def try_tasks(
    function: Callable[[T], R], tasks: Iterable[T], *, what: str, total: int, size: Callable[[R], int], workers: int
) -> Sample:
    """Do tasks of a build for some seconds, in as many processes as the build will have.

    Args:
        function, tasks, workers: As for ``processes.in_order``.
        what: What is counted, in the plural.
        total: How many there are in the build.
        size: How many a result stands for.
    """
    since = time.monotonic()
    done, seconds, memory = 0, 0.0, 0

    def while_there_is_time() -> Iterator[T]:
        for number, task in enumerate(tasks):
            # Each process has one at least.
            if number >= workers and time.monotonic() - since > ENOUGH:
                return
            yield task

    for result, took, peak in in_order(partial(_measured, function), while_there_is_time(), workers):
        done, seconds, memory = done + size(result), seconds + took, max(memory, peak)
    cores = len(os.sched_getaffinity(0))
    return Sample(what, done, seconds, memory, total, max(min(workers, cores), 1))


def _measured(function: Callable[[T], R], task: T) -> tuple[R, float, int]:
    begin = time.perf_counter()
    result = function(task)
    return result, time.perf_counter() - begin, peak_resident()
