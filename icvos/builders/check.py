"""Checking a built benchmark: hashes, sizes, mask values, tables, episodes and orphans, each problem named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icvos.benchmark import FRAME_COLUMNS, Benchmark, Episode, Pair, VideoRecord, load_benchmark
from icvos.errors import IcvosError, in_words
from icvos.files import read_csv, read_file
from icvos.images import check_jpeg, image_size
from icvos.listing import folders, is_stray, listing
from icvos.manifest import check_manifest
from icvos.masks import read_mask
from icvos.processes import in_order
from icvos.progress import Progress, Update
from icvos.protocols import PROTOCOLS

__all__ = ["check_benchmark"]

PARTS = {
    "video": {
        "videos",
        "supports",
        "benchmark.json",
        "manifest.csv",
        "videos.csv",
        "pairs.csv",
        "frames.csv",
        "episodes.csv",
    },
    "image": {"queries", "supports", "benchmark.json", "manifest.csv", "episodes.csv"},
}


def check_benchmark(
    root: Path, *, quick: bool = False, workers: int = 1, progress: Progress | None = None
) -> list[str]:
    """Return everything that is wrong with a built benchmark, one line each; nothing if all is well.

    Args:
        root: Its folder.
        quick: Only names, sizes and tables; no file of pixels is read.
        workers: Processes that decode images and masks.
        progress: Told how many videos, or masks of images, are done.

    Raises:
        BenchmarkError: It cannot even be opened, or its manifest cannot be read.
    """
    bench = load_benchmark(root)
    problems = check_manifest(root, hashes=not quick)
    try:
        problems += _tables(bench)
        problems += _orphans(bench)
    except IcvosError as error:
        # Without tables there is nothing to compare with.
        return [*problems, str(error)]
    if quick:
        return problems
    done = 0
    if bench.kind == "video":
        of = _pairs_by_video(bench)
        tasks = (_VideoTask(root, record, tuple(of.get(name, ()))) for name, record in bench.videos.items())
        for problems_found in in_order(_check_video, tasks, workers):
            problems += problems_found
            done += 1
            if progress:
                progress(Update("videos", done, len(bench.videos)))
    masks = sorted(set(_still_masks(bench)))
    for number, problems_found in enumerate(in_order(_check_still, masks, workers)):
        problems += problems_found
        if progress:
            progress(Update("supports and queries", number + 1, len(masks)))
    return problems


@dataclass(frozen=True)
class _VideoTask:
    root: Path
    record: VideoRecord
    pairs: tuple[Pair, ...]


def _pairs_by_video(bench: Benchmark) -> dict[str, list[Pair]]:
    out: dict[str, list[Pair]] = {}
    for (video, _), pair in bench.pairs.items():
        out.setdefault(video, []).append(pair)
    return out


def _check_video(task: _VideoTask) -> list[str]:
    """Compare frames and masks of one video with the tables."""
    record, problems = task.record, []
    folder = task.root / "videos" / record.video
    size = (record.height, record.width)
    for path in _files(folder / "JPEGImages"):
        try:
            stored = _image_size(path)
            if stored != size:
                problems.append(
                    f"{_short(task.root, path)}: is {stored[0]}x{stored[1]}, videos.csv says {size[0]}x{size[1]}"
                )
        except (IcvosError, OSError) as error:
            problems.append(f"{_short(task.root, path)}: {error}")
    for pair in task.pairs:
        visible, first = 0, -1
        for index in range(record.frames):
            path = folder / "Annotations" / str(pair.category) / f"{index:05d}.png"
            try:
                labels = read_mask(path, size=size)
            except IcvosError as error:
                problems.append(f"{_short(task.root, path)}: {error}")
                continue
            top = int(labels.max(initial=0))
            if top > 1:
                problems.append(f"{_short(task.root, path)}: holds the value {top}, only 0 and 1 are allowed")
            if top:
                visible += 1
                first = index if first < 0 else first
        if (visible, first) != (pair.visible_frames, pair.first_visible):
            problems.append(
                f"pairs.csv: {record.video},{pair.category} says {pair.visible_frames} visible frames from "
                f"{pair.first_visible}, the masks show {visible} from {first}"
            )
    return problems


_Still = tuple[Path, Path, str, bool]
"""A folder of images, a mask of one of them, its name, and whether the mask may be empty."""


def _still_masks(bench: Benchmark) -> Iterator[_Still]:
    for episode in bench.episodes:
        for name in episode.supports:
            yield _still(bench.root / "supports", episode, name)
        if bench.kind == "image":
            yield _still(bench.root / "queries", episode, episode.video)


def _still(folder: Path, episode: Episode, name: str) -> _Still:
    mask = folder / "masks" / str(episode.category) / f"{name}.png"
    return folder / "images", mask, name, _is_verbatim(episode)


def _is_verbatim(episode: Episode) -> bool:
    """Whether an episode is of a protocol that keeps another code's episodes as they are."""
    protocol = PROTOCOLS.get(episode.protocol or "")
    return protocol is not None and protocol.verbatim


def _check_still(task: _Still) -> list[str]:
    """Check an image and one mask of it: {0, 1, 255}, the thing in it, the image's size."""
    images, mask, name, may_be_empty = task
    root = images.parent.parent
    paths = [
        images / f"{name}{suffix}" for suffix in (".jpg", ".jpeg", ".png") if (images / f"{name}{suffix}").is_file()
    ]
    if not paths:
        return [f"{_short(root, images)}/{name}: no such image"]
    try:
        labels = read_mask(mask, size=_image_size(paths[0]))
    except (IcvosError, OSError) as error:
        return [f"{_short(root, mask)}: {error}"]
    values = set(np.unique(labels).tolist())
    odd = sorted(values - {0, 1, 255})
    if odd:
        return [f"{_short(root, mask)}: holds the value {odd[0]}, only 0, 1 and 255 are allowed"]
    return [] if 1 in values or may_be_empty else [f"{_short(root, mask)}: nothing is marked in it"]


def _image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of an image, all of whose data is read."""
    data = read_file(path)
    size = image_size(data, path)
    check_jpeg(data, path)
    return size


def _tables(bench: Benchmark) -> list[str]:
    """Compare the tables with each other, and ``benchmark.json`` with them."""
    problems = []
    counts = bench.header.get("counts")
    said = counts.get("episodes") if isinstance(counts, dict) else None
    if isinstance(said, dict):  # by protocol
        said = sum(number for number in said.values() if isinstance(number, int))
    if said is not None and said != len(bench.episodes):
        problems.append(f"benchmark.json: says {said} episodes, episodes.csv has {len(bench.episodes)}")
    episodes: dict[tuple[str, int], list[Episode]] = {}
    for episode in bench.episodes:
        episodes.setdefault((episode.video, episode.category), []).append(episode)
        if len(set(episode.supports)) != len(episode.supports) and not _is_verbatim(episode):
            problems.append(f"episodes.csv: {episode.id} has a support twice")
        if not 1 <= episode.category <= len(bench.vocabulary):
            problems.append(f"episodes.csv: {episode.id} has category {episode.category}, which is none")
        elif bench.vocabulary.label(episode.category) != episode.category_name:
            problems.append(f"episodes.csv: {episode.id} calls category {episode.category} '{episode.category_name}'")
    if bench.kind == "image":
        return problems
    draws = _draws(bench)
    for key, pair in bench.pairs.items():
        draws_there = [episode.draw for episode in episodes.get(key, ())]
        if (
            sorted(draws_there) != list(range(len(draws_there)))
            or not draws_there
            or (draws and len(draws_there) != draws)
        ):
            numbers = in_words(sorted(draws_there))
            problems.append(f"episodes.csv: {key[0]},{key[1]} has draws {numbers}, not 0 to {(draws or 1) - 1}")
        visible = "positive" if pair.visible_frames else "negative"
        wrong = [episode.id for episode in episodes.get(key, ()) if episode.asked not in (None, visible)]
        if wrong:
            problems.append(
                f"episodes.csv: {wrong[0]} is not {visible}, and pairs.csv says {pair.visible_frames} visible frames"
            )
        if pair.complete not in ("yes", "no", "unsure"):
            problems.append(f"pairs.csv: complete of {key[0]},{key[1]} is '{pair.complete}'")
    paired = _pairs_by_video(bench)
    problems += [f"videos.csv: {video} has no pair" for video in bench.videos if video not in paired]
    frames: dict[str, int] = {}
    for row in read_csv(bench.root / "frames.csv", FRAME_COLUMNS):
        frames[row["video"]] = frames.get(row["video"], 0) + 1
    for video, record in bench.videos.items():
        if frames.get(video, 0) != record.frames:
            problems.append(f"frames.csv: {video} has {frames.get(video, 0)} frames, videos.csv says {record.frames}")
    return problems


def _draws(bench: Benchmark) -> int | None:
    rules = bench.header.get("rules")
    draws = rules.get("draws") if isinstance(rules, dict) else None
    return draws if isinstance(draws, int) else None


def _orphans(bench: Benchmark) -> list[str]:
    """Name the files that no row of the tables uses; of videos, also those that are missing."""
    root = bench.root
    problems = [
        f"{name}: does not belong here"
        for name in sorted(os.listdir(root))
        if not (name in PARTS[bench.kind] or is_stray(name))
    ]
    used_by_folder = {"supports": {(e.category, name) for e in bench.episodes for name in e.supports}}
    if bench.kind == "image":
        used_by_folder["queries"] = {(e.category, e.video) for e in bench.episodes}
    else:
        problems += _video_orphans(bench)
    for folder, used in used_by_folder.items():
        for category in folders(root / folder / "masks"):
            for path in _files(root / folder / "masks" / category):
                if (int(category) if re.fullmatch("[0-9]{1,9}", category) else 0, path.stem) not in used:
                    problems.append(f"{_short(root, path)}: is used by no episode")
        names = {name for _, name in used}
        problems += [
            f"{_short(root, path)}: is used by no episode"
            for path in _files(root / folder / "images")
            if path.stem not in names
        ]
    return problems


def _video_orphans(bench: Benchmark) -> list[str]:
    problems = []
    root = bench.root / "videos"
    paired = _pairs_by_video(bench)
    for video in folders(root):
        if video not in bench.videos:
            problems.append(f"videos/{video}: is not in videos.csv")
            continue
        frames = bench.videos[video].frames
        expected = {f"{index:05d}" for index in range(frames)}
        classes = {str(pair.category) for pair in paired.get(video, ())}
        for name in folders(root / video / "Annotations"):
            if name not in classes:
                problems.append(f"videos/{video}/Annotations/{name}: is not in pairs.csv")
        for part in ("JPEGImages", *(f"Annotations/{name}" for name in sorted(classes))):
            folder = root / video / part
            stems = {path.stem for path in _files(folder)}
            problems += [f"videos/{video}/{part}/{stem}: is missing" for stem in sorted(expected - stems)]
            problems += [f"videos/{video}/{part}/{stem}: is no frame of the video" for stem in sorted(stems - expected)]
    return problems + [f"videos/{video}: is missing" for video in bench.videos if not (root / video).is_dir()]


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder; of none if it is missing, which is said elsewhere."""
    return listing(folder) if folder.is_dir() else []


def _short(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
