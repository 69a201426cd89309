"""ResNet's bottleneck blocks, their work on masked maps without the places that cannot matter, and folded norms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from icvos.foundation.cpu.convolution import convolve, fits_convolution, folded

__all__ = ["Bottleneck", "all_bottlenecks", "fold_norms", "masked_bottlenecks"]

#: Rows and columns [top, bottom, left, right).
Box = tuple[int, int, int, int]


class Bottleneck(nn.Module):
    """ResNet's block: 1x1, 3x3 and 1x1 convolutions around which the input goes."""

    def __init__(self, inside: int, width: int, *, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        outside = 4 * width
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if fits_convolution(x) and not self.bn1.training:
            kept = x if self.downsample is None else convolve(x, *_projection(self.downsample))
            x = convolve(x, *_layer(self, 1), relu=True)
            return convolve(convolve(x, *_layer(self, 2), relu=True), *_layer(self, 3), add=kept, relu=True)
        kept = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)).add_(kept))


def all_bottlenecks(layer: nn.Module) -> TypeGuard[nn.Sequential]:
    """Return whether ``masked_bottlenecks`` can run a layer: bottlenecks that keep the grid."""
    blocks = list(layer.children())
    return isinstance(layer, nn.Sequential) and all(
        isinstance(block, Bottleneck) and block.conv2.stride == (1, 1) for block in blocks
    )


def masked_bottlenecks(layer: nn.Sequential, maps: Tensor, masks: Sequence[Tensor]) -> list[Tensor]:
    """Return ``layer(maps * mask)`` for each of several masks, exact inside the mask and 0 outside its box.

    The first block's 1x1 convolutions are linear, so that all masks share them; a block computes only what the mask's
    box can see of it (some 40 % of the work for a thing of a third of the image's sides).

    Args:
        layer: See ``all_bottlenecks``.
        maps: (B, C, h, w) float.
        masks: Of (B, 1, h, w), in {0, 1}.

    Returns:
        For each mask (B, C', h, w).
    """
    blocks = [cast(Bottleneck, block) for block in layer]
    zeros = maps.new_zeros(()).expand(len(maps), blocks[-1].conv3.out_channels, *maps.shape[-2:])
    results = [torch.empty_like(zeros, memory_format=torch.channels_last).zero_() for _ in masks]
    for sample in range(len(maps)):
        chosen = [mask[sample : sample + 1].to(maps.dtype) for mask in masks]
        boxes = [_boxes(mask[0, 0], [_reach(block) for block in blocks]) for mask in chosen]
        seen = [levels[0] for levels in boxes if levels]
        if seen:
            union = (min(x[0] for x in seen), max(x[1] for x in seen), min(x[2] for x in seen), max(x[3] for x in seen))
            shared = _Shared(blocks[0], _cut(maps[sample : sample + 1], union), union)
        for result, mask, levels in zip(results, chosen, boxes):
            if levels:
                x = shared.masked(mask, levels[0], levels[1])
                for block, before, after in zip(blocks[1:], levels[1:], levels[2:]):
                    x = _step(block, x, before, after)
                _cut(result[sample : sample + 1], levels[-1]).copy_(x)
    return results


class _Shared:
    """The first block's 1x1 convolutions of a map before any mask, times the scales of their norms."""

    def __init__(self, block: Bottleneck, maps: Tensor, box: Box) -> None:
        self.block, self.box = block, box
        conv, weight, self.shift = _layer(block, 1)
        self.inner = convolve(maps, conv, weight, None)
        self.around, self.around_shift = maps, None
        if block.downsample is not None:
            conv, weight, self.around_shift = _projection(block.downsample)
            self.around = convolve(maps, conv, weight, None)

    def masked(self, mask: Tensor, before: Box, after: Box) -> Tensor:
        """Return the block's output in the box ``after``, whose inputs lie in ``before``."""
        inner, around = self._of(self.inner, mask, before), self._of(self.around, mask, after)
        if self.shift is not None:
            inner += self.shift[:, None, None]
        return _finish(self.block, inner.relu_(), around, self.around_shift, before, after)

    def _of(self, values: Tensor, mask: Tensor, box: Box) -> Tensor:
        top, _, left, _ = self.box
        return _cut(values, (box[0] - top, box[1] - top, box[2] - left, box[3] - left)) * _cut(mask, box)


def _step(block: Bottleneck, x: Tensor, before: Box, after: Box) -> Tensor:
    """Return a block's output in the box ``after`` from its input in the box ``before``."""
    kept = _cut(x, (after[0] - before[0], after[1] - before[0], after[2] - before[2], after[3] - before[2]))
    if block.downsample is not None:
        kept = convolve(kept, *_projection(block.downsample))
    return _finish(block, convolve(x, *_layer(block, 1), relu=True), kept, None, before, after)


def _finish(block: Bottleneck, x: Tensor, kept: Tensor, shift: Tensor | None, before: Box, after: Box) -> Tensor:
    """Return the output in ``after`` from the first ReLU's in ``before``; zeros stand outside the whole map only.

    What goes around the block is ``kept`` plus ``shift`` (C,).
    """
    reach = _reach(block)
    sides = (
        reach - (after[2] - before[2]),
        reach - (before[3] - after[3]),
        reach - (after[0] - before[0]),
        reach - (before[1] - after[1]),
    )
    if any(sides):
        x = F.pad(x, sides)
    x = convolve(x, *_layer(block, 2), padding=0, relu=True)
    conv, weight, bias = _layer(block, 3)
    if shift is not None:
        bias = shift if bias is None else bias + shift
    return convolve(x, conv, weight, bias, add=kept, relu=True)


def _layer(block: Bottleneck, number: int) -> tuple[nn.Conv2d, Tensor, Tensor | None]:
    """Return one of a block's three convolutions, and its weight and bias with the norm folded in."""
    conv, norm = getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
    return conv, *folded(conv, norm)


def _projection(downsample: nn.Sequential) -> tuple[nn.Conv2d, Tensor, Tensor | None]:
    """Return the same of the convolution that goes around a block."""
    conv, norm = downsample.children()
    return cast(nn.Conv2d, conv), *folded(cast(nn.Conv2d, conv), norm)


def _boxes(mask: Tensor, reaches: Sequence[int]) -> list[Box]:
    """Return the boxes before each block and after the last, outermost first; none for an empty mask."""
    height, width = mask.shape
    rows, columns = mask.any(dim=1).nonzero().flatten().tolist(), mask.any(dim=0).nonzero().flatten().tolist()
    if not rows:
        return []
    boxes = [(rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)]
    for reach in reversed(reaches):
        top, bottom, left, right = boxes[0]
        box = (max(0, top - reach), min(height, bottom + reach), max(0, left - reach), min(width, right + reach))
        boxes.insert(0, box)
    return boxes


def _cut(maps: Tensor, box: Box) -> Tensor:
    return maps[..., box[0] : box[1], box[2] : box[3]]


def _reach(block: Bottleneck) -> int:
    return int(block.conv2.dilation[0])


def fold_norms(module: nn.Module) -> None:
    """Fold each frozen batch norm into the convolution before it, in place; outputs change by rounding only."""
    if isinstance(module, Bottleneck):
        pairs = [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")]
    else:
        names = list(module._modules) if isinstance(module, nn.Sequential) else []
        pairs = list(pairwise(names))
    for conv, norm in pairs:
        first, second = module._modules[conv], module._modules[norm]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            module._modules[conv] = fuse_conv_bn_eval(first, second).requires_grad_(False)
            module._modules[norm] = nn.Identity()
    for child in module.children():
        fold_norms(child)
