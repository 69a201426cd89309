"""Clips of the drawn world with what a promptable SAM 2 is asked of them: instances on frames, things to follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icvos.datasets.fields import TensorFields
from icvos.demo.training.examples import INSTANCES, Scenes, squared, varied
from icvos.demo.world.episodes import TrainingWorld

__all__ = ["ClipExamples", "PromptedClips", "join_clips"]

#: How much likelier a thing is followed that is out of sight for a while.
LEAVING = 3.0
#: Share of the followed that are prompted by nothing, and are to stay absent.
NOTHING = 0.05
#: Share of the followed that are all instances of their family.
FAMILY = 0.3
#: Least pixels of a thing that is prompted.
SEEN = 60


@dataclass(frozen=True)
class PromptedClips(TensorFields):
    """N clips of T frames, with what they are asked for: K things each are followed, P instances asked for.

    Attributes:
        frames: (N, T, S, S, 3) uint8.
        things: (N, T, S, S) bool, any instance.
        masks: (N, K, T, S, S) bool, the things that are followed.
        start: (N, K, 3, 3) float: points on frame 0 (x, y, label as SAM 2 names them; -1 is none).
        prompted_frames: (N, P) int64.
        prompted_masks: (N, P, S, S) bool.
        points: (N, P, 3, 3) float, as ``start``.
        prompt: 0 where the clips start from masks, else from ``start``; one for all, that of the first.
        bare: Whether frames without a prompt have no tokens, as in DC-SAM; one for all, that of the first.
    """

    frames: Tensor
    things: Tensor
    masks: Tensor
    start: Tensor
    prompted_frames: Tensor
    prompted_masks: Tensor
    points: Tensor
    prompt: int
    bare: bool


class ClipExamples:
    """Clips of the drawn world: instances to segment from prompts on single frames, and things to follow.

    Args:
        world: Draws them.
        side: Of the squares.
        frames: T.
        length: Of an epoch.
        objects: K, things that are followed.
        prompts: Prompts on single frames, P.
    """

    def __init__(
        self, world: Scenes, side: int, frames: int, length: int, *, objects: int = 1, prompts: int = 4
    ) -> None:
        self.world, self.side, self.frames, self.length = world, side, frames, length
        self.objects, self.prompts = objects, prompts

    def __len__(self) -> int:
        return self.length

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        number = epoch * self.length + index
        names: Sequence[str]
        if self.frames == 1:
            still = self.world.still(number)
            frames, labels = squared(still.image[None], still.labels[None], self.side)
            names = still.names
        else:
            clip = self.world.clip(number, frames=self.frames)
            frames, labels = squared(clip.frames, clip.labels, self.side)
            names = clip.names
        generator = np.random.default_rng([self.world.seed, 31, number])
        if not isinstance(self.world, TrainingWorld):
            frames, labels = varied(frames, labels, generator)
        if generator.random() < 0.5:
            frames, labels = frames[::-1].copy(), labels[::-1].copy()
        seen = [(t, i) for t in range(len(labels)) for i in range(1, INSTANCES) if (labels[t] == i).sum() > SEEN]
        prompted = [seen[int(generator.integers(len(seen)))] if seen else (0, 1) for _ in range(self.prompts)]
        masks, start = self._followed(labels, names, generator)
        return {
            "frames": frames,
            "things": labels > 0,
            "masks": masks,
            "prompt": int(generator.integers(3)),
            "start": start,
            "prompted_frames": np.array([t for t, _ in prompted], np.int64),
            "prompted_masks": np.stack([labels[t] == i for t, i in prompted]),
            "points": np.stack([_points(labels[t] == i, generator) for t, i in prompted]),
            "bare": bool(generator.integers(2)),
        }

    def _followed(
        self, labels: np.ndarray, names: Sequence[str], generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (K, T, S, S) bool masks of things that frame 0 shows, and (K, 3, 3) points on them."""
        areas = np.stack([(labels == i + 1).sum(axis=(1, 2)) for i in range(len(names))])
        at_start = np.flatnonzero(areas[:, 0] > SEEN)
        chance = 1.0 + LEAVING * (areas[at_start] == 0).any(axis=1)
        masks, points = [], []
        for _ in range(self.objects):
            if not len(at_start) or generator.random() < NOTHING:
                masks.append(np.zeros(labels.shape, bool))
            else:
                one = int(generator.choice(at_start, p=chance / chance.sum()))
                family = [i for i, name in enumerate(names) if name == names[one]]
                masks.append(np.isin(labels, [i + 1 for i in (family if generator.random() < FAMILY else [one])]))
            points.append(_points(masks[-1][0], generator))
        return np.stack(masks), np.stack(points)


def _points(mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return (3, 3) float: x, y and label of three points: a loose box (2 and 3) and perhaps a point, or points.

    The first point is inside (1), others inside or outside (0); -1 is none.
    """
    out = np.zeros((3, 3), np.float32)
    out[:, 2] = -1
    filled = 0
    rows, columns = np.nonzero(mask)
    if generator.random() < 0.4 and len(rows):
        left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        loose = generator.normal(0, 0.05, 4) * np.array([right - left, bottom - top] * 2)
        out[:2, :2] = np.array([[left, top], [right, bottom]]) + loose.reshape(2, 2)
        out[:2, 2] = (2, 3)
        filled = 2
    wanted = int(generator.integers(0, 2)) if filled else int(generator.integers(1, 4))
    for number in range(wanted):
        inside = number == 0 or generator.random() < 0.5
        rows, columns = np.nonzero(mask if inside else ~mask)
        if len(rows):
            pick = int(generator.integers(len(rows)))
            out[filled] = (columns[pick] + 0.5, rows[pick] + 0.5, float(inside))
            filled += 1
    return out


def join_clips(examples: Sequence[Mapping[str, Any]]) -> PromptedClips:
    """Join examples of ``ClipExamples``."""
    names = ("frames", "things", "masks", "start", "prompted_frames", "prompted_masks", "points")
    tensors = {name: torch.from_numpy(np.stack([example[name] for example in examples])) for name in names}
    return PromptedClips(**tensors, prompt=examples[0]["prompt"], bare=examples[0]["bare"])
