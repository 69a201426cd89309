"""The floors: methods that look at no frame. A method that does not beat them has learned nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from icvos import ModelInfo, Support, Video, VideoModel

__all__ = ["Empty", "Full", "SupportMask"]


class Empty(VideoModel):
    """Nothing, on every frame."""

    info = ModelInfo(name="empty", version="1", licence="Apache-2.0")

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[np.ndarray]:
        for _ in range(len(video)):
            yield np.zeros(video.size, dtype=bool)


class Full(VideoModel):
    """Everything, on every frame."""

    info = ModelInfo(name="full", version="1", licence="Apache-2.0")

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[np.ndarray]:
        for _ in range(len(video)):
            yield np.ones(video.size, dtype=bool)


class SupportMask(VideoModel):
    """The first support's mask, stretched onto every frame by nearest neighbour."""

    info = ModelInfo(name="support-mask", version="1", licence="Apache-2.0")

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[np.ndarray]:
        mask = supports[0].mask
        height, width = video.size
        rows = np.arange(height) * mask.shape[0] // height
        columns = np.arange(width) * mask.shape[1] // width
        stretched = mask[rows[:, None], columns[None, :]]
        for _ in range(len(video)):
            yield stretched
