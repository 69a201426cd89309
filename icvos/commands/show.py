"""Progress bars and summary tables that several commands print."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from icvos.runs.run import Run

__all__ = ["bars", "number", "summary_table"]


@contextmanager
def bars(*columns: ProgressColumn, transient: bool = False, quiet: bool = False) -> Iterator[Progress]:
    """Give bars on standard error while the block runs; they are not to be seen without a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(
        *columns,
        console=console,
        transient=transient,
        disable=quiet or not console.is_terminal,
        # Text goes around the bars where both are on the screen; in a file or a pipe it stays where it belongs.
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        yield progress


def number(value: float | None, digits: int = 2) -> str:
    """Return a figure for a table; what does not apply is a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def summary_table(runs: Sequence[Run]) -> None:
    """Print one line a run, all of one benchmark and protocol."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from icvos.metrics.table import metrics_in

    first = runs[0]
    metrics = metrics_in("summary", first.kind)
    title = f"{first.benchmark_name} {first.result['benchmark']['version'] or ''}, protocol {first.protocol}"
    if first.oracle:
        title += f", oracle {first.oracle}"
    table = Table(title=escape(title), box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for head in (*(metric.brief or metric.label for metric in metrics), "fps", "n", "failed"):
        table.add_column(head, justify="right", no_wrap=True)
    for run in runs:
        cells = [number(run.summary[metric.name]) for metric in metrics]
        cells += [number(run.fps, 0 if run.fps and run.fps >= 100 else 1)]
        cells += [str(run.summary["episodes"]), str(run.summary["failed"])]
        table.add_row(escape(run.model), *cells)
    Console().print(table)
    for run in runs:
        for note in run.notes:
            click.echo(note)
