"""icvos build-data stats: what is in a built benchmark."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw the distributions (PNG, PDF or SVG).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(benchmark: Path, plot: Path | None, as_json: bool) -> None:
    """Count BENCHMARK: a row in the form of the paper's Table I beside the paper's own, categories, sources."""
    from icvos.benchmark import load_benchmark
    from icvos.builders.stats import benchmark_stats, plot_stats, table_rows
    from icvos.errors import UsageError
    from icvos.files import to_json
    from icvos.manifest import verify_tables

    opened = load_benchmark(benchmark)
    verify_tables(opened)
    stats = benchmark_stats(opened)
    if plot is not None:
        if plot.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise UsageError(f"a plot cannot be written as '{plot.suffix}'", where=plot, expected=".png, .pdf or .svg")
        plot_stats(stats, plot)
    if as_json:
        click.echo(to_json(stats.as_dict()), nl=False)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(
        "data set",
        "videos",
        "mean frames",
        "total frames",
        "classes",
        "ann.",
        title="Table I of the paper, and this benchmark",
        title_justify="left",
    )
    rows = table_rows(stats)
    for row in rows:
        table.add_row(*map(escape, row), style="bold" if row is rows[-1] else None)
    console.print(table)
    table = Table("category", "pairs", "visible frames")
    for name, (pairs, visible) in stats.categories.items():
        table.add_row(escape(name), f"{pairs:,}", f"{visible:,}")
    console.print(table)
    table = Table("source", "videos", "frames", "pairs")
    for name, counts in stats.sources.items():
        table.add_row(escape(name), *(f"{count:,}" for count in counts))
    console.print(table)
    said = ", ".join(f"{value} {count:,}" for value, count in stats.complete.items())
    console.print(f"pairs wholly annotated: {said}; {stats.episodes:,} episodes, {stats.supports:,} support images")
    if plot is not None:
        console.print(f"plot: {plot}")
