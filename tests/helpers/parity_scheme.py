"""The weights that the parity fixtures were made with (see their READMEs), and the comparison with the reference."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dcsam.checkpoint import file_key
from dcsam.config import DCSAMConfig
from dcsam.model import DCSAM
from icvos.foundation.load import build_sam
from icvos.foundation.sam1 import Sam1
from icvos.foundation.sam2 import Sam2
from icvos.foundation.weights import load_state


def generated(key: str, shape: torch.Size, *, stream: str = "") -> Tensor:
    """Return the weight of a key. ``stream`` goes before the key in the random stream's name, not in the rules."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    seed = zlib.crc32(f"{stream}{key}".encode()) & 0xFFFFFFFF
    noise = np.random.RandomState(seed).standard_normal(tuple(shape))
    if key.endswith("running_mean"):
        value = 0.1 * noise
    elif key.endswith("running_var"):
        value = 1 + 0.1 * np.abs(noise)
    elif key.endswith(("supp_q_feat.weight", "q_embed.weight")):
        value = noise
    elif len(shape) >= 2:
        gain = np.sqrt(2) if len(shape) == 4 else 3.0 if key.endswith("in_proj_weight") else 1.0
        value = noise * gain / np.sqrt(np.prod(tuple(shape[1:])))
    else:
        value = 1 + 0.1 * noise if key.endswith("weight") else 0.1 * noise
    return torch.from_numpy(np.asarray(value, np.float32))


def near(name: str, actual: Tensor, expected: np.ndarray, tolerance: float) -> None:
    """Fail if any element is further than the tolerance from the reference's."""
    assert tuple(actual.shape) == expected.shape, name
    worst = float(np.abs(actual.detach().double().numpy() - expected.astype(np.float64)).max())
    assert worst <= tolerance, f"{name}: {worst:.3g} from the reference, {tolerance:g} allowed"


@dataclass(frozen=True)
class Weights:
    """Which generated weights a fixture was made with.

    Attributes:
        sam: 1 (vit_b) or 2 (sam2.1_hiera_tiny).
        backbone: ``resnet50`` or ``vgg16_bn``.
        scaled: Some layers are scaled down, so that the attention is no one-hot choice.
        object_score: Of a video file: ``present`` on every frame, or ``absent`` on later ones.
    """

    sam: int
    backbone: str
    scaled: bool
    object_score: str = "present"

    @classmethod
    def of_fixture(cls, name: str, scheme: str) -> Weights:
        """Tell the weights by a fixture's name and its ``in_weights``."""
        assert scheme in ("plain", "scaled"), f"{name}: unknown scheme of weights '{scheme}'"
        parts = name.split("_")
        backbone = "vgg16_bn" if "vgg" in parts else "resnet50"
        score = "absent" if "absent" in parts else "present"
        return cls(1 if "v1" in parts else 2, backbone, scheme == "scaled", score)

    def generator(self) -> dict[str, Tensor]:
        """Return the prompt generator's tensors by the reference's keys, without ``module.``."""
        with torch.device("meta"):
            shapes = DCSAM(DCSAMConfig.reference(sam=self.sam, backbone=self.backbone)).state_dict()
        state = {file_key(key): generated(file_key(key), value.shape) for key, value in shapes.items()}
        if self.scaled:
            if self.backbone == "resnet50":
                state["downsample_query.0.weight"] *= 0.02
            if self.sam == 2:
                for key in ("merge_1.0.weight", "merge_2.0.weight"):
                    state[key] *= 0.25
        return state


class WeightFiles:
    """Generated weights as their publishers' files hold them; each file is written once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sam(self, version: int) -> Path:
        """Return the file of SAM 1 vit_b or of SAM 2.1 tiny."""
        path = self.folder / ("sam_vit_b.pth" if version == 1 else "sam2.1_hiera_tiny.pt")
        if not path.exists():
            segmenter = (
                build_sam(Sam1, "vit_b", meta=True) if version == 1 else build_sam(Sam2, "sam2.1_hiera_tiny", meta=True)
            )
            stream = "sam." if version == 1 else "sam2."
            shapes = segmenter.model.state_dict()
            assert len(shapes) == (314 if version == 1 else 471)
            state = {key: generated(key, value.shape, stream=stream) for key, value in shapes.items()}
            torch.save(state if version == 1 else {"model": state}, path)
        return path

    def image(self, weights: Weights) -> dict[str, Path]:
        """Return an image checkpoint and its SAM, by the plugin's names."""
        path = self.folder / f"image_{weights.sam}_{weights.backbone}{'_scaled' if weights.scaled else ''}.pt"
        if not path.exists():
            torch.save({f"module.{key}": value for key, value in weights.generator().items()}, path)
        return {"dcsam": path, "sam" if weights.sam == 1 else "sam2": self.sam(weights.sam)}

    def video(self, weights: Weights) -> dict[str, Path]:
        """Return a video checkpoint, which holds its SAM 2."""
        scaled = "_scaled" if weights.scaled else ""
        path = self.folder / f"video_{weights.backbone}{scaled}_{weights.object_score}.pt"
        if not path.exists():
            sam2 = load_state(self.sam(2))
            head = "sam_mask_decoder.pred_obj_score_head.layers.2"
            absent = weights.object_score == "absent"
            sam2[f"{head}.bias"] = torch.full_like(sam2[f"{head}.bias"], 0.385 if absent else 10.0)
            if absent:
                sam2[f"{head}.weight"] = -sam2[f"{head}.weight"]
            state = {f"module.prompt_encoder.{key}": value for key, value in weights.generator().items()}
            torch.save({**state, **{f"module.sam2.{key}": value for key, value in sam2.items()}}, path)
        return {"dcsam": path}
