"""Tiny synthetic clips and supports on which the conformance check runs a model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from icvos.types import Support

__all__ = ["Clip", "support"]

_COLOURS = ((208, 64, 48), (48, 96, 208))


def _scene(size: tuple[int, int], centre: tuple[float, float], radius: float, seed: int) -> tuple[np.ndarray, ...]:
    """A textured background with a disk on it: image (H, W, 3) uint8 and mask (H, W) bool."""
    height, width = size
    generator = np.random.default_rng(seed)
    image = generator.integers(70, 130, (height, width, 3)).astype(np.uint8)
    rows, columns = np.mgrid[:height, :width]
    mask = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    image[mask] = np.clip(np.array(_COLOURS[seed % 2]) + generator.integers(-12, 12, (int(mask.sum()), 3)), 0, 255)
    return image, mask


class Clip:
    """A lazy video of a disk that moves; it counts what is read and which frames are still alive.

    Args:
        frames: Its length.
        size: (H, W).
        seed: Another seed, other pixels.
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

    def __len__(self) -> int:
        return self._frames

    def __getitem__(self, index: int, /) -> np.ndarray:
        if not -self._frames <= index < self._frames:
            raise IndexError(index)
        index %= self._frames
        self.last_read = max(self.last_read, index)
        height, width = self._size
        phase = index / 7
        centre = (height * (0.5 + 0.2 * np.sin(phase)), width * (0.5 + 0.25 * np.cos(phase)))
        changed = index >= self.change_from
        image, _ = _scene(self._size, centre, min(height, width) * 0.22, self.seed + 2 * index + (1 if changed else 0))
        return 255 - image if changed else image

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(self._frames):
            yield self[index]


def support(size: tuple[int, int] = (48, 64), *, seed: int = 100, empty: bool = False) -> Support:
    """A support: a disk on a background, or the background with an empty mask. Its arrays are read-only."""
    image, mask = _scene(size, (size[0] * 0.45, size[1] * 0.4), min(size) * 0.3, seed)
    if empty:
        mask = np.zeros(size, bool)
    image.setflags(write=False)
    mask.setflags(write=False)
    return Support(image, mask)
