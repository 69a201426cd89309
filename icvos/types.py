"""What models, benchmarks and the evaluation hand each other: frozen dataclasses, validated once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from icvos.errors import ModelError, UsageError, did_you_mean

__all__ = ["USES", "Mask", "ModelInfo", "Prediction", "Support", "Video", "WeightInfo"]

USES = ("text", "class-names", "first-frame")
"""What a method may be told beside supports and frames: prompts in words, categories' names, frame 0's ground truth."""

Mask: TypeAlias = Any
"""(H, W) bool, a numpy array or a torch tensor on any device (uint8 {0, 1} is accepted too)."""


@dataclass(frozen=True, eq=False)
class Support:
    """One support image with the mask of a thing: all that a model is told about what to segment.

    There is no name, path or category: in-context means from pixels alone.

    Attributes:
        image: (H, W, 3) uint8 RGB. Arrays may be read-only: ``torch.tensor`` copies, ``torch.from_numpy`` warns.
        mask: (H, W) bool, true on the thing.
        ignore: (H, W) bool, true where the annotation says nothing (crowd, void border), or None.
    """

    image: np.ndarray
    mask: np.ndarray
    ignore: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise UsageError(f"a support image is (H, W, 3) uint8, not {self.image.shape} {self.image.dtype}")
        for name, array in (("mask", self.mask), ("ignore", self.ignore)):
            if array is not None and (array.shape != self.image.shape[:2] or array.dtype != np.bool_):
                raise UsageError(
                    f"a support's {name} is (H, W) bool of the image's size {self.image.shape[:2]}, "
                    f"not {array.shape} {array.dtype}"
                )

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]


@runtime_checkable
class Video(Protocol):
    """A lazy sequence of frames; frames are (H, W, 3) uint8 RGB, read-only, and all of one size."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one frame; a bare mask is as good.

    Attributes:
        mask: (H, W) bool at the frame's size, numpy or torch on any device.
        score: (H, W) float, higher where the thing is more likely, or None.
        confidence: One number for the whole mask, or None.
    """

    mask: Mask
    score: Any = None
    confidence: float | None = None

    @classmethod
    def of(cls, item: Any, size: tuple[int, int]) -> Prediction:
        """Return what a model yielded for a frame as a valid prediction, on the device and in the dtype that it has.

        Args:
            item: A mask (numpy or torch; bool, or integers 0 and 1) or a ``Prediction``.
            size: (H, W) of the frame.

        Raises:
            ModelError: It is no mask, or one of another size, dtype or range; or its score holds NaN or
                has another shape, or its confidence is not finite.
        """
        prediction = item if isinstance(item, cls) else cls(item)
        mask = prediction.mask
        if hasattr(mask, "__array__") and not isinstance(mask, np.ndarray) and not hasattr(mask, "detach"):
            prediction = replace(prediction, mask=np.asarray(mask))  # another library's, which may compute it only now
        problem = _mask_problem(prediction.mask, size) or _score_problem(prediction, size)
        if problem:
            raise ModelError(problem)
        return prediction

    def to_numpy(self) -> np.ndarray:
        """Return the mask as (H, W) bool on the host; not copied where it is that already."""
        mask = self.mask.detach().cpu().numpy() if hasattr(self.mask, "detach") else self.mask
        return np.asarray(mask).astype(bool, copy=False)


def _mask_problem(mask: Any, size: tuple[int, int]) -> str | None:
    shape, dtype = getattr(mask, "shape", None), str(getattr(mask, "dtype", "")).removeprefix("torch.")
    if shape is None or not dtype:
        return f"a {type(mask).__name__} is no mask (an array of bool is)"
    if tuple(shape) != tuple(size):
        return f"the mask's shape is {tuple(shape)}, the frame's {tuple(size)}"
    if not _is_dense(mask):
        return "the mask is no dense array with values"
    if dtype == "bool":
        return None
    if not dtype.startswith(("uint", "int")):
        return f"the mask is {dtype}, not bool"
    low, high = (int(mask.min()), int(mask.max())) if 0 not in size else (0, 0)
    return f"the mask holds values from {low} to {high}, not 0 and 1" if low < 0 or high > 1 else None


def _is_dense(array: Any) -> bool:
    """Whether it holds a value a place: a sparse tensor does not, nor one on torch's device ``meta``."""
    return str(getattr(array, "layout", "torch.strided")) == "torch.strided" and not getattr(array, "is_meta", False)


def _score_problem(prediction: Prediction, size: tuple[int, int]) -> str | None:
    score, confidence = prediction.score, prediction.confidence
    if score is not None:
        shape = tuple(getattr(score, "shape", ()))
        if shape != tuple(size):
            return f"the score's shape is {shape}, the frame's {tuple(size)}"
        if not _is_dense(score):
            return "the score is no dense array with values"
        if not bool(((score == score) & (score != np.inf) & (score != -np.inf)).all()):
            return "the score holds values that are no finite numbers"
    if confidence is not None and not np.isfinite(float(confidence)):
        return f"the confidence is {confidence}"
    return None


@dataclass(frozen=True)
class WeightInfo:
    """A file of weights that a model takes by name (``--weights NAME=PATH``).

    Attributes:
        source: Where it comes from: a URL, or a sentence when there is no direct link.
        sha256: The whole hash of the published file, when one was read; ``icvos evaluate`` tells of another.
        required: Whether the model needs it; one that is not required may be left out.
    """

    source: str
    sha256: str | None = None
    required: bool = True


@dataclass(frozen=True)
class ModelInfo:
    """What a method declares of itself.

    Attributes:
        name: As in ``--model NAME``; letters, digits, ``_``, ``.``, ``-`` and ``+``.
        version: Raised when results may change.
        paper: Where it is published.
        licence: Of code and weights.
        access: ``online`` (frames only forward), ``lookahead:N`` or ``offline``.
        weights: The files it takes, by name. They arrive as paths in ``self.weights``.
        training_categories: Names of the categories it saw in training, as COCO or VOC has them; empty when it saw
            none.
        training_data: What it and its tracker were trained on, as ``coco2014:train``, ``mose:train``.
        extra: The pip extra of icvos that it needs, or None.
        demo_weights: The files shipped for the demo benchmarks by the names of ``weights``, each as a package and the
            path in it: ``my_package/weights/demo.safetensors``.
        uses: What it is told beside supports and frames: ``text``, ``class-names``, ``first-frame``; empty for a method
            that is in-context alone.
    """

    name: str
    version: str
    paper: str = ""
    licence: str = ""
    access: str = "online"
    weights: Mapping[str, WeightInfo] = field(default_factory=dict)
    training_categories: tuple[str, ...] = ()
    training_data: tuple[str, ...] = ()
    extra: str | None = None
    demo_weights: Mapping[str, str] = field(default_factory=dict)
    uses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kind, _, count = self.access.partition(":")
        good = self.access in ("online", "offline") or (
            kind == "lookahead" and re.fullmatch("[0-9]{1,9}", count) and int(count) > 0
        )
        if not good:
            raise UsageError(f"access is 'online', 'lookahead:N' or 'offline', not '{self.access}'")
        for word in self.uses:
            if word not in USES:
                raise UsageError(f"'{word}' is nothing that a method uses", fix=did_you_mean(word, USES))
        if not self.name or not self.version:
            raise UsageError("a ModelInfo needs a name and a version")

    @property
    def lookahead(self) -> int | None:
        """Frames ahead of the current one that may be read: 0 online, N, or None for all."""
        if self.access == "online":
            return 0
        return None if self.access == "offline" else int(self.access.partition(":")[2])
