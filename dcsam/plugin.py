"""``--model dcsam``: DC-SAM on videos and on images, from published checkpoints or the project's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, Video, VideoModel, WeightInfo
from icvos.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from dcsam.engine import Engine
    from dcsam.features import SupportState
    from icvos.models.interface import Panel

__all__ = ["DCSam", "DCSamOptions"]

# The fill_hole_area of SAM 2's published configurations of the video predictor.
SAM2_HOLES = 8

_PAPER = "DC-SAM: In-Context Segment Anything in Images and Videos via Dual Consistency (arXiv 2504.12080)"


@dataclass(frozen=True)
class DCSamOptions:
    """Settings of DC-SAM.

    Attributes:
        variant: ``corrected``, ``reference`` (what the public code computes; one support), or ``auto``: the
            checkpoint's own, which is ``reference`` for a published one.
        precision: ``fp32``, ``bf16`` (autocast), or ``auto``: bf16 on CUDA, but fp32 for images of the ``reference``
            variant, as the authors' evaluation of images has no autocast.
        ahead: Video frames encoded together; 0 chooses 1 on the CPU and 8 on CUDA.
        compile: Compile SAM's encoders and mask decoder with torch.compile (pays over many frames).
        trained_on: What a published checkpoint, which does not say, was trained on, for the leaderboards' marks:
            ``coco-20i:FOLD`` or ``pascal-5i:FOLD`` (all but that test fold's classes), or ``coco`` (all 80). It is
            added to what a checkpoint of ours says, which may have begun as a published one.
        fill_holes: On videos: fill holes of at most so many pixels of SAM 2's low-resolution logits; 0 fills none,
            ``auto`` is 8 for the ``reference`` variant, whose public code does so where its compiled extension was
            built, else 0.
        train_mode: Repeat the public video evaluation, which never leaves training mode (fact Q10): dropout, batch
            statistics; results are stochastic.
    """

    variant: Literal["auto", "corrected", "reference"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    ahead: int = 0
    compile: bool = False
    trained_on: str = ""
    fill_holes: int | Literal["auto"] = "auto"
    train_mode: bool = False


DEFAULTS = DCSamOptions()


class DCSam(VideoModel, ImageModel):
    """DC-SAM. On videos the prompts of frame 0 start SAM 2's tracker; on images they give the mask.

    The checkpoint says which SAM, backbone and variant it is. A video checkpoint holds its SAM 2; an image checkpoint
    needs ``--weights sam2=PATH`` (or ``sam=PATH`` for SAM 1). The backbone is always the checkpoint's own.
    """

    info = ModelInfo(
        name="dcsam",
        version="1",
        paper=_PAPER,
        licence="Apache-2.0",
        access="online",
        weights={
            "dcsam": WeightInfo("icvos train dcsam, or the authors' checkpoint (no public link is known)"),
            "sam2": WeightInfo("a SAM 2 checkpoint, for an image checkpoint of DC-SAM with SAM 2", required=False),
            "sam": WeightInfo("a SAM checkpoint, for a DC-SAM with SAM 1", required=False),
        },
        training_data=("coco2014:train", "sa-1b:train", "sa-v:train"),
        extra="sam",
        demo_weights={
            "dcsam": "dcsam/weights/demo_dcsam.safetensors",
            "sam2": "icvos/demo/weights/demo_sam2.safetensors",
        },
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        options: DCSamOptions = DEFAULTS,
    ) -> None:
        super().__init__(device=device, weights=weights)
        from dcsam.load import open_engine
        from icvos.foundation.holes import check_area

        self.options = options
        if options.fill_holes != "auto":
            check_area(options.fill_holes)
        self.engine = open_engine(
            self.weights,
            device=device,
            variant=None if options.variant == "auto" else options.variant,
            ahead=options.ahead or (8 if device.startswith("cuda") else 1),
            fold=not options.train_mode,
            trained_on=options.trained_on,
        )
        # What the options came to, by kind of benchmark; the record of a run says it.
        self.variant = self.engine.model.config.variant
        self.precision = {
            kind: precision_of(options.precision, self.variant, kind, device=device) for kind in ("video", "image")
        }
        self.dtype = {kind: {"bf16": "bfloat16", "fp32": "float32"}[each] for kind, each in self.precision.items()}
        self.autocast = {kind: "bfloat16" if each == "bf16" else None for kind, each in self.precision.items()}
        self.fill_holes = {"video": hole_area(options.fill_holes, self.variant), "image": 0}
        self.engine.precision, self.engine.fill_holes = self.precision["video"], self.fill_holes["video"]
        # Weights cast ahead would spoil images in single precision.
        if self.precision["image"] == self.precision["video"] and not options.train_mode:
            self.engine.cast_weights()
        lineage = self.engine.lineage
        self.info = replace(type(self).info, training_data=lineage.data, training_categories=lineage.categories)
        if options.compile:
            self.engine.compile()
        if options.train_mode:
            import torch.nn as nn

            # Past DCSAM.train, which would keep the backbone in eval: the public code does not.
            nn.Module.train(self.engine.model, True)
            self.engine.segmenter.train(True)
            # Batch statistics are those of one image, as in the public code, which takes one support and one video.
            self.engine.alone = True

    @property
    def image_engine(self) -> Engine:
        """The engine at the precision that images have."""
        return self.engine.with_precision(self.precision["image"])

    def _check(self, supports: Sequence[Support]) -> None:
        if self.engine.model.config.single_support and len(supports) > 1:
            raise UsageError(
                f"the reference variant of DC-SAM takes one support, not {len(supports)}",
                fix="use --set variant=corrected, or --shots 1",
            )

    # ------------------------------------------------------------------------------------------------------- video

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        for masks in self.segment_many([supports], video, seeds=[seed]):
            yield masks[0]

    def segment_many(
        self, episodes: Sequence[Sequence[Support]], video: Video, *, seeds: Sequence[int]
    ) -> Iterator[Sequence[Any]]:
        """Run several support sets on one video: each frame and each support image is encoded once."""
        import torch

        for supports in episodes:
            self._check(supports)
        if len(episodes) > 1 and (self.engine.alone or len({len(supports) for supports in episodes}) > 1):
            yield from super().segment_many(episodes, video, seeds=seeds)
            return
        with torch.no_grad(), self.engine.autocast():
            state = self.engine.supports(episodes)
        hopeless = [not any(support.mask.any() for support in supports) for supports in episodes]
        for masks in self._track(state, video):
            yield [torch.zeros_like(mask) if empty else mask for mask, empty in zip(masks, hopeless)]

    def _track(self, supports: SupportState, video: Video) -> Iterator[Iterable[Tensor]]:
        return self.engine.track(supports, video)

    # ------------------------------------------------------------------------------------------------------- image

    def fit(self, supports: Sequence[Support], *, seed: int) -> Any:
        from dcsam.engine import Fitted

        self._check(supports)
        if not any(support.mask.any() for support in supports):
            return None
        return Fitted([list(supports)])

    def predict(self, fitted: Any, image: np.ndarray) -> Prediction:
        import torch

        if fitted is None:
            return Prediction(np.zeros(image.shape[:2], bool), confidence=0.0)
        engine = self.image_engine
        with torch.no_grad(), engine.autocast():
            logits, _, _ = engine.segment_image(fitted, image)
        return Prediction(logits[0, 0] > 0, score=logits[0, 0].float())

    # ------------------------------------------------------------------------------------------------ introspection

    def explain(self, supports: Sequence[Support], image: np.ndarray, *, video: bool) -> list[Panel]:
        """Return pictures of what leads to the prompts on an image, for ``icvos show-episode``."""
        from dcsam.explain import explain

        self._check(supports)
        return explain(self.engine if video else self.image_engine, supports, image, video=video)


def precision_of(precision: str, variant: str, kind: str, *, device: str) -> str:
    """Return ``fp32`` or ``bf16``: the precision asked for, or what ``auto`` is.

    Args:
        precision: ``fp32``, ``bf16`` or ``auto``.
        variant: Of the model, as ``DCSAMConfig.variant`` names it.
        kind: ``video`` or ``image``: the path that is run.
        device: As PyTorch names it.
    """
    if precision != "auto":
        return precision
    # The authors' eval_video.py runs under bf16 autocast on CUDA, their eval_image.py has none.
    in_half = device.startswith("cuda") and not (variant == "reference" and kind == "image")
    return "bf16" if in_half else "fp32"


def hole_area(area: int | Literal["auto"], variant: str) -> int:
    """Return the greatest area of a hole that is filled on video: the one asked for, or what ``auto`` is."""
    if area != "auto":
        return area
    return SAM2_HOLES if variant == "reference" else 0
