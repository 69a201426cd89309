"""icvos compare: two runs of one benchmark, paired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.terminal import echo


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for pictures and a page too.")
@click.option("--benchmark", type=click.Path(path_type=Path), help="The runs' benchmark; default where they say.")
@click.option("--each", default=3, show_default=True, type=click.IntRange(1, 20), help="Episodes drawn each way.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Lines printed each way.")
def command(a: Path, b: Path, out: Path | None, benchmark: Path | None, each: int, workers: int, top: int) -> None:
    """Compare runs A and B of one benchmark: paired differences with a 95 % interval, and where they come from.

    \b
    icvos compare runs/demo/histogram runs/demo/empty
    """
    from icvos.demo.benchmarks import benchmark_folder
    from icvos.report.compare import compare
    from icvos.report.run import open_run

    folder = benchmark and benchmark_folder(benchmark)
    result = compare(open_run(a, benchmark=folder), open_run(b, benchmark=folder))
    _print(result, top)
    if out is not None:
        from icvos.progress import shown
        from icvos.report.compare_page import write_comparison

        places = [(run, folder, None) for run in (a, b)]
        with shown("compare") as progress:
            files, problems = write_comparison(
                result, out, places=places, each=each, workers=workers, progress=progress
            )
        for line in problems:
            echo(line, err=True)
        for path in files:
            echo(path)


def _print(result: Any, top: int) -> None:
    from icvos.report.compare import wins
    from icvos.terminal import Column, print_table

    echo(f"A: {result.a.title}\nB: {result.b.title}")

    def show(title: str, rows: Any, name: str = "") -> None:
        columns = [Column.of_names(name), *(Column(head) for head in ("A", "B", "A less B"))]
        cells = [(label, f"{first:.2f}", f"{second:.2f}", f"{less:+.2f}") for label, first, second, less in rows]
        print_table(columns, cells, title=title)

    show("", [(name.replace("_", " "), *figures) for name, *figures in result.metrics], "percent")
    for title, rows in (("videos", result.by_video), ("categories", result.by_category)):
        if not rows:
            continue
        ahead, behind, equal = wins(rows)
        largest = [row for row in rows if row[3] > 1e-9][:top] + [row for row in rows if row[3] < -1e-9][:top][::-1]
        line = f"{title}: A ahead in {ahead}, B in {behind}, equal in {equal}"
        if largest:
            show(f"{line}; the largest differences", largest)
        else:
            echo(line)
    echo(result.verdict)
