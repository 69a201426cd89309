"""Tiny synthetic clips and supports on which the conformance check runs a model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from icvos.types import Support

__all__ = ["Clip", "support"]

# Two colours each of the thing, of the other object and of the background, in world 0.
_PALETTE = np.array(
    ((216, 64, 48), (236, 176, 60), (48, 96, 208), (70, 190, 150), (196, 180, 160), (36, 48, 44)), np.float32
)


def _colours(world: int) -> np.ndarray:
    """Return the two colours of thing, other object and background, (3, 2, 3) float.

    Each pair of worlds has an order of its own; an odd world has the colours of the one before it in other roles: what
    was the thing's is the background's.
    """
    order = np.random.default_rng(world // 2).permutation(6) if world > 1 else np.arange(6)
    return np.roll(_PALETTE[order].reshape(3, 2, 3), -(world % 2), axis=0)


def _texture(kind: int, rows: np.ndarray, columns: np.ndarray, width: float) -> np.ndarray:
    """Return how much of its second colour a thing has at each pixel, (H, W) in 0..1: stripes, checks or a gradient."""
    if kind == 0:
        return ((rows + columns) % (2 * width) < width).astype(np.float32)
    if kind == 1:
        return ((rows // width + columns // width) % 2).astype(np.float32)
    return np.clip(0.5 + columns / (8 * width), 0, 1)


def _scene(size: tuple[int, int], phase: float, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a world: a disk, the thing, and a diamond, the other object, on a background; each with a texture.

    Args:
        size: (H, W).
        phase: Where on their ways the two are, in radians.
        scale: The thing's radius, as a part of the shorter side.
        seed: Of the noise; its last two digits are the world: colours and textures.

    Returns:
        The image, (H, W, 3) uint8, and the thing's mask, (H, W) bool.
    """
    height, width = size
    generator, world = np.random.default_rng(seed), seed % 100
    colours, radius = _colours(world), min(size) * scale
    rows, columns = np.mgrid[:height, :width].astype(np.float32)

    def painted(role: int, row: float, column: float) -> np.ndarray:
        first, second = colours[role]
        share = _texture((role + world) % 3, rows - row, columns - column, max(min(size) / 10, 2))[..., None]
        return first + share * (second - first)

    row, column = height * (0.5 + 0.2 * np.sin(phase)), width * (0.5 + 0.25 * np.cos(phase))
    other_row, other_column = height - row, width - column
    image = painted(2, height / 2, width / 2)
    diamond = np.abs(rows - other_row) + np.abs(columns - other_column) <= 1.2 * radius
    image[diamond] = painted(1, other_row, other_column)[diamond]
    mask = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    image[mask] = painted(0, row, column)[mask]
    return np.clip(image + generator.integers(-12, 13, image.shape), 0, 255).astype(np.uint8), mask


class Clip:
    """A lazy video of two objects that move; it notes which frames were read.

    Args:
        frames: Its length.
        size: (H, W).
        seed: Its world: another seed has other colours and textures.
        change_from: Frames from here on look different (for the check of ``access``).
    """

    def __init__(
        self, frames: int, size: tuple[int, int] = (48, 64), *, seed: int = 0, change_from: int | None = None
    ) -> None:
        self._frames, self._size, self.seed = frames, size, seed
        self.change_from = frames if change_from is None else change_from
        self.last_read = -1

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    @property
    def mask(self) -> np.ndarray:
        """The thing on frame 0, (H, W) bool, read-only."""
        mask = _scene(self._size, 0, 0.22, self.seed)[1]
        mask.setflags(write=False)
        return mask

    def __len__(self) -> int:
        return self._frames

    def __getitem__(self, index: int, /) -> np.ndarray:
        if not -self._frames <= index < self._frames:
            raise IndexError(index)
        index %= self._frames
        self.last_read = max(self.last_read, index)
        if index < self.change_from:
            return _scene(self._size, index / 7, 0.22, self.seed + 100 * index)[0]
        # The objects are elsewhere, of other sizes and colours; what was dark is bright.
        return 255 - _scene(self._size, index / 7 + np.pi, 0.3, (self.seed ^ 1) + 100 * index)[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(self._frames):
            yield self[index]


def support(size: tuple[int, int] = (48, 64), *, seed: int = 100, empty: bool = False) -> Support:
    """A support of the world of ``Clip(seed=seed - 100)``: the thing and its mask, or an empty mask.

    Its arrays are read-only.
    """
    image, mask = _scene(size, 3.6, 0.28, seed)
    if empty:
        mask = np.zeros(size, bool)
    image.setflags(write=False)
    mask.setflags(write=False)
    return Support(image, mask)
