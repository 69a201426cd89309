"""icvos build-data labels: pages and CSV files in which people say what the objects are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from icvos.commands.builders.labels_merge import command as merge
from icvos.commands.builders.raw_options import open_sources, source_options, tell_sources
from icvos.errors import UsageError, counted
from icvos.files import real_path
from icvos.terminal import echo

LABEL_FILES = ("objects.csv", "complete.csv")


@click.group(invoke_without_command=True, no_args_is_help=True, subcommand_metavar="[merge …]")
@source_options
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write into; needed.")
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    metavar="RECIPE",
    help="What is known already: CSV files, a folder of them, or a published recipe (ic-vos-r1); repeatable.",
)
@click.option("--page-size", default=200, show_default=True, help="Videos on one page.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.pass_context
def command(
    ctx: click.Context, /, out: Path | None, recipes: tuple[str, ...], page_size: int, workers: int, **folders: Any
) -> None:
    """Make a page per data set on which its objects are labelled, and the two CSV files it fills; or merge two
    people's labels.

    \b
    icvos build-data labels --mose MOSE --out LABELS     # then open LABELS/mose.html in a browser
    icvos build-data labels merge ANNA BEN --out MERGED --conflicts CONFLICTS
    icvos build-data ic-vos --mose MOSE --recipe objects-mose.csv --recipe complete-mose.csv --coco COCO --out B
    """
    from icvos.builders.labels.write import write_labels
    from icvos.builders.published import open_recipes
    from icvos.categories import COCO80
    from icvos.clips import page_folder
    from icvos.progress import shown

    if ctx.invoked_subcommand is not None:
        if any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ctx.params):
            raise click.UsageError("options before 'merge' are those of pages; its own follow it", ctx)
        return
    if out is None:
        raise click.UsageError("Missing option '--out'", ctx)
    sources = open_sources(folders)
    recipe, _ = open_recipes(recipes, COCO80)
    if {real_path(out), *(real_path(out / name) for name in LABEL_FILES)} & {real_path(Path(path)) for path in recipes}:
        raise UsageError(
            "--out would replace labels that are given",
            where=out,
            fix="choose another --out, as notes would be lost",
        )
    tell_sources(sources)
    with page_folder(out), shown("labels") as progress:
        report = write_labels(sources, out, recipe=recipe, page_size=page_size, workers=workers, progress=progress)
    for page in report.pages:
        echo(f"page: {page}")
    echo(f"CSV to fill (or let the page fill them): {report.objects_csv}, {report.complete_csv}")
    echo(f"{report.labelled:,} of {report.objects:,} objects in {counted(report.videos, 'videos')} have a label")


command.add_command(merge, "merge")
