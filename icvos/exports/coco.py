"""A benchmark in COCO's form: queries, or the frames of videos, as images; supports beside them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any

from icvos.benchmark import Benchmark
from icvos.exports.coco_json import (
    category_entries,
    category_problems,
    check_pixels,
    differing,
    info,
    json_file,
    json_line,
    json_lines,
    pixels,
)
from icvos.exports.contents import (
    categories_by_video,
    collect,
    missing_files,
    open_tables,
    place_frames,
    write_tables,
)
from icvos.exports.folder import ExportFolder
from icvos.exports.formats import ExportOptions
from icvos.exports.stills import KINDS, still_problems, write_stills
from icvos.progress import Progress, Update
from icvos.sources.annotations import Entry, by_id, read_annotations, relative_file
from icvos.view import View

__all__ = ["problems", "write"]

FRAMES = "frames.json"
INSIDE = "videos/{video}/JPEGImages"


def write(subject: Benchmark, folder: ExportFolder, options: ExportOptions, progress: Progress) -> None:
    """Write ``queries.json`` or ``frames.json``, ``supports.json``, the tables as they are, and images if wanted.

    Images are called by their paths in the benchmark, so that its folder, or the export with images, is the images'
    folder. Categories have their numbers in the benchmark as ids.
    """
    view = View(subject)
    write_tables(view, folder)
    if not subject.vos:
        write_stills(view, folder, "supports", options, progress)
    if subject.kind == "image":
        write_stills(view, folder, "queries", options, progress)
        return
    if options.with_frames:
        place_frames(view, folder, options, progress, INSIDE)
    folder.write(FRAMES, lambda: _frames(view, folder, progress))


def _frames(view: View, folder: ExportFolder, progress: Progress) -> Iterator[bytes]:
    benchmark = view.benchmark
    starts = _starts(benchmark)

    def images() -> Iterator[bytes]:
        for video, entries in _images(benchmark):
            paths = benchmark.frame_paths(video)
            inside = INSIDE.format(video=video)
            named = ({**entry, "file_name": f"{inside}/{path.name}"} for entry, path in zip(entries, paths))
            yield json_lines(named)

    def annotations() -> Iterator[bytes]:
        for done, video in enumerate(benchmark.videos, 1):
            yield folder.part(f"video-{video}", partial(_encoded, view, video, starts))
            progress(Update("videos encoded", done, len(benchmark.videos)))

    categories = map(json_line, category_entries(benchmark))
    lists = {"images": images(), "categories": categories, "annotations": annotations()}
    return json_file({"info": info(benchmark), "licenses": []}, lists)


def _images(benchmark: Benchmark) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield what the tables say of the frames of each video, with its name; numbered from 1 through all videos."""
    first = 1
    for video, record in benchmark.videos.items():
        yield (
            video,
            [
                {
                    "id": first + index,
                    "height": record.height,
                    "width": record.width,
                    "video": video,
                    "frame_index": index,
                }
                for index in range(record.frames)
            ],
        )
        first += record.frames


Starts = dict[str, dict[int, tuple[int, int]]]
"""By video and category: the ids of frame 0's image and of the annotation of it."""


def _starts(benchmark: Benchmark) -> Starts:
    """Return where the ids of each pair begin; a frame that shows nothing leaves its annotation's id free, so that none
    hangs on a mask."""
    starts: Starts = {}
    image = annotation = 1
    for video, categories in categories_by_video(benchmark).items():
        starts[video] = {}
        for category in categories:
            starts[video][category] = (image, annotation)
            annotation += benchmark.videos[video].frames
        image += benchmark.videos[video].frames
    return starts


def _encoded(view: View, video: str, starts: Starts) -> bytes:
    entries = []
    for category, (image, annotation) in starts[video].items():
        for index, mask in enumerate(view.truth(video, category)):
            marked = pixels(mask)
            if marked is not None:
                about = {"id": annotation + index, "image_id": image + index, "category_id": category, "iscrowd": 0}
                entries.append({**about, **marked})
    return json_lines(entries)


def problems(root: Path) -> Sequence[str]:
    """Return what is wrong: a list that is not what the tables say, or masks that are not what stands beside them."""
    return collect(_problems(root))


def _problems(root: Path) -> Iterator[str]:
    tables = open_tables(root)
    if not tables.vos:
        yield from still_problems(root, tables, "supports")
    if tables.kind == "image":
        yield from still_problems(root, tables, "queries")
        return
    lists = read_annotations(root / FRAMES, KINDS, expected="frames of videos in COCO's form")
    yield from category_problems(lists["categories"], tables)
    wanted = {entry["id"]: entry for _, entries in _images(tables) for entry in entries}
    images = dict(by_id(lists["images"]))
    if set(images) != set(wanted):
        yield f"{FRAMES}: {len(images)} images, and the videos of videos.csv have {len(wanted)} frames"
    files = {}
    for number, entry in images.items():
        file = relative_file(entry, entry.fields.get("file_name"), "file_name")
        files[str(file)] = "a frame"
        if number in wanted:
            problem = differing(entry, wanted[number]) or _misplaced(file, wanted[number])
            if problem is not None:
                yield problem
    yield from missing_files(root, files)
    yield from _annotation_problems(lists["annotations"], tables, wanted)


def _misplaced(file: PurePosixPath, wanted: dict[str, Any]) -> str | None:
    place = f"{INSIDE.format(video=wanted['video'])}/{wanted['frame_index']:05d}"
    return None if str(file.with_suffix("")) == place else f"{FRAMES}: image {wanted['id']} is {file}, and not {place}"


def _annotation_problems(entries: list[Entry], tables: Benchmark, images: dict[int, dict[str, Any]]) -> Iterator[str]:
    starts = [
        (annotation, video, category, image)
        for video, mine in _starts(tables).items()
        for category, (image, annotation) in mine.items()
    ]
    seen = dict.fromkeys(tables.pairs, 0)
    for number, entry in by_id(entries):
        row = bisect_right(starts, number, key=itemgetter(0)) - 1
        begin, video, category, image = starts[row] if row >= 0 else (0, "", 0, 0)
        index = number - begin
        if row < 0 or index >= tables.videos[video].frames:
            yield f"{FRAMES}: {entry.label} is of no frame"
            continue
        problem = differing(entry, {"image_id": image + index, "category_id": category, "iscrowd": 0})
        if problem is not None:
            yield problem
            continue
        size = images[image + index]["height"], images[image + index]["width"]
        check_pixels(entry, entry.fields, size)
        seen[video, category] += 1
    for (video, category), count in seen.items():
        visible = tables.pairs[video, category].visible_frames
        if count != visible:
            yield f"{FRAMES}: {count} annotations of {video},{category}, and pairs.csv says {visible} visible frames"
