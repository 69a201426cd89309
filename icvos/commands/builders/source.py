"""icvos build-data source: which data set is this, and is it whole?"""

from __future__ import annotations

from pathlib import Path

import click

from icvos.terminal import echo


@click.command()
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(folders: tuple[Path, ...]) -> None:
    """Say which data set and version each DIR is, what of it is there, and what is missing.

    Names, lists and JSON files are read, no image and no mask. Exit 0 if nothing is known to be missing, 1 if
    something is, 2 if a folder is nothing known.

    \b
    icvos build-data source DAVIS
    icvos build-data source DAVIS MOSE COCO
    """
    from icvos.errors import InputError
    from icvos.sources.found import COUNTED, Found
    from icvos.sources.identify import identify
    from icvos.terminal import Column, print_table

    splits: list[Found] = []
    unknown: list[str] = []
    for folder in folders:
        try:
            splits += identify(folder)
        except InputError as error:
            unknown.append(str(error))
    rows: list[list[str]] = []
    for found in splits:
        name, whole = found.title, found.verdict
        for what, count in ((what, found.counts[what]) for what in COUNTED if what in found.counts):
            expected = "–" if count.expected is None else f"{count.expected:,}"
            rows.append([name, what, f"{count.found:,}", expected, whole])
            name = whole = ""
    if rows:
        heads = (Column.words("data set"), Column("what", "left"), Column("here"), Column("expected"))
        print_table([*heads, Column("whole", "left")], rows)
    for found in splits:
        for text in found.problems:
            echo(f"{found.title}: {text}")
        if found.part and not found.problems:
            echo(f"{found.line}: a part")
        for text in found.notes:
            echo(f"note: {found.title}: {text}")
    for message in unknown:
        echo(f"icvos: {message}", err=True)
    if unknown:
        raise SystemExit(2)
    if not all(found.whole for found in splits):
        raise SystemExit(1)
