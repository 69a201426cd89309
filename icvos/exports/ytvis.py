"""A video benchmark in YouTube-VIS' form: an annotation for each category of a video, run lengths or null by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
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
    pixels,
)
from icvos.exports.contents import (
    categories_by_video,
    collect,
    missing_files,
    open_tables,
    place_frames,
    video_ids,
    write_tables,
)
from icvos.exports.folder import ExportFolder
from icvos.exports.formats import ExportOptions
from icvos.exports.stills import still_problems, write_stills
from icvos.progress import Progress, Update
from icvos.sources.annotations import Entry, by_id, read_annotations, relative_file
from icvos.view import View

__all__ = ["problems", "write"]

INSTANCES = "instances.json"
KINDS = {"videos": "video", "categories": "category", "annotations": "annotation"}
PIXELS = {"segmentations": "segmentation", "bboxes": "bbox", "areas": "area"}


def write(subject: Benchmark, folder: ExportFolder, options: ExportOptions, progress: Progress) -> None:
    """Write ``instances.json``, ``supports.json``, the tables as they are and, where they are wanted, the images.

    A frame on which a category is not seen is null. Categories have their numbers in the benchmark as ids; videos and
    annotations are numbered from 1, in the order of ``videos.csv`` and by category.
    """
    view = View(subject)
    write_tables(view, folder)
    if not subject.vos:
        write_stills(view, folder, "supports", options, progress)
    if options.with_frames:
        place_frames(view, folder, options, progress)
    folder.write(INSTANCES, lambda: _instances(view, folder, progress))


def _instances(view: View, folder: ExportFolder, progress: Progress) -> Iterator[bytes]:
    benchmark = view.benchmark
    tracks: dict[str, list[dict[str, Any]]] = {video: [] for video in benchmark.videos}
    for video, track in _tracks(benchmark):
        tracks[video].append(track)

    def annotations() -> Iterator[bytes]:
        for done, (video, mine) in enumerate(tracks.items(), 1):
            yield folder.part(f"video-{video}", partial(_encoded, view, video, mine))
            progress(Update("videos encoded", done, len(tracks)))

    def videos() -> Iterator[bytes]:
        for video, about in _videos(benchmark).items():
            files = [f"{video}/{path.name}" for path in benchmark.frame_paths(video)]
            yield json_line({**about, "file_names": files})

    lists = {
        "videos": videos(),
        "categories": map(json_line, category_entries(benchmark)),
        "annotations": annotations(),
    }
    return json_file({"info": info(benchmark), "licenses": []}, lists)


def _videos(benchmark: Benchmark) -> dict[str, dict[str, Any]]:
    """Return what the tables say of each video."""
    return {
        video: {
            "id": number,
            "name": video,
            "height": benchmark.videos[video].height,
            "width": benchmark.videos[video].width,
            "length": benchmark.videos[video].frames,
        }
        for video, number in video_ids(benchmark).items()
    }


def _tracks(benchmark: Benchmark) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what the tables say of each annotation, with its video's name."""
    videos, number = _videos(benchmark), 0
    for video, categories in categories_by_video(benchmark).items():
        size = {name: videos[video][name] for name in ("height", "width", "length")}
        for category in categories:
            number += 1
            about = {"id": number, "video_id": videos[video]["id"], "category_id": category}
            yield video, {**about, "iscrowd": 0, **size}


def _encoded(view: View, video: str, tracks: Sequence[Mapping[str, Any]]) -> bytes:
    lines = []
    for track in tracks:
        frames = [pixels(mask) or {} for mask in view.truth(video, track["category_id"])]
        lines.append(json_line({**track, **{many: [f.get(one) for f in frames] for many, one in PIXELS.items()}}))
    return b",\n".join(lines)


def problems(root: Path) -> Sequence[str]:
    """Return what is wrong: a list that is not what the tables say, or masks that are not what stands beside them."""
    return collect(_problems(root))


def _problems(root: Path) -> Iterator[str]:
    tables = open_tables(root)
    if not tables.vos:
        yield from still_problems(root, tables, "supports")
    lists = read_annotations(root / INSTANCES, KINDS, expected="videos in YouTube-VIS' form")
    yield from category_problems(lists["categories"], tables)
    wanted = {about["id"]: about for about in _videos(tables).values()}
    videos = dict(by_id(lists["videos"]))
    if set(videos) != set(wanted):
        yield f"{INSTANCES}: {len(videos)} videos, and videos.csv has {len(wanted)}"
    for number, entry in videos.items():
        if number in wanted:
            yield from _video_problems(root, entry, wanted[number])
    tracks = {track["id"]: (video, track) for video, track in _tracks(tables)}
    annotations = dict(by_id(lists["annotations"]))
    if set(annotations) != set(tracks):
        yield f"{INSTANCES}: {len(annotations)} annotations, and pairs.csv has {len(tracks)}"
    for number, entry in annotations.items():
        if number in tracks:
            video, track = tracks[number]
            problem = differing(entry, track) or _count(entry, track, tables.pairs[video, track["category_id"]])
            if problem is not None:
                yield problem


def _video_problems(root: Path, entry: Entry, wanted: Mapping[str, Any]) -> Iterator[str]:
    problem = differing(entry, wanted)
    if problem is not None:
        yield problem
        return
    files = [relative_file(entry, name, "file_names") for name in entry.values("file_names")]
    stems = [str(file.with_suffix("")) for file in files]
    if stems != [f"{wanted['name']}/{index:05d}" for index in range(wanted["length"])]:
        yield f"{INSTANCES}: file_names of {entry.label} are not {wanted['length']} frames of {wanted['name']}"
    yield from missing_files(root, {f"JPEGImages/{file}": f"a frame of {wanted['name']}" for file in files})


def _count(entry: Entry, track: Mapping[str, Any], pair: Any) -> str | None:
    """Check an annotation's masks, and return where they are not as many as the tables say."""
    values = {name: entry.values(name) for name in PIXELS}
    for name, frames in values.items():
        if len(frames) != track["length"]:
            raise entry.problem(name, f"{track['length']}, one a frame")
    seen = 0
    for index, frame in enumerate(zip(*values.values())):
        if any(value is not None for value in frame):
            marked = dict(zip(PIXELS.values(), frame))
            check_pixels(entry, marked, (track["height"], track["width"]), f"segmentations[{index}]")
            seen += 1
    if seen != pair.visible_frames:
        return f"{INSTANCES}: {entry.label} is seen on {seen} frames, and pairs.csv says {pair.visible_frames}"
    return None
