"""icvos demo: the main job on the demo world, each step shown as the command that does it."""

from __future__ import annotations

import shlex
import time

import click

# Methods on the demo world, from the floors up; those whose weights or packages are not here are left out.
MODELS = (
    "empty",
    "full",
    "support-mask",
    "histogram",
    "histogram+sam2",
    "sam2-memory",
    "persam+sam2",
    "persam-f+sam2",
    "vrp-sam+sam2",
    "prototype+sam2",
    "pfenet+sam2",
    "dcsam",
)


@click.command()
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that evaluate.")
def command(workers: int) -> None:
    """Build the demo benchmark, run every method whose needs are met here on it, and show the table.

    \b
    icvos demo --workers 2
    """
    from icvos.models.needs import needs_of

    start = time.perf_counter()
    models = [name for name in MODELS if needs_of(name).status == "ready"]
    extra = ["--workers", str(workers)] if workers > 1 else []
    steps = [["build-data", "demo"], *(["evaluate", "--model", model, *extra] for model in models)]
    steps.append(["leaderboard", "show", "--benchmark", "demo"])
    failed = sum(_run(step) != 0 for step in steps)
    _others(models)
    click.echo(f"\n{len(steps)} commands in {time.perf_counter() - start:.0f} s; next: icvos --help, or the README")
    if failed:
        raise SystemExit(1)


def _others(run: list[str]) -> None:
    """Show the methods that were not run, and what each needs: no row of the table above is made without weights."""
    from icvos.models.needs import all_needs
    from icvos.terminal import Column, print_table

    rows = [
        (needs.name, needs.status, needs.text)
        for needs in all_needs()
        if not any(name == needs.name or name.startswith(f"{needs.name}+") for name in run)
    ]
    if rows:
        click.echo()
        columns = [Column("model", "left"), Column("status", "left"), Column.words("what to do")]
        print_table(columns, rows, title="Methods that were not run here")


def _run(arguments: list[str]) -> int:
    root = click.get_current_context().find_root().command
    click.secho(f"\n$ icvos {shlex.join(arguments)}", bold=True)
    try:
        return int(root.main(arguments, prog_name="icvos", standalone_mode=False) or 0)
    except SystemExit as stop:
        status = int(stop.code or 0)
        if status > 2:  # no status of a command: a signal ends the demo
            raise
        return status
