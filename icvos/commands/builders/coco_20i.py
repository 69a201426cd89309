"""icvos build-data coco-20i: few-shot episodes on images, from COCO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.commands.builders.fewshot_options import build_and_print, fewshot_options, rules_of
from icvos.commands.builders.raw_options import tell_coco


@click.command()
@click.option(
    "--coco",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="COCO 2014: annotations, val2014, and train2014 for the record of training.",
)
@click.option("--split", default="val2014", show_default=True, help="Of queries and supports.")
@click.option("--train-split", default="train2014", show_default=True, help="What the folds train on.")
@fewshot_options("coco-20i", "authors", "matcher")
def command(coco: Path, split: str, train_split: str, **options: Any) -> None:
    """Build COCO-20i: frozen episodes of fss-native and fss-paper, four folds of 20 test categories.

    \b
    icvos build-data coco-20i --coco COCO --out B
    icvos build-data coco-20i --coco COCO --lists LISTS --episodes authors --out B
    icvos build-data coco-20i --coco COCO --lists LISTS --episodes matcher --out B
    """
    from icvos.builders.fewshot.plan import plan_coco20i
    from icvos.progress import shown

    rules = rules_of("coco-20i", options)
    tell_coco(coco, split, train_split)
    with shown("coco-20i") as progress:
        plan = plan_coco20i(
            coco, rules, split=split, train_split=train_split, lists=options["lists"], progress=progress
        )
        build_and_print(plan, options, progress)
