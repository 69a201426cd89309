"""The only reader of annotation files: JSON lists of objects, whose fields are read by their type.

What is unambiguous is taken (a number as digits, 0 and 1 for a flag); the rest is refused by the entry and its field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from icvos.errors import SourceError, in_words, printable
from icvos.files import is_utf8, read_json
from icvos.masks import Code, compact_segmentation, segmentation_code

__all__ = [
    "REQUIRED",
    "Entry",
    "by_id",
    "check_category_names",
    "check_ids",
    "entry_code",
    "is_text",
    "read_annotations",
    "relative_file",
    "whole_number",
]

REQUIRED: Any = object()
"""In place of a default: the field must be there."""

LARGEST = 2**53  # whole numbers that every JSON writer keeps


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a list of an annotation file.

    Attributes:
        fields: As JSON has them.
        kind: What the list holds, for messages: ``annotation``.
        index: Its position in the list, from 0.
        path: The file.
    """

    fields: dict[str, Any]
    kind: str
    index: int
    path: Path

    @property
    def label(self) -> str:
        """What it is called in messages: ``annotation 17``, or by its position where its id is no number or word."""
        identity = self.fields.get("id")
        named = identity.isprintable() and identity.strip() if type(identity) is str else type(identity) is int
        return f"{self.kind} {str(identity)[:40]}" if named else f"{self.kind} number {self.index}"

    def problem(self, field: str, expected: str) -> SourceError:
        """Return the error of a field that is not what it should be."""
        there = field in self.fields
        what = (
            f"'{field}' of {self.label} is {_brief(self.fields[field])}" if there else f"{self.label} has no '{field}'"
        )
        return SourceError(what, where=self.path, expected=expected)

    def broken(self, field: str, problem: object) -> SourceError:
        """Return the error of a field whose contents are of the right type, and wrong."""
        return SourceError(f"'{field}' of {self.label} is broken ({problem})", where=self.path, fix="fetch it again")

    def integer(self, field: str, default: Any = REQUIRED, *, least: int = 0, most: int = LARGEST) -> Any:
        """Return a whole number from ``least`` to ``most``; digits in quotes and 5.0 are some; ``default`` for null.

        Raises:
            SourceError: It is something else, or missing without a default.
        """
        value = self.fields.get(field)
        if value is None and default is not REQUIRED:
            return default
        number = whole_number(value)
        if number is None:
            raise self.problem(field, "a whole number")
        if not least <= number <= most:
            raise self.problem(field, f"{least} to {most}")
        return number

    def number(self, field: str, default: Any = REQUIRED) -> Any:
        """Return a finite number as float; ``default`` where it is null or missing.

        Raises:
            SourceError: It is something else, or missing without a default.
        """
        value: Any = self.fields.get(field)
        if value is None and default is not REQUIRED:
            return default
        try:
            number = float(value) if type(value) in (int, float, str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not abs(number) < LARGEST:
            raise self.problem(field, "a finite number")
        return number

    def flag(self, field: str) -> bool:
        """Return a flag: 0 or 1, false or true, or one of them in quotes; missing and null are false.

        Raises:
            SourceError: It is something else.
        """
        value = self.fields.get(field)
        if value in (0, 1, None):
            return bool(value)
        word = value.strip().lower() if type(value) is str else ""
        if word not in ("0", "1", "false", "true"):
            raise self.problem(field, "0 or 1")
        return word in ("1", "true")

    def text(self, field: str) -> str:
        """Return a text that is not empty.

        Raises:
            SourceError: It is something else.
        """
        value = self.fields.get(field)
        if not is_text(value):
            raise self.problem(field, "a text")
        return value

    def name(self, field: str = "name") -> str:
        """Return a text that is not empty as a name: spaces around it go, and those within are one each.

        Raises:
            SourceError: It is something else, or holds what cannot be printed.
        """
        name = " ".join(self.text(field).split())
        if printable(name) != name:
            raise self.problem(field, "a text that can be printed")
        return name

    def values(self, field: str) -> list[Any]:
        """Return a list.

        Raises:
            SourceError: It is something else.
        """
        value = self.fields.get(field)
        if type(value) is not list:
            raise self.problem(field, "a list")
        return value


def is_text(value: object) -> TypeGuard[str]:
    """Return whether a JSON value is a text that is not empty and can be written (half a surrogate pair cannot)."""
    return isinstance(value, str) and bool(value.strip()) and is_utf8(value)


def whole_number(value: object) -> int | None:
    """Return a JSON value as a whole number, as which digits in quotes and 5.0 count; None for anything else."""
    if type(value) is int:
        return value
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None


def _brief(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    text = "null" if value is None else in_words(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def read_annotations(path: Path, kinds: dict[str, str], *, expected: str) -> dict[str, list[Entry]]:
    """Read the lists of an annotation file.

    Args:
        path: JSON, an object of lists of objects.
        kinds: Names of lists that must be there, each with what one of its entries is called.
        expected: What the file should be, for messages.

    Returns:
        The entries of each list, in order.

    Raises:
        SourceError: It is no such file.
    """
    content = read_json(path, SourceError, compact=compact_segmentation)
    if not isinstance(content, dict):
        raise SourceError(f"file holds {_brief(content)}", where=path, expected=expected)
    lists = {}
    for name, kind in kinds.items():
        values = content.get(name)
        if not isinstance(values, list):
            is_what = f"is {_brief(values)}" if name in content else "is missing"
            raise SourceError(f"'{name}' {is_what}", where=path, expected=expected)
        for index, value in enumerate(values):
            if type(value) is not dict:
                raise SourceError(f"{kind} number {index} is {_brief(value)}", where=path, expected="an object")
        lists[name] = [Entry(value, kind, index, path) for index, value in enumerate(values)]
    return lists


def by_id(entries: list[Entry]) -> Iterator[tuple[int, Entry]]:
    """Yield entries with their ``id``.

    Raises:
        SourceError: An id is no whole number, or two entries have one.
    """
    seen: dict[int, Entry] = {}
    for entry in entries:
        identity = entry.integer("id")
        _add_id(seen, identity, entry)
        yield identity, entry


def check_ids(entries: list[Entry]) -> None:
    """Check that no two entries have one ``id``; those that have none, or what is neither number nor text, are others.

    Raises:
        SourceError: Two entries have one.
    """
    seen: dict[int | str, Entry] = {}
    for entry in entries:
        value = entry.fields.get("id")
        number = whole_number(value)
        identity = value if number is None and isinstance(value, str) else number
        if identity is not None:
            _add_id(seen, identity, entry)


def _add_id(seen: dict[Any, Entry], identity: int | str, entry: Entry) -> None:
    other = seen.setdefault(identity, entry)
    if other is not entry:
        numbers = f"{entry.kind} number {other.index} and {entry.kind} number {entry.index}"
        raise SourceError(f"{numbers} both have the id {str(identity)[:40]}", where=entry.path, expected="each id once")


def check_category_names(names: Mapping[int, str], path: Path) -> None:
    """Check that no two categories have one name.

    Raises:
        SourceError: Two have.
    """
    if len(set(names.values())) != len(names):
        raise SourceError("two categories have one name", where=path, expected="each name once")


def entry_code(entry: Entry, size: tuple[int, int]) -> Code | None:
    """Return an annotation's ``segmentation`` as compressed run lengths, or None where it encloses nothing.

    Args:
        entry: The annotation.
        size: (H, W) of its image.

    Raises:
        SourceError: It has none, or a broken one.
    """
    if "segmentation" not in entry.fields:
        raise entry.problem("segmentation", "polygons or run lengths")
    try:
        return segmentation_code(entry.fields["segmentation"], size)
    except ValueError as problem:
        raise entry.broken("segmentation", problem) from None


def relative_file(entry: Entry, name: Any, field: str) -> PurePosixPath:
    """Return the path of an image as an annotation file names it, relative to a folder of the data set.

    Raises:
        SourceError: No text, or it leads out of the folder.
    """
    path = PurePosixPath(name.replace("\\", "/")) if is_text(name) else PurePosixPath()
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in str(path) or ":" in path.parts[0]:
        named = f"'{field}' of {entry.label} names {_brief(name)}"
        raise SourceError(named, where=entry.path, expected="a path below the data set's folder")
    return path
