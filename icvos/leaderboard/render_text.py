"""Tables as terminal text, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal

from icvos.files import spreadsheet_safe
from icvos.leaderboard.table import Column, Table
from icvos.metrics.table import METRICS

__all__ = ["cell_text", "to_csv", "to_latex", "to_markdown", "to_terminal"]

Cell = str | float | int | None


def cell_text(value: Cell, column: Column) -> str:
    """Return a cell as text; what does not apply is a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        if column.head == "fps" and value >= 10_000:
            return f"{value / 1000:.0f}k"
        digits = 0 if column.head == "fps" and value >= 100 else column.digits
        return f"{value:.{digits}f}"
    return str(value)


def _shown(table: Table) -> list[int]:
    """Columns that say something: not those that are dashes, or the same word, all the way down."""
    out = []
    for index, column in enumerate(table.columns):
        cells = {cell_text(row[index], column) for row in table.rows}
        dull = cells <= {"-"} or (column.head == "checked" and cells <= {"not added"})
        if not dull or column.head in ("model", "method"):
            out.append(index)
    return out


SHORT = {
    "not added": "local",
    "self-reported": "reported",
    "masks re-scored": "re-scored",
    "reproduced by maintainer": "reproduced",
}
# What a narrow terminal leaves out, first to last.
DROPPED = ("n", "encoder", "fold-3", "fold-2", "fold-1", "fold-0", "fps", METRICS["absent_correct"].heading)


def _head(column: Column) -> str:
    # Heads of two words take two lines, so that a table fits 80 columns.
    return column.head if column.head == "95 %" else column.head.replace("visible", "vis").replace(" ", "\n", 1)


def _fitting(table: Table, cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """Columns that fit a terminal."""
    columns = _shown(table)
    needs = {
        i: max(len(text) for text in (*_head(table.columns[i]).split("\n"), *(row[i] for row in cells)))
        for i in columns
    }
    for name in DROPPED:
        if sum(needs[i] + 2 for i in columns) <= width:
            break
        columns = [i for i in columns if table.columns[i].head != name]
    return columns


def to_terminal(tables: Sequence[Table], *, width: int | None = None) -> None:
    """Print tables; what does not fit the terminal's width is left out, and said."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as RichTable

    console = Console(width=width, highlight=False)
    for table in tables:
        console.print(table.title, style="bold", markup=False)
        out = RichTable(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
        texts = [[cell_text(value, column) for value, column in zip(row, table.columns)] for row in table.rows]
        texts = [[SHORT.get(text, text) for text in row] for row in texts]
        columns = _fitting(table, texts, console.width)
        for index in columns:
            column, head = table.columns[index], _head(table.columns[index])
            # Where it is too narrow all the same, labels take more lines; a figure is never cut.
            whole = column.numeric or column.head in ("rank", "95 %")
            least = max(len(text) for text in (*head.split("\n"), *(row[index] for row in texts))) if whole else None
            justify: Literal["left", "right"] = "right" if column.numeric else "left"
            out.add_column(escape(head), justify=justify, no_wrap=whole, min_width=least, overflow="fold")
        for row in texts:
            out.add_row(*(escape(row[index]) for index in columns))
        console.print(out)
        left = [table.columns[i].head for i in _shown(table) if i not in columns]
        for note in (*table.notes, *([f"too narrow for: {', '.join(left)}"] if left else ())):
            console.print(f"  {note}", markup=False, style="dim")
        console.print()


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def to_markdown(tables: Sequence[Table]) -> str:
    """Return tables in GitHub's Markdown; the best figure of a column is bold where rows are ranked."""
    parts = ["# Leaderboards\n"]
    for table in tables:
        visible = _shown(table)
        columns = [table.columns[i] for i in visible]
        lines = ["| " + " | ".join(_markdown(c.head) for c in columns) + " |"]
        lines.append("|" + "|".join("---:" if c.numeric else "---" for c in columns) + "|")
        best = _best(table)
        for number, row in enumerate(table.rows):
            cells = [_markdown(cell_text(row[i], table.columns[i])) for i in visible]
            cells = [f"**{text}**" if (number, i) in best else text for i, text in zip(visible, cells)]
            lines.append("| " + " | ".join(cells) + " |")
        notes = "".join(f"\n- {_markdown(note)}" for note in table.notes)
        parts.append(f"## {_markdown(table.title)}\n\n" + "\n".join(lines) + "\n" + (notes + "\n" if notes else ""))
    return "\n".join(parts)


def _best(table: Table) -> set[tuple[int, int]]:
    """Places of the best figures: the largest of each column of scores, ties too; rows that are not ranked aside."""
    out = set()
    for index, column in enumerate(table.columns):
        if not column.numeric or column.head in ("n", "fps", "shots"):
            continue
        values = {
            number: float(row[index] or 0.0)
            for number, row in enumerate(table.rows)
            if isinstance(row[index], float) and (table.kind == "published" or row[0] != "-")
        }
        if len(values) > 1:
            top = max(values.values())
            out |= {(number, index) for number, value in values.items() if value == top}
    return out


def to_csv(tables: Sequence[Table]) -> str:
    """Return one CSV of all tables, a figure a line, at full precision."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("kind", "benchmark", "protocol", "table", "row", "column", "value"))
    for table in tables:
        name = next(i for i, c in enumerate(table.columns) if c.head in ("model", "method"))
        for number, row in enumerate(table.rows, 1):
            for column, value in zip(table.columns, row):
                text = "" if value is None else repr(value) if isinstance(value, float) else str(value)
                if column.head not in ("model", "method"):
                    writer.writerow(
                        (
                            table.kind,
                            table.benchmark,
                            table.protocol,
                            table.title,
                            f"{number} {row[name]}",
                            column.head,
                            text if column.numeric else spreadsheet_safe(text),
                        )
                    )
    return stream.getvalue()


_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


def to_latex(tables: Sequence[Table]) -> str:
    """Return tables for LaTeX with booktabs; the best figure of a column is bold."""
    parts = ["% \\usepackage{booktabs}"]
    for table in tables:
        columns = _shown(table)
        best = _best(table)
        align = "".join("r" if table.columns[i].numeric else "l" for i in columns)
        lines = ["\\begin{table}", "\\centering"]
        lines += [f"\\caption{{{_tex(table.title)}}}", f"\\begin{{tabular}}{{{align}}}", "\\toprule"]
        lines += [" & ".join(_tex(table.columns[i].head) for i in columns) + " \\\\", "\\midrule"]
        for number, row in enumerate(table.rows):
            cells = [_tex(cell_text(row[i], table.columns[i])) for i in columns]
            cells = [f"\\textbf{{{text}}}" if (number, i) in best else text for i, text in zip(columns, cells)]
            lines.append(" & ".join(cells) + " \\\\")
        lines += ["\\bottomrule", "\\end{tabular}"]
        lines += [f"\\\\[2pt] {{\\footnotesize {_tex(note)}}}" for note in table.notes]
        parts.append("\n".join([*lines, "\\end{table}", ""]))
    return "\n\n".join(parts)
