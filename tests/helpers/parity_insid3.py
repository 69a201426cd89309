"""The fixtures of INSID3: its stages on ready feature maps, and the whole way from images."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from parity_scheme import generated, near

from baselines import insid3
from icvos import Support
from icvos.foundation.dinov2 import DINOv2
from icvos.foundation.weights import save_state


def check_stage(d: dict[str, Any], name: str) -> None:
    """Every step on given features: floats to 1e-5, masks, votes and the seed exactly, clusters as a partition."""
    features, noise = insid3.unit(d["in_features"]), insid3.unit(d["in_noise_features"])
    size, tau, merge = int(d["in_image_size"]), float(d["in_tau"]), float(d["in_merge"])
    projector = insid3.positional_projector(noise[0], int(d["in_components"]))
    near("projector", projector, d["out_projector"], 1e-5)
    debiased = insid3.without_position(features, projector)
    near("debiased", debiased, d["out_debiased"], 1e-5)
    shots = len(features) - 1
    masks = d["in_masks"] if np.ndim(d["in_masks"]) else [d[f"in_mask_{shot}"] for shot in range(shots)]
    squares = [insid3.square_mask(torch.as_tensor(mask), size) for mask in masks]
    same("masks_square", torch.stack(squares), d)
    low = torch.stack([insid3.grid_mask(square, features.shape[-2:]) for square in squares])
    same("masks_low", low, d)
    prototype = insid3.prototype_of(debiased[:-1], low)
    near("prototype", prototype, d["out_prototype"], 1e-5)
    located = insid3.locate(insid3.Fitted(debiased[:-1], low, prototype), debiased[-1])
    near("forward_similarity", located.similarity, d["out_forward_similarity"], 1e-5)
    for part in ("forward", "votes", "backward", "candidates"):
        same(part, getattr(located, part), d)
    if "out_labels" in d:
        labels = insid3.clusters(features[-1], tau)
        expected = torch.as_tensor(d["out_labels"])
        pairs = {(int(a), int(b)) for a, b in zip(labels.flatten(), expected.flatten(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}), "another partition"
        scores = insid3.scores_of(features[-1], located, labels)
        ours = torch.tensor([a for a, _ in sorted(pairs, key=lambda pair: pair[1])])
        assert int(ours[int(d["out_seed"])]) == scores.seed
        near("cluster_prototypes", scores.prototypes[ours], d["out_cluster_prototypes"], 1e-5)
        for part in ("intra", "cross", "area", "combined"):
            near(part, getattr(scores, part)[ours], d[f"out_{part}"], 1e-5)
    mask = insid3.aggregate(features[-1], located, tau=tau, merge=merge)
    same("mask_low", mask, d)
    height, width = d["out_mask"].shape
    same("mask", insid3.enlarged(mask, size, (height, width)), d)


def same(part: str, found: Any, d: dict[str, Any]) -> None:
    assert np.array_equal(np.asarray(found), np.asarray(d[f"out_{part}"])), part


def check_whole(d: dict[str, Any], name: str) -> None:
    """From images to the mask by the plugin's own calls."""
    size, components = int(d["in_image_size"]), int(d["in_components"])
    shots = sum(key.startswith("in_image_") and key[9:].isdecimal() for key in d) - 1
    with TemporaryDirectory() as folder:
        path = Path(folder) / "backbone.safetensors"
        state, metadata = dinov3_state() if "dinov3" in name else dinov2_state()
        save_state(path, state, metadata=metadata)
        options = insid3.Insid3Options(size, components, float(d["in_tau"]), float(d["in_merge"]))
        model = insid3.Insid3(weights={"backbone": path}, options=options)
    images = [np.asarray(d[f"in_image_{number}"]) for number in range(shots + 1)]
    features = model.patches(images)
    near("features", features, d["out_features"], 1e-4)
    near("noise", model.patches([np.zeros((size, size, 3), np.uint8)]), d["out_noise_features"], 1e-4)
    supports = [Support(images[shot], np.asarray(d[f"in_mask_{shot}"])) for shot in range(shots)]
    fitted = model.fit(supports, seed=0)
    assert fitted is not None
    target = insid3.without_position(insid3.unit(features[-1:]), model.projector)[0]
    same("candidates", insid3.locate(fitted, target).candidates, d)
    same("mask", model.predict(fitted, images[-1]).mask, d)


def made(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the weight of a key: a layer's scale counts as a norm."""
    return generated(key, torch.Size(shape)) if not key.endswith(".gamma") else 1 + generated(key, torch.Size(shape))


def dinov3_state() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors of the fixtures' DINOv3, by Meta's names: 32 channels, 2 blocks, 2 heads, patches of 16."""
    width = 32
    shapes = {"cls_token": (1, 1, width), "storage_tokens": (1, 4, width), "mask_token": (1, width)}
    shapes |= {"patch_embed.proj.weight": (width, 3, 16, 16), "patch_embed.proj.bias": (width,)}
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    for block in range(2):
        start = f"blocks.{block}."
        for norm in ("norm1", "norm2"):
            shapes |= {f"{start}{norm}.weight": (width,), f"{start}{norm}.bias": (width,)}
        for layer, out, into in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes |= {f"{start}{layer}.weight": (out, into), f"{start}{layer}.bias": (out,)}
        shapes |= {f"{start}ls1.gamma": (width,), f"{start}ls2.gamma": (width,)}
    state = {key: made(key, shape) for key, shape in shapes.items()}
    for block in range(2):
        state[f"blocks.{block}.attn.qkv.bias_mask"] = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(width)
    state["rope_embed.periods"] = 100.0 ** (torch.arange(4) / 4)
    return state, {}


def dinov2_state() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors of the fixtures' DINOv2 and the metadata that say its sizes."""
    sizes = {"width": 32, "depth": 2, "heads": 2, "patch": 14, "pretrain_size": 56}
    state = {key: made(key, tuple(value.shape)) for key, value in DINOv2(**sizes).state_dict().items()}
    config = {"backbone": "dinov2_vitb14", "backbone_options": sizes}
    return state, {"icvos-test": json.dumps({"config": config})}
