"""Work on the CPU in pieces that stay in the caches.

Hidden values of 100 MB would come from the system page by page, cleared, at every use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

__all__ = ["fits_pieces", "pieces"]

#: Bytes of a piece's largest array.
PIECE = 16 << 20


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
