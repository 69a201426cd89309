"""``icvos report``: a folder with everything one wants to see of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from icvos.errors import IcvosError, UsageError, counted, did_you_mean
from icvos.files import atomic_write, page_asset, write_csv
from icvos.images import write_image
from icvos.metrics.table import METRICS
from icvos.progress import Progress, Update, silent
from icvos.report.pictures import choose, contact_sheet, overlay_video, shown_frames
from icvos.report.plots import category_rows, plot_categories, plot_curves, sensitivity
from icvos.report.run import ReportRun, score_of

__all__ = ["Report", "write_report"]

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
    each: int = 2,
    only: Sequence[str] = (),
    videos: bool = True,
    fps: float = 10.0,
    progress: Progress = silent,
) -> Report:
    """Write pictures, videos, curves, tables and a page that shows them.

    Args:
        run: The run.
        out: Folder to write to; files of the same names are replaced.
        each: How many of the best, median and worst episodes.
        only: These episodes instead.
        videos: Whether to write overlay videos (of video benchmarks).
        fps: Of the videos.
        progress: Told of each file that is begun.

    Raises:
        UsageError: An episode that the run does not hold.
    """
    for name in only:
        if name not in run.by_id:
            raise UsageError(f"no episode '{name}' in this run", fix=did_you_mean(name, run.by_id))
    picks = {"chosen": list(only)} if only else choose(run, each)
    out.mkdir(parents=True, exist_ok=True)
    report = Report(out)
    if run.missing or run.masks is None:
        report.problems.append(f"no pictures: {run.missing or 'no masks'}")
    elif any(picks.values()):
        _pictures(run, report, picks, videos and not run.image, fps, progress)
    if run.misses_all:
        report.problems.append("no mask of any episode meets its ground truth; are they all empty?")
    if not run.image and plot_curves(run, picks, out / "curves.png"):
        report.files.append("curves.png")
    if plot_categories(run, out / "categories.png"):
        report.files.append("categories.png")
    rows = sensitivity(run, score_of)
    if rows:
        write_csv(out / "support_sensitivity.csv", SENSITIVITY, rows, for_spreadsheets=True)
        report.files.append("support_sensitivity.csv")
    with atomic_write(out / "index.html", "w") as stream:
        stream.write(_page(run, report, picks, rows))
    report.files.insert(0, "index.html")
    return report


def _pictures(
    run: ReportRun,
    report: Report,
    picks: Mapping[str, Sequence[str]],
    videos: bool,
    fps: float,
    progress: Progress,
) -> None:
    names = [name for names in picks.values() for name in names] if videos else []
    progress(Update("pictures", 0, 1 + len(names), "contact_sheet.png"))
    write_image(report.root / "contact_sheet.png", contact_sheet(run, {k: list(v) for k, v in picks.items()}))
    report.files.append("contact_sheet.png")
    for number, name in enumerate(names, 1):
        progress(Update("pictures", number, 1 + len(names), f"videos/{name}.webm"))
        try:
            if overlay_video(run, name, report.root / "videos" / f"{name}.webm", fps=fps):
                report.files.append(f"videos/{name}.webm")
        except IcvosError as error:
            report.problems.append(str(error))


def _page(run: ReportRun, report: Report, picks: Mapping[str, Sequence[str]], rows: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(run.title)}</title><style>\n{page_asset('icvos.report', 'report.css')}</style>"
        f"<h1>{escape(run.title)}</h1>",
        _summary(run),
    ]
    parts += [f"<p class=note>{escape(problem)}</p>" for problem in report.problems]
    if "contact_sheet.png" in report.files:
        parts.append("<h2>Episodes</h2><p><img src=contact_sheet.png alt='best, median and worst episodes'></p>")
    clips = [name for name in report.files if name.endswith(".webm")]
    if clips:
        words = {name: word for word, names in picks.items() for name in names}
        parts.append("<div class=grid>")
        for clip in clips:
            name = Path(clip).stem
            score = score_of(run.by_id[name], run.rules)
            step = shown_frames(run, name).step
            sampled = f", one frame in {step}" if step > 1 else ""
            text = f"{words.get(name, '')}: {name}, {run.score_name('episode')} {score:.1f}{sampled}"
            parts.append(
                f"<figure><video controls muted loop preload=metadata src='{escape(clip, quote=True)}'></video>"
                f"<figcaption>{escape(text)}</figcaption></figure>"
            )
        parts.append("</div>")
    over_time = f"{' and '.join(run.rules.parts)} over time"
    for name, title in (("curves.png", over_time), ("categories.png", "By category")):
        if name in report.files:
            parts.append(f"<h2>{title}</h2><p><img src={name} alt='{title}'></p>")
    if rows:
        parts += ["<h2>How much the support matters</h2>", _sensitivity(rows)]
    return "\n".join(parts) + "\n"


def _summary(run: ReportRun) -> str:
    summary = run.result["summary"]
    names = [metric.name for metric in run.rules.metrics_in("report")]
    undrawn = run.undrawn
    if undrawn is not None and undrawn.count:
        names.insert(1, undrawn.beside)
    present = [name for name in names if summary[name] is not None]
    heads = "".join(f"<th>{escape(METRICS[name].label)}" for name in present)
    cells = "".join(f"<td>{summary[name]:.2f}" for name in present)
    count, failed = summary["episodes"], summary["failed"]
    note = f"{counted(count, 'episodes')}, {failed} failed" if failed else f"{counted(count, 'episodes')}"
    if category_rows(run):
        note += f", {len(run.result['per_category']) or len(run.result['per_video'])} categories or sequences"
    more = f"<p class=note>{escape(undrawn.text)}.</p>" if undrawn is not None else ""
    table = f"<div class=scroll><table><tr>{heads}<tr>{cells}</table></div>"
    return f"{table}<p class=note>{escape(note)}; percent.</p>{more}"


def _sensitivity(rows: Sequence[Mapping[str, Any]], most: int = 40) -> str:
    mean = sum(row["spread"] for row in rows) / len(rows)
    lines = [
        f"<p>The best and the worst of a pair's draws differ by {mean:.1f} points in the mean.</p><div class=scroll>"
        "<table><tr><th>video<th class=t>category<th>draws<th>best<th>draw<th>worst<th>draw<th>spread<th>deviation"
    ]
    for row in rows[:most]:
        lines.append(
            f"<tr><td>{escape(row['video'])}<td class=t>{escape(row['category'])}<td>{row['draws']}"
            f"<td>{row['best']:.1f}<td>{row['best_draw']}<td>{row['worst']:.1f}<td>{row['worst_draw']}"
            f"<td>{row['spread']:.1f}<td>{row['deviation']:.1f}"
        )
    more = f"<p class=note>{len(rows) - most} more in support_sensitivity.csv.</p>" if len(rows) > most else ""
    return "\n".join(lines) + f"</table></div>{more}"
