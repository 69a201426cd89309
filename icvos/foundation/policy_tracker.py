"""A tracker whose memory goes by a rule other than SAM 2's own (``icvos.foundation.memory_policies``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from icvos.errors import UsageError
from icvos.foundation.construct import require_sam
from icvos.foundation.cpu.memory import quick_memory
from icvos.foundation.frame_tracker import Prompt, TrackedFrame
from icvos.foundation.holes import fill_holes
from icvos.foundation.memory_policies import POINTERS, Candidates, MemoryPolicy, Recall
from icvos.foundation.sam2 import Sam2
from icvos.foundation.segmenter import Decoded, ImageFeatures, check_finite, resize_logits
from icvos.foundation.tracker import NO_OBJECT, Heads, MemoryBank, Tracker, TrackerOptions

__all__ = ["PolicyBank", "PolicyTracker"]


@dataclass
class ObjectMemory:
    """What is remembered of one object.

    Attributes:
        policy: Its rule.
        memories: (HW, D) by frame.
        pointers: (C,) by frame, of the latest frames and of prompted ones.
    """

    policy: MemoryPolicy
    memories: dict[int, Tensor] = field(default_factory=dict)
    pointers: dict[int, Tensor] = field(default_factory=dict)

    def keep(self, frame: int, memory: Tensor, pointer: Tensor) -> None:
        """Remember a frame; forget what no later frame looks back at."""
        self.memories[frame], self.pointers[frame] = memory, pointer
        needed = self.policy.needed(frame)
        self.memories = {at: value for at, value in self.memories.items() if at in needed}
        kept = {*needed, *range(frame - POINTERS + 1, frame + 1)}
        self.pointers = {at: value for at, value in self.pointers.items() if at in kept}


@dataclass
class PolicyBank(MemoryBank):
    """What a tracker with a policy carries from frame to frame: a memory an object.

    Attributes:
        size: (H, W) of the video.
        memories: Of each object.
        positions: (HW, 1, D) position code of the grid, alike for all.
    """

    size: tuple[int, int] | None = None
    memories: list[ObjectMemory] = field(default_factory=list)
    positions: Tensor | None = None


class PolicyTracker(Tracker):
    """A tracker each of whose objects remembers by a policy of its own; prompts count as in SAM 2.

    Objects are decoded as one batch, and look into their memories together where they hold as many.

    Args:
        segmenter: As for ``Tracker``, in eval mode.
        policy: The policy's class.
        options: As for ``Tracker``.

    Raises:
        UsageError: The options say how prompted frames are forgotten, which is the policy's.
    """

    def __init__(self, segmenter: Sam2, policy: type[MemoryPolicy], options: TrackerOptions | None = None) -> None:
        super().__init__(segmenter, options)
        self.policy = policy
        if self.options.max_prompted is not None or self.options.tracked_tokens != "pad":
            raise UsageError("a memory policy goes with max_prompted=None and tracked_tokens='pad' alone")

    def start(self, *, num_frames: int | None = None, size: tuple[int, int] | None = None) -> PolicyBank:
        """Return an empty memory for a video; ``size`` (H, W) is that of its frames, by default the model's input.

        The video's length plays no part: what is remembered hangs on the frames so far alone.
        """
        return PolicyBank(size=size)

    def step(self, bank: MemoryBank, features: ImageFeatures, *, prompt: Prompt | None = None) -> TrackedFrame:
        """See ``Tracker.step``."""
        assert isinstance(bank, PolicyBank)
        count = self._objects(bank, prompt)
        levels = self._levels(features, count)
        if prompt is None:
            heads, anchors = self._chosen(bank, levels, shared=len(features) == 1)
        elif prompt.recent:
            raise UsageError(
                "a memory policy says by itself how a frame is remembered", fix="prompt without recent=True"
            )
        else:
            bank.memories = bank.memories or [ObjectMemory(self.policy()) for _ in range(count)]
            heads, anchors = self._prompted(levels, prompt), [True] * count
            for each in bank.memories:
                each.policy.prompt(bank.index)
        check_finite(heads.low, heads.iou, heads.score)
        heads = replace(heads, low=fill_holes(heads.low, self.options.fill_holes))
        for prompted in set(anchors):
            rows = [row for row, anchor in enumerate(anchors) if anchor == prompted]
            part = heads[torch.tensor(rows, device=heads.low.device)]
            output = self._remember(levels[-1][rows], part, prompted=prompted)
            bank.positions = output["maskmem_pos_enc"][-1][:1].flatten(2).permute(2, 0, 1)
            memories = output["maskmem_features"].flatten(2).transpose(1, 2)
            for row, memory, pointer in zip(rows, memories, part.pointer, strict=True):
                bank.memories[row].keep(bank.index, memory.clone(), pointer.clone())
        bank.index += 1
        return TrackedFrame(bank.index - 1, heads.low, heads.score, heads.iou)

    def _chosen(self, bank: PolicyBank, levels: list[Tensor], *, shared: bool) -> tuple[Heads, list[bool]]:
        """Decode a frame; return what the policies chose, and which objects remember it as a prompted frame."""
        decoded = self._candidates(self._recalled(bank, levels[-1], shared=shared), levels[:-1])
        score, tokens, low = decoded.object_score, decoded.tokens, decoded.logits.float()
        assert score is not None and tokens is not None
        if self.segmenter.model.pred_obj_scores:
            low = torch.where((score > self.policy.presence)[..., None, None], low, NO_OBJECT)
        ious, visible = decoded.iou.float().cpu().numpy(), (low > 0).flatten(2).any(dim=2).cpu().numpy()
        chosen, anchors = [], []
        for row, each in enumerate(bank.memories):
            candidates = Candidates(ious[row], float(score[row]), visible[row], self._masks(bank, low[row]))
            chosen.append(each.policy.choose(candidates))
            anchors.append(each.policy.track(bank.index, candidates, chosen[-1]))
        best = (torch.arange(len(low), device=low.device), torch.tensor(chosen, device=low.device))
        low = low[best][:, None]
        pointer = self._pointer(
            tokens[best] if tokens.shape[1] > 1 else tokens[:, 0], score, presence=self.policy.presence
        )
        return Heads(low, self._enlarge(low), decoded.iou[best][:, None], pointer, score), anchors

    def _masks(self, bank: PolicyBank, logits: Tensor) -> np.ndarray:
        """Return (M, 4h, 4w) logits as bool masks of the size that the policy looks at; none where it looks at none."""
        if not self.policy.looks_at:
            return np.zeros((0, 0, 0), bool)
        side = self.segmenter.image_size
        size = bank.size if self.policy.looks_at == "video" and bank.size is not None else (side, side)
        return np.asarray((resize_logits(logits[None], size)[0] > 0).cpu().numpy())

    def _candidates(self, features: Tensor, high_res: list[Tensor]) -> Decoded:
        count, device = len(features), features.device
        no_point = torch.zeros(count, 1, 2, device=device), -torch.ones(count, 1, dtype=torch.int32, device=device)
        sparse, dense = self.segmenter.embed(no_point, None, None)
        multimask = self.options.multimask == "auto" and self.segmenter.model._use_multimask(False, None)
        return self.segmenter.decode_tokens(
            ImageFeatures(features, tuple(high_res)), sparse, dense, multimask=multimask, guidance=None
        )

    def _recalled(self, bank: PolicyBank, raw: Tensor, *, shared: bool) -> Tensor:
        """Return (N, C, h, w) features of a frame after its look at the memories."""
        positions = self.segmenter.model.image_encoder.neck.position_encoding(raw).to(raw.dtype)
        recalls = [each.policy.recall(bank.index) for each in bank.memories]
        groups: dict[tuple[int, int], list[int]] = {}
        for row, recall in enumerate(recalls):
            groups.setdefault((len(recall.memories), len(recall.pointers)), []).append(row)
        out = torch.empty_like(raw)
        for rows in groups.values():
            tokens, codes, pointers = self._tokens(bank, [(bank.memories[row], recalls[row]) for row in rows])
            with quick_memory(self.segmenter, shared=shared):
                attended = self.segmenter.model.memory_attention(
                    curr=[raw[rows].flatten(2).permute(2, 0, 1)],
                    curr_pos=[positions[rows].flatten(2).permute(2, 0, 1)],
                    memory=tokens,
                    memory_pos=codes,
                    num_obj_ptr_tokens=pointers,
                )
            out[rows] = attended.permute(1, 2, 0).unflatten(2, raw.shape[-2:]).to(out.dtype)
        return out

    def _tokens(self, bank: PolicyBank, objects: Sequence[tuple[ObjectMemory, Recall]]) -> tuple[Tensor, Tensor, int]:
        """Return (T, B, D) tokens of memories and pointers, their codes, and how many are of pointers."""
        assert bank.positions is not None
        table = self.segmenter.model.maskmem_tpos_enc[:, 0]
        columns = [
            (
                torch.cat([each.memories[frame] for frame, _ in recall.memories]),
                torch.cat([bank.positions + table[code] for _, code in recall.memories])[:, 0],
                *self._pointer_tokens(bank, each, recall),
            )
            for each, recall in objects
        ]
        memories, codes, pointers, pointer_codes = (torch.stack(parts, dim=1) for parts in zip(*columns, strict=True))
        return torch.cat([memories, pointers]), torch.cat([codes, pointer_codes]), len(pointers)

    def _pointer_tokens(self, bank: PolicyBank, each: ObjectMemory, recall: Recall) -> tuple[Tensor, Tensor]:
        """Return an object's pointers as (T, D) tokens and their codes: of a distance over the longest, or zero."""
        model = self.segmenter.model
        pointers = torch.stack([each.pointers[frame] for frame, _ in recall.pointers])
        width, parts = model.mem_dim, model.hidden_dim // model.mem_dim
        if model.add_tpos_enc_to_obj_ptrs:
            longest = min(max(bank.num_frames, bank.index + 1), model.max_obj_ptrs_in_encoder) - 1
            distances = torch.tensor([distance for _, distance in recall.pointers], device=pointers.device)
            inside = model.hidden_dim if model.proj_tpos_enc_in_obj_ptrs else width
            sine = require_sam("sam2.modeling.sam2_utils", "SAM 2").get_1d_sine_pe
            codes = model.obj_ptr_tpos_proj(sine(distances / longest, dim=inside))
        else:
            codes = pointers.new_zeros(len(pointers), width)
        return pointers.reshape(-1, width), codes.repeat_interleave(parts, dim=0)
