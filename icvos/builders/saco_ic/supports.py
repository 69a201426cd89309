"""Supports of ``saco-ic``: frames of other videos, each with the union of a phrase's masklets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icvos.builders.ic_vos.plan import PlannedVideo
from icvos.builders.saco_ic.plan import SacoPlan, SacoRules
from icvos.builders.support_writer import SupportWriter
from icvos.data.draws import SupportPool, draw_supports, draws_notes, support_pool
from icvos.sources.base import SourceFrame, SourceVideo
from icvos.sources.saco import SacoContent, SacoVeval

__all__ = ["FrameSupports"]


class FrameSupports(SupportWriter):
    """The frames that may support each pair: those of all videos that show its phrase, but its own.

    Args:
        source: The raw data.
        content: Its annotation file, read.
        plan: What is built, and the frames.
        rules: How they are drawn.
    """

    def __init__(self, source: SacoVeval, content: SacoContent, plan: SacoPlan, rules: SacoRules) -> None:
        self.source, self.plan, self.rules = source, plan, rules
        self._videos = content.videos
        self._masklets = {(pair.video, pair.phrase): pair.masklets for pair in content.pairs}
        self._pools: dict[tuple[int, str], SupportPool] = {}
        self._frames: tuple[str, list[SourceFrame]] = ("", [])

    def pool(self, planned: PlannedVideo, category: int) -> SupportPool:
        """Return the frames that may support a pair, by name."""
        pair = self.plan.asked[planned.name][category]
        key = (category, pair.video if pair.positive else "")
        if key not in self._pools:
            candidates = self.plan.candidates[category].items()
            self._pools[key] = support_pool(name for name, frame in candidates if frame.video != pair.video)
        return self._pools[key]

    def draws(self, planned: PlannedVideo, category: int) -> list[list[str]]:
        """Return the names of each draw of a pair: a pure function of seed, pool, video and phrase."""
        rules, phrase = self.rules, self.plan.words.source_ids[category - 1]
        return draw_supports(rules.seed, self.pool(planned, category), planned.name, phrase, rules.draws, rules.shots)

    def notes(self, videos: Sequence[PlannedVideo]) -> list[str]:
        """Return lines for people: which draws show the same."""
        label = self.plan.words.label
        drawn = {f"{video.name},{label(c)}": self.draws(video, c) for video in videos for c in video.groups}
        return draws_notes(drawn, draws=self.rules.draws, shots=self.rules.shots)

    def drawn(self, videos: Sequence[PlannedVideo]) -> list[tuple[int, str]]:
        """Return the categories and names of all supports of some videos, each once, sorted."""
        pairs = [(video, category) for video in videos for category in video.groups]
        return sorted({(c, name) for video, c in pairs for names in self.draws(video, c) for name in names})

    def image(self, category: int, name: str) -> Path:
        return self._frame(category, name).image

    def size(self, category: int, name: str) -> tuple[int, int]:
        return self.source.size(self._video(category, name))

    def mask(self, category: int, name: str) -> np.ndarray:
        video, phrase = self._video(category, name), self.plan.words.source_ids[category - 1]
        labels = self.source.labels(video, self._frame(category, name), self.source.size(video))
        return labels.union(self._masklets[video.name, phrase])

    def label(self, category: int) -> str:
        return self.plan.words.label(category)

    def _video(self, category: int, name: str) -> SourceVideo:
        return self._videos[self.plan.candidates[category][name].video]

    def _frame(self, category: int, name: str) -> SourceFrame:
        candidate = self.plan.candidates[category][name]
        if self._frames[0] != candidate.video:
            self._frames = (candidate.video, self.source.frames(self._videos[candidate.video]))
        return self._frames[1][candidate.index]
