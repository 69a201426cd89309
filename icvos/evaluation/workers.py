"""Evaluating in worker processes: one that dies or hangs costs its episode, not the run; none outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark, Episode, load_benchmark
from icvos.errors import IcvosError, ModelError, UsageError
from icvos.evaluation.episode import EpisodeResult, Job, run_image_episode, run_video_episodes, runs_together
from icvos.models.interface import ImageModel, Model, VideoModel
from icvos.models.registry import as_video_model, create
from icvos.processes import begin_worker, check_main_guard, limit_memory

__all__ = ["Group", "ModelSpec", "run_in_workers"]


@dataclass(frozen=True)
class ModelSpec:
    """How a worker builds the model: what ``registry.create`` takes."""

    spec: str
    device: str
    weights: dict[str, str]
    options: dict[str, Any]
    demo: bool


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


class _Worker:
    """A worker process, what it is doing, and since when."""

    def __init__(self, context: Any, start: tuple) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, os.getpid(), *start), daemon=True)
        # Ctrl-C reaches the whole process group and the parent decides; the child inherits the ignoring.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if _in_main_thread() else None
        try:
            self.process.start()
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)
        theirs.close()
        self.group = Group([], frozenset())
        self.left: list[Episode] = []
        self.since = time.monotonic()
        self.ready = self.working = self.together = self.warm = False

    def give(self, group: Group) -> None:
        self.group, self.working = group, True
        self.left = [episode for episode in group.episodes if episode.id in group.wanted]
        self.since = time.monotonic()
        self.pipe.send(group)

    def take(self, result: EpisodeResult) -> None:
        self.left = [episode for episode in self.left if episode.id != result.record["id"]]
        self.since = time.monotonic()

    def late(self, timeout: float | None) -> bool:
        """Whether it has worked too long on what it does."""
        if timeout is None or not self.working:
            return False
        allowed = timeout * (len(self.group.episodes) if self.together or self.group.whole else 1)
        return time.monotonic() - self.since > allowed

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _work(pipe: Connection, parent: int, spec: ModelSpec, root: Path, job: Job, threads: int) -> None:
    """The worker's life: build the model, then run the groups that come; each result goes back as it is there."""
    begin_worker(parent)
    limit_memory(spec.device)
    try:
        benchmark = load_benchmark(root)
        model = create(spec.spec, device=spec.device, weights=spec.weights, options=spec.options, demo=spec.demo)
        _limit_threads(threads)
        image = benchmark.kind == "image"
        video_model = None if image else as_video_model(model)
    except Exception as error:
        pipe.send(("broken", _portable(error) if isinstance(error, IcvosError) else ModelError(_line(error))))
        return
    pipe.send(("ready", video_model is not None and runs_together(video_model)))
    with ThreadPoolExecutor(2) as pool:
        while True:
            try:
                group = pipe.recv()
            except (EOFError, OSError):
                return
            try:
                for result in _results(model, video_model, benchmark, group, job, pool, _Teller(pipe)):
                    pipe.send(("result", result))
                pipe.send(("done", None))
            except Exception as error:
                pipe.send(("broken", _portable(error)))
                return


class _Teller:
    """Tells the parent how many frames are done, ten times a second at most."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._last = 0.0

    def __call__(self, frames: int) -> None:
        now = time.monotonic()
        if now - self._last > 0.1:
            self._last = now
            self._pipe.send(("frames", frames))


def _results(
    model: Model,
    video_model: VideoModel | None,
    benchmark: Benchmark,
    group: Group,
    job: Job,
    pool: ThreadPoolExecutor,
    advance: Callable[[int], None],
) -> Iterator[EpisodeResult]:
    if video_model is not None:
        yield from run_video_episodes(
            video_model, benchmark, group.episodes, job, pool, group.wanted, timing=group.timing, advance=advance
        )
        return
    if not isinstance(model, ImageModel):
        raise UsageError("a video model cannot run on a few-shot image benchmark")
    for episode in group.episodes:
        yield run_image_episode(model, benchmark, episode, job)


def _portable(error: Exception) -> Exception:
    """Return an error that the parent can unpickle: a plugin's own classes may not be importable there."""
    if type(error).__module__ in ("icvos.errors", "builtins"):
        return error
    return UsageError(str(error)) if isinstance(error, IcvosError) else RuntimeError(_text(error))


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _line(error: BaseException) -> str:
    return f"the model cannot be built: {_text(error)}"


def _limit_threads(threads: int) -> None:
    import cv2

    cv2.setNumThreads(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def run_in_workers(
    spec: ModelSpec,
    root: Path,
    job: Job,
    groups: Sequence[Group],
    *,
    fail: Callable[[Episode, str], EpisodeResult],
    advance: Callable[[int, int], None] = lambda worker, frames: None,
    threads: int | None = None,
) -> Iterator[EpisodeResult]:
    """Run groups of episodes in processes and yield results as they come.

    Args:
        spec: The model.
        root: The benchmark's folder.
        job: How to run; its options say in how many processes, and what time one episode may take (a model that takes
            several episodes in one pass gets as many times that for the pass).
        groups: The episodes to run.
        fail: Makes the result of an episode that was lost.
        advance: Is told the number of a worker, and how many frames it has done of what it is at.
        threads: Of each process; None shares out the cores.

    Raises:
        IcvosError: The model cannot be built, or the benchmark is broken.
    """
    check_main_guard()
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    workers, timeout = job.options.workers, job.options.timeout
    start = (spec, root, job, threads or max(cores // workers, 1))
    waiting = list(groups)
    crew: list[_Worker] = []
    try:
        crew = [_Worker(context, start) for _ in range(min(workers, max(len(waiting), 1)))]
        while waiting or any(worker.working for worker in crew):
            for number, worker in enumerate(crew):
                if worker.ready and not worker.working and waiting and _may_begin(waiting[0], worker, crew):
                    group = waiting.pop(0)
                    try:
                        worker.give(group)
                    except OSError:  # it died while it had nothing to do
                        waiting.insert(0, group)
                        worker.kill()
                        crew[number] = _Worker(context, start)
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
                    worker.ready, worker.together = True, value
                elif kind == "done":
                    worker.left, worker.working, worker.warm = [], False, True
                elif kind == "frames":
                    advance(crew.index(worker), value)
                else:
                    worker.take(value)
                    advance(crew.index(worker), 0)
                    yield value
            for worker in list(crew):
                if worker.late(timeout):
                    worker.kill()
                    yield from _lost(worker, waiting, fail, f"Timeout: no result within {timeout:g} s an episode")
                    crew[crew.index(worker)] = _Worker(context, start)
    finally:
        for worker in crew:
            worker.kill()


def _may_begin(group: Group, worker: _Worker, crew: Sequence[_Worker]) -> bool:
    """Whether a worker may begin a group: what is timed waits until the others are done, and for a warm one."""
    if not group.timing:
        return True
    warm = worker.warm or not any(other.warm for other in crew)
    return warm and not any(other.working for other in crew)


def _death(worker: _Worker) -> str:
    worker.process.join(5)
    code = worker.process.exitcode
    if code == -signal.SIGKILL:
        return "WorkerDied: its process was killed (out of memory?)"
    return f"WorkerDied: its process ended with status {code}"


def _lost(
    worker: _Worker, waiting: list[Group], fail: Callable[[Episode, str], EpisodeResult], why: str
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
