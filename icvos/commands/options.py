"""Options that several commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import click

from icvos.errors import UsageError
from icvos.files import absolute_path
from icvos.installation import install_command

__all__ = [
    "DataFolder",
    "FiniteRange",
    "FollowedPath",
    "ProtocolOption",
    "check_device",
    "follow_parents",
    "model_options",
    "parse_weights",
]


class FiniteRange(click.FloatRange):
    """A range of numbers that NaN and infinity are outside of."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or say that it is none."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


class FollowedPath(click.Path):
    """A path whose ``..`` are followed once, so that what a command writes is read from the same place."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        path = super().convert(value, param, ctx)
        return absolute_path(path) if isinstance(path, Path) and ".." in path.parts else path


class DataFolder(click.Option):
    """An option with the folder of a data set, which is refused where it is given twice: click takes the last."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser collect each folder that is given."""
        self.multiple = True
        super().add_to_parser(parser, ctx)
        self.multiple = False

    def consume_value(self, ctx: click.Context, opts: Any) -> Any:
        """Return the folder and where it comes from, or say that there are several."""
        folders = opts.get(self.name)
        if isinstance(folders, list):
            if len(folders) > 1 and not ctx.resilient_parsing:
                raise click.UsageError(f"{self.opts[0]} is given more than once: {', '.join(folders)}", ctx)
            opts = {**opts, self.name: folders[0]}
        return super().consume_value(ctx, opts)


class ProtocolOption(click.Option):
    """``--protocol``, whose help names all protocols, which are imported when it is asked for."""

    KINDS: ClassVar = {"video": "Of videos", "sequence": "Of label maps and VOS", "image": "Of images"}

    @property
    def help(self) -> str:
        """What was given as its help, and the protocols by what they are of."""
        from icvos.protocols import PROTOCOLS

        names = {kind: ", ".join(p.name for p in PROTOCOLS.values() if p.kind == kind) for kind in self.KINDS}
        return " ".join([self._given, *(f"{what}: {names[kind]}." for kind, what in self.KINDS.items())])

    @help.setter
    def help(self, text: str | None) -> None:
        self._given = text or ""


def follow_parents(command: click.Command) -> click.Command:
    """Let a command, and all commands within it, take its paths as ``FollowedPath`` does; return it.

    Folders that are read are taken as ``DataFolder`` does.
    """
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type.__class__ = FollowedPath
            single = type(parameter) is click.Option and not parameter.multiple and not parameter.type.file_okay
            if single and not {"--out", "--to"} & set(parameter.opts):
                parameter.__class__ = DataFolder
    for inner in getattr(command, "commands", {}).values():
        follow_parents(inner)
    return command


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--set``, ``--weights``, ``--device``, ``--python`` and ``--isolated`` to a command.

    They come as ``settings`` and by their names.
    """
    for option in (
        click.option(
            "--isolated",
            is_flag=True,
            help="Run the method in an environment of its own, made of what its file asks for and kept.",
        ),
        click.option(
            "--python",
            metavar="PYTHON",
            help="Run the method in this interpreter, or environment's folder, where icvos need not be installed.",
        ),
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


def check_device(device: str, *, several: bool = False) -> None:
    """Ask whether a device is there.

    Args:
        device: cpu, cuda or cuda:1.
        several: Whether it may name several GPUs, as in cuda:0,2.

    Raises:
        UsageError: No such device, or torch is not installed.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return
    indices = index.split(",") if several else [index]
    if kind != "cuda" or (device != "cuda" and not all(re.fullmatch("0|[1-9][0-9]{0,3}", each) for each in indices)):
        raise UsageError(
            f"no device '{device}'", expected="cpu, cuda, cuda:N or cuda:N,M,…" if several else "cpu, cuda or cuda:N"
        )
    if len(set(indices)) < len(indices):
        raise UsageError(f"device '{device}' names a GPU twice", fix="--per-gpu 2 lets two workers share each")
    try:
        import torch
    except ModuleNotFoundError:
        raise UsageError("a CUDA device needs torch", fix=install_command("torch")) from None
    if not torch.cuda.is_available() or max(int(each or 0) for each in indices) >= torch.cuda.device_count():
        raise UsageError(
            f"device '{device}' is not there", fix="icvos doctor shows the devices; --device cpu always works"
        )
