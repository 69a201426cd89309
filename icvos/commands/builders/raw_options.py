"""Options of the raw video data sets, shared by ``ic-vos`` and ``labels``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from icvos.sources.base import VideoSource

__all__ = ["SOURCES", "open_sources", "source_options"]

# Option: what it is.
SOURCES = {
    "davis": "DAVIS-2017: JPEGImages/480p, Annotations/480p, davis_semantics.json.",
    "davis16": "DAVIS-2016: the same layout, one object.",
    "mose": "MOSE v1: train/JPEGImages, train/Annotations.",
    "mose2": "MOSE v2: the same layout, with meta_train.json.",
    "lvos": "LVOS v1 or v2: train/JPEGImages, train/Annotations, train/train_meta.json.",
    "ytvis": "YouTube-VIS 2019 or 2021: train.json or train/instances.json, train/JPEGImages.",
    "ovis": "OVIS: annotations_train.json, train.",
}


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for the folder of each raw video data set."""
    for name, text in reversed(SOURCES.items()):
        folder = click.Path(path_type=Path, file_okay=False)
        function = click.option(f"--{name}", type=folder, metavar="DIR", help=text)(function)
    return function


def open_sources(given: Mapping[str, Path | None]) -> list[VideoSource]:
    """Return readers of the data sets whose folders were given, in a fixed order."""
    from icvos.sources import open_source

    return [open_source(name, path) for name in SOURCES if (path := given.get(name)) is not None]
