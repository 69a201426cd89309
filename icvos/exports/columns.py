"""The columns of a benchmark's tables: of what type each is, and what it says."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from icvos.errors import BenchmarkError
from icvos.files import csv_header, iter_csv

__all__ = ["Column", "column_of", "table_columns", "typed_rows"]

Kind = Literal["text", "integer", "float"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        kind: The type of its values; an empty field is none.
        text: What it says.
    """

    kind: Kind
    text: str


_COLUMNS = {
    "video": Column("text", "The video's name."),
    "source": Column("text", "Id of the data set that it comes from."),
    "source_split": Column("text", "The split of that data set."),
    "source_name": Column("text", "What it is called there."),
    "frames": Column("integer", "How many frames it has."),
    "height": Column("integer", "Rows of each frame, in pixels."),
    "width": Column("integer", "Columns of each frame, in pixels."),
    "fps": Column("float", "Frames a second; empty where nobody says."),
    "void_pixels": Column("integer", "Pixels of all its masks that the data set calls void; they are background here."),
    "category": Column("integer", "The category's number in the vocabulary; of semi-supervised VOS the object's."),
    "category_name": Column("text", "What the category is called."),
    "complete": Column(
        "text", "Whether every instance of the category is masked: yes, no, or unsure: nobody has said."
    ),
    "visible_frames": Column("integer", "Frames on which the category is to be seen."),
    "first_visible": Column("integer", "The first of them; -1 where it is on none."),
    "instances": Column("integer", "How many objects of the category there are."),
    "source_category": Column("integer", "The category's number in its data set."),
    "looser_name": Column("text", "What the category is called, without an article."),
    "frame": Column("integer", "The frame's number, from 0; its files are called by it, five digits long."),
    "source_frame": Column("text", "The name of the frame's file in the data set, without suffix."),
    "id": Column("text", "The episode's id."),
    "draw": Column("integer", "Which draw of supports it is."),
    "run": Column("integer", "Which run of the published list it belongs to."),
    "asked": Column("text", "positive, or negative where people verified that the video has no such thing."),
    "protocol": Column("text", "The protocol whose list of episodes it is of."),
    "query": Column("text", "The name of the query image, without suffix."),
    "fold": Column("integer", "The fold in which the category is new."),
}


def column_of(name: str) -> Column:
    """Return what a column is; one that nobody knows is text."""
    if re.fullmatch("support_[0-9]+", name):
        return Column("text", f"The name of support image {name[8:]}, without suffix; empty where there are fewer.")
    return _COLUMNS.get(name) or Column("text", "")


def table_columns(path: Path) -> dict[str, Column]:
    """Return the columns of a CSV file, in its order.

    Raises:
        BenchmarkError: It cannot be read.
    """
    return {name: column_of(name) for name in csv_header(path, BenchmarkError)}


def typed_rows(path: Path, wanted: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table, its values by the types of their columns and None for an empty field.

    Args:
        path: The table.
        wanted: Columns that it must have.

    Raises:
        BenchmarkError: It cannot be read, or a value is not of its column's type.
    """
    columns = table_columns(path)
    for number, row in enumerate(iter_csv(path, wanted, BenchmarkError), 2):
        try:
            yield {name: _value(row[name], column.kind) for name, column in columns.items()}
        except ValueError:
            raise BenchmarkError(f"line {number} holds no number where one belongs", where=path) from None


def _value(text: str, kind: Kind) -> Any:
    if not text:
        return None
    if kind == "integer":
        if not re.fullmatch("-?[0-9]{1,18}", text):
            raise ValueError(text)
        return int(text)
    if kind == "float":
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(text)
        return number
    return text
