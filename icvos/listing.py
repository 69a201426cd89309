"""The only listing of users' frames and folders: sorted, by suffix in any case, without what other systems leave."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path

from icvos.errors import InputError
from icvos.files import read_lines

__all__ = [
    "files_by_stem",
    "folders",
    "frame_files",
    "is_stray",
    "listed_names",
    "listing",
    "match_stems",
    "natural",
    "path_of_stem",
]

# What Windows and macOS leave in folders and archives, beside hidden files.
STRAYS = ("thumbs.db", "desktop.ini", "__macosx", "@eadir")


def is_stray(name: str) -> bool:
    """Return whether a file or folder is hidden (``.DS_Store``, ``._x``), or left by another system."""
    return name.startswith(".") or name.lower() in STRAYS


def listing(folder: Path, suffixes: Sequence[str] | None = None, *, error: type[InputError] = InputError) -> list[Path]:
    """Return the files of ``folder`` (links too, broken ones as well), sorted by name; strays are left out.

    Args:
        folder: Where they lie; folders in it are not entered.
        suffixes: Only files with these, in lower case; ``.PNG`` counts as ``.png``.
        error: What is raised.

    Raises:
        InputError: The folder is missing, or a file's name is not UTF-8 or cannot be printed.
    """
    if not folder.is_dir():
        raise error("folder not found", where=folder)
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not is_stray(entry.name) and not entry.is_dir())
    if suffixes is not None:
        names = [name for name in names if os.path.splitext(name)[1].lower() in suffixes]  # noqa: PTH122
    _check_names(names, folder, error)
    return [folder / name for name in names]


def _check_names(names: Sequence[str], folder: Path, error: type[InputError]) -> None:
    """Refuse names that no table or list could hold: in another encoding, as an archive of Windows leaves them, or with
    line ends and the like."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            printable = os.fsencode(name).decode(errors="backslashreplace")
            raise error(f"the name '{printable}' is not UTF-8", where=folder, fix="rename it") from None
        if not name.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in name):
            printable = name.encode("unicode_escape").decode()
            raise error(f"the name '{printable}' holds control characters", where=folder, fix="rename it")


def files_by_stem(folder: Path, suffixes: Sequence[str], *, error: type[InputError] = InputError) -> dict[str, Path]:
    """Return the files of ``listing`` by stem, in its order.

    Raises:
        InputError: The folder is missing, or two files have one stem.
    """
    files: dict[str, Path] = {}
    for path in listing(folder, suffixes, error=error):
        if path.stem in files:
            raise error(f"'{path.stem}' is there twice", where=folder, expected="one file a frame")
        files[path.stem] = path
    return files


def frame_files(folder: Path, suffixes: Sequence[str], *, error: type[InputError] = InputError) -> dict[str, Path]:
    """Return the files of ``listing`` by stem, in the order of their numbers.

    Stems are numbers, or end in one (``img_0000001``).

    Raises:
        InputError: The folder is missing, two files have one stem, or a stem has no number.
    """
    files = files_by_stem(folder, suffixes, error=error)
    numbers = {stem: _number(stem, folder, error) for stem in files}
    return {stem: files[stem] for stem in sorted(files, key=lambda stem: (numbers[stem], stem))}


def natural(stem: str) -> tuple[tuple[int, int | str], ...]:
    """Return what stems are sorted by: text as text, the numbers in it as numbers (``9`` before ``10``)."""
    parts = re.split("([0-9]{1,18})", stem)
    return tuple((0, int(part)) if index % 2 else (1, part) for index, part in enumerate(parts) if part)


def match_stems(wanted: Sequence[str], stems: Sequence[str]) -> dict[str, str]:
    """Return the stem of each wanted frame that is there: the same, else the one that is the same number.

    ``7`` and ``00007`` are one frame; where several are, and none is the same text, none is chosen. No stem is that of
    two frames.
    """
    there = set(stems)
    numbers: dict[int, list[str]] = {}
    for stem in stems:
        if _is_number(stem):
            numbers.setdefault(int(stem), []).append(stem)
    same_number = Counter(int(stem) for stem in wanted if _is_number(stem))
    matches = {}
    for stem in wanted:
        if stem in there:
            matches[stem] = stem
        elif _is_number(stem) and same_number[int(stem)] == len(numbers.get(int(stem), ())) == 1:
            matches[stem] = numbers[int(stem)][0]
    return matches


def _is_number(stem: str) -> bool:
    return stem.isascii() and stem.isdigit() and len(stem) <= 4000  # as far as int reads


def _number(stem: str, folder: Path, error: type[InputError]) -> int:
    digits = stem[len(stem.rstrip("0123456789")) :]
    if not digits or not digits.isascii() or len(digits) > 18:
        raise error(f"'{stem}' has no frame number", where=folder, expected="names as 00000")
    return int(digits)


def path_of_stem(folder: Path, stem: str, suffix: str) -> Path:
    """Return the file of a stem that ``listing`` gave: with ``suffix`` in any case; in lower case if there is none."""
    paths = (folder / f"{stem}{case}" for case in _cases(suffix))
    return next((path for path in paths if path.exists()), folder / f"{stem}{suffix}")


@cache
def _cases(suffix: str) -> tuple[str, ...]:
    """Return a suffix in lower case, in upper case, and in every mix of them."""
    return tuple(dict.fromkeys([suffix, suffix.upper(), *map("".join, product(*zip(suffix, suffix.upper())))]))


def listed_names(path: Path, *, error: type[InputError] = InputError) -> list[str]:
    """Return the sequences that a list names: one a line, or a frame of one, ``/JPEGImages/480p/bear/00000.jpg …``.

    Raises:
        InputError: No list.
    """
    names = []
    for line in filter(None, read_lines(path, error=error)):
        parts = line.split()[0].split("/")
        names.append(parts[-2] if line.startswith("/") and len(parts) > 2 else line)
    return names


def names_of(text: str | Path, *, error: type[InputError] = InputError) -> list[str]:
    """Return the names that a file lists, one a line, or that stand in a text with commas between.

    Raises:
        InputError: The file is no list.
    """
    try:
        is_file = Path(text).is_file()
    except (OSError, ValueError):  # names with commas between are longer than a path may be
        is_file = False
    names = listed_names(Path(text), error=error) if is_file else [name.strip() for name in str(text).split(",")]
    return list(dict.fromkeys(filter(None, names)))


def folders(root: Path, *, error: type[InputError] = InputError) -> list[str]:
    """Return the names of the folders in ``root``, sorted, without strays; of none if it is missing.

    Raises:
        InputError: A name is not UTF-8.
    """
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not is_stray(entry.name))
    _check_names(names, root, error)
    return names
