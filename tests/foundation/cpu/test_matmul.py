"""Matrix products by oneDNN against torch's own: strides, shapes, GELU, attention; and what stays torch's."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from icvos.foundation.cpu import matmul as products  # noqa: E402
from icvos.foundation.cpu.matmul import attend, linear  # noqa: E402


@pytest.fixture(autouse=True)
def _any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LEAST", 0)


def drawn(*shape: int, seed: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
@pytest.mark.parametrize("turned", [True, False], ids=["turned", "rows"])
@pytest.mark.parametrize("shape", [(7, 12), (2, 3, 5, 12), (1, 12), (0, 12)])
def test_equals_torch(bias: bool, gelu: bool, turned: bool, shape: tuple[int, ...]) -> None:
    x, weight = drawn(*shape, seed=1), drawn(9, 12, seed=2)
    if turned:
        x, weight = x.transpose(0, -1).contiguous().transpose(0, -1), weight.t().contiguous().t()
    added = drawn(9, seed=3) if bias else None
    expected = torch.nn.functional.linear(x, weight, added)
    expected = torch.nn.functional.gelu(expected) if gelu else expected
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, added, gelu=gelu), expected, atol=1e-5, rtol=1e-5)


def test_only_plain_products_leave_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(products, "_LINEAR", lambda x, weight, *rest: asked.append(1) or x @ weight.t())
    x, weight = drawn(4, 6, seed=1), drawn(5, 6, seed=2)
    with torch.no_grad():
        linear(x.double(), weight.double())
        linear(x.to("meta"), weight.to("meta"))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert linear(x, weight).dtype == torch.bfloat16
        assert not asked
        linear(x, weight)
        assert asked == [1]
        monkeypatch.setattr(products, "LEAST", 121)
        linear(x, weight)
        monkeypatch.setattr(products, "_LINEAR", None)
        monkeypatch.setattr(products, "LEAST", 0)
        linear(x, weight)
    assert asked == [1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 12), (2, 3, 5, 12)])
def test_gradients_are_torchs(bias: bool, shape: tuple[int, ...]) -> None:
    parts = [drawn(*shape, seed=1), drawn(9, 12, seed=2), *([drawn(9, seed=3)] if bias else [])]
    found = [part.clone().requires_grad_() for part in parts]
    wanted = [part.double().requires_grad_() for part in parts]
    upper = drawn(*shape[:-1], 9, seed=4)
    linear(*found).relu().mul(upper).sum().backward()
    torch.nn.functional.linear(*wanted).relu().mul(upper.double()).sum().backward()
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, atol=1e-5, rtol=1e-5)


def test_second_derivatives_are_torchs() -> None:
    results = []
    for product in (linear, torch.nn.functional.linear):
        x, weight = drawn(4, 6, seed=1).requires_grad_(), drawn(5, 6, seed=2).requires_grad_()
        (slope,) = torch.autograd.grad(product(x, weight).pow(2).sum(), x, create_graph=True)
        slope.pow(2).sum().backward()
        results.append((x.grad, weight.grad))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-5)


def test_frozen_weights_get_no_gradient() -> None:
    x, weight = drawn(4, 6, seed=1).requires_grad_(), drawn(5, 6, seed=2)
    linear(x, weight).sum().backward()
    assert weight.grad is None and torch.allclose(x.grad, weight.sum(dim=0).expand(4, -1), atol=1e-5)
    assert not linear(x.detach(), weight).requires_grad


def test_torch_has_the_operator() -> None:
    """If a torch drops it, all still works at half the speed: this says so."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch is built without oneDNN")
    assert products._LINEAR is not None


@pytest.mark.parametrize("scores", [1, 300, 1 << 30])
def test_attention_is_the_softmax(monkeypatch: pytest.MonkeyPatch, scores: int) -> None:
    monkeypatch.setattr(products, "SCORES", scores)
    queries, keys, values = drawn(150, 8, seed=1), drawn(90, 8, seed=2), drawn(90, 5, seed=3)
    keys[70] *= 100  # one that outweighs the others by far
    strided = torch.stack([keys, values.new_zeros(90, 8)], dim=1)[:, 0]
    expected = torch.softmax((queries @ keys.T).double(), dim=1) @ values.double()
    with torch.no_grad():
        for each in (keys, strided):
            torch.testing.assert_close(attend(queries, each, values).double(), expected, atol=1e-5, rtol=1e-5)
