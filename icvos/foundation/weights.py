"""Known checkpoints, where they come from and how their hashes are known; reading checkpoint files safely.

This module imports torch only to read a checkpoint. Downloads are in ``download.py``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icvos.errors import MissingExtraError, WeightsError
from icvos.files import atomic_write, file_kind, open_file

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["WITH_METADATA", "load_metadata", "load_state", "save_state"]

WITH_METADATA = "a .safetensors with its metadata, which copies by torch.save lose"
"""What is expected where a model is of no published sizes and nothing beside its tensors tells them."""


def _torch(user: str) -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtraError("torch", "torch", user) from None
    return torch


def _is_safetensors(path: Path) -> bool:
    """Return whether a checkpoint is safetensors by how it begins, whatever its suffix; else ``torch.save`` wrote it.

    Raises:
        WeightsError: It is missing, empty, cannot be read, or is something else by how it begins.
    """
    try:
        if not path.is_file():
            raise WeightsError("checkpoint not found", where=path, fix="'icvos weights list' says what can be fetched")
        with open_file(path) as stream:
            kind = file_kind(stream.read(1024))
    except OSError as error:
        raise WeightsError(
            f"checkpoint cannot be read ({error.strerror})", where=path, fix="check its name and permissions"
        ) from None
    if kind and kind not in ("a safetensors file", "a zip archive"):
        raise WeightsError(f"checkpoint is {kind}", where=path, expected="tensors", fix="fetch it again")
    return kind == "a safetensors file"


def load_state(path: str | os.PathLike[str], *, unwrap: tuple[str, ...] = ("model", "state_dict")) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint onto the CPU; nothing inside is ever executed.

    Args:
        path: ``.safetensors``, or anything that ``torch.save`` wrote.
        unwrap: A dictionary under one of these keys is taken for the whole.

    Returns:
        Tensors by name, in file order; without the prefixes of wrappers (``module.``) that all names have.

    Raises:
        WeightsError: Missing, truncated, holding other than plain tensors, values that are not finite, or a pickle with
            code in it.
    """
    path = Path(path)
    content = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)
    for key in unwrap:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    tensor = _torch("reading a checkpoint").Tensor
    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        raise WeightsError("checkpoint holds no tensors by name", where=path, expected="a state dictionary")
    other = [key for key, value in content.items() if not isinstance(value, tensor)]
    if other:
        raise WeightsError(f"checkpoint holds more than tensors ({', '.join(other[:3])})", where=path)
    for name, value in content.items():
        _check_tensor(name, value, path)
    return _unwrapped(content)


def _check_tensor(name: str, value: Tensor, path: Path) -> None:
    odd = _oddity(value)
    if odd:
        raise WeightsError(
            f"tensor '{name}' is {odd}",
            where=path,
            expected="plain tensors with all their values",
            fix="save it again with such tensors, as float32",
        )
    if value.is_floating_point():
        # float8 has no test of its own.
        number = value.float() if value.element_size() == 1 else value
        if not number.isfinite().all():
            raise WeightsError(
                f"tensor '{name}' holds values that are no numbers", where=path, fix="fetch it again, or train it again"
            )


def _oddity(value: Tensor) -> str:
    """Return what a tensor is that no model computes with, as "sparse"; "" where it is plain."""
    if value.is_nested:
        return "nested"
    if str(value.layout) != "torch.strided":
        return f"sparse ({value.layout})".replace("torch.", "")
    if value.is_meta:
        return "without values (saved from the meta device)"
    try:
        value.new_zeros(1).bool()
    except RuntimeError:  # of a type that packs numbers, or stands for others: float4, qint8
        return f"of type {value.dtype}".replace("torch.", "")
    return ""


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` without the prefixes that every key has: of DistributedDataParallel and ``torch.compile``."""
    wrappers = ("module.", "_orig_mod.")
    while prefix := next((prefix for prefix in wrappers if all(key.startswith(prefix) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def _read_torch(path: Path) -> Any:
    import pickle

    torch = _torch("reading a checkpoint")
    try:
        # A stream, as torch.load takes every path that ends in .safetensors for that.
        with open_file(path) as stream, warnings.catch_warnings(action="ignore"):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = str(error)
        # A byte that is no pickle's is an "unsupported operand": damage, not code.
        if "Unsupported operand" not in text and ("Unsupported" in text or "GLOBAL" in text or "reduce" in text):
            raise WeightsError(
                "checkpoint refused: it holds code or objects beside tensors, which could run anything",
                where=path,
                expected="tensors alone",
                fix="get it from its publisher, or convert it to .safetensors where you trust it",
            ) from None
        raise WeightsError(
            "checkpoint cannot be read",
            where=path,
            expected="a file of torch.save, or safetensors",
            fix="fetch it again",
        ) from None
    except Exception as error:  # damaged bytes lead to any
        raise _broken("no checkpoint", error, path) from None


def _broken(what: str, error: Exception, path: Path) -> WeightsError:
    reason = str(error).split("\n")[0][:120] or type(error).__name__
    return WeightsError(f"checkpoint is truncated or {what} ({reason})", where=path, fix="fetch it again")


def _read_safetensors(path: Path) -> Any:
    _torch("reading a checkpoint")
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise MissingExtraError("safetensors", "torch", "reading a checkpoint") from None
    try:
        return load_file(path, device="cpu")
    except Exception as error:
        raise _broken("no safetensors", error, path) from None


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the strings stored beside the tensors of a safetensors file; empty for any other file.

    Raises:
        WeightsError: Missing, truncated or broken.
    """
    path = Path(path)
    if not _is_safetensors(path):
        return {}
    _torch("reading a checkpoint")
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            return dict(stream.metadata() or {})
    except Exception as error:
        raise _broken("no safetensors", error, path) from None


def save_state(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
    half: bool = False,
) -> None:
    """Write tensors and strings as safetensors, atomically; the bytes depend on the content alone.

    Args:
        path: The file.
        state: Tensors by name, on any device.
        metadata: Strings by name.
        half: Store floating point as fp16.
    """
    _torch("writing a checkpoint")
    from safetensors.torch import save

    tensors = {key: state[key].detach().cpu().contiguous().clone() for key in sorted(state)}
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    data = save(tensors, metadata=dict(sorted((metadata or {}).items())))
    with atomic_write(path) as stream:
        stream.write(data)
