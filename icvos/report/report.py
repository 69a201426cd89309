"""``icvos report``: a page with everything one wants to see of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from icvos.clips import page_folder
from icvos.errors import UsageError, counted, did_you_mean
from icvos.files import write_csv
from icvos.images import write_image
from icvos.metrics.table import METRICS
from icvos.progress import Progress, silent
from icvos.report.charts import bars, over_time
from icvos.report.chunks import Chunk, RunPlace, write_chunks
from icvos.report.page import DATA, Column, write_page
from icvos.report.pictures import choose, contact_sheet
from icvos.report.run import ReportRun, score_of
from icvos.report.tables import category_rows, sensitivity, values_over_time

__all__ = ["Report", "episode_rows", "figures", "videos_of", "write_report"]

SENSITIVITY = ("video", "category", "draws", "best", "best_draw", "worst", "worst_draw", "spread", "deviation")


@dataclass
class Report:
    """What was written.

    Attributes:
        root: The folder.
        files: Names in it, in the order they are shown.
        problems: What could not be drawn, a line each.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def write_report(
    run: ReportRun,
    out: Path,
    *,
    place: RunPlace | None = None,
    each: int = 0,
    only: Sequence[str] = (),
    workers: int = 1,
    progress: Progress = silent,
) -> Report:
    """Write a page whose player shows every episode, a contact sheet and tables.

    Args:
        run: The run.
        out: Folder to write to; files of the same names are replaced. A call that was stopped is gone on with.
        place: Where the run, its benchmark and its masks are, if not where the run says.
        each: Only so many of the best, median and worst episodes are played; 0 for all.
        only: These episodes instead.
        workers: Processes.
        progress: Is told of each video.

    Raises:
        UsageError: An episode that the run does not hold, or a folder that a run or a benchmark keeps its files in.
        LockedError: Another process writes there.
    """
    for name in only:
        if name not in run.by_id:
            raise UsageError(f"no episode '{name}' in this run", fix=did_you_mean(name, run.by_id))
    sheet = {"chosen": list(only)} if only else choose(run, each or 2)
    played = [name for names in sheet.values() for name in names] if only or each else list(run.by_id)
    with page_folder(out):
        return _write(run, out, sheet, played, place or (run.where, None, None), workers, progress)


def _write(
    run: ReportRun,
    out: Path,
    sheet: dict[str, list[str]],
    played: Sequence[str],
    place: RunPlace,
    workers: int,
    progress: Progress,
) -> Report:
    out.mkdir(parents=True, exist_ok=True)
    report = Report(out, ["index.html"])
    chunks: list[Chunk] = []
    if run.missing or run.masks is None:
        report.problems.append(f"no pictures: {run.missing or 'no masks'}")
    elif played:
        chunks = write_chunks([place], videos_of(run, played), out / DATA, workers=workers, progress=progress)
        report.problems += [problem for chunk in chunks for problem in chunk.problems]
        write_image(out / "contact_sheet.png", contact_sheet(run, sheet))
        report.files.append("contact_sheet.png")
    if run.misses_all:
        report.problems.append("no mask of any episode meets its ground truth; are they all empty?")
    rows = sensitivity(run, score_of)
    if rows:
        write_csv(out / "support_sensitivity.csv", SENSITIVITY, rows, for_spreadsheets=True)
        report.files.append("support_sensitivity.csv")
    episodes = episode_rows(run)
    write_page(
        out / "index.html",
        title=run.title,
        runs=[run.label],
        parts=run.rules.frame_parts,
        head=[_summary(run, report.problems)],
        columns=_columns(run, episodes),
        episodes=episodes,
        chunks=chunks,
        tail=[_charts(run), *([_sensitivity(rows)] if rows else [])],
    )
    if any(chunk.path.exists() for chunk in chunks):
        report.files.append(DATA)
    return report


def videos_of(run: ReportRun, names: Sequence[str]) -> dict[str, list[str]]:
    """Return episodes by what is played: their video, or each query image by itself."""
    videos: dict[str, list[str]] = {}
    for name in names:
        videos.setdefault(_played(run, name), []).append(name)
    return videos


def _played(run: ReportRun, name: str) -> str:
    return run.episode(name).video if run.benchmark is not None else str(run.by_id[name].get("video", name))


def episode_rows(run: ReportRun) -> list[dict[str, Any]]:
    """Return what the page's table and player know of each episode."""
    out, measured = [], _figures(run)
    for name, record in run.by_id.items():
        row = {
            "id": name,
            "video": _played(run, name),
            "category": record.get("category_name", record.get("category", record.get("object"))),
            "category_number": str(record.get("category", record.get("object", ""))),
            "score": score_of(record, run.rules),
            "frames": record.get("frames", 1),
            **{key: record.get(key) for key in ("source", "draw", "fold", *measured) if key in record},
        }
        if record.get("error"):
            row["error"] = f"failed: {record['error']}"
        out.append(row)
    return out


def _figures(run: ReportRun) -> list[str]:
    """Return the figures of an episode that have a column beside the score."""
    known = {key for record in run.records for key, value in record.items() if isinstance(value, (int, float))}
    scores = {run.rules.score, run.score_name("episode")}
    return [m.name for m in run.rules.metrics_in("summary") if m.name in known and m.name not in scores]


def _columns(run: ReportRun, rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    keys = {key for row in rows for key, value in row.items() if value is not None}
    words: list[Column] = [
        ("video", "query" if run.image else "video", False),
        ("score", run.score_name("episode"), True),
        ("category", "category", False),
        ("draw", "draw", False),
        ("source", "source", False),
        ("fold", "fold", False),
        *((name, METRICS[name].label, True) for name in _figures(run)),
        *([] if run.image else [("frames", "frames", False)]),
    ]
    return [column for column in words if column[0] in keys]


def figures(run: ReportRun) -> list[tuple[str, float]]:
    """Return the run's figures for a report, the ranked one first."""
    names = [metric.name for metric in run.rules.metrics_in("report")]
    if run.undrawn is not None and run.undrawn.count:
        names.insert(1, run.undrawn.beside)
    ordered = dict.fromkeys([run.rules.score, *names])
    return [(METRICS[name].label, run.summary[name]) for name in ordered if run.summary.get(name) is not None]


def _summary(run: ReportRun, problems: Sequence[str]) -> str:
    cells = [
        f"<div{' class=main' * (number == 0)}><dt>{escape(name)}<dd>{round(value, 2) + 0.0:.2f}</div>"
        for number, (name, value) in enumerate(figures(run))
    ]
    summary = run.summary
    note = counted(summary["episodes"], "episodes") + f", {summary['failed']} failed" * bool(summary["failed"])
    if category_rows(run):
        note += f", {len(run.result['per_category']) or len(run.result['per_video'])} categories or sequences"
    lines = [f"{note}; percent.", *([f"{run.undrawn.text}."] if run.undrawn is not None else []), *problems]
    notes = "".join(f"<p class=note>{escape(line)}</p>" for line in lines)
    return f"<section aria-label=Figures><dl class=figures>{''.join(cells)}</dl>{notes}</section>"


def _charts(run: ReportRun) -> str:
    charts = []
    lines = [] if run.image else values_over_time(run)
    if lines:
        keys = "".join(
            f"<span><i class='{' two dash' * number}'></i>{escape(name)}, mean and middle half</span>"
            for number, (name, _) in enumerate(lines)
        )
        charts.append(f"<section><h2>Over time</h2>{over_time(lines)}<div class=legend>{keys}</div></section>")
    rows = category_rows(run)
    if rows:
        names = [
            name for number, name in enumerate(run.rules.parts[:2]) if any(row[1 + number] is not None for row in rows)
        ]
        keys = "".join(
            f"<span><i class='{' two' * number}'></i>{escape(name)}</span>" for number, name in enumerate(names)
        )
        charts.append(
            f"<section><h2>By category</h2>{bars(rows, names, 'by category')}<div class=legend>{keys}</div></section>"
        )
    return f"<div class=charts>{''.join(charts)}</div>" if charts else ""


def _sensitivity(rows: Sequence[Mapping[str, Any]], most: int = 40) -> str:
    mean = float(np.mean([row["spread"] for row in rows]))
    heads = ("draws", "best", "draw", "worst", "draw", "spread", "deviation")
    lines = [
        "<section><h2>How much the support matters</h2>"
        f"<p>The best and the worst of a pair's draws differ by {mean:.1f} points in the mean.</p><div class=scroll>"
        f"<table><tr><th>video<th>category{''.join(f'<th class=n>{head}' for head in heads)}"
    ]
    for row in rows[:most]:
        cells = (
            *(
                str(row["draws"]),
                f"{row['best']:.1f}",
                str(row["best_draw"]),
                f"{row['worst']:.1f}",
                str(row["worst_draw"]),
            ),
            *(f"{row['spread']:.1f}", f"{row['deviation']:.1f}"),
        )
        numbers = "".join(f"<td class=n>{cell}" for cell in cells)
        lines.append(f"<tr><td>{escape(row['video'])}<td>{escape(row['category'])}{numbers}")
    more = f"<p class=note>{len(rows) - most} more in support_sensitivity.csv.</p>" if len(rows) > most else ""
    return "\n".join(lines) + f"</table></div>{more}</section>"
