"""J and F, written plainly from their definitions: what every engine must equal, and the fallback where none is built.

Source: the official DAVIS-2017 evaluation (Perazzi et al., CVPR 2016; Pont-Tuset et al., 2017).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

__all__ = [
    "boundary_counts",
    "boundary_map",
    "boundary_radius",
    "disk_rows",
    "f_from_counts",
    "j_from_counts",
    "mask_counts",
]


def boundary_radius(height: int, width: int) -> int:
    """Return the tolerance of F in pixels: 0.008 of the image diagonal, rounded up (8 at 480x854, 18 at 1080x1920)."""
    return math.ceil(0.008 * float(np.linalg.norm((height, width))))


@lru_cache(maxsize=64)
def disk_rows(radius: int) -> tuple[int, ...]:
    """Return the half-width of the disk dx^2 + dy^2 <= radius^2 in each of its rows dy = 0..radius."""
    return tuple(math.isqrt(radius * radius - dy * dy) for dy in range(radius + 1))


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


def _matched(rows: np.ndarray, columns: np.ndarray, edge: np.ndarray, radius: int) -> int:
    """Count the points that have a pixel of ``edge`` within a disk of ``radius`` around them."""
    height, width = edge.shape
    # before[y, x] is how many pixels of row y lie left of x: a window of a row is a difference of two.
    before = np.zeros((height, width + 1), dtype=np.int32)
    np.cumsum(edge, axis=1, out=before[:, 1:])
    waiting = np.arange(len(rows))
    for distance, half in enumerate(disk_rows(radius)):
        for sign in (1, -1) if distance else (1,):
            y = rows[waiting] + sign * distance
            inside = (y >= 0) & (y < height)
            y = np.where(inside, y, 0)
            x = columns[waiting]
            left, right = np.maximum(x - half, 0), np.minimum(x + half + 1, width)
            waiting = waiting[~(inside & (before[y, right] > before[y, left]))]
            if len(waiting) == 0:
                return len(rows)
    return len(rows) - len(waiting)


def boundary_counts(prediction: np.ndarray, truth: np.ndarray, radius: int) -> tuple[int, int, int, int]:
    """Return the integers that F is made of, for two (H, W) bool masks.

    Returns:
        Boundary pixels of the prediction, how many of them have one of the truth within ``radius``; boundary pixels of
        the truth, how many of them have one of the prediction within ``radius``.
    """
    edge_p, edge_t = boundary_map(prediction), boundary_map(truth)
    rows_p, columns_p = np.nonzero(edge_p)
    rows_t, columns_t = np.nonzero(edge_t)
    if len(rows_p) == 0 or len(rows_t) == 0:
        return len(rows_p), 0, len(rows_t), 0
    return (
        len(rows_p),
        _matched(rows_p, columns_p, edge_t, radius),
        len(rows_t),
        _matched(rows_t, columns_t, edge_p, radius),
    )


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
