"""J and F, written plainly from their definitions: what every engine must equal, and the fallback where none is built.

Source: the official DAVIS-2017 evaluation (Perazzi et al., CVPR 2016; Pont-Tuset et al., 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

__all__ = [
    "boundary_counts",
    "boundary_map",
    "boundary_radius",
    "disk_rows",
    "disk_windows",
    "f_from_counts",
    "j_from_counts",
    "mask_counts",
    "matched",
]


def boundary_radius(height: int, width: int) -> int:
    """Return the tolerance of F in pixels: 0.008 of the image diagonal, rounded up (8 at 480x854, 18 at 1080x1920)."""
    return math.ceil(0.008 * float(np.linalg.norm((height, width))))


@lru_cache(maxsize=64)
def disk_rows(radius: int) -> tuple[int, ...]:
    """Return the half-width of the disk dx^2 + dy^2 <= radius^2 in each of its rows dy = 0..radius."""
    return tuple(math.isqrt(radius * radius - dy * dy) for dy in range(radius + 1))


Window = tuple[int, int, int]
"""A row of the shape around a point in which its match may lie: dy, and the first and the last dx."""


@lru_cache(maxsize=64)
def disk_windows(radius: int) -> tuple[Window, ...]:
    """Return the rows of the disk dx^2 + dy^2 <= radius^2, from the middle outwards."""
    rows = disk_rows(radius)
    return tuple((sign * dy, -half, half) for dy, half in enumerate(rows) for sign in ((1, -1) if dy else (1,)))


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Return the boundary of a mask, (H, W) bool.

    A pixel is on it if it differs from its right, lower or lower-right neighbour; in the last row only the right one
    counts, in the last column only the lower one, and the corner never is.
    """
    edge = np.zeros(mask.shape, dtype=bool)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1, :] |= mask[:-1, :] != mask[1:, :]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def matched(points: np.ndarray, edge: np.ndarray, windows: Sequence[Window]) -> int:
    """Count the pixels of ``points``, (H, W) bool, that have one of ``edge``, (H, W) bool, in a window around them."""
    rows, columns = np.nonzero(points)
    height, width = edge.shape
    # before[y, x] is how many pixels of row y lie left of x: a window of a row is a difference of two.
    before = np.zeros((height, width + 1), dtype=np.int32)
    np.cumsum(edge, axis=1, out=before[:, 1:])
    waiting = np.arange(len(rows))
    for dy, first, last in windows:
        if len(waiting) == 0:
            break
        y = rows[waiting] + dy
        inside = (y >= 0) & (y < height)
        y = np.where(inside, y, 0)
        x = columns[waiting]
        left, right = np.clip(x + first, 0, width), np.clip(x + last + 1, 0, width)
        waiting = waiting[~(inside & (before[y, right] > before[y, left]))]
    return len(rows) - len(waiting)


def boundary_counts(prediction: np.ndarray, truth: np.ndarray, radius: int) -> tuple[int, int, int, int]:
    """Return the integers that F is made of, for two (H, W) bool masks.

    Returns:
        Boundary pixels of the prediction, how many of them have one of the truth within ``radius``; boundary pixels of
        the truth, how many of them have one of the prediction within ``radius``.
    """
    edge_p, edge_t = boundary_map(prediction), boundary_map(truth)
    count_p, count_t = int(np.count_nonzero(edge_p)), int(np.count_nonzero(edge_t))
    if count_p == 0 or count_t == 0:
        return count_p, 0, count_t, 0
    windows = disk_windows(radius)
    return count_p, matched(edge_p, edge_t, windows), count_t, matched(edge_t, edge_p, windows)


def mask_counts(prediction: np.ndarray, truth: np.ndarray, radius: int) -> tuple[int, int, int, int, int, int]:
    """Return the six integers of J and F of two (H, W) bool masks: intersection, union, and ``boundary_counts``."""
    intersection = int(np.count_nonzero(prediction & truth))
    union = int(np.count_nonzero(prediction | truth))
    return intersection, union, *boundary_counts(prediction, truth, radius)


def j_from_counts(intersection: int, union: int) -> float:
    """Return J, intersection over union: both masks empty is 1."""
    return intersection / union if union else 1.0


def f_from_counts(count_p: int, match_p: int, count_t: int, match_t: int) -> float:
    """Return F, the harmonic mean of precision and recall: both boundaries empty is 1, one of them 0."""
    if count_p == 0 and count_t == 0:
        return 1.0
    if count_p == 0 or count_t == 0:
        return 0.0
    precision, recall = match_p / count_p, match_t / count_t
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)
