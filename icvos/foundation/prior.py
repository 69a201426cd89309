"""The prior mask: how alike each place of the query is to the thing in the supports (PFENet, arXiv 2008.01449).

Without PFENet's min-max normalisation, as DC-SAM uses it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from icvos.errors import UsageError
from icvos.foundation.cpu.matmul import linear

__all__ = ["prior_mask"]

#: Places of a support that are compared at once on the CPU.
BLOCK = 512


def prior_mask(query: Tensor, support: Tensor, mask: Tensor, *, eps: float = 1e-7) -> Tensor:
    """Return, for each place of the query, the greatest cosine to a place of a masked support, averaged over supports.

    Args:
        query: (B, C, h, w) float, deepest features of the query.
        support: (B * n, C, h', w') float, deepest features of the supports, sample by sample.
        mask: (B * n, 1, H, W) float in 0..1; resized bilinearly (corners aligned) to the support's grid. A place
            outside counts as 0, so that no value is negative where any place is outside. Any weight above 0 counts in
            full (but for ``eps``), as a cosine knows no length.
        eps: Added to the product of the norms.

    Returns:
        (B, 1, h, w) float in -1..1.

    Raises:
        UsageError: The counts or channels do not fit.
    """
    batch = len(query)
    count = len(support)
    if not batch or not count or count % batch or count != len(mask):
        raise UsageError(f"{count} supports with {len(mask)} masks for {batch} queries", expected="n of both a query")
    if query.shape[1] != support.shape[1]:
        raise UsageError(f"supports of {support.shape[1]} channels for a query of {query.shape[1]}")
    shots = count // batch
    # Under autocast too: in bfloat16 the eps and most of the cosine's digits would be lost.
    with torch.autocast(query.device.type, enabled=False):
        query, support = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in (query, support))
        weight = mask.to(query.dtype)
        if weight.shape[-2:] != support.shape[-2:]:
            weight = F.interpolate(weight, support.shape[-2:], mode="bilinear", align_corners=True)
        places, shots_places = _places(query), _places(support).unflatten(0, (batch, shots))
        norm = places.norm(dim=2)
        total = torch.zeros_like(norm)
        # A support at a time: the products of all at once would be n * (h * w)^2 floats a query.
        weights = weight.unflatten(0, (batch, shots)).flatten(2)
        for shot, inside in zip(shots_places.unbind(1), weights.unbind(1), strict=True):
            if query.device.type == "cpu":
                greatest = [_greatest(*sample, eps) for sample in zip(shot, inside, places, norm, strict=True)]
                total = total + torch.stack(greatest)
                continue
            masked = shot * inside[:, :, None]
            cosine = masked @ places.mT / (masked.norm(dim=2)[:, :, None] * norm[:, None] + eps)
            total = total + cosine.amax(dim=1)
        return (total / shots).unsqueeze(1).unflatten(2, query.shape[-2:])


def _places(maps: Tensor) -> Tensor:
    """Return (B, C, h, w) as (B, h * w, C), in this order in memory."""
    return maps.flatten(2).mT.contiguous()


def _greatest(support: Tensor, weight: Tensor, query: Tensor, norm: Tensor, eps: float) -> Tensor:
    """Return (Q,) the greatest cosine of (Q, C) to any of (P, C) places; those whose (P,) weight is 0 count as 0."""
    inside = weight.nonzero().flatten()
    greatest = torch.zeros_like(norm) if len(inside) < len(weight) else torch.full_like(norm, -torch.inf)
    # In blocks that stay in the cache from the product to its maximum.
    for places in inside.split(BLOCK) if len(inside) else ():
        chosen = support[places].mul_(weight[places, None])
        cosine = linear(chosen, query).div_((chosen.norm(dim=1)[:, None] * norm).add_(eps))
        greatest = torch.maximum(greatest, cosine.amax(dim=0))
    return greatest
