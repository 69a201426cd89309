"""icvos evaluate: run a model on a benchmark and score it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.commands.options import FiniteRange, check_device, model_options, parse_weights


def _shard(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    index, slash, count = value.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise click.BadParameter(f"'{value}' is no shard; expected i/N with i from 1 to N")
    return int(index), int(count)


@click.command()
@click.option("--model", "spec", required=True, help="A name (icvos models list), module:Class, or file.py:Class.")
@click.option(
    "--benchmark", default="demo", show_default=True, help="A built benchmark's folder, or demo[/coco-20i|/pascal-5i]."
)
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder; default runs/BENCHMARK/MODEL.")
@click.option("--protocol", default="", help="native (default) or paper; fss-native (default) or fss-paper on images.")
@click.option("--shots", default=1, show_default=True, type=click.IntRange(1), help="Supports shown of each episode.")
@click.option("--seed", default=0, show_default=True, help="Of what models draw.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--timeout", type=FiniteRange(0, min_open=True), help="Seconds that an episode may take.")
@click.option("--shard", callback=_shard, metavar="I/N", help="Only this part of the videos; join with icvos merge.")
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
@model_options
def command(
    spec: str,
    benchmark: str,
    out: Path | None,
    settings: tuple[str, ...],
    weights: tuple[str, ...],
    device: str,
    **values: Any,
) -> None:
    """Run a model on a benchmark, score it, and write a run folder.

    The same command again continues a run that was stopped, or prints the result of one that is complete.
    Exit status 1 if an episode failed.

    \b
    icvos evaluate --model histogram
    icvos evaluate --model dcsam --benchmark B --weights dcsam=PATH --weights sam2=PATH --device cuda
    """
    from icvos.commands.show import summary_table
    from icvos.evaluation.runner import evaluate
    from icvos.models.options import parse_options
    from icvos.models.registry import resolve
    from icvos.processes import keep_memory, limit_memory
    from icvos.runs.run import Run

    keep_memory()
    files = parse_weights(weights)
    chosen = parse_options(resolve(spec), settings)
    check_device(device)
    limit_memory(device)
    result = evaluate(
        spec,
        benchmark,
        out=out,
        device=device,
        weights=files,
        options=chosen,
        progress=True,
        notify=lambda line: click.echo(line, err=True),
        **values,
    )
    folder = result.folder
    summary_table([Run.open(folder)])
    if "oracle" in result:
        oracle, all_ = result["oracle"], result["summary"]["episodes"]
        click.echo(f"oracle {oracle['name']}: frame 0's ground truth was given as {oracle['given_as']}; never ranked")
        if oracle["absent_on_frame_0"]:
            click.echo(f"{oracle['absent_on_frame_0']} of {all_} episodes have nothing on frame 0 and count as empty")
    click.echo(f"run: {folder}")
    if result["summary"]["failed"]:
        click.echo(f"{result['summary']['failed']} of {result['summary']['episodes']} episodes failed:", err=True)
        _failures(folder)
        raise SystemExit(1)


def _failures(folder: Path, most: int = 5) -> None:
    import json

    lines = (folder / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    records = {record["id"]: record for record in map(json.loads, lines)}
    failed = [record for record in records.values() if record.get("error")]
    for record in failed[:most]:
        click.echo(f"  {record['id']}: {record['error'][:200]}", err=True)
    if len(failed) > most:
        click.echo(f"  … and {len(failed) - most} more in {folder / 'episodes.jsonl'}", err=True)
    click.echo("the same command again tries them again", err=True)
