"""Progress bars and summary tables that several commands print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

__all__ = ["number", "progress_bar", "summary_table"]


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, Mapping[str, Any] | None], None]]:
    """Show a bar on standard error while the block runs; yields what advances it: (done, all, last record)."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from icvos.metrics.formulas import half_sum
    from icvos.metrics.table import ranked_metric, ranked_parts

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
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


def summary_table(runs: Sequence[tuple[Path, Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Print one line a run: (folder, run.json, result.json)."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from icvos.metrics.table import metrics_in, ranked_metric
    from icvos.runs.undrawn import undrawn_of

    first = runs[0][2]
    image = first["summary"][ranked_metric("image").name] is not None
    metrics = metrics_in("summary", "image" if image else "video")
    title = f"{first['benchmark']['name']} {first['benchmark']['version'] or ''}, protocol {first['protocol']['name']}"
    if first["protocol"].get("oracle"):
        title += f", oracle {first['protocol']['oracle']}"
    table = Table(title=title, box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for head in (*(metric.brief or metric.label for metric in metrics), "fps", "n", "failed"):
        table.add_column(head, justify="right", no_wrap=True)
    for _, run, result in runs:
        summary = result["summary"]
        fps = run.get("fps")
        cells = [number(summary[metric.name]) for metric in metrics]
        cells += [number(fps, 0 if fps and fps >= 100 else 1), str(summary["episodes"]), str(summary["failed"])]
        table.add_row(result["model"]["name"], *cells)
    Console().print(table)
    for _, _, result in runs:
        undrawn = undrawn_of(result)
        if undrawn is not None:
            limit = result["protocol"].get("limit_episodes")
            click.echo(undrawn.text + (f"; the run is limited to {limit} episodes and never ranked" if limit else ""))
