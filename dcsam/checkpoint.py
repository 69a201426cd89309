"""DC-SAM checkpoints: the published formats and our own, recognised by their keys.

Published: a DistributedDataParallel state dictionary (all keys behind ``module.``) of the image model (``layer0.*`` …),
or of the video model (``prompt_encoder.*`` and the whole SAM 2 under ``sam2.*``). Ours: safetensors with the
configuration as metadata, ``prompt_encoder.*`` and, where SAM 2 was trained, ``sam2.*``. In both the layers of a
convolutional backbone stand at the top (``layer0.*``), where the model has them in its ``backbone``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dcsam.config import DCSAMConfig, Variant
from dcsam.model import DCSAM
from icvos.data.lineage import Lineage
from icvos.errors import UsageError, WeightsError
from icvos.foundation.construct import on_meta
from icvos.foundation.sizes import check_types
from icvos.foundation.weights import WITH_METADATA, load_metadata, load_state, save_state

__all__ = [
    "DCSAMCheckpoint",
    "file_key",
    "load_model",
    "model_key",
    "read_checkpoint",
    "recognise",
    "save_checkpoint",
]

METADATA_KEY = "dcsam"
_SAM2_SIZES = {(96, 12): "tiny", (96, 16): "small", (112, 24): "base_plus", (144, 48): "large"}
#: The authors' training data; which of COCO's categories, their files do not say.
_AUTHORS = Lineage(("coco2014:train",))
_MARK = "transformer_decoder.supp_q_feat.weight"


def file_key(key: str) -> str:
    """Return the name in a file of one of the model's tensors: ``backbone.layer0.…`` is ``layer0.…`` there."""
    return re.sub(r"^backbone\.(layer[0-4]\.)", r"\1", key)


def model_key(key: str) -> str:
    """Return the name in the model of one of a file's tensors, see ``file_key``."""
    return re.sub(r"^(layer[0-4]\.)", r"backbone.\1", key)


@dataclass(frozen=True)
class DCSAMCheckpoint:
    """What a file holds.

    Attributes:
        config: The model; ``reference`` for a published file.
        state: Tensors of ``DCSAM`` by the model's keys, with its backbone.
        sam2: Tensors of the SAM 2 that was trained with it; None in an image checkpoint.
        sam2_name: "sam2.1_hiera_tiny", …; None without ``sam2``, or for a size of our own.
        metadata: What else ``save_checkpoint`` was given to store.
        path: The file.
    """

    config: DCSAMConfig
    state: dict[str, Tensor]
    sam2: dict[str, Tensor] | None
    sam2_name: str | None
    metadata: dict[str, str]
    path: Path

    @property
    def video(self) -> bool:
        """It was trained on video, with its own SAM 2."""
        return self.sam2 is not None

    @property
    def lineage(self) -> Lineage:
        """What the prompt generator was trained on; a file that does not say is taken for one of the authors'."""
        return Lineage.of_record(self.metadata) or _AUTHORS


def read_checkpoint(path: str | Path) -> DCSAMCheckpoint:
    """Read a checkpoint of either format onto the CPU; nothing inside is executed.

    Raises:
        WeightsError: Unreadable, hostile, of another model, or partial (the keys that are missing are named).
    """
    path = Path(path)
    state = load_state(path)
    text, metadata = _configuration(path)
    sam2 = {key.removeprefix("sam2."): value for key, value in state.items() if key.startswith("sam2.")}
    generator = {
        key.removeprefix("prompt_encoder."): value for key, value in state.items() if not key.startswith("sam2.")
    }
    if text is not None:
        try:
            config = DCSAMConfig.from_json(text, where=str(path))
        except (UsageError, TypeError) as error:
            raise WeightsError(f"not a DC-SAM checkpoint of this version: {error}", where=path) from None
    else:
        config = recognise({key: tuple(value.shape) for key, value in generator.items()}, where=path)
    _check(generator, config, path)
    name = None
    if sam2:
        if any(".lora_" in key or ".base_layer." in key for key in sam2):
            raise WeightsError(
                "the SAM 2 in this checkpoint holds LoRA adapters", where=path, fix="merge them into its weights first"
            )
        name = sam2_name(sam2)
        if text is None and name is None:
            raise WeightsError(
                "no known SAM 2 is in this video checkpoint, and its configuration is not in the file",
                where=path,
                expected=f"{WITH_METADATA}, or a published checkpoint (hiera tiny to large inside)",
            )
    tensors = {model_key(key): value for key, value in generator.items()}
    return DCSAMCheckpoint(config, tensors, sam2 or None, name, metadata, path)


def _configuration(path: Path) -> tuple[str | None, dict[str, str]]:
    """Return the JSON of our own file's configuration, None for another file, and what was stored beside it."""
    text = load_metadata(path).get(METADATA_KEY)
    if text is None:
        return None, {}
    try:
        record = json.loads(text)
        return json.dumps(record["config"]), {str(key): str(value) for key, value in record["metadata"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WeightsError("the DC-SAM metadata of this file is broken", where=path, fix="write it again") from None


def recognise(shapes: Mapping[str, tuple[int, ...]], *, where: str | Path | None = None) -> DCSAMConfig:
    """Tell SAM's version, backbone, width and number of queries of a published model by its keys and shapes.

    A ResNet's dilation is that of the public code, which no key tells.

    Raises:
        WeightsError: It is no DC-SAM prompt generator.
    """
    needed = (_MARK, "merge_1.0.weight", "downsample_query.0.weight")
    missing = [key for key in needed if key not in shapes]
    if missing:
        raise WeightsError(
            f"not a DC-SAM checkpoint: it has no {', '.join(missing)}",
            where=where,
            expected="the published image or video format, or a .safetensors that icvos train wrote",
        )
    backbone = _backbone(shapes)
    if backbone is None:
        raise WeightsError(
            "the backbone in this DC-SAM checkpoint is missing or unknown (layer0.0.weight, layer3.*), and its "
            "configuration is not in the file",
            where=where,
            expected=f"{WITH_METADATA}, or a published checkpoint (ResNet-50, ResNet-101 or VGG-16-bn inside)",
        )
    if not all(len(shapes[key]) >= 2 for key in needed):
        raise WeightsError("a DC-SAM checkpoint with tensors of the wrong rank", where=where)
    queries, width = shapes[_MARK][:2]
    extra = shapes["merge_1.0.weight"][1] - 2 * width - 1
    try:
        return DCSAMConfig.reference(
            sam=2 if "sam_downscaling.0.weight" in shapes else 1,
            backbone=backbone,
            width=width,
            queries=queries,
            sam_features=extra > 0,
            sam_channels=extra if extra > 0 else 256,
            negative="neg_transformer_decoder.supp_q_feat.weight" in shapes,
        )
    except UsageError as error:
        raise WeightsError(f"a DC-SAM checkpoint with impossible shapes: {error}", where=where) from None


def _backbone(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    if "layer0.6.weight" in shapes:
        blocks = _count(shapes, r"layer3\.(\d+)\.")
        return {6: "resnet50", 23: "resnet101"}.get(blocks)
    return "vgg16_bn" if "layer0.0.bias" in shapes else None


def _count(keys: Iterable[str], pattern: str) -> int:
    """Return one more than the greatest number at a place in the keys."""
    numbers = [int(match.group(1)) for key in keys if (match := re.match(pattern, key))]
    return max(numbers, default=-1) + 1


def sam2_name(state: Mapping[str, Tensor]) -> str | None:
    """Name the official SAM 2 with these keys: 2.1 has ``no_obj_embed_spatial``, 2.0 has not; None for another size."""
    stem = state.get("image_encoder.trunk.patch_embed.proj.weight")
    if stem is None:
        return None
    size = _SAM2_SIZES.get((stem.shape[0], _count(state, r"image_encoder\.trunk\.blocks\.(\d+)\.")))
    version = "sam2.1" if "no_obj_embed_spatial" in state else "sam2"
    return None if size is None else f"{version}_hiera_{size}"


def _check(state: Mapping[str, Tensor], config: DCSAMConfig, path: Path) -> None:
    """Compare a file's tensors, by its own keys, with those of a model."""
    with on_meta():
        expected = {file_key(key): value for key, value in DCSAM(config).state_dict().items()}
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    parts = [
        f"{what} {', '.join(keys[:5])}{f' and {len(keys) - 5} more' if len(keys) > 5 else ''}"
        for what, keys in (("misses", missing), ("has unknown", unknown), ("has", shapes))
        if keys
    ]
    if not parts:
        check_types(expected, state, where=path)
    else:
        raise WeightsError(
            f"this DC-SAM checkpoint {'; '.join(parts)}",
            where=path,
            expected=f"the {len(expected)} tensors of SAM {config.sam} with {config.backbone}",
        )


def load_model(
    checkpoint: DCSAMCheckpoint | str | Path, *, variant: Variant | None = None, device: str | torch.device = "cpu"
) -> DCSAM:
    """Build the model of a checkpoint, in eval mode.

    Args:
        checkpoint: What ``read_checkpoint`` gave, or a path.
        variant: Another behaviour than the file's own (``reference`` for a published file).
        device: Where to put it.
    """
    if not isinstance(checkpoint, DCSAMCheckpoint):
        checkpoint = read_checkpoint(checkpoint)
    config = checkpoint.config if variant is None else checkpoint.config.with_variant(variant)
    with on_meta():
        model = DCSAM(config)
    model.load_state_dict(checkpoint.state, strict=True, assign=True)
    # The assigned tensors are the checkpoint's own, without the flags of the parameters they replace.
    model.backbone.requires_grad_(False)
    return model.eval().to(device)


def save_checkpoint(
    path: str | Path,
    model: DCSAM,
    *,
    sam2: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write our own format: safetensors with the configuration inside, at a temporary name first.

    Args:
        path: ``*.safetensors``.
        model: Whose tensors, backbone included.
        sam2: State dictionary of the SAM 2 trained with it.
        metadata: More to store, text by name (where it came from).
    """
    tensors = {f"prompt_encoder.{file_key(key)}": value for key, value in model.state_dict().items()}
    tensors.update({f"sam2.{key}": value for key, value in (sam2 or {}).items()})
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    # One entry: safetensors writes several in no fixed order, and the same content should give the same bytes.
    record = {"config": json.loads(model.config.to_json()), "metadata": dict(metadata or {})}
    save_state(Path(path), tensors, metadata={METADATA_KEY: json.dumps(record, sort_keys=True)})
