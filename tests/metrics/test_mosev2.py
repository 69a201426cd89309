"""J, F and F_dot as MOSEv2's own scorer gives them: ``pytest … --golden-dir DIR``."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from shared_data import goldens

from icvos.metrics import frames
from icvos.metrics.definition import boundary_map
from icvos.metrics.mosev2 import mosev2_masks, object_radius
from icvos.protocols import PROTOCOLS


def test_pairs_of_masks(request: pytest.FixtureRequest) -> None:
    """J, F and F_dot of pairs of masks, by the compiled engine and by numpy, from masks and from label maps."""
    folder = goldens(request.config, "mosev2", "pairs.json", "pairs.npz")
    said = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    masks = np.load(folder / "pairs.npz", allow_pickle=False)
    measure = PROTOCOLS["mosev2"].measure
    assert measure.columns == ("J", "F", "F_dot") and said["pairs"]
    for pair in said["pairs"]:
        height, width = pair["size"]
        truth, predicted = (
            np.unpackbits(masks[f"{kind}_{pair['pair']:02d}"], axis=1)[:height, :width].astype(bool)
            for kind in ("gt", "pred")
        )
        expected = pytest.approx((pair["J"], pair["F"], pair["F_dot"]), rel=0, abs=1e-9)
        assert measure(predicted, truth) == expected, pair["pair"]
        # Another object beside it, or beneath it, moves nothing.
        maps = [
            np.where(mask, 7, np.where(np.arange(width) % 5 < 2, 3, 0)).astype(np.uint8) for mask in (predicted, truth)
        ]
        by_labels = measure.of_labels(*maps, [3, 7])
        assert tuple(column[1] for column in by_labels) == expected, pair["pair"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(frames, "_compiled", lambda: None)
            assert measure(predicted, truth) == expected, pair["pair"]
        radius = object_radius(pair["area_gt"], height, width)
        assert radius == pytest.approx(pair["radius_F_dot"], rel=0, abs=1e-9)


def _by_opencv(predicted: np.ndarray, truth: np.ndarray, radius: float) -> float:
    """Return F with the dilation that the public code calls, and its footprint."""
    grid = np.arange(-radius, radius + 1)
    footprint = (grid[:, None] ** 2 + grid[None, :] ** 2 <= radius**2).astype(np.uint8)
    edges = [boundary_map(mask) for mask in (predicted, truth)]
    near = [cv2.dilate(edge.astype(np.uint8), footprint).astype(bool) for edge in edges]
    counts = [int(edge.sum()) for edge in edges]
    if not all(counts):
        return float(not any(counts))
    precision, recall = (edges[0] & near[1]).sum() / counts[0], (edges[1] & near[0]).sum() / counts[1]
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("size", [(2, 2), (20, 24), (40, 48), (48, 55), (1, 60), (48, 64), (60, 60), (120, 160)])
def test_in_small_images_the_shape_is_opencvs(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a diagonal of 73.3 pixels no pixel is in the shape, and OpenCV takes the first of its grid."""
    random = np.random.default_rng(0)
    above_0 = 0
    for number in range(12):
        truth = np.zeros(size, bool)
        top, left = (int(random.integers(0, side)) for side in size)
        truth[top : top + max(1, size[0] // 2), left : left + max(1, size[1] // 2)] = True
        predicted = np.roll(truth, (number % 3 - 1, number % 2), (0, 1))
        radius = object_radius(int(truth.sum()), *size)
        expected = pytest.approx(_by_opencv(predicted, truth, radius), abs=1e-12)
        above_0 += expected != 0.0
        assert mosev2_masks(predicted, truth)[2][0] == expected
        with monkeypatch.context() as patch:
            patch.setattr(frames, "_compiled", lambda: None)
            assert mosev2_masks(predicted, truth)[2][0] == expected
    assert above_0 or min(size) < 3
