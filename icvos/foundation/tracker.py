"""A streaming SAM 2 tracker over an iterable of frames, equal to the package's video predictor.

Prompted on the first frame (or later ones) by masks, points, boxes or prompt embeddings, it follows N objects over the
same encoded frames as one batch, and keeps only the memories it can still attend to: its size does not grow with the
video. It sets no grad mode: put ``torch.no_grad()`` around it unless you train through it.

    tracker = Tracker(segmenter)
    with torch.no_grad():
        for frame in tracker.track(video, Prompt(masks=masks), num_frames=len(video)):
            frame.masks(video.size)

The package's predictor holds all frames and runs object by object; what it computes a frame is the same. Its hole
filling, which it skips where its compiled extension is missing, is an option, off by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icvos.errors import UsageError, counted
from icvos.foundation.cpu.chunks import at_a_time
from icvos.foundation.cpu.memory import fits_memory, quick_memory
from icvos.foundation.cpu.memory_encoder import quick_memory_encoder
from icvos.foundation.frame_tracker import FrameTracker, Prompt, TrackedFrame
from icvos.foundation.holes import check_area, fill_holes
from icvos.foundation.sam2 import Sam2, boxes_as_points
from icvos.foundation.segmenter import ImageFeatures, Resample, check_finite, resize_logits

__all__ = ["NO_OBJECT", "Heads", "MemoryBank", "Tracker", "TrackerOptions"]

# The package's logit of "not there" (sam2.modeling.sam2_base.NO_OBJ_SCORE).
NO_OBJECT = -1024.0
# Stands for a video of unknown length: long enough that all object pointers count.
UNKNOWN_LENGTH = 1 << 30


@dataclass(frozen=True)
class TrackerOptions:
    """What may differ from the package's predictor. The defaults are that predictor.

    Attributes:
        tracked_tokens: Sparse tokens on frames without a prompt: "pad" (two not-a-point tokens, the package) or "none"
            (DC-SAM's public code).
        multimask: Three candidates on a tracked frame or a single point, the best kept; "auto" as configured, "never"
            as in DC-SAM's public code. Embeddings never ask for it.
        memory_dtype: Memories are stored in it; the package's predictor uses bfloat16. None keeps the features' own.
        ahead: Frames encoded together; more needs more memory and pays on a GPU.
        max_prompted: Keep only so many of the latest prompted frames as memories, so that a video with prompts
            throughout stays flat; None keeps all, as the package does.
        resample: How uint8 frames are resized; the package's predictor reads them with Pillow's bicubic.
        binarize_prompted: Whether a prompted frame's mask enters the memory as 0 or 1 where the model is built so;
            False leaves it the sigmoid of its logits, as the package's predictor without post-processing does.
        fill_holes: Holes of at most so many pixels of the low-resolution logits are filled; 0 fills none. As in the
            package, a prompted frame's memory is made of the filled logits, a tracked frame's of those before.
    """

    tracked_tokens: Literal["pad", "none"] = "pad"
    multimask: Literal["auto", "never"] = "auto"
    memory_dtype: torch.dtype | None = torch.bfloat16
    ahead: int = 1
    max_prompted: int | None = None
    resample: Resample = "pil-bicubic"
    fill_holes: int = 0
    binarize_prompted: bool = True

    def __post_init__(self) -> None:
        if self.tracked_tokens not in ("pad", "none") or self.multimask not in ("auto", "never"):
            raise UsageError(
                f"tracker options {self.tracked_tokens}, {self.multimask}", expected="pad|none, auto|never"
            )
        if self.ahead < 1 or (self.max_prompted is not None and self.max_prompted < 1):
            raise UsageError("tracker options ahead and max_prompted must be at least 1")
        check_area(self.fill_holes)

    @classmethod
    def dc_sam(cls, **more: Any) -> TrackerOptions:
        """Return the options of DC-SAM's public code (facts: reference, section 1)."""
        return replace(cls(tracked_tokens="none", multimask="never"), **more)


@dataclass
class MemoryBank:
    """What the tracker carries from frame to frame.

    Attributes:
        num_frames: Length of the video where known: below 16 it scales the pointers' time codes in the package.
        index: Number of the next frame.
        prompted: Outputs of prompted frames, by frame.
        tracked: Outputs of the latest tracked frames, by frame.
    """

    num_frames: int = UNKNOWN_LENGTH
    index: int = 0
    objects: int | None = None
    prompted: dict[int, dict[str, Any]] = field(default_factory=dict)
    tracked: dict[int, dict[str, Any]] = field(default_factory=dict)

    def copy(self) -> MemoryBank:
        """Return a bank of the same memories that goes on by itself."""
        prompted, tracked = ({frame: dict(v) for frame, v in each.items()} for each in (self.prompted, self.tracked))
        return replace(self, prompted=prompted, tracked=tracked)

    def forget(self, memories: int, pointers: int, prompted: int | None) -> None:
        """Drop what no later frame attends to: memories and pointers older than so many frames."""
        for frame in [frame for frame in self.tracked if frame <= self.index - 1 - max(memories, pointers)]:
            del self.tracked[frame]
        for frame, output in self.tracked.items():
            if frame <= self.index - 1 - memories:
                output["maskmem_features"] = output["maskmem_pos_enc"] = None
        if prompted is not None:
            for frame in sorted(self.prompted)[:-prompted]:
                del self.prompted[frame]


@dataclass(frozen=True)
class Heads:
    """What the mask heads give for one frame: (N, 1, 4h, 4w), (N, 1, S, S), (N, 1), (N, C), (N, 1)."""

    low: Tensor
    high: Tensor
    iou: Tensor
    pointer: Tensor
    score: Tensor

    def __getitem__(self, rows: Tensor) -> Heads:
        """Return those of some objects."""
        return Heads(self.low[rows], self.high[rows], self.iou[rows], self.pointer[rows], self.score[rows])


class Tracker(FrameTracker):
    """Tracks objects through a stream of frames with a SAM 2 of any size.

    Args:
        segmenter: In eval mode for inference. In training mode the package's training rules hold (no binarised memory,
            no fall-back to three masks).
        options: Departures from the package.
    """

    def __init__(self, segmenter: Sam2, options: TrackerOptions | None = None) -> None:
        self.segmenter = segmenter
        self.options = options or TrackerOptions()

    def encode(self, frames: Iterable[Tensor | np.ndarray | ImageFeatures]) -> Iterator[ImageFeatures]:
        """Yield the features of each frame, ``options.ahead`` of them encoded together.

        Args:
            frames: (H, W, 3) uint8 RGB arrays, (3, S, S) or (1, 3, S, S) normalised tensors, or features of one image.
        """
        stream = iter(frames)
        while block := list(islice(stream, self.options.ahead)):
            if isinstance(block[0], ImageFeatures):
                yield from (item for item in block if isinstance(item, ImageFeatures))
                continue
            features = self.segmenter.encode(torch.cat([self._pixels(frame) for frame in block]))
            yield from (features[index] for index in range(len(block)))

    def _pixels(self, frame: Tensor | np.ndarray | ImageFeatures) -> Tensor:
        if isinstance(frame, np.ndarray):
            return self.segmenter.preprocess(frame, resample=self.options.resample)
        if isinstance(frame, ImageFeatures):
            raise UsageError("features and images are mixed in one stream of frames")
        return (frame if frame.ndim == 4 else frame[None]).to(self.segmenter.device)

    def start(self, *, num_frames: int | None = None, size: tuple[int, int] | None = None) -> MemoryBank:
        """Return an empty memory for a video; its frames' size plays no part."""
        return MemoryBank(num_frames=UNKNOWN_LENGTH if num_frames is None else num_frames)

    def step(self, bank: MemoryBank, features: ImageFeatures, *, prompt: Prompt | None = None) -> TrackedFrame:
        """Track the next frame and remember it.

        Args:
            bank: Of this video; it is changed.
            features: Of the frame, one image for all objects, or one an object.
            prompt: Of this frame; the first frame must have one.

        Raises:
            UsageError: No prompt on the first frame, another number of objects, or features that do not fit.
        """
        levels = self._levels(features, self._objects(bank, prompt))
        heads = (
            self._prompted(levels, prompt)
            if prompt is not None
            else self._tracked(bank, levels, shared=len(features) == 1)
        )
        check_finite(heads.low, heads.iou, heads.score)
        heads = replace(heads, low=fill_holes(heads.low, self.options.fill_holes))
        output = self._remember(levels[-1], heads, prompted=prompt is not None)
        (bank.tracked if prompt is None or prompt.recent else bank.prompted)[bank.index] = output
        frame = TrackedFrame(bank.index, heads.low, heads.score, heads.iou)
        bank.index += 1
        model, options = self.segmenter.model, self.options
        stride = 1 if model.training else model.memory_temporal_stride_for_eval
        memories = 1 + (model.num_maskmem - 2) * stride
        pointers = model.max_obj_ptrs_in_encoder - 1 if model.use_obj_ptrs_in_encoder else 0
        bank.forget(memories, pointers, options.max_prompted)
        return frame

    def correct(self, bank: MemoryBank, features: ImageFeatures, prompt: Prompt) -> TrackedFrame:
        """Prompt the frame that ``step`` has just tracked: what was remembered of it is replaced."""
        bank.index -= 1
        bank.tracked.pop(bank.index, None)
        return self.step(bank, features, prompt=prompt)

    def _levels(self, features: ImageFeatures, count: int) -> list[Tensor]:
        """Return the features for so many objects, the finest level first."""
        if features.raw is None or len(features) not in (1, count):
            raise UsageError(
                f"{counted(count, 'objects')} cannot be tracked on features of {len(features)} images of SAM 1 or 2"
            )
        return [level.expand(count, -1, -1, -1) for level in (*features.high_res, features.raw)]

    def _objects(self, bank: MemoryBank, prompt: Prompt | None) -> int:
        if prompt is None:
            if bank.objects is None:
                raise UsageError("the first frame has no prompt", fix="pass prompt= with the first step")
            return bank.objects
        if bank.objects not in (None, len(prompt)):
            raise UsageError(f"a prompt of {len(prompt)} objects where {bank.objects} are tracked")
        bank.objects = len(prompt)
        return len(prompt)

    def _prompted(self, levels: list[Tensor], prompt: Prompt) -> Heads:
        model = self.segmenter.model
        *high_res, raw = levels
        if prompt.masks is not None:
            return _heads(model._use_mask_as_output(raw, high_res, self._mask_input(prompt.masks)))
        features = raw + model.no_mem_embed.reshape(1, -1, 1, 1)
        if prompt.embeddings is not None:
            return self._decode(features, high_res, prompt.embeddings)
        points = boxes_as_points(prompt.points, prompt.boxes)
        assert points is not None
        inputs = {"point_coords": points[0], "point_labels": points[1]}
        multimask = self.options.multimask == "auto" and model._use_multimask(True, inputs)
        return _heads(
            model._forward_sam_heads(
                features, point_inputs=inputs, high_res_features=high_res, multimask_output=multimask
            )
        )

    def _mask_input(self, masks: Tensor) -> Tensor:
        """Return (N, 1, S, S) float 0 or 1, resized as the package's ``add_new_mask`` does."""
        size = (self.segmenter.image_size, self.segmenter.image_size)
        masks = (masks if masks.ndim == 4 else masks[:, None]).to(self.segmenter.device).float()
        if tuple(masks.shape[-2:]) == size:
            return masks
        masks = F.interpolate(masks, size=size, mode="bilinear", align_corners=False, antialias=True)
        return (masks >= 0.5).float()

    def _tracked(self, bank: MemoryBank, levels: list[Tensor], *, shared: bool) -> Heads:
        model = self.segmenter.model
        *high_res, raw = levels
        size = (raw.shape[-2], raw.shape[-1])
        position = model.image_encoder.neck.position_encoding(raw).to(raw.dtype)
        with quick_memory(self.segmenter, shared=shared):
            features = model._prepare_memory_conditioned_features(
                frame_idx=bank.index,
                is_init_cond_frame=False,
                current_vision_feats=[raw.flatten(2).permute(2, 0, 1)],
                current_vision_pos_embeds=[position.flatten(2).permute(2, 0, 1)],
                feat_sizes=[size],
                output_dict={"cond_frame_outputs": bank.prompted, "non_cond_frame_outputs": bank.tracked},
                num_frames=max(bank.num_frames, bank.index + 1),
            )
        multimask = self.options.multimask == "auto" and model._use_multimask(False, None)
        if self.options.tracked_tokens == "none":
            tokens = features.new_zeros(len(features), 0, self.segmenter.embed_dim)
            return self._decode(features, high_res, tokens, multimask=multimask)
        return _heads(model._forward_sam_heads(features, high_res_features=high_res, multimask_output=multimask))

    def _decode(self, features: Tensor, high_res: list[Tensor], tokens: Tensor, *, multimask: bool = False) -> Heads:
        """Decode exactly these sparse tokens; beyond that as the package's ``_forward_sam_heads``."""
        model = self.segmenter.model
        _, dense = self.segmenter.prompt(embeddings=tokens)
        decoded = self.segmenter.decode_tokens(
            ImageFeatures(features, tuple(high_res)), tokens, dense, multimask=multimask, guidance=None
        )
        if multimask:
            decoded = decoded.best()
        assert decoded.tokens is not None and decoded.object_score is not None
        score, low = decoded.object_score, decoded.logits
        if model.pred_obj_scores:
            low = torch.where((score > 0)[..., None, None], low, NO_OBJECT)
        return Heads(low.float(), self._enlarge(low), decoded.iou, self._pointer(decoded.tokens[:, 0], score), score)

    def _pointer(self, tokens: Tensor, score: Tensor, *, presence: float = 0.0) -> Tensor:
        """Return the (N, C) object pointers of output tokens; what is there has a score over ``presence``."""
        model = self.segmenter.model
        pointer: Tensor = model.obj_ptr_proj(tokens)
        if not model.pred_obj_scores:
            return pointer
        there = score.sigmoid() if model.soft_no_obj_ptr else (score > presence).float()
        if model.fixed_no_obj_ptr:
            pointer = there * pointer
        return pointer + (1 - there) * model.no_obj_ptr

    def _enlarge(self, low: Tensor) -> Tensor:
        return resize_logits(low.float(), (self.segmenter.image_size, self.segmenter.image_size))

    def _remember(self, raw: Tensor, heads: Heads, *, prompted: bool) -> dict[str, Any]:
        # The package encodes a prompted frame's memory from its low-resolution logits, also where a mask was given.
        high = self._enlarge(heads.low) if prompted else heads.high
        count = len(heads.low)
        each = at_a_time(high) if fits_memory(self.segmenter) else count
        groups = [slice(n, n + each) for n in range(0, count, each)]
        with quick_memory_encoder(self.segmenter):
            made = [
                self.segmenter.model._encode_new_memory(
                    current_vision_feats=[raw[group].flatten(2).permute(2, 0, 1)],
                    feat_sizes=[(raw.shape[-2], raw.shape[-1])],
                    pred_masks_high_res=high[group],
                    object_score_logits=heads.score[group],
                    is_mask_from_pts=prompted and self.options.binarize_prompted,
                )
                for group in groups
            ]
        memory, positions = torch.cat([part[0] for part in made]), made[0][1]
        if self.options.memory_dtype is not None:
            memory = memory.to(self.options.memory_dtype)
        # One copy of the position code serves all objects: it depends on the grid alone.
        positions = [position[:1].clone().expand(count, -1, -1, -1) for position in positions]
        return {"maskmem_features": memory, "maskmem_pos_enc": positions, "obj_ptr": heads.pointer}


def _heads(outputs: tuple[Tensor, ...]) -> Heads:
    _, _, ious, low, high, pointer, score = outputs
    return Heads(low, high, ious.max(dim=1, keepdim=True).values, pointer, score)
