"""What will be built, before any mask is decoded: videos, categories, what is left out, and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icvos.builders.extra import ExtraMasks
from icvos.builders.ic_vos.rules import MINI_PAIRS, BuildRules
from icvos.builders.published import PublishedRecipe
from icvos.builders.recipe import ObjectLabel, Recipe
from icvos.categories import Vocabulary
from icvos.errors import SourceError, UsageError, are, counted, did_you_mean, name_some
from icvos.files import check_id, escape_id
from icvos.sources.base import SourceVideo, VideoSource

__all__ = ["NothingLeft", "Plan", "PlannedVideo", "make_plan", "own_label", "video_name"]

# Names that mean another thing than COCO's: YouTube-VIS' mouse is an animal, COCO's belongs to a computer.
FALSE_FRIENDS = {("ytvis", "mouse"), ("ovis", "mouse"), ("davis17", "mouse")}


class NothingLeft(UsageError):
    """All was left out.

    Args:
        what: The fault.
        left_out: What was left out, each with why.
        where: The raw data.
    """

    def __init__(self, what: str, left_out: Sequence[str], *, where: str | Path = "") -> None:
        first = f"; {left_out[-1]}" if left_out else ""  # the plan's reasons come before the build's
        more = f", and {len(left_out) - 1} more (--left-out FILE lists them)" if len(left_out) > 1 else ""
        super().__init__(what + first + more, where=where)
        self.left_out = list(left_out)


@dataclass
class PlannedVideo:
    """A video with something in it that is wanted.

    Attributes:
        name: In the benchmark: ``davis17__dog``.
        groups: Objects of each category; those of masks made in another tool with a minus.
        named: Objects that a recipe names.
        complete: ``yes``, ``no`` or ``unsure`` of each category.
        clip: First and last frame to use, as the source numbers them; None for all.
        extra: Masks made in another tool, or None.
    """

    source: VideoSource
    video: SourceVideo
    name: str
    groups: dict[int, tuple[int, ...]]
    named: tuple[int, ...]
    complete: dict[int, str]
    clip: tuple[int | None, int | None] = (None, None)
    extra: ExtraMasks | None = None


@dataclass
class Plan:
    """All videos to build, and what is left out.

    Attributes:
        left_out: Lines ``source,video,object: why``; what was not asked for stands last.
        notes: What a person should know.
    """

    videos: list[PlannedVideo] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def categories(self) -> list[int]:
        return sorted({category for planned in self.videos for category in planned.groups})

    @property
    def pairs(self) -> int:
        return sum(len(planned.groups) for planned in self.videos)


def video_name(source: VideoSource, name: str) -> str:
    """Return a video's name in a benchmark: ``<source>__<name>``."""
    return check_id(name, "video name") if source.bare_names else f"{source.id}__{escape_id(name)}"


def make_plan(
    sources: Sequence[VideoSource],
    recipe: Recipe,
    rules: BuildRules,
    words: Vocabulary,
    *,
    unsupported: Callable[[int], bool] = lambda category: False,
    published: PublishedRecipe | None = None,
    part: str = "all",
) -> Plan:
    """Decide what is built.

    Args:
        sources: Raw data sets.
        recipe: What people said of the objects.
        rules: What is kept.
        words: Names of the categories.
        unsupported: Whether a category is left out because nothing supports it.
        published: A recipe of whose sources the sequences that it lists are built, those that are there.
        part: ``all`` of its sequences, those of ``dev`` or of ``test``.

    Raises:
        SourceError: A source is broken, or names collide.
        UsageError: The recipe names an unknown source, video or object, or nothing is left.
    """
    plan = Plan()
    videos = [(source, video) for source in sources for video in source.videos()]
    _refuse_collisions(videos)
    plan.left_out += [f"{source.id},{name}: {why}" for source in sources for name, why in source.left_out.items()]
    _refuse_unknown(sources, videos, recipe, {} if published is None else published.sequences)
    if published is not None:
        videos = _take_listed(sources, videos, published, part, plan)
    incomplete = 0
    not_asked: list[str] = []
    judged_sources = recipe.judged_sources
    for source, video in videos:
        planned = _plan_video(source, video, recipe, words, plan)
        wanted = {}
        for category, objects in planned.groups.items():
            pair = f"{source.id},{video.name},{words.label(category)}"
            if rules.categories and category not in rules.categories:
                not_asked.append(f"{pair}: not among the categories that are asked for")
                continue
            # Where nobody judged a source that has no answer of its own (a plain --davis build), all of it is kept.
            judged = source.id in judged_sources or not source.keep_unsure
            if planned.complete[category] != "yes" and judged and not rules.allow_incomplete:
                incomplete += 1
                plan.left_out.append(f"{pair}: complete is {planned.complete[category]}")
                continue
            if unsupported(category):
                plan.left_out.append(f"{pair}: no image of the support pool shows enough of it")
                continue
            wanted[category] = objects
        if wanted:
            planned.groups = wanted
            plan.videos.append(planned)
    _note(plan, sources, recipe, incomplete)
    if not plan.videos:
        raise NothingLeft(
            f"nothing is left to build from {counted(len(videos), 'videos')}",
            plan.left_out + not_asked,
            where=", ".join(str(source.root) for source in sources),
        )
    if rules.subset:
        not_asked += _take_subset(plan, words)
    plan.left_out += not_asked
    plan.videos.sort(key=lambda planned: planned.name)
    return plan


def _plan_video(source: VideoSource, video: SourceVideo, recipe: Recipe, words: Vocabulary, plan: Plan) -> PlannedVideo:
    labels = recipe.objects.get((source.id, video.name), {})
    extra = recipe.extra.get((source.id, video.name))
    groups: dict[int, list[int]] = {}
    if video.all_objects and not video.objects:
        plan.left_out.append(f"{source.id},{video.name}: no object is annotated")
    dropped: set[int] = set()  # categories of which an object is not wanted
    for number in sorted({*video.objects, *labels}):
        label = labels.get(number) or own_label(source, video.objects.get(number), words)
        name = f"{source.id},{video.name},{number}"
        if label is None:
            said = video.objects.get(number)
            plan.left_out.append(f"{name}: {_unknown(said, words) if said else 'no label'}")
        elif label.category is None:
            plan.left_out.append(f"{name}: nothing of {words.name}, says the recipe")
        elif not label.keep:
            dropped.add(label.category)
            plan.left_out.append(f"{name}: keep is no, says the recipe")
        else:
            groups.setdefault(label.category, []).append(number)
    if not video.all_objects and not labels and extra is None:
        plan.left_out.append(f"{source.id},{video.name}: no object has a label; {source.named_by} says what they are")
    own = set(groups)
    for number, category in sorted(extra.objects.items() if extra else ()):
        groups.setdefault(category, []).append(-number)
    complete = {}
    for category in sorted(groups):
        # What the source says of its annotations it does not say of a category that it has none of.
        said = recipe.is_complete(source.id, video.name, category) or (video.complete if category in own else "unsure")
        # An instance that is annotated but not wanted is one that the ground truth lacks.
        complete[category] = "no" if category in dropped else said
    return PlannedVideo(
        source,
        video,
        video_name(source, video.name),
        {category: tuple(groups[category]) for category in sorted(groups)},
        tuple(sorted(labels)),
        complete,
        recipe.clip(source.id, video.name),
        extra,
    )


def _unknown(name: str, words: Vocabulary) -> str:
    close = did_you_mean(name.lower(), words.names)
    return f"no category of {words.name} is called '{name}'{'; ' + close if close.startswith('did') else ''}"


def own_label(source: VideoSource, said: str | None, words: Vocabulary) -> ObjectLabel | None:
    """Return the label that the data set itself gives an object, or None."""
    if not said or (source.id.rstrip("0123456789"), said.lower()) in FALSE_FRIENDS:
        return None
    number = words.find(said)
    return None if number is None else ObjectLabel(number)


def _refuse_collisions(videos: Sequence[tuple[VideoSource, SourceVideo]]) -> None:
    seen: dict[str, str] = {}
    for source, video in videos:
        name = video_name(source, video.name)
        other = seen.setdefault(name.casefold(), name)
        if other is not name:
            raise SourceError(
                f"two videos would be called '{other}'" + ("" if other == name else f" and '{name}'"),
                where=source.root,
                expected="names that differ by more than their case",
            )


def _refuse_unknown(
    sources: Sequence[VideoSource],
    videos: Sequence[tuple[VideoSource, SourceVideo]],
    recipe: Recipe,
    may_lack: Container[tuple[str, str]],
) -> None:
    source_ids = {source.id for source in sources}
    known = {(source.id, video.name): video for source, video in videos}
    named = sorted({*recipe.objects, *((source, video) for source, video, _ in recipe.complete), *recipe.extra})
    for source, name in named:
        if source not in source_ids:
            # A shared recipe may cover more sources than are built from, but not ones that do not exist.
            _check_source(source)
            continue
        if (source, name) not in known:
            if (source, name) in may_lack:
                continue
            names = [video for of, video in known if of == source]
            raise UsageError(f"the recipe names an unknown video: {source},{name}", fix=did_you_mean(name, names))
        video = known[source, name]
        for number in recipe.objects.get((source, name), {}):
            if video.all_objects and number not in video.objects:
                raise UsageError(
                    f"the recipe names an unknown object: {source},{name},{number}",
                    expected=f"one of {', '.join(map(str, video.objects)) or 'none'}",
                )


def _take_listed(
    sources: Sequence[VideoSource],
    videos: Sequence[tuple[VideoSource, SourceVideo]],
    published: PublishedRecipe,
    part: str,
    plan: Plan,
) -> list[tuple[VideoSource, SourceVideo]]:
    """Return the videos that a published recipe lists in a part, and all of sources that it does not list; say which
    of its sources and sequences are not there, and which videos it does not have.
    """
    out = []
    ids = {source.id for source in sources}
    listed = {source for source, _ in published.sequences}
    for absent in sorted(listed - ids):
        plan.notes.append(f"{absent} is in {published.name}, and is not given")
    for of in sorted(listed & ids):
        expected = published.expected(of, part)
        missing = sorted(set(expected) - {video.name for source, video in videos if source.id == of})
        if missing:
            count = f"{len(missing)} of {len(expected)} sequences of {published.name}"
            plan.left_out.append(f"{of}: {count} are not here: {name_some(missing)}")
    for source, video in videos:
        row = published.sequences.get((source.id, video.name))
        if source.id not in listed or (row is not None and part in ("all", row.part)):
            out.append((source, video))
        else:
            why = f"not in {published.name}" if row is None else f"of the part {row.part} of {published.name}"
            plan.left_out.append(f"{source.id},{video.name}: {why}")
    return out


def _check_source(name: str) -> None:
    from icvos.sources import source_ids

    if name not in source_ids():
        raise UsageError(f"the recipe names an unknown source '{name}'", fix=did_you_mean(name, source_ids()))


def _note(plan: Plan, sources: Sequence[VideoSource], recipe: Recipe, incomplete: int) -> None:
    mended = [planned.extra for planned in plan.videos if planned.extra is not None]
    if mended:
        objects, maps = sum(len(extra.objects) for extra in mended), sum(len(extra.maps) for extra in mended)
        plan.notes.append(f"masks made in another tool: {objects} objects in {maps} frames of {len(mended)} videos")
    kept = [p for p in plan.videos if "unsure" in p.complete.values() and p.source.keep_unsure]
    if kept and not any(p.source.id in recipe.judged_sources for p in kept):
        pairs = sum(list(planned.complete.values()).count("unsure") for planned in kept)
        plan.notes.append(
            f"nobody has said whether {counted(pairs, 'pairs')} of {kept[0].source.title} {are(pairs)} wholly "
            "annotated: these are kept, marked unsure (a recipe says it, or icvos build-data labels)"
        )
    if incomplete:
        plan.notes.append(
            f"pairs left out as not known to be wholly annotated: {incomplete} (--allow-incomplete keeps them, marked)"
        )


def _take_subset(plan: Plan, words: Vocabulary) -> list[str]:
    """Keep 30 pairs: categories in turn, in each by a hash of names, so that no order of videos counts.

    Returns:
        A line for each of the others.
    """
    queues: dict[int, list[tuple[str, str]]] = {}
    for planned in plan.videos:
        for category in planned.groups:
            key = hashlib.sha256(f"mini|{planned.name}|{category}".encode()).hexdigest()
            queues.setdefault(category, []).append((key, planned.name))
    order = sorted(queues, key=lambda category: hashlib.sha256(f"mini|{category}".encode()).hexdigest())
    turns = [sorted(queues[category]) for category in order]
    chosen: set[tuple[str, int]] = set()
    for turn in range(max(map(len, turns))):
        for category, queue in zip(order, turns):
            if turn < len(queue) and len(chosen) < MINI_PAIRS:
                chosen.add((queue[turn][1], category))
    others = []
    for planned in plan.videos:
        label = f"{planned.source.id},{planned.video.name}"
        others += [
            f"{label},{words.label(c)}: not in the subset" for c in planned.groups if (planned.name, c) not in chosen
        ]
        planned.groups = {c: objects for c, objects in planned.groups.items() if (planned.name, c) in chosen}
    plan.videos = [planned for planned in plan.videos if planned.groups]
    return others
