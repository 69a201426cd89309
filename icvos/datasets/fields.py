"""Records of tensors, and how they come from a loader's worker: in shared memory that is used again.

torch's loader hands over each tensor in shared memory of its own, whose pages the kernel clears, maps and takes back:
where frames are small, that takes longer than reading them. Here all tensors of a batch lie in one block, and its
worker fills the block again once the process that got it has let go of all of them.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

__all__ = ["TensorFields", "by_shared_memory", "mapped", "stacked"]

#: Bytes at which each tensor of a block begins; the first so many say whether the block is in use.
ALIGNED = 64


@dataclass(frozen=True, eq=False)
class TensorFields:
    """Base of typed samples and batches: tensors in them go to the device together, plain values stay as they are."""

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        by_shared_memory(cls)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The fields that are tensors, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def __repr__(self) -> str:
        """Tensors are shown by dtype and shape: their numbers would fill pages."""
        shown = vars(mapped(self, _Outline, Tensor))
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with a function applied to each tensor, those in tuples and lists too."""
        return mapped(self, function, Tensor)

    def to(self, device: torch.device | str) -> Self:
        """Return the same with its tensors on a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """Return the same in pinned memory; torch's loader calls it."""
        return self.map(Tensor.pin_memory)


class _Outline:
    """A tensor as it is shown."""

    def __init__(self, tensor: Tensor) -> None:
        self.text = " ".join((str(tensor.dtype).removeprefix("torch."), str(tuple(tensor.shape))))

    def __repr__(self) -> str:
        return self.text


def mapped(value: Any, function: Callable[[Any], Any], kind: type) -> Any:
    """Return a value with a function applied to all that is of a kind in it: in records, tuples and lists."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, TensorFields):
        return replace(value, **{name: mapped(each, function, kind) for name, each in vars(value).items()})
    if isinstance(value, (tuple, list)):
        parts = [mapped(each, function, kind) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


# ---- from a worker ---------------------------------------------------------------------------------------------------


class _Slot(NamedTuple):
    """Where a tensor lies in a block."""

    offset: int
    size: int
    dtype: torch.dtype
    shape: torch.Size


class _Block:
    """Shared memory of a worker."""

    def __init__(self, size: int) -> None:
        self.file = os.memfd_create("icvos")
        os.ftruncate(self.file, size)
        self.memory = mmap.mmap(self.file, size)
        #: Where any process of this user finds it, without a word to the worker.
        self.path = f"/proc/{os.getpid()}/fd/{self.file}"
        self.lease: weakref.ref[np.ndarray] | None = None

    @property
    def free(self) -> bool:
        """Whether nobody has tensors on it, here or where they were sent to."""
        return not self.memory[0] and (self.lease is None or self.lease() is None)

    def bytes(self) -> Tensor:
        """Return its memory, which is taken until no tensor is on it any more."""
        array = np.frombuffer(self.memory, np.uint8)
        self.lease = weakref.ref(array)
        return torch.from_numpy(array)

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor is on it."""
        array = None if self.lease is None else self.lease()
        return array is not None and tensor.untyped_storage().data_ptr() == array.ctypes.data


_BLOCKS: list[_Block] = []


def _free_block(size: int) -> _Block:
    """Return a block of this worker that nobody uses, of so many bytes or more."""
    free = [block for block in _BLOCKS if block.free]
    for block in free:
        if len(block.memory) >= size:
            return block
    for block in free:  # what has become too small
        os.close(block.file)
        _BLOCKS.remove(block)
    _BLOCKS.append(_Block(size + size // 4))
    return _BLOCKS[-1]


def _slots(shapes: Iterable[tuple[int, torch.dtype, torch.Size]]) -> tuple[list[_Slot], int]:
    """Return where tensors of some bytes, dtypes and shapes lie in a block, and how large that is."""
    slots, end = [], 1
    for size, dtype, shape in shapes:
        slots.append(_Slot(-(-end // ALIGNED) * ALIGNED, size, dtype, shape))
        end = slots[-1].offset + size
    return slots, end


@cache
def _has_blocks() -> bool:
    """Return whether this system has files in memory, and finds them by their process: Linux has and does."""
    try:
        block = _Block(ALIGNED)
        os.close(os.open(block.path, os.O_RDWR))
    except (AttributeError, OSError):
        return False
    os.close(block.file)
    return True


def by_shared_memory(cls: type) -> None:
    """Let what is of a class come from a loader's worker with all its tensors in one block."""
    ForkingPickler.register(cls, _reduce)


def stacked(groups: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Return each group of tensors as one; in a loader's worker all in the block that they are handed over in."""
    if get_worker_info() is None or not _has_blocks():
        return [torch.stack(tuple(group)) for group in groups]
    slots, size = _slots(
        (len(group) * group[0].nbytes, group[0].dtype, torch.Size((len(group), *group[0].shape))) for group in groups
    )
    memory = _free_block(size).bytes()
    return [torch.stack(tuple(group), out=_tensor_in(memory, slot)) for group, slot in zip(groups, slots)]


def _reduce(value: Any) -> Any:
    tensors: list[Tensor] = []
    if get_worker_info() is not None and _has_blocks():
        mapped(value, tensors.append, Tensor)
    if not tensors:  # or not from a worker: as any other object
        return value.__reduce_ex__(4)
    block = next((block for block in _BLOCKS if all(map(block.holds, tensors))), None)
    if block is not None and all(tensor.is_contiguous() for tensor in tensors):
        slots = [_Slot(int(t.storage_offset()) * t.itemsize, t.nbytes, t.dtype, t.shape) for t in tensors]
    else:
        slots, size = _slots((tensor.nbytes, tensor.dtype, tensor.shape) for tensor in tensors)
        block = _free_block(size)
        memory = block.bytes()
        for tensor, slot in zip(tensors, slots):
            _tensor_in(memory, slot).copy_(tensor)
    block.memory[0] = 1
    places = iter(slots)
    return _rebuild, (mapped(value, lambda tensor: next(places), Tensor), block.path, len(block.memory))


def _tensor_in(memory: Tensor, slot: _Slot) -> Tensor:
    return memory[slot.offset : slot.offset + slot.size].view(slot.dtype).view(slot.shape)


def _rebuild(shell: Any, path: str, size: int) -> Any:
    file = os.open(path, os.O_RDWR)
    try:
        memory = mmap.mmap(file, size)
    finally:
        os.close(file)
    array = np.frombuffer(memory, np.uint8)
    # Torch keeps the array for as long as any tensor is on its memory.
    weakref.finalize(array, _release, memory, os.getpid()).atexit = False
    block = torch.from_numpy(array)
    return mapped(shell, lambda slot: _tensor_in(block, slot), _Slot)


def _release(memory: mmap.mmap, process: int) -> None:
    """Tell the worker that a block is free; a copy of the tensors in a forked process tells nothing."""
    if os.getpid() == process:
        memory[0] = 0
