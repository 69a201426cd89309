"""icvos report: pictures, videos, curves and tables of a run."""

from __future__ import annotations

from pathlib import Path

import click

from icvos.commands.options import FiniteRange
from icvos.terminal import echo


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to; default RUN/report.")
@click.option("--benchmark", type=click.Path(path_type=Path), help="The run's benchmark; default where the run says.")
@click.option("--masks", type=click.Path(path_type=Path), help="Folder, zip or JSON of masks; default RUN/masks.")
@click.option("--each", default=2, show_default=True, type=click.IntRange(1, 50), help="Of best, median and worst.")
@click.option("--episode", "only", multiple=True, metavar="ID", help="These episodes instead; repeatable.")
@click.option("--videos/--no-videos", default=True, help="Overlay videos (webm); of over 600 frames one in 2, 3, …")
@click.option("--fps", default=10.0, show_default=True, type=FiniteRange(1, 120), help="Of the videos.")
def command(
    run: Path,
    out: Path | None,
    benchmark: Path | None,
    masks: Path | None,
    each: int,
    only: tuple[str, ...],
    videos: bool,
    fps: float,
) -> None:
    """Draw the run in folder RUN: overlay videos, a contact sheet of the best, median and worst episodes, J and F over
    time, bars by category, how much the support matters, and a page (index.html) with all of it.

    Pictures need the run's masks: icvos evaluate --save-masks.

    \b
    icvos report runs/demo/histogram
    """
    from icvos.categories import COCO80, episode_id
    from icvos.demo.benchmarks import benchmark_folder
    from icvos.progress import shown
    from icvos.report.report import write_report
    from icvos.report.run import open_run

    opened = open_run(run, benchmark=benchmark and benchmark_folder(benchmark), masks=masks)
    words = opened.benchmark.vocabulary if opened.benchmark else COCO80
    chosen = [episode_id(text, words, opened.by_id) for text in only]
    with shown("report") as progress:
        report = write_report(
            opened, out or run / "report", each=each, only=chosen, videos=videos, fps=fps, progress=progress
        )
    for line in report.problems:
        echo(line, err=True)
    for name in report.files:
        echo(report.root / name)
