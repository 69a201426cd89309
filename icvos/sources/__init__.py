"""Readers of raw data sets, one small file each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from icvos.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from icvos.sources.base import VideoSource

__all__ = ["SOURCE_IDS", "open_source"]

SOURCE_IDS = ("davis16", "davis17", "lvos", "mose", "mose2", "ovis", "ytvis")
"""The ids of all video sources: the first part of their videos' names, and what a recipe calls them."""


def open_source(name: str, root: Path) -> VideoSource:
    """Open a raw video data set.

    Args:
        name: An id of ``SOURCE_IDS``, or ``davis`` for DAVIS-2017.
        root: Its folder.

    Raises:
        UsageError: An unknown name.
        SourceError: The folder is not laid out as the authors ship it.
    """
    if name in ("davis", "davis17", "davis16"):
        from icvos.sources.davis import Davis

        return Davis(root, year=2016 if name == "davis16" else 2017)
    if name in ("mose", "mose2"):
        from icvos.sources.mose import Mose

        return Mose(root, version=2 if name == "mose2" else 1)
    if name == "lvos":
        from icvos.sources.lvos import Lvos

        return Lvos(root)
    if name in ("ytvis", "ovis"):
        from icvos.sources.ytvis import YouTubeVis

        return YouTubeVis(root, name=name)
    raise UsageError(f"unknown data set '{name}'", fix=did_you_mean(name, SOURCE_IDS))
