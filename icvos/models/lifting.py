"""Image models on video: frame by frame here; through a tracker in ``baselines.lifting``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from icvos.errors import UsageError
from icvos.models.interface import ImageModel, Model, VideoModel
from icvos.types import Mask, Prediction, Support, Video

__all__ = ["FrameByFrame", "first_mask_use"]


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


def first_mask_use(model: Model) -> Literal["prompt", "support"]:
    """Return how a model takes frame 0's ground truth (``icvos evaluate --oracle first-frame``).

    ``prompt``: it has a method ``segment_from_mask(mask, video, *, seed)``, which tracks a given (H, W) bool mask of
    frame 0 and yields as ``segment`` does (an image model lifted as ``X+sam2``). ``support``: it has none, and gets
    frame 0 and its mask as its one support. A class that sets ``segment_from_mask = None`` takes neither.

    Raises:
        UsageError: It takes neither.
    """
    missing = object()
    if getattr(model, "segment_from_mask", missing) is None:
        name = type(model).info.name
        base = name.partition("@")[0]
        raise UsageError(
            f"'{name}' localises on later frames too, which frame 0's mask cannot replace",
            fix=f"use --model {base} with --oracle" if base != name else "evaluate it without --oracle",
        )
    return "support" if getattr(model, "segment_from_mask", missing) is missing else "prompt"
