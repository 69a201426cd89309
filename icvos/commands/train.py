"""icvos train NAME: train a method, in one process or under torchrun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.commands.options import FiniteRange, check_device, parse_weights


@click.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="The run's folder; default runs/train/NAME.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the task; repeatable.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Weights to start from; repeatable.")
@click.option("--device", default=None, help="cpu or cuda; default cuda where there is one.")
@click.option("--epochs", type=click.IntRange(1), help="Default: the authors'.")
@click.option("--max-steps", type=click.IntRange(1), help="Stop after so many optimiser steps.")
@click.option("--batch", type=click.IntRange(1), help="Examples a process and step.")
@click.option("--accumulate", type=click.IntRange(1), help="Batches a step.")
@click.option("--lr", type=FiniteRange(0, min_open=True), help="Learning rate of AdamW.")
@click.option("--weight-decay", type=FiniteRange(0), help="Of AdamW.")
@click.option("--warmup", type=click.IntRange(0), help="Steps of linear warm-up.")
@click.option("--clip", type=FiniteRange(0, min_open=True), help="Largest gradient norm.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="bf16: autocast.")
@click.option("--workers", type=click.IntRange(0), help="Data-loading processes a rank.")
@click.option("--validate-every", type=click.IntRange(0), help="Epochs between validations; 0 never.")
@click.option("--save-every", type=click.IntRange(0), help="Steps between checkpoints; 0 at the end of epochs only.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of every random choice.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads a process; default torch's own choice.")
@click.option("--dry-run", is_flag=True, help="Do one step, say what it costs, write nothing.")
def command(
    name: str,
    out: Path | None,
    settings: tuple[str, ...],
    weights: tuple[str, ...],
    device: str | None,
    threads: int | None,
    dry_run: bool,
    **changes: Any,
) -> None:
    """Train NAME. The same command again continues a stopped run.

    \b
    icvos train demo-sam2 --max-steps 3 --batch 4 --set length=12 --out runs/train/try
    On 4 GPUs:  torchrun --nproc-per-node 4 -m icvos.cli train NAME …
    """
    from dataclasses import replace

    import torch

    from icvos.models.options import group_options, parse_options
    from icvos.training.distribute import open_world
    from icvos.training.loop import Trainer
    from icvos.training.task import resolve_task

    if device:
        check_device(device)
    if threads:
        torch.set_num_threads(threads)
    cls = resolve_task(name)
    files = {key: Path(path) for key, path in parse_weights(weights).items()}
    task = cls(weights=files, **group_options(cls, parse_options(cls, settings)))  # type: ignore[call-arg]
    chosen = replace(task.defaults(), **{k: v for k, v in changes.items() if v is not None})
    folder = out or Path("runs") / "train" / name.replace(":", "-")
    with open_world(device or ("cuda" if torch.cuda.is_available() else "cpu")) as world:
        if dry_run:
            _dry_run(Trainer(task, chosen, world, folder, say=click.echo))
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        from icvos.commands.show import bars
        from icvos.files import lock_folder

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
        )
        with bars(*columns, quiet=not world.main) as bar:
            row = bar.add_task(name, total=None, figures="")

            def progress(step: int, steps: int, values: dict[str, float]) -> None:
                figures = f"loss {values['loss']:.4f}, lr {values['lr']:.2e}, waits {values['wait']:.0%}"
                bar.update(row, completed=step, total=steps, figures=figures)

            def say(line: str) -> None:
                if world.main:
                    click.echo(line)

            trainer = Trainer(task, chosen, world, folder, say=say, progress=progress)
            say(_overview(trainer))
            for note in task.notes(trainer.model):
                say(note)
            if world.main:
                with lock_folder(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    summary = trainer.fit()
            else:
                summary = trainer.fit()
        if world.main:
            best = f", best mIoU {summary['best_mIoU']:.2f}" if summary["best_mIoU"] is not None else ""
            results = f"weights: {folder / 'last.safetensors'}, curves: {folder / 'curves.png'}"
            click.echo(f"{summary['steps']} steps{best}; {results}")


def _overview(trainer: Any) -> str:
    from icvos.foundation.construct import count_parameters

    trained = sum(p.numel() for p in trainer.parameters)
    total = count_parameters(trainer.model)
    return (
        f"{trainer.task.name}: {trained:,} of {total:,} parameters are trained, {len(trainer.examples):,} examples an "
        f"epoch, {trainer.steps:,} steps, {trainer.world.size} process(es) on {trainer.world.device}"
    )


def _dry_run(trainer: Any) -> None:
    """Do two steps (the second is timed), and say what they cost."""
    import resource
    import time

    import torch

    from icvos.training.data import batches
    from icvos.training.loop import set_training_mode

    click.echo(_overview(trainer))
    for note in trainer.task.notes(trainer.model):
        click.echo(note)
    stream = iter(batches(trainer.task, trainer.examples, trainer.settings, trainer.world, 0, 2))
    set_training_mode(trainer.model)
    trainer.one_step(stream)
    begin = time.perf_counter()
    values, wait = trainer.one_step(stream)
    if trainer.world.device.type == "cuda":
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.perf_counter() - begin
    click.echo(
        f"one step: loss {values['loss']:.4f}, {seconds:.2f} s ({wait:.2f} s waiting), peak memory {peak:.2f} GiB; "
        f"{trainer.steps:,} steps would take about {seconds * trainer.steps / 3600:.1f} h"
    )
