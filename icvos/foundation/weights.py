"""Known checkpoints, where they come from and how their hashes are known; reading checkpoint files safely.

This module imports torch only to read a checkpoint. Downloads are in ``download.py``.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icvos.errors import MissingExtraError, WeightsError, in_words
from icvos.files import atomic_write, file_kind, open_file

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["WITH_METADATA", "load_metadata", "load_state", "save_state"]

WITH_METADATA = "a .safetensors with its metadata, which copies by torch.save lose"
"""What is expected where a model is of no published sizes and nothing beside its tensors tells them."""


#: Bytes of a safetensors header: names, shapes and metadata (a published one of 2,000 tensors has 0.3 MB).
MOST_HEADER = 16 << 20
#: How deep lists and objects stand in each other in the metadata.
MOST_DEEP = 32


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
            begin = stream.read(1024)
        kind = file_kind(begin)
    except OSError as error:
        raise WeightsError(
            f"checkpoint cannot be read ({error.strerror})", where=path, fix="check its name and permissions"
        ) from None
    if kind and kind not in ("a safetensors file", "a zip archive"):
        raise WeightsError(f"checkpoint is {kind}", where=path, expected="tensors", fix="fetch it again")
    if kind == "a safetensors file" and int.from_bytes(begin[:8], "little") > MOST_HEADER:
        raise WeightsError(
            f"checkpoint has a header of {int.from_bytes(begin[:8], 'little'):,} bytes",
            where=path,
            expected=f"at most {MOST_HEADER:,}",
        )
    return kind == "a safetensors file"


def load_state(
    path: str | os.PathLike[str], *, unwrap: tuple[str, ...] = ("model", "state_dict"), plain: tuple[type, ...] = ()
) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint onto the CPU; nothing inside is ever executed.

    Args:
        path: ``.safetensors``, or anything that ``torch.save`` wrote.
        unwrap: A dictionary under one of these keys is taken for the whole.
        plain: Types that may stand beside the tensors, as holders of values without code.

    Returns:
        Tensors by name, in file order; without the prefixes of wrappers (``module.``) that all names have.

    Raises:
        WeightsError: Missing, truncated, holding other than plain tensors, values that are not finite, or a pickle with
            code in it.
    """
    path = Path(path)
    content = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path, plain)
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
    # Tensors may share a storage: what they come to is more than the file by a few tied weights, not by a factor.
    size = 0
    for name, value in content.items():
        _check_plain(name, value, path)
        size += value.numel() * value.element_size()
    if size > 4 * path.stat().st_size:
        raise WeightsError(
            f"its tensors come to {size:,} bytes in a file of {path.stat().st_size:,}",
            where=path,
            expected="each with values of its own",
        )
    for name, value in content.items():
        _check_finite(name, value, path)
    return _unwrapped(content)


def _check_plain(name: str, value: Tensor, path: Path) -> None:
    odd = _oddity(value)
    if odd:
        raise WeightsError(
            f"tensor '{name}' is {odd}",
            where=path,
            expected="plain tensors with all their values",
            fix="save it again with such tensors, as float32",
        )


def _check_finite(name: str, value: Tensor, path: Path) -> None:
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
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"larger ({in_words(tuple(value.shape))}) than what is stored of it"
    return ""


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` without the prefixes that every key has: of DistributedDataParallel and ``torch.compile``."""
    wrappers = ("module.", "_orig_mod.")
    while prefix := next((prefix for prefix in wrappers if all(key.startswith(prefix) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def _read_torch(path: Path, plain: tuple[type, ...] = ()) -> Any:
    import pickle

    torch = _torch("reading a checkpoint")
    _check_zip(path)
    try:
        # A stream, as torch.load takes every path that ends in .safetensors for that.
        safe = torch.serialization.safe_globals(list(plain))
        with open_file(path) as stream, warnings.catch_warnings(action="ignore"), safe:
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


def _check_zip(path: Path) -> None:
    """Refuse an archive whose members are packed or share bytes: torch.save does neither, and they may grow by far."""
    try:
        with open_file(path) as stream:
            if not zipfile.is_zipfile(stream):
                return
            with zipfile.ZipFile(stream) as archive:
                members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise _broken("no checkpoint", error, path) from None
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > path.stat().st_size:
        raise WeightsError(
            "checkpoint is an archive whose members are packed or share bytes",
            where=path,
            expected="a file as torch.save writes it",
            fix="save it again, or convert it to .safetensors",
        )


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
        WeightsError: Missing, truncated or broken, of a header over ``MOST_HEADER``, or nested over ``MOST_DEEP``.
    """
    path = Path(path)
    if not _is_safetensors(path):
        return {}
    _torch("reading a checkpoint")
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            metadata = dict(stream.metadata() or {})
    except Exception as error:
        raise _broken("no safetensors", error, path) from None
    for name, text in metadata.items():
        depth = accumulate((letter in "[{") - (letter in "]}") for letter in text if letter in "[{]}")
        if max(depth, default=0) > MOST_DEEP:
            raise WeightsError(
                f"the metadata {in_words(name[:60])} hold lists in lists more than {MOST_DEEP} deep", where=path
            )
    return metadata


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
