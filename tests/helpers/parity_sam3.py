"""SAM 3 of transformers: the fixtures of the lift's tracker and of the canvas, each through files of generated weights."""

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

    from icvos.foundation.tracker import Prompt
    from icvos.models.lifting import LIFTS

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
