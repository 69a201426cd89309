"""Groups of episodes on a crew of workers, of whatever kind: who gets what, and what one that is lost costs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from icvos.benchmark import Episode
from icvos.errors import ModelError
from icvos.evaluation.episode import EpisodeResult, Job

__all__ = ["Crew", "Group", "Listener", "ModelSpec", "Pool", "Worker", "run_groups"]

# How often a group is given to another worker after its own is gone, before the episode under way fails.
MAX_MOVES = 3


@dataclass(frozen=True)
class ModelSpec:
    """How a worker builds the model: what ``registry.create`` takes.

    Attributes:
        sha256: Of the weights by name, as the run has them; empty where that is not known.
    """

    spec: str
    device: str
    weights: dict[str, str]
    options: dict[str, Any]
    demo: bool
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Episodes that belong together.

    Attributes:
        episodes: Of one video, or one image episode.
        wanted: Ids of those whose results are missing.
        whole: Whether they are objects of one pass, which fail together.
        timing: Whether they are run for their speed alone.
    """

    episodes: list[Episode]
    wanted: frozenset[str]
    timing: bool = False
    whole: bool = False


class Worker:
    """What a worker is doing, and since when; how it is talked to is a matter of its kind.

    Attributes:
        ready: Whether its model is built.
        begun: Whether it has a place to run.
    """

    begun = True

    def __init__(self) -> None:
        self.group = Group([], frozenset())
        self.left: list[Episode] = []
        self.since = time.monotonic()
        self.ready = self.working = self.together = self.warm = False

    def send(self, group: Group) -> None:
        """Give it a group to run.

        Raises:
            OSError: It died while it had nothing to do.
        """
        raise NotImplementedError

    def receive(self) -> tuple[str, Any]:
        """Return the next thing that it says, its kind and value.

        Beside what the worker's process says there is ``died`` when that has ended by itself, and ``gone`` when what
        it ran on is not there any more; the value says why.
        """
        raise NotImplementedError

    def kill(self) -> None:
        """End it at once, whatever it does."""
        raise NotImplementedError

    def give(self, group: Group) -> None:
        self.group, self.working = group, True
        self.left = [episode for episode in group.episodes if episode.id in group.wanted]
        self.since = time.monotonic()
        self.send(group)

    def take(self, result: EpisodeResult) -> None:
        self.left = [episode for episode in self.left if episode.id != result.record["id"]]
        self.since = time.monotonic()

    def waited(self) -> dict[str, float]:
        """Return for how long it has been starting, or had nothing to do; nothing while it works."""
        return {} if self.working else {"idle" if self.ready else "starting": time.monotonic() - self.since}

    def late(self, timeout: float | None) -> bool:
        """Whether it has worked too long on what it does."""
        if timeout is None or not self.working:
            return False
        allowed = timeout * (len(self.group.episodes) if self.together or self.group.whole else 1)
        return time.monotonic() - self.since > allowed


class Crew(Protocol):
    """The workers of a run, and how they are started and heard.

    Attributes:
        workers: By number; one that replaces another has its number.
    """

    workers: list[Worker]

    def grow(self, waiting: int) -> None:
        """Start workers, as many as there is room for, where so many groups wait."""

    def replace(self, worker: Worker) -> None:
        """End a worker and start another of its number."""

    def wait(self, busy: Sequence[Any], seconds: float) -> Sequence[Worker]:
        """Return those of some workers that have something to say, as soon as one has, or when the time is over."""


@dataclass(frozen=True)
class Listener:
    """Who hears of groups of episodes while they run.

    Attributes:
        fail: Makes the result of an episode that was lost, from why it was.
        advance: Is told the number of a worker, and how many frames it has done of what it is at.
        spend: Is told the number of a worker, and seconds by part (``icvos.runs.times``) that it has spent since.
    """

    fail: Callable[[Episode, str], EpisodeResult]
    advance: Callable[[int, int], None] = lambda worker, frames: None
    spend: Callable[[int, Mapping[str, float]], None] = lambda worker, seconds: None


Pool = Callable[[ModelSpec, Path, Job, Sequence[Group], Listener], Iterator[EpisodeResult]]
"""What runs groups of episodes side by side and yields results as they come, as ``run_in_workers`` does."""


def run_groups(
    crew: Crew, groups: Sequence[Group], listener: Listener, *, timeout: float | None
) -> Iterator[EpisodeResult]:
    """Let a crew run groups of episodes, and yield results as they come; its workers end with it.

    Args:
        crew: The workers.
        groups: The episodes to run.
        listener: Who hears of it.
        timeout: Seconds that an episode may take, or None.

    Raises:
        IcvosError: The model cannot be built, or the benchmark is broken.
    """
    waiting = list(groups)
    moves: Counter[str] = Counter()
    try:
        while waiting or any(worker.working for worker in crew.workers):
            crew.grow(len(waiting))
            for worker in list(crew.workers):
                if worker.ready and not worker.working and waiting and _may_begin(waiting[0], worker, crew.workers):
                    group = waiting.pop(0)
                    try:
                        worker.give(group)
                    except OSError:
                        waiting.insert(0, group)
                        crew.replace(worker)
            busy = [worker for worker in crew.workers if worker.working or not worker.ready]
            for worker in crew.wait(busy, 0.2):
                kind, value = worker.receive()
                number = crew.workers.index(worker)
                if kind == "broken":
                    raise value
                if kind in ("died", "gone"):
                    if kind == "gone" and _may_move(worker, moves):
                        left = frozenset(episode.id for episode in worker.left)
                        waiting[:0] = [replace(worker.group, wanted=left)] if left else []
                    else:
                        yield from _lost(worker, waiting, listener.fail, value)
                    crew.replace(worker)
                elif kind == "ready":
                    listener.spend(number, worker.waited())
                    moves[""] = 0
                    worker.ready, worker.together, worker.since = True, value, time.monotonic()
                elif kind == "done":
                    listener.spend(number, value)
                    worker.left, worker.working, worker.warm, worker.since = [], False, True, time.monotonic()
                elif kind == "frames":
                    listener.advance(number, value)
                else:
                    worker.take(value)
                    listener.advance(number, 0)
                    yield value
            for worker in list(crew.workers):
                if worker.late(timeout):
                    yield from _lost(
                        worker, waiting, listener.fail, f"Timeout: no result within {timeout:g} s an episode"
                    )
                    crew.replace(worker)
    finally:
        for number, worker in enumerate(crew.workers):
            if worker.begun:
                listener.spend(number, worker.waited())
            worker.kill()


def _may_move(worker: Worker, moves: Counter[str]) -> bool:
    """Whether what a worker was at, the episode under way or the start itself, is tried by another once more."""
    name = worker.left[0].id if worker.left else ""
    moves[name] += 1
    return moves[name] <= MAX_MOVES


def _may_begin(group: Group, worker: Worker, crew: Sequence[Worker]) -> bool:
    """Whether a worker may begin a group: what is timed waits until the others are done, and for a warm one."""
    if not group.timing:
        return True
    warm = worker.warm or not any(other.warm for other in crew)
    return warm and not any(other.working for other in crew)


def _lost(
    worker: Worker, waiting: list[Group], fail: Callable[[Episode, str], EpisodeResult], why: str
) -> Iterator[EpisodeResult]:
    """Fail the episode under way; those after it in the group are tried again, each by itself.

    Where several episodes ran in one pass, none of them is known to be at fault: each is tried by itself; all fail if
    they are objects that belong together.
    """
    if not worker.ready:
        raise ModelError(f"the model cannot be built: {why}")
    left = [] if worker.group.timing else worker.left
    if worker.group.whole:
        yield from (fail(episode, why) for episode in left)
        left = []
    if left and not (worker.together and len(worker.group.episodes) > 1):
        yield fail(left[0], why)
        left = left[1:]
    waiting[:0] = [Group([episode], frozenset([episode.id])) for episode in left]
    worker.left = []
