"""icvos reproduce list | show | run | status | page: published figures, measured here."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.commands.options import check_device, parse_weights
from icvos.errors import IcvosError, UsageError
from icvos.files import work_folder
from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.reproduce.rung import Rung

_DATA = {
    "davis": "DAVIS-2017's folder.",
    "lvos": "LVOS v2's folder.",
    "coco": "COCO 2014's folder.",
    "ic-vos": "The authors' folder of IC-VOS.",
}
PATIENCE = 20.0
"""Seconds that a command has to keep what it has after Ctrl-C."""

_OUT = click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="The folder of all rungs.")


def _inputs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of raw data sets and of checkpoints, as ``davis``, …, and ``weights``."""
    weights = click.option(
        "--weights",
        multiple=True,
        metavar="NAME=PATH",
        help="A checkpoint, by its name in icvos weights list, that is not in the weights folder; repeatable.",
    )
    function = weights(function)
    for name, text in reversed(_DATA.items()):
        folder = click.Path(path_type=Path, file_okay=False)
        function = click.option(f"--{name}", type=folder, metavar="DIR", help=text)(function)
    return function


def _given(options: dict[str, Any]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Take folders and checkpoints from a command's options, by their names, as whole paths.

    Raises:
        UsageError: A checkpoint of an unknown name.
    """
    from icvos.foundation.checkpoints import checkpoint

    folders = {name: options.pop(name.replace("-", "_")) for name in _DATA}
    files = parse_weights(options.pop("weights"))
    data = {name: path.absolute() for name, path in folders.items() if path is not None}
    return data, {checkpoint(name).name: Path(path).absolute() for name, path in files.items()}


@click.group(invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Reproduce published figures, rung by rung; with no word at all, list the rungs.

    \b
    icvos reproduce
    icvos reproduce run sam2.1-tiny-davis17 --davis DAVIS --out OUT --device cuda
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_rungs)


@command.command("list")
def list_rungs() -> None:
    """List the rungs: what each measures, the printed figure, its cost and what it needs.

    \b
    icvos reproduce list
    """
    from icvos.reproduce.page import printed, tolerance
    from icvos.reproduce.rungs import RUNGS
    from icvos.terminal import Column, print_table

    rows = [
        (
            rung.name,
            rung.title,
            rung.figures[0].name,
            printed(rung),
            tolerance(rung.figures[0]),
            "?" if rung.hours is None else f"{rung.hours:g}",
            ", ".join((*rung.data, *rung.weights)),
        )
        for rung in RUNGS.values()
    ]
    columns = [Column("rung", "left"), Column.words("what", room=18), Column.words("figure"), Column("printed")]
    columns += [Column("tolerance"), Column("GPU-hours"), Column.words("needs")]
    print_table(columns, rows, title="The ladder", leave_out=("figure", "needs", "GPU-hours", "tolerance"))
    echo("'icvos reproduce show RUNG' has the sources, the commands and whom to suspect.")


@command.command("show")
@click.argument("name", metavar="RUNG")
def show(name: str) -> None:
    """Print RUNG as a protocol: what to fetch, check, run and expect, and whom to suspect.

    \b
    icvos reproduce show sam2.1-tiny-davis17
    """
    from icvos.reproduce.page import protocol
    from icvos.reproduce.rungs import get_rung

    echo(protocol(get_rung(name), level=1))


@command.command("run")
@click.argument("name", metavar="RUNG", required=False)
@click.option("--all", "every", is_flag=True, help="With --dry-run: every rung.")
@click.option(
    "--dry-run", is_flag=True, help="Try all commands on the demo's data with small weights; say what it needs."
)
@_OUT
@_inputs
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, …")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes of each command.")
def run(
    name: str | None, every: bool, dry_run: bool, out: Path | None, device: str, workers: int, **options: Any
) -> None:
    """Run the commands of RUNG, measure, and hold it against what is printed.

    The same command again goes on where it stopped. Exit status 1 if the figure is off, its data is not whole, or a
    command failed.

    \b
    icvos reproduce run sam2.1-tiny-davis17 --davis DAVIS --out OUT --device cuda
    icvos reproduce run sam2.1-tiny-davis17 --dry-run
    icvos reproduce run --all --dry-run
    """
    from icvos.reproduce.rungs import RUNGS, get_rung

    data, weights = _given(options)
    if every != (name is None) or (every and not dry_run):
        raise UsageError("no rung, or several", expected="RUNG, or --all with --dry-run")
    rungs = [get_rung(name)] if name is not None else list(RUNGS.values())
    if dry_run:
        if data or weights or out is not None:
            raise UsageError("--dry-run takes the demo's data and weights, in a temporary folder", fix="leave them out")
        _try(rungs)
        return
    if out is None:
        raise UsageError("nowhere to put what is measured", fix="give --out DIR, the folder of all rungs")
    check_device(device)
    _climb(rungs[0], data, weights, out.absolute(), device, workers)


def _climb(
    rung: Rung, data: Mapping[str, Path], weights: Mapping[str, Path], out: Path, device: str, workers: int
) -> None:
    from icvos.foundation.checkpoints import checkpoint
    from icvos.reproduce.ladder import check_inputs, climb, weights_path
    from icvos.reproduce.page import verdict_lines

    describe = check_inputs(rung, data, weights)
    values = {name: str(data[name]) for name in rung.data}
    values |= {name: str(weights_path(checkpoint(name), weights)) for name in rung.weights}
    values |= {"device": device, "workers": str(workers)}
    result = climb(rung, values, out, _call, device=device, describe=describe, say=click.echo)
    echo()
    for line in verdict_lines(rung, result):
        echo(line)
    echo(f"result: {out / rung.name / 'result.json'}")
    if str(result["verdict"]).startswith(("off", "not compared:")):
        raise SystemExit(1)


def _call(words: list[str]) -> int:
    """Run a command of icvos in a process of its own, which gives its memory back and may crash alone."""
    from icvos.progress import verbosity

    said = ["-q"] if verbosity.level < 0 else ["-v"] if verbosity.level > 0 else []
    sys.stdout.flush()
    process = subprocess.Popen([sys.executable, "-m", "icvos.cli", *said, *words])
    try:
        return process.wait()
    except BaseException as stop:
        # Ctrl-C reaches both, and the command keeps what it has; any other signal reached this process alone.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE if isinstance(stop, KeyboardInterrupt) else 0)
        process.terminate()
        process.wait()
        raise


def _call_here(words: list[str]) -> int:
    """Run a command of icvos in this process."""
    root = click.get_current_context().find_root().command
    try:
        return int(root.main(words, prog_name="icvos", standalone_mode=False) or 0)
    except SystemExit as stop:
        status = int(stop.code or 0)
        if status > 2:  # no status of a command: a signal ends all of it
            raise
        return status


def _try(rungs: list[Rung]) -> None:
    """Run all commands of some rungs on a drawn world, in a folder that goes afterwards; one that fails ends no other.

    Exit status 1 if a command failed.
    """
    from icvos.reproduce.ladder import climb, missing_extra
    from icvos.reproduce.page import needs
    from icvos.reproduce.stand_ins import shorten, stand_in_data, stand_in_weights

    failed: list[str] = []
    stack = ExitStack()
    folder = stack.enter_context(work_folder("icvos-reproduce"))
    try:
        data = {name: str(path) for name, path in stand_in_data(folder).items()}
        for rung in rungs:
            click.secho(f"\n{rung.name}: {rung.title}", bold=True)
            for line in needs(rung):
                echo(f"  {line}")
            lacking = missing_extra(rung)
            if lacking:
                echo(f"{rung.name}: not tried, without {', '.join(lacking)}")
                continue
            try:
                weights = {name: str(path) for name, path in stand_in_weights(rung, folder).items()}
                values = {**data, **weights, "device": "cpu", "workers": "1"}
                climb(rung, values, folder / "out", _call_here, say=click.echo, adapt=shorten)
            except (IcvosError, click.ClickException) as error:
                failed.append(rung.name)
                # To the output, where the command that failed stands.
                echo(f"{rung.name}: {error.format_message() if isinstance(error, click.ClickException) else error}")
            else:
                echo(f"{rung.name}: all {len(rung.steps)} commands go through")
    finally:
        stack.close()
    if failed:
        echo(f"{len(failed)} of {len(rungs)} rungs do not go through: {', '.join(failed)}", err=True)
        raise SystemExit(1)


@command.command("status")
@_OUT
@_inputs
@click.option("--markdown", is_flag=True, help="As a table in Markdown.")
def status(out: Path | None, markdown: bool, **options: Any) -> None:
    """Say of every rung whether it is reproduced, off, or not run, and what is missing for it.

    \b
    icvos reproduce status
    icvos reproduce status --out OUT --davis DAVIS --markdown
    """
    from icvos.reproduce.ladder import missing, no_gpu, read_results
    from icvos.reproduce.page import STATUS_HEADS, markdown_table, status_rows
    from icvos.reproduce.rungs import RUNGS
    from icvos.terminal import Column, print_table

    data, weights = _given(options)
    gpu = no_gpu()
    lacking = {name: [*missing(rung, data, weights), *gpu] for name, rung in RUNGS.items()}
    rows = status_rows(read_results(out), lacking)
    if markdown:
        echo(markdown_table(STATUS_HEADS, rows), nl=False)
        return
    columns = [Column(STATUS_HEADS[0], "left"), *(Column(head) for head in STATUS_HEADS[1:4])]
    print_table([*columns, Column.words(STATUS_HEADS[4])], rows, title="The ladder", leave_out=("tolerance",))


@command.command("page")
@_OUT
def write_page(out: Path | None) -> None:
    """Print the documentation's page, docs/how-to/reproduce.md: every rung as a protocol, and the state of OUT.

    \b
    icvos reproduce page
    """
    from icvos.reproduce.ladder import read_results
    from icvos.reproduce.page import page

    echo(page(read_results(out)), nl=False)
