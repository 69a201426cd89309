"""What the data sets share: an item is a pure function of (seed, epoch, index), and the epoch reaches every worker."""

from __future__ import annotations

import operator
from abc import abstractmethod
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from icvos.datasets.samples import EpisodeSample, Labelled
from icvos.errors import UsageError
from icvos.images import squeezed
from icvos.processes import keep_memory

__all__ = ["EpochDataset", "check_size", "in_square"]


class EpochDataset(Dataset[EpisodeSample]):
    """A map-style data set of episodes whose items are drawn anew in every epoch.

    It is picklable, holds no open file, and is what ``icvos.training`` calls ``Examples``.
    """

    def __init__(self) -> None:
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        # Already shared where a worker was sent it; a copy that lay in a file is not.
        self._epoch.share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that items are of."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next items are of, to persistent workers too; call it before the loader is iterated."""
        self._epoch.fill_(epoch)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def get(self, epoch: int, index: int) -> EpisodeSample:
        """Return a sample of an epoch by its index, 0 up to the length.

        Raises:
            InputError: A file is missing, broken, or changed since the benchmark was built.
        """

    def __getitem__(self, index: int) -> EpisodeSample:
        """Return a sample of the epoch that is set; the index may be negative, as in lists.

        Raises:
            IndexError: There is none.
            InputError: As of ``get``.
        """
        number = operator.index(index)
        number += len(self) if number < 0 else 0
        if not 0 <= number < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        if get_worker_info() is not None:
            _begin_worker()
        return self.get(self.epoch, number)


@cache
def _begin_worker() -> None:
    """Let a loader's worker keep the memory of a frame for the next, and leave the other cores to its neighbours."""
    import cv2

    keep_memory()
    cv2.setNumThreads(0)


def check_size(size: int | None) -> int | None:
    """Return the side of squares, or None.

    Raises:
        UsageError: It is no number of pixels.
    """
    if size is not None and size < 1:
        raise UsageError(f"size is {size}", expected="pixels of a side, 1 or more")
    return size


def in_square(image: np.ndarray, labels: np.ndarray, size: int | None) -> Labelled:
    """Return a labelled image squeezed to a square of a side; as it is where that is None."""
    return (image, labels) if size is None else squeezed(image, labels, size)
