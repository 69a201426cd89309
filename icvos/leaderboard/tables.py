"""Tables: measured rows by benchmark and protocol, published rows apart; as text, Markdown or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from icvos.leaderboard.published import Published
from icvos.leaderboard.runs import RunRow

__all__ = ["Table", "measured_tables", "published_tables", "to_csv", "to_markdown"]

_TITLES = {
    "ic-vos": "IC-VOS", "coco-20i": "COCO-20i", "pascal-5i": "PASCAL-5i", "coco2pascal": "COCO-20i to PASCAL-5i",
    "lvos-v2": "LVOS v2",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table with its notes.

    Attributes:
        title: One line.
        kind: ``measured`` or ``published``: the two are never in one table.
        columns: Headings.
        rows: Cells as text.
        notes: Lines below it.
    """

    title: str
    kind: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def _text(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def measured_tables(runs: Iterable[RunRow]) -> list[Table]:
    """Return a table for each benchmark (told apart by its manifest), protocol and number of shots, best rows first."""
    groups: dict[tuple, list[RunRow]] = {}
    for run in runs:
        groups.setdefault(
            (run.benchmark, run.benchmark_version, run.manifest, run.protocol, run.shots or 1), []
        ).append(run)
    return [_measured(key, groups[key]) for key in sorted(groups)]


def _measured(key: tuple, runs: list[RunRow]) -> Table:
    benchmark, version, _, protocol, shots = key
    image = runs[0].summary.get("mIoU") is not None
    names = ("mIoU", "FB_IoU", "mean_IoU") if image else ("J&F", "J", "F", "J_visible", "F_visible", "absent_correct")
    heads = {
        "FB_IoU": "FB-IoU",
        "mean_IoU": "mean IoU",
        "J_visible": "J vis",
        "F_visible": "F vis",
        "absent_correct": "absent",
    }
    rows, notes = [], []
    rank = 0
    ordered = sorted(runs, key=lambda r: (bool(r.unranked), -(r.summary.get(names[0]) or 0.0), r.model, r.version))
    for run in ordered:
        rank += not run.unranked
        place = "-" if run.unranked else str(rank)
        if run.unranked:
            notes.append(f"{run.model}: not ranked, {run.unranked}")
        cells = [_text(run.summary.get(name)) for name in names]
        fps = _text(run.fps, 0 if run.fps and run.fps >= 100 else 1)
        rows.append((place, f"{run.model} {run.version}", *cells, fps, str(run.summary["episodes"])))
    title = f"{_TITLES.get(benchmark, benchmark)} {version}, protocol {protocol}, {shots}-shot: measured".replace(
        "  ", " "
    )
    columns = ("#", "method", *(heads.get(name, name) for name in names), "fps", "n")
    return Table(title, "measured", columns, tuple(rows), tuple(notes))


def published_tables(numbers: Sequence[Published], benchmarks: Sequence[str]) -> list[Table]:
    """Return a table for each published one of some benchmarks, in the papers' order, with what is odd as notes."""
    groups: dict[tuple[str, str], list[Published]] = {}
    for number in numbers:
        if number.benchmark in benchmarks:
            groups.setdefault((number.benchmark, number.table), []).append(number)
    return [_published(*key, groups[key]) for key in groups]


def _published(benchmark: str, table: str, numbers: list[Published]) -> Table:
    metrics = tuple(dict.fromkeys(number.metric for number in numbers))
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    marks: dict[str, int] = {}
    for number in numbers:
        cells = rows.setdefault((number.method, number.encoder, number.shots), {})
        mark = ""
        if number.note:
            mark = f" [{marks.setdefault(number.note, len(marks) + 1)}]"
        cells[number.metric] = f"{number.value:.2f}{mark}" if benchmark == "ic-vos" else f"{number.value:.1f}{mark}"
    encoder = any(key[1] for key in rows)
    shots = len({key[2] for key in rows}) > 1
    columns = ("method", *(("encoder",) if encoder else ()), *(("shots",) if shots else ()), *metrics)
    body = tuple(
        (
            method,
            *((enc,) if encoder else ()),
            *((shot,) if shots else ()),
            *(cells.get(metric, "-") for metric in metrics),
        )
        for (method, enc, shot), cells in rows.items()
    )
    notes = tuple(f"[{mark}] {note}" for note, mark in marks.items())
    return Table(
        f"{_TITLES.get(benchmark, benchmark)}: published, {numbers[0].source}", "published", columns, body, notes
    )


def to_markdown(table: Table) -> str:
    """Return a table as Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    right = [i >= len(table.columns) - len(_numeric(table)) for i in range(len(table.columns))]
    rule = "|" + "|".join("---:" if r else "---" for r in right) + "|"
    parts = [f"### {table.title}", "", line(table.columns), rule, *(line(row) for row in table.rows)]
    if table.notes:
        parts += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(parts) + "\n"


def _numeric(table: Table) -> tuple[str, ...]:
    words = ("#", "method", "encoder", "shots")
    return tuple(column for column in table.columns if column not in words)


def to_csv(tables: Iterable[Table]) -> str:
    """Return tables as one CSV: kind, table, method, then a metric and its value a line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("kind", "table", "method", "encoder", "shots", "metric", "value"))
    for table in tables:
        places = {name: place for place, name in enumerate(table.columns)}
        for row in table.rows:
            fixed = [row[places[name]] if name in places else "" for name in ("method", "encoder", "shots")]
            for name in _numeric(table):
                value = row[places[name]].partition(" [")[0]
                writer.writerow((table.kind, table.title, *fixed, name, "" if value == "-" else value))
    return buffer.getvalue()
