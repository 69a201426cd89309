"""``saco-ic`` from SA-Co/VEval: videos, frames of others as supports, tables, manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icvos.benchmark import EPISODE_COLUMNS, PAIR_COLUMNS
from icvos.builders.ic_vos.build import (
    BuildReport,
    Prepared,
    VideoTables,
    build_videos,
    episode_rows,
    estimate,
    header_of_source,
)
from icvos.builders.ic_vos.plan import PlannedVideo
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.published import SACO_PREFIX, check_own_name
from icvos.builders.saco_ic.plan import SacoPlan, SacoRules, plan_saco
from icvos.builders.saco_ic.supports import FrameSupports
from icvos.builders.writer import BenchmarkWriter, Table
from icvos.errors import UsageError
from icvos.files import file_sha256
from icvos.progress import Progress, silent
from icvos.sources.drawn import is_drawn
from icvos.sources.saco import DOMAINS, SacoVeval

__all__ = ["PROTOCOL", "PreparedSaco", "SacoReport", "build_saco", "prepare_saco"]

PROTOCOL = "saco-ic"
ARTICLES = ("a ", "an ", "the ")


@dataclass
class PreparedSaco(Prepared):
    """A build that is planned but not begun: of a domain and split of SA-Co/VEval.

    Attributes:
        saco: What the pairs are, and what is kept.
        supports: What supports them.
        annotations_sha256: Of the annotation file.
        differs: Why it carries no name of its own, a line each.
    """

    plan: SacoPlan
    saco: SacoRules
    supports: FrameSupports
    annotations_sha256: str
    differs: list[str] = field(default_factory=list)

    @property
    def source(self) -> SacoVeval:
        """The raw data."""
        (source,) = self.sources
        assert isinstance(source, SacoVeval)
        return source

    @property
    def support_pool(self) -> FrameSupports:
        """What supports the pairs."""
        return self.supports

    @property
    def name(self) -> str:
        """What the benchmark is called where nothing differs: ``saco-ic-smartglasses-test``."""
        return f"{SACO_PREFIX}{self.source.domain}-{self.source.split}"


@dataclass
class SacoReport(BuildReport):
    """What was built: ``positive`` and ``negative`` are pairs."""

    positive: int = 0
    negative: int = 0


def prepare_saco(
    source: SacoVeval,
    *,
    rules: SacoRules | None = None,
    allow_shifted: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> PreparedSaco:
    """Plan a build: look through all masklets for the frames that may support their phrases.

    Args:
        source: The raw data.
        rules: How supports are drawn.
        allow_shifted: Build a domain whose authors warn of shifted frames.
        workers: Processes.
        progress: Is told how far it is.

    Raises:
        UsageError: The domain is not built unless that is asked for, or no pair has a support.
        SourceError: The raw data are broken.
    """
    warning = DOMAINS[source.domain].warning
    if warning and not allow_shifted:
        raise UsageError(f"{source.title} is not built: {warning}", fix="build it nevertheless with --allow-shifted")
    rules = rules or SacoRules()
    sha256 = file_sha256(source.json)
    content = source.read()
    plan = plan_saco(source, content, rules, workers=workers, progress=progress)
    supports = FrameSupports(source, content, plan, rules)
    plan.notes += [*([warning] if warning else []), *supports.notes(plan.videos)]
    usual, own = SacoRules().header(), rules.header()
    differs = [
        f"{name.replace('_', ' ')} is {own[name]}, and usually {usual[name]}"
        for name in own
        if own[name] != usual[name]
    ]
    if is_drawn(source.root):
        differs.append("it is of the drawn world")
    kept = BuildRules(
        seed=rules.seed, draws=rules.draws, shots=rules.shots, min_visible_frames=0, min_area=0, min_frames=1
    )
    return PreparedSaco(plan, kept, plan.words, [source], rules, supports, sha256, differs)


def build_saco(
    prepared: PreparedSaco,
    out: Path,
    *,
    name: str = "",
    link: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> SacoReport:
    """Build the benchmark; a build that was killed goes on where it stopped.

    Args:
        prepared: What to build.
        out: The benchmark's folder, to be made.
        name: A name of one's own; by default ``PreparedSaco.name``, or ``custom:<hash>`` where something differs.
        link: Hard-link images instead of copying.
        workers: Processes.
        progress: Is told how far it is.

    Raises:
        UsageError: ``name`` is that of a published benchmark.
        InputError: Broken raw data, or ``out`` is there already.
        LockedError: Another build works on ``out``.
    """
    if name:
        check_own_name(name)
    need = estimate(prepared, link=link)
    with BenchmarkWriter(out, need=need.new_bytes + need.support_bytes, resume=True) as writer:
        plan = prepared.plan
        report = SacoReport(writer.out, "", 0, 0, 0, 0, 0, list(plan.left_out), list(plan.notes))
        videos = list(
            build_videos(prepared, writer, report, link=link, workers=workers, progress=progress, total=need.frames)
        )
        report.supports = prepared.supports.write(writer, prepared.supports.drawn(videos), link, progress)
        build = _Tables(prepared, writer, videos)
        report.videos, report.pairs = len(videos), build.pairs
        report.positive, report.negative = plan.census.built
        report.episodes = report.pairs * prepared.saco.draws
        report.differs = prepared.differs
        header = _header(prepared, name, report, build)
        report.name = header["name"]
        tables = build.tables(prepared.saco.shots, build.episodes())
        report.manifest_sha256 = writer.finish(header, tables, adopt=False)
    return report


class _Tables(VideoTables):
    """Tables with what was asked, and what the data set calls a phrase."""

    def __init__(self, prepared: PreparedSaco, writer: BenchmarkWriter, videos: Sequence[PlannedVideo]) -> None:
        super().__init__(prepared, writer, videos)
        self.prepared = prepared

    def tables(
        self,
        shots: int,
        episodes: Iterable[dict[str, Any]],
        *,
        columns: Sequence[str] = (*EPISODE_COLUMNS, "asked"),
    ) -> dict[str, Table]:
        tables = super().tables(shots, episodes, columns=columns)
        tables["pairs.csv"] = ((*PAIR_COLUMNS, "source_category", "looser_name"), self.pair_rows())
        return tables

    def pair_rows(self) -> Iterator[dict[str, Any]]:
        for row in super().pair_rows():
            phrase = self.words.source_ids[row["category"] - 1]
            yield {**row, "source_category": phrase, "looser_name": without_article(row["category_name"])}

    def episodes(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of ``episodes.csv``."""
        planned = {video.name: video for video in self.videos}
        for pair in self.pair_rows():
            video, category = planned[pair["video"]], pair["category"]
            asked = "positive" if self.prepared.plan.asked[video.name][category].positive else "negative"
            for row in episode_rows(pair, self.prepared.supports.draws(video, category), self.prepared.saco.shots):
                yield {**row, "asked": asked}


def without_article(phrase: str) -> str:
    """Return a phrase without the article that it begins with."""
    article = next((article for article in ARTICLES if phrase.lower().startswith(article)), "")
    return phrase[len(article) :]


def _header(prepared: PreparedSaco, name: str, report: SacoReport, build: _Tables) -> dict[str, Any]:
    source, rules = prepared.source, prepared.saco.header()
    read = {"split": source.split, "annotations_sha256": prepared.annotations_sha256}
    return header_of_source(
        prepared,
        report,
        build,
        name=name,
        whole=prepared.name,
        hashed=[PROTOCOL, rules, source.id, *read.values()],
        rules=rules,
        own={"protocol": PROTOCOL, "seed": prepared.saco.seed},
        counts={"positive_pairs": report.positive, "negative_pairs": report.negative},
        read=read,
    )
