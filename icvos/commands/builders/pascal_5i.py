"""icvos build-data pascal-5i: few-shot episodes on images, from VOC 2012 and SBD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.commands.builders.fewshot_options import build_and_print, fewshot_options, rules_of
from icvos.commands.builders.raw_options import tell_found

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--voc", type=_FOLDER, required=True, metavar="DIR", help="VOC 2012: JPEGImages, SegmentationClass, …")
@click.option("--sbd", type=_FOLDER, metavar="DIR", help="SBD: dataset/img, dataset/cls; only training needs it.")
@click.option("--split", default="val", show_default=True, help="Of queries and supports.")
@click.option(
    "--domain-shift",
    is_flag=True,
    help="coco2pascal: test the categories that COCO-20i's fold does not train on (the paper's Tables XI and XII).",
)
@fewshot_options("pascal-5i, coco2pascal", "authors", shots="5; authors: 1")
def command(voc: Path, sbd: Path | None, split: str, domain_shift: bool, **options: Any) -> None:
    """Build PASCAL-5i: frozen episodes of fss-native and fss-paper, four folds of 5 test categories.

    \b
    icvos build-data pascal-5i --voc VOC2012 --sbd SBD --out B
    icvos build-data pascal-5i --voc VOC2012 --lists LISTS --episodes authors --out B
    """
    from icvos.builders.fewshot.plan import plan_pascal5i
    from icvos.progress import shown
    from icvos.sources.census import count_voc

    rules = rules_of("coco2pascal" if domain_shift else "pascal-5i", options)
    splits = [split] if sbd is None else [split, "trainaug"]
    tell_found("voc", lambda: [count_voc(voc, part, sbd=sbd) for part in splits])
    with shown("pascal-5i") as progress:
        plan = plan_pascal5i(
            voc, rules, sbd=sbd, split=split, lists=options["lists"], workers=options["workers"], progress=progress
        )
        build_and_print(plan, options, progress)
