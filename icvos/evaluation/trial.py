"""What evaluating would cost: the first frames of a few videos, run as a run runs them and timed; nothing is kept."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from icvos.benchmark import Benchmark
from icvos.costs import Cost, bytes_in, disk_cost, in_bytes, in_gib, in_seconds, memory_cost
from icvos.demo.benchmarks import open_benchmark
from icvos.errors import ModelError, counted
from icvos.evaluation.crew import Group
from icvos.evaluation.episode import EpisodeResult, Job, run_image_episode, run_video_episodes, runs_together
from icvos.evaluation.runner import RunPlan, check_workers, done_episodes, group_episodes, open_run
from icvos.evaluation.torch_state import peak_memory
from icvos.evaluation.verify import can_verify
from icvos.evaluation.workers import count_gpus, limit_threads, threads_each
from icvos.files import work_folder
from icvos.models.interface import ImageModel, Model
from icvos.models.registry import as_video_model
from icvos.runs.episodes import RunOptions
from icvos.runs.records import RunFolder
from icvos.view import View

__all__ = ["Pace", "RunTrial", "fit_pace", "try_run"]

#: Frames of the short pass over a video, and of the long one: at least, and at most where they are fast.
SHORT, LEAST, MOST = 2, 6, 25
#: Seconds that a long pass may take about, and after which no further video is timed.
ENOUGH = 5.0
#: Groups of episodes that are timed at most: from the first to the last, in equal steps.
GROUPS = 3
#: Image episodes that are timed at most.
IMAGES = 50


@dataclass(frozen=True)
class Pace:
    """What an episode takes.

    Attributes:
        episode: Seconds that do not hang on the number of frames: the supports, and the start of a video.
        frame: Seconds of a frame.
    """

    episode: float
    frame: float

    def total(self, episodes: int, frames: int) -> float:
        """Return the seconds of so many, one after another."""
        return episodes * self.episode + frames * self.frame


@dataclass(frozen=True)
class RunTrial:
    """What a few frames of a run took, and what the run would be.

    Attributes:
        folder: Where the run would be written.
        state: What is there already, in words.
        episodes, done: Of the run, and of those how many an earlier run did.
        left, frames: Episodes to be run, and frames of them all.
        what: ``frames``, or ``episodes`` on an image benchmark.
        starting: Seconds to open the benchmark and build the model.
        pace: None where nothing is left to do.
        timed: What was timed, in words.
        workers: Processes; those of a cluster, where it is ``on_cluster``.
        parallel: How many of them are counted: as many as there are groups of episodes, GPUs and cores for.
        busy: Cores that one of them keeps busy.
        memory: Peak bytes of the process.
        gpu_memory: Peak bytes of the GPU, or None.
        sharing: How many of the processes share one GPU.
        record_bytes, value_bytes, mask_bytes: To be written: records; J and F of frames; masks.
        device: In words.
        on_cluster: Whether the processes are a Ray cluster's; one more writes here.
    """

    folder: Path
    state: str
    episodes: int
    done: int
    left: int
    frames: int
    what: str
    starting: float
    pace: Pace | None
    timed: str
    workers: int
    parallel: float
    busy: float
    memory: int
    gpu_memory: int | None
    sharing: int
    record_bytes: int
    value_bytes: int
    mask_bytes: int
    device: str
    on_cluster: bool = False

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        running = 0.0 if self.pace is None else self.pace.total(self.left, self.frames) / self.parallel
        # Each process builds the model for itself, all at once, after this one did.
        return running + self.starting * (2 if self.workers > 1 or self.on_cluster else 1)

    @property
    def disk(self) -> int:
        """Bytes to be written."""
        return self.record_bytes + self.value_bytes + self.mask_bytes

    def costs(self) -> list[Cost]:
        """Return the rows of a table."""
        rows = [
            Cost("folder", "", f"{self.folder}: {self.state}"),
            Cost("episodes", f"{self.left:,}", f"{self.episodes:,} of the run, {self.done:,} done"),
        ]
        if self.pace is None:
            return rows
        products = [f"{counted(self.left, 'episodes')} × {in_seconds(self.pace.episode)}"]
        if self.what == "frames":
            rows.append(Cost("frames", f"{self.frames:,}", "of these episodes, each counted by itself"))
            products.append(f"{counted(self.frames, 'frames')} × {in_seconds(self.pace.frame)}")
            rows.append(Cost("a frame", in_seconds(self.pace.frame), f"{self.timed}, on {self.device}"))
            rows.append(Cost("an episode", in_seconds(self.pace.episode), "its supports and the start of its video"))
        else:
            rows.append(Cost("an episode", in_seconds(self.pace.episode), f"{self.timed}, on {self.device}"))
        shared = f" / {self.parallel:.3g}" if self.parallel > 1 else ""
        fewer = f" ({self.workers} workers, each on {self.busy:.1f} cores)" if self.workers > self.parallel else ""
        model = f", and {in_seconds(self.starting)} to build the model" + (
            ", twice" if self.workers > 1 or self.on_cluster else ""
        )
        running = " + ".join(products)
        how = f"({running}){shared}{fewer}{model}" if shared else f"{running}{fewer}{model}"
        rows.append(Cost("time", in_seconds(self.seconds), how))
        # Beside the workers there is the process that builds the model first, and writes.
        processes = self.workers + 1 if self.workers > 1 and not self.on_cluster else 1
        peak = "the peak of this process, on the clips timed"
        if self.on_cluster:
            peak += f"; each of {self.workers} workers takes as much of its node"
        rows.append(memory_cost(self.memory, processes, peak))
        if self.gpu_memory is not None:
            times = (
                f"{self.sharing} processes share a GPU: {in_gib(self.gpu_memory)} each, " if self.sharing > 1 else ""
            )
            beside = self.workers > 1 and not self.on_cluster
            first = "; the first GPU holds this process' weights beside that" if beside else ""
            how = f"{times}the peak on the clips timed, as torch counts it{first}"
            rows.append(Cost("GPU memory", in_gib(self.gpu_memory * self.sharing), how))
        parts = [f"records {in_bytes(self.record_bytes)}"]
        parts += [f"J and F of frames {in_bytes(self.value_bytes)}"] if self.value_bytes else []
        parts += [f"masks {in_bytes(self.mask_bytes)}, by those timed"] if self.mask_bytes else []
        rows.append(disk_cost(self.disk, self.folder, ", ".join(parts)))
        return rows


def try_run(
    model: Model | type[Model] | str,
    benchmark: Benchmark | str | Path,
    settings: RunOptions,
    *,
    out: str | Path | None = None,
    device: str = "cpu",
    weights: Mapping[str, str | Path] | None = None,
    options: Mapping[str, Any] | None = None,
    verify: bool | None = None,
) -> RunTrial:
    """Check all that a run checks before it starts, time a few frames, and say what it would cost.

    The model is built with its weights, and runs on the first frames of up to three groups of episodes, as a run gives
    them to it: draws of a video in one pass, where it takes them so. A first pass is not timed. No run folder is
    written; masks that are to be saved go to a temporary folder.

    Args:
        model, benchmark, out, device, weights, options, verify: As for ``icvos.evaluate``.
        settings: How.

    Raises:
        IcvosError: Bad input or usage, as the run would say.
        ModelError: The model fails on an episode.
    """
    # The demo is made when it is first used, which is none of the run's time.
    open_benchmark(benchmark)
    ray = settings.engine == "ray"
    workers = settings.workers
    threads = threads_each(workers) if workers > 1 else None
    if ray:
        from icvos.evaluation.ray_pool import count_workers

        workers, threads = count_workers(settings, device), settings.cpus_per_worker
    begin = time.perf_counter()
    # The frames are timed on this machine, whatever runs them all.
    plan = open_run(model, benchmark, settings.local, out=out, device=device, weights=weights, options=options)
    plan.options = settings
    starting = time.perf_counter() - begin
    can_verify(plan.spec, plan.job, plan.benchmark.kind, verify)
    check_workers(plan)
    there = RunFolder.look(plan.out, plan.describe)
    done = set() if there is None else done_episodes(plan, there)
    todo = [episode for episode in plan.episodes if episode.id not in done]
    groups = group_episodes(plan.episodes, todo, plan.benchmark)
    image = plan.benchmark.kind == "image"
    # A model that takes a video's episodes in one pass gets all of them, whichever are missing.
    whole = (
        not image and plan.describe["key"].get("oracle_as") != "prompt" and runs_together(as_video_model(plan.model))
    )
    view = View(plan.benchmark, plan.protocol, limit_frames=settings.limit_frames)
    passed = [e for group in groups for e in group.episodes if whole or e.id in group.wanted]
    lengths = {episode.video: view.frame_count(episode) for episode in plan.episodes}
    with _own_share(threads), work_folder("icvos-trial") as folder:
        masks = folder if settings.save_masks else None
        timing = _Timing(plan, replace(plan.job, masks=masks), lengths)
        if groups and image:
            timing.images(groups)
        elif groups:
            timing.videos(groups)
        busy = timing.busy
        mask_bytes = bytes_in(folder) / max(timing.frames, 1)
    record = sum(len(json.dumps(result.record, ensure_ascii=False)) + 1 for result in timing.results)
    frames = sum(lengths[episode.video] for episode in passed)
    gpus = count_gpus(device) if device.startswith("cuda") and not ray else workers
    cores = math.inf if ray else len(os.sched_getaffinity(0))
    places = min(len(groups), gpus, cores / max(busy, 0.01))
    return RunTrial(
        folder=plan.out,
        state=_state(plan, there, len(done)),
        episodes=len(plan.episodes),
        done=len(done),
        left=len(passed),
        frames=frames,
        what="episodes" if image else "frames",
        starting=starting,
        pace=timing.pace(),
        timed=timing.words(),
        workers=workers,
        parallel=max(min(workers, places), 1),
        busy=busy,
        memory=peak_memory("cpu"),
        gpu_memory=timing.gpu_memory if device.startswith("cuda") else None,
        sharing=int(1 / (settings.gpus_per_worker or 1)) if ray else -(-workers // gpus),
        record_bytes=round(record / max(len(timing.results), 1) * len(todo)),
        value_bytes=0 if image else sum(_value_bytes(lengths[episode.video]) for episode in todo),
        mask_bytes=round(mask_bytes * sum(lengths[episode.video] for episode in todo)),
        device=_device(plan, threads),
        on_cluster=ray,
    )


def _state(plan: RunPlan, there: RunFolder | None, done: int) -> str:
    if there is not None:
        if done == len(plan.episodes):
            return "the run is there, complete"
        return f"the run would go on there: {done:,} of {len(plan.episodes):,} episodes are done"
    if (plan.out / "run.json").is_file():
        return "the method, its weights or the benchmark changed: the earlier run there would be set aside"
    return "a new run"


def _device(plan: RunPlan, threads: int | None) -> str:
    where = plan.describe["environment"]
    if where["device"].startswith("cuda"):
        return str(where.get("gpu", where["device"]))
    if threads is None:
        return f"cpu ({where['cpus']} cores)"
    return f"cpu ({threads} of {where['cpus']} cores, as a worker)"


@contextmanager
def _own_share(threads: int | None) -> Iterator[None]:
    """Compute on as many threads as a worker does, if there are any."""
    if threads is None:
        yield
        return
    import cv2

    torch = sys.modules.get("torch")
    before = cv2.getNumThreads(), torch.get_num_threads() if torch is not None else 0
    limit_threads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        if torch is not None:
            torch.set_num_threads(before[1])


@cache
def _value_bytes(frames: int) -> int:
    """Return the size of the file of J and F of so many frames."""
    stream = io.BytesIO()
    np.savez(stream, J=np.zeros(frames), F=np.zeros(frames))
    return len(stream.getvalue())


Pass = tuple[int, int, float]
"""A group's episodes on the first frames of their video: episodes, frames, seconds."""


def fit_pace(pairs: Sequence[tuple[Pass, Pass]]) -> Pace:
    """Return what episodes take, from a short and a long pass of each group.

    What the long passes take more than the short ones is that of their further frames; the rest is the episodes' own.

    Args:
        pairs: Of each group (episodes, frames, seconds) of the short pass, and of the long one.
    """
    further = sum(long[0] * (long[1] - short[1]) for short, long in pairs)
    more = sum(long[2] - short[2] for short, long in pairs)
    episodes = sum(long[0] for _, long in pairs)
    frames = sum(long[0] * long[1] for _, long in pairs)
    seconds = sum(long[2] for _, long in pairs)
    if further <= 0 or more <= 0:
        return Pace(0.0, seconds / frames)
    frame = more / further
    if frame * frames > seconds:  # by chance: the short passes took nearly nothing
        return Pace(0.0, seconds / frames)
    return Pace((seconds - frame * frames) / episodes, frame)


class _Timing:
    """Runs a few groups of a plan, and keeps what they took.

    Attributes:
        results: Of the episodes that were run, for the size of what is written.
        frames: Of masks that were written.
        gpu_memory: Peak bytes.
    """

    def __init__(self, plan: RunPlan, job: Job, lengths: Mapping[str, int]) -> None:
        self.plan, self.job, self.lengths = plan, job, lengths
        self.results: list[EpisodeResult] = []
        self.frames = 0
        self.gpu_memory = 0
        self._begin = time.perf_counter(), time.process_time()
        self._pairs: list[tuple[Pass, Pass]] = []
        self._images: list[float] = []

    def videos(self, groups: Sequence[Group]) -> None:
        """Time a short and a long pass of some groups."""
        steps = min(GROUPS, len(groups))
        chosen = [groups[round(i * (len(groups) - 1) / max(steps - 1, 1))] for i in range(steps)]
        since = time.perf_counter()
        with ThreadPoolExecutor(3) as pool:
            for group in chosen:
                length = self.lengths[group.episodes[0].video]
                warm = self._pass(group, min(SHORT, length), pool)
                short = self._pass(group, min(SHORT, length), pool)
                fits = SHORT + int(ENOUGH / max(warm[2] / warm[1], 1e-6))
                long = self._pass(group, min(length, max(LEAST, min(MOST, fits))), pool, keep=True)
                self._pairs.append((short, long))
                if time.perf_counter() - since > ENOUGH:
                    break

    def _pass(self, group: Group, frames: int, pool: ThreadPoolExecutor, *, keep: bool = False) -> Pass:
        plan = self.plan
        job = replace(self.job, options=replace(self.job.options, limit_frames=frames))
        begin = time.perf_counter()
        model = as_video_model(plan.model)
        results = list(run_video_episodes(model, plan.benchmark, group.episodes, job, pool, group.wanted))
        seconds = time.perf_counter() - begin
        self._check(results)
        if keep:
            self.results += results
            self.frames += frames * len(results)
        together = runs_together(model) and job.oracle_as != "prompt"
        return len(group.episodes) if together else len(results), frames, seconds

    def images(self, groups: Sequence[Group]) -> None:
        """Time some image episodes; the first is run twice and counts the second time."""
        model = self.plan.model
        assert isinstance(model, ImageModel)  # open_run
        steps = min(IMAGES, len(groups))
        chosen = [groups[round(i * (len(groups) - 1) / max(steps - 1, 1))].episodes[0] for i in range(steps)]
        self._check([run_image_episode(model, self.plan.benchmark, chosen[0], self.job)])
        for episode in chosen:
            begin = time.perf_counter()
            result = run_image_episode(model, self.plan.benchmark, episode, self.job)
            self._images.append(time.perf_counter() - begin)
            self._check([result])
            self.results.append(result)
            self.frames += 1
            if sum(self._images) > ENOUGH:
                break

    def _check(self, results: Sequence[EpisodeResult]) -> None:
        for result in results:
            if result.record.get("error"):
                raise ModelError(f"{result.record['id']} fails: {result.record['error'][:300]}")
        if self.plan.model.device.startswith("cuda"):
            self.gpu_memory = max(self.gpu_memory, peak_memory(self.plan.model.device))

    @property
    def busy(self) -> float:
        """Cores that this process has kept busy since it began to time."""
        return (time.process_time() - self._begin[1]) / max(time.perf_counter() - self._begin[0], 1e-6)

    def pace(self) -> Pace | None:
        """Return what an episode takes; None if nothing was timed."""
        if self._images:
            return Pace(sum(self._images) / len(self._images), 0.0)
        return fit_pace(self._pairs) if self._pairs else None

    def words(self) -> str:
        """Return what was timed."""
        if self._images:
            return f"timed on {counted(len(self._images), 'episodes')}"
        frames = sum(long[1] for _, long in self._pairs)
        together = sum(long[0] for _, long in self._pairs)
        of = f"{counted(len(self._pairs), 'videos')}, {counted(together, 'episodes')}"
        return f"timed on {counted(frames, 'frames')} of {of} of them"
