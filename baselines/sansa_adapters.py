"""SANSA's adapters: where they sit in SAM 2's image encoder, what they compute, and their files.

Cuttano et al., "SANSA: Unleashing the Hidden Semantics in SAM2 for Few-Shot Segmentation" (NeurIPS 2025, arXiv
2505.21795). An adapter (AdaptFormer, arXiv 2205.13535) stands beside the MLP of every Hiera block of the last two
stages; the package ``sam2`` is left as it is: hooks add what the adapter makes of the MLP's branch input.
"""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.heads import METADATA_KEY, SavedHead, backbone_digest, read_head
from icvos.errors import UsageError, WeightsError
from icvos.foundation.construct import load_into
from icvos.foundation.load import load_sam
from icvos.foundation.sam2 import Sam2
from icvos.foundation.sizes import check_sizes
from icvos.foundation.weights import load_metadata, load_state

__all__ = ["KIND", "Adapter", "SansaConfig", "SansaNetwork", "load_sansa", "open_sam2"]

KIND = "sansa"
#: What an adapter's output is multiplied by.
SCALE = 0.1
#: Stages of Hiera with adapters, from 0.
STAGES = (2, 3)
#: Tensors of an adapter in the authors' files, after ``module.`` is taken off.
_PUBLISHED = re.compile(r"(?:sam\.)?image_encoder\.trunk\.blocks\.([0-9]{1,4})\.adapter\.(.+)")


@dataclass(frozen=True)
class SansaConfig:
    """Sizes of SANSA's adapters; stored with their weights.

    Attributes:
        factor: Width of an adapter's bottleneck over its block's input width; the authors' few-shot models have 0.3,
            their generalist has 0.8.
        image_size: Side of the squares that training takes from the data, pixels.
    """

    factor: float = 0.3
    image_size: int = 640

    def __post_init__(self) -> None:
        check_sizes("SANSA's configuration", self)


class Adapter(nn.Module):
    """Layer norm, down to a bottleneck, ReLU, up again, times 0.1; a new one adds nothing.

    Args:
        width: Channels of the block's output.
        bottleneck: Channels inside.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.adapter_layer_norm_before = nn.LayerNorm(width)
        self.down_proj = nn.Linear(width, bottleneck)
        self.up_proj = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.down_proj.bias)
        nn.init.zeros_(self.up_proj.weight)
        nn.init.zeros_(self.up_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to (..., C) features."""
        return SCALE * self.up_proj(torch.relu(self.down_proj(self.adapter_layer_norm_before(x))))


class SansaNetwork(nn.Module):
    """A frozen SAM 2 with an adapter in each block of its image encoder's last two stages.

    Args:
        segmenter: From ``open_sam2``; the adapters become part of its blocks.
        config: Sizes of the adapters.
    """

    def __init__(self, segmenter: Sam2, config: SansaConfig) -> None:
        super().__init__()
        self.config = config
        self.segmenter = segmenter.requires_grad_(False)
        blocks = adapted_blocks(segmenter)
        if not all(int(block.dim * config.factor) for block in blocks.values()):
            raise UsageError(f"factor {config.factor:g} leaves an adapter without a channel", expected="a larger one")
        made = {number: Adapter(block.dim_out, int(block.dim * config.factor)) for number, block in blocks.items()}
        for number, adapter in made.items():
            _attach(blocks[number], adapter)
        self.adapters = nn.ModuleDict({str(number): adapter for number, adapter in made.items()})
        self.eval()


def adapted_blocks(segmenter: Sam2) -> dict[int, Any]:
    """Return the Hiera blocks that take an adapter, by number."""
    first = sum(segmenter.config.stages[: STAGES[0]])
    return {number: block for number, block in enumerate(segmenter.encoder_blocks()) if number >= first}


class _Beside:
    """An adapter beside a block's MLP; a copy of the block has its own, as methods are copied with what they are of."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._inputs: list[Tensor] = []

    def take(self, module: nn.Module, args: tuple[Tensor]) -> None:
        self._inputs.append(args[0])

    def add(self, module: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        return output + self._adapter(self._inputs.pop())


def _attach(block: Any, adapter: Adapter) -> None:
    """Have a Hiera block add ``adapter(x)`` to its MLP's output, x being what ``norm2`` is given."""
    # As a part of the block, so that gradients are kept where the adapter wants them.
    block.adapter = adapter
    beside = _Beside(adapter)
    block.norm2.register_forward_pre_hook(beside.take)
    block.mlp.register_forward_hook(beside.add)


def open_sam2(path: str | Path) -> tuple[Sam2, str]:
    """Load a SAM 2 as SANSA uses it, and return it with the digest of its weights.

    Without object scores and without the fall-back to three masks; memories of prompted frames are not binarised; three
    masks only where nothing prompts.
    """
    changes = {"pred_obj_scores": False, "dynamic_multimask": False, "binarize_prompted": False}
    segmenter = load_sam(Sam2, path, changes=changes).float()
    segmenter.model.multimask_max_pt_num = 0
    return segmenter, backbone_digest(segmenter.model)


def load_sansa(sam2: str | Path, adapters: str | Path) -> tuple[SansaNetwork, SavedHead | None]:
    """Return the network with its weights, and what the adapters' file says where it is one of ours.

    Args:
        sam2: A SAM 2.0 of the authors' for published adapters, or the one that adapters of ours were trained on.
        adapters: The authors' ``adapter_*.pth``, or a file of ``icvos train sansa``.

    Raises:
        WeightsError: Missing, truncated, hostile, or not for one another; nothing is loaded in part.
    """
    path = Path(adapters)
    segmenter, digest = open_sam2(sam2)
    saved = read_head(path, KIND) if METADATA_KEY in load_metadata(path) else None
    if saved is not None:
        config = saved_config(saved)
        if saved.backbone_sha256 != digest:
            raise WeightsError(
                f"another SAM 2 than {path.name} was trained on",
                where=sam2,
                expected=f"weights with the digest {saved.backbone_sha256[:12]}…",
                fix="give the file that was given to 'icvos train'",
            )
        state = saved.state
    else:
        state = _published(path)
        if segmenter.config.version != "2.0":
            raise WeightsError(
                f"the authors' adapters do not belong to a SAM {segmenter.config.version}",
                where=sam2,
                expected="a SAM 2.0 (sam2-hiera-large)",
                fix="icvos weights fetch sam2-hiera-large",
            )
        config = SansaConfig(factor=_factor(state, segmenter, path))
    network = SansaNetwork(segmenter, config)
    load_into(network.adapters, state, where=path, what=f"SANSA's adapters for {segmenter.name}")
    return network, saved


def saved_config(saved: SavedHead) -> SansaConfig:
    """Return the configuration that a file of ours holds.

    Raises:
        WeightsError: A value is unknown or out of range.
    """
    try:
        return SansaConfig(**saved.config)
    except (TypeError, UsageError) as error:
        raise WeightsError(f"SANSA's configuration is broken ({error})", where=saved.path) from None


def _published(path: Path) -> dict[str, Tensor]:
    """Return the tensors of an ``adapter_*.pth`` by block and name; the training's settings beside them are left out.

    Names that are no adapter's stay as they are beside those that are, for the strict comparison to name.
    """
    state = load_state(path, plain=(argparse.Namespace,))
    found = {key: _PUBLISHED.fullmatch(key) for key in state}
    if not any(found.values()):
        raise WeightsError("no SANSA adapters", where=path, expected="a file of icvos train sansa, or an adapter_*.pth")
    return {f"{int(m[1])}.{m[2]}" if (m := found[key]) else key: value for key, value in state.items()}


def _factor(state: dict[str, Tensor], segmenter: Sam2, path: Path) -> float:
    """Return the shortest decimal whose product with each block's input width, rounded down, is its bottleneck."""
    low, high = 0.0, 4.0
    for number, block in adapted_blocks(segmenter).items():
        weight = state.get(f"{number}.down_proj.weight")
        if weight is None or weight.ndim != 2 or not len(weight):
            raise WeightsError(
                f"no SANSA adapters for {segmenter.name}: block {number} has none",
                where=path,
                expected="sam.image_encoder.trunk.blocks.N.adapter.… for all blocks of the last two stages",
            )
        low, high = max(low, len(weight) / block.dim), min(high, (len(weight) + 1) / block.dim)
    if low >= high:
        raise WeightsError(
            f"the adapters' bottlenecks fit no one factor for {segmenter.name}",
            where=path,
            fix="give the SAM 2 of the size that they were trained with",
        )
    decimals = (math.ceil(low * 10**digits) / 10**digits for digits in range(1, 8))
    return next((factor for factor in decimals if low <= factor < high), (low + high) / 2)
