"""What the labels page shows of a video: a clip of all its frames, the objects' masks on each, and a crop of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icvos.builders.extra import ExtraMasks, map_folder, mended_labels
from icvos.clips import chunk_script, clip_of, display_size, jpeg_of, mask_text, shrink_image
from icvos.files import atomic_write
from icvos.images import read_image
from icvos.sources.base import SourceFrame, SourceVideo, VideoSource

__all__ = ["LONGEST", "SampleTask", "sample_video"]

LONGEST = 960
"""Pixels of the longer side of a frame, at most: whether something small is a dog has to be seen."""

CROP = 224
VIEWS = 4  # of an object, at most, in the row of small pictures


@dataclass(frozen=True)
class SampleTask:
    """A video to be shown.

    Attributes:
        source, video: Which.
        extra: Masks made in another tool, or None.
        path: A script to be written, which hands frames and masks to the page.
    """

    source: VideoSource
    video: SourceVideo
    extra: ExtraMasks | None
    path: Path


def sample_video(task: SampleTask) -> dict[str, Any]:
    """Write a video's script; return what the page has to know of it before that is loaded.

    Returns:
        ``source``, ``video``, ``size`` (H, W) of what is shown, ``frames`` by their names, their ``files`` in
        ``folder`` below the data set's, ``maps``, where masks of another tool belong; and ``objects``: ``id`` (of masks
        of another tool with a minus), ``best``, the frame that shows most of it, and ``views``, a few frames with it.
    """
    frames = task.source.frames(task.video)
    stored = read_image(frames[0].image).shape[:2]
    size = display_size((stored[0], stored[1]), LONGEST)
    masks: dict[int, list[str]] = {}
    areas: dict[int, dict[int, int]] = {}
    clip = clip_of(_frames(task, frames, size, masks, areas))
    best = {number: max(seen, key=lambda index: (seen[index], -index)) for number, seen in areas.items()}
    content = {
        "size": size,
        **clip,
        "masks": {number: [*texts, *[""] * (len(frames) - len(texts))] for number, texts in masks.items()},
        "crops": {number: _crop(task, frames[index], number) for number, index in best.items()},
    }
    with atomic_write(task.path, "w") as stream:
        stream.write(chunk_script(task.video.name, content))
    root = task.source.root
    inside = all(frame.image.is_relative_to(root) for frame in frames)
    return {
        "source": task.source.id,
        "video": task.video.name,
        "size": size,
        "frames": [frame.name for frame in frames],
        "folder": frames[0].image.parent.relative_to(root).as_posix() if inside else "",
        "files": [frame.image.name for frame in frames],
        "maps": map_folder(task.source.id, task.video.name),
        "objects": [
            {"id": number, "best": best[number], "views": _views(list(areas[number]), best[number])}
            for number in sorted(areas, key=lambda number: (number < 0, abs(number)))
        ],
    }


def _frames(
    task: SampleTask,
    frames: Sequence[SourceFrame],
    size: tuple[int, int],
    masks: dict[int, list[str]],
    areas: dict[int, dict[int, int]],
) -> Iterator[np.ndarray]:
    """Yield the frames as they are shown; note each object's mask and area meanwhile, where it is there."""
    for index, frame in enumerate(frames):
        image = read_image(frame.image)
        labels = task.source.labels(task.video, frame, (image.shape[0], image.shape[1]))
        labels = mended_labels(labels, frame, task.extra)
        for number, area in labels.areas().items():
            texts = masks.setdefault(number, [])
            texts += [""] * (index - len(texts))
            texts.append(mask_text(labels.union([number]) > 0, size))
            areas.setdefault(number, {})[index] = area
        yield shrink_image(image, size)


def _views(there: Sequence[int], best: int) -> list[int]:
    """Return a few frames of an object: the first, the last, its best and others between, sorted."""
    spread = [there[round(i * (len(there) - 1) / (VIEWS - 1))] for i in range(VIEWS)]
    return sorted({spread[0], spread[-1], best} if best not in spread else set(spread))


def _crop(task: SampleTask, frame: SourceFrame, number: int) -> str:
    """Return an object and a little around it, at the size it is stored in, as JPEG in base64."""
    import cv2

    image = read_image(frame.image)
    labels = task.source.labels(task.video, frame, (image.shape[0], image.shape[1]))
    mask = mended_labels(labels, frame, task.extra).union([number])
    x, y, width, height = cv2.boundingRect(mask)
    side = int(max(width, height) * 1.3) + 8
    left, top = max(0, x + width // 2 - side // 2), max(0, y + height // 2 - side // 2)
    piece = image[top : top + side, left : left + side]
    scale = CROP / max(piece.shape[:2])
    size = (max(1, round(piece.shape[1] * scale)), max(1, round(piece.shape[0] * scale)))
    return jpeg_of(cv2.resize(piece, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
