"""The counts of J and F in two Triton kernels: distances to boundaries along rows, then the disk, row by row of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from icvos.metrics.definition import disk_rows

__all__ = ["counts_triton"]

_FAR = tl.constexpr(255)


@triton.jit
def _least(a, b):  # type: ignore[no-untyped-def]
    return tl.minimum(a, b)


@triton.jit
def _most(a, b):  # type: ignore[no-untyped-def]
    return tl.maximum(a, b)


@triton.jit
def _edge_distance(mask, row, below, x, inside, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """One row's labels, edges, and the distance along the row to the nearest edge pixel, at most 255."""
    last = width - 1
    here = tl.load(mask + row + x, mask=inside, other=0)
    right = tl.load(mask + row + tl.minimum(x + 1, last), mask=inside, other=0)
    under = tl.load(mask + below + x, mask=inside, other=0)
    across = tl.load(mask + below + tl.minimum(x + 1, last), mask=inside, other=0)
    edge = inside & ((here != right) | (here != under) | (here != across))
    before = tl.associative_scan(tl.where(edge, x, -65536), 0, _most)
    after = tl.associative_scan(tl.where(edge, x, 131072), 0, _least, reverse=True)
    distance = tl.minimum(tl.minimum(x - before, after - x), _FAR)
    return here, edge, distance


@triton.jit
def _rows_kernel(p, t, far_p, far_t, sums, height, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    line = tl.program_id(0)
    y = line % height
    x = tl.arange(0, BLOCK)
    inside = x < width
    row = line.to(tl.int64) * width
    # The last row is its own lower neighbour, the last column its own right one: neither counts then.
    below = row + tl.where(y + 1 < height, width, 0)
    here_p, edge_p, distance_p = _edge_distance(p, row, below, x, inside, width, BLOCK)
    here_t, edge_t, distance_t = _edge_distance(t, row, below, x, inside, width, BLOCK)
    tl.store(far_p + row + x, distance_p.to(tl.uint8), mask=inside)
    tl.store(far_t + row + x, distance_t.to(tl.uint8), mask=inside)
    row_sums = sums + line.to(tl.int64) * 4
    tl.store(row_sums, tl.sum((here_p & here_t).to(tl.int32)))
    tl.store(row_sums + 1, tl.sum((here_p | here_t).to(tl.int32)))
    tl.store(row_sums + 2, tl.sum(edge_p.to(tl.int32)))
    tl.store(row_sums + 3, tl.sum(edge_t.to(tl.int32)))


@triton.jit
def _disk_kernel(far_p, far_t, halves, sums, height, width, radius, blocks, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    program = tl.program_id(0)
    line = program // blocks
    y = line % height
    x = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = x < width
    row = line.to(tl.int64) * width
    edge_p = tl.load(far_p + row + x, mask=inside, other=255) == 0
    edge_t = tl.load(far_t + row + x, mask=inside, other=255) == 0
    wait_p, wait_t = edge_p, edge_t
    dy = 0
    # Few blocks hold a boundary, and most of their pixels match near by.
    left = tl.sum((wait_p | wait_t).to(tl.int32))
    while (dy <= radius) & (left > 0):
        half = tl.load(halves + dy)
        if y >= dy:
            wait_p &= tl.load(far_t + row - dy * width + x, mask=inside, other=255).to(tl.int32) > half
            wait_t &= tl.load(far_p + row - dy * width + x, mask=inside, other=255).to(tl.int32) > half
        if y + dy < height:
            wait_p &= tl.load(far_t + row + dy * width + x, mask=inside, other=255).to(tl.int32) > half
            wait_t &= tl.load(far_p + row + dy * width + x, mask=inside, other=255).to(tl.int32) > half
        left = tl.sum((wait_p | wait_t).to(tl.int32))
        dy += 1
    block_sums = sums + program.to(tl.int64) * 2
    tl.store(block_sums, tl.sum((edge_p & ~wait_p).to(tl.int32)))
    tl.store(block_sums + 1, tl.sum((edge_t & ~wait_t).to(tl.int32)))


@lru_cache(maxsize=64)
def _halves(radius: int, device: torch.device) -> Tensor:
    return torch.tensor(disk_rows(radius), dtype=torch.int32, device=device)


def counts_triton(p: Tensor, t: Tensor, radius: int) -> Tensor:
    """Return (N, 6) int64 counts of (N, H, W) bool masks on one GPU; ``radius`` at most 254.

    No host round trip; the work memory is two bytes a pixel.
    """
    p, t = p.contiguous(), t.contiguous()
    count, height, width = p.shape
    device: Any = p.device
    far_p = torch.empty(p.shape, dtype=torch.uint8, device=device)
    far_t = torch.empty(p.shape, dtype=torch.uint8, device=device)
    lines = count * height
    rows = torch.empty((lines, 4), dtype=torch.int32, device=device)
    halves = _halves(radius, device)
    block = max(triton.next_power_of_2(width), 32)
    _rows_kernel[(lines,)](
        p.view(torch.uint8),
        t.view(torch.uint8),
        far_p,
        far_t,
        rows,
        height,
        width,
        BLOCK=block,
        num_warps=4 if block <= 1024 else 8,
    )
    piece = min(block, 128)
    blocks = -(-width // piece)
    matches = torch.empty((lines * blocks, 2), dtype=torch.int32, device=device)
    _disk_kernel[(lines * blocks,)](
        far_p, far_t, halves, matches, height, width, radius, blocks, BLOCK=piece, num_warps=1
    )
    area = rows.view(count, height, 4).sum(dim=1)
    match = matches.view(count, height * blocks, 2).sum(dim=1)
    return torch.stack([area[:, 0], area[:, 1], area[:, 2], match[:, 0], area[:, 3], match[:, 1]], dim=1)
