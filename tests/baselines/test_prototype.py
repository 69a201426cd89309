"""The prototype baseline: its steps on hand-made features, files with a backbone inside, and the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tiny_weights import tiny_dcsam_file

from baselines.prototype import Fitted, Prototype, PrototypeOptions, backbone_inside, best_threshold
from baselines.self_support import follow_edges, look_again, stretch
from icvos import Support
from icvos.cli import icvos as command
from icvos.errors import MissingExtraError, UsageError, WeightsError
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
    for changes, words in (({"size": 8}, "32 pixels"), ({"size": 10**9}, "to 4,096"), ({"threshold": np.nan}, "nan")):
        with pytest.raises(UsageError, match=words):
            Prototype(weights=weights, options=PrototypeOptions(**changes))


@pytest.mark.parametrize("size", ["abc", [64], None, 10**9, True, 64.5])
def test_a_backbone_inside_says_a_size_that_is_none(size: object, tmp_path: Path) -> None:
    record = json.dumps({"config": {"backbone": "small", "image_size": size}})
    save_state(tmp_path / "odd.safetensors", {"layer0.weight": torch.ones(2)}, metadata={"model": record})
    with pytest.raises(WeightsError, match="image_size of the backbone inside"):
        backbone_inside(tmp_path / "odd.safetensors")


# --------------------------------------------------------------------------------- with weights from the registry


@pytest.fixture(scope="module")
def lite() -> Prototype:
    try:
        return Prototype(options=PrototypeOptions(backbone="efficientnet-lite2"))
    except MissingExtraError:
        pytest.skip("needs the extra lite")


def photograph(x: int, y: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a striped disc on a noisy ground, and its mask."""
    generator = np.random.default_rng(x)
    rows, columns = np.mgrid[:240, :320]
    mask = (rows - y) ** 2 + (columns - x) ** 2 < 50**2
    image = generator.integers(90, 130, (240, 320, 3), dtype=np.uint8)
    image[mask] = np.where((columns // 8 % 2)[mask][:, None], (220, 160, 30), (40, 30, 20))
    return image, mask


def test_lite_finds_its_weights_and_settings(lite: Prototype) -> None:
    assert lite.weights["backbone"].name == "efficientnet-lite2-9656183e.pth"
    assert (lite.feature, lite.size, lite.self_support, lite.edges) == ("levels", 640, True, True)
    on_demo = Prototype(weights=Prototype.demo_weights(), options=PrototypeOptions(backbone="efficientnet-lite2"))
    assert on_demo.weights == lite.weights
    with pytest.raises(UsageError, match="needs weights: backbone") as raised:
        Prototype()
    assert "efficientnet-lite2" in str(raised.value)


def test_other_backbones_keep_their_settings(weights: dict[str, Path]) -> None:
    plain = model(weights)
    assert (plain.feature, plain.self_support, plain.edges) == ("top", False, False)
    with pytest.raises(UsageError, match="span"):
        model(weights, span=1.0)


def test_lite_follows_the_edges_and_repeats(lite: Prototype) -> None:
    image, mask = photograph(120, 110)
    other, truth = photograph(210, 140)
    fitted = lite.fit([Support(image, mask)], seed=0)
    found = lite.predict(fitted, other)
    inside = np.asarray(found.mask)
    assert (inside & truth).sum() / (inside | truth).sum() > 0.8
    assert found.confidence is not None and found.confidence > 0
    again = lite.predict(fitted, other)
    np.testing.assert_array_equal(inside, np.asarray(again.mask))
    coarse = Prototype(options=PrototypeOptions(backbone="efficientnet-lite2", edges="off")).predict(fitted, other)
    assert (np.asarray(coarse.mask) == (np.asarray(coarse.score) > 0)).all()


def test_look_again_by_hand() -> None:
    """Two cells like the support's thing lead to a third that only resembles them; flat scores stay finite."""
    features = torch.zeros(1, 3, 1, 8)
    features[0, 0, 0, :2], features[0, 1, 0, :3], features[0, 2, 0, 3:] = 1.0, 1.0, 1.0
    thing = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    first = torch.nn.functional.cosine_similarity(features, thing, dim=1)[:, None]
    scores = look_again(features, thing, first)[0, 0, 0]
    assert first[0, 0, 0, 2] == first[0, 0, 0, 5] and scores[0] > scores[2] > scores[5] + 0.5
    assert look_again(features * 0 + 1, thing, torch.zeros(1, 1, 1, 8)).isfinite().all()
    line = stretch(torch.arange(1001.0).view(1, 1, 1, -1))
    assert line.flatten()[500] == 0 and line.flatten()[995] == pytest.approx(1)


def test_edges_need_something_sure() -> None:
    image, mask = photograph(120, 110)
    unsure = np.where(mask, 0.7, 0.2).astype(np.float32)
    np.testing.assert_array_equal(follow_edges(unsure, image, 0.55), mask)
    wide = np.asarray(cv2.blur(mask.astype(np.float32), (41, 41)))
    cut = follow_edges(wide, image, 0.55)
    assert (cut & mask).sum() / (cut | mask).sum() > max(
        0.9, ((wide > 0.55) & mask).sum() / ((wide > 0.55) | mask).sum()
    )


def test_segments_a_video_by_one_photograph(lite: Prototype, tmp_path: Path) -> None:
    image, mask = photograph(120, 110)
    Image.fromarray(image).save(tmp_path / "disc.png")
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    writer = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    truths = []
    for step in range(3):
        frame, truth = photograph(150 + 30 * step, 130)
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        truths.append(truth)
    writer.release()
    words = ["segment", "--support", str(tmp_path / "disc.png"), str(tmp_path / "mask.png"), "--video"]
    words += [str(tmp_path / "walk.avi"), "--model", "prototype", "--set", "backbone=efficientnet-lite2"]
    result = CliRunner().invoke(command, [*words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    masks = [np.array(Image.open(path)) > 0 for path in sorted((tmp_path / "out/masks").rglob("*.png"))]
    assert len(masks) == 3
    for found, truth in zip(masks, truths, strict=True):
        assert (found & truth).sum() / (found | truth).sum() > 0.7
