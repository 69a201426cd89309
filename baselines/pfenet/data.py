"""How PFENet's training images are augmented: scaled, turned, blurred, mirrored and cropped; a function of the draw."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from baselines.pfenet.plugin import squared_up
from icvos.foundation.pixels import MEAN

__all__ = ["IGNORE", "Augmentation", "Crop", "Pad", "augmented"]

IGNORE = 255
#: ImageNet's mean as a colour: what lies outside of an image becomes 0 once normalised.
GROUND = tuple(round(255 * value) for value in MEAN)


@dataclass(frozen=True)
class Augmentation:
    """How much is drawn (facts: baselines, section 4).

    Attributes:
        scale: Lowest and highest factor on the image's size: PASCAL-5i 0.9 to 1.1, COCO-20i 0.8 to 1.25.
        degrees: Greatest turn either way, in half of the draws (how often is not in our facts: half, as the others).
        blur: How likely a Gaussian blur of 5 pixels is.
        flip: How likely a mirror image is.
        crops: Random crops are drawn so often until one keeps 85 % of the thing (ours: a crop without it is no pair).
    """

    scale: tuple[float, float] = (0.9, 1.1)
    degrees: float = 10.0
    blur: float = 0.5
    flip: float = 0.5
    crops: int = 30


def augmented(
    image: np.ndarray, labels: np.ndarray, size: int, augmentation: Augmentation, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random (S, S, 3) uint8 crop of an image and its (S, S) uint8 labels.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8: 0, 1, or 255 for nothing known, which is also what lies outside of the image.
        size: S, pixels.
        augmentation: The ranges that are drawn from.
        generator: The source of all choices.
    """
    factor = float(generator.uniform(*augmentation.scale))
    turn = float(generator.uniform(-augmentation.degrees, augmentation.degrees)) if generator.random() < 0.5 else 0.0
    blur, flip = generator.random() < augmentation.blur, generator.random() < augmentation.flip
    height, width = (max(round(side * factor), 1) for side in labels.shape)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    if turn:
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1)
        image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=GROUND)
        labels = cv2.warpAffine(labels, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=IGNORE)
    if blur:
        image = cv2.GaussianBlur(image, (5, 5), 0)
    if flip:
        image, labels = image[:, ::-1], labels[:, ::-1]
    image, labels = _padded(image, labels, size)
    top, left = _crop(labels == 1, size, augmentation.crops, generator)
    window = (slice(top, top + size), slice(left, left + size))
    return np.ascontiguousarray(image[window]), np.ascontiguousarray(labels[window])


def _padded(image: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both with at least ``size`` pixels a side, the image in the middle."""
    missing = [max(size - side, 0) for side in labels.shape]
    if not any(missing):
        return image, labels
    borders = (missing[0] // 2, missing[0] - missing[0] // 2, missing[1] // 2, missing[1] - missing[1] // 2)
    image = cv2.copyMakeBorder(np.ascontiguousarray(image), *borders, cv2.BORDER_CONSTANT, value=GROUND)
    labels = cv2.copyMakeBorder(np.ascontiguousarray(labels), *borders, cv2.BORDER_CONSTANT, value=IGNORE)
    return image, labels


def _crop(inside: np.ndarray, size: int, draws: int, generator: np.random.Generator) -> tuple[int, int]:
    """Return the top left corner of a crop; of several draws the first that keeps enough, or the best."""
    total, best, corner = int(inside.sum()), -1, (0, 0)
    for _ in range(draws):
        top, left = (int(generator.integers(0, side - size + 1)) for side in inside.shape)
        kept = int(inside[top : top + size, left : left + size].sum())
        if kept > best:
            best, corner = kept, (top, left)
        if best >= 0.85 * total:
            break
    return corner


@dataclass(frozen=True)
class Crop:
    """Augments an image and its labels: what training sees (a ``Transform`` of ``icvos.datasets``).

    Attributes:
        size: Side of the crops, pixels.
        augmentation: How much is drawn.
    """

    size: int
    augmentation: Augmentation

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        cv2.setNumThreads(0)  # the loading processes are as many as there are cores
        return augmented(image, labels, self.size, self.augmentation, generator)


@dataclass(frozen=True)
class Pad:
    """Resizes and pads an image and its labels as the test has them; what lies outside of the image is 255.

    Attributes:
        size: Side of the squares, pixels.
    """

    size: int

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        square, mask, content = squared_up(image, labels == 1, self.size, resize="pad")
        _, void, _ = squared_up(image, labels == IGNORE, self.size, resize="pad")
        padded = np.where(void, np.uint8(IGNORE), mask.astype(np.uint8))
        padded[content[0] :], padded[:, content[1] :] = IGNORE, IGNORE
        return square, padded
