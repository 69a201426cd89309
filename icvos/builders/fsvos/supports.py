"""Supports of YouTube-FSVOS: frames of other videos of the data set, with a category's mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icvos.builders.ic_vos.plan import PlannedVideo
from icvos.builders.support_writer import SupportWriter
from icvos.sources.base import SourceFrame, SourceVideo
from icvos.sources.ytvis import YouTubeVis

__all__ = ["FrameSupports", "SupportFrame"]


@dataclass(frozen=True)
class SupportFrame:
    """A frame that supports: a video and one of its frames."""

    video: SourceVideo
    frame: SourceFrame


class FrameSupports(SupportWriter):
    """The supports of a build.

    Args:
        source: The raw data.
        frames: Frames by the names that they have as supports.
        drawn: Of each category, the names of the frames that support it.
    """

    def __init__(
        self, source: YouTubeVis, frames: Mapping[str, SupportFrame], drawn: Iterable[tuple[int, str]]
    ) -> None:
        self.source = source
        self.frames = frames
        self._drawn = sorted(set(drawn))

    def drawn(self, videos: Sequence[PlannedVideo] = ()) -> list[tuple[int, str]]:
        """Return the categories and names of all supports, each once, sorted; those of some videos are not told."""
        return list(self._drawn)

    def image(self, category: int, name: str) -> Path:
        return self.frames[name].frame.image

    def size(self, category: int, name: str) -> tuple[int, int]:
        return self.frames[name].video.detail.size

    def mask(self, category: int, name: str) -> np.ndarray:
        video, frame = self.frames[name].video, self.frames[name].frame
        return self.source.labels(video, frame, video.detail.size).union(video.detail.objects(category))

    def label(self, category: int) -> str:
        return self.source.categories[category]
