"""icvos weights list | verify | fetch."""

from __future__ import annotations

from pathlib import Path

import click

from icvos.terminal import echo

# How a model's declaration refers to the list that it stands in here.
_HERE = "icvos weights list"
FOLDER = click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), help="Folder; default weights under ICVOS_HOME."
)


def _size(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:,.0f} MB"


@click.group()
def command() -> None:
    """List, verify and fetch checkpoints.

    \b
    icvos weights list
    """


@command.command("list")
@FOLDER
def list_weights(folder: Path | None) -> None:
    """List the known checkpoints and which are here, and all weights that models take: where each comes from.

    \b
    icvos weights list
    """
    from icvos.foundation.checkpoints import CHECKPOINTS, MARKS, weights_folder
    from icvos.terminal import Column, print_table

    folder = folder or weights_folder()
    rows = []
    for known in CHECKPOINTS.values():
        here = "yes" if (folder / known.file).is_file() else "by hand" if known.url is None else "no"
        short = f"{known.sha256[:8]}…" if len(known.sha256) == 64 else known.sha256 or "-"
        rows.append((known.name, known.file, _size(known.size), short, known.mark, here, known.licence))
    whole = [
        Column(head, "right" if head == "size" else "left") for head in ("name", "file", "size", "sha256", "known")
    ]
    print_table(
        [*whole, Column("here", "left"), Column.words("licence")],
        rows,
        title="Known checkpoints (icvos weights fetch NAME)",
        leave_out=("licence", "known", "sha256", "size"),
    )
    for mark, meaning in MARKS.items():
        echo(f"known {mark}: {meaning}")
    echo(f"folder: {folder}\n")
    _list_of_models()


def _list_of_models() -> None:
    """Print the weights that models and trackers take, and the demo weights that are shipped."""
    from icvos.models.lifts import LIFTS
    from icvos.models.needs import all_needs
    from icvos.plugins import package_files
    from icvos.terminal import Column, print_table

    classes = {needs.name: needs.cls for needs in all_needs() if needs.cls is not None}
    takers = {name: (cls.info.weights, cls.demo_weights()) for name, cls in classes.items()}
    takers |= {f"X{row.usage}": (row.weights, package_files(row.demo_weights)) for row in LIFTS.values()}
    rows = []
    for model, (weights, shipped) in takers.items():
        for name, weight in weights.items():
            demo, needed = "shipped" if name in shipped else "-", "yes" if weight.required else "no"
            rows.append((model, name, needed, demo, weight.source.replace(_HERE, "above")))
    columns = [Column.of_names("model"), Column.of_names("name"), Column("needed", "left"), Column("demo", "left")]
    title = "Weights that models take (--weights NAME=PATH)"
    print_table([*columns, Column.words("where they come from")], rows, title=title)
    echo("Demo weights that are shipped are made for drawn shapes alone: --weights NAME=demo. Their files:")
    for path in sorted({path for _, shipped in takers.values() for path in shipped.values()}):
        echo(f"{path.name:30} {path.stat().st_size / 1e6:4.1f} MB  {path}")


@command.command("verify")
@click.argument("names", nargs=-1)
@FOLDER
def verify(names: tuple[str, ...], folder: Path | None) -> None:
    """Hash the checkpoints NAMES (default: all that are here) and compare. Exit 1 if one differs.

    \b
    icvos weights verify
    """
    from icvos.errors import WeightsError
    from icvos.foundation.checkpoints import CHECKPOINTS, checkpoint, verify_file, weights_folder

    folder = folder or weights_folder()
    checkpoints = [checkpoint(name) for name in names]
    if not names:
        checkpoints = [known for known in CHECKPOINTS.values() if (folder / known.file).is_file()]
    if not checkpoints:
        echo(f"no known checkpoint in {folder}")
    wrong = 0
    for known in checkpoints:
        try:
            sha256 = verify_file(folder / known.file, known)
        except WeightsError as error:
            if not (folder / known.file).is_file():
                raise
            echo(f"WRONG {known.name}: {error}")
            wrong += 1
        else:
            word = "ok   " if len(known.sha256) == 64 else "ok 8 " if known.sha256 else "new  "
            echo(f"{word} {known.name} {sha256}")
    if wrong:
        raise SystemExit(1)


@command.command("fetch")
@click.argument("names", nargs=-1, required=True)
@FOLDER
@click.option("--mirror", help="Base URL that serves the same file names.")
@click.option(
    "--max-size",
    type=click.IntRange(1, 1 << 20),
    default=16,
    show_default=True,
    metavar="GIB",
    help="Of a checkpoint whose size is not known.",
)
def fetch(names: tuple[str, ...], folder: Path | None, mirror: str | None, max_size: int) -> None:
    """Download the checkpoints NAMES: resumed after a cut, verified, then renamed.

    \b
    icvos weights fetch sam2.1-hiera-tiny
    """
    from icvos.foundation.checkpoints import MARKS, checkpoint
    from icvos.foundation.download import fetch as fetch_checkpoint
    from icvos.progress import shown

    for known in [checkpoint(name) for name in names]:
        with shown(known.name) as progress:
            path, sha256 = fetch_checkpoint(
                known, folder=folder, mirror=mirror, max_size=max_size << 30, progress=progress
            )
        echo(f"{known.name}: {path}")
        echo(f"  sha256 {sha256} ({'verified; ' if known.sha256 else ''}{MARKS[known.mark]})")
