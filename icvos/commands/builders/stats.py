"""icvos build-data stats: what is in a built benchmark."""

from __future__ import annotations

from pathlib import Path

import click

from icvos.errors import counted
from icvos.terminal import echo


@click.command()
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw a figure: categories, lengths, sizes, motion, visibility, supports (PNG, PDF or SVG).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(benchmark: Path, plot: Path | None, as_json: bool) -> None:
    """Count BENCHMARK: a row in the form of the paper's Table I beside the paper's own, categories, sources.

    \b
    icvos build-data stats demo
    """
    from icvos.builders.stats import benchmark_stats, measure_masks, plot_stats, table_rows
    from icvos.demo.benchmarks import load_benchmark
    from icvos.errors import UsageError
    from icvos.files import to_json
    from icvos.manifest import verify_tables
    from icvos.progress import shown
    from icvos.terminal import Column, print_table

    opened = load_benchmark(benchmark)
    verify_tables(opened)
    stats, masks = benchmark_stats(opened), None
    if plot is not None:
        if plot.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise UsageError(f"a plot cannot be written as '{plot.suffix}'", where=plot, expected=".png, .pdf or .svg")
        with shown("stats") as progress:
            masks = measure_masks(opened, progress=progress)
        plot_stats(stats, masks, plot)
    if as_json:
        echo(to_json(stats.as_dict() | (masks.as_dict() if masks else {})), nl=False)
        return
    print_table(
        [
            Column.of_names("data set"),
            *map(Column, ("videos", "mean frames", "total frames", "classes")),
            Column("ann.", "left"),
        ],
        table_rows(stats),
        title="Table I of the paper, and this benchmark",
        leave_out=("ann.",),
    )
    categories = [(name, f"{pairs:,}", f"{visible:,}") for name, (pairs, visible) in stats.categories.items()]
    print_table([Column.of_names("category"), Column("pairs"), Column("visible frames")], categories)
    sources = [(name, *(f"{count:,}" for count in counts)) for name, counts in stats.sources.items()]
    print_table([Column.of_names("source"), *map(Column, ("videos", "frames", "pairs"))], sources)
    said = ", ".join(f"{value} {count:,}" for value, count in stats.complete.items())
    echo(f"pairs wholly annotated: {said}; {counted(stats.episodes, 'episodes')}, {stats.supports:,} support images")
    if plot is not None:
        echo(f"plot: {plot}")
