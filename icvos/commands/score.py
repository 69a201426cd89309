"""icvos score: score masks made anywhere, by any language."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--benchmark", help="A built benchmark's folder, or demo[/coco-20i|/pascal-5i].")
@click.option("--ground-truth", type=click.Path(path_type=Path), help="A folder of SEQUENCE/FRAME.png label maps.")
@click.option(
    "--protocol", "name", default="", help="native, paper; fss-native, fss-paper; davis-2017 with --ground-truth."
)
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder; default runs/NAME/PREDICTIONS.")
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
    type=click.Choice(["first-frame", "all"]),
    help="With --ground-truth: whose ids are scored; default first-frame of davis-2017, all of native.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
def command(
    predictions: Path,
    benchmark: str | None,
    ground_truth: Path | None,
    name: str,
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
    objects: Literal["first-frame", "all"] | None,
    workers: int,
) -> None:
    """Score PREDICTIONS: a folder or .zip of NAME/00000.png, or COCO run lengths in a .json.

    With --benchmark NAME is an episode's id, and masks hold 0 and 1. With --ground-truth NAME is a sequence, and masks
    hold object ids. Needs no torch.

    \b
    icvos score PREDICTIONS --benchmark B --out RUN
    icvos score PREDICTIONS --ground-truth DAVIS --split val --protocol davis-2017 --out RUN
    """
    from icvos.commands.show import summary_table
    from icvos.evaluation.score import score
    from icvos.processes import keep_memory
    from icvos.runs.run import Run

    keep_memory()
    title = model_name or predictions.resolve().stem
    notes: list[str] = []
    result = score(
        predictions,
        benchmark=benchmark,
        ground_truth=ground_truth,
        protocol=name,
        out=out,
        model=title,
        version=model_version,
        shots=shots,
        access=access,
        uses=uses,
        oracle=oracle,
        trained_on=[name.strip() for name in (trained_on or "").split(",") if name.strip()],
        sequences=sequences,
        split=split,
        objects=objects,
        workers=workers,
        progress=True,
        notify=notes.append,
    )
    summary_table([Run.open(result.folder)])
    for note in notes:
        click.echo(note)
    click.echo(f"run: {result.folder}")
