"""Streams of frames that are computed without gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch

__all__ = ["without_gradients"]

T = TypeVar("T")


def without_gradients(stream: Iterator[T]) -> Iterator[T]:
    """Compute each item of a stream without gradients; between items the caller's mode is as it was."""
    while True:
        with torch.no_grad():
            try:
                item = next(stream)
            except StopIteration:
                return
        yield item
