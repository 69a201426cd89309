"""Convolutions of frozen layers on the CPU: with its batch norm, a sum and a ReLU each is one pass by oneDNN.

torch gives 1x1 convolutions on one thread to MKL, at half of the speed (``icvos.foundation.cpu.matmul``), and goes over
each map once more for every norm, sum and ReLU.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icvos.foundation.cpu.matmul import fits_product, linear

__all__ = ["Conv1x1", "ConvolutionLayers", "convolve", "fits_convolution", "folded"]

#: Multiplications from which a 1x1 convolution that is trained goes another way: 5 ms.
LEAST = 1 << 28


def _onednn() -> Any:
    """Return the operator that torch's compiler uses for convolutions on the CPU, or None where it is not built in."""
    return getattr(torch.ops.mkldnn, "_convolution_pointwise", None) if torch.backends.mkldnn.is_available() else None


_CONVOLUTION = _onednn()


def fits_convolution(x: Tensor) -> bool:
    """Return whether oneDNN takes it: in single precision on the CPU, without gradients and autocast."""
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    return _CONVOLUTION is not None and x.dtype == torch.float32


def folded(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of the convolution that does what a convolution and its norm do.

    Args:
        conv: The convolution.
        norm: A batch norm, taken in eval mode; any other module counts as the identity.
    """
    if not isinstance(norm, nn.BatchNorm2d):
        return conv.weight, conv.bias
    scale = norm.weight * (cast(Tensor, norm.running_var) + norm.eps).rsqrt()
    mean = cast(Tensor, norm.running_mean)
    shift = norm.bias - (mean if conv.bias is None else mean - conv.bias) * scale
    return conv.weight * scale[:, None, None, None], shift


def convolve(
    x: Tensor,
    conv: nn.Conv2d,
    weight: Tensor,
    bias: Tensor | None,
    *,
    padding: int | None = None,
    add: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Return a convolution, plus ``add`` where there is one, and with ``relu`` cut off below 0.

    Args:
        x: (B, C, h, w) float.
        conv: Has strides, padding (by zeros) and dilation.
        weight: In place of the convolution's own.
        bias: The same.
        padding: The same.
        add: (B, C', h', w') float.
        relu: See above.

    Returns:
        (B, C', h', w') float; with the channels last in memory where ``fits_convolution``.
    """
    around = [int(side) for side in conv.padding] if padding is None else [padding, padding]
    if _CONVOLUTION is None or not fits_convolution(x):
        x = F.conv2d(x, weight, bias, conv.stride, tuple(around), conv.dilation, conv.groups)
        x = x if add is None else x + add
        return F.relu(x) if relu else x
    last = torch.channels_last
    x, weight = x.contiguous(memory_format=last), weight.contiguous(memory_format=last)
    shape = (around, list(conv.stride), list(conv.dilation), conv.groups)
    if add is None:
        return cast(Tensor, _CONVOLUTION(x, weight, bias, *shape, "relu" if relu else "none", [], ""))
    add = add.contiguous(memory_format=last)
    return cast(Tensor, _CONVOLUTION(x, add, weight, bias, *shape, "add", 1.0, "relu" if relu else None, [], ""))


class Conv1x1(nn.Conv2d):
    """A 1x1 convolution; on large maps a product of matrices, with gradients too.

    Args:
        inside: Channels of its input.
        outside: Of its output.
        bias: Whether it has a bias.
    """

    def __init__(self, inside: int, outside: int, *, bias: bool = True) -> None:
        super().__init__(inside, outside, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() * self.out_channels < LEAST or not fits_product(x, self.weight):
            return super().forward(x)
        return linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)


class ConvolutionLayers(nn.Sequential):
    """Layers one after another; frozen ones as ``convolve`` does them: each convolution with its norm and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        if not fits_convolution(x) or any(layer.training for layer in layers if isinstance(layer, nn.BatchNorm2d)):
            return super().forward(x)
        while layers:
            layer = layers.pop(0)
            if not isinstance(layer, nn.Conv2d):
                x = layer(x)
                continue
            norm = layers.pop(0) if layers and isinstance(layers[0], (nn.BatchNorm2d, nn.Identity)) else nn.Identity()
            relu = bool(layers) and isinstance(layers[0], nn.ReLU)
            if relu:
                layers.pop(0)
            x = convolve(x, layer, *folded(layer, norm), relu=relu)
        return x
