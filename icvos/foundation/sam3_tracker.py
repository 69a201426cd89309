"""A streaming tracker on SAM 3 (``Sam3TrackerVideoModel`` of transformers), used as ``Tracker`` is on SAM 2.

Frames go through the library's own session one at a time, and what no later frame looks at is dropped after each: the
masks at full size (4 MB a frame and object), pixels, memories and pointers out of reach. The library keeps all of it.

    tracker = Sam3Tracker(load_sam3_tracker(weights, config))
    for frame in tracker.track(video, Prompt(masks=masks)):
        frame.masks(video.size)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icvos.errors import UsageError
from icvos.foundation.frame_tracker import FrameTracker, Prompt, TrackedFrame
from icvos.foundation.sam3 import normalised
from icvos.foundation.segmenter import check_finite

__all__ = ["FrameFeatures", "Sam3Memory", "Sam3Tracker", "Sam3TrackerOptions"]

# Of an entry of the session: what later frames look at.
_POINTER = ("object_pointer",)
_MEMORY = ("maskmem_features", "maskmem_pos_enc", *_POINTER)


@dataclass(frozen=True)
class Sam3TrackerOptions:
    """What may differ.

    Attributes:
        pointer: The object pointer of a frame prompted by a mask: ``single``, of the decoder's single-mask token, as
            in the authors' code; ``best``, of the best of its three, as in transformers.
        max_prompted: Keep only so many of the latest prompted frames; None keeps all, as the library does.
    """

    pointer: Literal["single", "best"] = "single"
    max_prompted: int | None = None

    def __post_init__(self) -> None:
        if self.pointer not in ("single", "best"):
            raise UsageError(f"pointer '{self.pointer}'", expected="single or best")
        if self.max_prompted is not None and self.max_prompted < 1:
            raise UsageError("tracker option max_prompted must be at least 1")


@dataclass(frozen=True)
class FrameFeatures:
    """What the backbone and the tracker's neck made of a frame.

    Attributes:
        levels: (hw, 1, C) float from fine to coarse, 4, 2 and 1 times the grid, as the mask decoder takes them.
        position: (hw, 1, C) float, the position code of the coarsest.
    """

    levels: tuple[Tensor, ...]
    position: Tensor


@dataclass
class Sam3Memory:
    """What the tracker carries from frame to frame.

    Attributes:
        session: The library's; its objects are numbered from 0.
        index: Number of the next frame.
    """

    session: Any
    index: int = 0


class Sam3Tracker(FrameTracker):
    """Tracks objects through a stream of frames. It computes in float32; memories are held in bfloat16.

    The library decodes the objects of a memory one by one, on features encoded once. Time codes of pointers are those
    of a stream, whatever the video's length: a clip of under 16 frames differs from one given to the library whole.

    Args:
        network: Of ``load_sam3_tracker``; it computes on its own device.
        options: Departures from the defaults.
    """

    def __init__(self, network: Any, options: Sam3TrackerOptions | None = None) -> None:
        self.segmenter = network
        self.options = options or Sam3TrackerOptions()
        inside = type(network)._single_frame_forward
        single = self.options.pointer == "single"

        def decode(**inputs: Any) -> Any:
            # The tracker gives the decoder a mask for the pointer of a mask prompt alone.
            if inputs.get("input_masks") is not None and single:
                inputs["multimask_output"] = False
            return inside(network, **inputs)

        network._single_frame_forward = decode

    def encode(self, frames: Iterable[np.ndarray | Tensor | FrameFeatures]) -> Iterator[FrameFeatures]:
        """Yield the features of each frame.

        Args:
            frames: (H, W, 3) uint8 RGB arrays, (3, S, S) or (1, 3, S, S) normalised tensors, or features.
        """
        for frame in frames:
            if isinstance(frame, FrameFeatures):
                yield frame
                continue
            pixels = normalised(frame, self.segmenter.image_size) if isinstance(frame, np.ndarray) else frame
            pixels = (pixels if pixels.ndim == 4 else pixels[None]).to(self.segmenter.device)
            with torch.no_grad():
                maps = self.segmenter.get_image_features(pixels, return_dict=True)
            yield FrameFeatures(tuple(maps.fpn_hidden_states), maps.fpn_position_encoding[-1])

    def start(self, *, num_frames: int | None = None, size: tuple[int, int] | None = None) -> Sam3Memory:
        """Return an empty memory for a video; its length and size are not looked at."""
        from transformers import Sam3TrackerVideoInferenceSession

        device = self.segmenter.device
        places = {f"{name}_device": device for name in ("inference", "inference_state", "video_storage")}
        return Sam3Memory(Sam3TrackerVideoInferenceSession(dtype=torch.float32, **places))

    def step(self, bank: Sam3Memory, features: FrameFeatures, *, prompt: Prompt | None = None) -> TrackedFrame:
        """Track the next frame and remember it.

        Args:
            bank: Of this video; it is changed.
            features: Of the frame.
            prompt: Masks of all objects on this frame; the first frame must have one.

        Returns:
            The frame, without predicted IoU (NaN), which the library keeps to itself.

        Raises:
            UsageError: No prompt on the first frame, one that is no mask, or another number of objects.
        """
        session, index = bank.session, bank.index
        if prompt is not None:
            self._prompt(session, index, prompt)
        elif not session.obj_ids:
            raise UsageError("the first frame has no prompt", fix="pass prompt= with the first step")
        feats = {"vision_feats": list(features.levels), "vision_pos_embeds": [features.position]}
        session.cache.cache_vision_features(index, feats)
        # The frame's pixels are not looked at, as its features are there; that one is given makes it a stream.
        output = self.segmenter(session, frame=features.position.new_empty(3, 0, 0), frame_idx=index)
        if output.frame_idx != index:
            raise UsageError("this transformers numbers frames itself", fix="pip install 'transformers>=5.4'")
        self._forget(session, index)
        bank.index += 1
        logits, score = output.pred_masks.float(), output.object_score_logits.reshape(-1, 1).float()
        check_finite(logits, score)
        return TrackedFrame(index, logits, score, torch.full_like(score, torch.nan))

    def _prompt(self, session: Any, index: int, prompt: Prompt) -> None:
        """Give all objects' masks at once, resized as the library's processor does."""
        if prompt.masks is None:
            raise UsageError("a prompt without masks", expected="masks, which SAM 3's tracker is prompted with here")
        if session.obj_ids and len(session.obj_ids) != len(prompt):
            raise UsageError(f"a prompt of {len(prompt)} objects where {len(session.obj_ids)} are tracked")
        masks = prompt.masks if prompt.masks.ndim == 4 else prompt.masks[:, None]
        masks, size = masks.to(self.segmenter.device).float(), (self.segmenter.image_size, self.segmenter.image_size)
        if tuple(masks.shape[-2:]) != size:
            masks = F.interpolate(masks, size=size, mode="bilinear", align_corners=False, antialias=True)
        for number, mask in enumerate((masks >= 0.5).float()):
            session.add_mask_inputs(session.obj_id_to_idx(number), index, mask[None])
        session.obj_with_new_inputs = list(range(len(prompt)))

    def _forget(self, session: Any, index: int) -> None:
        """Drop what no frame after ``index`` looks at."""
        config = self.segmenter.config
        memories, pointers = config.num_maskmem - 1, config.max_object_pointers_in_encoder - 1
        session.processed_frames.clear()
        session.cache.clear_all()
        for number, outputs in session.output_dict_per_obj.items():
            session.frames_tracked_per_obj[number].clear()
            session.mask_inputs_per_obj[number].clear()
            prompted, tracked = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
            if self.options.max_prompted is not None:
                for frame in sorted(prompted)[: -self.options.max_prompted]:
                    del prompted[frame]
            for frame in [frame for frame in tracked if frame <= index - max(memories, pointers)]:
                del tracked[frame]
            for frame, entry in [*prompted.items(), *tracked.items()]:
                kept = _MEMORY if frame in prompted or frame > index - memories else _POINTER
                for name in entry.keys() - set(kept):
                    del entry[name]
