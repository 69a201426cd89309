"""Which tubes are written: chosen, counted, named."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from icvos.data.class_masks import ClassMasks
from icvos.data.mask_tubes import MaskTubes, Step, TubeRules
from icvos.errors import SourceError, UsageError

__all__ = [
    "BUILDER_VERSION",
    "QUALITY",
    "TubePlan",
    "TubeReport",
    "image_bytes",
    "plan_mask_tubes",
    "step_words",
    "video_name",
]

BUILDER_VERSION = "1"
"""Raised when the same raw data and rules would give other files."""

QUALITY = 95
"""Of the JPEG frames."""


@dataclass
class TubePlan:
    """A build that is planned but not begun.

    Attributes:
        tubes: All tubes of the split.
        chosen: Indices of those to write, in order.
        draws, shots: Supports of each.
    """

    tubes: MaskTubes
    chosen: list[int]
    draws: int
    shots: int

    @property
    def files(self) -> int:
        """Frames, masks, and at most so many supports."""
        frames_and_masks = len(self.chosen) * 2 * self.tubes.rules.frames
        return frames_and_masks + 2 * min(len(self.chosen) * self.draws * self.shots, len(self.tubes.pairs))

    @cached_property
    def estimate(self) -> int:
        """About the bytes to write: from the images' sizes: COCO's own files are larger than ours."""
        masks, sizes = self.tubes.masks, {}
        for index in self.chosen:
            image = self.tubes.pairs[index][0]
            if image not in sizes:
                sizes[image] = image_bytes(masks, image)
        frames = sum(sizes[self.tubes.pairs[index][0]] for index in self.chosen) * (self.tubes.rules.frames * 0.85)
        return int(frames + len(self.chosen) * self.tubes.rules.frames * 1500 + sum(sizes.values()))


@dataclass
class TubeReport:
    """What was built."""

    out: Path
    manifest_sha256: str
    tubes: int
    images: int
    frames: int
    supports: int
    alone: int


def image_bytes(masks: ClassMasks, image: int) -> int:
    path = masks.path(image)
    try:
        return path.stat().st_size
    except OSError:
        raise SourceError(
            f"image {masks.names[image]} is listed but not there", where=path, fix="unpack the split's images"
        ) from None


def plan_mask_tubes(
    masks: ClassMasks,
    rules: TubeRules | None = None,
    *,
    categories: Sequence[int] | None = None,
    limit: int | None = None,
    draws: int = 1,
    shots: int = 1,
) -> TubePlan:
    """Choose the tubes to write.

    Args:
        masks: Of the split.
        rules: Of the tubes.
        categories: Numbers; all by default.
        limit: So many tubes, chosen by the seed over the whole split; all by default.
        draws, shots: Supports of each tube: other images of its category.

    Raises:
        UsageError: Nothing to write.
    """
    if draws < 1 or shots < 1 or (limit is not None and limit < 1):
        raise UsageError("tubes, draws and shots are one at least")
    tubes = MaskTubes(masks, rules, categories=categories)
    chosen = list(range(len(tubes)))
    if limit is not None and limit < len(chosen):
        chosen = sorted(sorted(chosen, key=lambda index: _rank(tubes, index))[:limit])
    return TubePlan(tubes, chosen, draws, shots)


def _rank(tubes: MaskTubes, index: int) -> str:
    image, category = tubes.pairs[index]
    return hashlib.sha256(f"limit|{tubes.rules.seed}|{tubes.masks.names[image]}|{category}".encode()).hexdigest()


def video_name(masks: ClassMasks, image: int, category: int) -> str:
    """Return the name of a tube as a video."""
    return f"{masks.source}__{masks.names[image]}_c{category}"


def step_words(steps: tuple[Step, ...]) -> str:
    """Return a frame's steps as ``frames.csv`` has them."""
    return " + ".join(map(str, steps)) or "original"
