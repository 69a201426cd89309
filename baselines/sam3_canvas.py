"""SAM 3 told by an example from another image.

Tsai et al., "Few-Shot Semantic Segmentation Meets SAM3" (2026, arXiv 2604.05433): SAM 3 (Carion et al., arXiv
2511.16719) finds all things of a kind that a phrase or boxes on the same image name. So the support and the query are
laid on one canvas, the support above; its mask becomes a box there, and what is found below is the answer. Nothing is
trained. Layout and numbers are those of the public code (WongKinYiu/FSS-SAM3); the network, its scores and thresholds
those of the transformers library (extra ``hf``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, WeightInfo
from icvos.categories import get_vocabulary
from icvos.errors import UsageError
from icvos.masks import mask_box

__all__ = ["Sam3Canvas"]

_SOURCE = "the folder of facebook/sam3 (config.json, model.safetensors, tokenizer.json) on huggingface.co"
# The phrase that the library gives with boxes alone.
_NO_TEXT = "visual"


@dataclass(frozen=True)
class Shown:
    """A support as it lies on the canvas: (rows, S, 3) uint8, and the (4,) box (cx, cy, w, h) in 0..1 of the canvas."""

    image: np.ndarray
    box: tuple[float, float, float, float]


class Sam3Canvas(ImageModel):
    """SAM 3 on a canvas of support and query, the support's mask as a box.

    A canvas for each support; the answer is the union. Supports whose mask is empty are left out. A box is all that is
    told of a mask: what else is in it is not kept apart.

    Args:
        text: A phrase that names the thing, as ``dog``; a run with it is marked as told a text. Empty: none.
        threshold: Least score of a detection, of 0 to 1.
        share: Of the canvas's height, the support's.
        precision: ``fp32``, or ``bf16``: autocast in the backbone, which is most of the work. The library's boxes fail
            under autocast, so that the rest is not.
    """

    info = ModelInfo(
        name="sam3-canvas",
        version="1",
        paper="Tsai et al., Few-Shot Semantic Segmentation Meets SAM3, 2026 (arXiv 2604.05433); Carion et al., SAM 3: "
        "Segment Anything with Concepts, 2025 (arXiv 2511.16719)",
        licence="Apache-2.0; SAM 3's weights are under the SAM Licence",
        weights={
            "sam3": WeightInfo(f"{_SOURCE}, which asks to be accepted, or its model.safetensors"),
            "config": WeightInfo("the config.json of these weights, where it is not beside them", required=False),
            "tokenizer": WeightInfo("their tokenizer.json, likewise", required=False),
        },
        # Its concepts are of every kind.
        training_categories=get_vocabulary("coco80").names,
        training_data=("sa-co:train",),
        extra="hf",
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        text: str = "",
        threshold: float = 0.3,
        share: float = 0.6,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        super().__init__(device=device, weights=weights)
        from icvos.foundation.sam3 import load_sam3_image, tokens_of

        if not 0 <= threshold < 1:
            raise UsageError(f"threshold={threshold:g}", expected="at least 0, below 1")
        for name, file in (("config", "config.json"), ("tokenizer", "tokenizer.json")):
            self.weights.setdefault(name, self.weights["sam3"].with_name(file))
        if text.strip():
            self.info = replace(type(self).info, uses=("text",))  # type: ignore[misc]
        self.threshold, self.autocast = threshold, "bfloat16" if precision == "bf16" else None
        self.dtype = self.autocast or "float32"
        self.network = load_sam3_image(self.weights["sam3"], self.weights["config"]).to(device)
        self.side = int(self.network.config.image_size)
        self.rows = int(self.side * share) if 0 < share < 1 else 0
        if not 0 < self.rows < self.side:
            raise UsageError(f"share={share:g}", expected="above 0, below 1")
        words = self.network.config.text_config
        length, vocabulary = words.max_position_embeddings, words.vocab_size
        self.tell(*tokens_of(text.strip() or _NO_TEXT, self.weights["tokenizer"], length=length, words=vocabulary))

    def tell(self, tokens: Any, mask: Any) -> None:
        """Take a phrase's (1, L) tokens, and the (1, L) mask of those that count; its features serve all queries."""
        import torch

        self.token_mask = mask.to(self.device)
        with torch.no_grad():
            given = {"attention_mask": self.token_mask, "return_dict": True}
            self.phrase = self.network.get_text_features(tokens.to(self.device), **given)

    def fit(self, supports: Sequence[Support], *, seed: int) -> list[Shown]:
        """Return the supports as they lie on a canvas, stretched to its upper part; without those of an empty mask."""
        return [
            Shown(_stretched(support.image, self.rows, self.side), _box(support.mask, self.rows / self.side))
            for support in supports
            if support.mask.any()
        ]

    def predict(self, fitted: Sequence[Shown], image: np.ndarray) -> Prediction:
        """Return the union of what is found of all supports.

        The score is that of the best detection at a pixel times its probability there; the confidence is the best
        detection's in the query.
        """
        import torch

        from icvos.foundation.sam3 import normalised

        size, confidence = (image.shape[0], image.shape[1]), 0.0
        mask = torch.zeros(size, dtype=torch.bool, device=self.device)
        score = torch.zeros(size, device=self.device)
        query = _stretched(image, self.side - self.rows, self.side)
        for shown in fitted:
            canvas = np.concatenate([shown.image, query])
            scores, inside = self._below(self.detect(normalised(canvas, self.side), shown.box), size)
            for certainty, probability in zip(scores, inside, strict=True):
                found = probability > 0.5
                mask |= found
                score = torch.maximum(score, certainty * probability)
                if bool(found.any()):
                    confidence = max(confidence, float(certainty))
        return Prediction(mask, score=score, confidence=confidence)

    def detect(self, pixels: Any, box: Sequence[float]) -> Any:
        """Return what the network gives for a canvas.

        Args:
            pixels: (1, 3, S, S) float, normalised.
            box: (cx, cy, w, h) in 0..1 of it; what is inside is the thing.
        """
        import torch

        from icvos.foundation.segmenter import check_finite

        with torch.no_grad():
            kind = torch.device(self.device).type
            with torch.autocast(kind, torch.bfloat16, enabled=self.autocast is not None):
                seen = self.network.get_vision_features(pixels.to(self.device))
            for levels in ("fpn_hidden_states", "fpn_position_encoding"):
                seen[levels] = tuple(level.float() for level in seen[levels])
            found = self.network(
                vision_embeds=seen,
                text_embeds=self.phrase,
                attention_mask=self.token_mask,
                input_boxes=torch.tensor([[list(box)]], dtype=torch.float32, device=self.device),
                input_boxes_labels=torch.ones(1, 1, dtype=torch.long, device=self.device),
            )
            check_finite(found.pred_masks, found.pred_logits, found.presence_logits)
        return found

    def _below(self, found: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        """Return (N,) scores of the detections kept and their (N, H, W) probabilities on the query.

        As the library's ``post_process_instance_segmentation``, then nearest to ``size``.
        """
        from torch.nn import functional

        scores = (found.pred_logits.float().sigmoid() * found.presence_logits.float().sigmoid())[0]
        kept = scores > self.threshold
        inside = found.pred_masks[0, kept].float().sigmoid()
        if not len(inside):
            return scores[kept], inside.new_zeros(0, *size)
        whole = functional.interpolate(inside[None], size=(self.side, self.side), mode="bilinear", align_corners=False)
        return scores[kept], functional.interpolate(whole[:, :, self.rows :], size=size, mode="nearest-exact")[0]


def _stretched(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an image resized by Pillow's bilinear filter, its aspect not kept."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _box(mask: np.ndarray, share: float) -> tuple[float, float, float, float]:
    """Return the box around a mask as (cx, cy, w, h) of a canvas whose upper ``share`` is the mask's image."""
    corners = mask_box(mask)
    assert corners is not None
    left, top, right, bottom = corners
    height, width = mask.shape
    middle = (left + right + 1) / (2 * width), share * (top + bottom + 1) / (2 * height)
    return *middle, (right + 1 - left) / width, share * (bottom + 1 - top) / height
