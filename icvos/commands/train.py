"""icvos train NAME: train a method, in one process or under torchrun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from icvos.commands.options import FiniteRange, check_device, parse_weights
from icvos.errors import IcvosError, UsageError, printable
from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.training.loop import Trainer
    from icvos.training.task import TrainingTask


class _TrainCommand(click.Command):
    """A command whose help goes on with what the task named takes."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        if ctx.params.get("name"):
            _write_task(ctx.params["name"], formatter)


# Help comes after the name, whichever stands first on the command line: hence which of them is eager.
@click.command(cls=_TrainCommand)
@click.help_option("-h", "--help", is_eager=False, help="Show this message, with NAME also what it takes.")
@click.argument("name", required=False, is_eager=True)
@click.option("--list", "listing", is_flag=True, help="List what can be trained, a line each.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="The run's folder; default runs/train/NAME.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of NAME; repeatable.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="NAME=PATH",
    help="Weights to start from, or 'demo': what is shipped for NAME; repeatable.",
)
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
@click.option(
    "--average",
    type=FiniteRange(0, 1, max_open=True),
    help="Decay of an exponential mean of the weights, which is what is kept; 0 takes none.",
)
@click.option("--workers", type=click.IntRange(0), help="Data-loading processes a rank.")
@click.option("--validate-every", type=click.IntRange(0), help="Epochs between validations; 0 never.")
@click.option("--save-every", type=click.IntRange(0), help="Steps between checkpoints; 0 at the end of epochs only.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of every random choice.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads a process; default torch's own choice.")
@click.option("--dry-run", is_flag=True, help="Time a few steps, say what the training costs, write nothing.")
def command(
    name: str | None,
    listing: bool,
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
    With nothing but this repository, on the drawn world:
      icvos train demo-sam2 --max-steps 3 --batch 4 --set length=12 --out runs/train/try
    On 4 GPUs:
      torchrun --nproc-per-node 4 -m icvos.cli train NAME …
    """
    if listing:
        _list_tasks()
        return
    if name is None:
        context = click.get_current_context()
        if any(context.get_parameter_source(each) is not ParameterSource.DEFAULT for each in context.params):
            raise UsageError("nothing to train is named", fix="icvos train --list shows what there is")
        echo(context.get_help())
        return
    from icvos.training.task import resolve_task

    cls = resolve_task(name)  # before torch is imported: this says what is to be installed
    import torch

    from icvos.files import lock_folder
    from icvos.models.options import group_options, parse_options
    from icvos.plugins import plugin_code
    from icvos.progress import Update, shown, verbosity
    from icvos.training.distribute import open_world
    from icvos.training.loop import Trainer

    if device:
        check_device(device)
    if threads:
        torch.set_num_threads(threads)
    files = _files(name, weights)
    given = group_options(cls, parse_options(cls, settings))
    with plugin_code(f"'{name}' cannot be trained"):
        task = cls(weights=files, **given)  # type: ignore[call-arg]
        defaults = task.defaults()
    chosen = replace(defaults, **{k: v for k, v in changes.items() if v is not None})
    folder = out or Path("runs") / "train" / name.replace(":", "-")
    with open_world(device or ("cuda" if torch.cuda.is_available() else "cpu")) as world:

        def say(line: str) -> None:
            if world.main:
                # click.echo would write past what keeps text and the line of progress apart on a terminal.
                print(printable(line, "\n\t"), flush=True)

        if dry_run:
            from icvos.training.trial import try_steps

            trainer = Trainer(task, replace(chosen, workers=0), world, folder, say=say)
            _introduce(trainer)
            for line in try_steps(trainer, workers=chosen.workers).lines():
                say(line)
            return
        with shown(name, quiet=not world.main) as told:
            first = True

            def progress(step: int, steps: int, values: dict[str, float]) -> None:
                nonlocal first
                figures = _figures(values)
                if verbosity.level >= 0 and (first or step == steps):
                    say(f"step {step:,} of {steps:,}: {figures}")
                first = False
                told(Update("steps", step, steps, figures))

            trainer = Trainer(task, chosen, world, folder, say=say, progress=progress)
            _introduce(trainer)
            if world.main:
                with lock_folder(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    summary = trainer.fit()
            else:
                summary = trainer.fit()
        best = f", best mIoU {summary['best_mIoU']:.2f}" if summary["best_mIoU"] is not None else ""
        results = f"weights: {folder / 'last.safetensors'}, curves: {folder / 'curves.png'}"
        say(f"{summary['steps']} steps{best}; {results}")


def _figures(values: dict[str, float]) -> str:
    """Return what a step's line says, what matters most first; nothing is known of the pace after the first step."""
    figures = [f"loss {values['loss']:.4f}", f"lr {values['lr']:.1e}"]
    if "examples_per_second" in values:
        figures.append(f"{values['examples_per_second']:.2f} examples/s")
    return ", ".join([*figures, f"waits {values['wait']:.0%}"])


def _introduce(trainer: Trainer) -> None:
    """Say what is trained, and what the task has to say."""
    from icvos.foundation.construct import count_parameters

    trained = sum(p.numel() for p in trainer.parameters)
    total = count_parameters(trainer.model)
    trainer.say(
        f"{trainer.task.name}: {trained:,} of {total:,} parameters are trained, {len(trainer.examples):,} examples an "
        f"epoch, {trainer.steps:,} steps, {trainer.world.size} process(es) on {trainer.world.device}"
    )
    for note in trainer.task.notes(trainer.model):
        trainer.say(note)


def _list_tasks() -> None:
    """Print each task's name and the first line of its docstring; what cannot be imported goes to standard error."""
    from icvos.plugins import plugin_targets, said
    from icvos.training.task import GROUP, resolve_task

    names = list(plugin_targets(GROUP))
    width = max(map(len, names), default=0) + 2
    for name in names:
        try:
            line = _first_line(resolve_task(name))
        except Exception as error:  # whatever a plugin's module raises: the others are listed all the same
            text = str(error) if isinstance(error, IcvosError) else said(error)
            echo(f"{name} cannot be imported: {text}", err=True)
        else:
            echo(f"{name:{width}}{line}")
    echo("'icvos train NAME --help' says what each takes.")


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _files(name: str, weights: Sequence[str]) -> dict[str, Path]:
    """Return files of weights by name; the word ``demo`` is the one shipped with the method of the trainer's name."""
    from icvos.models.registry import DEMO, names, resolve

    given = parse_weights(weights)
    shipped = resolve(name).demo_weights() if DEMO in given.values() and name in names() else {}
    for key, path in given.items():
        if path == DEMO and key not in shipped:
            fix = f"shipped are: {', '.join(shipped)}" if shipped else f"give --weights {key}=PATH"
            raise UsageError(f"trainer '{name}' comes without demo weights '{key}'", fix=fix)
    return {key: shipped[key] if path == DEMO else Path(path) for key, path in given.items()}


def _write_task(name: str, formatter: click.HelpFormatter) -> None:
    """Write a task's own options, weights and settings."""
    from icvos.models.options import option_help
    from icvos.training.task import resolve_task

    cls = resolve_task(name)
    with formatter.section(name):
        formatter.write_text(_first_line(cls))
    options = option_help(cls)
    if options:
        with formatter.section(f"Options of {name}, --set KEY=VALUE"):
            formatter.write_dl(list(options.items()))
    if cls.known_weights:
        with formatter.section(f"Weights of {name}, --weights NAME=PATH"):
            formatter.write_dl(list(cls.known_weights.items()))
    defaults = _defaults(cls)
    if defaults:
        with formatter.section(f"Defaults of {name}"):
            formatter.write_text(defaults)


def _defaults(cls: type[TrainingTask]) -> str:
    """Return a task's settings as options of the command; "" where it must be told something before it has any."""
    from dataclasses import asdict

    try:
        settings = asdict(cls().defaults())
    except (IcvosError, TypeError):
        return ""
    known = {param.name for param in command.params}
    return " ".join(
        f"--{name.replace('_', '-')} {value}" for name, value in settings.items() if name in known and value is not None
    )
