"""A benchmark as a protocol sees it: cut, resized, and compared with its manifest at first read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from icvos.benchmark import Benchmark, Episode, Role
from icvos.files import read_file
from icvos.images import image_size
from icvos.manifest import (
    verify_frame,
    verify_frames,
    verify_mask,
    verify_masks,
    verify_query,
    verify_query_mask,
    verify_supports,
    verify_tables,
)
from icvos.protocols import PROTOCOLS, Protocol
from icvos.types import Support

__all__ = ["Frames", "View"]

Size = tuple[int, int]


class Frames:
    """A video's frames (a ``Video``), or a category's masks on them: read one by one, all of one size.

    Args:
        read: Returns frame ``index``.
        count: How many there are.
        size: (H, W) of each.
    """

    def __init__(self, read: Callable[[int], np.ndarray], count: int, size: Size) -> None:
        self._read, self._indices, self.size = read, range(count), size

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> np.ndarray:
        return self._read(self._indices[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._read(index) for index in self._indices)


class View:
    """A benchmark as a protocol sees it; every file is compared with the manifest before it is first read.

    Args:
        benchmark: Opened; its tables are compared at once.
        protocol: Its size and length; None for everything as it is stored.
        limit_frames: Only the first so many frames of a video, or None.
        frame_by_frame: Compare a frame or mask when it is read; else all of a video are when it is opened, so that none
            fails half-way.

    Attributes:
        benchmark: The benchmark.
        size: (H, W) of all that is returned, or None where each thing has the size at which it is stored.

    Raises:
        BenchmarkError: From here and from each method: a file changed, is missing or is not in the manifest.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        protocol: Protocol | None = None,
        *,
        limit_frames: int | None = None,
        frame_by_frame: bool = False,
    ) -> None:
        verify_tables(benchmark)
        self.benchmark = benchmark
        self._protocol = protocol
        self._frame_by_frame = frame_by_frame
        self.size = None if protocol is None else protocol.size
        limits = (limit_frames, None if protocol is None else protocol.max_frames)
        self._limits = [limit for limit in limits if limit is not None]
        self._supports: dict[tuple[int, str], Support] = {}

    @property
    def protocol(self) -> Protocol:
        """The protocol that it is seen by; ``native`` where all is as it is stored."""
        return PROTOCOLS["native"] if self._protocol is None else self._protocol

    def frame_count(self, episode: Episode) -> int:
        """Return how many frames of an episode there are; 1 of a few-shot query."""
        return 1 if self.benchmark.kind == "image" else self._length(episode.video)

    def scored_frames(self, episode: Episode) -> range:
        """Return which of an episode's frames are scored."""
        count = self.frame_count(episode)
        return range(count) if self._protocol is None else self._protocol.frames(count)

    def stored_size(self, episode: Episode) -> Size | None:
        """Return (H, W) of an episode's ground truth before it is resized, or None where only reading it tells."""
        if self.benchmark.kind == "image":
            return self.benchmark.query_size(episode)
        record = self.benchmark.videos[episode.video]
        return record.height, record.width

    def video(self, name: str) -> Frames:
        """Return a video's frames, (H, W, 3) uint8 RGB."""
        source, count = self.benchmark.video(name), self._length(name)
        if not self._frame_by_frame:
            verify_frames(self.benchmark, name, count)

        def read(index: int) -> np.ndarray:
            if self._frame_by_frame:
                verify_frame(self.benchmark, name, index)
            return self._resize_image(source[index])

        return Frames(read, count, self.size or source.size)

    def truth(self, name: str, category: int) -> Frames:
        """Return a category's ground truth on a video's frames, (H, W) bool."""
        record, count = self.benchmark.videos[name], self._length(name)
        if not self._frame_by_frame:
            verify_masks(self.benchmark, name, category, count)

        def read(index: int) -> np.ndarray:
            if self._frame_by_frame:
                verify_mask(self.benchmark, name, category, index)
            return self._resize_truth(self.benchmark.annotation(name, category, index))

        return Frames(read, count, self.size or (record.height, record.width))

    def supports(self, episode: Episode, shots: int = 1) -> list[Support]:
        """Return the first ``shots`` supports of an episode; each is decoded once for the life of the view."""
        keys = [(episode.category, name) for name in episode.supports[:shots]]
        for key in keys:
            if key not in self._supports:
                self._supports[key] = self.support(*key)
        return [self._supports[key] for key in keys]

    def support(self, category: int, name: str) -> Support:
        """Return a support by its category and image name, decoded anew."""
        verify_supports(self.benchmark, category, name)
        stored = self.benchmark.support(category, name)
        ignore = None if stored.ignore is None else self.resize_mask(stored.ignore)
        return Support(self._resize_image(stored.image), self._resize_truth(stored.mask), ignore)

    def query(self, episode: Episode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a few-shot query: (H, W, 3) uint8 RGB, its mask (H, W) bool, and where to ignore (H, W) bool."""
        verify_query(self.benchmark, episode.category, episode.video)
        image, mask, ignore = self.benchmark.query(episode)
        return self._resize_image(image), self._resize_truth(mask), self.resize_mask(ignore)

    def frame_paths(self, name: str) -> list[Path]:
        """Return the files of a video's frames as they are stored, to be copied."""
        verify_frames(self.benchmark, name, self._length(name))
        return self.benchmark.frame_paths(name)[: self._length(name)]

    def image_path(self, role: Role, category: int, name: str) -> Path:
        """Return the file of a support's or query's image as it is stored; its mask of a category is compared too."""
        verify = verify_supports if role == "supports" else verify_query
        verify(self.benchmark, category, name)
        return self.benchmark.image_path(role, name)

    def labels(self, role: Role, category: int, name: str) -> np.ndarray:
        """Return the mask of a support or query as it is stored: (H, W) uint8, 1 the thing, 255 where to ignore."""
        path = self.image_path(role, category, name)
        return self.benchmark.labels(role, category, name, size=image_size(read_file(path), path))

    def query_truth(self, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
        """Return a few-shot query's mask (H, W) bool and where to ignore (H, W) bool, without reading its image."""
        verify_query_mask(self.benchmark, episode.category, episode.video)
        mask, ignore = self.benchmark.query_truth(episode)
        return self._resize_truth(mask), self.resize_mask(ignore)

    def resize_mask(self, mask: np.ndarray) -> np.ndarray:
        """Return (H, W) bool, a prediction or where to ignore, at the protocol's size."""
        return mask if self.size is None else self.protocol.resizing.mask(mask, self.size)

    def _resize_truth(self, mask: np.ndarray) -> np.ndarray:
        return mask if self.size is None else self.protocol.resizing.truth(mask, self.size)

    def _resize_image(self, image: np.ndarray) -> np.ndarray:
        return image if self.size is None else self.protocol.resizing.image(image, self.size)

    def _length(self, name: str) -> int:
        return min([self.benchmark.videos[name].frames, *self._limits])
