"""Mask tubes as training samples: pseudo-videos of an image and its mask."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from icvos.data.lineage import Lineage
from icvos.data.mask_tubes import MaskTubes, Tube, TubeRules
from icvos.data.options import DataOptions
from icvos.data.pairs import VALIDATION_EPISODES, open_masks, part_seed, split_images
from icvos.datasets.base import EpochDataset, check_size, in_square
from icvos.datasets.samples import EpisodeSample, Labelled
from icvos.errors import UsageError

__all__ = ["TubeDataset"]


class TubeDataset(EpochDataset):
    """Mask tubes, each with another image of its category as support; in another order in each epoch.

    ``TubeDataset.open`` opens a raw data set.

    Args:
        tubes: The tubes.
        length: Samples of an epoch, at most as many as tubes; all by default. Fewer are the same ones in every epoch.
        pairs: Of each tube two frames alone: frame 0 is the support, the query another that the epoch draws.
        size: Side of the squares that images are squeezed to, pixels; None for their own sizes.
    """

    def __init__(
        self, tubes: MaskTubes, *, length: int | None = None, pairs: bool = False, size: int | None = None
    ) -> None:
        super().__init__()
        self.tubes, self.pairs, self.size = tubes, pairs, check_size(size)
        self.length = len(tubes) if length is None else min(length, len(tubes))
        self._order: tuple[int, np.ndarray] | None = None

    @classmethod
    def open(
        cls,
        options: DataOptions,
        part: str = "train",
        *,
        frames: int = 5,
        pairs: bool = False,
        size: int | None = None,
    ) -> Self:
        """Return the tubes of COCO's training images.

        Args:
            options: COCO's folder, the seed, and what counts as a thing; its ``data`` is ``mask-tubes``.
            part: ``train``, or ``validation``: tubes of other images.
            frames: Of a tube.
            pairs: As of the class.
            size: As of the class.

        Raises:
            UsageError: An unknown part, no folder, or too few images.
            SourceError: Broken raw data.
        """
        if options.data != "mask-tubes":
            raise UsageError(f"no tubes of '{options.data}'", expected="data of mask-tubes")
        masks = open_masks(options)
        rules = TubeRules(frames=frames, seed=part_seed(options, part), min_area=options.min_area)
        tubes = split_images(masks, part, lambda images: MaskTubes(masks, rules, images=images))
        return cls(tubes, length=None if part == "train" else VALIDATION_EPISODES, pairs=pairs, size=size)

    def __len__(self) -> int:
        return self.length

    def number(self, epoch: int, index: int) -> int:
        """Return the number of the tube that a sample is made of."""
        if self.length < len(self.tubes):
            return index * len(self.tubes) // self.length
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng([self.tubes.rules.seed, 41, epoch])
            self._order = (epoch, generator.permutation(len(self.tubes)))
        return int(self._order[1][index])

    def get(self, epoch: int, index: int) -> EpisodeSample:
        """Return a tube, or a pair of its frames."""
        number = self.number(epoch, index)
        tube = self.tubes.tube(number, epoch)
        chosen = range(len(tube.frames))
        if self.pairs:
            other = int(np.random.default_rng([self.tubes.rules.seed, 43, epoch, index]).integers(1, len(tube.frames)))
            name, support, chosen = tube.name, self._frame(tube, 0), range(other, other + 1)
        else:
            name = self.tubes.supports_of(number, epoch)[0]
            support = self._image(name, tube.category)
        frames, labels = map(np.stack, zip(*(self._frame(tube, frame) for frame in chosen)))
        return EpisodeSample.of(
            [support], frames, labels, category=tube.category, name=tube.name, support_names=(name,)
        )

    def _frame(self, tube: Tube, frame: int) -> Labelled:
        return in_square(tube.frames[frame], tube.labels[frame], self.size)

    def _image(self, name: str, category: int) -> Labelled:
        masks = self.tubes.masks
        image = masks.numbers[name]
        return in_square(masks.read(image), masks.mask(image, category), self.size)

    def describe(self) -> dict[str, Any]:
        """Return what the tubes are made from, as JSON values."""
        return self.tubes.describe()

    def lineage(self) -> Lineage:
        """Return the data set and categories of the tubes."""
        return Lineage.of_masks(self.tubes.masks, (category for _, category in self.tubes.pairs))
