"""The paired view of two runs: a page whose player has both predictions side by side, a contact sheet, a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from icvos.clips import page_folder
from icvos.files import write_csv
from icvos.images import write_image
from icvos.progress import Progress, silent
from icvos.report.charts import bars, scatter
from icvos.report.chunks import Chunk, RunPlace, write_chunks
from icvos.report.compare import Comparison
from icvos.report.page import DATA, Column, write_page
from icvos.report.pictures import episode_row, sheet
from icvos.report.report import episode_rows, videos_of

__all__ = ["write_comparison"]

Rows = Sequence[tuple[str, float, float, float]]


def _names(result: Comparison) -> tuple[str, str]:
    first, second = (f"{run.result['model']['name']} {run.result['model']['version']}" for run in (result.a, result.b))
    return (first, second) if first != second else (f"{first} (A)", f"{second} (B)")


def write_comparison(
    result: Comparison,
    out: Path,
    *,
    places: Sequence[RunPlace] = (),
    each: int = 3,
    workers: int = 1,
    progress: Progress = silent,
) -> tuple[list[Path], list[str]]:
    """Write ``index.html``, ``episodes.csv`` and the episodes that differ most as ``sheet.png``.

    Args:
        result: The comparison.
        out: Folder to write to; files of the same names are replaced.
        places: Where both runs, their benchmark and masks are, if not where the runs say.
        each: How many episodes of the sheet each way, of as many videos.
        workers: Processes.
        progress: Is told of each video.

    Returns:
        What was written, and what could not be drawn, a line each.

    Raises:
        UsageError: A run or a benchmark keeps its files in the folder.
        LockedError: Another process writes there.
    """
    with page_folder(out):
        return _write(
            result, out, places or [(run.where, None, None) for run in (result.a, result.b)], each, workers, progress
        )


def _write(
    result: Comparison, out: Path, places: Sequence[RunPlace], each: int, workers: int, progress: Progress
) -> tuple[list[Path], list[str]]:
    out.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(("id", "a", "b", "difference"), row)) for row in result.episodes]
    write_csv(out / "episodes.csv", ("id", "a", "b", "difference"), rows, for_spreadsheets=True)
    files = [out / "index.html", out / "episodes.csv"]
    runs, names = (result.a, result.b), _names(result)
    chunks: list[Chunk] = []
    problems = [
        f"no pictures: {name}: {run.missing or 'no masks'}"
        for name, run in zip(names, runs)
        if run.benchmark is None or run.masks is None
    ]
    if not problems:
        write_image(out / "sheet.png", _sheet(result, each))
        files.append(out / "sheet.png")
        shown = videos_of(result.a, list(result.a.by_id))
        chunks = write_chunks(places, shown, out / DATA, workers=workers, progress=progress)
        problems += [problem for chunk in chunks for problem in chunk.problems]
    episodes = _episodes(result)
    write_page(
        out / "index.html",
        title=f"{names[0]} against {names[1]}",
        runs=names,
        parts=result.a.rules.frame_parts,
        head=[_verdict(result, names, problems)],
        columns=_columns(result, episodes),
        episodes=episodes,
        chunks=chunks,
        tail=[_charts(result, names)],
    )
    if any(chunk.path.exists() for chunk in chunks):
        files.append(out / DATA)
    return files, problems


def _episodes(result: Comparison) -> list[dict[str, Any]]:
    scores = {name: (a, b, less) for name, a, b, less in result.episodes}
    rows = []
    for row in episode_rows(result.a):
        a, b, less = scores[row["id"]]
        kept = {key: row.get(key) for key in ("id", "video", "category", "category_number", "source", "draw", "frames")}
        rows.append({**kept, "score": less, "a": a, "b": b})
    return rows


def _columns(result: Comparison, rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    keys = {key for row in rows for key, value in row.items() if value is not None}
    score = result.a.score_name("episode")
    words: list[Column] = [
        ("video", "query" if result.a.image else "video", False),
        ("score", "A less B", True),
        ("a", f"A, {score}", True),
        ("b", f"B, {score}", True),
        ("category", "category", False),
        ("draw", "draw", False),
        ("source", "source", False),
    ]
    return [column for column in words if column[0] in keys]


def _chosen(result: Comparison, each: int) -> list[str]:
    """Return the episodes of a sheet: those that differ most each way, one of each video at most."""
    out: list[str] = []
    for sign in (1, -1):
        ids: dict[str, str] = {}
        for name, _, _, less in result.episodes:
            if less * sign > 0:
                ids.setdefault(result.a.episode(name).video, name)
        out += list(ids.values())[:each]
    return out or [row[0] for row in result.episodes[:each]]


def _sheet(result: Comparison, each: int) -> np.ndarray:
    rows = []
    first, second = _names(result)
    for name in _chosen(result, each):
        rows += [episode_row(result.a, name, first), episode_row(result.b, name, second)]
    return sheet("where the two differ most", rows)


def _verdict(result: Comparison, names: tuple[str, str], problems: Sequence[str]) -> str:
    lines = [
        f"<section><h2>{escape(_title(result))}</h2><p class=note>{escape(result.verdict)}.</p>"
        f"<div class=scroll><table><tr><th>percent<th class=n>A: {escape(names[0])}<th class=n>B: {escape(names[1])}"
        "<th class=n>A less B"
    ]
    for name, a, b, less in result.metrics:
        cells = "".join(f"<td class=n>{round(value, 2) + 0.0:.2f}" for value in (a, b))
        lines.append(f"<tr><td>{escape(name.replace('_', ' '))}{cells}<td class=n>{less:+.2f}")
    notes = "".join(f"<p class=note>{escape(problem)}</p>" for problem in problems)
    return "\n".join(lines) + f"</table></div>{notes}</section>"


def _title(result: Comparison) -> str:
    text = f"{result.a.rules.score}, A less B: {result.difference:+.2f}"
    if result.interval is None:
        return text
    low, high = result.interval
    return f"{text} (95 % {low:+.2f} to {high:+.2f})"


def _charts(result: Comparison, names: tuple[str, str]) -> str:
    points = result.by_video or result.episodes
    unit = "video" if result.by_video else "episode"
    score = result.a.score_name("episode")
    dots = scatter(
        [(name, b, a) for name, a, b, _ in points],
        (f"B: {names[1]}, {score}", f"A: {names[0]}, {score}"),
        "A against B",
    )
    parts = [f"<section><h2>A point is a {unit}; above the line A is better</h2>{dots}</section>"]
    for head, rows in (("category", result.by_category), (unit, points)):
        if rows:
            signed = sorted(((name, less) for name, _, _, less in rows), key=lambda row: -row[1])
            chart = bars([(name, less, None) for name, less in signed], ["A less B"], f"difference by {head}")
            note = "<p class=note>To the right A is better.</p>"
            parts.append(f"<section><h2>Difference by {head}, points</h2>{chart}{note}</section>")
    return f"<div class=charts>{''.join(parts)}</div>"
