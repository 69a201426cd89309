"""PFENet (Tian et al., TPAMI 2020, arXiv 2008.01449): a training-free prior and a prototype, merged at four scales.

Numbers and order follow the authors' code (facts: baselines, section 4), marked "step"; the code states no licence, and
none of it is here. Learned parameters with ResNet-50 and four scales (the paper: 10.8 million):

| part | parameters |
|-|-|
| two projections, 1536 x 256 each | 786,432 |
| four times: merge 513 x 256, two 3x3, side head (3x3; 256 x 2 and bias) | 7,605,256 |
| three times: the previous scale's, 512 x 256 | 393,216 |
| the scales together, 1024 x 256, two 3x3 | 1,441,792 |
| head: 3x3; 256 x 2 and bias | 590,338 |
| all | 10,817,034 |

Convolutions have no bias but for the last of each head. Where we depart: a thing smaller than a cell keeps one cell;
VGG-16-bn's deep map has stride 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.heads import (
    HeadConfig,
    SavedHead,
    check_backbone,
    config_of,
    each_prior,
    fill_head,
    grid_mask,
    joined,
    masked_mean,
    open_backbone,
    read_head,
)
from icvos.errors import UsageError
from icvos.foundation.backbone import Backbone
from icvos.foundation.backbones import Dilation
from icvos.foundation.cpu.convolution import Conv1x1

__all__ = ["KIND", "PFENet", "PFENetConfig", "PFENetHead", "PFESupports", "open_pfenet", "pfenet_loss", "unit_range"]

KIND = "pfenet"


@dataclass(frozen=True)
class PFENetConfig(HeadConfig):
    """Sizes of PFENet.

    Attributes:
        image_size: 473 on PASCAL-5i, 641 on COCO-20i.
        scales: Sides of the grids, finest first: cells if above 1 (PASCAL-5i), else shares of the feature grid (COCO).
        resize: How an image becomes a square at test: ``pad`` (longest side to the size, both sides a multiple of 8,
            black to the right and below) or ``squash`` (the drawn world's, which is trained on squares).
    """

    image_size: int = 473
    scales: tuple[float, ...] = (60, 30, 15, 8)
    resize: Literal["pad", "squash"] = "pad"
    method_dilation: ClassVar[Dilation] = "pspnet"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scales or any(scale <= 0 for scale in self.scales) or self.resize not in ("pad", "squash"):
            raise UsageError(f"scales={self.scales}, resize={self.resize}", expected="scales above 0; pad or squash")


def _head(width: int) -> nn.Sequential:
    """Return a head of two classes, background first (step 5)."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(width, 2, 1)
    )


def _two(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.ReLU(),
    )


def _one(inside: int, width: int) -> nn.Sequential:
    return nn.Sequential(Conv1x1(inside, width, bias=False), nn.ReLU())


class PFENetHead(nn.Module):
    """The learned part: projections and the feature enrichment (steps 1, 4 and 5).

    Args:
        config: Its sizes.
        channels: Of the joined backbone map.
    """

    def __init__(self, config: PFENetConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        width, count = config.width, len(config.scales)
        self.of_query = nn.Sequential(*_one(channels, width), nn.Dropout2d(config.dropout))
        self.of_support = nn.Sequential(*_one(channels, width), nn.Dropout2d(config.dropout))
        self.merge = nn.ModuleList(_one(2 * width + 1, width) for _ in range(count))
        self.from_finer = nn.ModuleList(_one(2 * width, width) for _ in range(count - 1))
        self.refine = nn.ModuleList(_two(width) for _ in range(count))
        self.sides = nn.ModuleList(_head(width) for _ in range(count))
        self.together = _one(count * width, width)
        self.last = _two(width)
        self.head = _head(width)

    def grids(self, size: torch.Size) -> list[tuple[int, int]]:
        """Return (height, width) of each scale for a feature map of ``size``."""
        height, width = size[-2:]
        return [
            (int(scale), int(scale)) if scale > 1 else (max(int(height * scale), 1), max(int(width * scale), 1))
            for scale in self.config.scales
        ]

    def forward(self, query: Tensor, prototype: Tensor, prior: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits (B, 2, h, w) and the side logits (B, 2, hi, wi) of each scale.

        Args:
            query: (B, C, h, w) projected query features.
            prototype: (B, C, 1, 1) float.
            prior: (B, 1, h', w') float in 0..1.
        """
        enlarged: list[Tensor] = []
        sides = []
        for number, grid in enumerate(self.grids(query.shape)):
            pooled = F.adaptive_avg_pool2d(query, grid)
            plane = F.interpolate(prior, grid, mode="bilinear", align_corners=True).to(pooled.dtype)
            maps = self.merge[number](torch.cat((pooled, prototype.expand(-1, -1, *grid), plane), dim=1))
            if number:
                # The scale before is finer; it was enlarged to the query's grid.
                finer = F.interpolate(enlarged[-1], grid, mode="bilinear", align_corners=True)
                maps = maps + self.from_finer[number - 1](torch.cat((maps, finer), dim=1))
            maps = maps + self.refine[number](maps)
            sides.append(self.sides[number](maps))
            enlarged.append(F.interpolate(maps, query.shape[-2:], mode="bilinear", align_corners=True))
        maps = self.together(torch.cat(enlarged, dim=1))
        return self.head(maps + self.last(maps)), sides


def unit_range(maps: Tensor, *, eps: float = 1e-7) -> Tensor:
    """Return (..., h, w) maps brought to 0..1, each by its own minimum and maximum (step 3)."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low + eps)


@dataclass(frozen=True)
class PFESupports:
    """What is kept of B * n supports.

    Attributes:
        prototype: (B, C, 1, 1) float, the mean over each sample's supports (step 2).
        top: (B * n, C4, h, w) float, top features of the masked thing, sample by sample; sure inside the mask alone.
        mask: (B * n, 1, h, w) float in 0..1.
    """

    prototype: Tensor
    top: Tensor
    mask: Tensor


class PFENet(nn.Module):
    """Head and frozen backbone.

    Args:
        head: The learned part.
        backbone: Frozen.
        drift: Leave the backbone's batch norms in training mode while training, as the published code does: its
            features are normalised by the batch and its running statistics move.
    """

    def __init__(self, head: PFENetHead, backbone: Backbone, *, drift: bool = False) -> None:
        super().__init__()
        self.head, self.backbone = head, backbone
        backbone.requires_grad_(False)
        # icvos.training knows the attribute.
        backbone.drifts = drift  # type: ignore[assignment]

    def encode_supports(self, pixels: Tensor, masks: Tensor, *, shots: int) -> PFESupports:
        """Encode supports.

        Args:
            pixels: (B * n, 3, S, S) float, normalised.
            masks: (B * n, S, S) bool or float {0, 1}.
            shots: n.
        """
        with torch.no_grad():
            features = self.backbone(pixels)
            mask = grid_mask(masks, features.deep.shape[-2:], "bilinear")
            # At the published sizes the mask is never soft (a cell is 8 pixels): then there is a quicker way.
            whole = bool(((mask == 0) | (mask == 1)).all())
            top = self.backbone.tops(features, [mask])[0] if whole else self.backbone.top(features, mask)
        prototypes = masked_mean(self.head.of_support(_deep_first(features)), mask)
        return PFESupports(prototypes.unflatten(0, (-1, shots)).mean(dim=1), top, mask)

    def prior(self, supports: PFESupports, top: Tensor) -> Tensor:
        """Return (B, 1, h, w) in 0..1: the mean of each support's prior, each brought to 0..1 first (step 3)."""
        return unit_range(each_prior(top, supports.top, supports.mask)).mean(dim=1)

    def decode(self, supports: PFESupports, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits (B, 2, S, S) and side logits of B query images (B, 3, S, S)."""
        with torch.no_grad():
            features = self.backbone(pixels, top=True)
            prior = self.prior(supports, features.top)
        logits, sides = self.head(self.head.of_query(_deep_first(features)), supports.prototype, prior)
        side = (pixels.shape[-2], pixels.shape[-1])
        return F.interpolate(logits.float(), side, mode="bilinear", align_corners=True), sides

    def forward(self, supports: Tensor, masks: Tensor, queries: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return ``decode`` for (B * n, 3, S, S) supports, (B * n, S, S) masks and (B, 3, S, S) queries."""
        shots = len(supports) // len(queries)
        return self.decode(self.encode_supports(supports, masks, shots=shots), queries)

    def statistics(self) -> dict[str, Tensor]:
        """Return the backbone's running statistics, by name."""
        wanted = ("running_mean", "running_var")
        return {name: value for name, value in self.backbone.state_dict().items() if name.endswith(wanted)}


def _deep_first(features: Any) -> Tensor:
    """Return the joined map with the deep features in front, as PFENet stacks them (step 1)."""
    maps = joined(features)
    middle = features.middle.shape[1]
    return torch.cat((maps[:, middle:], maps[:, :middle]), dim=1)


def pfenet_loss(
    logits: Tensor, sides: list[Tensor], truth: Tensor, *, foreground: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the main cross-entropy and the mean of the sides' (weights 1 : 1 in the total).

    Args:
        logits: (B, 2, S, S) float.
        sides: Of (B, 2, h, w) float each; enlarged bilinearly with aligned corners.
        truth: (B, S, S) long: 0, 1, or 255, which is ignored.
        foreground: How much a pixel of the thing counts against one of the ground (the authors: as much).
    """
    size = (truth.shape[-2], truth.shape[-1])
    enlarged = [F.interpolate(side.float(), size, mode="bilinear", align_corners=True) for side in sides]
    losses = [_cross_entropy(each, truth, foreground) for each in (logits, *enlarged)]
    return losses[0], torch.stack(losses[1:]).mean()


def _cross_entropy(logits: Tensor, truth: Tensor, foreground: float) -> Tensor:
    """Return the weighted mean over pixels that count; 0 where none does (torch gives NaN)."""
    total = F.cross_entropy(
        logits, truth, weight=logits.new_tensor((1.0, foreground)), ignore_index=255, reduction="sum"
    )
    return total / ((truth == 0).sum() + foreground * (truth == 1).sum()).clamp(min=1)


def open_pfenet(path: str | Path, backbone: str | Path) -> tuple[PFENet, SavedHead]:
    """Open a trained PFENet in eval mode.

    Raises:
        WeightsError: A file is missing, hostile, partial or of another model.
    """
    saved = read_head(path, KIND)
    config = config_of(PFENetConfig, saved.config, where=saved.path)
    body = open_backbone(config.backbone, config.backbone_options, backbone)
    head = PFENetHead(config, sum(body.channels))
    fill_head(head, saved, KIND)
    check_backbone(saved, body, backbone)
    return PFENet(head, body).eval().requires_grad_(False), saved
