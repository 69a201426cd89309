"""Labelling made quick: CSV files to fill, and self-contained pages to fill them with (``labels_page``)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icvos.builders.ic_vos.plan import own_label
from icvos.builders.labels.page import page_end, page_head, page_video
from icvos.builders.recipe import COMPLETE_COLUMNS, OBJECT_COLUMNS, Recipe
from icvos.categories import COCO80, Vocabulary
from icvos.errors import UsageError
from icvos.files import atomic_write, write_csv
from icvos.images import read_image
from icvos.processes import in_order
from icvos.progress import Progress, Update
from icvos.sources.base import FrameLabels, SourceFrame, SourceVideo, VideoSource

__all__ = ["LabelsReport", "sample_video", "write_labels"]

WHOLE_FRAMES = 6  # shown of each video
OBJECT_FRAMES = 3  # shown of each object
LOOKED_AT = 48  # masks of a video that are read to find its objects
WIDTH = 480  # of a frame on the page
CROP = 224


@dataclass
class LabelsReport:
    """What was written: pages, the two CSV files, and how much there is to do."""

    pages: list[Path]
    objects_csv: Path
    complete_csv: Path
    videos: int
    objects: int
    labelled: int


@dataclass(frozen=True)
class _Task:
    source: VideoSource
    video: SourceVideo


def write_labels(
    sources: Sequence[VideoSource],
    out: Path,
    *,
    recipe: Recipe | None = None,
    words: Vocabulary = COCO80,
    page_size: int = 200,
    workers: int = 1,
    progress: Progress | None = None,
) -> LabelsReport:
    """Write ``objects.csv``, ``complete.csv`` and ``<source>.html`` (``<source>-01.html`` … where it is long).

    Args:
        sources: Raw video data sets.
        out: A folder; what is there under these names is replaced.
        recipe: Labels that are known already.
        words: The vocabulary of categories.
        page_size: Videos on one page, so that it stays light and several people can share the work.
        workers: Processes.
        progress: Told how many videos are done.

    Raises:
        UsageError: No source, or one without videos.
        SourceError: Broken raw data.
    """
    recipe = recipe or Recipe()
    if not sources or page_size < 1:
        raise UsageError("no video data set is given", expected="--davis DIR, --mose DIR, …")
    objects: list[dict[str, Any]] = []
    complete: list[dict[str, Any]] = []
    pages: list[Path] = []
    count = 0
    for source in sources:
        videos = source.videos()
        if not videos:
            raise UsageError("no video with all its masks", where=source.root)
        sampled = in_order(sample_video, (_Task(source, video) for video in videos), workers)
        numbered = len(videos) > page_size
        for start in range(0, len(videos), page_size):
            name = f"{source.id}-{start // page_size + 1:02d}" if numbered else source.id
            with atomic_write(out / f"{name}.html", "w") as stream:
                stream.write(page_head(name, source.title, words.names))
                for video in videos[start : start + page_size]:
                    sample = next(sampled)
                    rows, answers = _rows(source, video, [o["id"] for o in sample["objects"]], recipe, words)
                    sample["rows"], sample["complete"] = rows, answers
                    stream.write(page_video(json.dumps(sample)))
                    objects += rows
                    complete += answers
                    count += 1
                    if progress:
                        progress(Update(f"videos of {source.id}", count, 0))
                stream.write(page_end())
            pages.append(out / f"{name}.html")
    write_csv(out / "objects.csv", OBJECT_COLUMNS, objects)
    write_csv(out / "complete.csv", COMPLETE_COLUMNS, complete)
    labelled = sum(bool(row["category"]) for row in objects)
    return LabelsReport(pages, out / "objects.csv", out / "complete.csv", count, len(objects), labelled)


def _rows(
    source: VideoSource, video: SourceVideo, numbers: Iterable[int], recipe: Recipe, words: Vocabulary
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the CSV rows of a video, filled with what the data set and the recipe say."""
    labels = recipe.objects.get((source.id, video.name), {})
    rows, categories = [], set()
    for number in sorted({*numbers, *video.objects, *labels}):
        said = video.objects.get(number)
        label = labels.get(number) or own_label(source, said, words)
        category = ""
        if label is not None:
            category = "none" if label.category is None else words.label(label.category)
            if label.category is not None and label.keep:
                categories.add(label.category)
        elif said:
            category = "none"
        rows.append(
            {
                "source": source.id,
                "video": video.name,
                "object": number,
                "category": category,
                "keep": "yes" if label is None or label.keep else "no",
                "start": "" if label is None or label.start is None else label.start,
                "end": "" if label is None or label.end is None else label.end,
                "note": f"{source.title} says {said}" if said and (label is None or label.category is None) else "",
            }
        )
    answers = [
        {
            "source": source.id,
            "video": video.name,
            "category": words.label(category),
            "complete": recipe.complete.get(
                (source.id, video.name, category), "yes" if video.complete == "yes" else ""
            ),
        }
        for category in sorted(categories)
    ]
    return rows, answers


def sample_video(task: _Task) -> dict[str, Any]:
    """Return what a page shows of a video: whole frames over time, outlines and a crop of each object."""
    source, video = task.source, task.video
    frames = source.frames(video)
    size = read_image(frames[0].image).shape[:2]
    areas = _areas(source, video, frames, (size[0], size[1]))
    best: dict[int, list[int]] = {}
    for number in sorted({number for areas_of_frame in areas.values() for number in areas_of_frame}):
        there = [index for index in areas if number in areas[index]]
        largest = max(there, key=lambda index: (areas[index][number], -index))
        # The largest view, and the first and last, which show how it changes; else one between them.
        views = {largest, there[0], there[-1]}
        between = [index for index in there[len(there) // 2 :] if index not in views]
        best[number] = sorted([*views, *between[: OBJECT_FRAMES - len(views)]])
    whole = _spread(len(frames), WHOLE_FRAMES)
    objects: dict[int, dict[str, Any]] = {}
    crops: dict[int, str] = {}
    for index in sorted({*whole, *(i for chosen in best.values() for i in chosen)}):
        image = read_image(frames[index].image)
        labels = source.labels(video, frames[index], (image.shape[0], image.shape[1]))
        objects[index] = _frame(frames[index], image, labels)
        for number, chosen in best.items():
            largest = max(chosen, key=lambda i: areas[i][number])
            if index == largest:
                crops[number] = _crop(image, labels.union([number]))
    return {
        "source": source.id,
        "video": video.name,
        "frames": len(frames),
        "whole": whole,
        "shown": objects,
        "objects": [{"id": number, "frames": best[number], "crop": crops[number]} for number in best],
    }


def _areas(
    source: VideoSource, video: SourceVideo, frames: Sequence[SourceFrame], size: tuple[int, int]
) -> dict[int, dict[int, int]]:
    """Return the objects' areas in some frames: evenly spaced ones, and all where a known object was not met."""
    areas: dict[int, dict[int, int]] = {}
    for index in _spread(len(frames), LOOKED_AT):
        areas[index] = source.labels(video, frames[index], size).areas()
    met = {number for areas_of_frame in areas.values() for number in areas_of_frame}
    if set(video.objects) - met:
        for index in range(len(frames)):
            if index not in areas:
                areas[index] = source.labels(video, frames[index], size).areas()
    return dict(sorted(areas.items()))


def _spread(length: int, most: int) -> list[int]:
    """Return at most ``most`` places, evenly over 0 to ``length - 1``, both ends among them."""
    count = min(most, length)
    return sorted({round(i * (length - 1) / max(count - 1, 1)) for i in range(count)})


def _frame(frame: SourceFrame, image: np.ndarray, labels: FrameLabels) -> dict[str, Any]:
    scale = min(1.0, WIDTH / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    outlines = {number: _outline(labels.union([number]), size) for number in labels.areas()}
    return {"name": frame.name, "jpeg": _jpeg(image, size), "w": size[0], "h": size[1], "outlines": outlines}


def _outline(mask: np.ndarray, size: tuple[int, int]) -> str:
    """Return an object's outline on the shrunken frame as an SVG path."""
    import cv2

    # Outlined at full size, so that nothing small is lost.
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    scale = np.array([size[0] / mask.shape[1], size[1] / mask.shape[0]])
    parts = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, 0.7 / float(scale.min()), True)[:, 0].astype(float)
        corners = (points + 0.5) * scale
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + "Z")
    return "".join(parts)


def _crop(image: np.ndarray, mask: np.ndarray) -> str:
    import cv2

    x, y, width, height = cv2.boundingRect(mask)
    side = int(max(width, height) * 1.3) + 8
    left, top = max(0, x + width // 2 - side // 2), max(0, y + height // 2 - side // 2)
    piece = image[top : top + side, left : left + side]
    scale = CROP / max(piece.shape[:2])
    return _jpeg(piece, (max(1, round(piece.shape[1] * scale)), max(1, round(piece.shape[0] * scale))))


def _jpeg(image: np.ndarray, size: tuple[int, int]) -> str:
    import cv2

    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_LINEAR)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 78])
    return base64.b64encode(data.tobytes()).decode()
