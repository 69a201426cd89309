"""ResNet's bottleneck blocks, their work on masked maps without the places that cannot matter, and folded norms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

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
    shape = (len(maps), blocks[-1].conv3.out_channels, *maps.shape[-2:])
    results = [maps.new_zeros(shape) for _ in masks]
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
                    x = _step(block, x, before, after, maps.shape[-2:])
                _cut(result[sample : sample + 1], levels[-1]).copy_(x)
    return results


class _Shared:
    """The first block's convolutions of a map before any mask."""

    def __init__(self, block: Bottleneck, maps: Tensor, box: Box) -> None:
        self.block, self.box = block, box
        self.inner = F.conv2d(maps, block.conv1.weight)
        self.around = maps if block.downsample is None else F.conv2d(maps, _first(block.downsample).weight)

    def masked(self, mask: Tensor, before: Box, after: Box) -> Tensor:
        """Return the block's output in the box ``after``, whose inputs lie in ``before``."""
        block = self.block
        inner = block.bn1(self._of(self.inner, mask, before, block.conv1))
        around = self._of(self.around, mask, after, None if block.downsample is None else _first(block.downsample))
        if block.downsample is not None:
            around = block.downsample[1](around)
        return _finish(block, inner, around, before, after, mask.shape[-2:])

    def _of(self, values: Tensor, mask: Tensor, box: Box, conv: nn.Conv2d | None) -> Tensor:
        top, _, left, _ = self.box
        inside = (box[0] - top, box[1] - top, box[2] - left, box[3] - left)
        values = _cut(values, inside) * _cut(mask, box)
        return values if conv is None or conv.bias is None else values.add_(conv.bias[:, None, None])


def _step(block: Bottleneck, x: Tensor, before: Box, after: Box, grid: torch.Size) -> Tensor:
    """Return a block's output in the box ``after`` from its input in the box ``before``."""
    kept = _cut(x, (after[0] - before[0], after[1] - before[0], after[2] - before[2], after[3] - before[2]))
    if block.downsample is not None:
        kept = block.downsample(kept)
    return _finish(block, block.bn1(block.conv1(x)), kept, before, after, grid)


def _finish(block: Bottleneck, x: Tensor, kept: Tensor, before: Box, after: Box, grid: torch.Size) -> Tensor:
    """Return the output in ``after`` from the first norm's in ``before``; zeros stand outside the whole map only."""
    reach = _reach(block)
    x = block.relu(x)
    sides = (
        reach - (after[2] - before[2]),
        reach - (before[3] - after[3]),
        reach - (after[0] - before[0]),
        reach - (before[1] - after[1]),
    )
    if any(sides):
        x = F.pad(x, sides)
    x = F.conv2d(x, block.conv2.weight, block.conv2.bias, dilation=block.conv2.dilation)
    return block.relu(block.bn3(block.conv3(block.relu(block.bn2(x)))).add_(kept))


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


def _first(layers: nn.Module) -> nn.Conv2d:
    return cast(nn.Conv2d, next(layers.children()))


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
