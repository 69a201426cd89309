"""Readers of raw data sets, one small file each, and the table of those of videos."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icvos.errors import UsageError, did_you_mean
from icvos.sources.drawn import LICENCE, is_drawn

if TYPE_CHECKING:
    from icvos.sources.base import VideoSource

__all__ = ["SOURCES", "SourceRow", "keep_unsure_ids", "open_source", "source_ids"]


@dataclass(frozen=True)
class SourceRow:
    """A raw video data set that ``build-data`` reads.

    Attributes:
        id: The first part of its videos' names, and what a recipe calls it.
        reader: ``module:Class`` of its ``VideoSource``, which takes the folder and ``settings`` by keyword.
        help: What lies in its folder, one line.
        settings: What the class takes beside the folder.
    """

    id: str
    reader: str
    help: str
    settings: Mapping[str, Any] = field(default_factory=dict)


_DAVIS, _MOSE, _YTVIS = "icvos.sources.davis:Davis", "icvos.sources.mose:Mose", "icvos.sources.ytvis:YouTubeVis"

# By the option of build-data, in the order of its help.
SOURCES = {
    "davis": SourceRow(
        "davis17", _DAVIS, "DAVIS-2017: JPEGImages/480p, Annotations/480p, davis_semantics.json.", {"year": 2017}
    ),
    "davis16": SourceRow("davis16", _DAVIS, "DAVIS-2016: the same layout, one object.", {"year": 2016}),
    "mose": SourceRow("mose", _MOSE, "MOSE v1: train/JPEGImages, train/Annotations.", {"version": 1}),
    "mose2": SourceRow("mose2", _MOSE, "MOSE v2: the same layout, with meta_train.json.", {"version": 2}),
    "lvos": SourceRow(
        "lvos",
        "icvos.sources.lvos:Lvos",
        "LVOS v1 or v2: train/JPEGImages, train/Annotations, train/train_meta.json.",
    ),
    "ytvis": SourceRow(
        "ytvis",
        _YTVIS,
        "YouTube-VIS 2019 or 2021: train.json or train/instances.json, train/JPEGImages.",
        {"name": "ytvis"},
    ),
    "ovis": SourceRow("ovis", _YTVIS, "OVIS: annotations_train.json, train.", {"name": "ovis"}),
    "folder": SourceRow(
        "folder",
        "icvos.sources.folder:Folder",
        "Your own: VIDEO/frames, VIDEO/masks/CLASS; or VIDEO/masks, VIDEO/names.json.",
    ),
}


def source_ids() -> list[str]:
    """Return the ids of all video sources, sorted."""
    return sorted(row.id for row in SOURCES.values())


@cache
def keep_unsure_ids() -> frozenset[str]:
    """Return the ids of the sources whose pairs are kept while nobody has said whether they are complete."""
    return frozenset(row.id for row in SOURCES.values() if _reader(row).keep_unsure)


def open_source(name: str, root: Path, **settings: Any) -> VideoSource:
    """Open a raw video data set.

    Args:
        name: A key of ``SOURCES``, or an id.
        root: Its folder.
        settings: What its class takes beside the row's.

    Raises:
        UsageError: An unknown name.
        SourceError: The folder is not laid out as the authors ship it.
    """
    row = SOURCES.get(name) or next((row for row in SOURCES.values() if row.id == name), None)
    if row is None:
        raise UsageError(f"unknown data set '{name}'", fix=did_you_mean(name, source_ids()))
    source: VideoSource = _reader(row)(root, **row.settings, **settings)
    if is_drawn(source.root):
        source.licence, source.title = LICENCE, f"demo world, in the layout of {source.title}"
    return source


def _reader(row: SourceRow) -> Any:
    module, _, cls = row.reader.partition(":")
    return getattr(importlib.import_module(module), cls)
