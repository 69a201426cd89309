"""PerSAM and PerSAM-F: each step on hand-made features, and the whole on a tiny model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sam_tiny import tiny_sam1
from tiny_weights import tiny_sam2_file

from baselines.persam import DiceFocalSlope, PerSam, PerSamF, fit_mixing
from icvos import Support
from icvos.foundation.load import save_sam
from icvos.foundation.segmenter import ImageFeatures
from icvos.models.check import check_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"sam": tiny_sam2_file(tmp_path_factory.mktemp("weights"))}


def test_similarity_points_at_the_target(weights: dict[str, Path]) -> None:
    model = PerSam(weights=weights)
    grid, width = model.segmenter.grid, model.segmenter.embed_dim
    field = torch.zeros(1, width, grid, grid)
    field[0, 0] = 1.0
    field[0, :, 1, 3] = torch.eye(width)[1] * 5  # the thing: another direction, whatever its length
    field[0, :, 2, 0] = -torch.eye(width)[1]
    similarity, full = model._similarity(ImageFeatures(field), torch.eye(width)[1:2] * 7, (64, 64))
    assert float(similarity[1, 3]) == pytest.approx(1) and float(similarity[2, 0]) == pytest.approx(-1)
    assert int(similarity.argmax()) == 1 * grid + 3
    x, y = model._extreme(full, largest=True)
    cell = 64 // grid
    assert (x // cell, y // cell) == (3, 1)
    x, y = model._extreme(full, largest=False)
    assert (x // cell, y // cell) == (0, 2)


def test_target_is_the_mean_of_kept_cells_and_f_mixes_in_the_maximum(weights: dict[str, Path]) -> None:
    cells = torch.tensor([[1.0, 4.0], [3.0, 0.0]])
    assert PerSam(weights=weights)._vector(cells).tolist() == [[2.0, 2.0]]
    assert PerSamF(weights=weights, steps=1)._vector(cells).tolist() == [[2.5, 3.0]]


def test_guide_is_one_sigma_a_unit(weights: dict[str, Path]) -> None:
    model = PerSam(weights=weights)
    grid = torch.arange(16.0).reshape(4, 4)
    guide = model._guide(grid, grid, torch.ones(1, 8))
    expected = torch.sigmoid((grid - grid.mean()) / grid.std()).reshape(1, 1, 1, 16)
    torch.testing.assert_close(guide.attention, expected)
    assert guide.target.shape == (1, 1, 8)


def test_box_is_tight(weights: dict[str, Path]) -> None:
    model = PerSam(weights=weights)
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[10:20, 30:41] = True
    assert model._box(mask, (64, 64)).tolist() == [[30, 10, 40, 19]]
    assert model._box(torch.zeros(64, 64, dtype=torch.bool), (64, 64)).tolist() == [[0, 0, 63, 63]]


def test_mixing_finds_the_mask_that_is_right() -> None:
    truth = (torch.arange(400) % 7 < 3).float()
    right = (truth * 2 - 1) * 4
    noise = torch.randn(2, 400, generator=torch.Generator().manual_seed(0)) * 4
    for place in range(3):
        three = torch.stack([noise[0], noise[1]])
        three = torch.cat([three[:place], right[None], three[place:]])
        weights = fit_mixing([three], [truth], steps=1000, lr=1e-3)
        assert int(weights.argmax()) == place and float(weights.sum()) == pytest.approx(1, abs=1e-5)


def test_the_slope_of_the_fitted_loss_is_what_autograd_finds() -> None:
    generator = torch.Generator().manual_seed(3)
    logit = (torch.randn(500, generator=generator, dtype=torch.float64) * 6).requires_grad_()
    truth = (torch.rand(500, generator=generator) > 0.8).double()
    chance = logit.sigmoid()
    dice = 1 - (2 * (chance * truth).sum() + 1) / (chance.sum() + truth.sum() + 1)
    cross = F.binary_cross_entropy_with_logits(logit, truth, reduction="none")
    right = torch.where(truth > 0, chance, 1 - chance)
    (dice + (torch.where(truth > 0, 0.25, 0.75) * (1 - right) ** 2 * cross).mean()).backward()
    assert logit.grad is not None
    torch.testing.assert_close(DiceFocalSlope(truth)(logit.detach()), logit.grad, rtol=1e-9, atol=1e-12)
    far = DiceFocalSlope(torch.tensor([1.0, 0.0, 1.0]))(torch.tensor([-500.0, 500.0, 0.0]))
    assert torch.isfinite(far).all()


@pytest.mark.parametrize("cls", [PerSam, PerSamF])
def test_keeps_the_rules(cls: type, weights: dict[str, Path]) -> None:
    options = {"steps": 3} if cls is PerSamF else {}
    findings = check_model(lambda: cls(weights=weights, **options), skip=("memory",))
    assert not [f for f in findings if f.status == "failed"]


def test_a_thing_smaller_than_a_cell_and_no_thing_at_all(weights: dict[str, Path]) -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    mask = np.zeros((300, 300), bool)
    model = PerSam(weights=weights)
    assert model.fit([Support(image, mask)], seed=0) is None
    assert not model.predict(None, image).mask.any()
    mask[7, 9] = True
    fitted = model.fit([Support(image, mask)], seed=0)
    assert fitted is not None and torch.isfinite(fitted.vector).all()
    assert np.asarray(model.predict(fitted, image).mask).shape == (300, 300)


@pytest.mark.parametrize("size", [(60, 120), (120, 60), (37, 120), (120, 120), (31, 29)])
@pytest.mark.parametrize("family", ["sam1", "sam2"])
def test_a_thing_that_no_cell_shows_is_the_cell_it_covers_most(
    weights: dict[str, Path], tmp_path: Path, family: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAM 1 pads what is not square with zeros, above the negative values that an image without white comes to."""
    if family == "sam1":
        save_sam(tmp_path / "sam1.safetensors", tiny_sam1())
        weights = {"sam": tmp_path / "sam1.safetensors"}
    model = PerSam(weights=weights)
    segmenter, grid = model.segmenter, model.segmenter.grid
    numbers = torch.arange(float(grid * grid)).view(1, 1, grid, grid)
    monkeypatch.setattr(segmenter, "encode", lambda image: ImageFeatures(numbers))  # a cell's feature is its number
    cell = segmenter.image_size / grid
    height, width = segmenter.place(size).content
    lost = 0
    for row, column in ((0, 0), (size[0] - 1, 0), (0, size[1] - 1), (size[0] - 1, size[1] - 1), (17, 13)):
        mask = np.zeros(size, bool)
        mask[row, column] = True
        black = segmenter.preprocess(np.repeat((mask * np.uint8(255))[..., None], 3, axis=2))
        lost += not (F.interpolate(black, (grid, grid), mode="bilinear")[:, 0] > 0).any()
        found = model._cells(Support(np.zeros((*size, 3), np.uint8), mask))
        assert found is not None
        middle = (row + 0.5) * height / size[0] // cell, (column + 0.5) * width / size[1] // cell
        assert found[1].tolist() == [[middle[0] * grid + middle[1]]]
    assert lost  # else nothing was asked of the fallback
