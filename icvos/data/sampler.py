"""Training episodes of COCO-20i and PASCAL-5i, drawn as a pure function of (seed, fold, split, epoch, index)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from icvos.data.class_masks import ClassMasks, check_min_area, pool_sha256
from icvos.data.folds import MIN_AREA, test_categories, training_categories
from icvos.errors import UsageError, counted, did_you_mean

__all__ = ["NOVEL", "EpisodeSampler", "TrainingPool"]

NOVEL = ("background", "drop", "ignore")
"""What becomes of a fold's test categories in its training images: background as any other thing, images that show them
left out, or their pixels ignored."""


class TrainingPool:
    """The images of each training category of a fold.

    Args:
        masks: Of the training split (or any, for validation on training categories).
        benchmark: ``coco-20i`` or ``pascal-5i``.
        fold: 0 to 3.
        min_area: Pixels of the category in an image, at least.
        novel: One of ``NOVEL``.
        lists: Names of each category, from the authors' lists, in place of the minimum area.

    Raises:
        UsageError: No training category has two images.
    """

    def __init__(
        self,
        masks: ClassMasks,
        benchmark: str,
        fold: int,
        *,
        min_area: int = MIN_AREA,
        novel: str = "background",
        lists: dict[int, list[str]] | None = None,
    ) -> None:
        if novel not in NOVEL:
            raise UsageError(f"novel in train '{novel}'", fix=did_you_mean(novel, NOVEL))
        self.masks = masks
        self.novel = novel
        self.novel_categories = test_categories(benchmark, fold)
        unwanted = masks.images_with(self.novel_categories) if novel == "drop" else np.zeros(len(masks), bool)
        self._images: dict[int, np.ndarray] = {}
        for category in training_categories(benchmark, fold):
            if lists is not None:
                known = {masks.numbers[name] for name in lists.get(category, ()) if name in masks.numbers}
                images = np.array(sorted(known), np.int64)
            else:
                images = np.asarray(masks.images_of(category, check_min_area(min_area)), np.int64)
            images = images[~unwanted[images]]
            if len(images) > 1:
                self._images[category] = images
        if not self._images:
            raise UsageError(
                f"no training category of fold {fold} has two images in {masks.split}", fix="lower --min-area"
            )

    @property
    def categories(self) -> tuple[int, ...]:
        """Categories that can be trained on, sorted."""
        return tuple(self._images)

    def of(self, category: int) -> np.ndarray:
        """Return the numbers of a category's images."""
        return self._images[category]

    @cached_property
    def pairs(self) -> int:
        """(Image, category) pairs."""
        return sum(len(images) for images in self._images.values())

    @cached_property
    def images(self) -> int:
        """Distinct images."""
        return len(np.unique(np.concatenate(list(self._images.values()))))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all names by category."""
        names = self.masks.names
        return pool_sha256([f"{c} {names[image]}" for c, images in self._images.items() for image in images])


class EpisodeSampler:
    """Which images each training episode takes; torch-free and picklable (``icvos.datasets.PairDataset`` reads them).

    Args:
        pool: What to draw from.
        fold: Its fold.
        seed: Of all draws.
        shots: Supports an episode.
        length: Episodes an epoch; the number of the pool's images by default.
    """

    def __init__(
        self, pool: TrainingPool, fold: int, *, seed: int = 0, shots: int = 1, length: int | None = None
    ) -> None:
        if shots < 1:
            raise UsageError(f"{shots} shots", expected="at least 1")
        short = [c for c in pool.categories if len(pool.of(c)) <= shots]
        self._categories = [c for c in pool.categories if c not in short]
        if not self._categories:
            raise UsageError(f"no training category has {counted(shots + 1, 'images')}", fix="lower the shots")
        self.pool, self.fold, self.seed, self.shots = pool, fold, seed, shots
        self._length = pool.images if length is None else length

    def __len__(self) -> int:
        return self._length

    def draw(self, epoch: int, index: int) -> tuple[int, int, tuple[int, ...]]:
        """Return (category, query, supports) of an episode, images by number; all of them are distinct."""
        masks = self.pool.masks
        key = f"{self.seed}|{masks.source}|{masks.split}|{self.fold}|{epoch}|{index}"
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest(), "big"))
        category = self._categories[int(rng.integers(len(self._categories)))]
        images = self.pool.of(category)
        chosen = images[rng.choice(len(images), self.shots + 1, replace=False)].tolist()
        return category, chosen[0], tuple(chosen[1:])

    def labelled(self, image: int, category: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an image by its number, (H, W, 3) uint8 RGB, and (H, W) uint8: 1 on the category, 255 where ignored.

        Raises:
            InputError: The image is missing or broken.
        """
        masks = self.pool.masks
        labels = masks.mask(image, category)
        if self.pool.novel == "ignore":
            labels[novel_pixels(masks, image, self.pool.novel_categories) & (labels != 1)] = 255
        return masks.read(image), labels

    def describe(self) -> dict[str, Any]:
        """Return what the episodes are drawn from, as JSON values, for the record of a training run."""
        masks = self.pool.masks
        return {
            "source": masks.source,
            "split": masks.split,
            "annotations_sha256": masks.sha256,
            "fold": self.fold,
            "novel_in_train": self.pool.novel,
            "categories": list(self._categories),
            "images": self.pool.images,
            "pool_sha256": self.pool.sha256,
            "seed": self.seed,
            "shots": self.shots,
            "length": len(self),
        }


def novel_pixels(masks: ClassMasks, image: int, categories: Sequence[int]) -> np.ndarray:
    """Return (H, W) bool: where an image shows any of some categories, their crowds too."""
    out = np.zeros(masks.size(image), bool)
    for category in masks.categories_of(image):
        if category in categories:
            # A void border belongs to nobody; it is ignored already.
            out |= masks.mask(image, category) != 0
    return out
