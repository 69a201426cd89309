"""The parity fixtures of SANSA: the plugin's network and tracker with generated weights, on the fixtures' frames."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from parity_runs import recorded
from parity_scheme import generated, near
from torch import Tensor

from baselines.sansa import sansa_tracker, support_prompt
from baselines.sansa_adapters import Adapter, load_sansa
from baselines.sansa_train import sansa_loss
from icvos.foundation.frame_tracker import Prompt
from icvos.foundation.load import build_sam
from icvos.foundation.sam2 import Sam2
from icvos.foundation.sam2_config import Sam2Config
from icvos.foundation.tracker import Tracker
from icvos.foundation.weights import save_state

MASKS = Sam2Config(
    "parity-masks",
    version="2.0",
    image_size=256,
    width=16,
    heads=1,
    stages=(1, 2, 3, 1),
    global_blocks=(4,),
    window_spec=(8, 4, 4, 2),
    embed_dim=64,
    memory_dim=16,
    memory_layers=2,
    memory_mlp=128,
)
POINTS = Sam2Config(
    "parity-points",
    version="2.0",
    width=8,
    stages=(1, 1, 2, 1),
    global_blocks=(3,),
    window_spec=(8, 4, 4, 2),
    memory_layers=1,
    memory_mlp=128,
)
# The README's tolerances.
LOGITS, POINTERS, FEATURES, MEMORY, PROMPTED = 2e-4, 2e-5, 1e-4, 5e-4, 5e-4


def published_adapters(config: Sam2Config, factor: float = 0.3) -> dict[str, Tensor]:
    """Return generated adapters by the keys of the authors' files."""
    widths = [config.width * 2**stage for stage, count in enumerate(config.stages) for _ in range(count)]
    state = {}
    for block in range(sum(config.stages[:2]), sum(config.stages)):
        width, inside = widths[block], int(widths[block - 1] * factor)
        shapes = {
            "adapter_layer_norm_before.weight": (width,),
            "adapter_layer_norm_before.bias": (width,),
            "down_proj.weight": (inside, width),
            "down_proj.bias": (inside,),
            "up_proj.weight": (width, inside),
            "up_proj.bias": (width,),
        }
        for name, shape in shapes.items():
            key = f"image_encoder.trunk.blocks.{block}.adapter.{name}"
            state[f"sam.{key}"] = generated(key, torch.Size(shape))
    return state


@cache
def tracker_of(config: Sam2Config) -> Tracker:
    """Load generated weights from files as the authors publish them."""
    with tempfile.TemporaryDirectory() as folder:
        sam2, adapters = Path(folder) / "sam2.safetensors", Path(folder) / "adapter_parity.pth"
        model = build_sam(Sam2, config, meta=True).model
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        metadata = {"sam2_config": json.dumps(config.to_dict())}
        save_state(sam2, {key: generated(key, shape) for key, shape in shapes.items()}, metadata=metadata)
        torch.save({"model": published_adapters(config)}, adapters)
        network, _ = load_sansa(sam2, adapters)
    assert network.config.factor == 0.3
    return sansa_tracker(network.segmenter)


def check_adapter(d: dict, name: str) -> None:
    adapter = Adapter(24, 7)
    adapter.load_state_dict({key: generated(f"adapter.{key}", v.shape) for key, v in adapter.state_dict().items()})
    near("y", adapter(d["in_x"]), d["out_y"], 1e-6)


def check_loss(d: dict, name: str) -> None:
    masks = d["in_masks"]
    logits = d["in_logits"].reshape(masks.shape)
    for frames in (3, 2):
        focal, dice = sansa_loss(logits[:, -frames:], masks[:, -frames:])
        near("focal", focal, d[f"out_focal_{frames}"], 1e-6)
        near("dice", dice, d[f"out_dice_{frames}"], 1e-6)


def run(tracker: Tracker, images: Tensor, prompts: list[Prompt], size: tuple[int, int]) -> dict[str, Any]:
    """Go through the frames, the first ones prompted, as the plugin does, and note what the fixtures hold."""
    side = tracker.segmenter.image_size
    pixels = F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)
    bank = tracker.start(num_frames=0)
    seen: dict[str, list[Tensor]] = {key: [] for key in ("low", "pointers", "memory", "features_16", "features_4")}
    with (
        torch.no_grad(),
        recorded(tracker.segmenter.model, "_prepare_memory_conditioned_features") as conditioned,
        recorded(tracker.segmenter.model, "_forward_sam_heads") as heads,
    ):
        for index, features in enumerate(tracker.encode(pixels)):
            prompt = replace(prompts[index], recent=index > 0) if index < len(prompts) else None
            frame = tracker.step(bank, features, prompt=prompt)
            output = {**bank.prompted, **bank.tracked}[index]
            seen["low"].append(frame.logits[:, 0])
            seen["pointers"].append(output["obj_ptr"])
            seen["memory"].append(output["maskmem_features"])
            assert features.raw is not None
            seen["features_16"].append(features.raw)
            seen["features_4"].append(features.high_res[0])
    found: dict[str, Any] = {key: torch.cat(value) for key, value in seen.items()}
    found["logits"] = frame.resized(size)[:, 0]
    found["conditioned"] = torch.cat([result for _, result in conditioned])
    found["ious"] = [result[2] for _, result in heads]
    return found


def check_masks(d: Mapping[str, Any], name: str) -> None:
    tracker = tracker_of(MASKS)
    shots = int(d["in_shots"])
    prompts = [support_prompt([mask.numpy()], "mask", tracker, []) for mask in d["in_masks"][:shots]]
    found = run(tracker, d["in_images"], prompts, d["in_images"].shape[-2:])
    near("low", found["low"], d["out_low_logits"], LOGITS)
    near("logits", found["logits"], d["out_logits"], LOGITS)
    assert np.array_equal(found["logits"].numpy() > 0, d["out_logits"] > 0)
    near("pointers", found["pointers"], d["out_pointers"], POINTERS)
    near("features", found["features_16"], d["out_features_16"], FEATURES)
    near("fine features", found["features_4"][:, ::2, ::8, ::8], d["out_features_4_sub"], FEATURES)
    near("memory", found["memory"], d["out_memory"], MEMORY)
    near("conditioned", found["conditioned"], d["out_conditioned"], MEMORY)
    near("iou", torch.cat(found["ious"][shots:]), d["out_iou"], LOGITS)


def check_prompts(d: Mapping[str, Any], name: str) -> None:
    tracker = tracker_of(POINTS)
    side = int(d["in_size"])
    images = d["in_images_small"].repeat_interleave(side // 64, 2).repeat_interleave(side // 64, 3)
    points = d["in_points"] * (tracker.segmenter.image_size / side)
    prompt = Prompt(points=(points[None], d["in_labels"][None].to(torch.int32)))
    found = run(tracker, images, [prompt], (side, side))
    near("low", found["low"][:, ::4, ::4], d["out_low_logits_sub"], PROMPTED)
    near("pointers", found["pointers"], d["out_pointers"], PROMPTED)
    ious = torch.cat([iou.flatten() for iou in found["ious"]])
    near("iou", ious, d["out_iou"], PROMPTED)


SANSA = {
    "sansa_adapter": check_adapter,
    "sansa_loss": check_loss,
    "sansa_one_shot": check_masks,
    "sansa_two_shots": check_masks,
    "sansa_video_": check_masks,
    "sansa_points": check_prompts,
    "sansa_box": check_prompts,
}
