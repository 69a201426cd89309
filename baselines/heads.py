"""What the trained few-shot baselines share: a frozen backbone, masks on its grid, prototypes, priors, and their files.

A head's file is safetensors: the head's tensors under ``head.``, its configuration and the hash of the backbone it was
trained on as metadata. The backbone stays in a file of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icvos.data.lineage import Lineage
from icvos.errors import UsageError, WeightsError, did_you_mean
from icvos.foundation.backbone import Backbone, BackboneFeatures
from icvos.foundation.backbones import Dilation, LayeredBackbone, create_backbone, load_backbone, with_dilation
from icvos.foundation.construct import load_into
from icvos.foundation.prior import prior_mask
from icvos.foundation.sizes import check_sizes, check_types
from icvos.foundation.trainings import lineage_in
from icvos.foundation.weights import load_metadata, load_state, save_state
from icvos.types import ModelInfo

__all__ = [
    "HeadConfig",
    "SavedHead",
    "backbone_digest",
    "backbone_from",
    "check_backbone",
    "config_of",
    "each_prior",
    "fill_head",
    "grid_mask",
    "joined",
    "masked_mean",
    "open_backbone",
    "read_head",
    "save_head",
    "trained_info",
]

METADATA_KEY = "icvos-baseline"


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of a head; stored with its weights. ``icvos.foundation.sizes`` has the bounds.

    Attributes:
        backbone, backbone_options: As ``icvos.foundation.backbones.create_backbone`` takes them; a ResNet's dilation is
            the method's where it is not named.
        method_dilation: That of the method's public code.
        image_size: Side of the square image that the backbone sees, pixels.
        width: Channels of the head.
        dropout: Probability of dropping a projected channel in training.
    """

    backbone: str = "resnet50"
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    image_size: int = 512
    width: int = 256
    dropout: float = 0.5
    method_dilation: ClassVar[Dilation]

    def __post_init__(self) -> None:
        check_sizes("a head's configuration", self)
        options = with_dilation(self.backbone, self.backbone_options, default=self.method_dilation)
        object.__setattr__(self, "backbone_options", options)
        if self.image_size < 16 or self.width < 4 or self.width % 4 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"image_size={self.image_size}, width={self.width}, dropout={self.dropout} of a head",
                expected="16 pixels or more, a width that 4 divides, 0 <= dropout < 1",
            )


Config = TypeVar("Config", bound=HeadConfig)


def config_of(cls: type[Config], values: Mapping[str, Any], *, where: Path | None = None) -> Config:
    """Return a configuration of its plain values, as a file holds them.

    A ResNet whose dilation they do not name (0.1.0) has the ``DEFAULT_DILATION``.

    Raises:
        WeightsError: A key that this version does not know, or a value out of range.
    """
    known = [f.name for f in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            raise WeightsError(
                f"the head's configuration has an unknown key '{name}'", where=where, fix=did_you_mean(name, known)
            )
    try:
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        backbone = plain.get("backbone", cls.backbone)
        plain["backbone_options"] = with_dilation(backbone, plain.get("backbone_options", {}))
        return cls(**plain)
    except (UsageError, TypeError) as error:
        raise WeightsError(f"the head's configuration is broken ({error})", where=where) from None


# ------------------------------------------------------------------------------------------------------------- features


def joined(features: BackboneFeatures) -> Tensor:
    """Return (B, C2 + C3, h, w): the middle map, on the deep map's grid, then the deep map."""
    middle, grid = features.middle, features.deep.shape[-2:]
    if middle.shape[-2:] != grid:
        middle = F.interpolate(middle, grid, mode="bilinear", align_corners=True)
    return torch.cat((middle, features.deep), dim=1)


def grid_mask(masks: Tensor, grid: torch.Size, mode: Literal["nearest", "bilinear"]) -> Tensor:
    """Return (B, H, W) masks on a grid as (B, 1, h, w) float in 0..1.

    Ours: a thing that the resizing loses keeps the one cell that it covers most (the published codes keep none).
    """
    values = masks[:, None].float()
    if mode == "nearest":
        small = F.interpolate(values, grid, mode="nearest")
    else:
        small = F.interpolate(values, grid, mode="bilinear", align_corners=True)
    lost = (small.flatten(1).amax(dim=1) == 0) & (values.flatten(1).amax(dim=1) > 0)
    if not bool(lost.any()):
        return small
    share = F.adaptive_avg_pool2d(values, (grid[0], grid[1])).flatten(1)
    best = F.one_hot(share.argmax(dim=1), share.shape[1]).to(small.dtype).view_as(small)
    return torch.where(lost[:, None, None, None], best, small)


def masked_mean(features: Tensor, mask: Tensor) -> Tensor:
    """Return the prototype (B, C, 1, 1) of (B, C, h, w) features under a (B, 1, h, w) mask: 0.0005 more area."""
    return (features * mask).sum(dim=(2, 3), keepdim=True) / (mask.sum(dim=(2, 3), keepdim=True) + 0.0005)


def each_prior(query: Tensor, supports: Tensor, masks: Tensor) -> Tensor:
    """Return the prior of each support by itself, (B, n, 1, h, w) float in -1..1: greatest cosine to its masked places.

    Args:
        query: (B, C, h, w) top features.
        supports: (B * n, C, h', w') top features of the supports under their masks, sample by sample.
        masks: (B * n, 1, h', w') float.
    """
    shots = len(supports) // len(query)
    priors = prior_mask(query.repeat_interleave(shots, dim=0), supports, masks)
    return priors.unflatten(0, (len(query), shots))


# ---------------------------------------------------------------------------------------------------------------- files


@dataclass(frozen=True)
class SavedHead:
    """What a head's file holds.

    Attributes:
        config: Plain values of its configuration.
        state: The head's tensors.
        statistics: Running statistics of a backbone that drifted in training; usually empty.
        backbone_sha256: Of the backbone it was trained on (``backbone_digest``).
        metadata: What else was stored: data, fold, ``training_categories``.
        path: The file.
    """

    config: dict[str, Any]
    state: dict[str, Tensor]
    statistics: dict[str, Tensor]
    backbone_sha256: str
    metadata: dict[str, Any]
    path: Path


def save_head(
    path: Path,
    kind: str,
    config: Any,
    head: nn.Module,
    *,
    backbone_sha256: str,
    statistics: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write a head's file with its configuration, a dataclass, atomically; ``half`` stores fp16."""
    state = {f"head.{name}": value for name, value in head.state_dict().items()}
    state |= {f"backbone.{name}": value for name, value in (statistics or {}).items()}
    record = {
        "kind": kind,
        "config": dataclasses.asdict(config),
        "backbone_sha256": backbone_sha256,
        "metadata": dict(metadata or {}),
    }
    save_state(path, state, metadata={METADATA_KEY: json.dumps(record, sort_keys=True)}, half=half)


def read_head(path: str | Path, kind: str) -> SavedHead:
    """Read a head's file onto the CPU; nothing inside is executed.

    Raises:
        WeightsError: Missing, truncated, hostile, or not of this kind.
    """
    path = Path(path)
    state = load_state(path)
    text = load_metadata(path).get(METADATA_KEY)
    if text is None:
        raise WeightsError(
            f"no {kind} weights",
            where=path,
            expected=f"a .safetensors that 'icvos train {kind}' wrote",
            fix="weights of other projects have other layouts",
        )
    try:
        record = json.loads(text)
        saved = SavedHead(
            dict(record["config"]),
            _under(state, "head."),
            _under(state, "backbone."),
            str(record["backbone_sha256"]),
            dict(record["metadata"]),
            path,
        )
        other = str(record["kind"])
    except (ValueError, KeyError, TypeError):
        raise WeightsError(f"the metadata of these {kind} weights are broken", where=path, fix="train again") from None
    if other != kind:
        raise WeightsError(
            f"these are {other} weights",
            where=path,
            expected=f"{kind} weights",
            fix=f"use --model {other}, or give another file",
        )
    return saved


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def fill_head(head: nn.Module, saved: SavedHead, kind: str) -> None:
    """Load a file's tensors strictly into a head of its configuration; fp16 computes in fp32 again."""
    load_into(head, saved.state, where=saved.path, what=f"{kind} with these sizes")


def open_backbone(name: str, options: Mapping[str, Any], path: str | Path) -> Backbone:
    """Build a backbone and load its weights: a publisher's file, our own, or a checkpoint that holds ``layer0`` to 4.

    Raises:
        WeightsError: Missing, truncated, hostile, or of another backbone.
    """
    return backbone_from(load_state(path), name, options, where=path)


def backbone_from(state: Mapping[str, Tensor], name: str, options: Mapping[str, Any], *, where: str | Path) -> Backbone:
    """Build a backbone of tensors that were read; see ``open_backbone``."""
    backbone = create_backbone(name, options)
    state = {key.removeprefix("prompt_encoder."): value for key, value in state.items()}
    if any(key.startswith("layer0.") for key in state):
        # A model's checkpoint with its backbone inside (the demo's, say): the rest is not ours.
        state = {key: value for key, value in state.items() if key.partition(".")[0] in LayeredBackbone.NAMES}
    load_backbone(backbone, state, where=str(where))
    seen = lineage_in(load_metadata(where))
    if seen is not None:
        backbone.trained_on = seen.data
    return backbone


def backbone_digest(backbone: nn.Module) -> str:
    """Return the SHA-256 of a backbone's weights as fp16, so that files of either precision agree."""
    digest = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_backbone(saved: SavedHead, backbone: Backbone, path: str | Path) -> None:
    """Make sure that a backbone is the one that a head was trained on, and give it the statistics of the training.

    Raises:
        WeightsError: It is another one, or the statistics do not fit.
    """
    if backbone_digest(backbone) != saved.backbone_sha256:
        raise WeightsError(
            f"another backbone than {saved.path.name} was trained on",
            where=path,
            expected=f"weights of {saved.config.get('backbone')} with the digest {saved.backbone_sha256[:12]}…",
            fix="give the file that was given to 'icvos train'",
        )
    if saved.statistics:
        state = backbone.state_dict()
        if any(name not in state or state[name].shape != value.shape for name, value in saved.statistics.items()):
            raise WeightsError("the backbone's statistics in this file do not fit it", where=saved.path)
        check_types(state, saved.statistics, where=saved.path)
        backbone.load_state_dict({name: value.float() for name, value in saved.statistics.items()}, strict=False)


def trained_info(info: ModelInfo, saved: SavedHead, *, others: tuple[str, ...] = ()) -> ModelInfo:
    """Return a model's declaration with the categories and data that its file says, and the ``others`` of its parts."""
    known = (Lineage.of_record(saved.metadata) or Lineage()) + Lineage(others)
    return dataclasses.replace(info, training_categories=known.categories, training_data=known.data)
