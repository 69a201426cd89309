"""J and F of torch tensors on a GPU, without leaving it; the same integers inside as the numpy engines have."""

from __future__ import annotations

import torch
from torch import Tensor

from icvos.metrics import definition

__all__ = ["counts_eager", "jf_torch"]


def jf_torch(prediction: Tensor, truth: Tensor, ignore: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return J and F of (H, W) or (N, H, W) masks as two (N,) float64 tensors on the masks' device."""
    if prediction.device != truth.device:
        truth = truth.to(prediction.device)
    p = prediction.reshape(-1, *prediction.shape[-2:])
    t = truth.reshape(-1, *truth.shape[-2:])
    p, t = p != 0, t != 0
    if ignore is not None:
        keep = ~ignore.reshape(t.shape).to(p.device, torch.bool)
        p, t = p & keep, t & keep
    return _scores(_counts(p, t))


def _counts(p: Tensor, t: Tensor) -> Tensor:
    radius = definition.boundary_radius(*p.shape[-2:])
    if p.numel() == 0:
        return torch.zeros(len(p), 6, dtype=torch.int64, device=p.device)
    if radius <= 254:
        try:
            from icvos.metrics.triton_kernels import counts_triton
        except ImportError:
            pass
        else:
            return counts_triton(p, t, radius)
    return counts_eager(p, t, radius)


def _scores(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Divide (N, 6) counts in float64, each step as ``definition`` does it, so that every bit agrees."""
    inter, union, count_p, match_p, count_t, match_t = counts.double().unbind(dim=1)
    one = torch.ones_like(inter)
    j = torch.where(union > 0, inter / union.clamp(min=1), one)
    precision, recall = match_p / count_p.clamp(min=1), match_t / count_t.clamp(min=1)
    total = precision + recall
    f = torch.where(total > 0, 2 * precision * recall / torch.where(total > 0, total, one), torch.zeros_like(one))
    empty_p, empty_t = count_p == 0, count_t == 0
    f = torch.where(empty_p ^ empty_t, torch.zeros_like(one), f)
    return j, torch.where(empty_p & empty_t, one, f)


def _edges(mask: Tensor) -> Tensor:
    edge = torch.zeros_like(mask)
    edge[:, :, :-1] |= mask[:, :, :-1] != mask[:, :, 1:]
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:, :-1, :-1] |= mask[:, :-1, :-1] != mask[:, 1:, 1:]
    return edge


def _row_distance(edge: Tensor) -> Tensor:
    """Return how far, in its row, each pixel is from the next edge pixel; farther than any disk where there is none."""
    width = edge.shape[2]
    x = torch.arange(width, device=edge.device, dtype=torch.int32)
    none = x.new_tensor(-(1 << 24))
    left = torch.where(edge, x, none).cummax(dim=2).values
    right = torch.where(edge.flip(2), x, none).cummax(dim=2).values.flip(2)
    return torch.minimum(x - left, (width - 1 - x) - right)


def _near(distance: Tensor, radius: int) -> Tensor:
    """Return where an edge pixel lies within the disk, from the distances along rows."""
    height = distance.shape[1]
    near = torch.zeros_like(distance, dtype=torch.bool)
    for dy, half in enumerate(definition.disk_rows(radius)):
        if dy >= height:
            break
        within = distance <= half
        near[:, dy:] |= within[:, : height - dy]
        near[:, : height - dy] |= within[:, dy:]
    return near


def counts_eager(p: Tensor, t: Tensor, radius: int) -> Tensor:
    """Return (N, 6) int64 counts of (N, H, W) bool masks with torch's own operations; no host round trip."""
    edge_p, edge_t = _edges(p), _edges(t)
    near_p, near_t = _near(_row_distance(edge_p), radius), _near(_row_distance(edge_t), radius)
    maps = (p & t, p | t, edge_p, edge_p & near_t, edge_t, edge_t & near_p)
    return torch.stack([m.flatten(1).sum(dim=1) for m in maps], dim=1)
