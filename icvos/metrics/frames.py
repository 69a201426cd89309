"""J and F of frames: masks, batches of masks and label maps, in numpy arrays or torch tensors."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from icvos.errors import UsageError
from icvos.installation import install_command
from icvos.metrics import definition

__all__ = [
    "SlowEngineWarning",
    "check_objects",
    "compiled_engine",
    "engine",
    "jf",
    "jf_labels",
    "label_maps",
    "mask_batches",
    "region",
    "region_labels",
]

BOOL_OR_01 = ("bool", "uint8", "int8", "int16", "int32", "int64")
LABELS = ("uint8", "uint16", "int16", "int32", "int64", "bool")


class SlowEngineWarning(UserWarning):
    """The compiled engine is not there; the numpy one gives the same numbers, slower."""


@cache
def _compiled() -> Any:
    """Return the compiled engine, or None (with one warning)."""
    try:
        from icvos import _engine  # type: ignore[attr-defined]
    except ImportError:
        warnings.warn(
            "the compiled metrics engine is not built: numpy computes the same, more slowly; it comes with a C "
            f"compiler and then {install_command(again=True)}",
            SlowEngineWarning,
            stacklevel=3,
        )
        return None
    return _engine


def compiled_engine() -> Any:
    """Return the compiled engine, ``icvos._engine``, or None where it is not built."""
    return _compiled()


def engine() -> str:
    """Return which engine scores numpy arrays: ``c`` or ``numpy``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return "numpy" if _compiled() is None else "c"


def _is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _check(prediction: Any, truth: Any, ignore: Any, kinds: tuple[str, ...]) -> None:
    if not hasattr(prediction, "shape") or tuple(prediction.shape) != tuple(truth.shape):
        raise UsageError(
            f"prediction and truth have the shapes {getattr(prediction, 'shape', None)} and {truth.shape}",
            expected="two of the same shape",
        )
    if _is_torch(prediction) != _is_torch(truth):
        raise UsageError("one of prediction and truth is a torch tensor, the other is not", expected="two of one kind")
    for array in (prediction, truth):
        name = str(array.dtype).removeprefix("torch.")
        if name not in kinds:
            raise UsageError(f"a mask is {name}", expected=" or ".join(kinds))
    if ignore is not None and tuple(ignore.shape) != tuple(truth.shape):
        raise UsageError(f"ignore has the shape {tuple(ignore.shape)}", expected=f"{tuple(truth.shape)}, as the masks")


def _masks(array: np.ndarray) -> np.ndarray:
    """View or convert (..., H, W) bool or {0, 1} integers as contiguous (N, H, W) uint8 {0, 1}."""
    if array.dtype != np.bool_:
        if array.size and (array.max() > 1 or array.min() < 0):
            raise UsageError("a mask holds other values than 0 and 1", fix="use jf_labels for label maps")
        array = array != 0
    array = np.ascontiguousarray(array).view(np.uint8)
    return array.reshape(-1, *array.shape[-2:])


def mask_batches(prediction: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return (H, W) or (N, H, W) masks, bool or integers 0 and 1, as contiguous (N, H, W) uint8 {0, 1}.

    Raises:
        UsageError: Shapes that differ, or no masks.
    """
    _check(prediction, truth, None, BOOL_OR_01)
    if prediction.ndim not in (2, 3):
        raise UsageError(f"masks of shape {tuple(prediction.shape)}", expected="(H, W) or (N, H, W)")
    return _masks(prediction), _masks(truth)


def _counts(prediction: np.ndarray, truth: np.ndarray, radius: int | None = None) -> np.ndarray:
    """Return (N, 6) int64 counts of (N, H, W) uint8 {0, 1} masks; the radius is that of F if it is None."""
    height, width = truth.shape[-2:]
    radius = definition.boundary_radius(height, width) if radius is None else radius
    compiled = _compiled()
    out = np.zeros((len(truth), 6), np.int64)
    for index in range(len(truth)):
        if compiled is None:
            out[index] = definition.mask_counts(prediction[index].view(bool), truth[index].view(bool), radius)
        else:
            compiled.counts(prediction[index], truth[index], height, width, 1, radius, bytes([1]), out[index])
    return out


def _scores(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = counts.tolist()
    j = np.array([definition.j_from_counts(row[0], row[1]) for row in rows], np.float64)
    f = np.array([definition.f_from_counts(*row[2:]) for row in rows], np.float64)
    return j, f


def _torch_scores(prediction: Any, truth: Any, ignore: Any) -> tuple[Any, Any]:
    """Return J and F of torch masks as (N,) float64 tensors on their device; on the CPU by the numpy engines."""
    if prediction.device.type != "cpu":
        from icvos.metrics.device import jf_torch

        return jf_torch(prediction, truth, ignore)
    import torch

    def batch(masks: Any) -> np.ndarray:
        return masks.detach().cpu().reshape(-1, *masks.shape[-2:]).numpy()

    j, f = jf(batch(prediction), batch(truth), ignore=None if ignore is None else batch(ignore))
    return torch.from_numpy(j), torch.from_numpy(f)


def jf(prediction: Any, truth: Any, *, ignore: Any = None) -> tuple[Any, Any]:
    """Return J (region similarity) and F (boundary accuracy), exactly as the official DAVIS-2017 code.

    Args:
        prediction, truth: (H, W) or (N, H, W) bool, or integers 0 and 1; both numpy, or both torch on one device.
        ignore: Of the same shape, bool: pixels that are taken out of both masks; or None.

    Returns:
        Two float64 in 0..1: Python floats for one mask, (N,) arrays (or tensors on the same device) for a batch.

    Raises:
        UsageError: Shapes that differ, no masks, or one of torch and one not.
    """
    _check(prediction, truth, ignore, BOOL_OR_01)
    if prediction.ndim not in (2, 3):
        raise UsageError(f"masks of shape {tuple(prediction.shape)}", expected="(H, W) or (N, H, W)")
    single = prediction.ndim == 2
    if _is_torch(prediction):
        scores = _torch_scores(prediction, truth, ignore)
        return (float(scores[0][0]), float(scores[1][0])) if single else scores
    predicted, true = _masks(prediction), _masks(truth)
    if ignore is not None:
        keep = (~np.asarray(ignore, bool)).view(np.uint8).reshape(true.shape)
        predicted, true = predicted & keep, true & keep
    j, f = _scores(_counts(predicted, true))
    return (float(j[0]), float(f[0])) if single else (j, f)


def jf_labels(prediction: Any, truth: Any, objects: Sequence[int]) -> tuple[Any, Any]:
    """Return J and F of several objects of two label maps, in one scan.

    Args:
        prediction, truth: (H, W) uint8 or uint16 label maps (other integers are converted); numpy or torch.
        objects: K ids, each 1 to 65535, none twice.

    Returns:
        Two (K,) float64, in the order of ``objects``.
    """
    ids = check_objects(prediction, truth, objects)
    if _is_torch(prediction):
        import torch

        wanted = torch.tensor(ids, device=truth.device, dtype=torch.int64)[:, None, None]
        return _torch_scores(prediction.to(torch.int64)[None] == wanted, truth.to(torch.int64)[None] == wanted, None)
    maps = label_maps(prediction, truth, ids)
    if maps is None:
        pairs = [jf(prediction == number, truth == number) for number in ids]
        return np.array([j for j, _ in pairs], np.float64), np.array([f for _, f in pairs], np.float64)
    return _scores(_label_counts(*maps, ids, definition.boundary_radius(*truth.shape)))


def check_objects(prediction: Any, truth: Any, objects: Sequence[int]) -> list[int]:
    """Return the ids of objects, once two label maps and they are seen to be such.

    Raises:
        UsageError: They are not.
    """
    _check(prediction, truth, None, LABELS)
    if prediction.ndim != 2:
        raise UsageError(f"label maps of shape {tuple(prediction.shape)}", expected="(H, W)")
    ids = [int(number) for number in objects]
    if len(set(ids)) != len(ids) or any(not 0 < number < 65536 for number in ids):
        raise UsageError(f"objects {ids[:8]}", expected="distinct ids from 1 to 65535")
    return ids


def label_maps(prediction: np.ndarray, truth: np.ndarray, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return two label maps as the compiled engine takes them; None where it is not there or ids do not fit a byte."""
    small = all(number < 255 for number in ids) and prediction.dtype == truth.dtype == np.uint8
    if _compiled() is None or not small:
        return None
    return np.ascontiguousarray(prediction), np.ascontiguousarray(truth)


def _label_counts(prediction: np.ndarray, truth: np.ndarray, ids: Sequence[int], radius: int) -> np.ndarray:
    out = np.zeros((len(ids), 6), np.int64)
    if ids:
        _compiled().counts(prediction, truth, *truth.shape, len(ids), radius, bytes(ids), out)
    return out


def region(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray]:
    """Return J of masks alone, (1,) or (N,) float64 in 0..1; arguments and errors are those of ``jf`` in numpy."""
    return (_scores(_counts(*mask_batches(prediction, truth), radius=0))[0],)


def region_labels(prediction: np.ndarray, truth: np.ndarray, objects: Sequence[int]) -> tuple[np.ndarray]:
    """Return J of several objects of two label maps alone, (K,) float64; see ``jf_labels``."""
    ids = check_objects(prediction, truth, objects)
    maps = label_maps(prediction, truth, ids)
    if maps is None:
        masks = np.array([prediction == number for number in ids]), np.array([truth == number for number in ids])
        return region(*masks) if ids else (np.zeros(0),)
    return (_scores(_label_counts(*maps, ids, 0))[0],)
