"""DINOv2's vision transformer (arXiv 2304.07193) under the official key names, any size, with or without registers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icvos.errors import UsageError
from icvos.foundation.backbone import Backbone, BackboneFeatures
from icvos.foundation.cpu.matmul import project

__all__ = ["DINOv2", "dinov2_sizes"]


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = project(self.qkv, x)
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return project(self.proj, seen)


class _MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return project(self.fc2, project(self.fc1, x, gelu=True))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.ls1 = _LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _MLP(width)
        self.ls2 = _LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class _PatchEmbed(nn.Module):
    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class DINOv2(Backbone):
    """The encoder. Middle, deep and top are the patch tokens after half, five sixths and all of the blocks (the last
    with the final norm); the defaults are ViT-B/14.

    A transformer cannot be shown the inside of a mask alone, as layer 4 of a ResNet can: ``top`` ignores it, and the
    prior mask takes the inside of the whole image's map.

    Args:
        width: Channels.
        depth: Blocks.
        heads: Attention heads.
        patch: Side of a patch in pixels.
        pretrain_size: Side of the image that the position code is stored for (518 in the official files).
        registers: Register tokens (4 in the ``reg4`` files).
    """

    trained_on = ("lvd-142m",)

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch: int = 14,
        pretrain_size: int = 518,
        registers: int = 0,
    ) -> None:
        super().__init__()
        if min(width, depth, heads, patch) < 1 or width % heads or pretrain_size % patch or registers < 0:
            raise UsageError(
                f"DINOv2 of width {width}, depth {depth}, {heads} heads, patch {patch} for {pretrain_size} pixels",
                expected="heads that divide the width, and a patch that divides the size",
            )
        self.patch, self.depth, self.channels = patch, depth, (width, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (pretrain_size // patch) ** 2, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        self.patch_embed = _PatchEmbed(patch, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, images: Tensor, *, top: bool = False) -> BackboneFeatures:
        """See ``Backbone``; the images are first resized to the nearest multiple of the patch, and ``top`` is free."""
        size = [max(1, round(side / self.patch)) * self.patch for side in images.shape[-2:]]
        if size != list(images.shape[-2:]):
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        patches = self.patch_embed(images)
        grid = patches.shape[-2:]
        tokens = torch.cat((self.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)), dim=1)
        tokens = tokens + self.position(grid)
        extra = 1
        if self.register_tokens is not None:
            registers = self.register_tokens.expand(len(images), -1, -1)
            tokens = torch.cat((tokens[:, :1], registers, tokens[:, 1:]), dim=1)
            extra += registers.shape[1]
        taken = {math.ceil(self.depth / 2): 0, math.ceil(5 * self.depth / 6): 1}
        maps = [tokens, tokens]
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if number in taken:
                maps[taken[number]] = tokens
        if len(taken) == 1:
            maps[0] = maps[1]

        def to_grid(x: Tensor) -> Tensor:
            return x[:, extra:].transpose(1, 2).unflatten(2, grid)

        return BackboneFeatures(to_grid(maps[0]), to_grid(maps[1]), to_grid(self.norm(tokens)))

    def top(self, features: BackboneFeatures, mask: Tensor | None = None) -> Tensor:
        """Return the top map that ``forward`` made; the mask plays no part here."""
        if features.top is None:
            raise UsageError("DINOv2 features came without their top map", fix="keep what forward gave")
        return features.top

    def position(self, grid: torch.Size) -> Tensor:
        """Return the (1, 1 + h * w, C) position code of a grid, bicubic from the stored one."""
        side = math.isqrt(self.pos_embed.shape[1] - 1)
        if tuple(grid) == (side, side):
            return self.pos_embed
        stored = self.pos_embed[:, 1:].float().transpose(1, 2).unflatten(2, (side, side))
        if self.register_tokens is not None:
            # The official ``reg`` models were released with this setting.
            code = F.interpolate(stored, tuple(grid), mode="bicubic", antialias=True)
        else:
            # The official code scales by (n + 0.1) / side, so that rounding never gives another size.
            code = F.interpolate(stored, scale_factor=[(count + 0.1) / side for count in grid], mode="bicubic")
        return torch.cat((self.pos_embed[:, :1], code.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)), dim=1)


def dinov2_sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the options of ``DINOv2`` that a publisher's tensors tell, or nothing where they are of another model.

    A head has 64 channels, as in every published one.
    """
    patches, position = state.get("patch_embed.proj.weight"), state.get("pos_embed")
    if patches is None or position is None or patches.ndim != 4 or position.ndim != 3:
        return {}
    width, patch, registers = patches.shape[0], patches.shape[2], state.get("register_tokens")
    return {
        "width": width,
        "depth": len({key.split(".")[1] for key in state if key.startswith("blocks.")}),
        "heads": max(1, width // 64),
        "patch": patch,
        "pretrain_size": math.isqrt(max(0, position.shape[1] - 1)) * patch,
        "registers": 0 if registers is None or registers.ndim != 3 else registers.shape[1],
    }
