"""Known checkpoints, where they come from and how their hashes are known; reading checkpoint files safely.

This module imports torch only to read a checkpoint. Downloads are in ``download.py``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icvos.errors import MissingExtraError, WeightsError
from icvos.files import atomic_write, file_kind

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_metadata", "load_state", "save_state"]


def _torch(user: str) -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtraError("torch", "torch", user) from None
    return torch


def _check_file(path: Path) -> bool:
    """Return whether a checkpoint is safetensors, whatever its suffix; else it is of ``torch.save``, or broken.

    Raises:
        WeightsError: It is missing, empty, or something else by how it begins.
    """
    if not path.is_file():
        raise WeightsError("checkpoint not found", where=path, fix="'icvos weights list' says what can be fetched")
    with path.open("rb") as stream:
        kind = file_kind(stream.read(1024))
    if kind and kind not in ("a safetensors file", "a zip archive"):
        raise WeightsError(f"checkpoint is {kind}", where=path, expected="tensors", fix="fetch it again")
    return kind == "a safetensors file" or (not kind and path.suffix == ".safetensors")


def load_state(path: str | os.PathLike[str], *, unwrap: tuple[str, ...] = ("model", "state_dict")) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint onto the CPU; nothing inside is ever executed.

    Args:
        path: ``.safetensors``, or anything that ``torch.save`` wrote.
        unwrap: A dictionary under one of these keys is taken for the whole.

    Returns:
        Tensors by name, in file order; without the prefix of a wrapper (``module.``) that all names have.

    Raises:
        WeightsError: Missing, truncated, holding other than tensors, values that are not finite, or a pickle with code
            in it.
    """
    path = Path(path)
    content = _read_safetensors(path) if _check_file(path) else _read_torch(path)
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
        if value.is_floating_point() and not value.isfinite().all():
            raise WeightsError(
                f"tensor '{name}' holds values that are no numbers", where=path, fix="fetch it again, or train it again"
            )
    return _without(content, "module.", "_orig_mod.")


def _without(state: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Return ``state`` without prefixes that every key has: of DistributedDataParallel, and of ``torch.compile``."""
    for prefix in prefixes:
        if all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    return dict(state)


def _read_torch(path: Path) -> Any:
    import pickle

    torch = _torch("reading a checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
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
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OSError) as error:
        reason = str(error).split("\n")[0][:120]
        raise WeightsError(
            f"checkpoint is truncated or no checkpoint ({reason})", where=path, fix="fetch it again"
        ) from None


def _read_safetensors(path: Path) -> Any:
    _torch("reading a checkpoint")
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise MissingExtraError("safetensors", "torch", "reading a checkpoint") from None
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(
            f"checkpoint is truncated or no safetensors ({error})", where=path, fix="fetch it again"
        ) from None


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the strings stored beside the tensors of a safetensors file; empty for any other file.

    Raises:
        WeightsError: Missing, truncated or broken.
    """
    path = Path(path)
    if not _check_file(path):
        return {}
    _torch("reading a checkpoint")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            return dict(stream.metadata() or {})
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(
            f"checkpoint is truncated or no safetensors ({error})", where=path, fix="fetch it again"
        ) from None


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
