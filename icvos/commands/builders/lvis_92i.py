"""icvos build-data lvis-92i: few-shot episodes on images, from LVIS v1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.commands.builders.fewshot_options import build_and_print, fewshot_options, rules_of


@click.command()
@click.option(
    "--lvis",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="LVIS v1: lvis_v1_val.json; for Matcher's episodes its lvis_val.pkl.",
)
@click.option(
    "--coco",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="COCO 2017: train2017 and val2017.  [default: LVIS' coco, or LVIS' folder]",
)
@fewshot_options("lvis-92i-1shot, …", "matcher", folds=10, shots="1", min_area=1, trains=False)
def command(lvis: Path, coco: Path | None, **options: Any) -> None:
    """Build LVIS-92i: ten folds of categories of LVIS' validation split.

    A fold has every tenth of the categories that are on more images than an episode has supports, so that another
    number of shots is another benchmark, lvis-92i-1shot or lvis-92i-5shot. Frozen episodes are of fss-native: every
    query once, distinct supports, full size. With --episodes matcher they are Matcher's, of fss-matcher: 2,300 a fold,
    supports may repeat, and what is scored is 518x518.

    \b
    icvos build-data lvis-92i --lvis LVIS --coco COCO --out B
    icvos build-data lvis-92i --lvis LVIS --fold 0 --shots 5 --episodes matcher --out B
    """
    from icvos.builders.fewshot.plan import plan_lvis92i
    from icvos.progress import shown

    rules = rules_of("lvis-92i", options, shots=1)
    with shown("lvis-92i") as progress:
        plan = plan_lvis92i(lvis, rules, coco=coco, progress=progress)
        build_and_print(plan, options, progress)
