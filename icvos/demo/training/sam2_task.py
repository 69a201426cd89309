"""``icvos train demo-sam2``: a small promptable SAM 2, trained from nothing on the drawn world's training shapes.

Each example is a clip (or a still). Instances on single frames are asked for by a box, points, or both; some things
(one instance, or all of a family) are prompted on the first frame by their mask, box or points and tracked through
memory, on the same encoded frames. The loss is on masks, predicted IoU and presence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icvos.data.lineage import DRAWN, Lineage
from icvos.demo.training.examples import Scenes
from icvos.demo.training.graphs import GraphedStep
from icvos.demo.training.prompted_clips import ClipExamples, PromptedClips, join_clips
from icvos.demo.world.episodes import TrainingWorld
from icvos.foundation.frame_tracker import Prompt, TrackedFrame
from icvos.foundation.load import build_sam, load_sam, save_sam
from icvos.foundation.pixels import to_float
from icvos.foundation.sam2 import Sam2
from icvos.foundation.sam2_config import Sam2Config
from icvos.foundation.segmenter import ImageFeatures
from icvos.foundation.tracker import Tracker, TrackerOptions
from icvos.foundation.trainings import training_texts
from icvos.training.loss import iou
from icvos.training.task import Examples, Settings, TrainingTask, check_options

__all__ = ["DEMO_SAM2", "DemoSam2Task"]

#: The demo's SAM 2: 256 px, a grid of 16, some 2.7 million parameters.
DEMO_SAM2 = Sam2Config(
    "demo",
    image_size=256,
    width=32,
    heads=1,
    stages=(1, 2, 4, 1),
    global_blocks=(4, 6),
    window_spec=(8, 4, 16, 8),
    background=6,
    embed_dim=96,
    memory_dim=32,
    memory_layers=2,
    memory_mlp=256,
    decoder_heads=4,
    decoder_mlp=256,
    dropout=0.0,
)


class _Learner(nn.Module):
    """A SAM 2, and two looks at its features that ask where there is a thing at all: they bring the encoder going."""

    def __init__(self, sam2: Sam2) -> None:
        super().__init__()
        self.sam2 = sam2
        self.coarse = nn.Conv2d(sam2.embed_dim, 1, 1)
        self.fine = nn.Conv2d(sam2.embed_dim // 8, 1, 1)

    def thing_loss(self, features: ImageFeatures, things: Tensor) -> Tensor:
        """Return BCE of (N, S, S) bool things on the coarsest and the finest map."""
        maps = ((self.coarse, features.embedding), (self.fine, features.high_res[0]))
        losses = [
            F.binary_cross_entropy_with_logits(
                look(values), F.interpolate(things[:, None].float(), values.shape[-2:], mode="area")
            )
            for look, values in maps
        ]
        return losses[0] + losses[1]


class DemoSam2Task(TrainingTask):
    """A small SAM 2 from nothing, on the drawn world.

    Args:
        weights: See ``known_weights``.
        image_size: Side of its squares, pixels; a multiple of 64. Its weights are the same at each.
        frames: Frames of a clip.
        objects: Things of a clip that are followed.
        train: ``all``, or ``tracker``: all but the image encoder, on longer clips.
        length: Examples of an epoch.
        random_share: Share of categories drawn anew.
        seed: Of the drawn world.
        pool: Scenes drawn ahead.
    """

    name = "demo-sam2"
    known_weights: ClassVar[Mapping[str, str]] = {"sam2": "weights to go on from"}

    def __init__(
        self,
        *,
        weights: Mapping[str, Path] | None = None,
        image_size: int = DEMO_SAM2.image_size,
        frames: int = 4,
        objects: int = 1,
        length: int = 20_000,
        random_share: float = 0.5,
        seed: int = 1,
        pool: Scenes | None = None,
        train: Literal["all", "tracker"] = "all",
    ) -> None:
        self.weights = dict(weights or {})
        check_options(
            self.name,
            weights=self.weights,
            known=self.known_weights,
            image_size=(image_size, 64),
            frames=(frames, 1),
            objects=(objects, 1),
            length=(length, 1),
            random_share=(random_share, 0),
            seed=(seed, 0),
        )
        self.pool, self.train, self.objects = pool, train, objects
        # The two last stages attend to the whole image at once.
        grid = image_size // 16
        self.sizes: dict[str, Any] = {"image_size": image_size, "window_spec": (8, 4, grid, grid // 2)}
        self.config = replace(DEMO_SAM2, **self.sizes)
        self.frames, self.length, self.random_share, self.seed = frames, length, random_share, seed

    def defaults(self) -> Settings:
        return Settings(epochs=1, batch=16, lr=6e-4, weight_decay=0.01, warmup=200, clip=1.0, validate_every=1)

    def model(self) -> nn.Module:
        start = self.weights.get("sam2")
        learner = _Learner(
            build_sam(Sam2, self.config) if start is None else load_sam(Sam2, start, changes=self.sizes).float()
        )
        if self.train == "tracker":
            for part in (learner.coarse, learner.fine, learner.sam2.model.image_encoder):
                part.requires_grad_(False)
        return learner

    def _world(self, seed: int) -> TrainingWorld:
        return TrainingWorld.of_layouts(self.config.image_size, seed, self.random_share)

    def train_examples(self) -> Examples:
        world = self.pool or self._world(self.seed)
        return ClipExamples(world, self.config.image_size, self.frames, self.length, objects=self.objects)

    def validation_examples(self) -> Examples:
        return ClipExamples(self._world(self.seed + 1000), self.config.image_size, 8, 96)

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> PromptedClips:
        return join_clips(examples)

    # ---- prompts on single frames ----------------------------------------------------------------------------------

    def _prompted(self, model: Sam2, features: ImageFeatures, batch: PromptedClips) -> tuple[Tensor, Tensor, Tensor]:
        """Return (N, 4, h, w) logits and (N, 4) predicted IoU of prompts on frames, and their (N, S, S) masks."""
        count, length = batch.frames.shape[:2]
        points = batch.points.flatten(0, 1)
        rows = (torch.arange(count, device=points.device)[:, None] * length + batch.prompted_frames).flatten()
        tokens, dense = model.embed((points[..., :2], points[..., 2].int()), None, None)
        chosen = features[rows]
        logits, quality, _, _ = model.model.sam_mask_decoder.predict_masks(
            image_embeddings=chosen.embedding,
            image_pe=model.dense_pe(),
            sparse_prompt_embeddings=tokens,
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=list(chosen.high_res),
        )
        return logits, quality, batch.prompted_masks.flatten(0, 1)

    def _image_loss(self, model: Sam2, features: ImageFeatures, batch: PromptedClips) -> Tensor:
        """Return the loss of the single mask, of the best of the three others, and of all predicted IoUs."""
        logits, quality, truth = self._prompted(model, features, batch)
        losses = torch.stack([sample_loss(logits[:, k], truth) for k in range(4)], dim=1)
        with torch.no_grad():
            large = F.interpolate(logits.float(), truth.shape[-2:], mode="bilinear", align_corners=False) > 0
            actual = iou(large.flatten(0, 1), truth[:, None].expand_as(large).flatten(0, 1)).view_as(quality)
        judged = (quality.float() - actual).abs().mean()
        return losses[:, 0].mean() + 0.5 * losses[:, 1:].min(dim=1).values.mean() + 0.2 * judged

    # ---- clips -----------------------------------------------------------------------------------------------------

    def _prompt(self, batch: PromptedClips) -> Prompt:
        if batch.prompt == 0:
            return Prompt(masks=batch.masks[:, :, 0].flatten(0, 1))
        start = batch.start.flatten(0, 1)
        return Prompt(points=(start[..., :2], start[..., 2].int()))

    def _track(self, model: Sam2, batch: PromptedClips, features: ImageFeatures) -> list[TrackedFrame]:
        count, length = batch.frames.shape[:2]
        # Frames without a prompt have not-a-point tokens in SAM 2 and none in DC-SAM: it learns both.
        tokens: Literal["none", "pad"] = "none" if batch.bare else "pad"
        tracker = Tracker(model, TrackerOptions(memory_dtype=None, multimask="never", tracked_tokens=tokens))
        bank = tracker.start(num_frames=length)
        order = torch.arange(count * length, device=features.embedding.device).view(count, length)
        order = order.repeat_interleave(batch.masks.shape[1], dim=0)
        prompt = self._prompt(batch)
        return [tracker.step(bank, features[order[:, t]], prompt=prompt if t == 0 else None) for t in range(length)]

    def graphed_step(self, compute: Any, optimiser: Any, parameters: Any, settings: Settings) -> GraphedStep:
        return GraphedStep(compute, optimiser, parameters, settings.clip)

    def loss(self, model: nn.Module, batch: PromptedClips) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(model, _Learner)
        learner, model = model, model.sam2
        features = model.encode(to_float(batch.frames).flatten(0, 1))
        on_images = self._image_loss(model, features, batch)
        if self.train == "all":
            on_images = on_images + learner.thing_loss(features, batch.things.flatten(0, 1))
        # Prompts differ between batches: zero times every parameter keeps DistributedDataParallel and graphs content.
        idle = on_images.new_zeros(())
        if features.embedding.is_cuda or torch.distributed.is_initialized():
            idle = torch.stack([p.sum() * 0.0 for p in model.parameters() if p.requires_grad]).sum()
        if self.frames == 1:
            return on_images + idle, {"image_loss": on_images.detach()}
        tracked = self._track(model, batch, features)
        pairs = list(zip(tracked, batch.masks.flatten(0, 1).unbind(1)))
        masks = torch.stack([mask_loss(*pair) for pair in pairs]).mean()
        extra = torch.stack([score_loss(*pair) for pair in pairs]).mean()
        scalars = {"image_loss": on_images.detach(), "mask_loss": masks.detach(), "score_loss": extra.detach()}
        return on_images + 2 * masks + extra + idle, scalars

    def validate(self, model: nn.Module, batches: Iterable[PromptedClips]) -> dict[str, list[float]]:
        assert isinstance(model, _Learner)
        model = model.sam2
        prompted: list[float] = []
        tracked: list[float] = []
        absent: list[float] = []
        for batch in batches:
            features = model.encode(to_float(batch.frames).flatten(0, 1))
            logits, _, truth = self._prompted(model, features, batch)
            large = F.interpolate(logits[:, :1].float(), truth.shape[-2:], mode="bilinear", align_corners=False)
            prompted += (100 * iou(large[:, 0] > 0, truth)).tolist()
            if self.frames == 1:
                continue
            frames = batch.masks.flatten(0, 1).unbind(1)
            for frame, masks in list(zip(self._track(model, batch, features), frames))[1:]:
                overlap = 100 * iou(frame.masks((masks.shape[-2], masks.shape[-1])), masks)
                tracked += overlap.tolist()
                absent += overlap[~masks.flatten(1).any(dim=1)].tolist()
        return {"prompted_IoU": prompted, "mIoU": prompted if self.frames == 1 else tracked, "absent_right": absent}

    def describe(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "objects": self.objects,
            "train": self.train,
            "length": self.length,
            "random_share": self.random_share,
            "seed": self.seed,
            "config": json.loads(json.dumps(self.config.to_dict())),
        }

    def export(self, model: nn.Module, path: Path) -> None:
        assert isinstance(model, _Learner)
        seen = Lineage(model.sam2.trained_on or ()) + DRAWN
        save_sam(path, model.sam2, training=training_texts(self.training, seen))


def sample_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return (N,) BCE (times 3) plus Dice of (N, h, w) logits against (N, S, S) masks.

    The loss is taken at twice the logits' grid, where boundaries begin to show.
    """
    size = (logits.shape[-2] * 2, logits.shape[-1] * 2)
    target = F.interpolate(truth[:, None].float(), size, mode="area")[:, 0]
    fine = F.interpolate(logits[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0].clamp(-30, 30)
    bce = F.binary_cross_entropy_with_logits(fine, target, reduction="none").mean(dim=(1, 2))
    chance = fine.sigmoid()
    both = (chance * target).sum(dim=(1, 2))
    dice = 1 - (2 * both + 1) / (chance.sum(dim=(1, 2)) + target.sum(dim=(1, 2)) + 1)
    return 3 * bce + dice


def mask_loss(frame: TrackedFrame, truth: Tensor) -> Tensor:
    """Return the mean ``sample_loss`` of a tracked frame, where the thing is there and where it is judged there."""
    losses = sample_loss(frame.logits[:, 0], truth)
    judged = (frame.object_score[:, 0] > 0) & truth.flatten(1).any(dim=1)
    return (losses * judged).sum() / judged.sum().clamp(min=1)


def score_loss(frame: TrackedFrame, truth: Tensor) -> Tensor:
    """Return the losses of presence (BCE) and of predicted IoU (L1, where the thing is there)."""
    there = truth.flatten(1).any(dim=1).float()
    presence = F.binary_cross_entropy_with_logits(frame.object_score[:, 0].float(), there)
    with torch.no_grad():
        actual = iou(frame.masks((truth.shape[-2], truth.shape[-1])), truth)
    quality = ((frame.iou[:, 0].float() - actual).abs() * there).mean()
    return 0.5 * presence + 0.2 * quality
