"""IC-VOS from raw data sets: plan, videos (over workers), supports, tables, manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from icvos.benchmark import EPISODE_COLUMNS, FRAME_COLUMNS, PAIR_COLUMNS, SCHEMA, VIDEO_COLUMNS
from icvos.builders.extra import check_extra
from icvos.builders.ic_vos.naming import Naming, differences, name_benchmark, release_differences
from icvos.builders.ic_vos.plan import NothingLeft, Plan, PlannedVideo, make_plan
from icvos.builders.ic_vos.rules import BUILDER_VERSION, BuildRules, rules_version
from icvos.builders.ic_vos.video import VideoTask, build_video, clip_frames
from icvos.builders.published import PublishedRecipe, check_own_name
from icvos.builders.recipe import Recipe
from icvos.builders.support_writer import SupportWriter
from icvos.builders.trial import BuildTrial, spread, trial_folder, try_tasks
from icvos.builders.writer import BenchmarkWriter, Table
from icvos.categories import COCO80, Vocabulary
from icvos.costs import in_bytes
from icvos.data.draws import draw_supports
from icvos.errors import UsageError, counted
from icvos.progress import Progress, Update, silent
from icvos.sources.base import VideoSource
from icvos.sources.coco import Coco

if TYPE_CHECKING:
    from icvos.builders.ic_vos.supports import Supports

__all__ = [
    "BuildReport",
    "Estimate",
    "Prepared",
    "PreparedIcVos",
    "VideoTables",
    "build_icvos",
    "build_videos",
    "episode_rows",
    "estimate",
    "header_of_source",
    "prepare",
    "try_build",
]

#: Of a mask, about, where the source has no file for it.
MASK_BYTES = 2000
#: Frames of a video that a trial builds.
TRIAL_FRAMES = 10


@dataclass
class Estimate:
    """What a build will write, counted before it starts.

    Attributes:
        new_bytes, linked_bytes: Of videos, written and hard-linked.
        supports, support_bytes: Drawn for all pairs, and what of them is written.
        too_short: Videos that are not counted, as they have too few frames, each with why.
    """

    videos: int
    pairs: int
    frames: int
    files: int
    new_bytes: int
    linked_bytes: int
    supports: int = 0
    support_bytes: int = 0
    too_short: list[str] = field(default_factory=list)


@dataclass
class BuildReport:
    """What was built and what was left out.

    Attributes:
        name: Of the benchmark.
        differs: Why it carries no published name, a line each.
    """

    out: Path
    manifest_sha256: str
    videos: int
    frames: int
    pairs: int
    episodes: int
    supports: int
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = ""
    differs: list[str] = field(default_factory=list)


@dataclass
class Prepared:
    """A build that is planned but not begun."""

    plan: Plan
    rules: BuildRules
    words: Vocabulary
    sources: Sequence[VideoSource]

    @property
    def support_pool(self) -> SupportWriter | None:
        """What supports the pairs, where anything does."""
        return None


@dataclass
class PreparedIcVos(Prepared):
    """A build of IC-VOS: what people said of the objects, and what supports them.

    Attributes:
        published: The recipe whose name it may carry, or None.
        part: The part of it: ``all``, ``dev`` or ``test``.
        differs: Where it is not what that recipe makes, as far as it can be seen before the masks are read.
    """

    recipe: Recipe
    supports: Supports
    published: PublishedRecipe | None = None
    part: str = "all"
    differs: list[str] = field(default_factory=list)

    @property
    def support_pool(self) -> Supports:
        """What supports the categories."""
        return self.supports

    @property
    def version(self) -> str:
        """The benchmark's version, by the rules, the labels, the sources and the support pool."""
        ids = [source.id for source in self.sources]
        part = "" if self.part == "all" else f"|{self.part} of {self.published.name if self.published else ''}"
        return rules_version(self.rules, self.recipe.sha256 + part, ids, self.supports.split)


def prepare(
    sources: Sequence[VideoSource],
    coco: Coco,
    *,
    recipe: Recipe | None = None,
    rules: BuildRules | None = None,
    words: Vocabulary = COCO80,
    without_support: Literal["refuse", "leave-out"] = "refuse",
    published: PublishedRecipe | None = None,
    part: str = "all",
) -> PreparedIcVos:
    """Plan a build and make sure that every category has supports.

    Args:
        sources: Raw video data sets.
        coco: Whose images support.
        recipe: What people said of the objects.
        rules: What is kept.
        words: Names of the categories.
        without_support: What becomes of categories that nothing in ``coco`` supports.
        published: The published recipe that ``recipe`` was read from: of its sources its sequences alone are built.
        part: ``all`` of its sequences, those of ``dev`` or of ``test``.

    Raises:
        SourceError: A source is broken, or COCO has no support for some categories.
        UsageError: The recipe names what is not there, or nothing is left to build.
        InputError: Masks made in another tool do not fit their frames or their table.
    """
    from icvos.builders.ic_vos.supports import Supports

    if not sources:
        raise UsageError("no video data set is given", expected="--davis DIR, --mose DIR, …")
    if part != "all" and published is None:
        raise UsageError(f"the part '{part}' is one of a published recipe", fix="give --recipe NAME, as ic-vos-r1")
    recipe, rules = recipe or (published.labels if published else Recipe()), rules or BuildRules()
    supports = Supports(coco, rules, words)
    leave_out = {"unsupported": supports.lacks} if without_support == "leave-out" else {}
    plan = make_plan(sources, recipe, rules, words, published=published, part=part, **leave_out)
    supports.check(plan.categories)
    for planned in plan.videos:
        if planned.extra is not None:
            check_extra(planned.source, planned.video, planned.extra, words)
    plan.notes += supports.notes(plan.videos)
    differs = release_differences(rules) if [source.id for source in sources] == ["release"] else []
    if published is not None:
        differs = differences(
            published,
            part,
            sources=sources,
            labels=recipe,
            rules=rules,
            supports={"split": coco.split, "images": len(coco.images), "annotations": coco.annotations},
            words=words,
        )
    return PreparedIcVos(plan, rules, words, sources, recipe, supports, published, part, differs)


def estimate(prepared: Prepared, *, link: bool = False, progress: Progress = silent) -> Estimate:
    """Count what a build will write, from the listing of the raw data; masks are counted at their size there."""
    out = Estimate(0, 0, 0, 0, 0, 0)
    for number, planned in enumerate(prepared.plan.videos):
        progress(Update("videos listed", number, len(prepared.plan.videos)))
        frames = clip_frames(planned.source.frames(planned.video), planned.clip, prepared.rules)
        if len(frames) < prepared.rules.min_frames:
            why = f"has {counted(len(frames), 'frames')} of at least {prepared.rules.min_frames}"
            out.too_short.append(f"{planned.source.id},{planned.video.name}: {why}")
            continue
        out.videos, out.pairs = out.videos + 1, out.pairs + len(planned.groups)
        out.frames += len(frames)
        out.files += len(frames) * (1 + len(planned.groups))
        for frame in frames:
            size = frame.image.stat().st_size if frame.image.is_file() else 0
            out.linked_bytes += size if link else 0
            out.new_bytes += 0 if link else size
            out.new_bytes += len(planned.groups) * (frame.masks[0].stat().st_size if frame.masks else MASK_BYTES)
    supports = prepared.support_pool
    if supports is not None:
        drawn = supports.drawn(prepared.plan.videos)
        out.supports = len({name for _, name in drawn})
        out.support_bytes = len(drawn) * MASK_BYTES + (0 if link else supports.image_bytes(drawn))
    return out


def try_build(prepared: Prepared, out: Path, need: Estimate, *, link: bool = False, workers: int = 1) -> BuildTrial:
    """Build the first frames of a few videos, and a few supports, in a temporary folder where ``out`` would be.

    Args:
        prepared, out, link, workers: As for ``build_icvos``.
        need: From ``estimate``.

    Raises:
        InputError: Broken raw data, or nothing can be written there.
    """
    rules = replace(prepared.rules, max_frames=min(prepared.rules.max_frames or TRIAL_FRAMES, TRIAL_FRAMES))
    supports = prepared.support_pool
    samples = []
    with trial_folder(out) as folder, BenchmarkWriter(folder / "trial") as writer:
        first = replace(prepared, rules=rules)
        tasks = (_task(first, planned, writer, link) for planned in spread(prepared.plan.videos))
        samples.append(
            try_tasks(build_video, tasks, what="frames", total=need.frames, size=itemgetter("frames"), workers=workers)
        )
        if supports is not None:
            drawn = supports.drawn(prepared.plan.videos)
            samples.append(
                try_tasks(
                    lambda pair: supports.write(writer, [pair], link, silent),
                    spread(drawn),
                    what="supports",
                    total=len(drawn),
                    size=lambda _: 1,
                    workers=1,
                )
            )
    linked = f", {in_bytes(need.linked_bytes)} linked beside that" if link else ""
    more = f", {counted(need.supports, 'supports')} {in_bytes(need.support_bytes)}" if supports is not None else ""
    files = f"videos {in_bytes(need.new_bytes)}{more}{linked}"
    return BuildTrial(out, tuple(samples), need.new_bytes + need.support_bytes, files, workers)


def build_icvos(
    prepared: PreparedIcVos,
    out: Path,
    *,
    name: str | None = None,
    link: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> BuildReport:
    """Build IC-VOS. The result depends on the raw data, the recipe and the rules alone.

    A build that was killed goes on where it stopped, when it is called again with the same ``out``.

    Args:
        prepared: What is built.
        out: The benchmark's folder, to be made.
        name: A name of one's own; None gives that of the published recipe if all matches it, else ``custom:<hash>``.
        link: Hard-link images instead of copying.
        workers: Processes.
        progress: Told of each frame.

    Raises:
        UsageError: ``name`` is that of a published benchmark.
        InputError: Broken raw data, or ``out`` is there already.
        LockedError: Another build works on ``out``.
    """
    if name is not None:
        check_own_name(name)
    need = estimate(prepared, link=link)
    with BenchmarkWriter(out, need=need.new_bytes + need.support_bytes, resume=True) as writer:
        report = BuildReport(writer.out, "", 0, 0, 0, 0, 0, list(prepared.plan.left_out), list(prepared.plan.notes))
        report.differs = list(prepared.differs)
        videos = list(
            build_videos(prepared, writer, report, link=link, workers=workers, progress=progress, total=need.frames)
        )
        if not videos:
            raise NothingLeft("no pair passed the keep rules", report.left_out, where=out)
        build = _Finish(prepared, writer, videos)
        if prepared.published is not None:
            report.differs += build.unnamed()
        report.supports = prepared.supports.write(writer, build.drawn(), link, progress)
        report.pairs, report.videos = build.pairs, len(videos)
        report.episodes = report.pairs * prepared.rules.draws
        naming = name_benchmark(
            name,
            prepared.published,
            differs=report.differs,
            sources=sorted(source.id for source in prepared.sources),
            part=prepared.part,
            version=prepared.version,
            counts={"videos": report.videos, "frames": report.frames},
        )
        report.name, report.differs = naming.name, naming.differs
        tables = build.tables(prepared.rules.shots, build.episodes())
        report.manifest_sha256 = writer.finish(build.header(naming, report), tables, adopt=False)
    return report


def build_videos(
    prepared: Prepared,
    writer: BenchmarkWriter,
    report: BuildReport,
    *,
    link: bool,
    workers: int,
    progress: Progress,
    total: int,
    unlabelled: str = "no label",
) -> Iterator[PlannedVideo]:
    """Build all videos; yield those that kept a pair.

    Args:
        prepared: What to build.
        writer: Of the benchmark.
        report: Is told of the frames, and of what is left out.
        link, workers, progress: As for ``build_icvos``.
        total: Frames to build.
        unlabelled: Why objects of the masks that the plan does not know are left out.
    """
    tasks = (_task(prepared, planned, writer, link) for planned in prepared.plan.videos)
    records = writer.work(
        build_video, tasks, what="frames", total=total, workers=workers, progress=progress, size=itemgetter("frames")
    )
    for planned, record in zip(prepared.plan.videos, records):
        writer.record_video(planned.name)
        label = f"{planned.source.id},{planned.video.name}"
        for category, reason in record["dropped"].items():
            report.left_out.append(f"{label},{prepared.words.label(int(category))}: {reason}")
        for number in record["unlabelled"]:
            if number not in planned.video.objects:
                report.left_out.append(f"{label},{number}: {unlabelled}")
        if taken := record["extra"]["taken"]:
            report.left_out.append(f"{label}: {taken:,} pixels of extra masks, which the source gives to its objects")
        if record["pairs"]:
            report.frames += record["frames"]
            yield planned


def _task(prepared: Prepared, planned: PlannedVideo, writer: BenchmarkWriter, link: bool) -> VideoTask:
    return VideoTask(
        planned.source,
        planned.video,
        planned.name,
        planned.groups,
        planned.named,
        planned.clip,
        prepared.rules,
        link,
        writer.root,
        writer.state,
        planned.extra,
    )


class VideoTables:
    """Rows of the tables of videos, pairs and frames, one by one from the records that the workers left.

    Args:
        prepared: What was built.
        writer: Of the benchmark.
        videos: Those that kept a pair.
    """

    def __init__(self, prepared: Prepared, writer: BenchmarkWriter, videos: Sequence[PlannedVideo]) -> None:
        self.words = prepared.words
        self.writer = writer
        self.videos = videos
        self.pairs = sum(len(self._record(planned)["pairs"]) for planned in videos)

    def _record(self, planned: PlannedVideo) -> dict[str, Any]:
        return json.loads((self.writer.state / f"{planned.name}.json").read_bytes())

    def tables(
        self, shots: int, episodes: Iterable[dict[str, Any]], *, columns: Sequence[str] = EPISODE_COLUMNS
    ) -> dict[str, Table]:
        """Return all tables of the benchmark by their names, with ``episodes`` of so many shots."""
        return {
            "videos.csv": (VIDEO_COLUMNS, self._video_rows()),
            "pairs.csv": (PAIR_COLUMNS, self.pair_rows()),
            "frames.csv": (FRAME_COLUMNS, self._frame_rows()),
            "episodes.csv": ((*columns, *(f"support_{shot + 1}" for shot in range(shots))), episodes),
        }

    def _video_rows(self) -> Iterator[dict[str, Any]]:
        for planned in self.videos:
            record = self._record(planned)
            yield {
                "video": planned.name,
                "source": planned.source.id,
                "source_split": planned.video.split,
                "source_name": planned.video.name,
                "fps": planned.video.fps,
                **{key: record[key] for key in ("frames", "height", "width", "void_pixels")},
            }

    def pair_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of ``pairs.csv``."""
        for planned in self.videos:
            for pair in self._record(planned)["pairs"]:
                category = pair["category"]
                yield {
                    "video": planned.name,
                    "category_name": self.words.label(category),
                    "complete": planned.complete[category],
                    **pair,
                }

    def _frame_rows(self) -> Iterator[dict[str, Any]]:
        for planned in self.videos:
            for index, name in enumerate(self._record(planned)["source_frames"]):
                yield {"video": planned.name, "frame": f"{index:05d}", "source_frame": name}

    def sources(self, sources: Sequence[VideoSource]) -> list[dict[str, Any]]:
        """Return for ``benchmark.json`` how much is of each source."""
        out = []
        for source in sorted(sources, key=lambda source: source.id):
            of_source = [planned for planned in self.videos if planned.source is source]
            frames = sum(self._record(planned)["frames"] for planned in of_source)
            out.append({"id": source.id, "title": source.title, "videos": len(of_source), "frames": frames})
        return out


def header_of_source(
    prepared: Prepared,
    report: BuildReport,
    build: VideoTables,
    *,
    name: str,
    whole: str,
    hashed: Sequence[Any],
    rules: Mapping[str, Any],
    own: Mapping[str, Any],
    counts: Mapping[str, int] | None = None,
    read: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return ``benchmark.json`` of a benchmark that is built of one raw data set.

    Args:
        prepared, report, build: Of the build.
        name: One of its own, or empty.
        whole: What it is called where nothing differs.
        hashed: What its content hangs on; its hash is part of the version, and the name where something differs.
        rules: What decides the content.
        own: Fields beside those of all benchmarks.
        counts: Likewise.
        read: What the line of the source says beside the usual.
    """
    (source,) = prepared.sources
    text = json.dumps([SCHEMA, BUILDER_VERSION, *hashed], sort_keys=True)
    digits = hashlib.sha256(text.encode()).hexdigest()[:8]
    pairs = list(build.pair_rows())
    return {
        "schema": SCHEMA,
        "name": name or (f"custom:{digits}" if report.differs else whole),
        "version": f"{BUILDER_VERSION}.{digits}",
        **own,
        "vocabulary": list(prepared.words.names),
        "complete_only": all(pair["complete"] == "yes" for pair in pairs),
        "counts": {
            "videos": report.videos,
            "frames": report.frames,
            "pairs": report.pairs,
            "episodes": report.episodes,
            "categories": len({pair["category"] for pair in pairs}),
            "supports": report.supports,
            **(counts or {}),
        },
        "sources": [{**row, **(read or {})} for row in build.sources(prepared.sources)],
        "builder": BUILDER_VERSION,
        "rules": rules,
        "recipe": {"name": whole, "matches": not report.differs, "differs": report.differs},
        "licences": {source.id: source.licence},
    }


def episode_rows(pair: Mapping[str, Any], drawn: Sequence[Sequence[str]], shots: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``episodes.csv`` of a pair.

    Args:
        pair: Its row of ``pairs.csv``.
        drawn: The names of the supports of each draw, at most ``shots``.
        shots: How many columns of supports there are.
    """
    known = {name: pair[name] for name in ("video", "category", "category_name")}
    for draw, names in enumerate(drawn):
        padded = [*names, *[None] * (shots - len(names))]
        supports = {f"support_{shot + 1}": name for shot, name in enumerate(padded)}
        yield {"id": f"{pair['video']}__{pair['category']}__d{draw}", **known, "draw": draw, **supports}


class _Finish(VideoTables):
    """Tables and header of IC-VOS."""

    def __init__(self, prepared: PreparedIcVos, writer: BenchmarkWriter, videos: Sequence[PlannedVideo]) -> None:
        super().__init__(prepared, writer, videos)
        self.prepared = prepared

    def unnamed(self) -> list[str]:
        """Return the objects in the masks that nobody names, a line each."""
        return [
            f"{planned.source.id},{planned.video.name} has an object {number} that the recipe does not name"
            for planned in self.videos
            for number in self._record(planned)["unlabelled"]
            if number not in planned.video.objects
        ]

    def drawn(self) -> Iterator[tuple[int, str]]:
        for row in self.episodes():
            for shot in range(self.prepared.rules.shots):
                if row[f"support_{shot + 1}"] is not None:
                    yield row["category"], row[f"support_{shot + 1}"]

    def episodes(self) -> Iterator[dict[str, Any]]:
        rules = self.prepared.rules
        for pair in self.pair_rows():
            category, video = pair["category"], pair["video"]
            pool = self.prepared.supports.pool(category)
            drawn = draw_supports(rules.seed, pool, video, category, rules.draws, rules.shots)
            yield from episode_rows(pair, drawn, rules.shots)

    def header(self, naming: Naming, report: BuildReport) -> dict[str, Any]:
        prepared = self.prepared
        pool = prepared.supports.split
        # The hash of a custom name has the subset in it.
        whole = not prepared.rules.subset or naming.name.startswith("custom:")
        subset = "" if whole else f"-{prepared.rules.subset}"
        stated = {} if naming.recipe is None else {"recipe": naming.recipe}
        complete = all(row["complete"] == "yes" for row in self.pair_rows())
        added = [self._record(planned)["extra"] for planned in self.videos]
        extra = {f"extra_{what}": sum(each[what] for each in added) for what in ("objects", "masks")}
        return {
            "schema": SCHEMA,
            "name": naming.name + subset,
            "version": prepared.version,
            "vocabulary": prepared.words.spec,
            "complete_only": complete,
            "counts": {
                "videos": report.videos,
                "frames": report.frames,
                "pairs": report.pairs,
                "episodes": report.episodes,
                "categories": len({row["category"] for row in self.pair_rows()}),
                "supports": report.supports,
                **(extra if any(extra.values()) else {}),
            },
            "sources": self.sources(prepared.sources),
            "support_pool": {
                "source": "coco",
                "split": pool,
                "min_area": prepared.rules.support_min_area,
                "candidates": {
                    str(c): {"images": len(prepared.supports.pool(c).names), "sha256": prepared.supports.pool(c).sha256}
                    for c in sorted({row["category"] for row in self.pair_rows()})
                },
            },
            "builder": BUILDER_VERSION,
            "seed": prepared.rules.seed,
            "rules": prepared.rules.header(),
            "recipe_sha256": prepared.recipe.sha256,
            **stated,
            "licences": {
                **{source.id: source.licence for source in sorted(prepared.sources, key=lambda source: source.id)},
                "coco": prepared.supports.licence,
            },
        }
