"""icvos build-data mask-tubes: pseudo-videos from COCO images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.commands.builders.raw_options import tell_coco
from icvos.errors import counted, counts
from icvos.terminal import echo


@click.command()
@click.option(
    "--coco",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="COCO 2014 or 2017: annotations, and a split's images.",
)
@click.option("--split", default="train2014", show_default=True, help="train2014, val2014, train2017 or val2017.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to be made.")
@click.option("--limit", type=click.IntRange(1), help="So many tubes, chosen by the seed.")
@click.option("--categories", metavar="NAMES", help="Only these, by comma.")
@click.option("--frames", default=5, show_default=True, help="Of a tube.")
@click.option(
    "--transforms",
    default="rotate,hflip,vflip,blur",
    show_default=True,
    help="By comma; also scale, shift, colour, occlude. Frames beyond them compose two.",
)
@click.option("--rotation", default=10.0, show_default=True, help="Degrees, at most.")
@click.option("--min-area", default=2048, show_default=True, help="Pixels of the category in an image, at least.")
@click.option("--draws", default=1, show_default=True, help="Lists of supports for each tube.")
@click.option("--shots", default=1, show_default=True, help="Supports in each list: other images of the category.")
@click.option("--seed", default=0, show_default=True, help="Of everything drawn.")
@click.option("--name", default="mask-tubes", show_default=True, help="The name in benchmark.json.")
@click.option("--link", is_flag=True, help="Hard-link support images instead of copying.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, with disk, memory and hours, and stop.")
def command(coco: Path, split: str, out: Path, **options: Any) -> None:
    """Write mask tubes: from an image and a category, the original and four transformed frames, shuffled.

    \b
    icvos build-data mask-tubes --coco COCO --limit 1000 --out TUBES
    """
    from icvos.builders.tubes.build import build_mask_tubes, plan_mask_tubes, try_mask_tubes
    from icvos.categories import COCO80
    from icvos.costs import print_costs
    from icvos.data.class_masks import coco_masks
    from icvos.data.mask_tubes import TubeRules
    from icvos.progress import shown

    rules = TubeRules(
        options["frames"], _words(options["transforms"]), options["rotation"], options["seed"], options["min_area"]
    )
    wanted = [COCO80.number(word) for word in _words(options["categories"] or "")]
    tell_coco(coco, split)
    with shown("mask-tubes") as progress:
        masks = coco_masks(coco, split, progress=progress)
        plan = plan_mask_tubes(
            masks,
            rules,
            categories=wanted or None,
            limit=options["limit"],
            draws=options["draws"],
            shots=options["shots"],
        )
        echo(
            f"to write: {counted(len(plan.chosen), 'tubes')} of {rules.frames} frames, up to {plan.files:,} files, "
            f"about {plan.estimate / 1e6:,.0f} MB"
        )
        if options["dry_run"]:
            print_costs("nothing is written", try_mask_tubes(plan, out, workers=options["workers"]).costs())
            return
        report = build_mask_tubes(
            plan, out, name=options["name"], link=options["link"], workers=options["workers"], progress=progress
        )
    if report.alone:
        echo(f"note: {report.alone:,} tubes are their category's only image: it supports itself")
    echo(
        f"built {out}: {counted(report.tubes, 'tubes')} of {counts(images=report.images, frames=report.frames)}, "
        f"{report.supports:,} support images"
    )
    echo(f"manifest {report.manifest_sha256}")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
