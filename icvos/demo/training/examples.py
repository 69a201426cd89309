"""Synthetic training examples of the demo's world."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from icvos.datasets.fields import TensorFields
from icvos.datasets.samples import EpisodeSample
from icvos.demo.world.episodes import Episode, Footage, Still, TrainingWorld
from icvos.images import squeezed

__all__ = [
    "DrawnClips",
    "DrawnPairs",
    "DrawnWorld",
    "DrawnWorlds",
    "Scenes",
    "WorldBatch",
    "family_maps",
    "join_worlds",
    "squared",
    "squared_still",
]


class DrawnPairs:
    """Pairs of the drawn world's training shapes, squeezed to squares; the query may not show the thing.

    Args:
        size: Side of the squares, pixels.
        seed: Of the world.
        length: Pairs of an epoch.
        random_share: Of kinds of things drawn anew.
    """

    def __init__(self, size: int, seed: int, length: int, random_share: float = 0.5) -> None:
        self.world = TrainingWorld.of_layouts(size, seed, random_share)
        self.size, self.length = size, length

    def __len__(self) -> int:
        return self.length

    def get(self, epoch: int, index: int) -> EpisodeSample:
        """Return a pair of squares."""
        pair = self.world.pair(epoch * self.length + index)
        frame, mask = squeezed(pair.query_image, pair.query_mask, self.size)
        support = squeezed(pair.support_image, pair.support_mask, self.size)
        return EpisodeSample.of([support], frame[None], mask[None])

    def describe(self) -> dict[str, Any]:
        """Return what the pairs are drawn from."""
        world = self.world
        return {"source": "demo world", "seed": world.seed, "random_share": world.random_share, "size": self.size}


#: Instances of an image, at most.
INSTANCES = 8


def squared(images: np.ndarray, labels: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Squeeze (T, H, W, 3) images (bilinear) and (T, H, W) labels (nearest) to squares of a side."""
    if images.shape[1:3] == (side, side):
        return images, labels
    import cv2

    cv2.setNumThreads(0)  # the loading processes are as many as there are cores
    pictures = np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR) for image in images])
    rows, columns = (np.arange(side) * length // side for length in labels.shape[1:])
    return pictures, labels[:, rows[:, None], columns]


def squared_still(still: Still, side: int) -> Still:
    """Return a still as a square."""
    image, labels = squared(still.image[None], still.labels[None], side)
    return Still(image[0], labels[0], still.names)


def varied(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mirror and turn squares (T, S, S, 3) and their (T, S, S) labels together; mix and scale the colours of all."""
    if generator.random() < 0.5:
        images, labels = images[:, :, ::-1], labels[:, :, ::-1]
    if generator.random() < 0.5:
        images, labels = images[:, ::-1], labels[:, ::-1]
    if generator.random() < 0.3:
        images, labels = images.swapaxes(1, 2), labels.swapaxes(1, 2)
    import cv2

    pixels = np.ascontiguousarray(images[..., generator.permutation(3)])
    ramp = np.arange(256)[:, None] * generator.uniform(0.75, 1.2, 3) + generator.uniform(-20, 20, 3)
    table = ramp.clip(0, 255).astype(np.uint8)[None]
    mixed = cv2.LUT(pixels.reshape(-1, pixels.shape[2], 3), table).reshape(pixels.shape)
    return mixed, np.ascontiguousarray(labels)


def numbers(names: Sequence[str]) -> np.ndarray:
    """Return (INSTANCES + 1,) int64: a number for the family of each label, 0 for the ground and for none."""
    out = np.zeros(INSTANCES + 1, np.int64)
    out[1 : len(names) + 1] = [1 + zlib.crc32(name.encode()) for name in names]
    return out


def family_maps(labels: Tensor, families: Tensor) -> Tensor:
    """Return (N, H, W) int64 numbers of families of (N, H, W) uint8 labels and (N, INSTANCES + 1) numbers."""
    return families.gather(1, labels.flatten(1).long()).view(labels.shape)


class Scenes(Protocol):
    """What examples are taken from: ``TrainingWorld``, which draws without end, or a pool drawn ahead."""

    @property
    def seed(self) -> int: ...

    def still(self, index: int) -> Still: ...

    def world(self, index: int) -> list[Still]: ...

    def clip(self, index: int, *, frames: int = ...) -> Footage: ...

    def episode(self, index: int, *, frames: int = ..., shots: int = ...) -> Episode: ...


@dataclass(frozen=True)
class DrawnWorld:
    """An example of ``DrawnWorlds``.

    Attributes:
        images: (N, S, S, 3) uint8.
        labels: (N, S, S) uint8, the number of the instance at each pixel, 0 for the ground.
        families: (N, INSTANCES + 1) int64, the number of the family of each label.
        pairs: (P, 3) int64: support image, query image, and family asked for.
    """

    images: np.ndarray
    labels: np.ndarray
    families: np.ndarray
    pairs: np.ndarray


@dataclass(frozen=True)
class WorldBatch(TensorFields):
    """Drawn worlds joined: tensors of the shapes and dtypes of ``DrawnWorld``, N images and P pairs of all together."""

    images: Tensor
    labels: Tensor
    families: Tensor
    pairs: Tensor

    def masks(self) -> tuple[Tensor, Tensor]:
        """Return the (P, S, S) bool masks of each pair's family on its support image, and on its query image."""
        maps = family_maps(self.labels, self.families)
        support, query, family = self.pairs.unbind(1)
        return maps[support] == family[:, None, None], maps[query] == family[:, None, None]


class DrawnWorlds:
    """Few images with things of few families; pairs of them, each image asked for different things.

    Args:
        world: Draws them.
        side: Of the squares.
        length: Of an epoch.
        pairs: Ordered pairs of a world that are asked.
        absent: Share of the pairs whose query does not show what is asked for, about.
    """

    def __init__(
        self, world: Scenes, side: int, length: int, *, pairs: int = 8, absent: float = 0.15, offset: int = 0
    ) -> None:
        self.world, self.side, self.length = world, side, length
        self.pairs, self.absent, self.offset = pairs, absent, offset

    def __len__(self) -> int:
        return self.length

    def get(self, epoch: int, index: int) -> DrawnWorld:
        """Return a world."""
        number = self.offset + epoch * self.length + index
        stills = [squared_still(still, self.side) for still in self.world.world(number)]
        images, labels = np.stack([s.image for s in stills]), np.stack([s.labels for s in stills])
        families = np.stack([numbers(still.names) for still in stills])
        generator = np.random.default_rng([self.world.seed, 37, number])
        if not isinstance(self.world, TrainingWorld):
            # Scenes of a pool come again: never quite the same.
            parts = [varied(images[i : i + 1], labels[i : i + 1], generator) for i in range(len(images))]
            images, labels = (np.concatenate(each) for each in zip(*parts))
        return DrawnWorld(images, labels, families, self._pairs(labels, families, generator))

    def _pairs(self, labels: np.ndarray, families: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return (P, 3) int64: support image, query image, family; a family that is seen well in the support."""
        seen = []
        for one, families_of in zip(labels, families):
            areas = np.bincount(one.ravel(), minlength=INSTANCES + 1) / one.size
            seen.append({int(f) for f in families_of[1:] if f and areas[families_of == f].sum() >= 0.015})
        present: list[tuple[int, int, int]] = []
        missing: list[tuple[int, int, int]] = []
        for support in range(len(labels)):
            for query in range(len(labels)):
                for family in sorted(seen[support]) if support != query else ():
                    (present if family in families[query] else missing).append((support, query, family))
        out = []
        for _ in range(self.pairs):
            first, second = (missing, present) if generator.random() < self.absent else (present, missing)
            # A world in which nothing is seen well is so rare that its first thing will do.
            choice = first or second or [(0, 1, int(families[0][1]))]
            out.append(choice[int(generator.integers(len(choice)))])
        return np.array(out, np.int64)


def join_worlds(worlds: Sequence[DrawnWorld]) -> WorldBatch:
    """Join worlds; the pairs' images are then numbered through all of them."""
    starts = np.cumsum([0, *(len(world.images) for world in worlds)])
    pairs = [world.pairs + np.array([start, start, 0]) for world, start in zip(worlds, starts)]
    return WorldBatch(
        images=torch.from_numpy(np.concatenate([world.images for world in worlds])),
        labels=torch.from_numpy(np.concatenate([world.labels for world in worlds])),
        families=torch.from_numpy(np.concatenate([world.families for world in worlds])),
        pairs=torch.from_numpy(np.concatenate(pairs)),
    )


class DrawnClips:
    """Supports and clips of the drawn world."""

    def __init__(self, world: Scenes, side: int, length: int, frames: int) -> None:
        self.world, self.side, self.length, self.frames = world, side, length, frames

    def __len__(self) -> int:
        return self.length

    def get(self, epoch: int, index: int) -> EpisodeSample:
        """Return a clip of squares."""
        number = epoch * self.length + index
        episode = self.world.episode(number, frames=self.frames)
        support, support_mask = squared(episode.support_images, episode.support_masks, self.side)
        frames, masks = squared(episode.frames, episode.masks, self.side)
        if not isinstance(self.world, TrainingWorld):
            generator = np.random.default_rng([self.world.seed, 39, number])
            support, support_mask = varied(support, support_mask, generator)
            frames, masks = varied(frames, masks, generator)
        return EpisodeSample.of([(support[0], support_mask[0])], frames, masks)
