"""icvos merge: join the shards of a run."""

from __future__ import annotations

from pathlib import Path

import click

from icvos.terminal import echo


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The whole run's folder.")
@click.option("--benchmark", default=None, help="The benchmark's folder; default where the shards read it.")
def command(runs: tuple[Path, ...], out: Path, benchmark: str | None) -> None:
    """Join RUNS, made with --shard 1/N … N/N, to one: the same result.json, byte for byte, as a run without shards.

    \b
    icvos merge S1 S2 --out R
    """
    from icvos.commands.show import summary_table
    from icvos.runs.merge import merge_runs
    from icvos.runs.run import Run

    result = merge_runs(list(runs), out, benchmark)
    summary_table([Run.open(out)])
    echo(f"run: {out}")
    if result["summary"]["failed"]:
        echo(f"{result['summary']['failed']} of {result['summary']['episodes']} episodes failed", err=True)
        raise SystemExit(1)
