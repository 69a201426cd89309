"""Mask tubes: pseudo-videos from an image and a mask, and the data set that makes them on the fly.

A tube is the original and, in shuffled order, one frame by each transform; by default those of DC-SAM: rotation within
10 degrees either way (filled with the ImageNet mean), horizontal flip, vertical flip, 5x5 Gaussian blur. Image and mask
move together. A tube is a pure function of (rules, epoch, image, category).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from icvos.data.class_masks import ClassMasks, check_min_area
from icvos.data.draws import SupportPool, draw_supports, support_pool
from icvos.data.folds import MIN_AREA
from icvos.errors import UsageError, counted, did_you_mean

__all__ = ["MEAN", "TRANSFORMS", "MaskTubes", "Step", "Tube", "TubeRules", "make_frame", "plan_tube"]

MEAN = (123.675, 116.28, 103.53)
"""ImageNet's mean colour, RGB 0..255; what a warp brings in from outside has it."""

IGNORE = 255


@dataclass(frozen=True)
class TubeRules:
    """What tubes are like.

    Attributes:
        frames: Of a tube, the original among them.
        transforms: Names, each for one frame; frames beyond them compose two that are drawn.
        rotation: Degrees, at most.
        seed: Of everything drawn.
        min_area: Pixels of the category in an image, at least.
    """

    frames: int = 5
    transforms: tuple[str, ...] = ("rotate", "hflip", "vflip", "blur")
    rotation: float = 10.0
    seed: int = 0
    min_area: int = MIN_AREA

    def __post_init__(self) -> None:
        if not 2 <= self.frames <= 10_000:
            raise UsageError(f"a tube of {counted(self.frames, 'frames')}", expected="2 to 10,000")
        for name in self.transforms:
            if name not in TRANSFORMS:
                raise UsageError(f"no transform '{name}'", fix=did_you_mean(name, TRANSFORMS))
        if not self.transforms or len(set(self.transforms)) != len(self.transforms):
            raise UsageError("transforms are named once each, one at least")
        if not 0 < self.rotation <= 180:
            raise UsageError(f"rotation is {self.rotation}", expected="more than 0, 180 at most")
        check_min_area(self.min_area)

    def header(self) -> dict[str, Any]:
        """Return the rules for ``benchmark.json``."""
        return {**asdict(self), "transforms": list(self.transforms), "fill": list(MEAN), "version": 1}


@dataclass(frozen=True)
class Step:
    """One transform with its numbers, as drawn; ``str`` of it stands in ``frames.csv``."""

    name: str
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{value:.6g}" for value in self.values)])


# Image (H, W, 3) uint8 RGB and labels (H, W) uint8, and the step's numbers, to the same moved.
_Apply = Callable[[np.ndarray, np.ndarray, tuple[float, ...]], tuple[np.ndarray, np.ndarray]]
# The numbers of a step: from a generator, and the rules.
_Draw = Callable[[np.random.Generator, TubeRules], tuple[float, ...]]


def _warp(image: np.ndarray, labels: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    size = (image.shape[1], image.shape[0])
    border = cv2.BORDER_CONSTANT
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=MEAN)
    return moved, cv2.warpAffine(labels, matrix, size, flags=cv2.INTER_NEAREST, borderMode=border, borderValue=0)


def _about_centre(image: np.ndarray, linear: np.ndarray, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    # Pixel centres lie on whole numbers: the middle of an image is half a pixel before half its width.
    centre = np.array([(image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2])
    offset = centre - linear @ centre + np.array(shift)
    return np.hstack([linear, offset[:, None]])


def _rotate(image: np.ndarray, labels: np.ndarray, values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    angle = math.radians(values[0])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return _warp(image, labels, _about_centre(image, turn))


def _scale(image: np.ndarray, labels: np.ndarray, values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    return _warp(image, labels, _about_centre(image, np.eye(2) * values[0]))


def _shift(image: np.ndarray, labels: np.ndarray, values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    # Whole pixels: nothing is blurred.
    x, y = round(values[0] * image.shape[1]), round(values[1] * image.shape[0])
    return _warp(image, labels, _about_centre(image, np.eye(2), (x, y)))


def _hflip(image: np.ndarray, labels: np.ndarray, values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    return cv2.flip(image, 1), cv2.flip(labels, 1)


def _vflip(image: np.ndarray, labels: np.ndarray, values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    return cv2.flip(image, 0), cv2.flip(labels, 0)


def _blur(image: np.ndarray, labels: np.ndarray, values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    # Sigma from the kernel's size, by OpenCV's rule: 1.1.
    return cv2.GaussianBlur(image, (5, 5), 0), labels


def _colour(image: np.ndarray, labels: np.ndarray, values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    brightness, contrast, saturation = values
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
    table = np.clip((np.arange(256) - 128.0) * contrast + 128 * brightness, 0, 255).round().astype(np.uint8)
    return cv2.LUT(mixed, table), labels


def _occlude(image: np.ndarray, labels: np.ndarray, values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Lay a grey-brown ellipse over part of the thing; what it covers is not the thing any more."""
    import cv2

    ys, xs = np.nonzero(labels == 1)
    if not len(ys):
        return image, labels
    row = min(int(values[0] * len(ys)), len(ys) - 1)
    radius = max(2, round(values[1] * math.sqrt(len(ys))))
    axes = (radius, max(2, round(radius * values[2])))
    centre = (int(xs[row]), int(ys[row]))
    colour = [round(MEAN[0] * values[3]), round(MEAN[1] * values[3]), round(MEAN[2] * values[3])]
    out = cv2.ellipse(image.copy(), centre, axes, values[4], 0, 360, colour, -1)
    return out, cv2.ellipse(labels.copy(), centre, axes, values[4], 0, 360, (0,), -1)


def _none(rng: np.random.Generator, rules: TubeRules) -> tuple[float, ...]:
    return ()


def _uniform(*ranges: tuple[float, float]) -> _Draw:
    def draw(rng: np.random.Generator, rules: TubeRules) -> tuple[float, ...]:
        return tuple(float(rng.uniform(low, high)) for low, high in ranges)

    return draw


def _angle(rng: np.random.Generator, rules: TubeRules) -> tuple[float, ...]:
    return (float(rng.uniform(-rules.rotation, rules.rotation)),)


TRANSFORMS: dict[str, tuple[_Draw, _Apply]] = {
    "rotate": (_angle, _rotate),
    "hflip": (_none, _hflip),
    "vflip": (_none, _vflip),
    "blur": (_none, _blur),
    "scale": (_uniform((0.8, 1.25)), _scale),
    "shift": (_uniform((-0.1, 0.1), (-0.1, 0.1)), _shift),
    "colour": (_uniform((0.7, 1.3), (0.7, 1.3), (0.5, 1.5)), _colour),
    "occlude": (_uniform((0, 1), (0.2, 0.45), (0.5, 1.0), (0.4, 1.6), (0, 180)), _occlude),
}
"""Name: how its numbers are drawn, and what it does."""


def plan_tube(rules: TubeRules, name: str, category: int, epoch: int = 0) -> list[tuple[Step, ...]]:
    """Return the steps of each frame, in the tube's order; the original has none. A pure function of its arguments.

    Args:
        rules: Of the tubes.
        name: The image's.
        category: The thing's number.
        epoch: Another epoch is another tube; what ``build-data mask-tubes`` writes is epoch 0.
    """
    key = f"{rules.seed}|{epoch}|{name}|{category}"
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest(), "big"))

    def step(transform: str) -> Step:
        return Step(transform, TRANSFORMS[transform][0](rng, rules))

    frames: list[tuple[Step, ...]] = [()]
    for transform in rules.transforms[: rules.frames - 1]:
        frames.append((step(transform),))
    while len(frames) < rules.frames:
        count = min(2, len(rules.transforms))
        chosen = rng.choice(len(rules.transforms), count, replace=False)
        frames.append(tuple(step(rules.transforms[int(i)]) for i in chosen))
    return [frames[int(i)] for i in rng.permutation(len(frames))]


def make_frame(image: np.ndarray, labels: np.ndarray, steps: Sequence[Step]) -> tuple[np.ndarray, np.ndarray]:
    """Return image (H, W, 3) uint8 RGB and labels (H, W) uint8 {0, 1, 255} moved by the steps, one after the other."""
    for step in steps:
        image, labels = TRANSFORMS[step.name][1](image, labels, step.values)
    return image, labels


@dataclass(frozen=True, eq=False)
class Tube:
    """A tube.

    Attributes:
        name, category: The image's name, the thing's number.
        frames: (T, H, W, 3) uint8 RGB.
        labels: (T, H, W) uint8: 1 on the thing, 255 on crowds, 0 elsewhere.
        steps: Of each frame.
    """

    name: str
    category: int
    frames: np.ndarray
    labels: np.ndarray
    steps: tuple[tuple[Step, ...], ...]

    @property
    def masks(self) -> np.ndarray:
        """(T, H, W) bool."""
        return self.labels == 1


class MaskTubes:
    """All tubes of a split, made on the fly; torch-free, picklable, and a map-style data set for torch's loader.

    ``tubes[i]`` is the tube that ``icvos build-data mask-tubes`` writes (images equal before encoding, masks equal);
    ``tube(i, epoch)`` is another of the same image in every epoch.

    Args:
        masks: Class-level masks.
        rules: Of the tubes.
        categories: Numbers; all by default.
        images: Numbers of the images to use; all by default.

    Raises:
        UsageError: No image shows any category.
    """

    def __init__(
        self,
        masks: ClassMasks,
        rules: TubeRules | None = None,
        *,
        categories: Sequence[int] | None = None,
        images: frozenset[int] | None = None,
    ) -> None:
        self.masks = masks
        self.rules = rules or TubeRules()
        wanted = range(1, len(masks.vocabulary) + 1) if categories is None else sorted(set(categories))
        by_category = {c: masks.images_of(c, self.rules.min_area) for c in wanted}
        if images is not None:
            by_category = {c: [image for image in numbers if image in images] for c, numbers in by_category.items()}
        self.pairs = sorted((image, category) for category, numbers in by_category.items() for image in numbers)
        if not self.pairs:
            raise UsageError(
                f"no image of {masks.split} shows a category on {self.rules.min_area} pixels", fix="lower --min-area"
            )
        self._images = by_category
        self._pools: dict[int, SupportPool] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Tube:
        return self.tube(index)

    def tube(self, index: int, epoch: int = 0) -> Tube:
        """Return a tube.

        Raises:
            InputError: Its image is missing, truncated, or of another size than its annotations.
        """
        image, category = self.pairs[index]
        name = self.masks.names[image]
        pixels, labels = self.masks.read(image), self.masks.mask(image, category)
        steps = plan_tube(self.rules, name, category, epoch)
        frames = np.empty((len(steps), *pixels.shape), np.uint8)
        moved = np.empty((len(steps), *labels.shape), np.uint8)
        for position, step in enumerate(steps):
            frames[position], moved[position] = make_frame(pixels, labels, step)
        return Tube(name, category, frames, moved, tuple(steps))

    def pool(self, category: int) -> SupportPool:
        """Return the support candidates of a category."""
        if category not in self._pools:
            names = self.masks.names
            self._pools[category] = support_pool(names[image] for image in self._images[category])
        return self._pools[category]

    def supports_of(self, index: int, draw: int = 0, shots: int = 1) -> list[str]:
        """Return names of other images of the tube's category, or its own where there is no other."""
        image, category = self.pairs[index]
        name_of_tube = self.masks.names[image]
        drawn = draw_supports(self.rules.seed, self.pool(category), name_of_tube, category, draw + 1, shots + 1)[draw]
        return [name for name in drawn if name != name_of_tube][:shots] or [name_of_tube]

    def describe(self) -> dict[str, Any]:
        """Return what the tubes are made from, as JSON values, for the record of a training run."""
        return {
            "source": self.masks.source,
            "split": self.masks.split,
            "annotations_sha256": self.masks.sha256,
            "rules": self.rules.header(),
            "tubes": len(self),
            "categories": sorted({c for _, c in self.pairs}),
        }
