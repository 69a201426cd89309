"""A video benchmark in DAVIS-2017's layout: a label map a frame, on which object k is the video's k-th category."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from icvos.benchmark import Benchmark
from icvos.errors import UsageError
from icvos.exports.contents import (
    categories_by_video,
    check_tables,
    collect,
    missing_files,
    open_tables,
    place_frames,
    write_tables,
)
from icvos.exports.folder import ExportFolder
from icvos.exports.formats import ExportOptions
from icvos.exports.stills import still_problems, write_stills
from icvos.files import read_json, to_json
from icvos.listing import listed_names, listing
from icvos.masks import encode_label_map, read_mask
from icvos.progress import Progress, Update
from icvos.sources.base import VOID
from icvos.view import View

__all__ = ["problems", "write"]

SEMANTICS = "davis_semantics.json"
LIST = "ImageSets/2017/val.txt"
IMAGES, LABELS = "JPEGImages/480p", "Annotations/480p"
"""Folders that DAVIS' readers look for, whatever the size of frames is."""


def write(subject: Benchmark, folder: ExportFolder, options: ExportOptions, progress: Progress) -> None:
    """Write label maps, ``ImageSets/2017/val.txt``, ``davis_semantics.json``, and what is not DAVIS' beside them.

    That is ``supports.json`` and the tables as they are. Masks that overlap are refused before anything is written:
    those of all videos of two or more categories are looked at first.

    Raises:
        UsageError: Masks of two categories overlap, or a video has more categories than a label map has values.
    """
    view = View(subject)
    check_tables(subject)
    categories = categories_by_video(subject)
    most = max(categories, key=lambda video: len(categories[video]))
    if len(categories[most]) >= VOID:
        count = len(categories[most])
        raise UsageError(f"video '{most}' has {count} categories", expected=f"at most {VOID - 1}", fix=_OTHER)
    several = {video: numbers for video, numbers in categories.items() if len(numbers) > 1}
    for done, (video, numbers) in enumerate(several.items(), 1):
        for _ in _label_maps(view, video, numbers):
            pass
        progress(Update("videos looked at", done, len(several)))
    write_tables(view, folder)
    if not subject.vos:
        write_stills(view, folder, "supports", options, progress)
    if options.with_frames:
        place_frames(view, folder, options, progress, f"{IMAGES}/{{video}}")
    folder.write(LIST, lambda: "".join(f"{video}\n" for video in sorted(categories)).encode())
    folder.write(SEMANTICS, lambda: to_json(_semantics(subject)).encode())
    for done, (video, numbers) in enumerate(categories.items(), 1):
        # The last file of a video is written last.
        if not (folder.root / LABELS / video / f"{subject.videos[video].frames - 1:05d}.png").is_file():
            for index, labels in enumerate(_label_maps(view, video, numbers)):
                folder.write(f"{LABELS}/{video}/{index:05d}.png", partial(encode_label_map, labels))
        progress(Update("videos written", done, len(categories)))


def _semantics(benchmark: Benchmark) -> dict[str, dict[str, str]]:
    """Return the names of each video's objects, as DAVIS has them."""
    return {
        video: {str(k): benchmark.pairs[video, number].category_name for k, number in enumerate(numbers, 1)}
        for video, numbers in categories_by_video(benchmark).items()
    }


_OTHER = "--to ytvis has a mask for each category"


def _label_maps(view: View, video: str, categories: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the label map of each frame of a video, (H, W) uint8.

    Raises:
        UsageError: Masks of two categories overlap.
    """
    record = view.benchmark.videos[video]
    truths = [view.truth(video, category) for category in categories]
    for index in range(record.frames):
        labels = np.zeros((record.height, record.width), np.uint8)
        taken = np.zeros(labels.shape, bool)
        for value, truth in enumerate(truths, 1):
            mask = truth[index]
            if (taken & mask).any():
                one, other = (categories[number - 1] for number in (int(labels[mask].max()), value))
                names = [view.benchmark.pairs[video, category].category_name for category in (one, other)]
                raise UsageError(
                    f"'{names[0]}' and '{names[1]}' overlap on frame {index:05d} of video '{video}'",
                    where=view.benchmark.root,
                    expected="masks of which one label map can be made",
                    fix=_OTHER,
                )
            taken |= mask
            labels += mask.view(np.uint8) * np.uint8(value)
        yield labels


def problems(root: Path) -> Sequence[str]:
    """Return what is wrong: lists that are not what the tables say, label maps of another size, objects of no name."""
    return collect(_problems(root))


def _problems(root: Path) -> Iterator[str]:
    tables = open_tables(root)
    if not tables.vos:
        yield from still_problems(root, tables, "supports")
    if read_json(root / SEMANTICS) != _semantics(tables):
        yield f"{SEMANTICS}: it does not name the categories that pairs.csv has"
    if listed_names(root / LIST) != sorted(tables.videos):
        yield f"{LIST}: it does not name the videos that videos.csv has"
    for video, categories in categories_by_video(tables).items():
        yield from _video_problems(root, tables, video, categories)


def _video_problems(root: Path, tables: Benchmark, video: str, categories: Sequence[int]) -> Iterator[str]:
    record = tables.videos[video]
    if len(categories) >= VOID:
        yield f"{LABELS}/{video}: {len(categories)} categories, and a label map has {VOID - 1} at most"
        return
    names = [f"{index:05d}" for index in range(record.frames)]
    paths = listing(root / LABELS / video)
    if [path.name for path in paths] != [f"{name}.png" for name in names]:
        yield f"{LABELS}/{video}: {len(paths)} label maps, and videos.csv says {record.frames} frames"
        return
    seen = np.zeros(256, np.int64)
    for path in paths:
        labels = read_mask(path, size=(record.height, record.width))
        seen += np.bincount(labels.ravel(), minlength=256) > 0
    odd = np.flatnonzero(seen[len(categories) + 1 :])
    if odd.size:
        yield f"{LABELS}/{video}: object {odd[0] + len(categories) + 1} has no name"
    for value, category in enumerate(categories, 1):
        visible = tables.pairs[video, category].visible_frames
        if seen[value] != visible:
            yield f"{LABELS}/{video}: object {value} is on {seen[value]} frames, and pairs.csv says {visible}"
    if (root / IMAGES).is_dir():
        stems = [path.stem for path in listing(root / IMAGES / video)]
        if stems != names:
            yield f"{IMAGES}/{video}: {len(stems)} frames, and videos.csv says {record.frames}"
    else:
        yield from missing_files(root, {f"{IMAGES}/{video}/{names[0]}.jpg": f"a frame of {video}"})
