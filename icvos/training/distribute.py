"""Processes of a training run: torchrun's variables are read here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from icvos.errors import UsageError

__all__ = ["World", "open_world"]


@dataclass(frozen=True)
class World:
    """This process among those of the run: its rank, how many there are, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the (picklable) values of all ranks, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank."""
        if self.size == 1:
            return flag
        total = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(total)
        return bool(total.item())

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def open_world(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, or be alone.

    Args:
        device: ``cpu`` (gloo) or ``cuda`` (nccl, the card of this local rank).

    Raises:
        UsageError: The device is not there.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    place = torch.device(device)
    if place.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("no CUDA device here", fix="train with --device cpu")
        local = int(os.environ.get("LOCAL_RANK", place.index or 0))
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"local rank {local} has no card",
                expected=f"at most {torch.cuda.device_count()} processes on this machine",
            )
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    if size > 1:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield World(rank, size, place)
    finally:
        if size > 1 and dist.is_initialized():
            dist.destroy_process_group()
