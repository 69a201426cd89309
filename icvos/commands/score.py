"""icvos score: score masks made anywhere, by any language."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from icvos.commands.options import ProtocolOption
from icvos.terminal import echo

MAX_DIFFERENCES = 20
"""Lines of a toy's differences that are printed, at most."""


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path), required=False)
@click.option("--benchmark", help="A built benchmark's folder, or demo[/coco-20i|…].")
@click.option("--ground-truth", type=click.Path(path_type=Path), help="A folder of SEQUENCE/FRAME.png label maps.")
@click.option(
    "--protocol",
    "name",
    default="",
    cls=ProtocolOption,
    help="Default: the benchmark's, davis-2017 with --ground-truth.",
)
@click.option(
    "--all-protocols",
    is_flag=True,
    help="Score by each protocol that can be applied, and print what they differ by, and what each was made for.",
)
@click.option("--json", "as_json", is_flag=True, help="With --all-protocols: print JSON instead of a table.")
@click.option(
    "--unseen",
    metavar="FILE|NAMES",
    default="",
    help="With lvos-v2: videos or categories that are unseen, a name a line, or with commas between.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run's folder; default runs/NAME/PREDICTIONS. With --toy: where the toy is copied.",
)
@click.option("--model", "model_name", help="What the method is called in tables; default the predictions' name.")
@click.option("--version", "model_version", default="1", show_default=True, help="The method's version.")
@click.option(
    "--shots",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Supports the method was shown, for the record.",
)
@click.option(
    "--access", metavar="online|lookahead:N|offline", help="Frames the method read for a mask: none ahead, N, or all."
)
@click.option(
    "--uses",
    multiple=True,
    type=click.Choice(["text", "class-names"]),
    help="What the method was told beside supports; repeatable.",
)
@click.option(
    "--oracle", metavar="first-frame", help="The method was told frame 0's ground truth; stands apart, never ranked."
)
@click.option(
    "--trained-on",
    metavar="NAMES",
    help="By comma: data sets with a colon and their split (coco2014:train), and categories without one (dog).",
)
@click.option("--sequences", help="With --ground-truth: a file with a name a line, or names with commas between.")
@click.option("--split", help="With --ground-truth: a list of the data set, as val of ImageSets/2017/val.txt.")
@click.option(
    "--objects",
    type=click.Choice(["first-frame", "up-to-largest", "all"]),
    help="With --ground-truth: whose ids are scored; default first-frame of davis-2017, up-to-largest (1, 2, … up to "
    "the largest of the first frame) of vost, all of the others.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option(
    "--toy", metavar="PROTOCOL", help="Score a protocol's golden toy, and compare every figure with the expected one."
)
@click.pass_context
def command(
    context: click.Context,
    predictions: Path | None,
    benchmark: str | None,
    ground_truth: Path | None,
    name: str,
    all_protocols: bool,
    as_json: bool,
    unseen: str,
    out: Path | None,
    model_name: str | None,
    model_version: str,
    shots: int,
    access: str | None,
    uses: tuple[str, ...],
    oracle: str | None,
    trained_on: str | None,
    sequences: str | None,
    split: str | None,
    objects: Literal["first-frame", "up-to-largest", "all"] | None,
    workers: int,
    toy: str | None,
) -> None:
    """Score PREDICTIONS: a folder or .zip of NAME/00000.png, or COCO run lengths in a .json.

    With --benchmark NAME is an episode's id, and masks hold 0 and 1. With --ground-truth NAME is a sequence, and masks
    hold object ids. With --toy both come with icvos, and the status is 1 where a figure differs. Needs no torch.

    \b
    icvos score PREDICTIONS --benchmark B --out RUN
    icvos score PREDICTIONS --ground-truth DAVIS --split val --protocol davis-2017 --out RUN
    icvos score PREDICTIONS --benchmark B --all-protocols --json
    icvos score --toy davis-2017
    """
    from icvos.commands.show import summary_table
    from icvos.errors import UsageError
    from icvos.evaluation.score import score
    from icvos.files import real_path
    from icvos.processes import keep_memory
    from icvos.runs.run import Run

    keep_memory()
    if toy is not None:
        _score_toy(context, toy, out, workers)
        return
    if predictions is None:
        raise click.MissingParameter(ctx=context, param_hint="'PREDICTIONS'", param_type="argument")
    if all_protocols and name:
        raise UsageError("--all-protocols goes without --protocol", fix="give one of them")
    if as_json and not all_protocols:
        raise UsageError("--json needs --all-protocols", fix="icvos show RUN --csv prints the figures of one run")
    title = model_name or real_path(predictions).stem
    notes: list[str] = []
    settings: dict[str, Any] = {
        "benchmark": benchmark,
        "ground_truth": ground_truth,
        "unseen": unseen or (),
        "out": out,
        "model": title,
        "version": model_version,
        "shots": shots,
        "access": access,
        "uses": uses,
        "oracle": oracle,
        "trained_on": [name.strip() for name in (trained_on or "").split(",") if name.strip()],
        "sequences": sequences,
        "split": split,
        "objects": objects,
        "workers": workers,
        "progress": True,
        "notify": notes.append,
    }
    if all_protocols:
        _score_spread(predictions, settings, as_json)
        return
    result = score(predictions, protocol=name, **settings)
    summary_table([Run.open(result.folder)])
    for note in notes:
        echo(note)
    echo(f"run: {result.folder}")


def _score_spread(predictions: Path, settings: dict[str, Any], as_json: bool) -> None:
    import json

    from icvos.commands.show import number
    from icvos.evaluation.spread import score_spread
    from icvos.terminal import Column, print_table

    spread = score_spread(predictions, **settings)
    if as_json:
        echo(json.dumps(spread.as_json(), indent=2, ensure_ascii=False))
        return
    first = spread.rows[0].run
    parts = list(dict.fromkeys(part for row in spread.rows for part in row.run.rules.parts))
    rows = []
    for row in spread.rows:
        summary, rules = row.run.summary, row.run.rules
        cells = [number(summary.get(part)) for part in parts]
        less = "-" if row.difference is None else f"{row.difference:+.2f}"
        told = f"{rules.score} {number(summary[rules.score])}"
        rows.append([row.run.protocol, *cells, told, less, rules.made_for or "any"])
    heads = [Column(part) for part in parts]
    print_table(
        [
            Column.of_names("protocol"),
            *heads,
            Column("score"),
            Column(f"less {first.protocol}"),
            Column.words("made for"),
        ],
        rows,
        title=f"{first.full_name} on {first.benchmark_name}, percent",
    )
    for name, why in spread.left_out.items():
        echo(f"left out: {name}: {why}")
    echo(f"json: {spread.folder / 'protocols.json'}")


def _score_toy(context: click.Context, name: str, out: Path | None, workers: int) -> None:
    from click.core import ParameterSource

    from icvos.commands.show import summary_table
    from icvos.errors import UsageError
    from icvos.evaluation.toys import copy_toy, score_toy, toy_folder

    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name not in ("toy", "out", "workers") and source is ParameterSource.COMMANDLINE:
            name_of = option.opts[0] if isinstance(option, click.Option) else option.human_readable_name
            raise UsageError(f"--toy goes without {name_of}", fix="see icvos score --help")
    folder = toy_folder(name) if out is None else copy_toy(name, out)
    scored = score_toy(name, folder=folder, workers=workers)
    summary_table([scored.run])
    for note in scored.notes:
        echo(note)
    for line in scored.differences[:MAX_DIFFERENCES]:
        echo(f"differs: {line}")
    if not scored.differences:
        echo(f"agrees: all {scored.figures} figures are exactly those expected")
    elif len(scored.differences) > MAX_DIFFERENCES:
        echo(f"{len(scored.differences)} of {scored.figures} figures differ")
    echo(f"toy: {folder}")
    context.exit(1 if scored.differences else 0)
