"""What a benchmark of YouTube-FSVOS holds: which videos are queries of which category, and what supports them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from icvos.benchmark import Episode
from icvos.builders.fsvos.supports import FrameSupports, SupportFrame
from icvos.builders.ic_vos.plan import NothingLeft, Plan, PlannedVideo, video_name
from icvos.data.draws import DRAW_RULE, draw_supports, draws_notes, support_pool
from icvos.data.fsvos import GROUPS, EpisodeList, get_episode_list, group_categories
from icvos.errors import SourceError, UsageError, counted
from icvos.files import escape_id
from icvos.progress import Progress, Update, silent
from icvos.sources.annotations import check_category_names
from icvos.sources.base import SourceVideo
from icvos.sources.ytvis import YouTubeVis

__all__ = ["FROZEN", "FsvosPlan", "FsvosRules", "plan_fsvos"]

FROZEN = "frozen"
"""The word for our own episodes; the others are of ``EPISODE_LISTS``."""


@dataclass(frozen=True)
class FsvosRules:
    """What decides the content of a benchmark.

    Attributes:
        group: 1 to 4; its categories are tested.
        episodes: ``frozen``, or the name of a published list.
        seed: Of the draws; None for the list's own, or 0.
        shots: Supports of an episode, each from another video.
        draws: Of each video and category; of frozen episodes alone.
    """

    group: int
    episodes: str = FROZEN
    seed: int | None = None
    shots: int = 5
    draws: int = 5

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise UsageError(f"group is {self.group}", expected="1 to 4")
        if self.shots < 1 or self.draws < 1:
            raise UsageError("a benchmark needs at least one draw of one shot")
        if self.seed is None:
            own = self.listed.seed if self.listed else None
            object.__setattr__(self, "seed", own or 0)

    @property
    def listed(self) -> EpisodeList | None:
        """The published list, or None of frozen episodes."""
        return None if self.episodes == FROZEN else get_episode_list(self.episodes)

    def header(self) -> dict[str, Any]:
        """Return the rules for ``benchmark.json``."""
        about = {"group": self.group, "episodes": self.episodes, "seed": self.seed, "shots": self.shots}
        if self.listed is None:
            return {**about, "draws": self.draws, "draw_rule": DRAW_RULE}
        return {**about, "runs": self.listed.runs, "draw_rule": f"{self.listed.source}, Python's random"}


@dataclass
class FsvosPlan(Plan):
    """All videos to build, and their episodes.

    Attributes:
        episodes: In the order in which they are listed.
        supports: Frames by the names that they have as supports.
        count: Videos of the raw data.
    """

    episodes: list[Episode] = field(default_factory=list)
    supports: dict[str, SupportFrame] = field(default_factory=dict)
    count: int = 0

    def writer(self, source: YouTubeVis) -> FrameSupports:
        """Return what writes the supports."""
        drawn = [(episode.category, name) for episode in self.episodes for name in episode.supports]
        return FrameSupports(source, self.supports, drawn)

    def support(self, source: YouTubeVis, video: SourceVideo, index: int) -> str:
        """Take note of a frame that supports, and return its name as a support.

        Raises:
            SourceError: It is not there, or another frame of the video is called the same.
        """
        (frame,) = source.frames(replace(video, detail=replace(video.detail, kept=(index,))))
        name = f"{video_name(source, video.name)}__{escape_id(frame.name)}"
        if self.supports.setdefault(name, SupportFrame(video, frame)).frame.index != index:
            raise SourceError(f"two frames of {video.name} are called '{frame.name}'", where=source.json)
        return name


def plan_fsvos(source: YouTubeVis, rules: FsvosRules, *, progress: Progress = silent) -> FsvosPlan:
    """Decide what is built.

    Args:
        source: YouTube-VIS, opened with its crowds.
        rules: Which group and which episodes.
        progress: Is told how many videos have been looked through.

    Raises:
        SourceError: The data are broken, the categories' ids are not 1, 2, …, or two categories have one name.
        UsageError: Nothing is left, or the list's own code would stop.
    """
    videos = source.videos()
    if sorted(source.categories) != list(range(1, len(source.categories) + 1)):
        raise SourceError(
            "the categories' ids are not 1, 2, …, by which the groups go", where=source.json, expected="1 to 40"
        )
    check_category_names(source.categories, source.json)
    by_category = {
        category: {video.detail.id: video for video in videos if video.detail.objects(category)}
        for category in group_categories(rules.group, source.categories)
    }
    plan = FsvosPlan(count=len(videos))
    if rules.listed is None:
        _plan_frozen(plan, source, rules, by_category, progress)
    else:
        _plan_listed(plan, source, rules, rules.listed, by_category)
    if not plan.episodes:
        raise NothingLeft(f"group {rules.group} has no episode", plan.left_out, where=source.json)
    plan.videos.sort(key=lambda planned: planned.name)
    return plan


Videos = Mapping[int, Mapping[int, SourceVideo]]
"""The videos of each category, by their ids."""


def _plan_listed(plan: FsvosPlan, source: YouTubeVis, rules: FsvosRules, listed: EpisodeList, videos: Videos) -> None:
    """Take over a published list; a query is the frames of a video on which its category is annotated, and no other."""
    frames = {c: {id: video.detail.annotated(c) for id, video in of.items()} for c, of in videos.items()}
    for category, of in videos.items():
        if len(of) <= rules.shots:
            label = source.categories[category]
            plan.left_out.append(
                f"{source.id},{label}: {counted(len(of), 'videos')}, of which {rules.shots} support: no query is left "
                "(fewer --shots leave one)"
            )
    planned: dict[tuple[int, int], PlannedVideo] = {}
    names: dict[tuple[int, int], str] = {}
    draws: dict[tuple[int, int], int] = {}
    assert rules.seed is not None
    for episode in listed.draw(frames, seed=rules.seed, shots=rules.shots):
        category, key = episode.category, (episode.query, episode.category)
        if key not in planned:
            video = videos[category][episode.query]
            cut = replace(video, detail=replace(video.detail, kept=frames[category][episode.query]))
            name = f"{video_name(source, video.name)}__{escape_id(source.categories[category])}"
            planned[key] = _planned(source, cut, name, [category])
        for pair in episode.supports:
            if pair not in names:
                names[pair] = plan.support(source, videos[category][pair[0]], pair[1])
        draws[key] = draws.get(key, -1) + 1
        run = episode.run if listed.runs > 1 else None
        supports = tuple(names[pair] for pair in episode.supports)
        plan.episodes.append(_episode(source, planned[key], category, draws[key], supports, run))
    plan.videos += planned.values()


def _plan_frozen(plan: FsvosPlan, source: YouTubeVis, rules: FsvosRules, videos: Videos, progress: Progress) -> None:
    """Draw our own episodes: each video of a category is a query, and others support it."""
    every = {video.detail.id: video for of in videos.values() for video in of.values()}
    shown: dict[int, dict[str, list[int]]] = {category: {} for category in videos}
    for number, video in enumerate(sorted(every.values(), key=lambda video: video.name)):
        progress(Update("videos looked through", number, len(every)))
        categories = [category for category, of in videos.items() if video.detail.id in of]
        seen = _seen(source, video, categories)
        for category in categories:
            if seen[category]:
                shown[category][video.name] = seen[category]
            else:
                label = source.categories[category]
                plan.left_out.append(f"{source.id},{video.name},{label}: annotated, and seen on no frame")
    by_name = {video.name: video for video in every.values()}
    names_drawn: dict[str, list[list[str]]] = {}
    few: dict[str, int] = {}
    groups: dict[str, list[int]] = {}
    for category, of in shown.items():
        if len(of) == 1:
            plan.left_out.append(f"{source.id},{next(iter(of))},{source.categories[category]}: no other video shows it")
            continue
        for name in of:
            groups.setdefault(name, []).append(category)
        if of and len(of) - 1 < rules.shots:
            few[source.categories[category]] = len(of) - 1
    for name, categories in sorted(groups.items()):
        planned = _planned(source, by_name[name], video_name(source, name), categories)
        plan.videos.append(planned)
        for category in categories:
            drawn = list(_draw(rules, shown[category], name, category))
            for draw, pairs in enumerate(drawn):
                chosen = tuple(plan.support(source, by_name[other], index) for other, index in pairs)
                plan.episodes.append(_episode(source, planned, category, draw, chosen))
            of_draws = [[f"{other}/{frame}" for other, frame in pairs] for pairs in drawn]
            names_drawn[f"{name},{source.categories[category]}"] = of_draws
    if few:
        counts = ", ".join(f"{label} ({count})" for label, count in few.items())
        plan.notes.append(f"fewer than {rules.shots} other videos of {counts}: all there are support")
    plan.notes += draws_notes(names_drawn, draws=rules.draws, shots=rules.shots)


def _seen(source: YouTubeVis, video: SourceVideo, categories: Sequence[int]) -> dict[int, list[int]]:
    """Return the indices of the frames on which each category has a pixel."""
    seen: dict[int, list[int]] = {category: [] for category in categories}
    objects = {category: video.detail.objects(category) for category in categories}
    for frame in source.frames(video):
        areas = source.labels(video, frame, video.detail.size).areas()
        for category in categories:
            if any(number in areas for number in objects[category]):
                seen[category].append(frame.index)
    return seen


def _draw(
    rules: FsvosRules, shown: Mapping[str, Sequence[int]], name: str, category: int
) -> Iterator[list[tuple[str, int]]]:
    """Yield the supports of each draw, video and index of the frame: distinct videos first, then a frame of each."""
    assert rules.seed is not None
    others = support_pool(other for other in shown if other != name)
    videos = draw_supports(rules.seed, others, name, category, rules.draws, rules.shots)
    for draw, names in enumerate(videos):
        pairs = []
        for other in names:
            frames = [f"{index:05d}" for index in shown[other]]
            of_draws = draw_supports(rules.seed, frames, f"{name}|{other}", category, draw + 1, 1)
            pairs.append((other, int(of_draws[draw][0])))
        yield pairs


def _planned(source: YouTubeVis, video: SourceVideo, name: str, categories: Sequence[int]) -> PlannedVideo:
    groups = {category: video.detail.objects(category) for category in sorted(categories)}
    return PlannedVideo(source, video, name, groups, (), dict.fromkeys(groups, video.complete))


def _episode(
    source: YouTubeVis,
    planned: PlannedVideo,
    category: int,
    draw: int,
    supports: tuple[str, ...],
    run: int | None = None,
) -> Episode:
    id = f"{planned.name}__{category}__d{draw}"
    return Episode(id, planned.name, category, source.categories[category], draw, supports, run=run)
