"""SAM 2 with the support as a first frame: its image and mask go into the tracker's memory, then the video follows.

What SAM 2 (Ravi et al., arXiv 2408.00714) does by itself, and what every user tries first. Nothing is trained or tuned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from icvos import ModelInfo, Support, Video, VideoModel, WeightInfo
from icvos.data.lineage import SAM2_DATA

__all__ = ["Sam2Memory"]


class Sam2Memory(VideoModel):
    """The supports are the prompted frames of a video that goes on with the frames to segment.

    Args:
        ahead: Frames encoded together (more pays on a GPU).
    """

    info = ModelInfo(
        name="sam2-memory",
        version="1",
        paper="Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024 (arXiv 2408.00714)",
        licence="Apache-2.0",
        weights={"sam2": WeightInfo("a SAM 2 or SAM 2.1 checkpoint (icvos weights list)")},
        training_data=SAM2_DATA,
        extra="sam",
        demo_weights={"sam2": "icvos/demo/weights/demo_sam2.safetensors"},
    )

    def __init__(self, *, device: str = "cpu", weights: Mapping[str, Path] | None = None, ahead: int = 1) -> None:
        super().__init__(device=device, weights=weights)
        from icvos.foundation.load import load_sam
        from icvos.foundation.sam2 import Sam2
        from icvos.foundation.tracker import Tracker, TrackerOptions

        self.tracker = Tracker(load_sam(Sam2, self.weights["sam2"], device=device), TrackerOptions(ahead=ahead))
        seen = self.tracker.segmenter.trained_on or SAM2_DATA
        self.info = replace(self.info, training_data=seen)

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        for masks in self.segment_many([supports], video, seeds=[seed]):
            yield masks[0]

    def segment_many(
        self, episodes: Sequence[Sequence[Support]], video: Video, *, seeds: Sequence[int]
    ) -> Iterator[Sequence[Any]]:
        """Track all episodes as objects of one stream: each frame is encoded once."""
        import torch

        from icvos.foundation.streams import without_gradients

        shots = {len(supports) for supports in episodes}
        if len(shots) > 1:  # memories of a batch must be alike
            yield from super().segment_many(episodes, video, seeds=seeds)
            return
        bank = self.tracker.start(num_frames=len(video) + shots.pop())
        with torch.no_grad():
            for column in zip(*episodes, strict=True):
                self._show(bank, column)
        for features in without_gradients(self.tracker.encode(video)):
            with torch.no_grad():
                masks = list(self.tracker.step(bank, features).masks(video.size))
            for number, supports in enumerate(episodes):
                if not any(support.mask.any() for support in supports):
                    masks[number] = torch.zeros_like(masks[number])
            yield masks

    def _show(self, bank: Any, column: Sequence[Support]) -> None:
        """Put one support of each episode into the memory, as a prompted frame."""
        import torch
        from torch.nn import functional

        from icvos.foundation.frame_tracker import Prompt
        from icvos.foundation.segmenter import ImageFeatures

        segmenter = self.tracker.segmenter
        size = (segmenter.image_size, segmenter.image_size)
        masks = []
        for support in column:
            mask = torch.tensor(support.mask, device=segmenter.device)[None, None].float()
            mask = functional.interpolate(mask, size=size, mode="bilinear", align_corners=False, antialias=True)
            masks.append((mask >= 0.5).float())
        # All episodes of a video in one batch: a support used twice is encoded once.
        places: dict[int, int] = {}
        images: list[np.ndarray] = []
        for support in column:
            if id(support.image) not in places:
                places[id(support.image)] = len(images)
                images.append(support.image)
        encoded = ImageFeatures.cat([next(self.tracker.encode([image])) for image in images])
        order = torch.tensor([places[id(support.image)] for support in column], device=segmenter.device)
        self.tracker.step(bank, encoded[order], prompt=Prompt(masks=torch.cat(masks)))
