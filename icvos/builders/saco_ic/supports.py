"""Supports of ``saco-ic``: frames of other videos, each with the union of a phrase's masklets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from icvos.builders.ic_vos.plan import PlannedVideo
from icvos.builders.saco_ic.plan import SacoPlan, SacoRules
from icvos.builders.writer import BenchmarkWriter
from icvos.data.draws import SupportPool, draw_supports, draws_notes, support_pool
from icvos.errors import SourceError
from icvos.files import read_bytes
from icvos.images import IMAGE_SUFFIXES, check_annotated_size, image_size
from icvos.progress import Progress, Update
from icvos.sources.base import SourceFrame
from icvos.sources.saco import SacoContent, SacoVeval

__all__ = ["FrameSupports"]


class FrameSupports:
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

    def image_bytes(self, drawn: Iterable[tuple[int, str]]) -> int:
        """Return the bytes of the images that are drawn, each once; those that are not there count nothing."""
        paths = {name: self._frame(category, name).image for category, name in drawn}
        return sum(path.stat().st_size for path in paths.values() if path.is_file())

    def _frame(self, category: int, name: str) -> SourceFrame:
        candidate = self.plan.candidates[category][name]
        if self._frames[0] != candidate.video:
            self._frames = (candidate.video, self.source.frames(self._videos[candidate.video]))
        return self._frames[1][candidate.index]

    def write(self, writer: BenchmarkWriter, drawn: Iterable[tuple[int, str]], link: bool, progress: Progress) -> int:
        """Write the images and masks {0, 1} that are drawn; return how many images."""
        wanted = sorted(set(drawn))
        images = set()
        for done, (category, name) in enumerate(wanted):
            frame = self._frame(category, name)
            candidate = self.plan.candidates[category][name]
            video, phrase = self._videos[candidate.video], self.plan.words.source_ids[category - 1]
            size = self.source.size(video)
            if name not in images:
                images.add(name)
                check_annotated_size(
                    frame.image, image_size(read_bytes(frame.image, "support", SourceError), frame.image), size
                )
                writer.place(f"supports/images/{name}{_suffix(frame)}", frame.image, link=link)
            labels = self.source.labels(video, frame, size)
            writer.mask(f"supports/masks/{category}/{name}.png", labels.union(self._masklets[candidate.video, phrase]))
            progress(Update("supports", done + 1, len(wanted)))
        return len(images)


def _suffix(frame: SourceFrame) -> str:
    suffix = frame.image.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise SourceError(f"a frame's suffix is '{suffix}'", where=frame.image, expected=" or ".join(IMAGE_SUFFIXES))
    return suffix
