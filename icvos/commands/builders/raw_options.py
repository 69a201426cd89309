"""Options of the raw video data sets, shared by ``ic-vos`` and ``labels``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.sources import SOURCES, open_source

if TYPE_CHECKING:
    from icvos.sources.base import VideoSource

__all__ = ["open_sources", "source_options"]


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for the folder of each raw video data set."""
    for name, row in reversed(SOURCES.items()):
        folder = click.Path(path_type=Path, file_okay=False)
        function = click.option(f"--{name}", type=folder, metavar="DIR", help=row.help)(function)
    return function


def open_sources(folders: Mapping[str, Path | None]) -> list[VideoSource]:
    """Return readers of the data sets whose folders were given, in a fixed order."""
    return [open_source(name, path) for name in SOURCES if (path := folders.get(name)) is not None]
