"""Work on the CPU in pieces that stay in the caches.

Hidden values of 100 MB would come from the system page by page, cleared, at every use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

__all__ = ["at_a_time", "fits_pieces", "in_pieces", "pieces"]

#: Side from which images go through one by one.
LARGE = 512
#: Bytes of a piece's largest array.
PIECE = 16 << 20


def at_a_time(images: Tensor) -> int:
    """Return how many of (B, 3, S, S) images an encoder takes at once: on the CPU large ones would leave the caches."""
    return 1 if images.device.type == "cpu" and images.shape[-1] >= LARGE else max(len(images), 1)


def fits_pieces(images: Tensor, blocks: Iterable[nn.Module]) -> bool:
    """Return whether an encoder may work in pieces: on the CPU, without gradients, its blocks not compiled."""
    if images.device.type != "cpu" or torch.is_grad_enabled():
        return False
    return all(block._compiled_call_impl is None for block in blocks)


def pieces(count: int, values: int) -> Iterator[slice]:
    """Yield slices of ``count`` things that are worked out with ``values`` floats each."""
    each = max(PIECE // (4 * values), 1)
    for start in range(0, count, each):
        yield slice(start, min(start + each, count))


def in_pieces(function: Callable[[Tensor], Tensor], x: Tensor, dim: int, values: int) -> Tensor:
    """Return ``function(x)`` of a function that treats the places along ``dim`` apart, some of them at a time."""
    out: Tensor | None = None
    for piece in pieces(x.shape[dim], values):
        some = function(x.narrow(dim, piece.start, piece.stop - piece.start))
        if some.shape[dim] == x.shape[dim]:
            return some
        if out is None:
            out = some.new_empty((*some.shape[:dim], x.shape[dim], *some.shape[dim + 1 :]))
        out.narrow(dim, piece.start, piece.stop - piece.start).copy_(some)
    return function(x) if out is None else out
