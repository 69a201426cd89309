"""The paired view of two runs as pictures and a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from icvos.files import atomic_write, page_asset, write_csv
from icvos.images import write_image
from icvos.report.compare import Comparison
from icvos.report.overlay import caption, legend
from icvos.report.pictures import episode_row, stack
from icvos.report.plots import BLUE, ORANGE, agg_pyplot, save

__all__ = ["write_comparison"]

Rows = Sequence[tuple[str, float, float, float]]


def _names(result: Comparison) -> tuple[str, str]:
    first, second = (f"{run.result['model']['name']} {run.result['model']['version']}" for run in (result.a, result.b))
    return (first, second) if first != second else (f"{first} (A)", f"{second} (B)")


def plot_comparison(result: Comparison, path: Path, *, most: int = 30) -> None:
    """Plot A against B by video (by episode, where there are no videos), and the differences by category."""
    pyplot = agg_pyplot()
    score = result.a.score_name("episode")
    points = result.by_video or result.episodes
    bars = sorted((result.by_category or points)[:most], key=lambda row: row[3])
    first, second = _names(result)
    height = max(4.6, 1.2 + 0.27 * len(bars))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, height), layout="constrained")
    left.plot([0, 100], [0, 100], color="#888888", lw=1)
    left.scatter([row[2] for row in points], [row[1] for row in points], s=18, alpha=0.6, color=BLUE, lw=0)
    unit = "a video" if result.by_video else "an episode"
    left.set(
        xlim=(-2, 102),
        ylim=(-2, 102),
        xlabel=f"{second}, {score}",
        ylabel=f"{first}, {score}",
        aspect="equal",
        title=f"a point is {unit}; above the line A is better",
    )
    colours = [BLUE if row[3] > 0 else ORANGE for row in bars]
    right.barh(range(len(bars)), [row[3] for row in bars], color=colours)
    right.axvline(0, color="#888888", lw=1)
    right.set_yticks(range(len(bars)), [row[0] for row in bars], fontsize=8)
    right.set(xlabel="points, A less B", title="difference by category" if result.by_category else "difference")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    figure.suptitle(f"A: {first}   B: {second}\n{result.verdict}", fontsize=10)
    save(figure, path)


def write_comparison(result: Comparison, out: Path, *, each: int = 3) -> list[Path]:
    """Write ``episodes.csv``, ``compare.png``, the episodes that differ most as ``sheet.png``, and ``index.html``."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(("id", "a", "b", "difference"), row)) for row in result.episodes]
    write_csv(out / "episodes.csv", ("id", "a", "b", "difference"), rows, for_spreadsheets=True)
    plot_comparison(result, out / "compare.png")
    files = [out / "compare.png", out / "episodes.csv"]
    if all(run.benchmark is not None and run.masks is not None for run in (result.a, result.b)):
        write_image(out / "sheet.png", _sheet(result, each))
        files.insert(1, out / "sheet.png")
    with atomic_write(out / "index.html", "w") as stream:
        stream.write(_page(result, (out / "sheet.png") in files))
    return [out / "index.html", *files]


def _chosen(result: Comparison, each: int) -> list[str]:
    ahead = [row[0] for row in result.episodes if row[3] > 0][:each]
    behind = [row[0] for row in result.episodes if row[3] < 0][:each]
    return ahead + behind or [row[0] for row in result.episodes[:each]]


def _sheet(result: Comparison, each: int) -> np.ndarray:
    rows = []
    first, second = _names(result)
    for name in _chosen(result, each):
        rows += [episode_row(result.a, name, first), episode_row(result.b, name, second)]
    width = max(row.shape[1] for row in rows)
    return stack([caption(width, ["where the two differ most"], size=17), legend(width), *rows])


def _table(title: str, rows: Rows, names: tuple[str, str]) -> str:
    lines = [
        f"<div class=scroll><table><tr><th>{escape(title)}<th>{escape(names[0])}<th>{escape(names[1])}<th>A less B"
    ]
    lines += [f"<tr><td>{escape(name)}<td>{a:.2f}<td>{b:.2f}<td>{d:+.2f}" for name, a, b, d in rows]
    return "\n".join(lines) + "</table></div>"


def _page(result: Comparison, sheet: bool, most: int = 60) -> str:
    names = _names(result)
    title = f"{names[0]} against {names[1]}"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(title)}</title><style>\n{page_asset('icvos.report', 'report.css')}</style>"
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(result.verdict)}.</p>",
        _table("percent", result.metrics, names),
        "<h2>Where they differ</h2><p><img src=compare.png alt='A against B'></p>",
    ]
    if sheet:
        parts.append("<p><img src=sheet.png alt='episodes that differ most'></p>")
    for head, rows in (("category", result.by_category), ("video", result.by_video)):
        if rows:
            parts += [f"<h2>By {head}</h2>", _table(head, rows[:most], names)]
    return "\n".join(parts) + "\n"
