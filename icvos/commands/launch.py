"""icvos launch: write and send the jobs of a cluster, and say what is there of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from icvos.errors import UsageError, counted
from icvos.runs.shards import MAX_SHARDS
from icvos.terminal import echo


@click.group()
def command() -> None:
    """Run an evaluation or a training on a cluster.

    \b
    icvos launch slurm --shards 7 -- evaluate --model METHOD --benchmark B --out RUN
    """


@command.command()
@click.option("--shards", default=8, show_default=True, type=click.IntRange(1, MAX_SHARDS), help="Of an evaluation.")
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(1), help="Of a training.")
@click.option(
    "--processes", default=1, show_default=True, type=click.IntRange(1), help="Of a training, on each node: one a GPU."
)
@click.option(
    "--sbatch",
    "options",
    default="",
    metavar="WORDS",
    help="Options of sbatch, as one text; the merge gets none of GPUs.",
)
@click.option("--submit", "send", is_flag=True, help="Send the script too.")
@click.argument("words", nargs=-1, required=True)
def slurm(shards: int, nodes: int, processes: int, options: str, send: bool, words: tuple[str, ...]) -> None:
    """Write the script of a Slurm job beside the run's folder (RUN.slurm/job.sh) and print it.

    WORDS after -- are a command of icvos with --out: evaluate becomes an array of shards and a merge that waits for
    them, train a job of torchrun.

    \b
    icvos launch slurm --shards 7 -- evaluate --model METHOD --benchmark B --out RUN
    icvos launch slurm --sbatch "--partition=gpu --gres=gpu:1" --submit -- evaluate --model METHOD --out RUN
    icvos launch slurm --nodes 2 --processes 4 -- train dcsam --out RUN
    """
    from icvos.runs.slurm import evaluation_job, submit, training_job, write_job

    try:
        chosen = shlex.split(options)
    except ValueError as error:
        raise UsageError(f"--sbatch cannot be read: {error}", expected="options as on a command line") from None
    run, rest = _read(words)
    context = click.get_current_context()
    for name in ("nodes", "processes") if words[0] == "evaluate" else ("shards",):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise UsageError(f"--{name} is not of what is launched, {words[0]}", fix="icvos launch slurm --help")
    if words[0] == "evaluate":
        job = evaluation_job(rest, run, shards=shards, options=chosen, where=Path.cwd())
    else:
        job = training_job(words[1:], run, nodes=nodes, processes=processes, options=chosen, where=Path.cwd())
    script = write_job(job)
    echo(job.script)
    if send:
        numbers = submit(job)
        write_job(job, numbers)
        names = ("array", "merge") if job.shards else ("job",)
        echo(f"sent: {', '.join(f'{name} {number}' for name, number in zip(names, numbers))}")
    echo(f"script: {script}")


def _read(words: tuple[str, ...]) -> tuple[Path, list[str]]:
    """Return the run's folder that a command names, and what follows its name without ``--out``.

    Raises:
        UsageError: It is neither evaluate nor train, names nothing that is there, lacks --out, or takes what a job
            decides.
    """
    import importlib

    if words[0] not in ("evaluate", "train"):
        raise UsageError(f"'{words[0]}' cannot be launched", expected="-- evaluate … or -- train …")
    inner = importlib.import_module(f"icvos.commands.{words[0]}").command
    values = inner.make_context(f"icvos {words[0]}", list(words[1:])).params
    _check_name(values)
    if values["out"] is None:
        raise UsageError("the run's folder is not said", fix=f"-- {words[0]} … --out RUN, where all nodes see it")
    if values["dry_run"] or values.get("shard") or len(values.get("specs", ())) > 1:
        raise UsageError("a job takes one whole run", expected="one --model, without --shard and --dry-run")
    rest, left = [], list(words[1:])
    while left:
        word = left.pop(0)
        if word == "--out":
            left.pop(0)
        elif not word.startswith("--out="):
            rest.append(word)
    return values["out"], rest


def _check_name(values: Mapping[str, Any]) -> None:
    """Look for the models or the training that a command names, which a job would find out when its time has come.

    Raises:
        UsageError: One is not there, or none is named.
    """
    from icvos.models.registry import resolve
    from icvos.models.specs import placed
    from icvos.training.task import resolve_task

    if "specs" in values:
        for spec in values["specs"]:
            where = {name: values[name] for name in ("python", "isolated", "engine")}
            resolve(placed(spec, **where))
    elif values["name"] is None:
        raise UsageError("nothing to train is named", fix="icvos train --list shows what there is")
    else:
        resolve_task(values["name"])


@command.command()
@click.argument("run", type=click.Path(path_type=Path))
def status(run: Path) -> None:
    """Say which shards of RUN are complete, running or missing: from their folders, and from squeue where it is.

    \b
    icvos launch status RUN
    """
    from icvos.runs.slurm import shard_states

    states = shard_states(run)
    for index, state, episodes in states:
        echo(f"{index}/{len(states)}  {state:<11}  {counted(episodes, 'episodes')}")
    # A training has no shards.
    result, done = ("result.json", "merged") if states else ("training.json", "trained")
    finished = sum(state == "complete" for _, state, _ in states)
    shards = f"{finished} of {len(states)} shards complete, " if states else ""
    echo(f"{run}: {shards}{done if (run / result).is_file() else f'not {done} yet'}")
