"""The precision that a training computes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["computing"]


@contextmanager
def computing(precision: str, device: str) -> Iterator[None]:
    """Compute in ``fp32``, or in ``bf16`` where autocast does.

    In bfloat16 on the CPU attention is plain products: the backward pass of PyTorch's fused kernel takes 3 to 10 times
    as long there (torch 2.14). Without gradients the fused kernel is mostly as fast or faster, and takes less
    memory, so that inference keeps it.

    Args:
        precision: ``fp32`` or ``bf16``.
        device: Type of the device, ``cpu`` or ``cuda``.
    """
    if precision != "bf16":
        yield
        return
    # torch before 2.10 keeps weights that were cast without gradients (DC-SAM's first decoding, a backbone's masked
    # top) and takes them again where they are trained: they would get none. Hence no cache.
    with torch.autocast(device, dtype=torch.bfloat16, cache_enabled=False):
        if device != "cpu":
            yield
            return
        before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # a flag of all devices
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)
