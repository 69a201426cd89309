"""How PFENet's training images are augmented: scaled, turned, blurred, mirrored and cropped; a function of the draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from baselines.pfenet.plugin import squared_up
from icvos.data.sampler import EpisodeSampler
from icvos.foundation.pixels import MEAN

__all__ = ["IGNORE", "Augmentation", "AugmentedPairs", "PaddedPairs", "augmented"]

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


def _labels(mask: np.ndarray, ignore: np.ndarray) -> np.ndarray:
    return np.where(ignore, np.uint8(IGNORE), mask.astype(np.uint8))


class AugmentedPairs:
    """Pairs of a data set, each image augmented by itself: what training sees."""

    def __init__(self, sampler: EpisodeSampler, size: int, augmentation: Augmentation) -> None:
        self.sampler, self.size, self.augmentation = sampler, size, augmentation

    def __len__(self) -> int:
        return len(self.sampler)

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        """Return ``support`` (S, S, 3) uint8, ``support_mask`` (S, S) bool, ``frames``, ``masks`` (1, S, S) uint8."""
        cv2.setNumThreads(0)  # the loading processes are as many as there are cores
        episode = self.sampler.get(epoch, index)
        generator = np.random.default_rng([self.sampler.seed, 47, epoch, index])
        support_truth = _labels(episode["support_masks"][0], episode["support_ignores"][0])
        query_truth = _labels(episode["query_mask"], episode["query_ignore"])
        support, support_labels = augmented(
            episode["support_images"][0], support_truth, self.size, self.augmentation, generator
        )
        query, labels = augmented(episode["query_image"], query_truth, self.size, self.augmentation, generator)
        return {"support": support, "support_mask": support_labels == 1, "frames": query[None], "masks": labels[None]}


class PaddedPairs:
    """Pairs of a data set as the test has them: resized and padded, never augmented."""

    def __init__(self, sampler: EpisodeSampler, size: int) -> None:
        self.sampler, self.size = sampler, size

    def __len__(self) -> int:
        return len(self.sampler)

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        """Return what ``AugmentedPairs.get`` does; what lies outside of the query's image is 255."""
        episode = self.sampler.get(epoch, index)
        support, mask, _ = squared_up(
            episode["support_images"][0], episode["support_masks"][0], self.size, resize="pad"
        )
        query, truth, content = squared_up(episode["query_image"], episode["query_mask"], self.size, resize="pad")
        _, void, _ = squared_up(episode["query_image"], episode["query_ignore"], self.size, resize="pad")
        labels = _labels(truth, void)
        labels[content[0] :], labels[:, content[1] :] = IGNORE, IGNORE
        return {"support": support, "support_mask": mask, "frames": query[None], "masks": labels[None]}
