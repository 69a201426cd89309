"""icvos submit: pack and check submissions."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from icvos.terminal import echo


@click.group()
def command() -> None:
    """Pack a run as a submission, and check one that was sent.

    \b
    icvos submit pack runs/demo/histogram --out submission.zip
    """


@command.command(short_help="Pack a run as a submission.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The archive; default RUN.zip beside the run.")
@click.option("--masks/--no-masks", default=True, show_default=True, help="Without masks a row stays self-reported.")
@click.option("--predictions", type=click.Path(path_type=Path), help="The masks that icvos score scored.")
@click.option("--submitter", help="Who sends it: a record is replaced by the same one's alone.")
def pack(run: Path, out: Path | None, masks: bool, predictions: Path | None, submitter: str | None) -> None:
    """Pack RUN, a folder of icvos evaluate or icvos score, as one archive.

    \b
    icvos submit pack runs/demo/histogram --out submission.zip
    """
    from icvos.files import real_path
    from icvos.leaderboard.archive import pack as write
    from icvos.leaderboard.consistency import check_name, check_values, recompute
    from icvos.leaderboard.judge import partial
    from icvos.runs.run import Run

    entry = Run.open(run)
    names = check_name(entry.run["benchmark"])
    problems = check_values(entry) or names or partial(entry) or recompute(entry)
    if problems:
        from icvos.errors import RunError

        raise RunError(
            f"the run would be refused: {problems[0]}",
            where=run,
            fix="" if problems is names else "evaluate or score again, whole and without an oracle",
        )
    path = out or real_path(run).with_name(real_path(run).name + ".zip")
    count = write(run, path, masks=masks, predictions=predictions, submitter=submitter)
    echo(f"packed {count} files, {path.stat().st_size / 1e6:.1f} MB: {path}")
    folder = entry.run["environment"].get("benchmark_folder")
    where = "" if entry.benchmark_name.startswith("demo") or not folder else f" --benchmark {shlex.quote(str(folder))}"
    echo(f"next: icvos submit check {shlex.quote(str(path))}{where}")


@command.command(short_help="Judge a submission or a run.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--benchmark", help="The benchmark's folder, or demo…; default one that the board knows, or a demo.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that score masks.")
def check(file: Path, benchmark: str | None, workers: int) -> None:
    """Judge FILE, a packed submission or a run folder: no GPU is needed, and nothing of it is run.

    \b
    icvos submit check submission.zip --benchmark demo
    """
    from icvos.leaderboard.benchmarks import known_benchmarks
    from icvos.leaderboard.board import default_board
    from icvos.leaderboard.judge import judge, opened_run
    from icvos.progress import shown

    known = known_benchmarks(default_board())
    with opened_run(file) as sent, shown("re-scoring") as advance:
        judgement = judge(sent.folder, benchmark, known=known, workers=workers, progress=advance, name=file)
    for line in judgement.checks:
        echo(f"ok: {line}")
    entry = judgement.entry
    score = f"{entry.rules.score} {entry.score:.2f}"
    echo(f"{entry.label} on {entry.benchmark_name}, {entry.protocol}: {score}, {judgement.checked}")
