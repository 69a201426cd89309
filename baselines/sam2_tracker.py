"""SAM 2 as its authors run it on semi-supervised VOS: told the masks of frame 0, it tracks all objects of a video.

What their ``tools/vos_inference.py`` does with the package's predictor: no post-processing (holes are left, a prompted
frame's mask enters the memory unrounded), of objects that overlap the highest logit keeps a pixel
(``non_overlap_masks``), and on a GPU all is computed under autocast in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from icvos import ModelInfo, Support, Video, VideoModel, WeightInfo
from icvos.data.lineage import SAM2_DATA
from icvos.errors import UsageError

__all__ = ["Sam2Tracker"]


class Sam2Tracker(VideoModel):
    """SAM 2's tracker, prompted with the masks of frame 0.

    Args:
        ahead: Frames encoded together (more pays on a GPU).
        precision: ``fp32``, ``bf16`` (autocast), or ``auto``: bf16 on CUDA, as its authors evaluate, fp32 elsewhere.
    """

    info = ModelInfo(
        name="sam2-tracker",
        version="1",
        paper="Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024 (arXiv 2408.00714)",
        licence="Apache-2.0",
        weights={"sam2": WeightInfo("a SAM 2 or SAM 2.1 checkpoint (icvos weights list)")},
        training_data=SAM2_DATA,
        extra="sam",
        demo_weights={"sam2": "icvos/demo/weights/demo_sam2.safetensors"},
        uses=("first-frame",),
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        ahead: int = 1,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
    ) -> None:
        super().__init__(device=device, weights=weights)
        from icvos.foundation.load import load_sam
        from icvos.foundation.sam2 import Sam2
        from icvos.foundation.tracker import Tracker, TrackerOptions

        # What auto came to; the record of a run says it.
        self.precision = ("bf16" if device.startswith("cuda") else "fp32") if precision == "auto" else precision
        self.autocast = "bfloat16" if self.precision == "bf16" else None
        self.dtype = self.autocast or "float32"
        options = TrackerOptions(ahead=ahead, binarize_prompted=False)
        self.tracker = Tracker(load_sam(Sam2, self.weights["sam2"], device=device), options)
        seen = self.tracker.segmenter.trained_on or SAM2_DATA
        self.info = replace(self.info, training_data=seen)

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        raise UsageError(
            f"'{self.info.name}' only tracks: it is told frame 0's mask, and takes no supports",
            fix="icvos evaluate runs it with --oracle first-frame, or on a benchmark of icvos build-data vos",
        )

    def segment_objects(self, masks: Sequence[np.ndarray], video: Video, *, seed: int) -> Iterator[Sequence[Any]]:
        """Track all objects as a batch of one stream: each frame is encoded once."""
        import torch

        stream, kind = self.tracker.track_objects(masks, video), self.tracker.segmenter.device.type
        while True:
            with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=self.autocast is not None):
                tracked = next(stream, None)
            if tracked is None:
                return
            yield tracked
