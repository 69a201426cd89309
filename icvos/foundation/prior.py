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
        flat = query.flatten(2)
        norm = flat.norm(dim=1, keepdim=True)
        total = torch.zeros_like(norm)
        # A support at a time: the products of all at once would be n * (h * w)^2 floats a query.
        support_shots = support.unflatten(0, (batch, shots)).flatten(3).unbind(1)
        weights = weight.unflatten(0, (batch, shots)).flatten(3).unbind(1)
        for shot, inside in zip(support_shots, weights, strict=True):
            if query.device.type == "cpu":
                greatest = [_greatest(*sample, eps) for sample in zip(shot, inside, flat, norm, strict=True)]
                total = total + torch.stack(greatest)
                continue
            masked = shot * inside
            product = masked.transpose(1, 2) @ flat
            cosine = product / (masked.norm(dim=1).unsqueeze(2) @ norm + eps)
            total = total + cosine.amax(dim=1, keepdim=True)
        return (total / shots).unflatten(2, query.shape[-2:])


def _greatest(support: Tensor, weight: Tensor, query: Tensor, norm: Tensor, eps: float) -> Tensor:
    """Return (1, Q) the greatest cosine of (C, Q) to any of (C, P) places; those of weight 0 count as 0, for free."""
    inside = weight[0].nonzero().flatten()
    greatest = torch.zeros_like(norm) if len(inside) < len(weight[0]) else torch.full_like(norm, -torch.inf)
    # In blocks that stay in the cache from the product to its maximum.
    for places in inside.split(BLOCK) if len(inside) else ():
        chosen = support.index_select(1, places).mul_(weight[:, places])
        cosine = linear(chosen.t(), query.t()).div_((chosen.norm(dim=0)[:, None] @ norm).add_(eps))
        greatest = torch.maximum(greatest, cosine.amax(dim=0, keepdim=True))
    return greatest
