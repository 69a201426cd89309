"""Matrix products on the CPU by oneDNN.

torch leaves them to MKL, which uses half of the vector units of other vendors than its own; oneDNN, which torch has for
its convolutions, asks what the processor can do. The same numbers in single precision but for the order of sums.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["attend", "fits_product", "linear", "pays_product", "project"]

#: Multiplications from which it pays to ask for another library.
LEAST = 1 << 20
#: Scores of places that are held at a time: 8 MB.
SCORES = 1 << 21


def _onednn() -> Any:
    """Return the operator that torch's compiler uses for linear layers on the CPU, or None where it is not built in."""
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


_LINEAR = _onednn()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """Return ``F.linear(x, weight, bias)``, of any strides, and where asked its GELU.

    Under autocast, in other precisions and on other devices it is torch's own.
    """
    if not pays_product(x, weight):
        x = F.linear(x, weight, bias)
        return F.gelu(x) if gelu else x
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (x, weight, bias)):
        product: Tensor = _Product.apply(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], len(weight))
        return F.gelu(product) if gelu else product
    return _product(x, weight, bias, gelu=gelu)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    after = ("gelu", "none") if gelu else ("none", "")
    return cast(Tensor, _LINEAR(x, weight, bias, after[0], [], after[1]))


class _Product(torch.autograd.Function):
    """A linear layer of (N, C) rows with its derivatives, which are such products again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            linear(gradient, weight.t()) if wanted[0] else None,
            linear(gradient.t(), x.t()) if wanted[1] else None,
            gradient.sum(dim=0) if wanted[2] else None,
        )


def project(layer: nn.Linear, x: Tensor, *, gelu: bool = False) -> Tensor:
    """Return ``layer(x)`` by ``linear``."""
    return linear(x, layer.weight, layer.bias, gelu=gelu)


def fits_product(x: Tensor, weight: Tensor) -> bool:
    """Return whether a product is one in single precision on the CPU, without autocast."""
    if _LINEAR is None or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    return x.dtype == weight.dtype == torch.float32


def pays_product(x: Tensor, weight: Tensor) -> bool:
    """Return whether a product of (..., C) and (C', C, ...) fits, and is large enough to go to oneDNN."""
    return x.numel() * len(weight) >= LEAST and fits_product(x, weight)


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return softmax(queries keys^T) values, (N, V), of (N, C) scaled queries, (M, C) keys and (M, V) values.

    Some queries at a time, so that their scores stay in the caches.
    """
    keys, turned = keys.contiguous(), values.t().contiguous()
    out = queries.new_empty(len(queries), values.shape[1])
    each = max(SCORES // len(keys), 64)
    for start in range(0, len(queries), each):
        scores = linear(queries[start : start + each], keys)
        torch.softmax(scores, dim=1, out=scores)
        out[start : start + each] = linear(scores, turned)
    return out
