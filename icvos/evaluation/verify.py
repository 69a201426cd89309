"""Verifying a finished run: one video's episodes once more, in a fresh process, against what the run recorded.

A method that keeps something between episodes gives results that hang on what ran before, in which process.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from icvos.benchmark import Episode
from icvos.errors import UsageError, counted
from icvos.evaluation.crew import Group, Listener, ModelSpec
from icvos.evaluation.episode import EpisodeResult, Job, failure
from icvos.evaluation.workers import run_in_workers
from icvos.plugins import said
from icvos.processes import check_main_guard
from icvos.runs.records import RunFolder

__all__ = ["can_verify", "verify_run"]

DEFAULT_SECONDS = 60.0
"""What the video may have taken in the run where nobody asked for it to be repeated."""

# In percent points: arithmetic on a GPU is not the same twice.
GPU_TOLERANCE = 0.1


def can_verify(spec: ModelSpec | None, job: Job, kind: str, asked: bool | None) -> bool:
    """Whether a run is verified at its end, if the video is small enough.

    Args:
        spec: How a process builds the model.
        job: How the run runs its episodes.
        kind: Of the benchmark, ``image`` or ``video``.
        asked: What the user said; None leaves it to what the run is: a whole one, of a video benchmark.

    Raises:
        UsageError: It is asked for and cannot be.
    """
    if asked is False:
        return False
    options = job.options
    if asked is None:
        parts = (options.shard, options.limit_episodes, options.limit_frames, options.episodes, options.oracle)
        if spec is None or kind != "video" or any(part is not None for part in parts):
            return False
        try:
            check_main_guard()
        except UsageError:
            return False
        return True
    if kind != "video":
        raise UsageError("--verify repeats a video, and this is an image benchmark", fix="leave --verify out")
    if spec is None:
        raise UsageError("a fresh process needs a model by name", fix="pass a spec, as 'my_method.py:MyMethod'")
    check_main_guard()
    return True


def verify_run(
    spec: ModelSpec,
    root: Path,
    job: Job,
    groups: Sequence[Group],
    folder: RunFolder,
    *,
    together: bool,
    asked: bool | None = None,
    notify: Callable[[str], None] | None = None,
) -> dict[str, Any] | None:
    """Repeat one video's episodes in a fresh process and hold J and F of every frame against the run's.

    Args:
        spec: How the process builds the model.
        root: The benchmark's folder.
        job: How the run ran its episodes.
        groups: All of the run.
        folder: The run's, finished.
        together: Whether the episodes of a group ran in one pass; otherwise they are repeated in reverse order.
        asked: Whether the user asked for it; otherwise a video that took longer than ``DEFAULT_SECONDS`` is let be.
        notify: Called with a line that the user should see.

    Returns:
        For ``run.json``: the ``video``, its number of ``episodes``, whether they are the ``same``, and the
        ``largest_difference`` of a frame's J or F in percent points (None if an episode failed). None if nothing was
        repeated.
    """
    tell = notify or (lambda line: None)
    records = folder.records()
    chosen = _small_video(groups, records)
    if not chosen:
        if asked:
            tell("not verified: in the second half of the run every video has an episode that failed")
        return None
    episodes = [episode for group in chosen for episode in group.episodes]
    video = episodes[0].video
    seconds = sum(records[episode.id].get("seconds") or 0.0 for episode in episodes)
    if not asked and seconds >= DEFAULT_SECONDS:
        return None
    if seconds > 5:
        tell(
            f"verifying: {counted(len(episodes), 'episodes')} of {video} once more, in a fresh process, about "
            f"{seconds:.0f} s"
        )
    if not together and job.options.oracle is None:
        # What leaks from one episode to the next leaks otherwise in another order.
        chosen = [Group(episodes[::-1], frozenset(episode.id for episode in episodes))]
    try:
        largest, error = _repeat(spec, root, job, chosen, folder.root, records)
    except Exception as problem:  # the run itself is finished, and stays
        tell(f"not verified, as no fresh process runs it: {said(problem).partition(': ')[2]}")
        return None
    same = error is None and largest <= (0.0 if spec.device.startswith("cpu") else GPU_TOLERANCE)
    again = f"{video} run again in a fresh process"
    if error is not None:
        tell(
            f"{again} fails ({error[:200]}); icvos models check {shlex.quote(spec.spec)} may say what the method keeps"
        )
    elif not same:
        tell(
            f"{again} gives other masks: J or F of a frame differs by up to {largest:.2f} points, so results hang on "
            f"what ran before; icvos models check {shlex.quote(spec.spec)} may say what the method keeps"
        )
    elif asked:
        tell(f"verified: {again} gives the same J and F on every frame, within {largest:.2g} points")
    difference = None if error is not None else largest
    return {"video": video, "episodes": len(episodes), "same": same, "largest_difference": difference}


def _small_video(groups: Sequence[Group], records: Mapping[str, Mapping[str, Any]]) -> list[Group]:
    """Return the groups of the video of fewest frames, in all its episodes, in the second half of the run.

    What a method adds up has added up by then. Videos with a failed episode are left out; of equal ones the last is
    taken.
    """
    by_video: dict[str, list[Group]] = {}
    for group in groups:
        by_video.setdefault(group.episodes[0].video, []).append(group)
    frames: dict[str, int] = {}
    for video in reversed(list(by_video)[len(by_video) // 2 :]):
        rows = [records.get(episode.id, {}) for group in by_video[video] for episode in group.episodes]
        if all(row.get("frames") and not row.get("error") for row in rows):
            frames[video] = sum(row["frames"] for row in rows)
    return by_video[min(frames, key=frames.__getitem__)] if frames else []


def _repeat(
    spec: ModelSpec, root: Path, job: Job, groups: Sequence[Group], run: Path, known: Mapping[str, Any]
) -> tuple[float, str | None]:
    """Return the largest difference of a frame's J or F from the run's, in percent points, and the first error."""
    options = job.options
    if options.timeout is None:
        # A process that hangs does not hold up a run that is done.
        slow = max((float(known[e.id].get("seconds") or 0.0) for group in groups for e in group.episodes), default=0.0)
        job = replace(job, options=replace(options, timeout=60.0 + 10 * slow))
    job, listener = replace(job, masks=None), Listener(_failed)
    if options.engine == "ray":  # on such a machine as the run was on
        from icvos.evaluation.ray_pool import run_on_ray

        results = run_on_ray(spec, root, job, groups, listener)
    else:
        torch = sys.modules.get("torch")
        # On as many threads as the run computed on: sums of floats are the same then.
        here = options.workers == 1 and options.timeout is None
        threads = torch.get_num_threads() if here and torch is not None else None
        results = run_in_workers(spec, root, job, groups, listener, threads=threads)
    largest, error = 0.0, None
    for result in results:
        error = error or result.record.get("error")
        if result.frames is not None:
            with np.load(run / "frames" / f"{result.record['id']}.npz", allow_pickle=False) as recorded:
                for name, values in result.frames.items():
                    largest = max(largest, 100 * float(np.abs(recorded[name] - values).max()))
    return largest, error


def _failed(episode: Episode, why: str) -> EpisodeResult:
    return EpisodeResult(failure(episode, why))
