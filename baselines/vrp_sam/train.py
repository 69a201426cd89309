r"""``icvos train vrp-sam``: VRP-SAM's encoder, with a frozen backbone and a frozen SAM.

    icvos train vrp-sam --set data=coco-20i --set root=COCO --set fold=0 --set prompt=mask \
        --weights backbone=resnet50_v2.pth --weights sam=sam_vit_h_4b8939.pth --out runs/vrp

The authors' settings are the defaults: AdamW 1e-4, weight decay 1e-6, a cosine a step over all epochs, 50 epochs, 2 a
process (they used 4 GPUs: ``torchrun --nproc-per-node 4 -m icvos.cli train vrp-sam …``), BCE plus Dice 1 : 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from baselines.head_task import PAIRS, HeadTask
from baselines.heads import config_of, fill_head, save_head
from baselines.vrp_sam.model import KIND, VRPConfig, VRPEncoder, VRPSam, support_prompts
from icvos.data.options import PairOptions
from icvos.datasets.samples import EpisodeBatch
from icvos.errors import UsageError
from icvos.foundation.load import open_segmenter
from icvos.foundation.pixels import to_float
from icvos.foundation.segmenter import PromptableSegmenter
from icvos.training.loss import iou, segmentation_loss
from icvos.training.task import Settings

__all__ = ["VrpTask"]


class VrpTask(HeadTask):
    """VRP-SAM's prompt encoder, on a frozen backbone and a frozen SAM.

    Args:
        weights: See ``known_weights``.
        backbone: Name of the backbone: ``resnet50``, ``resnet101``, ``vgg16_bn``, … .
        image_size: Side of the squares that it sees, pixels.
        queries: Prompts of a new encoder.
        heads: Attention heads of a new encoder.
        dropout: Share of the projected features that training drops.
        prompt: What the encoder sees of the support: ``mask`` or ``box``.
        source: The training data.
    """

    name = KIND
    known_weights: ClassVar[Mapping[str, str]] = {
        "backbone": "needed: the frozen backbone",
        "sam": "needed: the frozen SAM or SAM 2",
        "vrp-sam": "an encoder to go on from, which brings its sizes",
    }

    def __init__(
        self,
        *,
        weights: Mapping[str, Path] | None = None,
        backbone: str = "resnet50",
        image_size: int = 512,
        queries: int = 50,
        heads: int = 4,
        dropout: float = 0.5,
        prompt: Literal["mask", "box"] = "mask",
        source: PairOptions = PAIRS,
    ) -> None:
        super().__init__(weights=weights, source=source)
        self.prompt: Literal["mask", "box"] = prompt
        self.sizes: dict[str, Any] = {
            "backbone": backbone,
            "image_size": image_size,
            "queries": queries,
            "heads": heads,
            "dropout": dropout,
        }
        self._segmenter: PromptableSegmenter | None = None
        self._config: VRPConfig | None = None

    def defaults(self) -> Settings:
        """Return the authors' settings (COCO-20i; those of PASCAL-5i are not in their code)."""
        return Settings(epochs=50, batch=2, lr=1e-4, weight_decay=1e-6)

    @property
    def segmenter(self) -> PromptableSegmenter:
        """The frozen SAM."""
        if self._segmenter is None:
            if "sam" not in self.weights:
                raise UsageError("vrp-sam needs a SAM or SAM 2", fix="give --weights sam=PATH ('icvos weights list')")
            self._segmenter = open_segmenter(self.weights["sam"]).float()
        return self._segmenter

    @property
    def config(self) -> VRPConfig:
        if self._config is None:
            saved = self.start()
            if saved is not None:
                self._config = config_of(VRPConfig, saved.config, where=saved.path)
            else:
                self._config = VRPConfig(width=self.segmenter.embed_dim, **self.sizes)
        return self._config

    def model(self) -> VRPSam:
        backbone = self.frozen_backbone()
        head = VRPEncoder(self.config, sum(backbone.channels))
        saved = self.start()
        if saved is not None:
            fill_head(head, saved, KIND)
        return VRPSam(head, backbone, self.segmenter)

    def _logits(self, model: nn.Module, batch: EpisodeBatch) -> Tensor:
        supports, queries = to_float(batch.supports[:, 0]), to_float(batch.frames[:, 0])
        return model(supports, support_prompts(batch.support_masks[:, 0], self.prompt), queries)

    def loss(self, model: nn.Module, batch: EpisodeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        logits, truth = self._logits(model, batch), self.truth(batch)
        return segmentation_loss(logits, truth), {"train_mIoU": 100 * iou(logits[:, 0] > 0, truth).mean().detach()}

    def masks(self, model: nn.Module, batch: EpisodeBatch) -> Tensor:
        return self._logits(model, batch)[:, 0] > 0

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "prompt": self.prompt}

    def export(self, model: nn.Module, path: Path) -> None:
        assert isinstance(model, VRPSam)
        metadata = {**self.trained_on(), "prompt": self.prompt, "sam": model.segmenter.name}
        save_head(path, KIND, self.config, model.head, backbone_sha256=self._digest, metadata=metadata)
