"""icvos leaderboard show | render."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_SHOWN = ("ic-vos", "coco-20i", "pascal-5i")


@click.group()
def command() -> None:
    """Show and render the leaderboards: what was measured here, and apart from it what the papers printed."""


def _choose(function: Any) -> Any:
    for option in (
        click.option("--no-published", is_flag=True, help="Leave out what the papers printed."),
        click.option("--protocol", help="Only this protocol's rows."),
        click.option("--benchmark", help="Only this benchmark's rows: demo, ic-vos, coco-20i, pascal-5i, …"),
        click.option(
            "--board", type=click.Path(path_type=Path), help="A folder of leaderboard records (runs added to it)."
        ),
        click.option(
            "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="A folder of runs."
        ),
    ):
        function = option(function)
    return function


def _tables(
    runs: Path, board: Path | None, benchmark: str | None, protocol: str | None, no_published: bool
) -> list[Any]:
    from icvos.leaderboard.published import published
    from icvos.leaderboard.runs import find_runs
    from icvos.leaderboard.tables import measured_tables, published_tables

    found = [row for place in (runs, board) if place is not None for row in find_runs(place)]
    rows = [r for r in found if benchmark in (None, r.benchmark) and protocol in (None, r.protocol)]
    tables = measured_tables(rows)
    if not no_published:
        known = sorted({number.benchmark for number in published()})
        wanted = _SHOWN if benchmark is None else tuple(name for name in known if name == benchmark)
        tables += published_tables(published(), wanted)
    return tables


@command.command("show")
@_choose
def show(**options: Any) -> None:
    """Print the tables: runs below --runs first, then what the papers printed."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    tables = _tables(**options)
    if not any(table.kind == "measured" for table in tables):
        console.print(
            f"no finished runs in {options['runs']}: icvos evaluate --model histogram makes one", highlight=False
        )
    for table in tables:
        grid = Table(box=box.SIMPLE_HEAD, title=table.title, title_justify="left", title_style="bold")
        for name in table.columns:
            grid.add_column(name, justify="left" if name in ("method", "encoder") else "right", no_wrap=True)
        for row in table.rows:
            grid.add_row(*row, style="dim" if table.kind == "published" else None)
        console.print(grid)
        for note in table.notes:
            console.print(f"  {note}", markup=False, highlight=False)


@command.command("render")
@_choose
@click.option("--format", "kind", type=click.Choice(["markdown", "csv"]), default="markdown", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A file; default standard output.")
def render(kind: str, out: Path | None, **options: Any) -> None:
    """Write the tables as Markdown or CSV."""
    from icvos.files import atomic_write
    from icvos.leaderboard.tables import to_csv, to_markdown

    tables = _tables(**options)
    text = to_csv(tables) if kind == "csv" else "\n".join(to_markdown(table) for table in tables)
    if out is None:
        click.echo(text, nl=False)
        return
    with atomic_write(out, "w") as stream:
        stream.write(text)
    click.echo(f"wrote {out}")
