"""icvos build-data labels: pages and CSV files in which people say what the objects are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.commands.builders.raw_options import open_sources, source_options


@click.command()
@source_options
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write into.")
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    metavar="RECIPE",
    help="Labels that are known already: CSV files, or a published recipe (ic-vos-r1, or a folder); repeatable.",
)
@click.option("--page-size", default=200, show_default=True, help="Videos on one page.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
def command(out: Path, recipes: tuple[str, ...], page_size: int, workers: int, **folders: Any) -> None:
    """Make a page per data set on which its objects are labelled, and the two CSV files it fills.

    \b
    icvos build-data labels --mose MOSE --out LABELS     # then open LABELS/mose.html in a browser
    icvos build-data ic-vos --mose MOSE --recipe objects-mose.csv --recipe complete-mose.csv --coco COCO --out B
    """
    from icvos.builders.labels.write import write_labels
    from icvos.builders.published import open_recipes
    from icvos.categories import COCO80
    from icvos.progress import shown

    sources = open_sources(folders)
    recipe, _ = open_recipes(recipes, COCO80)
    with shown("labels") as progress:
        report = write_labels(sources, out, recipe=recipe, page_size=page_size, workers=workers, progress=progress)
    for page in report.pages:
        click.echo(f"page: {page}")
    click.echo(f"CSV to fill (or let the page fill them): {report.objects_csv}, {report.complete_csv}")
    click.echo(f"{report.labelled:,} of {report.objects:,} objects in {report.videos:,} videos have a label")
