"""Where DC-SAM's training examples come from: the drawn world, COCO-20i, PASCAL-5i, COCO, mask tubes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icvos.data.lineage import Lineage
from icvos.data.mask_tubes import MaskTubes, TubeRules
from icvos.data.options import DataOptions
from icvos.data.pairs import VALIDATION_EPISODES, ImagePairs, open_masks, open_sampler, part_seed, split_images
from icvos.demo.training.examples import DrawnClips, DrawnWorlds
from icvos.demo.world.episodes import TrainingWorld
from icvos.errors import UsageError
from icvos.images import squeezed
from icvos.training.data import Batch
from icvos.training.task import Examples

__all__ = ["ClipBatch", "ImagePairs", "TubeClips", "TubePairs", "join_clips", "open_examples", "squeezed"]

DEMO_VALIDATION_EPISODES = 64


@dataclass(frozen=True)
class ClipBatch(Batch):
    """B supports, and a clip of T frames for each; T = 1 where the query is one image.

    Attributes:
        support: (B, S, S, 3) uint8.
        support_mask: (B, S, S) bool.
        frames: (B, T, S, S, 3) uint8.
        masks: (B, T, S, S) bool.
        names: Of the B supports and then of the B queries, which the feature cache knows them by; None where the
            images are not those of a data set.
    """

    support: Tensor
    support_mask: Tensor
    frames: Tensor
    masks: Tensor
    names: tuple[str, ...] | None = None


def join_clips(examples: Sequence[Mapping[str, Any]]) -> ClipBatch:
    """Join examples of ``open_examples`` that are not drawn worlds."""
    arrays = ("support", "support_mask", "frames", "masks")
    tensors = {name: torch.from_numpy(np.stack([example[name] for example in examples])) for name in arrays}
    names = None
    if all("names" in example for example in examples):
        names = tuple(example["names"][side] for side in (0, 1) for example in examples)
    return ClipBatch(**tensors, names=names)


class _Tubes:
    def __init__(self, tubes: MaskTubes, size: int, length: int) -> None:
        self.tubes, self.size, self.length = tubes, size, length
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.length

    def _number(self, epoch: int, index: int) -> int:
        """Return the number of the tube that an example of an epoch is made of: another order in each epoch."""
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
        tube = self.tubes.tube(self._number(epoch, index), epoch)
        other = int(np.random.default_rng([self.tubes.rules.seed, 43, epoch, index]).integers(1, len(tube.frames)))
        chosen = [0, other]
        frames, masks = self._squares(tube.frames[chosen], tube.masks[chosen])
        return {"support": frames[0], "support_mask": masks[0], "frames": frames[1:], "masks": masks[1:]}


class TubeClips(_Tubes):
    """All frames of each tube, with another image of the category as support."""

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        example = self.tubes.get(epoch, self._number(epoch, index))
        support, support_mask = squeezed(example["support_image"], example["support_mask"], self.size)
        frames, masks = self._squares(example["frames"], example["masks"])
        return {"support": support, "support_mask": support_mask, "frames": frames, "masks": masks}


def open_examples(
    options: DataOptions, part: str, *, size: int, frames: int, tubes: bool, pairs: bool = False
) -> Examples:
    """Return what gives the examples of a data set, by epoch and index.

    An example is support (S, S, 3) uint8, support_mask (S, S) bool, frames (T, S, S, 3) uint8 and masks (T, S, S) bool;
    of ``demo`` in the image stage it is a ``DrawnWorld``. T is ``frames`` for clips (``demo`` and ``mask-tubes`` with
    ``tubes``) and 1 for pairs (few-shot data, and ``mask-tubes`` with ``pairs``).

    Args:
        options: Which data set.
        part: ``train`` or ``validation``. Both have the same classes; validation has images that are held out of the
            training split (of ``demo``, drawn from another seed), so that no choice is made on the test fold (the
            reference selects its model there: Q16).
        size: S, pixels.
        frames: Frames of a clip.
        tubes: Whether the stage trains on clips; else on pairs of images.
        pairs: Of a tube two frames alone, support and query; ``demo`` has clips all the same.

    Raises:
        UsageError: Unknown, a data set that does not go with the stage, or the folder is missing.
        SourceError: Broken raw data.
    """
    data, seed = options.data, part_seed(options, part)
    if data == "demo":
        # Validation draws from training families too, from another stream: the held-out ones are for the benchmark.
        world = TrainingWorld.of_layouts(size, seed)
        count = options.length if part == "train" else DEMO_VALIDATION_EPISODES
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
