"""A benchmark of semi-supervised VOS from one raw data set: an object is an episode, told by its mask on frame 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from icvos.benchmark import VOS
from icvos.builders.ic_vos.build import BuildReport, Prepared, VideoTables, build_videos, estimate, header_of_source
from icvos.builders.ic_vos.plan import NothingLeft, PlannedVideo
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.published import check_own_name
from icvos.builders.vos.plan import VosRule, get_rule, plan_vos
from icvos.builders.writer import BenchmarkWriter
from icvos.categories import Vocabulary
from icvos.progress import Progress, silent
from icvos.sources.base import VideoSource
from icvos.sources.expected import expected_counts

__all__ = ["PreparedVos", "build_vos", "prepare_vos"]

RESOLUTION = "480p"
"""Of DAVIS, in which its numbers are published."""


@dataclass
class PreparedVos(Prepared):
    """A build that is planned but not begun: of one data set's split, by its rule."""

    split: str
    rule: VosRule

    @property
    def name(self) -> str:
        """What the benchmark is called where the split is whole: ``vos-davis17-val``."""
        return f"vos-{self.sources[0].id}-{self.split}"

    def differences(self, videos: Sequence[PlannedVideo], *, frames: int, objects: int) -> list[str]:
        """Return where a build is not the whole split as it was published, a line each.

        Args:
            videos: What is built.
            frames, objects: How many, of all of them.
        """
        (source,) = self.sources
        split = "trainval" if self.rule.dataset == "DAVIS-2017" and self.split == "all" else self.split
        expected = expected_counts(self.rule.dataset, split)
        found = {"sequences": len({planned.video.name for planned in videos}), "frames": frames, "objects": objects}
        out = []
        if not expected.counts:
            out.append(f"nobody published how much a whole {self.rule.dataset} {split} holds")
        out += [
            f"{found[what]:,} {what} of {self.rule.dataset} {split} are built, and the whole has {count:,}"
            for what, count in expected.counts.items()
            if found[what] != count
        ]
        if self.rules.max_frames:
            out.append(f"it has the first {self.rules.max_frames} frames of a video alone (--max-frames)")
        resolution = getattr(source, "resolution", RESOLUTION)
        if resolution != RESOLUTION:
            out.append(f"{source.id} is read in {resolution}, and its numbers are published in {RESOLUTION}")
        return out


def prepare_vos(
    source: VideoSource, *, split: str = "", max_frames: int = 0, workers: int = 1, progress: Progress = silent
) -> PreparedVos:
    """Plan a build: look through the masks for the frame that first shows each object.

    Args:
        source: The raw data: DAVIS-2017, MOSE or LVOS.
        split: ``val``, ``train`` or ``all``; the usual one of the data set if empty.
        max_frames: First frames of each video that are used; 0 for all.
        workers: Processes.
        progress: Is told how far it is.

    Raises:
        UsageError: Another data set, nothing is of the split, or too few frames are asked for.
        InputError: Broken raw data.
    """
    rule = get_rule(source)
    split = split or rule.split
    rules = BuildRules(
        draws=1, shots=1, min_visible_frames=0, min_area=0, min_frames=rule.min_frames, max_frames=max_frames
    )
    plan = plan_vos(source, split=split, workers=workers, progress=progress)
    most = max(number for planned in plan.videos for number in planned.groups)
    words = Vocabulary("custom", tuple(f"object {number}" for number in range(1, most + 1)))
    return PreparedVos(plan, rules, words, [source], split, rule)


def build_vos(
    prepared: PreparedVos,
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
        name: A name of one's own; by default ``PreparedVos.name`` for a whole split, else ``custom:<hash>``.
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
    with BenchmarkWriter(out, need=need.new_bytes, resume=True) as writer:
        report = BuildReport(writer.out, "", 0, 0, 0, 0, 0, list(prepared.plan.left_out))
        videos = list(
            build_videos(
                prepared,
                writer,
                report,
                link=link,
                workers=workers,
                progress=progress,
                total=need.frames,
                unlabelled="not on the first frame",
            )
        )
        if not videos:
            raise NothingLeft("no video has frames enough", report.left_out, where=out)
        build = _Tables(prepared, writer, videos)
        report.pairs = report.episodes = build.pairs
        report.videos = len(videos)
        report.differs = prepared.differences(videos, frames=report.frames, objects=report.pairs)
        header = _header(prepared, name, report, build)
        report.name = header["name"]
        report.manifest_sha256 = writer.finish(header, build.tables(1, build.episodes()), adopt=False)
    return report


class _Tables(VideoTables):
    def episodes(self) -> Iterator[dict[str, Any]]:
        for pair in self.pair_rows():
            episode = {name: pair[name] for name in ("video", "category", "category_name")}
            yield {
                "id": f"{pair['video']}__{pair['category']}__d0",
                **episode,
                "draw": 0,
                "support_1": None,
            }

    def content(self) -> list[tuple[str, int, int]]:
        """Return video, object and frames of all that is built."""
        return [
            (planned.name, pair["category"], record["frames"])
            for planned in self.videos
            for record in [self._record(planned)]
            for pair in record["pairs"]
        ]


def _header(prepared: PreparedVos, name: str, report: BuildReport, build: _Tables) -> dict[str, Any]:
    rules = {**asdict(prepared.rule), "draws": 1, "max_frames": prepared.rules.max_frames, "split": prepared.split}
    return header_of_source(
        prepared,
        report,
        build,
        name=name,
        whole=prepared.name,
        hashed=[VOS, rules, prepared.sources[0].id, build.content()],
        rules=rules,
        own={"task": VOS, "protocol": prepared.rule.protocol},
    )
