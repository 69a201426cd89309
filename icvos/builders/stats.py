"""Counts of a built benchmark: a row in the form of the paper's Table I beside the paper's own, and a figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from icvos.benchmark import Benchmark
from icvos.errors import UsageError, counts
from icvos.files import atomic_write
from icvos.progress import Progress, Update, silent
from icvos.view import View

__all__ = [
    "PAPER_TABLE",
    "BenchmarkStats",
    "MaskStats",
    "benchmark_stats",
    "measure_masks",
    "plot_stats",
    "table_rows",
]

MOST_PAIRS = 20
"""Frames of a pair whose masks are measured, each with the next one."""

_BLUE, _RED = "#0072B2", "#D55E00"

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
        support_uses: Of each support image, how many episodes it is in.
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
    support_uses: list[int]

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


@dataclass(frozen=True)
class MaskStats:
    """What the masks of a benchmark of videos are like; a value a pair.

    Attributes:
        sizes: Mean share of the frame that the mask covers where there is one, percent.
        motions: Mean share of the union of a mask and the next frame's that is in one of them alone, percent: 0 where
            nothing moves.
    """

    sizes: list[float]
    motions: list[float]

    def as_dict(self) -> dict[str, Any]:
        """Return the medians for JSON."""
        known = {"median_size": self.sizes, "median_motion": self.motions}
        return {name: median(values) if values else None for name, values in known.items()}


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
        sorted(Counter(name for episode in bench.episodes for name in set(episode.supports)).values()),
    )


def table_rows(stats: BenchmarkStats) -> list[tuple[str, str, str, str, str, str]]:
    """Return Table I as text: the paper's rows, then this benchmark's."""
    row = (stats.name, stats.videos, round(stats.frames / stats.videos), stats.frames, len(stats.categories), "M")
    rows = []
    for name, videos, mean, frames, classes, kind in (*PAPER_TABLE, row):
        rows.append((name, f"{videos:,}", f"{mean:,}", f"{frames:,}", "-" if classes is None else str(classes), kind))
    return rows


def measure_masks(bench: Benchmark, *, most: int = MOST_PAIRS, progress: Progress = silent) -> MaskStats:
    """Measure sizes and motion from the masks: of each pair ``most`` frames, spread evenly, each with the next one.

    Raises:
        BenchmarkError: A mask is missing, broken or changed.
    """
    view = View(bench)
    sizes, motions = [], []
    for done, (video, category) in enumerate(bench.pairs, 1):
        truth = view.truth(video, category)
        last = max(len(truth) - 2, 0)
        areas, changes = [], []
        for index in sorted({round(step * last / max(most - 1, 1)) for step in range(most)}):
            now = truth[index]
            if not now.any():
                continue
            areas.append(100 * now.mean())
            then = truth[index + 1] if index + 1 < len(truth) else None
            if then is not None and then.any():
                changes.append(100 * (1 - (now & then).sum() / (now | then).sum()))
        if areas:
            sizes.append(float(np.mean(areas)))
        if changes:
            motions.append(float(np.mean(changes)))
        progress(Update("masks", done, len(bench.pairs)))
    return MaskStats(sizes, motions)


def plot_stats(stats: BenchmarkStats, masks: MaskStats, path: Path) -> None:
    """Draw a figure as wide as a page of two columns: categories, lengths, sizes, motion, visibility, supports.

    Args:
        stats: Counts of the benchmark.
        masks: What ``measure_masks`` returned.
        path: ``.png``, ``.pdf`` or ``.svg``, the same bytes for the same benchmark; text stays text in the latter two.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    style: Any = {
        **{"font.size": 7, "axes.titlesize": 8, "axes.titleweight": "bold", "axes.titlelocation": "left"},
        **{"axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "lines.linewidth": 1},
        **{"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "icvos", "legend.frameon": False},
    }
    names = list(stats.categories)[:40]
    with matplotlib.rc_context(style):
        figure = pyplot.figure(figsize=(7.2, 6.2), layout="constrained")
        wide, *rows = figure.subplot_mosaic("aaa;bcd;efg", height_ratios=(1, 1, 1.15)).values()
        length, size, motion, visible, used, others = rows
        wide.bar(range(len(names)), [stats.categories[name][0] for name in names], color=_BLUE)
        wide.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        wide.set_xlim(-0.6, len(names) - 0.4)
        more = len(stats.categories) - len(names)
        wide.set(title=f"Pairs by category{f' ({more} more categories)' if more else ''}", ylabel="pairs")
        mean = stats.frames / stats.videos
        _histogram(length, stats.lengths, "Length", "frames of a video", "videos")
        length.set_title(f"Length, median {median(stats.lengths):g}, mean {mean:.0f}")
        paper = PAPER_TABLE[-1][2]
        if max(stats.lengths) > 100:  # of short videos it would only squeeze the rest
            length.axvline(paper, color=_RED, ls=":", lw=1.5, label=f"paper's mean {paper}")
            length.legend()
        _histogram(size, masks.sizes, "Size", "mask, percent of the frame", "pairs", logarithmic=True)
        _histogram(motion, masks.motions, "Motion", "changed by the next frame, percent", "pairs")
        shares = [100 * share for share in stats.visible]
        _histogram(visible, shares, "Visibility", "frames in which it is, percent", "pairs")
        _histogram(used, stats.support_uses, "Supports", "episodes that a support image is in", "images")
        _beside_others(others, stats)
        for axis in (wide.yaxis, *(row.yaxis for row in rows[:-1]), length.xaxis, used.xaxis):
            axis.set_major_locator(ticker.MaxNLocator(integer=True, nbins="auto"))
        figure.suptitle(
            f"{stats.name}: {counts(videos=stats.videos, frames=stats.frames, categories=len(stats.categories))}, "
            + counts(pairs=stats.pairs, episodes=stats.episodes),
            fontsize=8,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        nothing: dict[str, dict[str, None]] = {
            ".png": {"Software": None},
            ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
            ".svg": {"Date": None, "Creator": None},
        }
        with atomic_write(path) as stream:
            suffix = path.suffix.lower()
            figure.savefig(stream, dpi=200, format=suffix[1:], metadata=nothing[suffix])
        pyplot.close(figure)


def _histogram(
    axis: Any, values: Sequence[float], title: str, unit: str, what: str, *, logarithmic: bool = False
) -> None:
    bins: Any = min(30, max(5, len(set(values))))
    if logarithmic and values:
        from matplotlib import ticker

        bins = np.geomspace(max(min(values), 1e-3), max(*values, 1e-2) * 1.001, 24)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
    axis.hist(values, bins=bins, color=_BLUE, edgecolor="white", linewidth=0.3)
    axis.set(title=title, xlabel=unit, ylabel=what)
    if values:
        axis.axvline(median(values), color="k", ls="--")
        axis.set_title(f"{title}, median {median(values):.3g}")


def _beside_others(axis: Any, stats: BenchmarkStats) -> None:
    """Draw the data sets of the paper's Table I by videos and mean length, and this benchmark among them."""
    rows = [(name, videos, mean) for name, videos, mean, *_ in PAPER_TABLE]
    axis.scatter([row[1] for row in rows], [row[2] for row in rows], s=14, color="#777777")
    for name, videos, mean in rows:
        side, up = ("right", -8) if name.startswith("IC-VOS") else ("right" if videos > 1000 else "left", 3)
        place = (-4 if side == "right" else 4, up)
        axis.annotate(name, (videos, mean), place, textcoords="offset points", ha=side, fontsize=6)
    own = stats.frames / stats.videos
    axis.scatter([stats.videos], [own], s=40, marker="*", color=_RED, zorder=3)
    axis.annotate("this", (stats.videos, own), (5, -7), textcoords="offset points", color=_RED, fontsize=7)
    axis.set(xscale="log", yscale="log", title="Table I of the paper", xlabel="videos", ylabel="mean frames")
    axis.margins(0.15)
