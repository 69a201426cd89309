"""YouTube-FSVOS from YouTube-VIS: our frozen episodes, or those that a published code draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.benchmark import EPISODE_COLUMNS, RUN_COLUMN
from icvos.builders.fsvos.plan import FsvosPlan, FsvosRules, plan_fsvos
from icvos.builders.fsvos.supports import FrameSupports
from icvos.builders.ic_vos.build import BuildReport, Prepared, VideoTables, build_videos, estimate, header_of_source
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.published import FSVOS_PREFIX, check_own_name
from icvos.builders.writer import BenchmarkWriter
from icvos.categories import Vocabulary
from icvos.progress import Progress, silent
from icvos.sources.expected import expected_counts
from icvos.sources.ytvis import CATEGORIES_2019, YouTubeVis

__all__ = ["PreparedFsvos", "build_fsvos", "prepare_fsvos"]

WHOLE = expected_counts("YouTube-VIS 2019", "train").counts["sequences"]


@dataclass
class PreparedFsvos(Prepared):
    """A build that is planned but not begun.

    Attributes:
        plan: What is built.
        fsvos: Which group and which episodes.
    """

    plan: FsvosPlan
    fsvos: FsvosRules

    @property
    def source(self) -> YouTubeVis:
        """The raw data."""
        (source,) = self.sources
        assert isinstance(source, YouTubeVis)
        return source

    @property
    def support_pool(self) -> FrameSupports:
        """What supports the categories."""
        return self.plan.writer(self.source)

    @property
    def name(self) -> str:
        """What the benchmark is called where the data are whole and the rules usual: ``youtube-fsvos-1``."""
        rules = self.fsvos
        drawn = f"-{rules.episodes}-seed{rules.seed}" if rules.listed else ""
        return f"{FSVOS_PREFIX}{rules.group}{drawn}"

    @property
    def differs(self) -> list[str]:
        """Why it is not called so, a line each."""
        out, rules = [], self.fsvos
        if tuple(self.source.categories[number] for number in sorted(self.source.categories)) != CATEGORIES_2019:
            out.append("its categories are not those of YouTube-VIS 2019")
        if self.plan.count != WHOLE:
            out.append(f"{self.plan.count:,} videos are in {self.source.json.name}, and the whole has {WHOLE:,}")
        usual = FsvosRules(rules.group)
        if rules.shots != usual.shots:
            out.append(f"it has {rules.shots} shots, and the usual one {usual.shots}")
        if rules.listed is None:
            out += [
                f"its {what} is {value}, and the usual one {expected}"
                for what, value, expected in (
                    ("seed", rules.seed, usual.seed),
                    ("number of draws", rules.draws, usual.draws),
                )
                if value != expected
            ]
        return out


def prepare_fsvos(source: YouTubeVis, rules: FsvosRules, *, progress: Progress = silent) -> PreparedFsvos:
    """Plan a build.

    Args:
        source: YouTube-VIS, opened with its crowds, which other code takes for objects: ``open_source("ytvis", root,
            crowds=True)``.
        rules: Which group and which episodes.
        progress: Is told how far it is.

    Raises:
        InputError: Broken raw data.
        UsageError: Nothing is left, or the list's own code would stop.
    """
    plan = plan_fsvos(source, rules, progress=progress)
    words = Vocabulary("custom", tuple(source.categories[number] for number in sorted(source.categories)))
    # Of a listed query all frames count, whatever is seen there; of frozen ones the plan has seen to it.
    least = BuildRules(draws=1, shots=rules.shots, min_visible_frames=0, min_area=0, min_frames=1)
    return PreparedFsvos(plan, least, words, [source], rules)


def build_fsvos(
    prepared: PreparedFsvos,
    out: Path,
    *,
    name: str = "",
    link: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> BuildReport:
    """Build the benchmark; a build that was killed goes on where it stopped.

    Args:
        prepared: What to build.
        out: The benchmark's folder, to be made.
        name: A name of one's own; by default ``PreparedFsvos.name`` where nothing differs, else ``custom:<hash>``.
        link: Hard-link images instead of copying.
        workers: Processes.
        progress: Is told how far it is.

    Raises:
        UsageError: ``name`` is one that the builder gives.
        InputError: Broken raw data, or ``out`` is there already.
        LockedError: Another build works on ``out``.
    """
    if name:
        check_own_name(name)
    plan, supports = prepared.plan, prepared.support_pool
    need = estimate(prepared, link=link)
    with BenchmarkWriter(out, need=need.new_bytes + need.support_bytes, resume=True) as writer:
        report = BuildReport(writer.out, "", 0, 0, 0, 0, 0, list(plan.left_out), list(plan.notes))
        videos = list(
            build_videos(prepared, writer, report, link=link, workers=workers, progress=progress, total=need.frames)
        )
        build = _Tables(prepared, writer, videos)
        report.pairs, report.videos, report.episodes = build.pairs, len(videos), len(plan.episodes)
        report.supports = supports.write(writer, supports.drawn(), link, progress)
        report.differs = prepared.differs
        header = _header(prepared, name, report, build)
        report.name = header["name"]
        runs = (RUN_COLUMN,) if any(episode.run is not None for episode in plan.episodes) else ()
        tables = build.tables(prepared.fsvos.shots, build.episodes(), columns=(*EPISODE_COLUMNS, *runs))
        report.manifest_sha256 = writer.finish(header, tables, adopt=False)
    return report


class _Tables(VideoTables):
    def __init__(self, prepared: PreparedFsvos, *rest: Any) -> None:
        super().__init__(prepared, *rest)
        self.listed = prepared.plan.episodes
        self.shots = prepared.fsvos.shots

    def episodes(self) -> Iterator[dict[str, Any]]:
        for episode in self.listed:
            padded = [*episode.supports, *[None] * (self.shots - len(episode.supports))]
            yield {
                **{column: getattr(episode, column) for column in (*EPISODE_COLUMNS, RUN_COLUMN)},
                **{f"support_{shot + 1}": support for shot, support in enumerate(padded)},
            }

    def content(self) -> list[tuple[str, int]]:
        """Return all that is built: videos and their frames."""
        return [(planned.name, self._record(planned)["frames"]) for planned in self.videos]


def _header(prepared: PreparedFsvos, name: str, report: BuildReport, build: _Tables) -> dict[str, Any]:
    rules, listed = prepared.fsvos, prepared.fsvos.listed
    own: dict[str, Any] = {"protocol": listed.protocol if listed else "native", "seed": rules.seed}
    if listed:
        own["drawn"] = {"rule": rules.episodes, "seed": rules.seed, "by": listed.source}
        own["shots"] = rules.shots
    return header_of_source(
        prepared,
        report,
        build,
        name=name,
        whole=prepared.name,
        hashed=[rules.header(), prepared.source.id, [build.content(), list(build.episodes())]],
        rules=rules.header(),
        own=own,
    )
