"""Summary tables that several commands print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.runs.run import Run

__all__ = ["number", "summary_table"]


def number(value: float | None, digits: int = 2) -> str:
    """Return a figure for a table; what does not apply is a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def summary_table(runs: Sequence[Run]) -> None:
    """Print one line a run, all of one benchmark and protocol."""
    from icvos.terminal import Column, print_table

    first = runs[0]
    metrics = {metric: metric.brief or metric.label for metric in first.rules.metrics_in("summary")}
    rows = []
    for run in sorted(runs, key=lambda run: run.limited):
        cells = [number(run.summary.get(metric.name)) for metric in metrics]
        cells += [number(run.fps, 0 if run.fps and run.fps >= 100 else 1)]
        rows.append([run.full_name, *cells, str(run.summary["episodes"]), str(run.summary["failed"])])
    version = f" {first.result['benchmark']['version']}" if first.result["benchmark"]["version"] else ""
    title = f"{first.benchmark_name}{version}, protocol {first.protocol}"
    others = [head for metric, head in metrics.items() if metric.name != first.rules.score]
    print_table(
        [Column.of_names("model"), *map(Column, (*metrics.values(), "fps", "n", "failed"))],
        rows,
        title=title + (f", {'' if first.vos else 'oracle '}{first.oracle}" if first.oracle else ""),
        leave_out=("n", "fps", *reversed(others)),
    )
    for note in dict.fromkeys(note for run in runs for note in run.notes):
        echo(note)
