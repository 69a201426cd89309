"""``icvos train demo-sam2``: a small promptable SAM 2, trained from nothing on the drawn world's training shapes.

Each example is a short clip and one instance in it. The first frame is prompted by its mask, its box, or points inside
and outside, the rest is tracked through memory; the loss is on every frame's mask, predicted IoU and presence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcsam.loss import segmentation_loss
from icvos.build.demo_world.episodes import TrainingWorld
from icvos.foundation.sam2_config import Sam2Config
from icvos.foundation.sam2_image import Sam2, build_sam2, load_sam2, save_sam2
from icvos.foundation.tracker import Prompt, TrackedFrame, Tracker, TrackerOptions
from icvos.training.task import Examples, Settings, TrainingTask

__all__ = ["DEMO_SAM2", "ClipExamples", "DemoSam2Task", "drawn_world", "squared"]

#: The demo's SAM 2: 192 px, a grid of 12, some 2 million parameters.
DEMO_SAM2 = Sam2Config(
    "demo", image_size=192, width=32, heads=1, stages=(1, 2, 4, 1), global_blocks=(4, 6), window_spec=(8, 4, 12, 6),
    background=6, embed_dim=96, memory_dim=32, memory_layers=2, memory_mlp=256, decoder_heads=4, decoder_mlp=256,
    dropout=0.0,
)  # fmt: skip
MEAN = torch.tensor((0.485, 0.456, 0.406))[:, None, None]
STD = torch.tensor((0.229, 0.224, 0.225))[:, None, None]


def normalised(images: np.ndarray) -> Tensor:
    """Return (..., H, W, 3) uint8 as (..., 3, H, W) float, ImageNet-normalised."""
    values = torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3).float() / 255
    return (values - MEAN) / STD


def drawn_world(side: int, seed: int, random_share: float = 0.5) -> TrainingWorld:
    """Return a world whose images are 4:3 with ``side`` pixels across: the benchmark's are squeezed to squares too."""
    return TrainingWorld((side * 3 // 4, side), seed, random_share)


def squared(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squeeze (T, H, W, 3) images (bilinear) and (T, H, W) labels (nearest) to squares of side W."""
    import cv2

    cv2.setNumThreads(0)  # the loading processes are as many as there are cores
    side = images.shape[2]
    size = (side, side)
    pictures = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) for image in images])
    rows = np.arange(side) * labels.shape[1] // side
    return pictures, labels[:, rows]


class ClipExamples:
    """Clips of the drawn world with one instance each to follow."""

    def __init__(self, world: TrainingWorld, frames: int, length: int, offset: int = 0) -> None:
        self.world, self.frames, self.length, self.offset = world, frames, length, offset

    def __len__(self) -> int:
        return self.length

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        number = self.offset + epoch * self.length + index
        clip = self.world.clip(number, frames=self.frames)
        frames, labels = squared(clip.frames, clip.labels)
        generator = np.random.default_rng([self.world.seed, 31, number])
        seen = [label for label in range(1, len(clip.names) + 1) if (labels[0] == label).sum() > 40]
        label = int(generator.choice(seen)) if seen else 1
        return {
            "frames": frames,
            "masks": labels == label,
            "prompt": int(generator.integers(4)),
            "points": _points(labels[0] == label, generator),
        }


def _points(mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return (3, 3) float: x, y and label of three points, the first inside, then inside or outside; -1 is none."""
    out = np.zeros((3, 3), np.float32)
    out[:, 2] = -1
    for place in range(int(generator.integers(1, 4))):
        inside = place == 0 or generator.random() < 0.5
        rows, columns = np.nonzero(mask if inside else ~mask)
        if len(rows):
            pick = int(generator.integers(len(rows)))
            out[place] = (columns[pick] + 0.5, rows[pick] + 0.5, float(inside))
    return out


class DemoSam2Task(TrainingTask):
    """A small SAM 2 from nothing.

    Args:
        weights: ``sam2``: weights to go on from, or nothing.
        frames: Frames of a clip.
        length: Examples of an epoch.
        width: Of the image encoder's first stage.
        random_share: Of categories drawn anew.
    """

    name = "demo-sam2"

    def __init__(
        self,
        *,
        weights: Mapping[str, Path] | None = None,
        frames: int = 4,
        length: int = 20_000,
        random_share: float = 0.5,
        seed: int = 1,
    ) -> None:
        self.weights = dict(weights or {})
        self.frames, self.length, self.random_share, self.seed = frames, length, random_share, seed

    def defaults(self) -> Settings:
        return Settings(epochs=1, batch=16, lr=6e-4, weight_decay=0.01, warmup=200, clip=1.0, validate_every=1)

    def model(self) -> nn.Module:
        return load_sam2(self.weights["sam2"]) if "sam2" in self.weights else build_sam2(DEMO_SAM2)

    def _world(self, seed: int) -> TrainingWorld:
        return drawn_world(DEMO_SAM2.image_size, seed, self.random_share)

    def train_examples(self) -> Examples:
        return ClipExamples(self._world(self.seed), self.frames, self.length)

    def validation_examples(self) -> Examples:
        return ClipExamples(self._world(self.seed + 1000), 8, 96)

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return {
            "frames": normalised(np.stack([e["frames"] for e in examples])),
            "masks": torch.from_numpy(np.stack([e["masks"] for e in examples])),
            "points": torch.from_numpy(np.stack([e["points"] for e in examples])),
            # One kind of prompt a batch: the package embeds a batch of one kind.
            "prompt": examples[0]["prompt"],
        }

    def _prompt(self, batch: Mapping[str, Any]) -> Prompt:
        masks, kind = batch["masks"][:, 0], batch["prompt"]
        if kind == 0:
            return Prompt(masks=masks)
        if kind == 1:
            return Prompt(boxes=_boxes(masks))
        points = batch["points"]
        return Prompt(points=(points[..., :2], points[..., 2].int()))

    def _track(self, model: Sam2, batch: Mapping[str, Any]) -> list[TrackedFrame]:
        frames = batch["frames"]
        count, length = frames.shape[:2]
        features = model.encode(frames.flatten(0, 1))
        tracker = Tracker(model, TrackerOptions(memory_dtype=None))
        bank = tracker.start(num_frames=length)
        order = torch.arange(count * length, device=frames.device).view(count, length)
        prompt = self._prompt(batch)
        return [tracker.step(bank, features[order[:, t]], prompt=prompt if t == 0 else None) for t in range(length)]

    def loss(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(model, Sam2)
        tracked = self._track(model, batch)
        masks = torch.stack([mask_loss(frame, batch["masks"][:, t]) for t, frame in enumerate(tracked)]).mean()
        extra = torch.stack([score_loss(frame, batch["masks"][:, t]) for t, frame in enumerate(tracked)]).mean()
        # A mask prompt's frame is given back as it is, and the prompt encoder of the other kinds gets no gradient then:
        # zero times every parameter keeps DistributedDataParallel content.
        idle = torch.stack([p.sum() * 0.0 for p in model.parameters() if p.requires_grad]).sum()
        return masks + extra + idle, {"mask_loss": masks.detach(), "score_loss": extra.detach()}

    def validate(self, model: nn.Module, batches: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        assert isinstance(model, Sam2)
        first: list[float] = []
        rest: list[float] = []
        for batch in batches:
            for t, frame in enumerate(self._track(model, batch)):
                truth = batch["masks"][:, t]
                ious = iou(frame.masks((truth.shape[-2], truth.shape[-1])), truth)
                (first if t == 0 else rest).extend(ious.tolist())
        return {"mIoU": 100 * float(np.mean(rest)), "first_IoU": 100 * float(np.mean(first))}

    def describe(self) -> dict[str, Any]:
        return {"frames": self.frames, "length": self.length, "random_share": self.random_share, "seed": self.seed,
                "config": json.loads(json.dumps(DEMO_SAM2.to_dict()))}  # fmt: skip

    def export(self, model: nn.Module, path: Path) -> None:
        assert isinstance(model, Sam2)
        save_sam2(path, model)


def _boxes(masks: Tensor) -> Tensor:
    """Return the (B, 4) tight boxes of (B, H, W) masks; of an empty one the whole image."""
    height, width = masks.shape[-2:]
    rows, columns = masks.any(dim=2), masks.any(dim=1)
    top, left = rows.float().argmax(dim=1), columns.float().argmax(dim=1)
    bottom = height - rows.flip(1).float().argmax(dim=1)
    right = width - columns.flip(1).float().argmax(dim=1)
    return torch.stack([left, top, right, bottom], dim=1).float()


def mask_loss(frame: TrackedFrame, truth: Tensor) -> Tensor:
    """Return BCE (times 3) plus Dice of a frame's logits against (B, H, W) masks; frames judged absent count too.

    The loss is taken at four times the grid's logits, where boundaries begin to show.
    """
    size = (frame.logits.shape[-2] * 2, frame.logits.shape[-1] * 2)
    target = F.interpolate(truth[:, None].float(), size, mode="area")[:, 0]
    logits = frame.resized(size)[:, 0].clamp(-30, 30)
    bce = F.binary_cross_entropy_with_logits(logits, target)
    return segmentation_loss(logits[:, None], (target > 0.5)[:, None]) + 2 * bce


def score_loss(frame: TrackedFrame, truth: Tensor) -> Tensor:
    """Return the losses of presence (BCE) and of predicted IoU (L1, where the thing is there)."""
    there = truth.flatten(1).any(dim=1).float()
    presence = F.binary_cross_entropy_with_logits(frame.object_score[:, 0].float(), there)
    with torch.no_grad():
        actual = iou(frame.masks((truth.shape[-2], truth.shape[-1])), truth)
    quality = ((frame.iou[:, 0].float() - actual).abs() * there).mean()
    return 0.5 * presence + 0.2 * quality


def iou(masks: Tensor, truth: Tensor) -> Tensor:
    """Return the (B,) IoU of (B, H, W) masks; both empty is 1."""
    both = (masks & truth).flatten(1).sum(dim=1).float()
    either = (masks | truth).flatten(1).sum(dim=1).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))
