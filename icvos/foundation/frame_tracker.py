"""What trackers of any network have in common: what marks objects, what they say of a frame, and going through one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icvos.errors import UsageError
from icvos.foundation.segmenter import resize_logits
from icvos.types import Video

__all__ = ["FrameTracker", "Prompt", "TrackedFrame"]


@dataclass(frozen=True)
class Prompt:
    """What marks N objects on a frame: masks, or points and boxes, or ready-made embeddings.

    Attributes:
        masks: (N, H, W) or (N, 1, H, W) bool or float 0..1, of any size. An empty one says: not there.
        points: ((N, K, 2) float (x, y) in pixels of the model's input, (N, K) labels: 1 inside, 0 outside, -1 none).
        boxes: (N, 4) float (x0, y0, x1, y1) in pixels of the model's input.
        embeddings: (N, T, C) sparse tokens; the decoder sees exactly these.
        recent: The frame is remembered as a tracked one: later ones push it out.
    """

    masks: Tensor | None = None
    points: tuple[Tensor, Tensor] | None = None
    boxes: Tensor | None = None
    embeddings: Tensor | None = None
    recent: bool = False

    def __post_init__(self) -> None:
        kinds = [self.masks is not None, self.points is not None or self.boxes is not None]
        if sum([*kinds, self.embeddings is not None]) != 1:
            raise UsageError("a prompt is masks, or points and boxes, or embeddings", expected="exactly one kind")
        if self.masks is not None and self.masks.ndim not in (3, 4):
            raise UsageError(f"mask prompts of shape {tuple(self.masks.shape)}", expected="(N, H, W)")

    def __len__(self) -> int:
        """Return N, the number of objects."""
        parts = (self.masks, self.boxes, self.embeddings, self.points[0] if self.points is not None else None)
        return next(len(part) for part in parts if part is not None)


@dataclass(frozen=True)
class TrackedFrame:
    """N objects on one frame.

    Attributes:
        index: Of the frame, from 0.
        logits: (N, 1, 4h, 4w) float at low resolution; -1024 where the object is judged absent.
        object_score: (N, 1) logit that the object is there.
        iou: (N, 1) predicted IoU of the mask.
    """

    index: int
    logits: Tensor
    object_score: Tensor
    iou: Tensor

    def resized(self, size: tuple[int, int]) -> Tensor:
        """Return the logits as (N, 1, H, W)."""
        return resize_logits(self.logits, size)

    def masks(self, size: tuple[int, int]) -> Tensor:
        """Return (N, H, W) bool masks."""
        return self.resized(size)[:, 0] > 0

    def objects(self, size: tuple[int, int]) -> Tensor:
        """Return (N, H, W) bool masks of which none overlaps another: the highest logit keeps a pixel.

        Of equal ones the first does. It is the ``non_overlap_masks`` of the package's predictor.
        """
        logits = self.resized(size)[:, 0]
        numbers = torch.arange(len(logits), device=logits.device)[:, None, None]
        return (logits.argmax(dim=0) == numbers) & (logits > 0)


class FrameTracker(ABC):
    """Tracks objects through a stream of frames: what trackers of any network have in common.

    Attributes:
        segmenter: The network, which has a ``device``.
    """

    segmenter: Any

    @abstractmethod
    def encode(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Yield the features of each frame."""

    @abstractmethod
    def start(self, *, num_frames: int | None = None, size: tuple[int, int] | None = None) -> Any:
        """Return an empty memory for a video of so many frames of (H, W), where they are known."""

    @abstractmethod
    def step(self, bank: Any, features: Any, *, prompt: Prompt | None = None) -> TrackedFrame:
        """Track the next frame and remember it."""

    def track(
        self,
        frames: Iterable[Any],
        prompt: Prompt,
        *,
        num_frames: int | None = None,
        size: tuple[int, int] | None = None,
        reprompt: dict[int, Prompt] | None = None,
    ) -> Iterator[TrackedFrame]:
        """Yield every frame in order, the first from its prompt.

        Args:
            frames: As for ``encode``.
            prompt: On frame 0.
            num_frames: Their number where known. The package scales its time codes by it under 16 frames.
            size: (H, W) of the video, for a policy that looks at masks of that size.
            reprompt: Prompts of the same objects on later frames, by frame.
        """
        bank = self.start(num_frames=num_frames, size=size)
        prompts = {**(reprompt or {}), 0: prompt}
        for features in self.encode(frames):
            yield self.step(bank, features, prompt=prompts.get(bank.index))

    def track_objects(self, masks: Sequence[np.ndarray], video: Video) -> Iterator[list[Tensor]]:
        """Yield the (H, W) bool masks of several objects on every frame; none overlaps another.

        Args:
            masks: (H, W) bool of each on frame 0.
            video: Its frames.
        """
        prompt = Prompt(masks=torch.from_numpy(np.stack(masks)).to(self.segmenter.device).float())
        for frame in self.track(video, prompt, num_frames=len(video), size=video.size):
            yield list(frame.objects(video.size))
