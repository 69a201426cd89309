"""A benchmark of semi-supervised VOS from one raw data set: an object is an episode, told by its mask on frame 0."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from icvos.benchmark import SCHEMA, VOS
from icvos.builders.ic_vos.build import BuildReport, Prepared, VideoTables, build_videos, estimate
from icvos.builders.ic_vos.plan import NothingLeft
from icvos.builders.ic_vos.rules import BUILDER_VERSION, BuildRules
from icvos.builders.vos.plan import VosRule, get_rule, plan_vos
from icvos.builders.writer import BenchmarkWriter
from icvos.categories import Vocabulary
from icvos.progress import Progress, silent
from icvos.sources.base import VideoSource

__all__ = ["PreparedVos", "build_vos", "prepare_vos"]


@dataclass
class PreparedVos(Prepared):
    """A build that is planned but not begun: of one data set's split, by its rule."""

    split: str
    rule: VosRule

    @property
    def name(self) -> str:
        """What the benchmark is called by default: ``vos-davis17-val``."""
        return f"vos-{self.sources[0].id}-{self.split}"


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
        name: Of the benchmark; ``PreparedVos.name`` by default.
        link: Hard-link images instead of copying.
        workers: Processes.
        progress: Is told how far it is.

    Raises:
        InputError: Broken raw data, or ``out`` is there already.
        LockedError: Another build works on ``out``.
    """
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
        header = _header(prepared, name or prepared.name, report, build)
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


def _header(prepared: PreparedVos, name: str, report: BuildReport, build: VideoTables) -> dict[str, Any]:
    (source,) = prepared.sources
    rules = {**asdict(prepared.rule), "draws": 1, "max_frames": prepared.rules.max_frames, "split": prepared.split}
    hashed = json.dumps([SCHEMA, BUILDER_VERSION, VOS, rules, source.id], sort_keys=True)
    return {
        "schema": SCHEMA,
        "name": name,
        "version": f"{BUILDER_VERSION}.{hashlib.sha256(hashed.encode()).hexdigest()[:8]}",
        "task": VOS,
        "protocol": prepared.rule.protocol,
        "vocabulary": list(prepared.words.names),
        "complete_only": True,
        "counts": {
            "videos": report.videos,
            "frames": report.frames,
            "pairs": report.pairs,
            "episodes": report.episodes,
            "categories": len({row["category"] for row in build.pair_rows()}),
            "supports": 0,
        },
        "sources": build.sources(prepared.sources),
        "builder": BUILDER_VERSION,
        "rules": rules,
        "licences": {source.id: source.licence},
    }
