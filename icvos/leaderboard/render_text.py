"""Tables as terminal text, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from icvos import terminal
from icvos.files import spreadsheet_safe
from icvos.leaderboard.table import Column, Table, best_cells, shown_columns
from icvos.metrics.table import METRICS
from icvos.terminal import echo, print_table

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


SHORT = {
    "not added": "local",
    "self-reported": "reported",
    "masks re-scored": "re-scored",
    "reproduced by maintainer": "reproduced",
}
# What a narrow terminal leaves out, first to last.
DROPPED = (
    "n",
    "trainings",
    "encoder",
    "fold-3",
    "fold-2",
    "fold-1",
    "fold-0",
    "fps",
    METRICS["absent_correct"].heading,
)


def to_terminal(tables: Sequence[Table], *, width: int | None = None) -> None:
    """Print tables; what does not fit the terminal's width is left out, and said."""
    for table in tables:
        texts = [[cell_text(value, column) for value, column in zip(row, table.columns)] for row in table.rows]
        shown = shown_columns(table)
        print_table(
            [_terminal_column(table.columns[index]) for index in shown],
            [[SHORT.get(row[index], row[index]) for index in shown] for row in texts],
            title=table.title,
            notes=(*table.apart, *table.notes),
            leave_out=DROPPED,
            width=width,
        )
        echo()


def _terminal_column(column: Column) -> terminal.Column:
    head = column.head.replace("visible", "vis")
    whole = column.numeric or column.head == "rank" or column.head.startswith("95 %")
    return terminal.Column(head, "right") if column.numeric else terminal.Column(head, "left", not whole, not whole)


# Links, images, emphasis, code, cells, HTML and formulas; names that GitHub makes links of by themselves.
_MARKDOWN = {letter: f"\\{letter}" for letter in "\\`*_[]!|~"} | {
    **{"<": "&lt;", "$": "&#36;", "@": "&#64;"},
    **{"\n": " ", "\r": " "},
}


def _markdown(text: str) -> str:
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)  # a letter by its name
    escaped = "".join(_MARKDOWN.get(letter, letter) for letter in text)
    # Addresses, and pictures by their names.
    return re.sub(r":(?=//|[\w+-]+:)", "&#58;", escaped).replace("www.", "www&#46;")


def to_markdown(tables: Sequence[Table]) -> str:
    """Return tables in GitHub's Markdown; the best figure of a column is bold where rows are ranked."""
    parts = ["# Leaderboards\n"]
    for table in tables:
        visible = shown_columns(table)
        columns = [table.columns[i] for i in visible]
        lines = ["| " + " | ".join(_markdown(c.head) for c in columns) + " |"]
        lines.append("|" + "|".join("---:" if c.numeric else "---" for c in columns) + "|")
        best = best_cells(table)
        for number, row in enumerate(table.rows):
            cells = [_markdown(cell_text(row[i], table.columns[i])) for i in visible]
            cells = [f"**{text}**" if (number, i) in best else text for i, text in zip(visible, cells)]
            lines.append("| " + " | ".join(cells) + " |")
        notes = "".join(f"\n- {_markdown(note)}" for note in table.notes)
        apart = "".join(f"{_markdown(line)}\n\n" for line in table.apart)
        parts.append(
            f"## {_markdown(table.title)}\n\n{apart}" + "\n".join(lines) + "\n" + (notes + "\n" if notes else "")
        )
    return "\n".join(parts)


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
                    cells = (table.kind, table.benchmark, table.protocol, table.title, f"{number} {row[name]}")
                    writer.writerow([spreadsheet_safe(each) for each in (*cells, column.head, text)])
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
    # After the end of a row these would be its options.
    "[": "{[}",
    "*": "{*}",
    "–": "--",
    "\n": " ",
    "\r": " ",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


def to_latex(tables: Sequence[Table]) -> str:
    """Return tables for LaTeX with booktabs; the best figure of a column is bold."""
    parts = ["% \\usepackage{booktabs}"]
    for table in tables:
        columns = shown_columns(table)
        best = best_cells(table)
        align = "".join("r" if table.columns[i].numeric else "l" for i in columns)
        lines = ["\\begin{table}", "\\centering"]
        lines += [f"\\caption{{{_tex(table.title)}}}", f"\\begin{{tabular}}{{{align}}}", "\\toprule"]
        lines += [" & ".join(_tex(table.columns[i].head) for i in columns) + " \\\\", "\\midrule"]
        for number, row in enumerate(table.rows):
            cells = [_tex(cell_text(row[i], table.columns[i])) for i in columns]
            cells = [f"\\textbf{{{text}}}" if (number, i) in best else text for i, text in zip(columns, cells)]
            lines.append(" & ".join(cells) + " \\\\")
        lines += ["\\bottomrule", "\\end{tabular}"]
        lines += [f"\\\\[2pt] {{\\footnotesize {_tex(note)}}}" for note in (*table.apart, *table.notes)]
        parts.append("\n".join([*lines, "\\end{table}", ""]))
    return "\n\n".join(parts)
