"""Features of frozen encoders on disk, one file an image, so that each image is encoded once in a whole training.

What is kept, in fp16: the backbone's middle and deep maps and SAM's embedding and high-resolution maps. The backbone's
top map depends on the mask and is computed from the deep one. What comes from the encoder is rounded as what comes from
the file, so that a run's losses do not depend on what was cached before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcsam.training.module import Both, TrainableDCSAM
from icvos.errors import UsageError, WeightsError
from icvos.files import atomic_write
from icvos.foundation.backbone import BackboneFeatures
from icvos.foundation.sam2 import Sam2
from icvos.foundation.segmenter import ImageFeatures

__all__ = ["FeatureCache"]

_LARGEST = torch.finfo(torch.float16).max


class FeatureCache:
    """A folder of features.

    Args:
        root: The folder; features of other encoders or sizes lie beside these in it.
        identity: What the features depend on (weights' hashes, sizes), as JSON values.
    """

    def __init__(self, root: Path, identity: Any) -> None:
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = Path(root) / f"features-{key}"
        self.read = self.encoded = 0

    def path(self, name: str) -> Path:
        """Return an image's file; a thousand folders share them."""
        return self.folder / hashlib.sha256(name.encode()).hexdigest()[:3] / f"{name}.safetensors"

    def encode(self, model: TrainableDCSAM, pixels: Tensor, names: Sequence[str]) -> Both:
        """Return the features of (B, 3, S, S) images: read where they are there, else encoded together and written."""
        cached = [self._load(name, pixels.device) for name in names]
        absent = [index for index, state in enumerate(cached) if state is None]
        fresh = {names[index]: index for index in absent}
        if fresh:
            places = sorted(fresh.values())
            # Without autocast: what is in the files does not depend on how a run trains.
            with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
                backbone, sam = model.encode(pixels[places])
            for row, index in enumerate(places):
                state = _pack(backbone, sam, row)
                self._save(names[index], state)
                for other in absent:
                    if names[other] == names[index]:
                        cached[other] = state
        self.encoded += len(fresh)
        self.read += len(names) - len(absent)
        states = [state for state in cached if state is not None]
        # With the channels last, as the encoders give them and what comes after them takes them.
        joined = {
            key: torch.cat([state[key] for state in states]).to(torch.float32, memory_format=torch.channels_last)
            for key in states[0]
        }
        return _unpack(joined, model)

    def _load(self, name: str, device: torch.device) -> dict[str, Tensor] | None:
        from safetensors.torch import load_file

        path = self.path(name)
        if not path.is_file():
            return None
        try:
            return load_file(path, device=str(device))
        except Exception as error:
            what = f"cached features are broken ({type(error).__name__})"
            raise WeightsError(what, where=path, fix="delete the file") from None

    def _save(self, name: str, state: dict[str, Tensor]) -> None:
        from safetensors.torch import save

        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as stream:
            stream.write(save({key: value.cpu().contiguous() for key, value in state.items()}))

    def estimate(self, model: TrainableDCSAM, images: int) -> str:
        """Return a line that says what the features of so many images take; one blank image is encoded for it.

        Raises:
            UsageError: The disk has not so much room.
        """
        side = model.generator.config.image_size
        device = next(model.parameters()).device
        with torch.no_grad():
            state = _pack(*model.encode(torch.zeros(1, 3, side, side, device=device)), 0)
        each = sum(value.numel() * value.element_size() for value in state.values())
        self.folder.mkdir(parents=True, exist_ok=True)
        there = sum(1 for _ in self.folder.glob("*/*.safetensors"))
        left, free = max(images - there, 0) * each, shutil.disk_usage(self.folder).free
        line = (
            f"feature cache {self.folder}: {images:,} images of {each / 2**20:.1f} MiB, "
            f"{images * each / 2**30:.1f} GiB; {there:,} are there, {free / 2**30:.1f} GiB are free"
        )
        if left > free:
            raise UsageError(
                f"the feature cache needs {left / 2**30:.1f} GiB more, {free / 2**30:.1f} GiB are free",
                where=self.folder,
                fix="give another cache=FOLDER, or train without",
            )
        return line


def _pack(backbone: BackboneFeatures, sam: ImageFeatures, row: int) -> dict[str, Tensor]:
    parts = {"middle": backbone.middle, "deep": backbone.deep, "embedding": sam.embedding}
    parts.update({f"high_{level}": value for level, value in enumerate(sam.high_res)})
    return {
        key: value[row : row + 1].detach().clamp(-_LARGEST, _LARGEST).half().contiguous()
        for key, value in parts.items()
    }


def _unpack(state: dict[str, Tensor], model: TrainableDCSAM) -> Both:
    high = tuple(state[key] for key in sorted(state) if key.startswith("high_"))
    embedding = state["embedding"]
    raw = None
    if isinstance(model.sam, Sam2):
        raw = embedding - model.sam.model.no_mem_embed.reshape(1, -1, 1, 1)
    return BackboneFeatures(state["middle"], state["deep"]), ImageFeatures(embedding, high, raw)
