"""EfficientNet-Lite2: shapes, TensorFlow's padding, the published file's names, golden values with the package."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from baselines.heads import open_backbone
from icvos.errors import MissingExtraError, WeightsError
from icvos.foundation import efficientnet_lite
from icvos.foundation.backbones import create_backbone, load_backbone
from icvos.foundation.efficientnet_lite import own_key, packaged_weights
from icvos.foundation.pixels import to_float

NAME = "efficientnet-lite2"


@pytest.fixture(scope="module")
def published() -> Path:
    try:
        return packaged_weights("this test")
    except MissingExtraError:
        pytest.skip("needs the extra lite")


@pytest.mark.parametrize(("side", "cells"), [(64, (8, 4, 2)), (260, (33, 17, 9)), (33, (5, 3, 2))])
def test_shapes(side: int, cells: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        backbone = create_backbone(NAME)
    features = backbone(torch.empty(1, 3, side, side, device="meta"), top=True)
    assert features.top is not None and backbone.channels == (48, 120)
    found = [tuple(x.shape[1:]) for x in (features.middle, features.deep, features.top)]
    assert found == [(c, n, n) for c, n in zip((48, 120, 352), cells, strict=True)]


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 2), (9, 3, 2), (8, 5, 2), (7, 5, 1)])
def test_padding_is_tensorflows(side: int, kernel: int, stride: int) -> None:
    """The first output cell of a convolution of ones counts the input cells under it: the odd one is after."""
    layer = efficientnet_lite._SameConv(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(layer.weight)
    cells = -(-side // stride)
    before = max((cells - 1) * stride + kernel - side, 0) // 2
    out = layer(torch.ones(1, 1, side, side))
    assert out.shape[-2:] == (cells, cells)
    assert out[0, 0, 0, 0].item() == (kernel - before) ** 2


def test_rescales_to_its_own_range() -> None:
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 1, 3, 1).expand(1, 1, 3, 3)
    values = efficientnet_lite._Rescale()(to_float(pixels))
    torch.testing.assert_close(values[0, 1, 0], torch.tensor([-127 / 128, 0.0, 1.0]), atol=1e-5, rtol=0)


def test_names() -> None:
    assert own_key("_conv_stem.weight") == "layer0.1.weight"
    assert own_key("_blocks.0._bn2.bias") == "layer0.4.project.1.bias"
    assert own_key("_blocks.1._expand_conv.weight") == "layer1.0.expand.0.weight"
    assert own_key("_blocks.20._project_conv.weight") == "layer4.5.project.0.weight"
    for other in ("_blocks.21._bn0.bias", "_blocks.x._bn0.bias", "_blocks.1._se_reduce.weight", "layer4.0.weight", ""):
        assert own_key(other) == other


def test_published_weights(published: Path) -> None:
    """Equal to efficientnet_lite_pytorch 0.1.0 within 3e-5 when these values were noted."""
    backbone = open_backbone(NAME, {}, published)
    image = torch.randint(0, 256, (1, 260, 260, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = backbone(to_float(image), top=True)
    golden = (
        (maps.middle, -0.1224557, 7.3262126, [6.0360918, -0.0458269, -11.8180981]),
        (maps.deep, -0.2214073, 4.2002699, [6.3578410, -4.7839847, -6.3431053]),
        (maps.top, -0.0891420, 1.8901045, [-0.8422217, -2.2077043, 0.9318647]),
    )
    for values, mean, deviation, cells in golden:
        assert values.double().mean().item() == pytest.approx(mean, abs=1e-4)
        assert values.double().std().item() == pytest.approx(deviation, abs=1e-4)
        assert values[0, :3, 2, 3].tolist() == pytest.approx(cells, abs=1e-3)


def test_loads_strictly() -> None:
    backbone = create_backbone(NAME)
    state = dict(backbone.state_dict())
    load_backbone(backbone, {**state, "_fc.bias": torch.zeros(1000), "_conv_head.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"unknown _blocks\.21\._bn0\.bias"):
        load_backbone(backbone, {**state, "_blocks.21._bn0.bias": torch.zeros(3)})
    del state["layer1.0.expand.0.weight"]
    with pytest.raises(WeightsError, match=r"misses layer1\.0\.expand\.0\.weight"):
        load_backbone(backbone, state)


def test_without_the_package_or_with_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        def locate_file(self, name: str) -> Path:
            return tmp_path / name

    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(efficientnet_lite, "distribution", absent)
    with pytest.raises(MissingExtraError, match=re.escape("prototype needs the package efficientnet-lite2-pytorch")):
        packaged_weights("prototype")
    monkeypatch.setattr(efficientnet_lite, "distribution", lambda name: Installed())
    path = tmp_path / efficientnet_lite.FILE
    for write in (False, True):
        if write:
            path.parent.mkdir(parents=True)
            path.write_bytes(b"another file")
        with pytest.raises(WeightsError, match="missing or changed"):
            packaged_weights("prototype")
