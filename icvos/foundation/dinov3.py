"""DINOv3's vision transformer (arXiv 2508.10104) as transformers has it, from Meta's files or from Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icvos.errors import UsageError, WeightsError
from icvos.foundation.backbone import Backbone, BackboneFeatures
from icvos.foundation.construct import load_into, on_meta
from icvos.foundation.sizes import check_sizes

__all__ = ["DINOv3", "is_dinov3", "open_dinov3"]

_EMBEDDINGS = "embeddings"
# Meta's names behind the number of a block, and those of transformers.
_NAMES = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.up_proj",
    "mlp.fc2": "mlp.down_proj",
    "ls1": "layer_scale1",
    "ls2": "layer_scale2",
}
# Of the released ViTs: a head has so many channels, and positions turn by this base.
HEAD, BASE = 64, 100.0


class DINOv3(Backbone):
    """The encoder; middle, deep and top all are its patch tokens after the final norm.

    Args:
        width: Channels.
        depth: Blocks.
        heads: Attention heads.
        hidden: Channels inside a block's MLP.
        patch: Side of a patch in pixels.
        registers: Register ("storage") tokens.
    """

    trained_on = ("lvd-1689m",)

    def __init__(self, width: int, depth: int, heads: int, hidden: int, patch: int, registers: int) -> None:
        from transformers import DINOv3ViTConfig, DINOv3ViTModel

        super().__init__()
        self.patch, self.channels, self.extra = patch, (width, width), 1 + registers
        self.model: Any = DINOv3ViTModel(
            DINOv3ViTConfig(
                hidden_size=width,
                num_hidden_layers=depth,
                num_attention_heads=heads,
                intermediate_size=hidden,
                patch_size=patch,
                num_register_tokens=registers,
                rope_theta=BASE,
            )
        )

    def forward(self, images: Tensor, *, top: bool = False) -> BackboneFeatures:
        """See ``Backbone``; the sides are multiples of the patch."""
        grid = [side // self.patch for side in images.shape[-2:]]
        tokens = self.model(images).last_hidden_state[:, self.extra :]
        maps = tokens.transpose(1, 2).unflatten(2, grid)
        return BackboneFeatures(maps, maps, maps)

    def top(self, features: BackboneFeatures, mask: Tensor | None = None) -> Tensor:
        """Return the top map that ``forward`` made; the mask plays no part here."""
        return features.deep


def is_dinov3(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors by name are a DINOv3: Meta's, or Hugging Face's with or without a prefix ``model.``."""
    return "storage_tokens" in state or f"{_EMBEDDINGS}.register_tokens" in state


def open_dinov3(state: Mapping[str, Tensor], *, where: Path) -> DINOv3:
    """Return the encoder in eval mode, frozen, of the sizes that its tensors have.

    Args:
        state: Meta's names (``storage_tokens``, ``blocks.N.attn.qkv``) or those of transformers.
        where: The file, for errors.

    Raises:
        WeightsError: A tensor is missing, unknown or of another shape, or a size is out of bounds.
    """
    turns = state.get("rope_embed.periods")
    state = _of_meta(state, where) if "storage_tokens" in state else _of_hub(state)
    try:
        patches, registers = state[f"{_EMBEDDINGS}.patch_embeddings.weight"], state[f"{_EMBEDDINGS}.register_tokens"]
        hidden = state["model.layer.0.mlp.up_proj.weight"].shape[0]
        width, patch, count = patches.shape[0], patches.shape[-1], registers.shape[1]
    except (KeyError, IndexError) as error:
        raise WeightsError(
            f"this is no DINOv3 ViT (without {error})", where=where, expected="a ViT-S, B or L"
        ) from None
    depth = len({key.split(".")[2] for key in state if key.startswith("model.layer.")})
    if turns is not None and not (turns.ndim == 1 and len(turns) and turns.is_floating_point()):
        raise WeightsError("'rope_embed.periods' is no row of numbers", where=where, expected="a ViT-S, B or L")
    head = HEAD if turns is None else 4 * len(turns)
    heads = max(width // head, 1)
    try:
        sizes = {"hidden_size": width, "num_hidden_layers": depth, "mlp_dim": hidden, "patch_size": patch}
        check_sizes("a DINOv3", {**sizes, "num_attention_heads": heads, "registers": count})
        if width % heads or (width // heads) % 4 or (turns is not None and width != heads * head):
            raise UsageError(f"a DINOv3 of width {width} has no heads of {head} channels")
    except UsageError as error:
        raise WeightsError(error.what, where=where) from None
    with on_meta():
        encoder = DINOv3(width, depth, heads, hidden, patch, count)
    state = dict(state)
    state.setdefault(f"{_EMBEDDINGS}.mask_token", torch.zeros(1, 1, width))
    load_into(encoder.model, state, where=where, what="a DINOv3 ViT")
    if turns is not None:
        # Meta's files hold the periods rounded to bfloat16, and its code turns by them.
        encoder.model.rope_embeddings.inv_freq = 1 / turns.float()
    frozen: DINOv3 = encoder.float().eval().requires_grad_(False)
    return frozen


def _of_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename what older versions of transformers wrote: blocks without ``model.``."""
    own = {key: value for key, value in state.items() if key != "rope_embed.periods"}
    return {f"model.{key}" if key.startswith("layer.") else key: value for key, value in own.items()}


def _of_meta(state: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """Rename Meta's tensors; its keys have no bias, which is stored and masked."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        parts = key.split(".")
        if key in ("cls_token", "mask_token", "storage_tokens"):
            name = key.replace("storage", "register")
            out[f"{_EMBEDDINGS}.{name}"] = value.reshape(1, -1, value.shape[-1]) if value.ndim else value
        elif key.startswith("patch_embed.proj."):
            out[f"{_EMBEDDINGS}.patch_embeddings.{parts[-1]}"] = value
        elif key.startswith("norm."):
            out[key] = value
        elif parts[0] == "blocks" and len(parts) >= 4 and parts[1].isdecimal():
            inside, kind = ".".join(parts[2:-1]), parts[-1]
            block = f"model.layer.{parts[1]}"
            if inside == "attn.qkv" and kind in ("weight", "bias") and len(value) % 3 == 0:
                for name, part in zip(("q", "k", "v"), value.chunk(3), strict=True):
                    if (name, kind) != ("k", "bias"):
                        out[f"{block}.attention.{name}_proj.{kind}"] = part
            elif kind != "bias_mask":
                kind = "lambda1" if kind == "gamma" else kind
                out[f"{block}.{_NAMES.get(inside, inside)}.{kind}"] = value
        elif key != "rope_embed.periods":
            raise WeightsError(f"'{key[:100]}' is no tensor of a DINOv3 ViT", where=where, expected="a ViT-S, B or L")
    return out
