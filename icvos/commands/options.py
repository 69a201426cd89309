"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import click

from icvos.errors import UsageError

__all__ = ["FiniteRange", "check_device", "model_options", "parse_weights"]


class FiniteRange(click.FloatRange):
    """A range of numbers that NaN and infinity are outside of."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or say that it is none."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--set``, ``--weights`` and ``--device`` to a command, as ``settings``, ``weights`` and ``device``."""
    for option in (
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, …"),
        click.option(
            "--weights",
            multiple=True,
            metavar="NAME=PATH",
            help="A file of weights that the model takes, or 'demo': the one shipped with icvos, made for drawn shapes "
            "alone; repeatable.",
        ),
        click.option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the model; repeatable."
        ),
    ):
        function = option(function)
    return function


def parse_weights(texts: Sequence[str]) -> dict[str, str]:
    """Turn ``name=path`` texts into a mapping.

    Raises:
        UsageError: No ``=``, or a name twice.
    """
    out: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise UsageError(f"'{text}' is no file of weights", expected="--weights NAME=PATH")
        if name in out:
            raise UsageError(f"weights '{name}' are given twice")
        out[name] = path
    return out


def check_device(device: str) -> None:
    """Ask whether a device is there.

    Raises:
        UsageError: No such device, or torch is not installed.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return
    if kind != "cuda" or (index and not index.isdigit()):
        raise UsageError(f"no device '{device}'", expected="cpu, cuda or cuda:N")
    try:
        import torch
    except ModuleNotFoundError:
        raise UsageError("a CUDA device needs torch", fix="pip install 'icvos[torch]'") from None
    if not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device '{device}' is not there", fix="icvos doctor shows the devices; --device cpu always works"
        )
