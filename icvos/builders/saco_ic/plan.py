"""What ``saco-ic`` holds: which pairs of a video and a phrase, and which frames of other videos support them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from icvos.builders.ic_vos.plan import NothingLeft, Plan, PlannedVideo, video_name
from icvos.categories import Vocabulary
from icvos.data.draws import DRAW_RULE
from icvos.errors import SourceError, UsageError, counted
from icvos.files import escape_id
from icvos.processes import in_order
from icvos.progress import Progress, Update, silent
from icvos.sources.base import SourceFrame, SourceVideo
from icvos.sources.saco import AskedPair, SacoContent, SacoVeval

__all__ = ["Candidate", "Census", "SacoPlan", "SacoRules", "plan_saco"]


@dataclass(frozen=True)
class SacoRules:
    """What decides the content of the benchmark.

    Attributes:
        seed, draws, shots: Of the supports: ``draws`` lists of ``shots`` distinct frames for each pair.
        support_min_share: Percent of the picture that a phrase's things cover on a frame that supports it, at least.
    """

    seed: int = 0
    draws: int = 5
    shots: int = 5
    support_min_share: float = 0.5

    def __post_init__(self) -> None:
        if self.draws < 1 or self.shots < 1:
            raise UsageError("a benchmark needs at least one draw of one shot")
        if not 0 <= self.support_min_share <= 100:
            raise UsageError(f"the least share of a support is {self.support_min_share}", expected="0 to 100 percent")

    def header(self) -> dict[str, Any]:
        """Return the rules for ``benchmark.json``."""
        return {**asdict(self), "draw_rule": DRAW_RULE}


@dataclass(frozen=True)
class Candidate:
    """A frame that may support a phrase.

    Attributes:
        video: The name of its video in the data set.
        index: Its number there, from 0.
    """

    video: str
    index: int


@dataclass(frozen=True)
class Census:
    """How much was asked, how much of it repeats across videos, and what becomes of it.

    Attributes:
        videos, phrases: That were asked.
        repeated: Phrases that are in two videos or more, seen on some frame.
        asked: Pairs that were asked, positive and negative.
        built: Pairs of these that the benchmark has.
        built_phrases: Phrases of those.
    """

    videos: int
    phrases: int
    repeated: int
    asked: tuple[int, int]
    built: tuple[int, int]
    built_phrases: int

    def lines(self, draws: int) -> list[str]:
        """Return what a builder says before it builds."""
        return [
            f"asked: {counted(self.phrases, 'phrases')} of {counted(self.videos, 'videos')}, "
            f"{_positive_and_negative(self.asked)}",
            f"phrases in two videos or more: {self.repeated:,} of {self.phrases:,}",
            f"with a support in another video: {_positive_and_negative(self.built)} of {self.built_phrases:,} phrases, "
            f"{counted(sum(self.built) * draws, 'episodes')}",
        ]


def _positive_and_negative(pairs: tuple[int, int]) -> str:
    return f"{pairs[0]:,} positive and {pairs[1]:,} negative pairs"


@dataclass
class SacoPlan(Plan):
    """All videos to build, what supports their pairs, and what is left out.

    Attributes:
        words: The phrases that are used, by their ids in the data set's list.
        asked: Of each video to build, by its name in the benchmark, its pairs by their category.
        candidates: By category, the frames that may support it, by name.
        census: Counts.
    """

    words: Vocabulary = field(default_factory=lambda: Vocabulary("custom", ()))
    asked: dict[str, dict[int, AskedPair]] = field(default_factory=dict)
    candidates: dict[int, dict[str, Candidate]] = field(default_factory=dict)
    census: Census = field(default_factory=lambda: Census(0, 0, 0, (0, 0), (0, 0), 0))


def plan_saco(
    source: SacoVeval, content: SacoContent, rules: SacoRules, *, workers: int = 1, progress: Progress = silent
) -> SacoPlan:
    """Decide which pairs become episodes: all that were asked and that a frame of another video supports.

    A positive pair needs a second video with its phrase, a negative one any. A pair that was not asked is never built.

    Args:
        source: The raw data.
        content: Its annotation file, read.
        rules: What may support.
        workers: Processes that look through run lengths.
        progress: Is told how many videos have been looked through.

    Raises:
        SourceError: The raw data are broken.
        NothingLeft: No pair has a support.
    """
    plan = SacoPlan(left_out=[f"{source.id},{name}: {why}" for name, why in content.left_out.items()])
    seen = dict(_look_through(source, content, rules, workers, progress))
    positive: dict[int, list[AskedPair]] = {}
    for pair in (pair for pair, frames in seen.items() if frames is not None):
        positive.setdefault(pair.phrase, []).append(pair)
    candidates = {
        phrase: {pair.video: frames for pair in pairs if (frames := seen[pair])} for phrase, pairs in positive.items()
    }
    built: dict[int, list[AskedPair]] = {}
    for pair in content.pairs:
        others = [each for each in positive.get(pair.phrase, ()) if each.video != pair.video]
        why = ""
        if pair.positive and seen[pair] is None:
            why = "it has masklets, and is seen on no frame"
        elif not others:
            why = f"it is in no {'other ' if pair.positive else ''}video"
        elif not candidates[pair.phrase].keys() - {pair.video}:
            why = f"no frame of another video shows {rules.support_min_share:g} % of the picture of it"
        if why:
            plan.left_out.append(f"{source.id},{pair.video},{content.phrases[pair.phrase]}: {why}")
        else:
            built.setdefault(pair.phrase, []).append(pair)
    if not built:
        raise NothingLeft(
            f"none of {len(content.pairs)} pairs has a support in another video", plan.left_out, where=source.json
        )
    _fill(plan, source, content, built, candidates)
    plan.census = Census(
        len({pair.video for pair in content.pairs}),
        len(content.phrases),
        sum(len(pairs) > 1 for pairs in positive.values()),
        _count(content.pairs),
        _count([pair for pairs in built.values() for pair in pairs]),
        len(built),
    )
    return plan


def _count(pairs: Sequence[AskedPair]) -> tuple[int, int]:
    positive = sum(pair.positive for pair in pairs)
    return positive, len(pairs) - positive


def _fill(
    plan: SacoPlan,
    source: SacoVeval,
    content: SacoContent,
    built: Mapping[int, Sequence[AskedPair]],
    candidates: Mapping[int, Mapping[str, Sequence[int]]],
) -> None:
    """Number the phrases, and put the pairs and their supports under these numbers."""
    ids = sorted(built)
    plan.words = Vocabulary("custom", tuple(content.phrases[phrase] for phrase in ids), tuple(ids))
    videos: dict[str, dict[int, AskedPair]] = {}
    for category, phrase in enumerate(ids, 1):
        for pair in built[phrase]:
            videos.setdefault(pair.video, {})[category] = pair
        named: dict[str, Candidate] = {}
        for video, indices in sorted(candidates[phrase].items()):
            frames = source.frames(content.videos[video])
            named |= {support_name(source, video, frames[index]): Candidate(video, index) for index in indices}
        if len(named) != sum(map(len, candidates[phrase].values())):
            raise SourceError(f"two frames that show '{content.phrases[phrase]}' have one name", where=source.images)
        plan.candidates[category] = named
    for video, pairs in sorted(videos.items()):
        name = video_name(source, video)
        groups = {category: pair.masklets for category, pair in sorted(pairs.items())}
        plan.videos.append(PlannedVideo(source, content.videos[video], name, groups, (), dict.fromkeys(groups, "yes")))
        plan.asked[name] = pairs
    plan.videos.sort(key=lambda planned: planned.name)


def support_name(source: SacoVeval, video: str, frame: SourceFrame) -> str:
    """Return what a frame is called as a support: the name of its video in a benchmark, and its own."""
    return f"{video_name(source, video)}__{escape_id(frame.name)}"


def _look_through(
    source: SacoVeval, content: SacoContent, rules: SacoRules, workers: int, progress: Progress
) -> Iterator[tuple[AskedPair, list[int] | None]]:
    """Yield each positive pair with the frames that may support its phrase; None where it is seen on no frame."""
    by_video: dict[str, list[AskedPair]] = {}
    for pair in content.pairs:
        if pair.positive:
            by_video.setdefault(pair.video, []).append(pair)
    tasks = ((source, content.videos[video], pairs, rules.support_min_share) for video, pairs in by_video.items())
    for done, found in enumerate(in_order(_frames_of, tasks, workers)):
        progress(Update("videos looked through", done + 1, len(by_video)))
        yield from found


def _frames_of(
    task: tuple[SacoVeval, SourceVideo, list[AskedPair], float],
) -> list[tuple[AskedPair, list[int] | None]]:
    source, video, pairs, share = task
    size = source.size(video)
    least = share / 100 * size[0] * size[1]
    areas: dict[AskedPair, list[int]] = {pair: [] for pair in pairs}
    for frame in source.frames(video):
        labels = source.labels(video, frame, size)
        for pair in pairs:
            areas[pair].append(labels.union_area(pair.masklets))
    return [
        (pair, [index for index, area in enumerate(areas[pair]) if area >= max(least, 1)] if any(areas[pair]) else None)
        for pair in pairs
    ]
