"""The frozen episodes of a built benchmark as training samples: whole videos decoded where indexed, clips, queries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from icvos.benchmark import Benchmark, Episode, load_benchmark
from icvos.datasets.base import EpochDataset, check_size
from icvos.datasets.samples import EpisodeSample, SupportSample
from icvos.errors import UsageError
from icvos.images import SQUEEZED
from icvos.protocols import Protocol, get_protocol
from icvos.types import Support
from icvos.view import View

__all__ = ["EpisodeDataset", "LazyFrames"]


class LazyFrames:
    """A video's frames, or a category's masks on them, as tensors that are decoded where they are indexed.

    ``frames[3]`` is (H, W, 3) uint8 RGB, or (H, W) bool of masks; ``frames[2:6]`` is (4, H, W, 3). Each file is
    compared with the benchmark's manifest before it is first read.

    Args:
        view: The benchmark.
        video: The video's name.
        category: The masks', or None for the frames.
    """

    def __init__(self, view: View, video: str, category: int | None = None) -> None:
        self._key = (view, video, category)
        self._read = view.video(video) if category is None else view.truth(video, category)

    def __reduce__(self) -> tuple[Any, ...]:
        view, video, category = self._key
        benchmark = view.benchmark
        return _opened_again, (benchmark.root, benchmark.manifest_sha256, view.protocol, video, category)

    def __repr__(self) -> str:
        return f"LazyFrames {tuple(self.shape)}"

    @property
    def shape(self) -> torch.Size:
        """That of all of it together: (T, H, W, 3), or (T, H, W) of masks."""
        return torch.Size((len(self._read), *self._read.size, *((3,) if self._key[2] is None else ())))

    def __len__(self) -> int:
        return len(self._read)

    @overload
    def __getitem__(self, index: int, /) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice, /) -> Tensor: ...

    def __getitem__(self, index: int | slice, /) -> Tensor:
        if isinstance(index, slice):
            return self.frames(range(len(self))[index])
        return torch.from_numpy(self._read[index])

    def __iter__(self) -> Iterator[Tensor]:
        return map(torch.from_numpy, self._read)

    def frames(self, indices: Sequence[int]) -> Tensor:
        """Return some of them as one tensor, each decoded once."""
        out = np.empty((len(indices), *self.shape[1:]), np.uint8 if self._key[2] is None else bool)
        first: dict[int, int] = {}
        for place, index in enumerate(indices):
            out[place] = out[first[index]] if index in first else self._read[index]
            first.setdefault(index, place)
        return torch.from_numpy(out)


@lru_cache(maxsize=4)
def _open_view(root: Path, manifest: str, protocol: Protocol) -> View:
    """Return a benchmark in a process that its videos were sent to; the manifest tells one that was built anew."""
    return View(load_benchmark(root), protocol, frame_by_frame=True)


def _opened_again(root: Path, manifest: str, protocol: Protocol, video: str, category: int | None) -> LazyFrames:
    return LazyFrames(_open_view(root, manifest, protocol), video, category)


class EpisodeDataset(EpochDataset):
    """The frozen episodes of a built benchmark: of videos, or of few-shot images.

    A sample is an episode. Each file is compared with the benchmark's manifest before it is first read.

    Args:
        benchmark: Opened, or its folder.
        protocol: Name of the protocol by which it is seen: its size, its frames and, of a few-shot benchmark, its
            episodes; by default that by which it is evaluated.
        shots: Supports of an episode, the first so many.
        frames: Frames of a clip, drawn anew in every epoch. None gives whole videos, decoded where they are indexed.
        stride: Frames from one of a clip to the next, where the video is long enough; of one that has fewer than
            ``frames`` the last comes again.
        size: Side of the squares that images are squeezed to, pixels; None for the protocol's size or, where that has
            none, the stored one.
        seed: Of the clips.
        episodes: Some of ``benchmark.episodes`` or their ids, where not all are wanted: those of training categories,
            say.

    Raises:
        UsageError: A number is too small, the protocol does not fit, no episode has so many supports, or the benchmark
            is one of semi-supervised VOS.
        BenchmarkError: It is broken, or its tables changed since it was built.
    """

    def __init__(
        self,
        benchmark: Benchmark | str | os.PathLike[str],
        protocol: str | None = None,
        *,
        shots: int = 1,
        frames: int | None = None,
        stride: int = 1,
        size: int | None = None,
        seed: int = 0,
        episodes: Sequence[Episode | str] | None = None,
    ) -> None:
        super().__init__()
        self.benchmark = benchmark if isinstance(benchmark, Benchmark) else load_benchmark(benchmark)
        for name, value in (("shots", shots), ("frames", frames), ("stride", stride)):
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}", expected="1 or more")
        self.shots, self.frames, self.stride, self.size, self.seed = shots, frames, stride, check_size(size), seed
        if self.benchmark.vos:
            raise UsageError(
                f"'{self.benchmark.name}' is a benchmark of semi-supervised VOS: its episodes have no supports",
                where=self.benchmark.root,
                expected="one of videos with supports, or of few-shot images",
            )
        image = self.benchmark.kind == "image"
        if image and frames not in (None, 1):
            raise UsageError(
                f"clips of {frames} frames, where '{self.benchmark.name}' is of images", fix="leave frames out"
            )
        seen_by = get_protocol(protocol or self.benchmark.usual_protocol, self.benchmark.kind)
        if size is not None:
            seen_by = replace(seen_by, size=(size, size), resizing=SQUEEZED)
        known = {e.id: e for e in self.benchmark.episodes if not image or e.protocol == seen_by.name}
        wanted = self.benchmark.episodes if episodes is None else episodes
        # An id that is none is refused with what it may have been meant for.
        chosen = [(known.get(e) or self.benchmark.episode(e)) if isinstance(e, str) else e for e in wanted]
        self.episodes = tuple(e for e in chosen if not image or e.protocol == seen_by.name)
        if not self.episodes:
            raise UsageError(
                f"no episodes of protocol '{seen_by.name}'" if image else "no episodes", where=self.benchmark.root
            )
        self.benchmark.check_shots(self.episodes, shots)
        self._view = View(self.benchmark, seen_by, frame_by_frame=True)

    def __len__(self) -> int:
        return len(self.episodes)

    def get(self, epoch: int, index: int) -> EpisodeSample:
        """Return an episode: with a clip, with its whole video, or with its query image."""
        episode = self.episodes[index]
        shown = episode.supports[: self.shots]
        frames, masks, ignores, indices = (
            self._query(episode) if self.benchmark.kind == "image" else self._video(episode, epoch, index)
        )
        return EpisodeSample(
            tuple(_support_sample(self._view.support(episode.category, name)) for name in shown),
            frames,
            masks,
            ignores,
            indices,
            category=episode.category,
            name=episode.video,
            support_names=shown,
            id=episode.id,
        )

    def _query(self, episode: Episode) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        image, mask, ignore = (torch.from_numpy(array)[None] for array in self._view.query(episode))
        return image, mask, ignore, torch.zeros(1, dtype=torch.int64)

    def _video(
        self, episode: Episode, epoch: int, index: int
    ) -> tuple[Tensor | LazyFrames, Tensor | LazyFrames, None, Tensor]:
        frames = LazyFrames(self._view, episode.video)
        masks = LazyFrames(self._view, episode.video, episode.category)
        if self.frames is None:
            return frames, masks, None, torch.arange(len(frames))
        chosen = self._clip(len(frames), np.random.default_rng([self.seed, 53, epoch, index]))
        return frames.frames(chosen), masks.frames(chosen), None, torch.tensor(chosen)

    def _clip(self, length: int, generator: np.random.Generator) -> list[int]:
        """Return which frames a clip is made of: the stride shrinks where a video is too short for it."""
        assert self.frames is not None
        stride = min(self.stride, max((length - 1) // max(self.frames - 1, 1), 1))
        start = int(generator.integers(max(length - stride * (self.frames - 1), 1)))
        return [min(start + stride * step, length - 1) for step in range(self.frames)]


def _support_sample(support: Support) -> SupportSample:
    ignore = np.zeros(support.size, bool) if support.ignore is None else support.ignore
    return SupportSample(*(torch.from_numpy(array) for array in (support.image, support.mask, ignore)))
