"""Progress bars and summary tables that several commands print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from icvos.runs.run import Run

__all__ = ["bars", "build_bars", "line_bar", "number", "progress_bar", "summary_table"]


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


@contextmanager
def line_bar() -> Iterator[Callable[[str], None]]:
    """Show ``WHAT n of m`` as one line that changes; yields what takes a line, and prints the last of each kind."""
    from rich.progress import TextColumn

    with bars(TextColumn("{task.description}", markup=False), transient=True) as progress:
        row = progress.add_task("")

        def show(line: str) -> None:
            words = line.split()
            if len(words) < 3 or words[-1] == words[-3]:
                click.echo(line)
            else:
                progress.update(row, description=line)

        yield show


@contextmanager
def build_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each thing that is built; yields what moves it: (what, done, of how many)."""
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with bars(*columns) as progress:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield advance


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, Mapping[str, Any] | None], None]]:
    """Show a bar on standard error while the block runs; yields what advances it: (done, all, last record)."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from icvos.metrics.formulas import half_sum
    from icvos.metrics.table import ranked_metric, ranked_parts

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}", markup=False),
    )
    with bars(*columns, transient=True) as bar:
        row = bar.add_task(title, total=None, last="")

        def advance(done: int, total: int, record: Mapping[str, Any] | None) -> None:
            last = ""
            if record is not None and record.get("error"):
                last = "failed"
            elif record is not None:
                score = half_sum(*(record.get(name) for name in ranked_parts()))
                last = "" if score is None else f"{ranked_metric('video').name} {score:.1f}"
            bar.update(row, completed=done, total=total, last=last)

        yield advance


def number(value: float | None, digits: int = 2) -> str:
    """Return a figure for a table; what does not apply is a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def summary_table(runs: Sequence[Run]) -> None:
    """Print one line a run, all of one benchmark and protocol."""
    from icvos.metrics.table import metrics_in, ranked_metric
    from icvos.terminal import Column, print_table

    first = runs[0]
    metrics = {metric: metric.brief or metric.label for metric in metrics_in("summary", first.kind)}
    rows = []
    for run in runs:
        cells = [number(run.summary[metric.name]) for metric in metrics]
        cells += [number(run.fps, 0 if run.fps and run.fps >= 100 else 1)]
        rows.append([run.model, *cells, str(run.summary["episodes"]), str(run.summary["failed"])])
    title = f"{first.benchmark_name} {first.result['benchmark']['version'] or ''}, protocol {first.protocol}"
    others = [head for metric, head in metrics.items() if metric is not ranked_metric(first.kind)]
    print_table(
        [Column.words("model"), *map(Column, (*metrics.values(), "fps", "n", "failed"))],
        rows,
        title=title + (f", oracle {first.oracle}" if first.oracle else ""),
        leave_out=("n", "fps", *reversed(others)),
    )
    for run in runs:
        if run.misses_all:
            click.echo(f"{run.model}: no mask of any episode meets its ground truth; are they all empty?")
        if run.undrawn is not None:
            limit = run.result["protocol"].get("limit_episodes")
            click.echo(
                run.undrawn.text + (f"; the run is limited to {limit} episodes and never ranked" if limit else "")
            )
