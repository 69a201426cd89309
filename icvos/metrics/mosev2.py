"""J and F of a frame as MOSEv2 measures them, exactly.

J has one more pixel above and below the line. The tolerance of F_dot follows the size of the object in the ground
truth: ``min(0.008 d, ceil(0.1 sqrt(area)))``, d the image's diagonal. What is not a whole number is not rounded up, and
the shape around a boundary pixel lies off its centre then.

Source: ``metricsv2.py`` of henghuiding/MOSE-api at 241977ae, as ``score.py`` calls it (Ding et al., arXiv:2508.05630).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from icvos.metrics.definition import Window, boundary_map, disk_windows, f_from_counts, matched
from icvos.metrics.frames import check_objects, compiled_engine, label_maps, mask_batches

__all__ = ["adaptive_counts", "mosev2_labels", "mosev2_masks", "object_radius", "shape_windows"]

Rows = list[tuple[int, ...]]


def object_radius(area: int, height: int, width: int) -> float:
    """Return the tolerance of F_dot for an object of ``area`` pixels, in pixels; of none the largest, 0.008 d."""
    limit = _limit(height, width)
    return min(limit, float(math.ceil(0.1 * math.sqrt(area)))) if area else limit


def _limit(height: int, width: int) -> float:
    return 0.008 * float(np.linalg.norm((height, width)))


@lru_cache(maxsize=64)
def shape_windows(radius: float) -> tuple[Window, ...]:
    """Return the rows of the shape around a pixel in which its match may lie, from the middle outwards.

    The shape is dx^2 + dy^2 <= radius^2 on a grid that begins at -radius, and its middle is the pixel at half its
    number of rows, rounded down: the disk where the radius is whole. Below 2 - sqrt(2), in images whose diagonal is
    less than 73.3 pixels, it has no pixel; OpenCV takes the first of its grid then, and so F_dot says nothing.
    """
    grid = np.arange(-radius, radius + 1)
    inside = grid[:, None] ** 2 + grid[None, :] ** 2 <= radius**2
    inside[0, 0] |= not inside.any()
    middle = len(grid) // 2
    rows = [(index - middle, np.flatnonzero(row) - middle) for index, row in enumerate(inside) if row.any()]
    return tuple(sorted(((dy, int(dx[0]), int(dx[-1])) for dy, dx in rows), key=lambda row: (abs(row[0]), -row[0])))


@lru_cache(maxsize=16)
def _shapes(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return limits, starts and windows of an image's shapes, as the compiled engine takes them."""
    limit = _limit(height, width)
    radii = list(range(1, math.ceil(limit)))
    # An object of more pixels has a larger tolerance: one limit a whole radius, and none for the last.
    areas = [max(a for a in (100 * r * r - 1, 100 * r * r) if math.ceil(0.1 * math.sqrt(a)) <= r) for r in radii]
    shapes = [*map(shape_windows, map(float, radii)), shape_windows(limit), disk_windows(math.ceil(limit))]
    starts = np.cumsum([0, *map(len, shapes)], dtype=np.int32)
    return np.array([*areas, 2**62], np.int64), starts, np.array([row for shape in shapes for row in shape], np.int32)


def adaptive_counts(prediction: np.ndarray, truth: np.ndarray) -> tuple[int, ...]:
    """Return the eight integers of J, F_dot and F of two (H, W) bool masks, in numpy.

    Returns:
        Intersection and union; boundary pixels of the prediction and how many match by F_dot's tolerance; the same two
        of the ground truth; how many match by F's, of the prediction and of the ground truth.
    """
    intersection, union = int(np.count_nonzero(prediction & truth)), int(np.count_nonzero(prediction | truth))
    edge_p, edge_t = boundary_map(prediction), boundary_map(truth)
    count_p, count_t = int(np.count_nonzero(edge_p)), int(np.count_nonzero(edge_t))
    if count_p == 0 or count_t == 0:
        return intersection, union, count_p, 0, count_t, 0, 0, 0
    height, width = truth.shape
    radius, limit = object_radius(int(np.count_nonzero(truth)), height, width), _limit(height, width)
    close = shape_windows(radius)
    wide = disk_windows(math.ceil(limit)) if radius < limit else close
    by_shape = [(matched(edge_p, edge_t, shape), matched(edge_t, edge_p, shape)) for shape in (close, wide)]
    return intersection, union, count_p, by_shape[0][0], count_t, by_shape[0][1], *by_shape[1]


def _scores(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return J, F and F_dot of rows of eight counts, (N,) float64 in 0..1."""
    j = [(row[0] + 1) / (row[1] + 1) for row in rows]
    f = [f_from_counts(row[2], row[6], row[4], row[7]) for row in rows]
    f_dot = [f_from_counts(*row[2:6]) for row in rows]
    return np.array(j, np.float64), np.array(f, np.float64), np.array(f_dot, np.float64)


def _compiled_rows(prediction: np.ndarray, truth: np.ndarray, ids: bytes) -> Rows:
    engine = compiled_engine()
    height, width = truth.shape
    out = np.zeros((len(ids), 8), np.int64)
    engine.adaptive_counts(prediction, truth, height, width, ids, *_shapes(height, width), out)
    return [tuple(row) for row in out.tolist()]


def mosev2_masks(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return J, F and F_dot of masks.

    Args:
        prediction, truth: (H, W) or (N, H, W) bool, or integers 0 and 1.

    Returns:
        Three float64 arrays in 0..1, (1,) or (N,).

    Raises:
        UsageError: Shapes that differ, or no masks.
    """
    predicted, true = mask_batches(prediction, truth)
    if compiled_engine() is None:
        return _scores([adaptive_counts(p.view(bool), t.view(bool)) for p, t in zip(predicted, true)])
    return _scores([row for p, t in zip(predicted, true) for row in _compiled_rows(p, t, bytes([1]))])


def mosev2_labels(
    prediction: np.ndarray, truth: np.ndarray, objects: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return J, F and F_dot of several objects of two label maps, in one scan where the engine is compiled.

    Args:
        prediction, truth: (H, W) uint8 or uint16 label maps (other integers are converted).
        objects: K ids, each 1 to 65535, none twice.

    Returns:
        Three (K,) float64 in 0..1, in the order of ``objects``.

    Raises:
        UsageError: Shapes that differ, no label maps, or other ids.
    """
    ids = check_objects(prediction, truth, objects)
    maps = label_maps(prediction, truth, ids)
    if maps is None:
        masks = [(prediction == number, truth == number) for number in ids]
        parts = [mosev2_masks(predicted, true) for predicted, true in masks]
        j, f, f_dot = (np.concatenate([np.zeros(0), *(part[column] for part in parts)]) for column in range(3))
        return j, f, f_dot
    return _scores(_compiled_rows(*maps, bytes(ids)))
