"""Training scenes without end, of training families and random ones only: stills, clips, pairs and episodes.

Everything is a pure function of (seed, index), so that any number of DataLoader workers draws the same data. Half of
the categories (by default) are drawn anew for every episode: what can be learned is to compare, not to recognise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icvos.demo.world.outline import Family
from icvos.demo.world.random_shapes import KINDS, RandomFamily
from icvos.demo.world.scene import PATHS, Role, Scene, make_scene
from icvos.demo.world.training_shapes import TRAINING_FAMILIES

__all__ = ["Episode", "Footage", "Pair", "Still", "TrainingWorld"]

_NAMES = tuple(sorted(TRAINING_FAMILIES))
_STREAMS = ("still", "clip", "pair", "episode", "world")


@dataclass(frozen=True, eq=False)
class Still:
    """An image with instances.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8; i + 1 where instance i is seen.
        names: Name of each instance's family.
    """

    image: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    def mask(self, name: str) -> np.ndarray:
        """Return (H, W) bool: all instances of a family."""
        return np.isin(self.labels, [i for i, other in enumerate(self.names, 1) if other == name])


@dataclass(frozen=True, eq=False)
class Footage:
    """A clip with instances.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        labels: (T, H, W) uint8; i + 1 where instance i is seen.
        names: Name of each instance's family.
    """

    frames: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    def masks(self, name: str) -> np.ndarray:
        """Return (T, H, W) bool: all instances of a family."""
        return np.isin(self.labels, [i for i, other in enumerate(self.names, 1) if other == name])


@dataclass(frozen=True, eq=False)
class Pair:
    """An in-context pair: images (H, W, 3) uint8 RGB, masks (H, W) bool; the query's may be empty."""

    support_image: np.ndarray
    support_mask: np.ndarray
    query_image: np.ndarray
    query_mask: np.ndarray
    name: str


@dataclass(frozen=True, eq=False)
class Episode:
    """An in-context episode on a clip.

    Attributes:
        support_images: (K, H, W, 3) uint8 RGB.
        support_masks: (K, H, W) bool.
        frames: (T, H, W, 3) uint8 RGB.
        masks: (T, H, W) bool; may be empty in some frames, or in all.
        name: The family's.
    """

    support_images: np.ndarray
    support_masks: np.ndarray
    frames: np.ndarray
    masks: np.ndarray
    name: str


@dataclass(frozen=True)
class TrainingWorld:
    """Draws training data. It holds settings alone, and so goes to worker processes as it is.

    Attributes:
        size: (H, W) of images.
        seed: Of everything.
        random_share: How likely a category is a new random one, not a named training family.
        absent: How likely a query does not show the category that is asked for.
        still_sizes, clip_sizes: (H, W) that each still, and each clip, is drawn in one of; by default all in ``size``.
    """

    size: tuple[int, int] = (160, 160)
    seed: int = 0
    random_share: float = 0.5
    absent: float = 0.15
    still_sizes: tuple[tuple[int, int], ...] = ()
    clip_sizes: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of_layouts(cls, side: int, seed: int, random_share: float = 0.5) -> TrainingWorld:
        """Return a world whose images have the aspects of the raw data sets' layouts, the long side ``side`` pixels.

        Clips are 4:3, 3:2 or square, stills portrait too. Models that squeeze images to squares learn so that a thing
        on a portrait support is the same on a wide frame.
        """
        clips = ((side * 3 // 4, side), (side * 2 // 3, side), (side, side))
        return cls(clips[0], seed, random_share, still_sizes=(*clips, (side, side * 3 // 4)), clip_sizes=clips)

    def still(self, index: int) -> Still:
        """Return an image with two to five instances of two to four families."""
        rng = self._rng("still", index)
        families = self._families(int(rng.integers(2, 5)), rng)
        cast = [*families, *(families[int(rng.integers(len(families)))] for _ in range(int(rng.integers(0, 2))))]
        return self._still(cast, rng)

    def clip(self, index: int, *, frames: int = 8) -> Footage:
        """Return a clip with two to five instances: ``frames`` frames in a row, or every second, of a longer scene."""
        rng = self._rng("clip", index)
        families = self._families(int(rng.integers(2, 5)), rng)
        cast = [*families, *(families[int(rng.integers(len(families)))] for _ in range(int(rng.integers(0, 2))))]
        return self._footage(cast, frames, rng)

    def pair(self, index: int) -> Pair:
        """Return a support and a query; what disturbs in one is often in the other too."""
        rng = self._rng("pair", index)
        target, *others = self._families(5, rng)
        support = self._seen(target, others[:2], rng)
        query = self._query(target, others, rng)
        other = self._still(query, rng)
        return Pair(support.image, support.mask(target.name), other.image, other.mask(target.name), target.name)

    def episode(self, index: int, *, frames: int = 8, shots: int = 1) -> Episode:
        """Return supports and a clip."""
        rng = self._rng("episode", index)
        target, *others = self._families(5, rng)
        size = self._size(self.still_sizes, rng)
        supports = [self._seen(target, others[:2], rng, size) for _ in range(shots)]
        footage = self._footage(self._query(target, others, rng), frames, rng)
        return Episode(
            np.stack([support.image for support in supports]),
            np.stack([support.mask(target.name) for support in supports]),
            footage.frames,
            footage.masks(target.name),
            target.name,
        )

    def world(self, index: int, *, images: int = 4, families: int = 5) -> list[Still]:
        """Return images whose casts are drawn from one small pool: every ordered two of them that share a family make
        a pair, so that each image is encoded once and asked for different things."""
        rng = self._rng("world", index)
        pool = self._families(families, rng)
        out = []
        for _ in range(images):
            chosen = rng.permutation(families)[: int(rng.integers(2, 4))]
            cast = [pool[i] for i in chosen]
            if rng.random() < 0.25:
                cast.append(cast[0])
            out.append(self._still(cast, rng))
        return out

    def _rng(self, stream: str, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 7000 + _STREAMS.index(stream), index])

    def _size(self, choices: Sequence[tuple[int, int]], rng: np.random.Generator) -> tuple[int, int]:
        return choices[int(rng.integers(len(choices)))] if choices else self.size

    def _families(self, count: int, rng: np.random.Generator) -> list[Family]:
        """Return different families; now and then two random ones of one kind, which are harder to tell apart."""
        out: list[Family] = []
        while len(out) < count:
            family: Family
            if rng.random() < self.random_share:
                kind = KINDS[int(rng.integers(len(KINDS)))]
                if out and isinstance(out[-1], RandomFamily) and rng.random() < 0.3:
                    kind = out[-1].kind
                family = RandomFamily(int(rng.integers(1 << 31)), kind)
            else:
                family = TRAINING_FAMILIES[_NAMES[int(rng.integers(len(_NAMES)))]]
            if all(other.name != family.name for other in out):
                out.append(family)
        return out

    def _query(self, target: Family, others: Sequence[Family], rng: np.random.Generator) -> list[Family]:
        """Return the cast of a query: the target (or not), and one to three others, the support's first."""
        cast = list(others[int(rng.integers(0, 2)) :][: int(rng.integers(1, 4))])
        if rng.random() >= self.absent:
            cast.append(target)
            if rng.random() < 0.25:
                cast.append(target)
        return cast

    def _seen(
        self, target: Family, others: Sequence[Family], rng: np.random.Generator, size: tuple[int, int] | None = None
    ) -> Still:
        """Return an image on which a good part of the target is seen."""
        size = size or self._size(self.still_sizes, rng)
        still = self._still([target, *others[: int(rng.integers(0, 3))]], rng, first=(0.24, 0.46), size=size)
        for _ in range(4):
            if still.mask(target.name).mean() >= 0.02:
                break
            still = self._still([target, *others[:1]], rng, first=(0.24, 0.46), size=size)
        return still

    def _still(
        self,
        cast: Sequence[Family],
        rng: np.random.Generator,
        *,
        first: tuple[float, float] = (0.15, 0.4),
        size: tuple[int, int] | None = None,
    ) -> Still:
        roles = [Role(family, "stay", (0.15, 0.4) if i else first) for i, family in enumerate(cast)]
        size = size or self._size(self.still_sizes, rng)
        image, labels = make_scene(roles, size, 1, rng, occluders=0.25).frame(0)
        return Still(image, labels, tuple(family.name for family in cast))

    def _footage(self, cast: Sequence[Family], frames: int, rng: np.random.Generator) -> Footage:
        roles = [Role(family, PATHS[int(rng.integers(len(PATHS)))], (0.15, 0.36)) for family in cast]
        step = int(rng.integers(1, 3))
        length = max(20, frames * step)
        scene: Scene = make_scene(roles, self._size(self.clip_sizes, rng), length, rng)
        start = int(rng.integers(0, length - (frames - 1) * step))
        drawn = [scene.frame(start + step * i) for i in range(frames)]
        return Footage(
            np.stack([image for image, _ in drawn]),
            np.stack([labels for _, labels in drawn]),
            tuple(family.name for family in cast),
        )
