"""What a page's player shows, a chunk a video: its frames once, masks as small layers, J and F of every frame."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from icvos.benchmark import Episode
from icvos.clips import chunk_script, clip_of, display_size, jpeg_of, mask_text, script_json, shrink_image
from icvos.errors import IcvosError
from icvos.files import atomic_write, escape_id, read_text
from icvos.processes import in_order
from icvos.progress import Progress, Update, silent
from icvos.report.run import ReportRun, open_run
from icvos.runs.records import read_frames
from icvos.version import __version__

__all__ = ["MOST_FRAMES", "Chunk", "RunPlace", "shown_frames", "write_chunks"]

MOST_FRAMES = 600
"""Frames of a video that are shown, at most: every second, third, … of a longer one."""

SUPPORT_LONGEST = 320

RunPlace = tuple[Path, Path | None, Path | None]
"""Where a run is, its benchmark and its masks: what ``open_run`` takes."""


@dataclass(frozen=True)
class Chunk:
    """What is written of a video.

    Attributes:
        video: Its name.
        path: A script that hands it to the page.
        problems: What could not be shown, a line each.
        ids: Of the episodes in it.
    """

    video: str
    path: Path
    problems: tuple[str, ...]
    ids: tuple[str, ...]


def write_chunks(
    places: Sequence[RunPlace],
    episodes: Mapping[str, Sequence[str]],
    out: Path,
    *,
    workers: int = 1,
    progress: Progress = silent,
) -> list[Chunk]:
    """Write a script a video, or keep it where an earlier, killed call wrote it.

    Args:
        places: One run, or two of one benchmark.
        episodes: The ids to be shown of each video.
        out: Their folder.
        workers: Processes.
        progress: Is told of each video.
    """
    out.mkdir(parents=True, exist_ok=True)
    tasks = [_Task(tuple(places), video, tuple(ids), out) for video, ids in episodes.items()]
    chunks = []
    for chunk in in_order(_write_chunk, tasks, min(workers, len(tasks))):
        chunks.append(chunk)
        progress(Update("videos", len(chunks), len(tasks), chunk.video))
    return chunks


@dataclass(frozen=True)
class _Task:
    places: tuple[RunPlace, ...]
    video: str
    ids: tuple[str, ...]
    out: Path


@cache
def _opened(place: RunPlace) -> ReportRun:
    return open_run(place[0], benchmark=place[1], masks=place[2])


def _write_chunk(task: _Task) -> Chunk:
    runs = [_opened(place) for place in task.places]
    said = [task.video, *task.ids, __version__, str(find_spec("av") is None), *(str(place) for place in task.places)]
    said += [json.dumps(run.result, sort_keys=True) for run in runs]
    key = hashlib.sha256("\n".join(said).encode()).hexdigest()[:12]
    path = task.out / f"{escape_id(task.video)}-{key}.js"
    # Masks that were missing or broken may be there now.
    if path.is_file() and read_text(path).startswith("//[]\n"):
        return Chunk(task.video, path, (), task.ids)
    problems: list[str] = []
    content = _content(runs, task, problems)
    with atomic_write(path, "w") as stream:
        stream.write(f"//{script_json(problems)}\n")
        stream.write(chunk_script(task.video, content))
    return Chunk(task.video, path, tuple(problems), task.ids)


def _content(runs: Sequence[ReportRun], task: _Task, problems: list[str]) -> dict[str, Any]:
    run = runs[0]
    episodes = [run.episode(name) for name in task.ids]
    frames = shown_frames(run, episodes[0])
    stored = run.frame_size(episodes[0])
    size = display_size(stored)
    supports: dict[str, Any] = {}
    for episode in episodes:
        for key, image, mask in run.named_supports(episode):
            supports.setdefault(key, _support(image, mask))
    truths = {str(e.category): _truth(run, e, frames, size) for e in episodes}
    pictures = (shrink_image(run.picture(episodes[0], index), size) for index in frames)
    first = shrink_image(run.picture(episodes[0], frames[0]), size)
    return {
        "size": size,
        "frames": list(frames),
        "poster": jpeg_of(first, 70),
        **clip_of(pictures),
        "truth": {category: layers for category, (layers, _) in truths.items()},
        "ignore": {category: layers for category, (_, layers) in truths.items() if any(layers)},
        "supports": supports,
        "episodes": {
            episode.id: {
                "supports": [key for key, _, _ in run.named_supports(episode)],
                "masks": [list(_predicted(each, episode, frames, size, problems)) for each in runs],
                "values": [_values(each, episode, frames) for each in runs],
            }
            for episode in episodes
        },
    }


def shown_frames(run: ReportRun, episode: Episode) -> range:
    """Return which of an episode's scored frames are shown."""
    scored = run.scored_frames(episode)
    return scored[:: max(-(-len(scored) // MOST_FRAMES), 1)]


def _support(image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    scale = min(1.0, SUPPORT_LONGEST / max(mask.shape))
    size = (max(1, round(mask.shape[0] * scale)), max(1, round(mask.shape[1] * scale)))
    return {"size": size, "image": jpeg_of(shrink_image(image, size)), "mask": mask_text(mask, size)}


def _truth(
    run: ReportRun, episode: Episode, frames: Sequence[int], size: tuple[int, int]
) -> tuple[list[str], list[str]]:
    shown = [run.truth(episode, index) for index in frames]
    return [mask_text(truth, size) for truth, _ in shown], [mask_text(ignore, size) for _, ignore in shown]


def _predicted(
    run: ReportRun, episode: Episode, frames: Sequence[int], size: tuple[int, int], problems: list[str]
) -> Iterator[str | None]:
    """Yield the layers of an episode; None where a mask is missing or broken, which is said."""
    if run.by_id[episode.id].get("error"):
        problems.append(f"{run.model} failed in {episode.id}: {run.by_id[episode.id]['error']}")
        yield from (None for _ in frames)
        return
    said = False
    for index in frames:
        try:
            yield mask_text(run.predicted(episode, index), size)
        except IcvosError as error:
            if not said:
                problems.append(f"{episode.id}: {error}")
            said = True
            yield None


def _values(run: ReportRun, episode: Episode, frames: range) -> dict[str, list[float]]:
    """Return what was measured of each frame that is shown, percent to a tenth."""
    values = None if run.image else read_frames(run.where, episode.id)
    if values is None:
        return {}
    chosen = [index - frames.start for index in frames]
    parts = run.rules.frame_parts
    return {
        part: [round(100 * float(values[part][index]), 1) for index in chosen if index < len(values[part])]
        for part in parts
        if part in values
    }
