"""The prototype baseline: its steps on hand-made features, files with a backbone inside, and the rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_weights import tiny_dcsam_file

from baselines.prototype import Fitted, Prototype, PrototypeOptions, backbone_inside, best_threshold
from icvos import Support
from icvos.errors import UsageError, WeightsError
from icvos.foundation.backbones import create_backbone
from icvos.foundation.weights import save_state
from icvos.models.check import check_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_state(path, create_backbone("small").state_dict(), metadata={"backbone": "small"})
    return {"backbone": path}


def model(weights: dict[str, Path], **options: Any) -> Prototype:
    return Prototype(weights=weights, options=PrototypeOptions(size=64, **options))


def test_best_threshold_by_trying_all() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        scores = torch.randn(40, generator=generator)
        inside = scores + torch.randn(40, generator=generator) > 0.5

        def iou(line: float, scores: torch.Tensor = scores, inside: torch.Tensor = inside) -> float:
            chosen = scores > line
            return float((chosen & inside).sum() / (chosen | inside).sum())

        best = max(iou(float(value) - 1e-4) for value in scores)
        assert iou(best_threshold(scores, inside)) == pytest.approx(best)
    assert best_threshold(torch.ones(3), torch.ones(3, dtype=torch.bool)) < 1


def test_pooling_and_scores_by_hand(weights: dict[str, Path]) -> None:
    features = torch.zeros(2, 3, 2, 2)
    features[0, 0, 0], features[0, 1, 1] = 1.0, 2.0
    features[1, 2] = 4.0
    masks = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]], [[[1.0, 0.0], [0.0, 0.0]]]])
    by_support = model(weights)._pooled(features, masks)
    torch.testing.assert_close(by_support.flatten(), torch.tensor([0.5, 0.0, 2.0]), atol=2e-3, rtol=0)
    by_cell = model(weights, pool="cells")._pooled(features, masks)
    torch.testing.assert_close(by_cell.flatten(), torch.tensor([2 / 3, 0.0, 4 / 3]), atol=2e-3, rtol=0)
    axes = [torch.eye(3)[i].view(1, 3, 1, 1) for i in range(3)]
    fitted = Fitted(axes[0], axes[1], 0.0)
    alone = model(weights, background=False).scores(fitted, features[:1])[0, 0]
    assert alone.tolist() == [[1, 1], [0, 0]]
    assert model(weights).scores(fitted, features[:1])[0, 0].tolist() == [[1, 1], [-1, -1]]


@pytest.mark.parametrize("feature", ["top", "deep", "joined"])
def test_finds_the_support_again(weights: dict[str, Path], feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.full((48, 64, 3), 40, np.uint8)
    image[9:30, 20:44] = (230, 30, 90)  # whole cells of the grid below
    mask = np.zeros((48, 64), bool)
    mask[9:30, 20:44] = True
    method = model(weights, feature=feature)
    assert method.features([image, image]).shape[0] == 2

    def colours(images: list[np.ndarray]) -> torch.Tensor:
        """Features that tell the two colours apart, on a grid of 16: a random backbone's hardly do."""
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - 90
        return torch.nn.functional.interpolate(pixels, (16, 16), mode="area")

    monkeypatch.setattr(Prototype, "features", lambda self, images: colours(list(images)))
    found = np.asarray(method.predict(method.fit([Support(image, mask)], seed=0), image).mask)
    assert (found & mask).sum() / (found | mask).sum() > 0.85
    high = model(weights, feature=feature, fit_threshold=False, threshold=5.0)
    assert not np.asarray(high.predict(high.fit([Support(image, mask)], seed=0), image).mask).any()
    nothing = method.predict(method.fit([Support(image, mask & ~mask)], seed=0), image)
    assert not np.asarray(nothing.mask).any() and nothing.confidence == 0


def test_keeps_the_rules(weights: dict[str, Path]) -> None:
    assert not [f for f in check_model(lambda: model(weights)) if f.status == "failed"]


def test_backbones_inside_other_files(weights: dict[str, Path], tmp_path: Path) -> None:
    path = tiny_dcsam_file(tmp_path)
    found = backbone_inside(path)
    assert found["backbone"] == "small" and found["image_size"] == Prototype(weights={"backbone": path}).size
    assert backbone_inside(weights["backbone"]) == {"backbone": "small"}
    with pytest.raises(WeightsError, match="misses"):
        model(weights, backbone="vgg16_bn")
    with pytest.raises(UsageError, match="no backbone 'resnet5'"):
        model(weights, backbone="resnet5")
    with pytest.raises(UsageError, match="32 pixels"):
        Prototype(weights=weights, options=PrototypeOptions(size=8))
