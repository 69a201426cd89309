"""Counts of a built benchmark: a row in the form of the paper's Table I beside the paper's own, and distributions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from icvos.benchmark import Benchmark
from icvos.errors import UsageError, counts

__all__ = ["PAPER_TABLE", "BenchmarkStats", "benchmark_stats", "plot_stats", "table_rows"]

# arXiv 2504.12080v2, Table I: data set, videos, mean frames, total frames, classes, annotation (mask or box).
PAPER_TABLE = (
    ("DAVIS", 90, 69, 6298, None, "M"),
    ("MOSE", 2149, 73, 159600, 36, "M"),
    ("LVOS", 220, 576, 126280, 27, "M"),
    ("LVOS v2", 720, 412, 296401, 44, "M"),
    ("YouTube-VOS", 4453, 27, 120532, 94, "M"),
    ("UAV20L", 20, 2934, 59000, 5, "B"),
    ("IC-VOS (paper)", 369, 270, 99549, 30, "M"),
)


@dataclass(frozen=True)
class BenchmarkStats:
    """Counts of a benchmark of videos.

    Attributes:
        categories: (pairs, frames in which it is visible) by category name.
        sources: (videos, frames, pairs) by source.
        lengths: Frames of each video.
        visible: Share of a pair's frames, 0..1, in which its category is seen.
    """

    name: str
    videos: int
    frames: int
    pairs: int
    episodes: int
    supports: int
    complete: dict[str, int]
    categories: dict[str, tuple[int, int]]
    sources: dict[str, tuple[int, int, int]]
    lengths: list[int]
    visible: list[float]

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for JSON, with the means and medians that Table I gives."""
        return {
            "name": self.name,
            "videos": self.videos,
            "mean_frames": self.frames / self.videos,
            "median_frames": median(self.lengths),
            "frames": self.frames,
            "classes": len(self.categories),
            "pairs": self.pairs,
            "episodes": self.episodes,
            "supports": self.supports,
            "complete": self.complete,
            "categories": {k: {"pairs": p, "visible_frames": v} for k, (p, v) in self.categories.items()},
            "sources": {k: {"videos": v, "frames": f, "pairs": p} for k, (v, f, p) in self.sources.items()},
        }


def benchmark_stats(bench: Benchmark) -> BenchmarkStats:
    """Count a benchmark of videos from its tables.

    Raises:
        UsageError: It is one of images, or has no videos.
    """
    if bench.kind != "video" or not bench.videos:
        raise UsageError(
            "stats counts benchmarks of videos", where=bench.root, expected="one made by build-data ic-vos"
        )
    pairs = list(bench.pairs.values())
    of_source = {name: record.source for name, record in bench.videos.items()}
    videos, frames = Counter(of_source.values()), Counter[str]()
    for record in bench.videos.values():
        frames[record.source] += record.frames
    source_pairs = Counter(of_source[pair.video] for pair in pairs)
    number, seen = Counter(pair.category_name for pair in pairs), Counter[str]()
    for pair in pairs:
        seen[pair.category_name] += pair.visible_frames
    return BenchmarkStats(
        f"{bench.name} {bench.version}",
        len(bench.videos),
        sum(frames.values()),
        len(pairs),
        len(bench.episodes),
        len({name for episode in bench.episodes for name in episode.supports}),
        dict(sorted(Counter(pair.complete for pair in pairs).items())),
        {name: (number[name], seen[name]) for name in sorted(number, key=lambda name: (-number[name], name))},
        {name: (videos[name], frames[name], source_pairs[name]) for name in sorted(videos)},
        sorted(record.frames for record in bench.videos.values()),
        [pair.visible_frames / bench.videos[pair.video].frames for pair in pairs],
    )


def table_rows(stats: BenchmarkStats) -> list[tuple[str, str, str, str, str, str]]:
    """Return Table I as text: the paper's rows, then this benchmark's."""
    row = (stats.name, stats.videos, round(stats.frames / stats.videos), stats.frames, len(stats.categories), "M")
    rows = []
    for name, videos, mean, frames, classes, kind in (*PAPER_TABLE, row):
        rows.append((name, f"{videos:,}", f"{mean:,}", f"{frames:,}", "-" if classes is None else str(classes), kind))
    return rows


def plot_stats(stats: BenchmarkStats, path: Path) -> None:
    """Write the distributions as a picture: pairs by category, lengths, visibility, videos by source."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(stats.categories)[:40]
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 8), layout="constrained", width_ratios=(2, 1))
    top, length, visible, source = axes[0, 0], axes[0, 1], axes[1, 0], axes[1, 1]
    top.bar(range(len(names)), [stats.categories[name][0] for name in names], color="#0a7d6b")
    top.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    more = len(stats.categories) - len(names)
    top.set(title=f"pairs by category{f' (and {more} more categories)' if more else ''}", ylabel="pairs")
    length.hist(stats.lengths, bins=min(40, max(5, len(set(stats.lengths)))), color="#4878a8")
    length.axvline(
        stats.frames / stats.videos, color="k", lw=1, ls="--", label=f"mean {stats.frames / stats.videos:.0f}"
    )
    if max(stats.lengths) > 100:  # of short videos it would only squeeze the rest
        length.axvline(270, color="#c33", lw=1, ls=":", label="paper's mean 270")
    length.set(title="frames of a video", xlabel="frames", ylabel="videos")
    length.legend(fontsize=8)
    visible.hist([100 * share for share in stats.visible], bins=20, range=(0, 100), color="#b8722c")
    visible.set(title="frames in which the category is seen", xlabel="percent of a video's frames", ylabel="pairs")
    source.barh(list(stats.sources), [counts[0] for counts in stats.sources.values()], color="#777")
    source.set(title="videos by source", xlabel="videos")
    for whole in (top.yaxis, length.yaxis, length.xaxis, visible.yaxis, source.xaxis):
        whole.get_major_locator().set_params(integer=True)
    for axis in (top, length, visible, source):
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{stats.name}: {counts(videos=stats.videos, frames=stats.frames, categories=len(stats.categories))}, "
        + counts(pairs=stats.pairs, episodes=stats.episodes)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None} if path.suffix == ".png" else None)
    pyplot.close(figure)
