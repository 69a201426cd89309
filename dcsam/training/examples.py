"""Where DC-SAM's training examples come from: the drawn world, COCO-20i, PASCAL-5i, COCO, mask tubes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from icvos.data.lineage import Lineage
from icvos.data.mask_tubes import MaskTubes, TubeRules
from icvos.data.options import DataOptions
from icvos.data.pairs import VALIDATION_EPISODES, ImagePairs, open_masks, open_sampler, part_seed, split_images
from icvos.demo.training.examples import DrawnClips, DrawnWorlds
from icvos.demo.world.episodes import TrainingWorld
from icvos.errors import UsageError
from icvos.images import squeezed
from icvos.training.task import Examples

__all__ = ["ImagePairs", "TubeClips", "TubePairs", "open_examples", "squeezed"]


class _Tubes:
    def __init__(self, tubes: MaskTubes, size: int, length: int) -> None:
        self.tubes, self.size, self.length = tubes, size, length
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.length

    def _place(self, epoch: int, index: int) -> int:
        """Return which tube comes at a place of an epoch: another order in each."""
        if self.length < len(self.tubes):
            return index * len(self.tubes) // self.length
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng([self.tubes.rules.seed, 41, epoch])
            self._order = (epoch, generator.permutation(len(self.tubes)))
        return int(self._order[1][index])

    def _squares(self, frames: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = [squeezed(frame, mask, self.size) for frame, mask in zip(frames, masks, strict=True)]
        return np.stack([frame for frame, _ in pairs]), np.stack([mask for _, mask in pairs])

    def describe(self) -> dict[str, Any]:
        """Return what the tubes are made from."""
        return self.tubes.describe()

    def lineage(self) -> Lineage:
        """Return the data set and categories of the tubes."""
        return Lineage.of_masks(self.tubes.masks, (category for _, category in self.tubes.pairs))


class TubePairs(_Tubes):
    """Of each tube frame 0 as support, and as query another that the epoch draws."""

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        tube = self.tubes.tube(self._place(epoch, index), epoch)
        other = int(np.random.default_rng([self.tubes.rules.seed, 43, epoch, index]).integers(1, len(tube.frames)))
        chosen = [0, other]
        frames, masks = self._squares(tube.frames[chosen], tube.masks[chosen])
        return {"support": frames[0], "support_mask": masks[0], "frames": frames[1:], "masks": masks[1:]}


class TubeClips(_Tubes):
    """All frames of each tube, with another image of the category as support."""

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        example = self.tubes.get(epoch, self._place(epoch, index))
        support, support_mask = squeezed(example["support_image"], example["support_mask"], self.size)
        frames, masks = self._squares(example["frames"], example["masks"])
        return {"support": support, "support_mask": support_mask, "frames": frames, "masks": masks}


def open_examples(
    options: DataOptions, part: str, *, size: int, frames: int, tubes: bool, pairs: bool = False
) -> Examples:
    """Return the examples of a data set: support (S, S, 3), support_mask (S, S), frames (T, S, S, 3), masks (T, S, S).

    Args:
        options: Which data set.
        part: ``train`` or ``validation``: images of the training split and classes that training never sees, so that
            no choice is made on the test fold (the reference selects its model there: Q16).
        size: S, pixels.
        frames: T.
        tubes: Whether T frames belong to one tube or clip.
        pairs: Of a tube two frames alone, support and query.

    Raises:
        UsageError: Unknown, a data set that does not go with the stage, or the folder is missing.
        SourceError: Broken raw data.
    """
    data, seed = options.data, part_seed(options, part)
    if data == "demo":
        # Validation draws from training families too, from another stream: the held-out ones are for the benchmark.
        world = TrainingWorld.of_layouts(size, seed)
        count = options.length if part == "train" else 64
        return DrawnClips(world, size, count, frames) if tubes else DrawnWorlds(world, size, count)
    if options.root is None:
        raise UsageError(f"data={data} needs the raw data", fix="give --set root=FOLDER")
    if data not in ("coco-20i", "pascal-5i", "coco", "mask-tubes"):
        raise UsageError(f"no training data '{data}'", expected="demo, coco-20i, pascal-5i, coco or mask-tubes")
    if tubes != (data == "mask-tubes"):
        fix = "stage=image goes with coco-20i, pascal-5i or coco; the tube stages with mask-tubes"
        raise UsageError(f"data={data} does not go with this stage", fix=f"{fix}; demo goes with all")
    if data == "mask-tubes":
        masks = open_masks(options)
        rules = TubeRules(frames=frames, seed=seed, min_area=options.min_area)
        mask_tubes = split_images(masks, part, lambda images: MaskTubes(masks, rules, images=images))
        count = len(mask_tubes) if part == "train" else min(len(mask_tubes), VALIDATION_EPISODES)
        return TubePairs(mask_tubes, size, count) if pairs else TubeClips(mask_tubes, size, count)
    return ImagePairs(open_sampler(options, part), size)
