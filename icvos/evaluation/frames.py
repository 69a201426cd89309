"""Frames and ground truth, decoded ahead on threads; memory is a few frames, whatever the video's length."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

from icvos.benchmark import Benchmark
from icvos.images import nearest_resize, resize_image
from icvos.protocols import Protocol

__all__ = ["Ahead", "GroundTruth", "StreamedVideo"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """Items 0..count-1 computed on threads ahead of the one asked for; what was passed is dropped.

    Only who reads forward is read ahead for; a look back at another item costs that item alone.

    Args:
        compute: Returns item ``index``; called on a thread.
        count: How many there are.
        pool: The threads.
        window: How many are under way at most.
    """

    def __init__(self, compute: Callable[[int], T], count: int, pool: ThreadPoolExecutor, window: int = 6) -> None:
        self._compute, self.count, self._pool, self._window = compute, count, pool, window
        self._waiting: dict[int, Future[T]] = {}
        self._recent: deque[int] = deque([-1], maxlen=4)
        self._lock = threading.Lock()

    def get(self, index: int) -> T:
        """Return an item; if the one before it was asked for lately, those that follow are begun."""
        with self._lock:
            if index - 1 in self._recent:
                for old in [key for key in self._waiting if not index <= key < index + self._window]:
                    self._waiting.pop(old).cancel()
                for key in range(index, min(index + self._window, self.count)):
                    if key not in self._waiting:
                        self._waiting[key] = self._pool.submit(self._compute, key)
            if self._recent[0] < 0:
                self._recent.clear()
            self._recent.append(index)
            wanted = self._waiting.pop(index, None)
        return self._compute(index) if wanted is None else wanted.result()

    def close(self) -> None:
        """Drop what is under way."""
        with self._lock:
            for future in self._waiting.values():
                future.cancel()
            self._waiting.clear()


class StreamedVideo:
    """A benchmark's video as models see it (a ``Video``): decoded ahead, at the protocol's size and length.

    ``waited`` is how long the thread that made it has waited for frames: decoding is not the model's time.
    """

    def __init__(
        self, benchmark: Benchmark, video: str, protocol: Protocol, pool: ThreadPoolExecutor, limit: int | None = None
    ) -> None:
        self._source = benchmark.video(video)
        count = len(self._source) if protocol.max_frames is None else min(len(self._source), protocol.max_frames)
        self._count = count if limit is None else min(count, limit)
        self._size = protocol.size
        self._ahead: Ahead[np.ndarray] = Ahead(self._decode, self._count, pool)
        self._thread = threading.get_ident()
        self.waited = 0.0

    def _decode(self, index: int) -> np.ndarray:
        frame = self._source[index]
        return frame if self._size is None else resize_image(frame, self._size)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        return self._size or self._source.size

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> np.ndarray:
        if not -self._count <= index < self._count:
            raise IndexError(f"frame {index} of a video with {self._count}")
        begin = time.perf_counter()
        frame = self._ahead.get(index % self._count)
        if threading.get_ident() == self._thread:
            self.waited += time.perf_counter() - begin
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(self._count):
            yield self[index]

    def close(self) -> None:
        """Drop what is being decoded."""
        self._ahead.close()


class GroundTruth:
    """A (video, category)'s masks, (H, W) bool at the protocol's size, decoded ahead."""

    def __init__(
        self, benchmark: Benchmark, video: str, category: int, protocol: Protocol, pool: ThreadPoolExecutor, count: int
    ) -> None:
        def decode(index: int) -> np.ndarray:
            mask = benchmark.annotation(video, category, index)
            return mask if protocol.size is None else nearest_resize(mask, protocol.size)

        self._ahead: Ahead[np.ndarray] = Ahead(decode, count, pool)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._ahead.get(index)

    def close(self) -> None:
        """Drop what is being decoded."""
        self._ahead.close()
