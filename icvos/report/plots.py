"""Curves and bars of a run, as PNG."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icvos.errors import counted
from icvos.report.run import ReportRun
from icvos.runs.records import read_frames

__all__ = [
    "BLUE",
    "ORANGE",
    "agg_pyplot",
    "category_rows",
    "frame_values",
    "plot_categories",
    "plot_curves",
    "save",
    "sensitivity",
]

BLUE, ORANGE = "#0072B2", "#E69F00"


def frame_values(run: ReportRun, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return J and F of every frame of an episode, percent, or None where they are gone; J twice where it is alone.

    Raises:
        RunError: The file is broken.
    """
    values = read_frames(run.where, name)
    first, *others = run.rules.frame_parts
    return None if values is None else (values[first] * 100.0, values[others[0] if others else first] * 100.0)


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure, and close it."""
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with warnings.catch_warnings():
        # Letters that the font lacks are boxes in the picture; the tables beside it have the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(part, dpi=110, format="png", metadata={"Software": None})
    pyplot.close(figure)
    part.replace(path)


def agg_pyplot() -> Any:
    """Return pyplot, drawing to files alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _over_time(run: ReportRun, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return J and F, (episodes, bins), each video's length stretched onto the bins."""
    js, fs = [], []
    for name in run.by_id:
        values = frame_values(run, name)
        if values is None or not len(values[0]):
            continue
        ids = np.minimum((np.arange(bins) + 0.5) * len(values[0]) / bins, len(values[0]) - 1).astype(int)
        js.append(values[0][ids])
        fs.append(values[1][ids])
    return np.array(js), np.array(fs)


def plot_curves(run: ReportRun, picks: Mapping[str, Sequence[str]], path: Path, *, bins: int = 50) -> bool:
    """Plot J and F over time: all episodes' mean and quartiles, and each chosen episode by frame.

    Returns:
        False if no frame's values are there.
    """
    j, f = _over_time(run, bins)
    if not len(j):
        return False
    chosen = [(word, name) for word, names in picks.items() for name in names]
    values = [(word, name, frame_values(run, name)) for word, name in chosen]
    pyplot = agg_pyplot()
    rows = 1 + (len(values) + 1) // 2
    figure, axes = pyplot.subplots(rows, 2, figsize=(11, 2.5 * rows), layout="constrained", squeeze=False)
    share = (np.arange(bins) + 0.5) * 100 / bins
    for axis, data, label, colour in ((axes[0, 0], j, "J", BLUE), (axes[0, 1], f, "F", ORANGE)):
        low, high = np.percentile(data, [25, 75], axis=0)
        axis.fill_between(share, low, high, color=colour, alpha=0.2, lw=0, label="middle half of the episodes")
        axis.plot(share, data.mean(0), color=colour, lw=2, label="mean")
        axis.set(
            title=f"{label} over time, {counted(len(data), 'episodes')}", xlabel="percent of the video", ylim=(-2, 102)
        )
        axis.legend(fontsize=8, loc="upper right", frameon=False)
    for axis, (word, name, curve) in zip(axes[1:].flat, values):
        axis.set(title=f"{word}: {name}", ylim=(-2, 102), xlabel="frame")
        axis.title.set_fontsize(9)
        if curve is not None:
            frames = run.first_frame + np.arange(len(curve[0]))
            axis.plot(frames, curve[0], color=BLUE, lw=1.5, label="J")
            axis.plot(frames, curve[1], color=ORANGE, lw=1.5, ls="--", label="F")
            axis.legend(fontsize=8, loc="upper right", frameon=False)
            axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in axes[1:].flat[len(values) :]:
        axis.set_axis_off()
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(run.title, fontsize=11)
    save(figure, path)
    return True


def category_rows(run: ReportRun) -> list[tuple[str, float, float | None]]:
    """Return (category, J or mIoU, F or None), best first; by video where the run knows no categories."""
    names = run.rules.parts
    table = run.result["per_category"] or run.result["per_video"]
    out = []
    for name, row in table.items():
        first, second = row.get(names[0]), row.get(names[1]) if len(names) > 1 else None
        if first is not None:
            out.append((str(name), float(first), second))
    return sorted(out, key=lambda row: (-(row[1] + (row[2] or 0)), row[0]))


def plot_categories(run: ReportRun, path: Path) -> bool:
    """Plot bars by category; False if there are none."""
    rows = category_rows(run)
    if not rows:
        return False
    pyplot = agg_pyplot()
    figure, axis = pyplot.subplots(figsize=(8, 1.4 + 0.32 * len(rows)), layout="constrained")
    places = np.arange(len(rows))
    both = rows[0][2] is not None
    first, second = (*run.rules.parts, "")[:2]
    axis.barh(
        places - (0.2 if both else 0),
        [row[1] for row in rows],
        0.4 if both else 0.7,
        color=BLUE,
        label=first,
    )
    if both:
        axis.barh(
            places + 0.2,
            [row[2] or 0.0 for row in rows],
            0.4,
            color=ORANGE,
            label=second,
            hatch="//",
            edgecolor="white",
            lw=0,
        )
    axis.set_yticks(places, [row[0] for row in rows], fontsize=9)
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xlabel="percent", title=run.title)
    axis.title.set_fontsize(10)
    axis.legend(fontsize=9, frameon=False, loc="lower right")
    axis.spines[["top", "right"]].set_visible(False)
    save(figure, path)
    return True


def sensitivity(run: ReportRun, score: Any) -> list[dict[str, Any]]:
    """Return how much the support matters: of each pair its best and worst draw, spread and standard deviation.

    Args:
        run: The run.
        score: From a record to percent.

    Returns:
        Rows with pair, category, draws, best, best_draw, worst, worst_draw, spread, deviation; largest spread first.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in run.by_id.values():
        if not record.get("error") and record.get("draw") is not None:
            groups.setdefault((record["video"], str(record.get("category_name"))), []).append(record)
    out = []
    for (video, category), records in groups.items():
        if len(records) < 2:
            continue
        ranked = sorted(records, key=lambda r: (-score(r), r["draw"]))
        values = _values(ranked, score)
        out.append(
            {
                "video": video,
                "category": category,
                "draws": len(ranked),
                "best": values[0],
                "best_draw": ranked[0]["draw"],
                "worst": values[-1],
                "worst_draw": ranked[-1]["draw"],
                "spread": values[0] - values[-1],
                "deviation": float(np.std(values, ddof=1)),
            }
        )
    return sorted(out, key=lambda row: (-row["spread"], row["video"], row["category"]))


def _values(records: Iterable[Mapping[str, Any]], score: Any) -> list[float]:
    return [float(score(record)) for record in records]
