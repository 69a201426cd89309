"""Evaluating in worker processes: one that dies or hangs costs its episode, not the run; none outlives its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark, load_benchmark
from icvos.errors import IcvosError, ModelError, UsageError, WeightsError
from icvos.evaluation.crew import Group, Listener, ModelSpec, Worker, run_groups
from icvos.evaluation.episode import EpisodeResult, Job, run_image_episode, run_video_episodes, runs_together
from icvos.files import file_sha256
from icvos.models.interface import ImageModel, Model, VideoModel
from icvos.models.interpreter import Interpreter, keep_output
from icvos.models.registry import as_video_model, create
from icvos.models.seeds import ELSEWHERE
from icvos.plugins import said
from icvos.processes import begin_worker, check_main_guard, limit_memory
from icvos.runs.times import Stopwatch

__all__ = [
    "Share",
    "WorkerProcess",
    "cannot_build",
    "count_gpus",
    "limit_threads",
    "run_in_workers",
    "threads_each",
    "worker_device",
]


@dataclass(frozen=True)
class Share:
    """What a worker has of its machine.

    Attributes:
        threads: That it computes on.
        workers: How many share the machine's memory.
        gpu: Part of its GPU's memory.
    """

    threads: int
    workers: int = 1
    gpu: float = 1.0


class WorkerProcess(Worker):
    """A worker process of this process."""

    def __init__(self, *start: Any) -> None:
        super().__init__()
        context = multiprocessing.get_context("spawn")
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

    def send(self, group: Group) -> None:
        self.pipe.send(group)

    def speaks(self, seconds: float = 0) -> bool:
        """Whether within so many seconds it says something, or dies; what it began may hold its pipe open still."""
        return self.pipe.poll(seconds) or not self.process.is_alive()

    def receive(self) -> tuple[str, Any]:
        try:
            if self.process.is_alive() or self.pipe.poll():
                return self.pipe.recv()
        except (EOFError, OSError):
            pass
        except Exception as error:  # a plugin's thread or child wrote to the pipe
            return "died", f"WorkerDied: what its process says cannot be read ({said(error)})"
        return "died", self._death()

    def _death(self) -> str:
        self.process.join(5)
        code = self.process.exitcode
        if code == -signal.SIGKILL:
            return "WorkerDied: its process was killed (out of memory?)"
        return f"WorkerDied: its process ended with status {code}"

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _work(pipe: Connection, parent: int, spec: ModelSpec, root: Path, job: Job, share: Share) -> None:
    """The worker's life: build the model, then run the groups that come; each result goes back as it is there."""
    begin_worker(parent)
    limit_memory(spec.device, workers=share.workers)
    keep_output(job.log)
    try:
        _use_gpu(spec.device, share.gpu)
        benchmark = load_benchmark(root)
        model = create(spec.spec, device=spec.device, weights=spec.weights, options=spec.options, demo=spec.demo)
        _check_weights(model, spec.sha256)
        limit_threads(share.threads)
        image = benchmark.kind == "image"
        video_model = None if image else as_video_model(model)
    except Exception as error:
        pipe.send(("broken", cannot_build(error)))
        return
    pipe.send(("ready", video_model is not None and runs_together(video_model)))
    with ThreadPoolExecutor(2) as pool:
        while True:
            watch = Stopwatch()
            try:
                with watch.part("idle"):
                    group = pipe.recv()
            except (EOFError, OSError):
                return
            try:
                for result in _results(model, video_model, benchmark, group, job, pool, _Teller(pipe), watch):
                    pipe.send(("result", result))
                pipe.send(("done", watch.seconds))
            except Exception as error:
                pipe.send(("broken", _portable(error)))
                return


def _check_weights(model: Model, sha256: Mapping[str, str]) -> None:
    """Compare a model's weights with the run's: another machine may hold others, or they are written anew meanwhile.

    Raises:
        WeightsError: They are others.
    """
    for name, digest in sha256.items():
        path = model.weights.get(name)
        if path is None or file_sha256(path) != digest:
            raise WeightsError(
                f"weights '{name}' on {os.uname().nodename} are not those that the run began with",
                where=path,
                expected=f"a file of SHA-256 {digest[:16]}…",
                fix="put the same file on every machine, and let it be while the run goes on",
            )


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
    watch: Stopwatch,
) -> Iterator[EpisodeResult]:
    if video_model is not None:
        yield from run_video_episodes(
            video_model,
            benchmark,
            group.episodes,
            job,
            pool,
            group.wanted,
            timing=group.timing,
            advance=advance,
            watch=watch,
        )
        return
    if not isinstance(model, ImageModel):
        raise UsageError("a video model cannot run on a few-shot image benchmark")
    for episode in group.episodes:
        yield run_image_episode(model, benchmark, episode, job, watch)


def _portable(error: Exception) -> Exception:
    """Return an error that the parent can unpickle: a plugin's own classes may not be importable there."""
    if type(error).__module__ in ("icvos.errors", "builtins"):
        with contextlib.suppress(Exception):  # what it holds may not be picklable
            pickle.dumps(error)
            return error
    return UsageError(said(error).partition(": ")[2]) if isinstance(error, IcvosError) else RuntimeError(said(error))


def cannot_build(error: Exception) -> Exception:
    """Return what the parent is told of a worker that cannot begin."""
    if isinstance(error, IcvosError):
        return _portable(error)
    return ModelError(f"the model cannot be built: {said(error)}")


def count_gpus(device: str) -> int:
    """Return how many GPUs the workers of a run share: all that this process sees for ``cuda``, 2 for ``cuda:0,2``."""
    if device != "cuda":
        return len(device.split(","))
    import torch

    return max(torch.cuda.device_count(), 1)


def worker_device(device: str, number: int, gpus: int) -> str:
    """Return the device of a worker: of several GPUs its own, in turn; ``cuda:1`` and ``cpu`` stay as they are.

    The third worker of ``cuda:0,2`` is on ``cuda:0`` again.

    Args:
        device: Of the run.
        number: Of the worker, from 0; one that replaces another has its number, and so its GPU.
        gpus: From ``count_gpus``.
    """
    if device == "cuda":
        return f"cuda:{number % gpus}" if gpus > 1 else device
    kind, _, chosen = device.partition(":")
    indices = chosen.split(",")
    return f"{kind}:{indices[number % len(indices)]}" if len(indices) > 1 else device


def _use_gpu(device: str, part: float) -> None:
    """Make a worker's GPU the one that ``cuda`` means in its process, and part of its memory all that there is.

    A model that says ``cuda`` in place of the device that it was given is then on its own GPU too. CUDA_VISIBLE_DEVICES
    would do as much, but what a user has set there (numbers, UUIDs, parts of a GPU) had to be read and cut up, and
    ``cuda:1`` in a message would be another GPU than the user's.
    """
    if device.startswith("cuda:"):
        import torch

        torch.cuda.set_device(device)
    if device.startswith("cuda") and part < 1:
        import torch

        torch.cuda.set_per_process_memory_fraction(part)


def threads_each(workers: int) -> int:
    """Return how many threads each of some processes computes on: they share the cores that this one may use."""
    return max(len(os.sched_getaffinity(0)) // workers, 1)


def limit_threads(threads: int) -> None:
    """Let OpenCV and, where it is imported, torch compute on so many threads in this process."""
    import cv2

    cv2.setNumThreads(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    Interpreter.threads = threads
    for other in list(ELSEWHERE):
        other.limit_threads(threads)


def run_in_workers(
    spec: ModelSpec,
    root: Path,
    job: Job,
    groups: Sequence[Group],
    listener: Listener,
    *,
    threads: int | None = None,
) -> Iterator[EpisodeResult]:
    """Run groups of episodes in processes and yield results as they come.

    Args:
        spec: The model.
        root: The benchmark's folder.
        job: How to run; its options say in how many processes, and what time one episode may take (a model that takes
            several episodes in one pass gets as many times that for the pass). On ``cuda`` several processes share out
            the GPUs.
        groups: The episodes to run.
        listener: Who hears of it.
        threads: Of each process; None shares out the cores.

    Raises:
        IcvosError: The model cannot be built, or the benchmark is broken.
    """
    check_main_guard()
    workers, timeout = job.options.workers, job.options.timeout
    gpus = count_gpus(spec.device) if workers > 1 else 1
    most = min(workers, len(groups))
    share = Share(threads or threads_each(workers), most, 1 / max(-(-most // gpus), 1))

    def start(number: int) -> WorkerProcess:
        own = replace(spec, device=worker_device(spec.device, number, gpus))
        return WorkerProcess(own, root, job, share)

    yield from run_groups(_Processes(start, workers), groups, listener, timeout=timeout)


class _Processes:
    """The crew of worker processes of this process."""

    def __init__(self, start: Callable[[int], WorkerProcess], most: int) -> None:
        self.workers: list[Worker] = []
        self._start, self._most = start, most

    def grow(self, waiting: int) -> None:
        if not self.workers:
            for number in range(min(self._most, waiting)):
                self.workers.append(self._start(number))

    def replace(self, worker: Worker) -> None:
        number = self.workers.index(worker)
        worker.kill()
        self.workers[number] = self._start(number)

    def wait(self, busy: Sequence[Any], seconds: float) -> list[Worker]:
        heard = wait([worker.pipe for worker in busy], timeout=seconds)
        return [worker for worker in busy if worker.pipe in heard or worker.speaks()]
