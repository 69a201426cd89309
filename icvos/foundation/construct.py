"""Building foundation models: the optional packages they come from, the meta device, loading, counting."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from icvos.errors import MissingExtraError, WeightsError
from icvos.foundation.sizes import check_types

__all__ = ["count_parameters", "load_into", "on_meta", "require_sam"]

# What people install, by what is imported.
_PACKAGES = {"sam2": "sam2", "segment_anything": "segment-anything", "safetensors": "safetensors"}


def require_sam(module: str, user: str) -> ModuleType:
    """Import a module of the optional packages of SAM and SAM 2.

    Args:
        module: Its name.
        user: What needs it, as the error says it: ``SAM 2``.

    Raises:
        MissingExtraError: The package is not installed; the line names the extra ``sam``.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise MissingExtraError(_PACKAGES.get(missing, missing), "sam", user) from None


class _MetaFactories(TorchFunctionMode):
    """Send the factories that make parameters to the meta device, and no others.

    ``torch.device("meta")`` sends all of them, which breaks SAM 2: it reads drop-path rates with ``.item()`` and keeps
    its rotary tables as plain attributes, which no checkpoint would fill.

    What is on the meta device has no values: random ones and products with a number are left out, as there they import
    torch's compiler, which takes a second.
    """

    factories = frozenset({torch.empty, torch.zeros, torch.ones, torch.randn, torch.rand, torch.full})
    random = frozenset({nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in self.factories and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        tensor = args[0] if args else kwargs.get("tensor")
        if func in self.random and tensor.is_meta:
            return tensor
        if func is torch.Tensor.mul and tensor.is_meta and tensor.is_floating_point() and _is_number(args[1:]):
            return torch.empty_like(tensor)
        return func(*args, **kwargs)


def _is_number(others: tuple[Any, ...]) -> bool:
    return len(others) == 1 and isinstance(others[0], (int, float))


@contextmanager
def on_meta() -> Iterator[None]:
    """Build modules inside the block without memory or initial values: shapes only, to be filled by a checkpoint."""
    with _MetaFactories():
        yield


def count_parameters(module: nn.Module) -> int:
    """Return the number of scalars in the parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def load_into(module: nn.Module, state: Mapping[str, Tensor], *, where: str | Path, what: str) -> None:
    """Load ``state`` strictly into ``module``, which may be on the meta device (the tensors are then taken over).

    Args:
        module: The module to fill.
        state: Tensors by name.
        where: The file they came from, for the error.
        what: What the file should hold, for the error ("SAM 2.1 tiny").

    Raises:
        WeightsError: Keys are missing or unknown, or a shape or kind of number differs; the first few are named.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    problems = []
    for label, keys in (("missing", missing), ("unknown", unknown), ("of another shape", shapes)):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            problems.append(f"{len(keys)} {label}: {', '.join(keys[:3])}{more}")
    if problems:
        raise WeightsError(f"the checkpoint does not fit {what} ({'; '.join(problems)})", where=where)
    check_types(expected, state, where=where)
    meta = any(tensor.is_meta for tensor in expected.values())
    dtypes = {key: tensor.dtype for key, tensor in expected.items()}
    module.load_state_dict({key: state[key].to(dtypes[key]) for key in expected}, strict=True, assign=meta)
