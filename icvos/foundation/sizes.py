"""Bounds of what configurations inside files of weights may say, and types of their tensors; asked before building.

A stranger's file may say a depth of 1e9 or images of 20,000 pixels. The bounds are about four times the greatest value
of a published model (SAM's vit_h, SAM 2's large, DINOv2's ViT-L, SegGPT, the public code of DC-SAM, VRP-SAM and
PFENet), more where a small model of our own is above that: what is larger is refused, by whomever it is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icvos.errors import UsageError, WeightsError, in_words

__all__ = ["BOUNDS", "check_sizes", "check_types"]

#: Most values that a list of sizes holds.
MOST_VALUES = 64
#: Most letters of a text.
MOST_LETTERS = 200

#: Least and greatest value of each size by name; those of type float stand for any number, the others for whole ones.
#: In brackets the greatest published value.
BOUNDS: dict[str, tuple[float, float]] = {
    "background": (1, 64),  # 14
    "decoder_heads": (1, 64),  # 8
    "decoder_hidden_size": (1, 512),  # 64
    "decoder_mlp": (1, 8192),  # 2048
    "depth": (1, 128),  # 32
    "dropout": (0.0, 1.0),  # 0.5
    "embed_dim": (1, 1024),  # 256
    "factor": (0.001, 4.0),  # 0.8
    "global_blocks": (0, 255),  # 43
    "heads": (1, 64),  # 16
    "hidden_size": (1, 4096),  # 1024
    "image_size": (1, 4096),  # 1024
    "inside": (1, 1024),
    "intermediate_hidden_state_indices": (0, 127),  # 23
    "max_object_pointers": (1, 128),  # 16
    "memory_dim": (1, 1024),  # 64
    "memory_heads": (1, 64),  # 1
    "memory_layers": (1, 16),  # 4
    "memory_mlp": (1, 8192),  # 2048
    "merge_index": (0, 127),  # 2
    "mlp_dim": (1, 16384),  # 4096
    "num_attention_heads": (1, 64),  # 16
    "num_channels": (1, 4),  # 3
    "num_hidden_layers": (1, 128),  # 24
    "num_maskmem": (1, 64),  # 7
    "patch": (1, 64),  # 16
    "patch_size": (1, 64),  # 16
    "pretrain_image_size": (1, 4096),  # 224
    "pretrain_size": (1, 4096),  # 518
    "prior_scale": (-1000.0, 1000.0),  # 10
    "queries": (1, 1024),  # 50
    "registers": (0, 64),  # 4
    "sam": (1, 2),
    "sam_channels": (1, 1024),  # 256
    "sam_high_res": (1, 1024),  # 64
    "scales": (0.001, 4096.0),  # 60
    "stages": (1, 128),  # 36
    "width": (1, 5120),  # 1280
    "window": (0, 64),  # 14
    "window_spec": (1, 64),  # 16
}


def check_sizes(what: str, values: Any) -> None:
    """Check the values of a configuration against ``BOUNDS``, and that texts, truths and lists are what they should be.

    Args:
        what: Whose they are, for the error.
        values: A dataclass, whose field by field types are those of its defaults; or plain values by
            name, of which those that are no sizes are for whoever takes them to judge, but no lists or objects.

    Raises:
        UsageError: A value is of another type, no finite number, or out of bounds.
    """
    if isinstance(values, Mapping):
        for name, value in values.items():
            if name in BOUNDS:
                _check_named(what, name, value)
            elif isinstance(value, (list, tuple, Mapping)):
                raise UsageError(f"{_short(name)} of {what} is {_short(value)}", expected="a number or a text")
        return
    for field in fields(values):
        value = getattr(values, field.name)
        if field.name in BOUNDS:
            several = "tuple" in str(field.type)
            if isinstance(value, (list, tuple)) is not several:
                expected = "a list of numbers" if several else "a number"
                raise UsageError(f"{field.name} of {what} is {_short(value)}", expected=expected)
            _check_named(what, field.name, value)
        elif isinstance(field.default, bool):
            if not isinstance(value, bool):
                raise UsageError(f"{field.name} of {what} is {_short(value)}", expected="true or false")
        elif field.default_factory is not MISSING and isinstance(value, Mapping):
            continue  # options, which are checked where they are taken
        elif not (isinstance(value, str) and len(value) <= MOST_LETTERS and value.isprintable()):
            raise UsageError(f"{field.name} of {what} is {_short(value)}", expected="a short text")


def _check_named(what: str, name: str, value: Any) -> None:
    several = isinstance(value, (list, tuple))
    if several and len(value) > MOST_VALUES:
        raise UsageError(f"{name} of {what} has {len(value)} values", expected=f"at most {MOST_VALUES}")
    for each in value if several else (value,):
        _check_size(what, name, each)


def _check_size(what: str, name: str, value: Any) -> None:
    low, high = BOUNDS[name]
    whole = isinstance(low, int)
    if (
        isinstance(value, bool)
        or not isinstance(value, int if whole else (int, float))
        or not (math.isfinite(value) if isinstance(value, float) else True)
        or not low <= value <= high
    ):
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"{name} of {what} is {_short(value)}", expected=f"{kind} from {low:g} to {high:g}")


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    text = in_words(value) if isinstance(value, (str, int, float, bool, type(None))) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}…"


_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def check_types(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], *, where: str | Path | None) -> None:
    """Check that a file's tensors are floating point where a model's are; what counts may be of any real type.

    Args:
        expected: Tensors by name of the model.
        state: Those of the file; names that only one of both has are passed over.
        where: The file, for the error.

    Raises:
        WeightsError: One is complex, of 8 bits, whole numbers or truths.
    """
    for name, tensor in expected.items():
        value = state.get(name)
        if value is None:
            continue
        floating = tensor.is_floating_point()
        if value.dtype not in _FLOATS if floating else value.is_complex():
            raise WeightsError(
                f"tensor '{name}' is of type {str(value.dtype).removeprefix('torch.')}",
                where=where,
                expected="floating point of 16, 32 or 64 bits" if floating else "real numbers",
                fix="save it again with such tensors",
            )
