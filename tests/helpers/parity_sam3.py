"""SAM 3: the fixtures of the lift's tracker and of the canvas, made by transformers, through files of weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_scheme import generated, near
from safetensors.torch import save_file
from torch import Tensor


def write_folder(network: Any, config: str, folder: Path, **fixed: float) -> Path:
    """Write generated weights by the library's own names, and its configuration; return the weights' file."""
    state = {name: generated(name, value.shape) for name, value in network.state_dict().items()}
    for name, value in fixed.items():
        state[name].fill_(value)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(config)
    return folder / "model.safetensors"


def enlarged(small: np.ndarray) -> Tensor:
    """Return (N, 3, 112, 112) pixels, normalised, of what is stored 8 times smaller."""
    return torch.from_numpy(np.kron(small, np.ones((8, 8), small.dtype)))


def check_sam3_tracker(d: dict[str, np.ndarray], path: Path, weight_files: object, folder: Path) -> None:
    from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel

    from icvos.foundation.frame_tracker import Prompt
    from icvos.models.lifts import LIFTS

    config = json.loads(str(d["in_config"]))
    network = Sam3TrackerVideoModel(Sam3TrackerVideoConfig.from_dict(config))
    score = "mask_decoder.pred_obj_score_head.proj_out.bias"
    file = write_folder(network, str(d["in_config"]), folder, **{score: 30.0})
    open_tracker = LIFTS["+sam3"].attributes("")["open_tracker"].__func__
    # The fixture is the library's, which takes the pointer of a mask prompt from the best of three tokens.
    tracker = open_tracker(weights={"tracker": file}, device="cpu", options={"pointer": "best"})
    memory, prompt = tracker.start(), Prompt(masks=torch.from_numpy(d["in_mask"])[None])
    for index, features in enumerate(tracker.encode(enlarged(d["in_frames_small"]))):
        frame = tracker.step(memory, features, prompt=prompt if index == 0 else None)
        entries = memory.session.output_dict_per_obj[0]
        entry = entries["cond_frame_outputs" if index == 0 else "non_cond_frame_outputs"][index]
        near(f"logits {index}", frame.logits[0, 0], d["out_low_logits"][index], 2e-3)
        near(f"score {index}", frame.object_score[0, 0], d["out_object_score"][index], 2e-3)
        near(f"pointer {index}", entry["object_pointer"].flatten(), d["out_pointers"][index], 2e-3)


# By what the name of an output holds: that of the library's output, and what is allowed.
OUTPUTS = (
    ("semantic", "semantic_seg", 5e-4),
    ("mask", "pred_masks", 5e-4),
    ("box", "pred_boxes", 1e-5),
    ("presence", "presence_logits", 1e-5),
    ("logits", "pred_logits", 1e-5),
)


def check_sam3_canvas(d: dict[str, np.ndarray], path: Path, weight_files: object, folder: Path) -> None:
    from sam3_tiny import save_tiny_tokenizer
    from transformers import Sam3Config, Sam3Model

    from baselines.sam3_canvas import Sam3Canvas

    network = Sam3Model(Sam3Config.from_dict(json.loads(str(d["in_config"]))))
    file = write_folder(network, str(d["in_config"]), folder)
    save_tiny_tokenizer(folder)
    model = Sam3Canvas(weights={"sam3": file})
    model.tell(*_tokens(d, model.token_mask.shape[1]))
    found = model.detect(enlarged(d["in_canvas_small"].reshape(1, 3, 14, 14)), d["in_box"].flatten().tolist())
    outputs = [key for key in d if key.startswith("out_")]
    assert outputs, f"{path.name} holds no outputs"
    for key in outputs:
        name, allowed = next((name, allowed) for word, name, allowed in OUTPUTS if word in key)
        near(key, found[name].reshape(d[key].shape), d[key], allowed)


def _tokens(d: dict[str, np.ndarray], length: int) -> tuple[Tensor, Tensor]:
    """Return (1, length) tokens and their mask; where a fixture holds none, all up to the last that is not 0."""
    rest = {
        key: value for key, value in d.items() if key.startswith("in_") and value.dtype.kind in "iub" and value.ndim
    }
    masks = [value for key, value in rest.items() if "mask" in key]
    (ids,) = (value.flatten() for key, value in rest.items() if "mask" not in key)
    tokens = np.zeros(length, np.int64)
    tokens[: len(ids)] = ids
    mask = masks[0].flatten() if masks else np.arange(length) <= np.flatnonzero(tokens).max()
    return torch.from_numpy(tokens)[None], torch.from_numpy(mask.astype(np.int64))[None]
