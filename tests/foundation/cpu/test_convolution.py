"""Convolutions with their norms, sums and ReLUs in one pass, against torch's layers one after another."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from icvos.foundation.cpu import convolution  # noqa: E402
from icvos.foundation.cpu.convolution import Conv1x1, ConvolutionLayers, convolve, folded  # noqa: E402


def drawn(*shape: int, seed: int = 1) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def norm(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels).eval()
    for number, values in enumerate((layer.weight.data, layer.bias.data, layer.running_mean)):
        values.copy_(drawn(channels, seed=number))
    layer.running_var.copy_(drawn(channels, seed=5).abs() + 0.5)
    return layer


@pytest.mark.parametrize("kernel", [(1, 1, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 4, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("layout", ["first", "last", "cut"])
def test_one_pass_is_the_layers_one_after_another(
    kernel: tuple[int, int, int, int], bias: bool, summed: bool, relu: bool, layout: str
) -> None:
    size, stride, padding, dilation = kernel
    conv, after = nn.Conv2d(6, 8, size, stride, padding, dilation, bias=bias), norm(8)
    x = drawn(2, 6, 14, 15)
    if layout == "last":
        x = x.contiguous(memory_format=torch.channels_last)
    if layout == "cut":
        x = x.contiguous(memory_format=torch.channels_last)[:, :, 2:13, 1:12]
    with torch.no_grad():
        wanted = after(conv(x))
        add = drawn(*wanted.shape, seed=7) if summed else None
        wanted = wanted if add is None else wanted + add
        wanted = wanted.relu() if relu else wanted
        found = convolve(x, conv, *folded(conv, after), add=add, relu=relu)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    # With gradients torch's own are taken, from the same weights.
    found = convolve(x, conv, *folded(conv, after), add=add, relu=relu)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_layers_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms and ReLUs are taken in where they stand after a convolution; the names of the weights stay."""
    plain = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1, bias=False), norm(4), nn.ReLU(inplace=True)),
        *(nn.MaxPool2d(2), nn.Conv2d(4, 5, 1), nn.ReLU(), nn.Conv2d(5, 5, 1), norm(5)),
    ).eval()
    layers = ConvolutionLayers(*plain)
    assert list(layers.state_dict()) == list(plain.state_dict())
    x = drawn(2, 3, 10, 12)
    asked = []
    real = convolution.convolve
    monkeypatch.setattr(convolution, "convolve", lambda *args, **how: asked.append(how["relu"]) or real(*args, **how))
    with torch.no_grad():
        torch.testing.assert_close(layers(x), plain(x), atol=1e-5, rtol=1e-5)
    assert asked == [True, True, False]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        layers(x)
    layers(x)
    with torch.no_grad():
        plain.train()  # norms over the batch learn from it
        layers(x)
    assert len(asked) == 3 and int(plain[1].num_batches_tracked) == 1


@pytest.mark.parametrize("bias", [True, False])
def test_1x1_convolutions_are_torchs_with_their_gradients(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    layer = Conv1x1(6, 5, bias=bias)
    results = []
    for least in (0, convolution.LEAST):  # as a product of matrices, and as torch does it
        monkeypatch.setattr(convolution, "LEAST", least)
        x = drawn(2, 6, 7, 9).requires_grad_()
        layer.zero_grad()
        out = nn.ReLU(inplace=True)(layer(x))
        (out * drawn(2, 5, 7, 9, seed=2)).sum().backward()
        results.append([out, x.grad, *(parameter.grad for parameter in layer.parameters())])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_torch_has_the_operator() -> None:
    """If a torch drops it, all still works at half the speed: this says so."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch is built without oneDNN")
    assert convolution._CONVOLUTION is not None
