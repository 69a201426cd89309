"""What a raw video data set looks like to the builders: videos, their frames, and the objects in each frame."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from icvos.errors import MaskError, SourceError
from icvos.listing import frame_files, match_stems
from icvos.masks import read_mask
from icvos.sources.annotations import is_text, whole_number

__all__ = [
    "IMAGES",
    "VOID",
    "ClassMasksOfFrame",
    "FrameLabels",
    "LabelMap",
    "SourceFrame",
    "SourceVideo",
    "VideoSource",
    "by_object",
    "categories_by_object",
    "images_of",
    "json_object",
    "pair_up",
    "read_class_masks",
]

VOID = 255
"""The label of pixels that belong to nobody (an uncertain border); it becomes background in a benchmark."""

IMAGES = (".jpg", ".jpeg", ".png")
"""Suffixes of the frames' images that are read."""

FEW = 6
"""Objects up to which they are counted one by one."""


@dataclass(frozen=True)
class SourceVideo:
    """A video of a raw data set.

    Attributes:
        name: As the data set names it.
        split: ``train``, ``val``, …
        objects: Names of the objects' categories as the data set says them, None where it does not; empty where it
            tells no objects at all (they are then only in the masks).
        all_objects: Whether ``objects`` lists every object of the masks.
        complete: Whether every instance of an annotated category is annotated: ``yes`` or ``unsure``.
        fps: Frames a second of the annotated frames, where known.
        spans: First frame number and the one after the last in which an object may be, where known.
        detail: Whatever the reader wants to find again (picklable).
    """

    name: str
    split: str
    objects: Mapping[int, str | None] = field(default_factory=dict)
    all_objects: bool = False
    complete: str = "unsure"
    fps: float | None = None
    spans: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    detail: Any = None


@dataclass(frozen=True)
class SourceFrame:
    """An annotated frame.

    Attributes:
        name: In the data set; its number, or what ends in it.
        image: Its file.
        masks: Its mask files; none where one JSON holds them.
        index: Its place among the frames of that JSON, from 0.
    """

    name: str
    image: Path
    masks: tuple[Path, ...] = ()
    index: int = 0


class FrameLabels(ABC):
    """The objects of one frame."""

    size: tuple[int, int]

    @abstractmethod
    def areas(self) -> dict[int, int]:
        """Return the pixels of each object that is there, by its id; without void."""

    @abstractmethod
    def union(self, objects: Iterable[int]) -> np.ndarray:
        """Return (H, W) uint8 {0, 1}: where any of ``objects`` is."""

    @property
    @abstractmethod
    def void(self) -> int:
        """Pixels that are labelled void."""


class LabelMap(FrameLabels):
    """Objects as the values of one label image; 0 is background, 255 void.

    Args:
        labels: (H, W) uint8.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = np.ascontiguousarray(labels)
        self.size = (labels.shape[0], labels.shape[1])
        self._masks: dict[int, np.ndarray] = {}
        self._counts = self._count()

    def _count(self) -> dict[int, int]:
        """Return the pixels of each value but 0."""
        import cv2

        top = int(self.labels.max(initial=0))
        if top <= FEW:  # a comparison each is quicker than a histogram, and union wants it anyway
            areas = {number: cv2.countNonZero(self._mask(number)) for number in range(1, top + 1)}
        elif self.labels.size < 2**24:  # calcHist counts in float32, exact only so far
            counts = cv2.calcHist([self.labels], [0], None, [256], [0, 256]).ravel()
            areas = {number: int(counts[number]) for number in range(1, 256)}
        else:
            areas = dict(enumerate(np.bincount(self.labels.ravel(), minlength=256).tolist()[1:], 1))
        return {number: count for number, count in areas.items() if count}

    def _mask(self, number: int) -> np.ndarray:
        if number not in self._masks:
            self._masks[number] = (self.labels == number).view(np.uint8)
        return self._masks[number]

    def areas(self) -> dict[int, int]:
        return {number: count for number, count in self._counts.items() if number != VOID}

    @property
    def void(self) -> int:
        return self._counts.get(VOID, 0)

    def union(self, objects: Iterable[int]) -> np.ndarray:
        numbers = list(objects)
        if len(numbers) == 1:
            return self._mask(numbers[0])
        import cv2

        table = np.zeros(256, np.uint8)
        table[numbers] = 1
        return cv2.LUT(self.labels, table)


class ClassMasksOfFrame(FrameLabels):
    """A mask of its own for each object, or class, of one frame; they may overlap.

    Args:
        masks: (H, W) uint8 {0, 1} by number.
        size: (H, W).
    """

    def __init__(self, masks: dict[int, np.ndarray], size: tuple[int, int]) -> None:
        self.masks = masks
        self.size = size

    def areas(self) -> dict[int, int]:
        counts = {category: int(np.count_nonzero(mask)) for category, mask in self.masks.items()}
        return {category: count for category, count in counts.items() if count}

    @property
    def void(self) -> int:
        return 0

    def union(self, objects: Iterable[int]) -> np.ndarray:
        out = np.zeros(self.size, np.uint8)
        for category in objects:
            out |= self.masks[category]
        return out


class VideoSource(ABC):
    """A raw data set on disk.

    Attributes:
        id: The prefix of its videos in a benchmark: ``davis17``.
        title: As people call it.
        licence: One line, for ``benchmark.json``.
        root: Its folder.
        keep_unsure: Whether its pairs are kept while nobody has said whether their categories are complete.
        bare_names: Whether its videos keep their names, without ``<id>__`` before them.
        named_by: What says of which category its objects are, for messages.
        left_out: Videos that ``videos`` passed over, wholly or in part, each with why; known after it was called.
    """

    id: str
    title: str
    licence: str
    root: Path
    keep_unsure: bool = False
    bare_names: bool = False
    named_by: str = "a recipe (icvos build-data labels)"
    left_out: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def videos(self) -> list[SourceVideo]:
        """Return all annotated videos, sorted by name.

        Raises:
            SourceError: The folder is not laid out as the authors ship it.
        """

    @abstractmethod
    def frames(self, video: SourceVideo) -> list[SourceFrame]:
        """Return the annotated frames of a video, in order.

        Raises:
            SourceError: Frames without annotation, or annotation without frames.
        """

    def labels(self, video: SourceVideo, frame: SourceFrame, size: tuple[int, int]) -> FrameLabels:
        """Return the objects of a frame whose image has ``size`` (H, W).

        Raises:
            MaskError: The mask is broken or of another size.
        """
        (path,) = frame.masks
        return LabelMap(read_mask(path, size=size))


def read_class_masks(video: SourceVideo, frame: SourceFrame, size: tuple[int, int]) -> ClassMasksOfFrame:
    """Read a frame that has a mask file for each of the video's objects, in their order.

    Whatever one value is not 0 (1, 255, a class's number) is the thing.

    Raises:
        MaskError: A mask is broken, of another size, or holds several values, as one with soft edges does.
    """
    masks = {}
    for number, path in zip(video.objects, frame.masks, strict=True):
        labels = read_mask(path, size=size)
        mask = labels != 0
        if mask.any() and (labels[mask] != labels.max()).any():
            values = [str(value) for value in np.unique(labels) if value]
            some = ", ".join(values[:5]) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
            raise MaskError(
                f"mask holds the values {some}",
                where=path,
                expected="0 and one other value",
                fix="make each pixel 0 or 255: a soft edge has to be cut, at 128 for instance",
            )
        masks[number] = mask.view(np.uint8)
    return ClassMasksOfFrame(masks, size)


def pair_up(images: Path, masks: Path, video: str, *, all_masks: bool = True) -> list[SourceFrame]:
    """Return the frames of a video with one image and one mask file each, named as the images are.

    An image and a mask are one frame if their stems are the same, or else the same number.

    Args:
        images: Folder of JPEG (or PNG) images.
        masks: Folder of PNG masks.
        video: Its name, for messages.
        all_masks: Every image has a mask; otherwise only the frames with a mask are returned.

    Raises:
        SourceError: A mask without image, or an image without mask.
    """
    pictures = frame_files(images, IMAGES, error=SourceError)
    labels = frame_files(masks, (".png",), error=SourceError)
    named = images_of(list(labels), list(pictures), video, images)
    annotated = set(named.values())
    missing = [stem for stem in pictures if stem not in annotated]
    if missing and all_masks:
        raise SourceError(
            f"frame {missing[0]} of {video} has no mask ({len(missing)} of {len(pictures)} have none)",
            where=masks,
            expected="a mask for every frame",
            fix="splits with first-frame masks only cannot be built from",
        )
    if not labels:
        raise SourceError(f"{video} has no mask", where=masks, expected=".png files, named as the frames are")
    return [SourceFrame(named[stem], pictures[named[stem]], (path,)) for stem, path in labels.items()]


def images_of(masks: Sequence[str], images: Sequence[str], video: str, where: Path) -> dict[str, str]:
    """Return the stem of each mask's image, by the mask's: the same, or else the same number.

    Raises:
        SourceError: A mask has no image.
    """
    named = match_stems(masks, images)
    extra = [stem for stem in masks if stem not in named]
    if extra:
        raise SourceError(
            f"mask {extra[0]} of {video} has no image", where=where, expected=f"{extra[0]} as {', '.join(IMAGES)}"
        )
    return named


def json_object(value: object, path: Path, what: str = "a JSON object") -> dict:
    """Return ``value`` if it is a dict.

    Raises:
        SourceError: It is not.
    """
    if not isinstance(value, dict):
        raise SourceError(f"holds {type(value).__name__}", where=path, expected=what)
    return value


def categories_by_object(value: object, path: Path, what: str) -> dict[int, str]:
    """Return the category of each object from a JSON object, as ``{"1": "dog"}``.

    Args:
        value: What the JSON holds.
        path: The file.
        what: What ``value`` is, for messages.

    Raises:
        SourceError: It is no such object, a category is no text, or an id stands twice.
    """
    entries = json_object(value, path, what)
    for key, category in entries.items():
        if not is_text(category):
            raise SourceError(
                f"the category of object '{key}' is {json.dumps(category)[:40]}", where=path, expected="a text"
            )
    return {number: entries[key] for number, key in by_object(entries, path).items()}


def by_object(ids: Iterable[Any], path: Path) -> dict[int, Any]:
    """Return object ids, as a JSON object or list has them, by the number that each is: 1..254; digits may be text.

    Raises:
        SourceError: One is no such number, or two are the same.
    """
    out: dict[int, Any] = {}
    for key in ids:
        number = whole_number(key)
        if number is None:
            raise SourceError(f"object id '{str(key)[:40]}' is no number", where=path, expected="1 to 254")
        if not 1 <= number < VOID:
            raise SourceError(
                f"object id {str(number)[:40]} cannot be in a mask",
                where=path,
                expected="1 to 254 (masks of 0 and 255 alone show object 1)",
            )
        if number in out:
            raise SourceError(f"object ids '{out[number]}' and '{key}' are the same", where=path, expected="each once")
        out[number] = key
    return out
