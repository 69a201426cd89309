"""Small holes are those of OpenCV's components, and filling them is the package's ``fill_holes_in_mask_scores``."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from holes_stand_in import connected_components  # noqa: E402

from icvos.errors import UsageError  # noqa: E402
from icvos.foundation.holes import FILLED, check_area, fill_holes, small_components  # noqa: E402


def small_by_opencv(mask: np.ndarray, area: int) -> np.ndarray:
    labels, areas = connected_components(torch.from_numpy(mask)[:, None])
    return ((labels > 0) & (areas <= area))[:, 0].numpy()


def spiral(size: int) -> np.ndarray:
    """Return a one pixel wide line that winds inwards with a gap of one pixel: one component, as long as it gets."""
    mask = np.zeros((size, size), bool)
    row, column, down, right = 0, -1, 0, 1
    while True:
        moved = 0
        while 0 <= row + down < size and 0 <= column + right < size:
            after = row + 2 * down, column + 2 * right
            if 0 <= after[0] < size and 0 <= after[1] < size and mask[after]:
                break
            row, column, moved = row + down, column + right, moved + 1
            mask[row, column] = True
        if moved < 2:
            return mask
        down, right = right, -down


def snake(size: int, period: int) -> np.ndarray:
    """Return full rows, joined at alternate ends."""
    mask = np.zeros((size, size), bool)
    mask[::period] = True
    for number, row in enumerate(range(0, size - period, period)):
        mask[row : row + period, -1 if number % 2 == 0 else 0] = True
    return mask


def diagonals(size: int) -> np.ndarray:
    """Return diagonal runs of growing length, which 8-connectivity alone joins, apart from each other."""
    mask = np.zeros((size, size), bool)
    row = 0
    for length in range(1, size):
        if row + length > size:
            return mask
        index = np.arange(length)
        mask[row + index, index if length % 2 else length - 1 - index] = True
        row += length + 1
    return mask


def blobs(size: int) -> np.ndarray:
    """Return lines and squares of 1 to 12 pixels along all four borders and in the corners."""
    mask = np.zeros((size, size), bool)
    column = 0
    for length in range(1, 13):
        if column + length <= size:
            mask[0, column : column + length] = mask[column : column + length, -1] = True
            mask[-1, size - column - length : size - column] = True
        column += length + 1
    mask[size // 2 : size // 2 + 3, :3] = True
    mask[size // 2, 10:20:2] = mask[size // 2 + 1, 11:20:2] = True
    return mask


SHAPES: dict[str, np.ndarray] = {
    "empty": np.zeros((20, 20), bool),
    "full": np.ones((20, 20), bool),
    "one pixel": np.eye(20, dtype=bool) & (np.arange(20) == 7),
    "full of 2x4": np.ones((2, 4), bool),
    "chequered": np.indices((31, 30)).sum(axis=0) % 2 == 0,
    "spiral": spiral(41),
    "spiral's gap": ~spiral(41),
    "mirrored spiral": spiral(41)[::-1, ::-1].copy(),
    "snake": snake(40, 2),
    "wide snake": snake(40, 5),
    "snake's gap": ~snake(40, 3),
    "diagonals": diagonals(64),
    "blobs": blobs(64),
    "holes of blobs": ~blobs(64),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("area", [1, 2, 7, 8, 9, 400])
def test_shapes(name: str, area: int) -> None:
    mask = SHAPES[name]
    turned = [mask, mask.T, mask[:, ::-1], mask[::-1]]
    for each in turned:
        actual = small_components(torch.from_numpy(each.copy()), area).numpy()
        assert np.array_equal(actual, small_by_opencv(each[None].copy(), area)[0])


def test_shapes_hold_components_on_both_sides_of_the_area() -> None:
    """The shapes would tell a wrong area: components of 7, 8 and 9 pixels, and lines far longer."""
    areas = {
        int(area)
        for mask in SHAPES.values()
        for area in cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2][1:, cv2.CC_STAT_AREA]
    }
    assert {1, 2, 7, 8, 9} <= areas and max(areas) > 400
    line = cv2.connectedComponentsWithStats(spiral(41).astype(np.uint8), connectivity=8)[2]
    assert len(line) == 2 and line[1, cv2.CC_STAT_AREA] > 800


@pytest.mark.parametrize("density", [0.02, 0.1, 0.2, 0.3, 0.41, 0.6, 0.9])
@pytest.mark.parametrize("area", [1, 3, 8, 50])
def test_random_masks_of_several_objects(density: float, area: int) -> None:
    mask = np.random.default_rng(int(1000 * density) + area).random((5, 96, 70)) < density
    expected = small_by_opencv(mask, area)
    assert expected.any() or density > 0.5
    assert np.array_equal(small_components(torch.from_numpy(mask), area).numpy(), expected)
    stacked = torch.from_numpy(mask)[:, None]
    assert np.array_equal(small_components(stacked, area)[:, 0].numpy(), expected)


@pytest.mark.parametrize("smooth", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("area", [1, 8, 30])
def test_filling_is_the_packages(smooth: float, area: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAM 2's own function, with OpenCV's components in place of those of its compiled extension."""
    misc = pytest.importorskip("sam2.utils.misc")
    monkeypatch.setattr(misc, "get_connected_components", connected_components)
    noise = np.random.default_rng(5).normal(size=(3, 1, 128, 128)).astype(np.float32)
    if smooth:
        noise = np.stack([cv2.GaussianBlur(each[0], (0, 0), smooth)[None] for each in noise])
    logits = torch.from_numpy(10 * noise)
    logits[0, 0, 3, 3], logits[1, 0, 5, 5], logits[2] = 0.0, float("nan"), -1024.0
    logits[2, 0, 60:80, 60:80] = 5.0
    logits[2, 0, 66:68, 66:68] = -3.0
    expected = misc.fill_holes_in_mask_scores(logits, area)
    actual = fill_holes(logits, area)
    assert torch.equal(actual.nan_to_num(7.0), expected.nan_to_num(7.0)) and actual.dtype == logits.dtype
    changed = ~actual.isclose(logits, equal_nan=True)
    assert changed.any() and (actual[changed] == FILLED).all()


def test_nothing_is_filled_where_it_is_off_and_gradients_pass() -> None:
    logits = torch.full((1, 1, 8, 8), 2.0)
    logits[0, 0, 3, 3:5] = -2.0
    assert fill_holes(logits, 0) is logits and torch.equal(fill_holes(logits, 1), logits)
    logits.requires_grad_()
    filled = fill_holes(logits, 2)
    assert (filled > 0).all()
    filled.sum().backward()
    assert logits.grad is not None and logits.grad.sum() == 62 and (logits.grad[0, 0, 3, 3:5] == 0).all()


@pytest.mark.parametrize("area", [-1, 8.0, True, "8", None])
def test_an_area_that_is_none_is_refused(area: Any) -> None:
    with pytest.raises(UsageError, match="a whole number; 0 fills none"):
        check_area(area)


@pytest.mark.gpu
def test_the_gpu_finds_what_the_cpu_does() -> None:
    mask = torch.from_numpy(np.random.default_rng(0).random((4, 1, 256, 256)) < 0.3)
    assert torch.equal(small_components(mask.cuda(), 8).cpu(), small_components(mask, 8))
