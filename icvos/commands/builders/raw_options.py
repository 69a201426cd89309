"""Options of the raw video data sets, shared by ``ic-vos`` and ``labels``; what builders say of their sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.sources import SOURCES, open_source
from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.sources.base import VideoSource
    from icvos.sources.found import Found

__all__ = ["open_sources", "source_options", "tell_coco", "tell_found", "tell_sources"]


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for the folder of each raw video data set."""
    for name, row in reversed(SOURCES.items()):
        folder = click.Path(path_type=Path, file_okay=False)
        function = click.option(f"--{name}", type=folder, metavar="DIR", help=row.help)(function)
    return function


def open_sources(folders: Mapping[str, Path | None]) -> list[VideoSource]:
    """Return readers of the data sets whose folders were given, in a fixed order."""
    return [open_source(name, path) for name in SOURCES if (path := folders.get(name)) is not None]


def tell_sources(sources: Sequence[VideoSource]) -> None:
    """Say in a line each what the sources of a build are, and what is missing of them; nothing under ``-q``.

    What stops a build is left to the reader, whose error says it.
    """
    from icvos.sources.census import count_source

    for source in sources:
        tell_found(source.id, partial(count_source, source))


def tell_coco(root: Path, *splits: str) -> None:
    """Say of splits of COCO whose folder of images is here how many of them there are; the JSON is not read."""
    from icvos.sources.census import count_coco
    from icvos.sources.coco import images_folder

    there = [split for split in dict.fromkeys(splits) if (images_folder(root, split) / split).is_dir()]
    tell_found("coco", lambda: [count_coco(root, split) for split in there])


def tell_found(name: str, count: Callable[[], Iterable[Found]]) -> None:
    """Say what was counted of a source, as ``tell_sources`` does.

    Args:
        name: What the build calls it.
        count: Counts it; not called under ``-q``.
    """
    from icvos.errors import InputError
    from icvos.progress import verbosity

    if verbosity.level < 0:
        return
    try:
        splits = list(count())
    except InputError:
        return
    for found in splits:
        echo(f"{name}: {found.line}")
    for text in (text for found in splits for text in (*found.problems, *found.notes)):
        echo(f"{name}: {text}")
