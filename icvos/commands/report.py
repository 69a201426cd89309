"""icvos report: pictures, videos, curves and tables of a run."""

from __future__ import annotations

from pathlib import Path

import click

from icvos.terminal import echo


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to; default RUN/report.")
@click.option("--benchmark", type=click.Path(path_type=Path), help="The run's benchmark; default where the run says.")
@click.option("--masks", type=click.Path(path_type=Path), help="Folder, zip or JSON of masks; default RUN/masks.")
@click.option("--each", default=0, type=click.IntRange(0), help="Only so many of best, median and worst are played.")
@click.option("--episode", "only", multiple=True, metavar="ID", help="These episodes instead; repeatable.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
def command(
    run: Path,
    out: Path | None,
    benchmark: Path | None,
    masks: Path | None,
    each: int,
    only: tuple[str, ...],
    workers: int,
) -> None:
    """Make a page (index.html) of the run in folder RUN: its figures, a table of all episodes and a player of each with
    support, ground truth, prediction and errors, J and F over time, bars by category, how much the support matters.

    Up to 25 MB of videos are in the page; more lie in a folder beside it. A contact sheet of the best, median and worst
    is written too. The same command again goes on where it was stopped.

    Pictures need the run's masks: icvos evaluate --save-masks.

    \b
    icvos report runs/demo/histogram
    """
    from icvos.categories import COCO80, episode_id
    from icvos.demo.benchmarks import benchmark_folder
    from icvos.progress import shown
    from icvos.report.report import write_report
    from icvos.report.run import open_run

    folder = benchmark and benchmark_folder(benchmark)
    opened = open_run(run, benchmark=folder, masks=masks)
    words = opened.benchmark.vocabulary if opened.benchmark else COCO80
    chosen = [episode_id(text, words, opened.by_id) for text in only]
    with shown("report") as progress:
        report = write_report(
            opened,
            out or run / "report",
            place=(run, folder, masks),
            each=each,
            only=chosen,
            workers=workers,
            progress=progress,
        )
    for line in report.problems:
        echo(line, err=True)
    for name in report.files:
        echo(report.root / name)
