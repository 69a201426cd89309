"""Frames, decoded ahead on threads; memory is a few of them, whatever the video's length."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

from icvos.runs.times import Stopwatch
from icvos.types import Video

__all__ = ["Ahead", "StreamedVideo"]

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
    """A video as models see it (a ``Video``): decoded ahead.

    Attributes:
        watch: Counts to ``decoding`` what the thread that made it waits for frames: that is not the model's time,
            unless it asks for a frame again.
        first_asked: When a frame was first asked for, by ``time.perf_counter``, or None.
    """

    def __init__(self, source: Video, pool: ThreadPoolExecutor, watch: Stopwatch | None = None) -> None:
        self.watch = watch or Stopwatch()
        self.size = source.size
        self._indices = range(len(source))
        self._ahead: Ahead[np.ndarray] = Ahead(source.__getitem__, len(source), pool)
        self._thread = threading.get_ident()
        self.first_asked: float | None = None
        self._asked = bytearray(len(source))

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> np.ndarray:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of a video with {len(self)}")
        if self.first_asked is None:
            self.first_asked = time.perf_counter()
        if threading.get_ident() != self._thread or self._asked[index]:
            return self._ahead.get(self._indices[index])
        with self.watch.part("decoding"):
            frame = self._ahead.get(self._indices[index])
        self._asked[index] = 1
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in self._indices:
            yield self[index]

    def close(self) -> None:
        """Drop what is being decoded."""
        self._ahead.close()
