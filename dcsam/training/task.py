r"""``icvos train dcsam``: the stages of the paper, on COCO, PASCAL or the drawn world.

    icvos train dcsam --set stage=image --set data=coco-20i --set root=COCO --set fold=0 --weights sam2=… …
    icvos train dcsam --set stage=tube-pretrain --set data=mask-tubes --set root=COCO --weights dcsam=… …
    icvos train dcsam --set stage=tube-finetune --set data=mask-tubes --set train_sam=decoder+memory …

``image``: one support, one query image. ``tube-pretrain``: the same with two frames of a mask tube. On
``tube-finetune`` the prompts of a tube's first frame, from another image of the category, are tracked through all of
it. On 4 GPUs, each stage from the one before it::

    torchrun --nproc-per-node 4 -m icvos.cli train dcsam --set stage=image …      # the README has all three
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcsam.checkpoint import load_model, read_checkpoint, save_checkpoint
from dcsam.config import DCSAMConfig
from dcsam.load import fill_backbone, overlay, sam2_of_checkpoint
from dcsam.model import DCSAM
from dcsam.training.examples import open_examples
from dcsam.training.feature_cache import FeatureCache
from dcsam.training.module import Both, TrainableDCSAM, TrainSam, merged_state, trained_names
from icvos.data.lineage import DRAWN, Lineage
from icvos.data.options import DataOptions
from icvos.datasets.pairs import PairDataset
from icvos.datasets.samples import EpisodeBatch, stack
from icvos.datasets.tubes import TubeDataset
from icvos.demo.training.examples import DrawnClips, DrawnWorld, DrawnWorlds, Scenes, WorldBatch, join_worlds
from icvos.errors import UsageError
from icvos.foundation.load import open_segmenter
from icvos.foundation.pixels import to_float
from icvos.foundation.sam2 import Sam2
from icvos.foundation.segmenter import ImageFeatures, PromptableSegmenter
from icvos.training.loss import iou, segmentation_loss
from icvos.training.task import Examples, Settings, TrainingTask, check_options

__all__ = ["DCSamTask", "LossWeights", "ModelSizes", "TrainedParts"]

Stage = Literal["image", "tube-pretrain", "tube-finetune"]

# On video the logits are clamped so before the loss, but for Q19: a wrong "absent", -1024, would outweigh all else.
CLAMP = 50.0


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a new model, and the parts that ablations switch off; see ``DCSAMConfig``.

    Attributes:
        backbone: Its name: ``resnet50``, ``resnet101``, ``vgg16_bn``, … .
        image_size: Side of the squares that it sees, pixels.
        queries: Prompts a side.
        dropout: Share of the projected features that training drops.
        negative: The negative branch.
        cyclic: The cyclic bias of the cross-attention.
        place_codes: Add SAM's code of the places that a prompt looks at to the prompt.
    """

    backbone: str = "resnet50"
    image_size: int = 512
    queries: int = 25
    dropout: float = 0.5
    negative: bool = True
    cyclic: bool = True
    place_codes: bool = False


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses beside that of the final mask; the authors have none of them.

    Attributes:
        coarse_weight: Weight of the same loss on the first stage's mask.
        prior_weight: Weight of the loss that teaches a backbone from nothing (with ``train_backbone``).
        attention_weight: Weight of the loss that asks the final prompts to look at the thing.
        presence_weight: Weight of the loss of SAM 2's object score, that of whether the thing is on a frame.
    """

    coarse_weight: float = 0.0
    prior_weight: float = 0.0
    attention_weight: float = 0.0
    presence_weight: float = 0.0


@dataclass(frozen=True)
class TrainedParts:
    """What is trained beside the prompt generator's head, and what of it a checkpoint holds.

    Attributes:
        train_sam: What of SAM 2 is trained (the paper's Tables VI, VII and X).
        train_backbone: Train the backbone too (the demo's, which starts from nothing).
        sam_file: Write the whole SAM 2 into a checkpoint, or only what of it was trained (``changed``: the checkpoint
            then needs the same ``--weights sam2=`` again).
    """

    train_sam: TrainSam = "none"
    train_backbone: bool = False
    sam_file: Literal["whole", "changed"] = "whole"


SYNTHETIC, TRAINED, SIZES, LOSSES = DataOptions(), TrainedParts(), ModelSizes(), LossWeights()


class DCSamTask(TrainingTask):
    """DC-SAM's prompt generator on a SAM or SAM 2, in the paper's stages.

    Args:
        weights: See ``known_weights``. Beside ``dcsam``, a ``backbone`` takes the place of its own, and the SAM given
            is taken as it is: its head goes on over them.
        stage: ``image`` (pairs of images), ``tube-pretrain`` (pairs of frames) or ``tube-finetune`` (tracked tubes).
        source: The training data.
        trained: What is trained beside the head.
        sizes: Of a new model.
        variant: ``corrected``, or ``reference``: what the public code computes.
        losses: Weights of the losses beside that of the final mask.
        frames: Frames of a tube or clip.
        cache: Folder for the frozen encoders' features (image stage on real data): each image is encoded once in the
            whole training. What it will take is said before the start.
    """

    name = "dcsam"
    known_weights: ClassVar[Mapping[str, str]] = {
        "dcsam": "a checkpoint to go on from, published or our own",
        "sam2": "the SAM 2; a video checkpoint holds its own",
        "sam": "the SAM, in place of SAM 2 in stage image",
        "backbone": "ImageNet weights; needed by a new model, in place of its own beside dcsam",
    }

    def __init__(
        self,
        *,
        weights: Mapping[str, Path] | None = None,
        stage: Stage = "image",
        source: DataOptions = SYNTHETIC,
        trained: TrainedParts = TRAINED,
        sizes: ModelSizes = SIZES,
        variant: Literal["corrected", "reference"] = "corrected",
        losses: LossWeights = LOSSES,
        frames: int = 5,
        cache: Path | None = None,
        pool: Scenes | None = None,
    ) -> None:
        self.weights = dict(weights or {})
        check_options(
            self.name,
            weights=self.weights,
            known=self.known_weights,
            frames=(frames, 1),
            queries=(sizes.queries, 1),
            image_size=(sizes.image_size, 1),
            **{name: (weight, 0) for name, weight in asdict(losses).items()},
        )
        self.pool = pool
        if stage != "tube-finetune" and trained.train_sam in ("memory", "decoder+memory", "lora"):
            raise UsageError(
                f"train_sam={trained.train_sam} trains memory, which stage {stage} does not reach",
                fix="use stage=tube-finetune, or train_sam=none or decoder",
            )
        frozen = trained.train_sam == "none" and not trained.train_backbone
        if cache is not None and (stage != "image" or source.data == "demo" or not frozen):
            raise UsageError("cache= is for the image stage on real data with frozen encoders", fix="leave cache= out")
        if stage == "image" and trained.train_sam != "none" and source.data != "demo":
            raise UsageError("SAM is frozen in the image stage", expected="train_sam=none")
        self.stage, self.source, self.trained, self.frames = stage, source, trained, frames
        self.sizes, self.variant, self.losses = sizes, variant, losses
        self.side = sizes.image_size
        self.cache_root = cache
        self._cache: FeatureCache | None = None
        self._backbone_options: Mapping[str, Any] = {}
        self._opened: dict[str, Examples] = {}
        self._hashes: dict[str, str] = {}

    def defaults(self) -> Settings:
        """Return the authors' settings (their README; facts: paper tables, training facts)."""
        if self.stage == "image":
            pascal = self.source.data == "pascal-5i"
            return Settings(epochs=100 if pascal else 50, batch=2, lr=2e-4 if pascal else 1e-4)
        if self.stage == "tube-pretrain":
            return Settings(epochs=40, batch=8, lr=1e-4)
        return Settings(epochs=10, batch=1, lr=1e-5)

    # -------------------------------------------------------------------------------------------------------- model

    def model(self) -> nn.Module:
        sam, generator = self._parts()
        if not isinstance(sam, Sam2) and self.stage != "image":
            raise UsageError(f"stage {self.stage} needs SAM 2", fix="give --weights sam2=PATH")
        if self.losses.presence_weight and not (isinstance(sam, Sam2) and sam.config.pred_obj_scores):
            raise UsageError("presence_weight needs a SAM 2 with object scores", fix="leave it out")
        self._backbone_options = generator.config.backbone_options
        return TrainableDCSAM(
            generator, sam, train_sam=self.trained.train_sam, train_backbone=self.trained.train_backbone
        )

    def _parts(self) -> tuple[PromptableSegmenter, DCSAM]:
        checkpoint = read_checkpoint(self.weights["dcsam"]) if "dcsam" in self.weights else None
        self._before = Lineage() if checkpoint is None else checkpoint.lineage
        sam_file = self.weights.get("sam2") or self.weights.get("sam")
        if sam_file is not None:
            sam = open_segmenter(sam_file)
            changed = checkpoint is not None and checkpoint.metadata.get("sam2_part") == "changed"
            if checkpoint is not None and changed and isinstance(sam, Sam2) and "backbone" not in self.weights:
                overlay(sam, checkpoint)
        elif checkpoint is not None and checkpoint.sam2 is not None:
            sam = sam2_of_checkpoint(checkpoint)
        else:
            raise UsageError("no SAM to train with", fix="give --weights sam2=PATH (or sam=PATH)")
        if checkpoint is not None:
            model = load_model(checkpoint, variant=self.variant).float()
            self.side = model.config.image_size
            if "backbone" in self.weights:
                fill_backbone(model, self.weights["backbone"])
            return sam.float(), model
        return sam.float(), self._new(sam)

    def _new(self, sam: PromptableSegmenter) -> DCSAM:
        high = (32, 64)
        if isinstance(sam, Sam2):
            high = (sam.embed_dim // 8, sam.embed_dim // 4)
        make = DCSAMConfig.reference if self.variant == "reference" else DCSAMConfig.corrected
        config = make(
            sam=2 if isinstance(sam, Sam2) else 1,
            width=sam.embed_dim,
            sam_channels=sam.embed_dim,
            sam_high_res=high,
            **asdict(self.sizes),
        )
        generator = DCSAM(config)
        if "backbone" in self.weights:
            fill_backbone(generator, self.weights["backbone"])
        elif not self.trained.train_backbone:
            raise UsageError(
                "a new DC-SAM needs a trained backbone", fix="give --weights backbone=PATH ('icvos weights list')"
            )
        return generator

    # --------------------------------------------------------------------------------------------------------- data

    def train_examples(self) -> Examples:
        return self._examples("train")

    def validation_examples(self) -> Examples | None:
        return self._examples("validation")

    def _examples(self, part: str) -> Examples:
        if self.pool is not None and part == "train":
            if self.stage == "image":
                return DrawnWorlds(self.pool, self.side, self.source.length)
            return DrawnClips(self.pool, self.side, self.source.length, self.frames)
        if part not in self._opened:
            self._opened[part] = open_examples(
                self.source,
                part,
                size=self.side,
                frames=1 if self.stage == "image" else self.frames,
                tubes=self.stage != "image",
                pairs=self.stage == "tube-pretrain",
            )
        return self._opened[part]

    def notes(self, model: nn.Module) -> list[str]:
        """Return what to know before the start: the size of the feature cache."""
        assert isinstance(model, TrainableDCSAM)
        cache = self._features(model)
        if cache is None:
            return []
        parts = [self._examples(part) for part in ("train", "validation")]
        return [cache.estimate(model, sum(part.images for part in parts if isinstance(part, PairDataset)))]

    def _features(self, model: TrainableDCSAM) -> FeatureCache | None:
        """Return the cache, if there is one; its key holds the backbone as the model has it, with its dilation."""
        if self.cache_root is not None and self._cache is None:
            config = model.generator.config
            built = {name: getattr(config, name) for name in ("backbone", "backbone_options", "image_size")}
            self._cache = FeatureCache(self.cache_root, [self.data_source, self._weight_hashes(), built])
        return self._cache

    @property
    def data_source(self) -> list[str]:
        """What an image's name is unique in."""
        examples = self._examples("train")
        return [examples.sampler.pool.masks.source] if isinstance(examples, PairDataset) else [self.source.data]

    def _weight_hashes(self) -> dict[str, str]:
        from icvos.files import file_sha256

        for name, path in sorted(self.weights.items()):
            if name not in self._hashes:
                self._hashes[name] = file_sha256(path)
        return self._hashes

    def collate(self, examples: Sequence[Any]) -> EpisodeBatch | WorldBatch:
        if isinstance(examples[0], DrawnWorld):
            return join_worlds(examples)
        return stack(examples)

    # --------------------------------------------------------------------------------------------------------- loss

    def loss(self, model: nn.Module, batch: EpisodeBatch | WorldBatch) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(model, TrainableDCSAM)
        support_masks, masks = _masks(batch)
        logits, coarse, extra = self._forward(model, batch, support_masks, masks)
        scalars: dict[str, Tensor] = {}
        truth = masks if self.stage == "tube-finetune" else masks[:, :1]
        loss = segmentation_loss(logits, truth)
        scalars["mask_loss"] = loss.detach()
        if self.losses.coarse_weight:
            loss = loss + self.losses.coarse_weight * segmentation_loss(coarse, masks[:, :1])
        for name, value in extra.items():
            scalars[f"{name}_loss"] = value.detach()
            loss = loss + getattr(self.losses, f"{name}_weight") * value
        with torch.no_grad():
            scalars["train_mIoU"] = 100 * iou((logits > 0).flatten(1)[:, None], truth.bool().flatten(1)[:, None]).mean()
        return loss, scalars

    def _forward(
        self, model: TrainableDCSAM, batch: EpisodeBatch | WorldBatch, support_masks: Tensor, masks: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the final logits (B, T, S, S), the first stage's (B, 1, S, S) on frame 0, and further losses."""
        count, length = masks.shape[:2]
        video = self.stage == "tube-finetune"
        side = (masks.shape[-2], masks.shape[-1])
        support, query, frames = self._encoded(model, batch)
        align = not video
        stages = model.prompts(support, support_masks, query, shots=1, align=align)
        coarse = (
            F.interpolate(model.decode(query[1], stages[0]).float(), side, mode="bilinear", align_corners=align)
            if self.losses.coarse_weight
            else torch.zeros(count, 1, *side)
        )
        extra: dict[str, Tensor] = {}
        if self.losses.prior_weight:
            extra["prior"] = model.prior_loss(support[0], support_masks, query[0], masks[:, 0])
        if self.losses.attention_weight:
            extra["attention"] = model.attention_loss(stages[2], masks[:, 0])
        if not video:
            decoded = model.sam.decode(query[1], embeddings=stages[1])
            if self.losses.presence_weight:
                extra["presence"] = _presence_loss([decoded.object_score], masks)
            return F.interpolate(decoded.logits.float(), side, mode="bilinear", align_corners=True), coarse, extra
        assert frames is not None
        tracked = model.track(stages[1], frames, count, length)
        if self.losses.presence_weight:
            extra["presence"] = _presence_loss([frame.object_score for frame in tracked], masks)
        logits = torch.cat([frame.logits.float() for frame in tracked], dim=1)
        if not model.generator.config.absent_logits_in_loss:
            logits = logits.clamp(-CLAMP, CLAMP)
        return F.interpolate(logits, side, mode="bilinear", align_corners=False), coarse, extra

    def _encoded(
        self, model: TrainableDCSAM, batch: EpisodeBatch | WorldBatch
    ) -> tuple[Both, Both, ImageFeatures | None]:
        """Return the features of supports, of queries, and of all frames of tubes: each image once, all together."""
        if isinstance(batch, WorldBatch):
            backbone, sam = model.encode(to_float(batch.images), top=bool(self.losses.prior_weight))
            supports, queries, _ = batch.pairs.unbind(1)
            return (
                (backbone.map(lambda x: x[supports]), sam[supports]),
                (backbone.map(lambda x: x[queries]), sam[queries]),
                None,
            )
        support, frames = to_float(batch.supports[:, 0]), to_float(batch.frames)
        count, length = frames.shape[:2]
        cache = self._features(model)
        all_frames = None
        first = query = torch.arange(count, device=frames.device)
        if cache is not None:
            names = [*(names[0] for names in batch.support_names), *batch.names]
            backbone, sam = cache.encode(model, torch.cat([support, frames[:, 0]]), names)
        else:
            # Only a backbone that learns from its priors needs its top map with a graph.
            backbone = model.extract(torch.cat([support, frames[:, 0]]), top=bool(self.losses.prior_weight))
            if self.stage == "tube-finetune":
                sam = model.encode_sam(torch.cat([support, frames.flatten(0, 1)]))
                query, all_frames = query * length, sam[count:]
            else:
                sam = model.encode_sam(torch.cat([support, frames[:, 0]]))
        return (
            (backbone.map(lambda maps: maps[:count]), sam[first]),
            (backbone.map(lambda maps: maps[count:]), sam[query + count]),
            all_frames,
        )

    def validate(self, model: nn.Module, batches: Iterable[EpisodeBatch | WorldBatch]) -> dict[str, list[float]]:
        assert isinstance(model, TrainableDCSAM)
        every: list[float] = []
        visible: list[float] = []
        for batch in batches:
            support_masks, masks = _masks(batch)
            logits, _, _ = self._forward(model, batch, support_masks, masks)
            truth = masks[:, : logits.shape[1]].bool().flatten(0, 1)
            ious = 100 * iou((logits > 0).flatten(0, 1), truth)
            every += ious.tolist()
            visible += ious[truth.flatten(1).any(dim=1)].tolist()
        return {"mIoU": every, "visible_IoU": visible}

    # ------------------------------------------------------------------------------------------------------ records

    def describe(self) -> dict[str, Any]:
        examples = self._examples("train")
        source = examples.describe() if isinstance(examples, (PairDataset, TubeDataset)) else None
        return {
            "stage": self.stage,
            "data": self.source.data,
            "fold": self.source.fold,
            "train_sam": self.trained.train_sam,
            "train_backbone": self.trained.train_backbone,
            "variant": self.variant,
            "sizes": asdict(self.sizes),
            # Runs of 0.2.0 do not name the presence loss.
            **{k: v for k, v in asdict(self.losses).items() if v or k != "presence_weight"},
            "length": self.source.length,
            "frames": self.frames,
            "seed": self.source.seed,
            "weights": self._weight_hashes(),
            # A ResNet's dilation, which is a checkpoint's own where training goes on from one.
            **({"backbone_options": self._backbone_options} if self._backbone_options else {}),
            # What a reference run of 0.1.0 did not do, so that it is not continued as if it had.
            **({"deviations": ["Q19", "Q20"]} if self.variant == "reference" and self.stage == "tube-finetune" else {}),
            **({} if source is None else {"examples": source, "cached": self.cache_root is not None}),
        }

    def export(self, model: nn.Module, path: Path) -> None:
        assert isinstance(model, TrainableDCSAM)
        # A SAM that came inside the checkpoint goes on inside it.
        inside = "sam2" not in self.weights and "sam" not in self.weights
        trained_sam = inside or self.trained.train_sam != "none" or self.source.data == "demo" or self.stage != "image"
        examples = self._examples("train")
        seen = examples.lineage() if isinstance(examples, (PairDataset, TubeDataset)) else DRAWN
        seen = self._before + seen
        metadata = {"stage": self.stage, "data": self.source.data, "train_sam": self.trained.train_sam, **seen.texts()}
        if self.training:
            metadata["training"] = json.dumps(dict(self.training), sort_keys=True)
        sam2 = None
        if isinstance(model.sam, Sam2) and trained_sam:
            metadata["sam2_config"] = json.dumps(model.sam.config.to_dict())
            sam2 = merged_state(model.sam.model)
            if self.trained.sam_file == "changed":
                metadata["sam2_part"] = "changed"
                sam2 = {name: sam2[name] for name in trained_names(model.sam.model)}
        save_checkpoint(path, model.generator, sam2=sam2, metadata=metadata)


def _presence_loss(scores: Sequence[Tensor | None], masks: Tensor) -> Tensor:
    """Return the BCE of object scores, (B, 1) a frame, against whether (B, T, S, S) masks show anything."""
    known = [score for score in scores if score is not None]
    logits = torch.cat(known, dim=1).float()
    return F.binary_cross_entropy_with_logits(logits, masks[:, : len(known)].flatten(2).any(dim=2).float())


def _masks(batch: EpisodeBatch | WorldBatch) -> tuple[Tensor, Tensor]:
    """Return the masks of the supports, (B, S, S) bool, and of the frames, (B, T, S, S) bool."""
    if isinstance(batch, WorldBatch):
        support_masks, query_masks = batch.masks()
        return support_masks, query_masks[:, None]
    return batch.support_masks[:, 0], batch.masks
