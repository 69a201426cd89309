"""Tables on a terminal: no figure is ever cut; what a narrow one has no room for is left out by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import click

from icvos.errors import printable, shortened

__all__ = ["Column", "echo", "print_table"]

# Words that wrap keep at least so much of a line, however narrow the terminal is.
LEAST_WORDS = 8
# Names keep at least so much, which is more than those of icvos with their options have.
LEAST_NAME = 80
# What rich puts between two columns.
GAP = 2


def echo(text: object = "", *, mark: str = "", colour: str = "", err: bool = False, nl: bool = True) -> None:
    """Print what a command says; every text of icvos goes through here, so that no stranger's moves the terminal.

    Args:
        text: One line or several.
        mark: A word before it, in a colour.
        colour: Of the mark, as click calls them.
        err: Whether to standard error.
        nl: Whether a line end follows.
    """
    click.echo((click.style(mark, fg=colour) if mark else "") + printable(str(text), "\n\t"), err=err, nl=nl)


@dataclass(frozen=True)
class Column:
    """A column of a table on a terminal.

    Attributes:
        head: Its head.
        align: Where its cells stand.
        wraps: Whether its cells, words, take more lines where there is no room. All others stay whole, in one line.
        names: Whether its cells, words, are names that anybody may have given: where there is no room, the middle of a
            long one is left out first.
        room: Letters to which words wrap before another column is left out for them; 0: they do not.
    """

    head: str
    align: Literal["left", "right"] = "right"
    wraps: bool = False
    names: bool = False
    room: int = 0

    @classmethod
    def words(cls, head: str, *, room: int = 0) -> Column:
        """Return a column of words."""
        return cls(head, "left", wraps=True, room=room)

    @classmethod
    def of_names(cls, head: str) -> Column:
        """Return a column of names."""
        return cls(head, "left", wraps=True, names=True)


def print_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    notes: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    width: int | None = None,
) -> None:
    """Print a table with a title above and notes below it.

    Where it is too wide, heads go on in a second line, then long names lose their middle, then the columns of
    ``leave_out`` go, then words wrap. In a file or a pipe nothing is left out, as no width is to be kept there (unless
    the environment sets COLUMNS).

    Args:
        columns: Its columns.
        rows: A text for each column.
        title, notes: One line each.
        leave_out: Heads of columns that a narrow terminal leaves out, first to last; a note names them.
        width: Letters of a line; default the terminal's.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    columns = [replace(column, head=printable(column.head)) for column in columns]
    rows = [[printable(text, "\n") for text in row] for row in rows]
    title, notes = printable(title), [printable(note) for note in notes]
    console = Console(width=width, highlight=False)
    narrow = width is not None or console.is_terminal or "COLUMNS" in os.environ
    room = console.width if narrow else 80
    heads = [[column.head] for column in columns]
    needs = _needs(heads, rows)
    if sum(needs) + GAP * len(needs) > room:
        heads = [[column.head] if column.wraps else _two_lines(column.head) for column in columns]
        needs = _needs(heads, rows)
    if narrow and sum(needs) + GAP * len(needs) > room:
        rows = [[shortened(text, LEAST_NAME) if c.names else text for c, text in zip(columns, row)] for row in rows]
        needs = _needs(heads, rows)
    if not narrow:
        room = max(room, sum(needs) + GAP * len(needs))
    wrapped = [min(need, column.room or need) for column, need in zip(columns, needs)]
    shown = list(range(len(columns)))
    for head in leave_out:
        if sum(wrapped[i] + GAP for i in shown) <= room:
            break
        shown = [i for i in shown if columns[i].head != head]
    least = [min(need, LEAST_WORDS) if column.wraps else need for column, need in zip(columns, needs)]
    # What is narrower than the figures alone breaks the lines itself, which loses none of them.
    console.width = max(room, sum(least[i] + GAP for i in shown))
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for i in shown:
        column = columns[i]
        head = escape("\n".join(heads[i]))
        table.add_column(head, justify=column.align, no_wrap=not column.wraps, min_width=least[i], overflow="fold")
    for row in rows:
        table.add_row(*(escape(row[i]) for i in shown))
    if title:
        console.print(title, style="bold", markup=False)
    console.print(table)
    left = [column.head for i, column in enumerate(columns) if i not in shown]
    for note in (*notes, *([f"too narrow for: {', '.join(left)}"] if left else ())):
        console.print(f"  {note}", markup=False, style="dim")


def _needs(heads: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the letters of the longest line of each column."""
    return [max(map(len, (*head, *(row[i] for row in rows)))) for i, head in enumerate(heads)]


def _two_lines(head: str) -> list[str]:
    # 95 % is one thing.
    return head.rsplit(" ", 1) if head[:1].isdigit() else head.split(" ", 1)
