"""Names of strangers in the formats that a board is written in."""

from __future__ import annotations

import csv
import io

import pytest

from icvos.files import spreadsheet_safe
from icvos.leaderboard.render_text import to_csv, to_latex, to_markdown
from icvos.leaderboard.table import Column, Table


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\tx", " =1", '"=1', ' "  @x', "-²"]
)
def test_formulas_are_quoted(text):
    assert spreadsheet_safe(text) == f"'{text}"
    assert spreadsheet_safe(spreadsheet_safe(text)) == f"'{text}"


@pytest.mark.parametrize("text", ["", "-", "-1.5", "12", "Ü-Net", "SAM 2.1", "a=b", "方法一"])
def test_other_texts_stay(text):
    assert spreadsheet_safe(text) == text


def _table(name):
    columns = (Column("model", numeric=False), Column("source", numeric=False), Column("J&F"))
    return Table(title=name, kind="published", columns=columns, rows=((name, name, 50.0),), notes=(name,))


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("![x](http://a.b/c)", "\\!\\[x\\](http&#58;//a.b/c)"),
        ("[x](javascript:1)", "\\[x\\](javascript:1)"),
        ("<img src=x>", "&lt;img src=x>"),
        ("a|b`c`**d**", "a\\|b\\`c\\`\\*\\*d\\*\\*"),
        ("a\r\n# b", "a  # b"),
        ("a_b", "a\\_b"),
        ("J&F a&", "J&F a&"),
        ("good&ZeroWidthSpace;", "good&amp;ZeroWidthSpace;"),
        ("$100$ :100: a:b +1:+1: ::", "&#36;100&#36; &#58;100: a:b +1&#58;+1: ::"),
    ],
)
def test_markdown_is_escaped(name, escaped):
    text = to_markdown([_table(name)])
    assert f"| {escaped} | {escaped} |" in text
    assert f"- {escaped}" in text.splitlines()


def test_lines_of_latex_cannot_be_broken():
    assert "a \\textbackslash{}b\\% c" in to_latex([_table("a\n\\b%\rc")])


@pytest.mark.parametrize(("name", "escaped"), [("[9cm]x", "{[}9cm]x"), ("*x", "{*}x")])
def test_no_name_is_an_option_of_the_end_of_a_latex_row(name, escaped):
    """After the end of a row, a star or a bracket that begins the next is an option of it."""
    assert f"\\midrule\n{escaped} & {escaped}" in to_latex([_table(name)])


def test_every_column_of_a_csv_is_guarded():
    rows = list(csv.reader(io.StringIO(to_csv([_table("=1+1")]))))
    assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows[1:] for cell in row)
    assert [row[3] for row in rows[1:]] == ["'=1+1", "'=1+1"]
