"""SAM 3 as transformers has it (``facebook/sam3``, arXiv 2511.16719): its two networks loaded from files, and pixels.

One published folder serves both: its ``model.safetensors`` is a ``sam3_video``, whose halves are the tracker and the
detector; they share the backbone, and the tracker has a neck of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icvos.errors import UsageError, WeightsError
from icvos.files import read_json
from icvos.foundation.construct import load_into, on_meta
from icvos.foundation.weights import load_state

__all__ = ["PUBLISHED", "load_sam3_image", "load_sam3_tracker", "normalised", "tokens_of"]

PUBLISHED = "the folder of facebook/sam3 (config.json, model.safetensors) on huggingface.co, which asks to be accepted"

#: Greatest whole number in a configuration, where its name says no more (published: 4,736, an MLP's width).
MOST = 16_384
#: Of numbers of layers, heads, queries (published: 200), of words (49,408), of cells a side (72), of values in a list.
MOST_PARTS, MOST_WORDS, MOST_CELLS, MOST_VALUES = 512, 1 << 20, 256, 64
#: Bytes of a tokenizer's file (published: 3.6 MB).
MOST_TOKENIZER = 16 << 20
#: Steps of its normalizer (published: 3), and their kinds: none writes much more than it reads.
MOST_STEPS = 8
STEPS = ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "Replace")


def load_sam3_tracker(path: Path, config: Path) -> Any:
    """Return a ``Sam3TrackerVideoModel`` in eval mode, filled from a file.

    Args:
        path: The weights of a ``sam3_video`` or of a ``sam3_tracker_video``.
        config: Their config.json.

    Raises:
        WeightsError: No configuration, one of another model, or weights that do not fit it.
    """
    from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel

    return _load(path, config, Sam3TrackerVideoConfig, Sam3TrackerVideoModel, "tracker_config", _tracker_name)


def load_sam3_image(path: Path, config: Path) -> Any:
    """Return a ``Sam3Model``, the detector, in eval mode, filled from a file.

    Args:
        path: The weights of a ``sam3_video`` or of a ``sam3``.
        config: Their config.json.

    Raises:
        WeightsError: As ``load_sam3_tracker``.
    """
    from transformers import Sam3Config, Sam3Model

    return _load(path, config, Sam3Config, Sam3Model, "detector_config", _image_name)


def _tracker_name(name: str) -> str | None:
    """Return the tracker's own name of a tensor, or None for one of the detector alone."""
    while name.startswith("tracker_model."):  # transformers' save_pretrained writes the prefix twice
        name = name.removeprefix("tracker_model.")
    for shared, own in (
        ("detector_model.vision_encoder.", "vision_encoder."),
        ("tracker_neck.", "vision_encoder.neck."),
    ):
        if name.startswith(shared) and not name.startswith(f"{shared}neck."):
            return own + name.removeprefix(shared)
    return None if name.startswith("detector_model.") else name


def _image_name(name: str) -> str | None:
    """Return the detector's own name of a tensor, or None for one of the tracker alone."""
    return None if name.startswith(("tracker_model.", "tracker_neck.")) else name.removeprefix("detector_model.")


def _load(path: Path, config: Path, made: Any, network: Any, half: str, own_name: Callable[[str], str | None]) -> Any:
    usual = made()
    if not config.is_file():
        raise WeightsError("no config.json beside the weights", where=path, expected=PUBLISHED)
    content = read_json(config, WeightsError)
    kind = content.get("model_type") if isinstance(content, dict) else type(content).__name__
    if kind not in ("sam3_video", usual.model_type):
        expected = f"model_type sam3_video or {usual.model_type}"
        raise WeightsError(f"the configuration is of '{kind}'", where=config, expected=expected)
    try:
        values = _known(content.get(half) or {} if kind == "sam3_video" else content, usual)
        filled = made(**values)
        _check_grid(filled)
        with on_meta():
            built = network(filled)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise WeightsError(f"the configuration cannot be used ({text})", where=config) from None
    state = {own: value for name, value in load_state(path).items() if (own := own_name(name)) is not None}
    load_into(built, state, where=path, what="SAM 3 as config.json describes it")
    return built.eval().requires_grad_(False)


def _known(given: Any, usual: Any) -> dict[str, Any]:
    """Return the values of a configuration that the library's class names, within bounds, those of its parts too.

    All else is left out: a file may ask for a billion names of labels.
    """
    if not isinstance(given, Mapping):
        raise UsageError(f"a part of it is a {type(given).__name__}", expected="values by name")
    values = {}
    for name in (type(usual).__annotations__.keys() | {"image_size"}) & given.keys():  # which a tracker pops by itself
        value, default = given[name], getattr(usual, name, None)
        if default is not None and hasattr(default, "model_type"):
            value = {**_known(value, default), "model_type": default.model_type}
        elif isinstance(value, Mapping):  # rope_parameters
            value = {key: value[key] for key in ("rope_theta", "rope_type") if key in value}
            _check(name, list(value.values()))
        else:
            _check(name, value)
        values[name] = value
    return values


def _check(name: str, value: Any, *, depth: int = 0) -> None:
    most = MOST_WORDS if name in ("vocab_size", "rope_parameters") or name.endswith("_token_id") else MOST
    if name.startswith("num_") or name.endswith(("_layers", "_depth")):
        most = MOST_PARTS
    if isinstance(value, (list, tuple)):
        good = len(value) <= MOST_VALUES and depth < 2
        for each in value if good else ():
            _check(name, each, depth=depth + 1)
    elif isinstance(value, str):
        good = len(value) <= MOST_VALUES
    else:
        good = value is None or (isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= most)
    if not good:
        raise UsageError(f"{name} is out of bounds", expected=f"a number of at most {most:,}, a list or a short text")


def _check_grid(config: Any) -> None:
    """Check that the sizes of a configuration are those of one square grid of patches."""
    vision = config.vision_config
    side, patch = vision.backbone_config.image_size, vision.backbone_config.patch_size
    cells = side // patch
    sizes = [[factor * cells, factor * cells] for factor in (4, 2, 1)]
    good = side == cells * patch and 0 < cells <= MOST_CELLS
    good &= 0 <= vision.backbone_config.window_size <= cells
    good &= [list(size) for size in vision.backbone_feature_sizes] == sizes
    prompts = getattr(config, "prompt_encoder_config", None)
    if prompts is not None:  # a tracker's own sizes follow its image_size
        good &= prompts.patch_size == patch
    if not good:
        raise UsageError(
            f"image_size {side}, patch_size {patch}, window_size {vision.backbone_config.window_size}",
            expected=f"a grid of at most {MOST_CELLS} cells, and windows inside",
        )


def normalised(image: np.ndarray, side: int) -> Tensor:
    """Return (1, 3, side, side) float in -1..1 of an (H, W, 3) uint8 image, squashed, as ``Sam3ImageProcessor`` does.

    Bilinear with antialias, rounded to uint8 again.
    """
    pixels = torch.tensor(image).permute(2, 0, 1)[None]
    if tuple(pixels.shape[-2:]) != (side, side):
        pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    return pixels.float() / 127.5 - 1


def tokens_of(text: str, path: Path, *, length: int, words: int) -> tuple[Tensor, Tensor]:
    """Return the (1, length) tokens of a text and the (1, length) mask of those that are none of the filling.

    Args:
        text: A short noun phrase.
        path: The tokenizer.json of the model's folder.
        length: Of the text encoder's input (published: 32).
        words: Size of its vocabulary.

    Raises:
        WeightsError: No such file, one that cannot be used, or of another vocabulary.
        UsageError: The text is too long, or has what is no character.
    """
    from tokenizers import Tokenizer

    if not path.is_file():
        raise WeightsError("no tokenizer.json beside the weights", where=path, expected=PUBLISHED)
    if path.stat().st_size > MOST_TOKENIZER:
        raise WeightsError("the tokenizer is too large", where=path, expected=f"at most {MOST_TOKENIZER:,} bytes")
    _check_normalizer(read_json(path, WeightsError), path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        found = tokenizer.encode(text.encode().decode()).ids
    except UnicodeEncodeError:
        raise UsageError(f"the text {text[:40]!a} has what is no character", expected="UTF-8") from None
    except BaseException as error:  # the library panics by one that is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"the tokenizer cannot be used ({reason})", where=path) from None
    if not found or max(found) >= words:
        raise WeightsError("the tokenizer has other words than the model", where=path, expected=PUBLISHED)
    if len(found) > length:
        raise UsageError(f"the text comes to {len(found)} tokens", expected=f"at most {length}")
    mask = torch.arange(length) < len(found)
    # The encoder looks back alone and the filling is masked: its value does not matter.
    return torch.tensor([found + found[-1:] * (length - len(found))]), mask[None].long()


def _check_normalizer(content: Any, path: Path) -> None:
    """Check that a tokenizer's normalizer makes no long text of a short one."""
    normalizer = content.get("normalizer") if isinstance(content, dict) else None
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else normalizer or []
    good = isinstance(steps, list) and len(steps) <= MOST_STEPS
    for step in steps if good else ():
        good &= isinstance(step, dict) and step.get("type") in STEPS and len(str(step.get("content", ""))) <= 1
    if not good:
        raise WeightsError("the tokenizer has a normalizer that is not known", where=path, expected=PUBLISHED)
