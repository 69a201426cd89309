"""One video into IC-VOS: frames placed, objects merged to class-level masks, a record left of what was done.

Runs in a worker process; frame by frame, so that memory does not grow with a video's length.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from icvos.builders.extra import ExtraMasks, MendedLabels, mended_labels
from icvos.builders.ic_vos.rules import BUILDER_VERSION, BuildRules
from icvos.builders.writer import place_file, write_file
from icvos.errors import InputError, SourceError, counted
from icvos.files import atomic_write, open_file, read_file, read_json
from icvos.images import image_size
from icvos.manifest import Digest
from icvos.masks import encode_mask
from icvos.sources.base import SourceFrame, SourceVideo, VideoSource

__all__ = ["VideoTask", "build_video", "clip_frames", "frame_number"]


@dataclass(frozen=True)
class VideoTask:
    """What a worker needs to build one video.

    Attributes:
        source, video: Where from.
        name: Of the video in the benchmark.
        groups: Objects of each category to merge; those of ``extra`` with a minus.
        named: Objects that a recipe names, which must be there.
        clip: First and last frame as the source numbers them.
        root, state: Folders of the benchmark being written, and of the records.
        extra: Masks made in another tool, or None.
    """

    source: VideoSource
    video: SourceVideo
    name: str
    groups: Mapping[int, tuple[int, ...]]
    named: tuple[int, ...]
    clip: tuple[int | None, int | None]
    rules: BuildRules
    link: bool
    root: Path
    state: Path
    extra: ExtraMasks | None = None

    @property
    def folder(self) -> Path:
        return self.root / "videos" / self.name


def build_video(task: VideoTask) -> dict[str, Any]:
    """Build one video, or take what an earlier, killed build finished of it.

    Returns:
        The record without its files: pairs kept and dropped, objects without a label, frames, sizes. A video without
        any pair that is kept has no frames.

    Raises:
        InputError: (SourceError, MaskError, …) the raw data or the recipe cannot be used.
    """
    frames = clip_frames(task.source.frames(task.video), task.clip, task.rules)
    if not frames:
        raise SourceError(f"video {task.video.name} has no frames to use", where=task.source.root)
    fingerprint = _fingerprint(task, frames)
    path = task.state / f"{task.name}.json"
    record = _earlier(task, path, fingerprint)
    if record is None:
        path.unlink(missing_ok=True)
        shutil.rmtree(task.folder, ignore_errors=True)
        try:
            record = {"fingerprint": fingerprint, **_Builder(task).run(frames)}
        except BaseException:
            # A full disk or a broken mask: half a video is of no use to anybody.
            shutil.rmtree(task.folder, ignore_errors=True)
            raise
        with atomic_write(path, "w") as stream:
            json.dump(record, stream)
    return {key: value for key, value in record.items() if key not in ("files", "source_frames", "fingerprint")}


def clip_frames(frames: list[SourceFrame], clip: tuple[int | None, int | None], rules: BuildRules) -> list[SourceFrame]:
    """Return the frames from the first to the last of ``clip``, as the source numbers them, cut by the rules."""
    start, end = clip
    if start is not None or end is not None:
        low, high = start or 0, end if end is not None else 10**18
        frames = [frame for frame in frames if low <= frame_number(frame.name) <= high]
    return frames[: rules.max_frames or None]


def frame_number(name: str) -> int:
    """Return the number that the name of a source's frame ends in."""
    return int(name[len(name.rstrip("0123456789")) :])


def _fingerprint(task: VideoTask, frames: Sequence[SourceFrame]) -> str:
    """Hash of everything that the record depends on: an earlier one is reused only if nothing of it changed."""
    stats = [
        [path.name, stat.st_size, stat.st_mtime_ns]
        for frame in frames
        for path in (frame.image, *frame.masks)
        for stat in [_stat(path)]
    ]
    text = json.dumps(
        [
            BUILDER_VERSION,
            task.source.id,
            repr(task.video),
            sorted(task.groups.items()),
            task.named,
            task.clip,
            task.rules.header(),
            task.link,
            stats,
            [] if task.extra is None else task.extra.content,
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise SourceError("file not found", where=path, fix="fetch the video again") from None


def _earlier(task: VideoTask, path: Path, fingerprint: str) -> dict[str, Any] | None:
    try:
        record = read_json(path)
        if record["fingerprint"] != fingerprint:
            return None
        if any((task.folder / name).stat().st_size != size for name, (size, _) in record["files"].items()):
            return None
    except (InputError, OSError, KeyError, TypeError, ValueError):
        return None
    return record


class _Builder:
    """Builds one video, frame by frame."""

    def __init__(self, task: VideoTask) -> None:
        self.task = task
        self.folder = str(task.folder)  # as text: joining paths costs as much as writing a small file
        self.files: dict[str, Digest] = {}
        self.size: tuple[int, int] | None = None
        self.void = 0
        self.seen: set[int] = set()
        self.visible = dict.fromkeys(task.groups, 0)
        self.first = dict.fromkeys(task.groups, -1)
        self.largest = dict.fromkeys(task.groups, 0)
        self.mended_frames = 0
        self.drawn: Counter[int] = Counter()
        self.taken: Counter[tuple[int, int]] = Counter()

    def run(self, frames: Sequence[SourceFrame]) -> dict[str, Any]:
        task = self.task
        for folder in ("JPEGImages", *(f"Annotations/{category}" for category in task.groups)):
            (task.folder / folder).mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(frames):
            self._frame(index, frame)
        missing = [number for number in task.named if number not in self.seen]
        if missing and task.clip == (None, None) and not task.rules.max_frames:
            raise SourceError(
                f"the recipe names object {missing[0]} of {task.source.id},{task.video.name}, which no mask shows",
                where=task.source.root,
                expected=f"one of {', '.join(str(number) for number in sorted(self.seen) if number > 0) or 'none'}",
            )
        self._refuse_twice()
        pairs, dropped = self._keep(len(frames))
        if not pairs:
            shutil.rmtree(task.folder)
            self.files = {}
        assert self.size is not None
        grouped = {number for numbers in task.groups.values() for number in numbers}
        return {
            "video": task.name,
            "frames": len(frames),
            "height": self.size[0],
            "width": self.size[1],
            "void_pixels": self.void,
            "pairs": pairs,
            "dropped": dropped,
            "unlabelled": sorted(number for number in self.seen - grouped - set(task.named) if number > 0),
            "extra": self._extra(pairs),
            "source_frames": [frame.name for frame in frames],
            "files": self.files,
        }

    def _frame(self, index: int, frame: SourceFrame) -> None:
        task = self.task
        data = read_file(frame.image)
        size = image_size(data, frame.image)
        if self.size is None:
            self.size = size
        elif size != self.size:
            raise SourceError(
                f"frame is {size[0]}x{size[1]} (HxW)", where=frame.image, expected=f"{self.size[0]}x{self.size[1]}"
            )
        name = f"JPEGImages/{index:05d}{_suffix(frame.image)}"
        self.files[name] = place_file(f"{self.folder}/{name}", frame.image, link=task.link, data=data)
        labels = mended_labels(_labels(task, frame, size), frame, task.extra)
        if isinstance(labels, MendedLabels):
            self.mended_frames += 1
            self.drawn.update(labels.drawn)
            self.taken.update(labels.taken)
        areas = labels.areas()
        self.seen.update(areas)
        self.void += labels.void
        for category, objects in task.groups.items():
            there = [number for number in objects if number in areas]
            if there:
                self.visible[category] += 1
                self.largest[category] = max(self.largest[category], sum(areas[number] for number in there))
                if self.first[category] < 0:
                    self.first[category] = index
            png = encode_mask(labels.union(there)) if there else _empty(size)
            name = f"Annotations/{category}/{index:05d}.png"
            self.files[name] = write_file(f"{self.folder}/{name}", png)

    def _refuse_twice(self) -> None:
        """Refuse an extra object that is one of the source's, drawn again."""
        for number, drawn in sorted(self.drawn.items()):
            under = {own: count for (of, own), count in self.taken.items() if of == number}
            if 2 * sum(under.values()) > drawn:
                most = max(under, key=lambda own: (under[own], -own))
                share = 100 * sum(under.values()) / drawn
                assert self.task.extra is not None
                raise InputError(
                    f"{share:.0f} % of the extra object {number} of {self.task.source.id},{self.task.video.name} lies "
                    f"on objects of the source, most on {most}",
                    where=self.task.extra.table,
                    expected="things that the source left out",
                    fix="remove its row and masks, or draw what is missing alone",
                )

    def _extra(self, pairs: Sequence[Mapping[str, int]]) -> dict[str, int]:
        """Return how much of another tool's masks is in the pairs that are kept: ``objects``, ``masks``, and ``taken``,
        pixels that are objects' of the source."""
        kept = {n for pair in pairs for n in self.task.groups[pair["category"]] if n < 0 and n in self.seen}
        taken = sum(count for (of, _), count in self.taken.items() if -of in kept)
        return {"objects": len(kept), "masks": self.mended_frames if kept else 0, "taken": taken}

    def _keep(self, frames: int) -> tuple[list[dict[str, int]], dict[str, str]]:
        rules, pairs, dropped = self.task.rules, [], {}
        for category, objects in sorted(self.task.groups.items()):
            seen = self.visible[category]
            reason = ""
            if frames < rules.min_frames:
                reason = f"has {counted(frames, 'frames')} of at least {rules.min_frames}"
            elif seen < rules.min_visible_frames:
                reason = f"seen in {counted(seen, 'frames')} of at least {rules.min_visible_frames}"
            elif self.largest[category] < rules.min_area:
                reason = f"covers {self.largest[category]} pixels of at least {rules.min_area}"
            elif rules.first_frame == "visible" and self.first[category] != 0:
                reason = "not seen in the first frame"
            if reason:
                dropped[str(category)] = reason
                self._forget(category)
                continue
            instances = sum(number in self.seen for number in objects)
            pairs.append(
                {
                    "category": category,
                    "visible_frames": seen,
                    "first_visible": self.first[category],
                    "instances": instances,
                }
            )
        return pairs, dropped

    def _forget(self, category: int) -> None:
        folder = f"Annotations/{category}"
        shutil.rmtree(self.task.folder / folder)
        self.files = {name: digest for name, digest in self.files.items() if not name.startswith(f"{folder}/")}


def _labels(task: VideoTask, frame: SourceFrame, size: tuple[int, int]) -> Any:
    try:
        return task.source.labels(task.video, frame, size)
    except InputError as error:
        turned = f"{size[1]}x{size[0]}"
        if size[0] != size[1] and f"mask is {turned}" in error.what and _orientation(frame.image) > 4:
            raise type(error)(
                error.what + ", as the image would be if turned by its EXIF tag",
                where=error.where,
                expected=f"masks drawn on the stored pixels, {size[0]}x{size[1]}",
                fix="remove the tag from the images, turning them",
            ) from None
        raise


def _orientation(path: Path) -> int:
    from PIL import Image

    with open_file(path) as stream, Image.open(stream) as picture:
        return int(picture.getexif().get(0x0112, 1))


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return ".jpg" if suffix == ".jpeg" else suffix


@lru_cache(maxsize=8)
def _empty(size: tuple[int, int]) -> bytes:
    return encode_mask(np.zeros(size, np.uint8))
