"""icvos export: benchmarks and runs in the forms that other tools read, and the check of what was made so."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from icvos.exports.formats import FORMATS
from icvos.terminal import echo


class ExportCommand(click.Command):
    """A command whose help ends with the forms and what each is."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Forms"):
            formatter.write_dl([(f"{form.name} ({', '.join(form.of)})", form.text) for form in FORMATS])


# A format of benchmarks and one of runs may share a name.
NAMES = list(dict.fromkeys(form.name for form in FORMATS))


class ExportGroup(click.Group):
    """A group of which one command, ``unnamed``, need not be named."""

    unnamed = "write"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = [self.unnamed, *args]
        return super().parse_args(ctx, args)


@click.group(cls=ExportGroup)
def command() -> None:
    """Write a benchmark or a run in the form of another tool: icvos export BENCH|RUN --to FORM.

    \b
    icvos export runs/demo/histogram --to csv
    icvos export demo --to ytvis
    icvos export check exports/demo-histogram-csv
    """


@command.command(cls=ExportCommand, short_help="Write a benchmark or a run in another form (write may be left out).")
@click.argument("subject", metavar="BENCH|RUN")
@click.option("--to", required=True, type=click.Choice(NAMES), metavar="FORM", help="One of the forms below.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The folder, or the file; default exports/NAME-FORM (of a run BENCH-RUN-FORM), or beside BENCH.",
)
@click.option("--with-frames", is_flag=True, help="The images too, where their licences let you pass them on.")
@click.option("--link", is_flag=True, help="Hard-link images instead of copying.")
@click.option("--dataset", default="", help="Of a run for hub: the benchmark's data set there, OWNER/NAME[@COMMIT].")
@click.option(
    "--date",
    default="",
    metavar="ISO",
    help="As 2026-11-28; of a run by default the day on which it began, of a competition when it starts (UTC).",
)
@click.option("--source", default="", help="Of a run for hub: where its record can be read, https://….")
@click.option("--url", default="", help="Of croissant: the address of the folder that will hold it and BENCH.")
@click.option("--benchmark", metavar="BENCH", default="", help="Of a run: where its benchmark is, if it was moved.")
@click.option("--protocol", default="", help="The protocol that is scored by; default the benchmark's own.")
@click.option("--shots", type=click.IntRange(1), help="Supports of an episode; default 1, or its list's.")
@click.option("--title", default="", help="Of the competition; default the benchmark's name.")
@click.option("--end-date", default="", metavar="ISO", help="When it ends; default never.")
@click.option("--docker-image", default="", help="In which masks are scored; default python:3.11-slim.")
def write(subject: str, to: str, out: Path | None, **told: Any) -> None:
    """Write BENCH, a built benchmark or demo…, or RUN, a run's folder or a board's record, in another form.

    A second call goes on where the first was stopped; the same twice is the same byte for byte.

    \b
    icvos export write runs/demo/histogram --to csv
    icvos export runs/demo/histogram --to hub --dataset OWNER/NAME
    icvos export demo --to croissant --date 2026-11-28
    """
    from icvos.benchmark import Benchmark
    from icvos.demo.benchmarks import open_benchmark
    from icvos.errors import BenchmarkError, InputError
    from icvos.exports.export import default_out, export
    from icvos.exports.formats import ExportOptions
    from icvos.leaderboard.record import open_run
    from icvos.progress import shown
    from icvos.runs.run import Run

    opened: Benchmark | Run
    if (Path(subject) / "run.json").is_file() or Path(subject).is_file():
        opened = open_run(subject)
    else:
        try:
            opened = open_benchmark(subject)[0]
        except BenchmarkError:
            if not Path(subject).is_dir() or (Path(subject) / "benchmark.json").is_file():
                raise
            expected = "a folder with run.json or benchmark.json"
            raise InputError("neither a run nor a benchmark", where=subject, expected=expected) from None
    out = out or default_out(opened, to)
    with shown("exported") as progress:
        fresh = export(opened, to, out, ExportOptions(**told), progress=progress)
    echo(f"{'written' if fresh else 'it is there already, whole'}: {out}")
    echo(f"check: icvos export check {shlex.quote(str(out))}")


@command.command(short_help="Check that an export is whole and of its form.")
@click.argument("path", metavar="EXPORT", type=click.Path(path_type=Path))
def check(path: Path) -> None:
    """Check every hash of EXPORT, a folder or a file, and that it is of its form.

    \b
    icvos export check exports/demo-histogram-csv
    """
    from icvos.errors import InputError, name_some
    from icvos.exports.export import check_export

    problems = check_export(path)
    if problems:
        raise InputError(name_some(problems), where=path, fix="export it again to another --out")
    echo(f"ok: {path} is whole")
