"""Where DC-SAM's training examples come from: the drawn world, COCO-20i, PASCAL-5i, COCO, mask tubes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dcsam.train_sam2 import drawn_world, squared
from icvos.build.demo_world.episodes import TrainingWorld
from icvos.errors import UsageError
from icvos.training.task import Examples

__all__ = ["DrawnClips", "DrawnPairs", "open_examples"]


class DrawnPairs:
    """Pairs of images of the drawn world: a support and a query of the same kind of thing."""

    def __init__(self, world: TrainingWorld, length: int) -> None:
        self.world, self.length = world, length

    def __len__(self) -> int:
        return self.length

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        pair = self.world.pair(epoch * self.length + index)
        images, masks = squared(
            np.stack([pair.support_image, pair.query_image]), np.stack([pair.support_mask, pair.query_mask])
        )
        return {"support": images[0], "support_mask": masks[0], "frames": images[1:], "masks": masks[1:]}


class DrawnClips:
    """Supports and clips of the drawn world."""

    def __init__(self, world: TrainingWorld, length: int, frames: int) -> None:
        self.world, self.length, self.frames = world, length, frames

    def __len__(self) -> int:
        return self.length

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        episode = self.world.episode(epoch * self.length + index, frames=self.frames)
        support, support_mask = squared(episode.support_images, episode.support_masks)
        frames, masks = squared(episode.frames, episode.masks)
        return {"support": support[0], "support_mask": support_mask[0], "frames": frames, "masks": masks}


def open_examples(
    data: str, part: str, *, root: Path | None, fold: int, size: int, frames: int, length: int, seed: int, tubes: bool
) -> Examples:
    """Return the examples of a data set: support (S, S, 3), support_mask (S, S), frames (T, S, S, 3), masks (T, S, S).

    Args:
        data: ``demo``, ``coco-20i``, ``pascal-5i``, ``coco`` or ``mask-tubes``.
        part: ``train`` or ``validation`` (a part of the training classes, never the test fold's).
        root: The raw data set's folder.
        fold: The test fold that is left out.
        size: S, pixels.
        frames: T.
        length: Of an epoch, where examples are drawn without end.
        seed: Of the draws.
        tubes: Whether T frames belong to one tube or clip.

    Raises:
        UsageError: Unknown, or the folder is missing.
    """
    if data == "demo":
        # Validation draws from training families too, from another stream: the held-out ones are for the benchmark.
        world = drawn_world(size, seed if part == "train" else seed + 5000)
        count = length if part == "train" else 192
        return DrawnClips(world, count, frames) if tubes else DrawnPairs(world, count)
    if root is None:
        raise UsageError(f"data={data} needs the raw data", fix="give --set root=FOLDER")
    raise UsageError(f"no training data '{data}'", expected="demo, coco-20i, pascal-5i, coco or mask-tubes")
