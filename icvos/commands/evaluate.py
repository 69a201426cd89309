"""icvos evaluate: run a model on a benchmark and score it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.commands.options import FiniteRange, ProtocolOption, check_device, model_options, parse_weights
from icvos.errors import IcvosError, UsageError
from icvos.files import escape_id, read_file
from icvos.runs.shards import MAX_SHARDS, job_shard
from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.runs.run import Run


def _shard(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    index, slash, count = value.partition("/")
    number = int(count) if count.isdecimal() and len(count) < 10 else 0
    if index == "auto" and (not slash or 1 <= number <= MAX_SHARDS):
        return job_shard(os.environ, number or None)
    if not (index.isdecimal() and len(index) < 10 and 1 <= int(index) <= number <= MAX_SHARDS):
        raise click.BadParameter(
            f"'{value}' is no shard; expected i/N with i from 1 to N, auto, or auto/N; N at most {MAX_SHARDS:,}"
        )
    return int(index), number


def _names(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    from icvos.listing import names_of

    return tuple(names_of(value)) if value else ()


@click.command()
@click.option(
    "--model",
    "specs",
    required=True,
    multiple=True,
    help="A name (icvos models list), module:Class, file.py:Class, or 'exec:PROGRAM WORDS…'; several end in one table.",
)
@click.option(
    "--benchmark",
    default="demo",
    show_default=True,
    help="A built benchmark's folder, or demo[/coco-20i|…].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run's folder, or that of several models' runs; default runs/BENCHMARK/MODEL, and what is unusual.",
)
@click.option("--name", help="What the run is called in tables; its folder is then runs/BENCHMARK/NAME.")
@click.option(
    "--protocol",
    default="",
    cls=ProtocolOption,
    help="Default: the benchmark's.",
)
@click.option(
    "--unseen",
    default="",
    callback=_names,
    metavar="FILE|NAMES",
    help="With lvos-v2: videos or categories that are unseen, a name a line, or with commas between.",
)
@click.option("--shots", default=1, show_default=True, type=click.IntRange(1), help="Supports shown of each episode.")
@click.option("--seed", default=0, show_default=True, help="Of what models draw.")
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Processes; with --device cuda each on a GPU of its own, in turn; cuda:0,2 takes these two.",
)
@click.option("--per-gpu", type=click.IntRange(1), help="In place of --workers: so many on each GPU of --device.")
@click.option("--timeout", type=FiniteRange(0, min_open=True), help="Seconds that an episode may take.")
@click.option(
    "--shard",
    callback=_shard,
    metavar="I/N",
    help="Only this share of the videos; join with icvos merge. auto: the share of this task of a Slurm array; auto/N: "
    "also of an indexed Kubernetes job of N.",
)
@click.option("--save-masks", is_flag=True, help="Keep the predicted masks in the run's folder.")
@click.option("--limit-episodes", type=click.IntRange(1), help="Only the first so many; such a run is never ranked.")
@click.option("--limit-frames", type=click.IntRange(1), help="Only so many frames of each video; never ranked.")
@click.option(
    "--oracle", metavar="first-frame", help="Tell the method frame 0's ground truth in place of supports; never ranked."
)
@click.option(
    "--verify/--no-verify",
    default=None,
    help="Run one video again in a fresh process at the end, and compare; default: where that takes under a minute.",
)
@click.option(
    "--engine",
    default="local",
    show_default=True,
    metavar="local|ray",
    help="ray: on a Ray cluster, as many workers as it has room for.",
)
@click.option("--address", default="auto", show_default=True, metavar="auto|HOST:PORT", help="Of the Ray cluster.")
@click.option(
    "--cpus-per-worker",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="That a worker takes of it.",
)
@click.option(
    "--gpus-per-worker", type=FiniteRange(0), help="Likewise; 0.5 lets two share one; default 1 with --device cuda."
)
@click.option("--stage", is_flag=True, help="Ship the benchmark to the cluster's nodes, where they share no files.")
@click.option("--dry-run", is_flag=True, help="Time a few frames, say what the run costs, write nothing.")
@model_options
def command(
    specs: tuple[str, ...],
    benchmark: str,
    out: Path | None,
    settings: tuple[str, ...],
    weights: tuple[str, ...],
    device: str,
    python: str | None,
    isolated: bool,
    per_gpu: int | None,
    dry_run: bool,
    **values: Any,
) -> None:
    """Run a model on a benchmark, score it, and write a run folder.

    The same command again continues a run that was stopped, or prints the result of one that is complete.
    Exit status 1 if an episode failed.

    \b
    icvos evaluate --model histogram
    icvos evaluate --model histogram --model full --model empty
    icvos evaluate --model dcsam --dry-run         # disk, memory and hours, from a few frames
    icvos evaluate --model dcsam --benchmark B --weights dcsam=PATH --weights sam2=PATH --device cuda
    icvos evaluate --model dcsam --benchmark B --device cuda:0,2 --per-gpu 2       # four workers on two GPUs
    icvos evaluate --model my_method.py:MyMethod --python /envs/old/bin/python --benchmark B
    icvos evaluate --model my_method.py:MyMethod --isolated --benchmark B
    icvos evaluate --model 'exec:./run.sh --alpha 3' --benchmark B         # a program that reads and writes files
    icvos evaluate --model dcsam --benchmark B --engine ray --address HOST:6379 --cpus-per-worker 4
    """
    from icvos.commands.show import summary_table
    from icvos.evaluation.runner import evaluate
    from icvos.models.registry import resolve
    from icvos.models.specs import placed
    from icvos.processes import keep_memory, limit_memory
    from icvos.progress import verbosity
    from icvos.runs.run import Run

    keep_memory()
    specs = tuple(placed(spec, python=python, isolated=isolated, engine=values["engine"]) for spec in specs)
    models = _models(specs, settings, parse_weights(weights))
    if len(models) > 1 and values["name"]:
        raise UsageError("--name is of one run, and several models are given", fix="give one --model")
    if (values["engine"], device) != ("ray", "cuda") or dry_run:
        check_device(device, several=True)
    if per_gpu is not None:
        if values["engine"] == "ray":
            raise UsageError(
                "--per-gpu is of this machine's GPUs", fix="--gpus-per-worker 0.5 lets two share one on Ray"
            )
        values["workers"] = _workers(device, per_gpu)
    limit_memory(device)
    runs: list[Run] = []
    broken: list[IcvosError] = []
    for number, (spec, (options, files)) in enumerate(models.items(), 1):
        if len(models) > 1 and verbosity.level >= 0:
            echo(f"{number} of {len(models)}: {spec}", err=True)
        folder = out if out is None or len(models) == 1 else out / escape_id(resolve(spec).info.name, keep="+@=")
        try:
            if dry_run:
                _try(spec, benchmark, values, out=folder, device=device, weights=files, options=options)
                continue
            result = evaluate(
                spec,
                benchmark,
                out=folder,
                device=device,
                weights=files,
                options=options,
                progress=True,
                # Not by click: what it writes is not seen by the bar, which then stands in the same line.
                notify=lambda line: echo(line, err=True),
                **values,
            )
        except IcvosError as error:
            if len(models) == 1:
                raise
            broken.append(error)
            echo(f"{spec}: {error}", err=True)
            continue
        runs.append(Run.open(result.folder))
    if broken and not runs:
        raise broken[0]
    if dry_run:
        return
    summary_table(runs)
    for run in runs:
        _say(run)
    failed = [run for run in runs if run.summary["failed"]]
    for run in failed:
        of = f" of {run.model}" if len(runs) > 1 else ""
        echo(f"{run.summary['failed']} of {run.summary['episodes']} episodes{of} failed:", err=True)
        _failures(run.where)
    if broken:
        raise SystemExit(broken[0].exit_status)
    if failed:
        raise SystemExit(1)


def _workers(device: str, per_gpu: int) -> int:
    """Return how many workers ``--per-gpu`` means.

    Raises:
        UsageError: There is no GPU, or ``--workers`` says something too.
    """
    from icvos.evaluation.workers import count_gpus

    if not device.startswith("cuda"):
        raise UsageError(f"--per-gpu is of GPUs, and --device is {device}", fix="give --workers on the CPU")
    source = click.get_current_context().get_parameter_source("workers")
    if source is not click.core.ParameterSource.DEFAULT:
        raise UsageError("--per-gpu and --workers both say how many workers there are", fix="give one of them")
    return per_gpu * count_gpus(device)


def _try(spec: str, benchmark: str, values: Mapping[str, Any], **arguments: Any) -> None:
    """Say what a run would cost."""
    from icvos.costs import print_costs
    from icvos.evaluation.trial import try_run
    from icvos.runs.episodes import RunOptions

    settings = RunOptions(**{name: value for name, value in values.items() if name != "verify"})
    trial = try_run(spec, benchmark, settings, verify=values["verify"], **arguments)
    print_costs(f"{spec} on {benchmark}, which is not run", trial.costs())


def _models(
    specs: Sequence[str], settings: Sequence[str], weights: Mapping[str, str]
) -> dict[str, tuple[dict[str, Any], dict[str, str]]]:
    """Return each model's options and weights: of several models each takes what it knows.

    Raises:
        UsageError: No model of several takes a setting or a file of weights; or one alone does not.
    """
    from icvos.models.options import option_types, parse_options
    from icvos.models.registry import resolve

    classes = {spec: resolve(spec) for spec in specs}
    if len(classes) == 1:
        return {spec: (parse_options(cls, settings), dict(weights)) for spec, cls in classes.items()}
    names = [cls.info.name for cls in classes.values()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two models are called '{twice}'", fix="evaluate them one by one, each with a --name")
    options = {name for cls in classes.values() for name in option_types(cls)}
    files = {name for cls in classes.values() for name in cls.info.weights}
    unknown = [f"option '{key}'" for key in (text.partition("=")[0] for text in settings) if key not in options]
    unknown += [f"weights '{name}'" for name in weights if name not in files]
    if unknown:
        raise UsageError(f"no model of {', '.join(classes)} takes {unknown[0]}")
    return {
        spec: (
            parse_options(cls, [text for text in settings if text.partition("=")[0] in option_types(cls)]),
            {name: path for name, path in weights.items() if name in cls.info.weights},
        )
        for spec, cls in classes.items()
    }


def _say(run: Run) -> None:
    from icvos.runs.times import times_line

    oracle = run.result.get("oracle")
    if oracle is not None:
        name = oracle["name"] if run.vos else f"oracle {oracle['name']}"
        ranked = "" if run.vos else "; never ranked"
        echo(f"{name}: frame 0's ground truth was given as {oracle['given_as']}{ranked}")
        if oracle["absent_on_frame_0"]:
            all_ = run.summary["episodes"]
            echo(f"{oracle['absent_on_frame_0']} of {all_} episodes have nothing on frame 0 and count as empty")
    times = times_line(run.run.get("times"))
    if times:
        echo(times)
    echo(f"run: {run.where}")


def _failures(folder: Path, most: int = 5) -> None:
    import json

    lines = read_file(folder / "episodes.jsonl").splitlines()
    records = {record["id"]: record for record in map(json.loads, lines)}
    failed = [record for record in records.values() if record.get("error")]
    for record in failed[:most]:
        echo(f"  {record['id']}: {record['error'][:200]}", err=True)
    if len(failed) > most:
        echo(f"  … and {len(failed) - most} more in {folder / 'episodes.jsonl'}", err=True)
    echo("the same command again tries them again", err=True)
