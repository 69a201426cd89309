"""icvos build-data check: is a built benchmark whole?"""

from __future__ import annotations

from pathlib import Path

import click

from icvos.terminal import echo


@click.command()
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True, help="Only names, sizes and tables; read no pixels.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
def command(benchmark: Path, quick: bool, workers: int) -> None:
    """Check every hash, size, mask value, episode and orphan of BENCHMARK; exit 1 if anything is wrong.

    \b
    icvos build-data check demo
    """
    from icvos.builders.check import check_benchmark
    from icvos.demo.benchmarks import benchmark_folder
    from icvos.progress import shown

    with shown("check") as progress:
        problems = check_benchmark(benchmark_folder(benchmark), quick=quick, workers=workers, progress=progress)
    for problem in problems:
        echo(problem)
    if problems:
        echo(f"{len(problems)} problems; build it again, or fetch it again")
        raise SystemExit(1)
    echo(f"{benchmark}: all is well{' (names, sizes and tables)' if quick else ''}")
