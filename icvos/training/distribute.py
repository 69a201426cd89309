"""Processes of a training run: torchrun's variables are read here and nowhere else."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from icvos.errors import IcvosError, UsageError

__all__ = ["RankLostError", "World", "open_world"]

TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others: gloo's own half hour is long for a machine that is gone."""


class RankLostError(IcvosError):
    """Another process of the training ended, or does not answer."""

    exit_status = 1

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(
            f"rank {rank} of {size} lost another process, which ended or gave no answer for {TIMEOUT}",
            fix="see what that one said, and run the same command on every node again to continue",
        )


@dataclass(frozen=True)
class World:
    """This process among those of the run: its rank, how many there are, and its device."""

    rank: int
    size: int
    device: torch.device
    _parallel: list[DistributedDataParallel] = field(default_factory=list, compare=False, repr=False)

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

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return the module with gradients averaged over the ranks; alone, the module itself."""
        if self.size == 1:
            return module
        devices = [self.device.index] if self.device.type == "cuda" else None
        self._parallel.append(DistributedDataParallel(module, device_ids=devices))
        return self._parallel[-1]

    def leave(self) -> None:
        """Let go of everything that holds the process group, so that it ends with the world and not with Python.

        A group that outlives the interpreter has threads that release tensors without one: now and then the process
        then dies at its end (SIGABRT), its work done.
        """
        while self._parallel:
            parallel = self._parallel.pop()
            for holder in ("logger", "reducer", "process_group"):
                setattr(parallel, holder, None)


@contextmanager
def open_world(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, or be alone.

    Args:
        device: ``cpu`` (gloo) or ``cuda`` (nccl, the card of this local rank).

    Raises:
        UsageError: The device is not there.
        RankLostError: Another process is gone.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = torch.device(device)
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("no CUDA device here", fix="train with --device cpu")
        local = int(os.environ.get("LOCAL_RANK", chosen.index or 0))
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"local rank {local} has no card",
                expected=f"at most {torch.cuda.device_count()} processes on this machine",
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    world = World(rank, size, chosen)
    if size > 1:
        # Imported first: its functions' defaults are the group that there is at its import, and would hold it for ever.
        importlib.import_module("torch.distributed.nn")
    try:
        if size > 1:
            dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
        yield world
        world.leave()
    except IcvosError:
        # Raised between collectives. Amid one (any other error) the group would wait for ranks that do not come.
        world.leave()
        raise
    except RuntimeError as error:
        if size > 1 and _is_of_ranks(error):
            raise RankLostError(rank, size) from error
        raise
    finally:
        if size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def _is_of_ranks(error: RuntimeError) -> bool:
    # gloo's errors have no class of their own.
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
