"""Image models on video: frame by frame here; through a tracker in ``baselines.lifting``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from icvos.models.interface import ImageModel, VideoModel
from icvos.types import Mask, Prediction, Support, Video

__all__ = ["FrameByFrame"]


class FrameByFrame(VideoModel):
    """An image model on every frame of a video by itself; ``fit`` is called once an episode."""

    def __init__(self, model: ImageModel) -> None:
        super().__init__(device=model.device, weights=model.weights)
        self.model = model
        self.info = model.info  # type: ignore[misc]

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Mask | Prediction]:
        fitted: Any = self.model.fit(supports, seed=seed)
        for frame in video:
            yield self.model.predict(fitted, frame)
