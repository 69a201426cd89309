"""Evaluating in worker processes: one that dies or hangs costs its episode, not the run; none outlives its parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from icvos.benchmark import Episode, load_benchmark
from icvos.errors import IcvosError, ModelError, UsageError
from icvos.evaluation.episode import EpisodeResult, Job, failure, run_image_episode, run_video_episodes
from icvos.models.interface import ImageModel
from icvos.models.registry import as_video_model, create

__all__ = ["ModelSpec", "run_in_workers"]


@dataclass(frozen=True)
class ModelSpec:
    """How a worker builds the model: what ``registry.create`` takes."""

    spec: str
    device: str
    weights: dict[str, str]
    options: dict[str, Any]
    demo: bool


class _Worker:
    """A worker process, what it is doing, and since when."""

    def __init__(self, context: Any, start: tuple) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, os.getpid(), *start), daemon=True)
        self.process.start()
        theirs.close()
        self.group: list[Episode] = []
        self.since = time.monotonic()
        self.ready = self.working = False

    def give(self, group: Sequence[Episode]) -> None:
        self.group, self.working = list(group), True
        self.since = time.monotonic()
        self.pipe.send(self.group)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _die_with_parent(parent: int) -> None:
    # Linux: the kernel kills this process when its parent goes, however it goes.
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(1)


def _work(pipe: Connection, parent: int, spec: ModelSpec, root: Path, job: Job, threads: int) -> None:
    """The worker's life: build the model, then run the groups that come; each result goes back as it is there."""
    _die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        benchmark = load_benchmark(root)
        model = create(spec.spec, device=spec.device, weights=spec.weights, options=spec.options, demo=spec.demo)
        _limit_threads(threads)
        image = benchmark.kind == "image"
        video_model = None if image else as_video_model(model)
    except Exception as error:
        pipe.send(("broken", error if isinstance(error, IcvosError) else ModelError(_line(error))))
        return
    pipe.send(("ready", None))
    with ThreadPoolExecutor(2) as pool:
        while True:
            try:
                group = pipe.recv()
            except (EOFError, OSError):
                return
            try:
                if image:
                    if not isinstance(model, ImageModel):
                        raise UsageError("a video model")
                    for episode in group:
                        pipe.send(("result", run_image_episode(model, benchmark, episode, job)))
                else:
                    assert video_model is not None
                    for result in run_video_episodes(video_model, benchmark, group, job, pool):
                        pipe.send(("result", result))
                pipe.send(("done", None))
            except IcvosError as error:
                pipe.send(("broken", error))
                return


def _line(error: BaseException) -> str:
    return f"the model cannot be built: {type(error).__name__}: {' '.join(str(error).split())}"


def _limit_threads(threads: int) -> None:
    import sys

    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def run_in_workers(
    spec: ModelSpec,
    root: Path,
    job: Job,
    groups: Sequence[Sequence[Episode]],
    *,
    workers: int,
    timeout: float | None,
    fail: Callable[[Episode, str], EpisodeResult],
) -> Iterator[EpisodeResult]:
    """Run groups of episodes in processes and yield results as they come.

    Args:
        spec: The model.
        root: The benchmark's folder.
        job: How to run.
        groups: Episodes that belong together (of one video).
        workers: Processes.
        timeout: Seconds that one episode may take (a group: as many times that as it has episodes), or None.
        fail: Makes the result of an episode that was lost.

    Raises:
        IcvosError: The model cannot be built, or the benchmark is broken.
    """
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    start = (spec, root, job, max(cores // workers, 1))
    waiting = [list(group) for group in groups]
    crew: list[_Worker] = []
    try:
        crew = [_Worker(context, start) for _ in range(min(workers, max(len(waiting), 1)))]
        while waiting or any(worker.working for worker in crew):
            for worker in crew:
                if worker.ready and not worker.working and waiting:
                    worker.give(waiting.pop(0))
            busy = [worker for worker in crew if worker.working or not worker.ready]
            for pipe in wait([worker.pipe for worker in busy], timeout=0.2):
                worker = next(w for w in busy if w.pipe is pipe)
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    yield from _lost(worker, waiting, fail, _death(worker))
                    crew[crew.index(worker)] = _Worker(context, start)
                    continue
                if kind == "broken":
                    raise value
                if kind == "ready":
                    worker.ready = True
                elif kind == "done":
                    worker.group, worker.working = [], False
                else:
                    worker.group = [e for e in worker.group if e.id != value.record["id"]]
                    worker.since = time.monotonic()
                    yield value
            for worker in list(crew):
                allowed = None if timeout is None else timeout * max(len(worker.group), 1)
                if worker.working and allowed and time.monotonic() - worker.since > allowed:
                    worker.kill()
                    yield from _lost(worker, waiting, fail, f"Timeout: no result within {timeout:g} s an episode")
                    crew[crew.index(worker)] = _Worker(context, start)
    finally:
        for worker in crew:
            worker.kill()


def _death(worker: _Worker) -> str:
    worker.process.join(5)
    code = worker.process.exitcode
    if code == -signal.SIGKILL:
        return "WorkerDied: its process was killed (out of memory?)"
    return f"WorkerDied: its process ended with status {code}"


def _lost(
    worker: _Worker, waiting: list[list[Episode]], fail: Callable[[Episode, str], EpisodeResult], why: str
) -> Iterator[EpisodeResult]:
    """The episode under way fails; those after it in the group are tried again, each by itself."""
    if not worker.ready:
        raise ModelError(f"the model cannot be built: {why}")
    if worker.group:
        waiting[:0] = [[episode] for episode in worker.group[1:]]
        yield fail(worker.group[0], why)
    worker.group = []


def lost_episode(episode: Episode, why: str, *, image: bool) -> EpisodeResult:
    """Return the result of an episode whose process was lost."""
    if not image:
        return EpisodeResult(failure(episode, why))
    record = {
        "id": episode.id,
        "fold": episode.fold,
        "category": episode.category,
        "query": episode.video,
        "error": why,
    }
    return EpisodeResult({**record, "supports": list(episode.supports)})
