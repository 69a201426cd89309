"""Few-shot pairs of COCO-20i, PASCAL-5i and COCO: supports and a query of one category."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from icvos.data.lineage import Lineage
from icvos.data.options import DataOptions
from icvos.data.pairs import open_sampler
from icvos.data.sampler import EpisodeSampler
from icvos.datasets.base import EpochDataset, check_size, in_square
from icvos.datasets.samples import EpisodeSample, Labelled

__all__ = ["PairDataset", "Transform"]

Transform = Callable[[np.ndarray, np.ndarray, np.random.Generator], Labelled]
"""Changes an image (H, W, 3) uint8 RGB and its labels (H, W) uint8 {0, 1, 255}; the generator makes all its choices."""


class PairDataset(EpochDataset):
    """Supports and a query image of one training category, drawn by the rules of the few-shot papers.

    ``PairDataset.open`` opens a raw data set. A sample has one frame, the query.

    Args:
        sampler: Draws them.
        size: Side of the squares that images are squeezed to, pixels; None for their own sizes.
        transform: Changes each image by itself, the supports and then the query, in place of the squeezing.
    """

    def __init__(self, sampler: EpisodeSampler, *, size: int | None = None, transform: Transform | None = None) -> None:
        super().__init__()
        self.sampler, self.size, self.transform = sampler, check_size(size), transform

    @classmethod
    def open(
        cls,
        options: DataOptions,
        part: str = "train",
        *,
        shots: int = 1,
        novel: str = "background",
        size: int | None = None,
        transform: Transform | None = None,
    ) -> Self:
        """Return the pairs of a raw data set.

        Args:
            options: Which data set, ``coco-20i``, ``pascal-5i`` or ``coco``; its folder, fold and seed.
            part: ``train``, or ``validation``: other images of the training split, and none of the test fold's classes.
            shots: Supports of a pair.
            novel: What becomes of the test fold's things in training images: ``background``, ``drop`` (images that
                show them are left out) or ``ignore`` (their pixels are).
            size: As of the class.
            transform: As of the class.

        Raises:
            UsageError: Unknown data, part, fold or ``novel``, no folder, or too few images.
            SourceError: Broken raw data.
        """
        return cls(open_sampler(options, part, shots=shots, novel=novel), size=size, transform=transform)

    def __len__(self) -> int:
        return len(self.sampler)

    @property
    def images(self) -> int:
        """Distinct images that pairs are drawn from."""
        return self.sampler.pool.images

    def get(self, epoch: int, index: int) -> EpisodeSample:
        """Return a pair."""
        category, query, supports = self.sampler.draw(epoch, index)
        generator = np.random.default_rng([self.sampler.seed, 47, epoch, index])

        def read(image: int) -> Labelled:
            pixels, labels = self.sampler.labelled(image, category)
            if self.transform is not None:
                return self.transform(pixels, labels, generator)
            return in_square(pixels, labels, self.size)

        names = self.sampler.pool.masks.names
        shown, (frame, labels) = [read(image) for image in supports], read(query)
        return EpisodeSample.of(
            shown,
            frame[None],
            labels[None],
            category=category,
            name=names[query],
            support_names=tuple(names[image] for image in supports),
        )

    def describe(self) -> dict[str, Any]:
        """Return what the pairs are drawn from, as JSON values."""
        return self.sampler.describe()

    def lineage(self) -> Lineage:
        """Return the data set and categories of the pairs."""
        return Lineage.of_masks(self.sampler.pool.masks, self.describe()["categories"])
