"""SANSA: Cuttano et al., "SANSA: Unleashing the Hidden Semantics in SAM2 for Few-Shot Segmentation" (NeurIPS 2025).

arXiv 2505.21795. Small adapters in SAM 2's image encoder (``baselines/sansa_adapters.py``) make features of one kind of
thing alike across images, and SAM 2's own memory does the rest (section 3): the supports are the first frames of a
video, prompted by their masks, and each image to segment is a later frame that attends to them. Object scores are off.
Support 0 is the one conditioning memory; further ones are recent memories, as segmented frames are, so their order
counts and from the eighth frame on they fall out. Written from a description of the public code, which has no licence.

Departures: images and masks are resized once, to SAM's square (the authors' scripts make them squares of 640 or 518
first); supports with an empty mask are left out; scribbles are drawn in another way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, Video, VideoModel, WeightInfo
from icvos.categories import get_vocabulary
from icvos.data.lineage import SAM2_DATA, Lineage

if TYPE_CHECKING:
    from icvos.foundation.frame_tracker import Prompt
    from icvos.foundation.segmenter import ImageFeatures
    from icvos.foundation.tracker import MemoryBank, Tracker

__all__ = ["Sansa", "box_of", "points_of", "sansa_tracker", "scribble_of", "support_prompt"]

#: Points that a mask is prompted by, and that a scribble is drawn with.
POINTS = 20
PromptKind = Literal["mask", "point", "box", "scribble"]


class Sansa(VideoModel, ImageModel):
    """SAM 2 with SANSA's adapters.

    Args:
        prompt: What of a support's mask SAM 2 is told: the ``mask``, 20 random points of it (``point``), a random
            stroke inside (``scribble``), or the ``box`` of its largest part.
        ahead: Video frames encoded together (more pays on a GPU).
        trained_on: What the authors' adapters, which do not say, were trained on, for the leaderboards' marks:
            ``coco-20i:FOLD`` (all but that test fold's classes) or ``coco``; by default all that their generalist saw.
            Beside what a file of ours says.
    """

    info = ModelInfo(
        name="sansa",
        version="1",
        paper="Cuttano et al., SANSA: Unleashing the Hidden Semantics in SAM2 for Few-Shot Segmentation, NeurIPS 2025 "
        "(arXiv 2505.21795)",
        licence="Apache-2.0; the authors' repository has no licence, their adapters none either",
        weights={
            "sansa": WeightInfo(
                "icvos train sansa, or the authors' adapter_*.pth (Google Drive, by "
                "https://github.com/ClaudiaCuttano/SANSA; no hash is known)"
            ),
            "sam2": WeightInfo(
                "the SAM 2 that the adapters belong to: for the authors' sam2-hiera-large (icvos weights list)"
            ),
        },
        training_categories=get_vocabulary("coco80").names,
        training_data=("coco2014:train", "lvis:train", "ade20k:train", "paco:train", *SAM2_DATA),
        extra="sam",
        demo_weights={
            "sansa": "baselines/weights/demo_sansa.safetensors",
            "sam2": "icvos/demo/weights/demo_sam2.safetensors",
        },
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        prompt: PromptKind = "mask",
        ahead: int = 1,
        trained_on: str = "",
    ) -> None:
        super().__init__(device=device, weights=weights)
        from baselines.sansa_adapters import load_sansa

        self.model, saved = load_sansa(self.weights["sam2"], self.weights["sansa"])
        self.tracker = sansa_tracker(self.model.to(device).segmenter, ahead=ahead)
        self.prompt: PromptKind = prompt
        if saved is not None or trained_on:
            known = Lineage.named(trained_on) if trained_on else Lineage()
            known += (Lineage.of_record(saved.metadata) if saved is not None else None) or Lineage()
            known += Lineage(self.tracker.segmenter.trained_on or SAM2_DATA)
            self.info = replace(self.info, training_data=known.data, training_categories=known.categories)

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        for predictions in self.segment_many([supports], video, seeds=[seed]):
            yield predictions[0]

    def segment_many(
        self, episodes: Sequence[Sequence[Support]], video: Video, *, seeds: Sequence[int]
    ) -> Iterator[Sequence[Any]]:
        """Segment for all support sets at once: each frame is encoded once; sets of one size are a batch."""
        import torch

        from icvos.foundation.streams import without_gradients

        masked = [[support for support in supports if support.mask.any()] for supports in episodes]
        groups: dict[int, list[int]] = {}
        for number, supports in enumerate(masked):
            groups.setdefault(len(supports), []).append(number)
        groups.pop(0, None)
        banks = {
            count: self._remember([masked[number] for number in numbers], [seeds[number] for number in numbers])
            for count, numbers in groups.items()
        }
        empty = Prediction(np.zeros(video.size, bool), confidence=0.0)
        if not banks:
            yield from ([empty] * len(episodes) for _ in range(len(video)))
            return
        for features in without_gradients(self.tracker.encode(video)):
            predictions = [empty] * len(episodes)
            for count, numbers in groups.items():
                with torch.no_grad():
                    logits = self.tracker.step(banks[count], features).resized(video.size)[:, 0]
                for number, score in zip(numbers, logits, strict=True):
                    predictions[number] = Prediction(score > 0, score=score)
            yield predictions

    def fit(self, supports: Sequence[Support], *, seed: int) -> MemoryBank | None:
        """Return the memory of the supports, or None if none has a mask."""
        masked = [support for support in supports if support.mask.any()]
        return self._remember([masked], [seed]) if masked else None

    def predict(self, fitted: MemoryBank | None, image: np.ndarray) -> Prediction:
        import torch

        size = (image.shape[0], image.shape[1])
        if fitted is None:
            return Prediction(np.zeros(size, bool), confidence=0.0)
        with torch.no_grad():
            # Of a copy, which the image enters: each image is the first after the supports.
            frame = self.tracker.step(fitted.copy(), next(self.tracker.encode([image])))
            score = frame.resized(size)[0, 0]
        mask = score > 0
        return Prediction(mask, score=score, confidence=float(score[mask].sigmoid().mean()) if mask.any() else 0.0)

    def _remember(self, episodes: Sequence[Sequence[Support]], seeds: Sequence[int]) -> MemoryBank:
        """Return the memory of support sets of one size, as a batch; a support that is used twice is encoded once."""
        import torch

        from icvos.foundation.segmenter import ImageFeatures

        generators = [np.random.default_rng(seed) for seed in seeds]
        encoded: dict[int, ImageFeatures] = {}
        bank = self.tracker.start(num_frames=0)  # pointers are counted up to the frame in hand
        with torch.no_grad():
            for column in zip(*episodes, strict=True):
                for support in column:
                    if id(support.image) not in encoded:
                        encoded[id(support.image)] = next(self.tracker.encode([support.image]))
                features = ImageFeatures.cat([encoded[id(support.image)] for support in column])
                masks = [support.mask for support in column]
                prompt = support_prompt(masks, self.prompt, self.tracker, generators)
                self.tracker.step(bank, features, prompt=replace(prompt, recent=bank.index > 0))
        return bank


def sansa_tracker(segmenter: Any, *, ahead: int = 1) -> Tracker:
    """Return the tracker as SANSA uses it; the segmenter is one of ``open_sam2``.

    Memories are kept in their own precision; images are resized bilinearly with antialiasing.
    """
    from icvos.foundation.tracker import Tracker, TrackerOptions

    options = TrackerOptions(memory_dtype=None, binarize_prompted=False, resample="bilinear", ahead=ahead)
    return Tracker(segmenter, options)


def support_prompt(
    masks: Sequence[np.ndarray], kind: PromptKind, tracker: Tracker, generators: Sequence[np.random.Generator]
) -> Prompt:
    """Return the prompt of N supports' masks on one frame.

    Args:
        masks: (H, W) bool, of any sizes; none is empty.
        kind: As the plugin's option.
        tracker: Of the SAM 2 that is prompted.
        generators: One a mask, for points and scribbles.
    """
    import torch
    from torch.nn.functional import interpolate

    from icvos.foundation.frame_tracker import Prompt

    segmenter = tracker.segmenter
    side, device = segmenter.image_size, segmenter.device
    if kind == "mask":
        squares = [
            interpolate(
                torch.tensor(mask, device=device)[None, None].float(),
                (side, side),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
            for mask in masks
        ]
        # Wherever the filter reaches the mask; SAM 2 itself asks for half.
        return Prompt(masks=(torch.cat(squares) > 0).float())
    if kind == "box":
        boxes = [box_of(mask) * (side / np.array(mask.shape[::-1] * 2)) for mask in masks]
        return Prompt(boxes=torch.tensor(np.stack(boxes), dtype=torch.float32, device=device))
    pick = points_of if kind == "point" else scribble_of
    points = [
        pick(mask, generator) * (side / np.array(mask.shape[::-1]))
        for mask, generator in zip(masks, generators, strict=True)
    ]
    coordinates = torch.tensor(np.stack(points), dtype=torch.float32, device=device)
    return Prompt(points=(coordinates, torch.ones(coordinates.shape[:2], dtype=torch.int32, device=device)))


def points_of(mask: np.ndarray, generator: np.random.Generator, count: int = POINTS) -> np.ndarray:
    """Return (K, 2) float (x, y): random pixels of a (H, W) bool mask; one comes again where there are too few."""
    rows, columns = np.nonzero(mask)
    chosen = generator.choice(len(rows), count, replace=len(rows) < count)
    return np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float64)


def scribble_of(mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return (20, 2) float (x, y): points along a random curve, those that lie inside a (H, W) bool mask.

    The curve is a quadratic Bézier between pixels of the mask (the authors draw presets of strokes).
    """
    first, bend, last = points_of(mask, generator, 3)
    t = np.linspace(0, 1, 10 * POINTS)[:, None]
    curve = np.rint((1 - t) ** 2 * first + 2 * t * (1 - t) * bend + t**2 * last)
    columns, rows = curve.astype(int).T
    inside = curve[mask[rows, columns]]
    return inside[np.linspace(0, len(inside) - 1, POINTS).astype(int)]


def box_of(mask: np.ndarray) -> np.ndarray:
    """Return (4,) float (x0, y0, x1, y1), the box of the largest part of a (H, W) bool mask, x1 and y1 past its end.

    Parts hang together by edges. A box that overlaps an earlier one is joined to it, in one pass.
    """
    import cv2

    _, _, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    joined: list[np.ndarray] = []
    for left, top, width, height, _ in statistics[1:]:
        box = np.array([left, top, left + width, top + height], np.float64)
        for other in joined:
            if (np.maximum(box[:2], other[:2]) < np.minimum(box[2:], other[2:])).all():
                other[:2], other[2:] = np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])
                break
        else:
            joined.append(box)
    return max(joined, key=lambda box: float(np.prod(box[2:] - box[:2])))
