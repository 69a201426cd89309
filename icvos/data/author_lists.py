"""The authors' list files, read safely, and their episodes, drawn again from the same generators.

DC-SAM and PFENet: ``data_list_<fold>.txt``, lines ``image mask``, and ``sub_class_file_list_<fold>.txt``, the text of a
Python dict {category from 1: [(image, mask), …]}, both with paths of the authors' machines, of which only the file
names count. HSNet: ``fold<fold>.txt``, lines ``2007_000033__01`` (image, category from 1). Matcher:
``fold<fold>.pkl``, a dict {category from 0: [image, …]}. Nothing in them is ever run: literals are parsed, and pickles
read as plain values.
"""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icvos.categories import COCO80
from icvos.data.folds import FOLDS, PAPER_EPISODES, FewShotEpisode, check_fold
from icvos.errors import InputError, SourceError, UsageError, are, counted
from icvos.files import check_id, read_lines, read_text
from icvos.pickles import read_pickle

__all__ = ["SEED", "AuthorLists", "check_names", "legacy_choice", "read_lists", "read_matcher_lists", "replay"]

SEED = 321
"""What the authors' evaluation seeds Python's and numpy's generators with."""

_LARGEST = 200_000_000  # bytes; the authors' longest list has about 20 million
_PARTS = {"val": ("val", "fss_list/val", "."), "train": ("train", "trn", "fss_list/train", ".")}


@dataclass(frozen=True)
class AuthorLists:
    """One fold's lists.

    Attributes:
        order: Image names as ``data_list`` has them (of HSNet's lists, each image once, as first named).
        by_category: Image names of each category (from 1), in the file's order, which the authors' draws depend on.
        hsnet: Whether they have HSNet's form.
        path: Where they were read, for messages.
    """

    order: tuple[str, ...]
    by_category: dict[int, list[str]]
    hsnet: bool
    path: Path


def read_lists(folder: Path, fold: int, *, part: str = "val") -> AuthorLists:
    """Read a fold's lists.

    Args:
        folder: With the files in it, or in ``val`` / ``fss_list/val`` (``train`` / ``trn`` / ``fss_list/train``).
        fold: 0 to 3.
        part: ``val`` or ``train``.

    Raises:
        SourceError: No lists, a pickle, code in a list, or another form.
    """
    check_fold(fold)
    folder = Path(folder)
    for subfolder in (folder / name for name in _PARTS[part]):
        classes, order = subfolder / f"sub_class_file_list_{fold}.txt", subfolder / f"data_list_{fold}.txt"
        if classes.is_file() and order.is_file():
            return AuthorLists(tuple(_read_order(order)), _read_classes(classes), False, classes)
        if (subfolder / f"fold{fold}.txt").is_file():
            # HSNet's training files hold their own fold's categories; a fold trains on the other three.
            folds = [fold] if part == "val" else [other for other in range(FOLDS) if other != fold]
            return _read_hsnet([subfolder / f"fold{number}.txt" for number in folds])
        if (subfolder / f"fold{fold}.pkl").is_file():
            raise SourceError(
                "list is a pickle",
                where=subfolder / f"fold{fold}.pkl",
                expected="text lists, as DC-SAM's or PFENet's",
                fix="take those; the pickles of COCO go with --episodes matcher",
            )
    raise SourceError(
        f"no lists of fold {fold}",
        where=folder,
        expected=f"data_list_{fold}.txt and sub_class_file_list_{fold}.txt, or fold{fold}.txt",
    )


def _checked(path: Path) -> Path:
    if path.stat().st_size > _LARGEST:
        raise SourceError("list is too large", where=path, expected=f"at most {_LARGEST:,} bytes")
    return path


def _lines(path: Path) -> list[str]:
    return read_lines(_checked(path), error=SourceError)


def _name(image_path: object, path: Path) -> str:
    """Return the image name in a path of the authors' machine: the file name up to its first dot."""
    if not isinstance(image_path, str):
        raise SourceError(f"list holds {type(image_path).__name__}", where=path, expected="paths of images")
    name = image_path.replace("\\", "/").rsplit("/", 1)[-1].split(".", 1)[0]
    try:
        return check_id(name, "image name")
    except InputError as error:
        raise SourceError(error.what, where=path, expected=error.expected) from None


def _read_order(path: Path) -> Iterator[str]:
    for number, line in enumerate(_lines(path), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise SourceError(f"line {number} has {len(fields)} fields", where=path, expected="image and mask")
        yield _name(fields[0], path)


def _read_classes(path: Path) -> dict[int, list[str]]:
    expected = "a Python dict {category: [(image, mask), …]} of plain values"
    try:
        tree = ast.parse(read_text(_checked(path), error=SourceError).strip(), mode="eval")
        content = ast.literal_eval(tree)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise SourceError("list is no plain dict; nothing of it was run", where=path, expected=expected) from None
    if not isinstance(content, dict) or not content:
        raise SourceError("list is no dict", where=path, expected=expected)
    keys = [ast.literal_eval(key) for key in getattr(tree.body, "keys", ()) if key is not None]
    twice = next((key for key, count in Counter(keys).items() if count > 1), None)
    if twice is not None:
        raise SourceError(f"category {str(twice)[:40]} stands twice", where=path, expected=expected)
    names: dict[int, list[str]] = {}
    for category, entries in content.items():
        good = isinstance(category, int) and not isinstance(category, bool) and category > 0
        if not good or not isinstance(entries, list):
            raise SourceError(f"entry '{str(category)[:40]}'", where=path, expected=expected)
        if any(not isinstance(entry, tuple) or len(entry) != 2 for entry in entries):
            raise SourceError(f"category {category} holds something else than pairs", where=path, expected=expected)
        names[category] = [_name(entry[0], path) for entry in entries]
    return names


def _read_hsnet(paths: Sequence[Path]) -> AuthorLists:
    by_category: dict[int, list[str]] = {}
    order: dict[str, None] = {}
    for path in paths:
        if not path.is_file():
            raise SourceError("list not found", where=path, expected="the lists of all folds")
        for number, line in enumerate(_lines(path), 1):
            if not line.strip():
                continue
            name, separator, category = line.strip().rpartition("__")
            if not (separator and category.isascii() and category.isdigit() and 0 < int(category) < 1000):
                raise SourceError(f"line {number} is '{line[:60]}'", where=path, expected="lines as 2007_000033__01")
            by_category.setdefault(int(category), []).append(_name(name, path))
            order.setdefault(name)
    if not by_category:
        raise SourceError("list is empty", where=paths[0])
    return AuthorLists(tuple(order), by_category, True, paths[0])


def read_matcher_lists(folder: Path, fold: int) -> AuthorLists:
    """Read a fold's list of COCO-20i as Matcher has it.

    Args:
        folder: With ``fold<fold>.pkl`` in it, or in ``val`` or ``splits/val``.
        fold: 0 to 3.

    Raises:
        SourceError: No list, one that holds more than plain values, or another form.
    """
    name = f"fold{check_fold(fold)}.pkl"
    paths = [Path(folder) / part / name for part in (".", "val", "splits/val")]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise SourceError(f"no list of fold {fold}", where=folder, expected=f"{name}, in it or in splits/val")
    content = read_pickle(path, error=SourceError)
    expected = "a dict {category from 0: [image, …]}"
    if not isinstance(content, dict) or not content:
        raise SourceError("list is no dict", where=path, expected=expected)
    by_category: dict[int, list[str]] = {}
    for category, names in content.items():
        if type(category) is not int or not 0 <= category < len(COCO80) or not isinstance(names, list):
            raise SourceError(f"entry '{str(category)[:40]}'", where=path, expected=expected)
        by_category[category + 1] = [_name(name, path) for name in names]
    return AuthorLists((), by_category, False, path)


def check_names(lists: AuthorLists, known: Iterable[str], split: str) -> None:
    """See that all images of the lists are there.

    Raises:
        SourceError: Some are not.
    """
    names = set(known)
    missing = [
        n for n in dict.fromkeys([*lists.order, *(n for v in lists.by_category.values() for n in v)]) if n not in names
    ]
    if missing:
        raise SourceError(
            f"{counted(len(missing), 'images')} of the list {are(len(missing))} not in {split}, {missing[0]} for one",
            where=lists.path,
            expected="lists of this split",
            fix="give the data set that the lists were made for",
        )


def replay(
    lists: AuthorLists,
    fold: int,
    categories: tuple[int, ...],
    *,
    coco: bool,
    categories_of: Callable[[str], Iterable[int]] | None = None,
    count: int = PAPER_EPISODES,
) -> Iterator[FewShotEpisode]:
    """Yield the episodes that the authors' evaluation draws, 1-shot (their code cannot run more: fact Q5).

    Both generators are seeded with 321. COCO: the category, the query and the support are one legacy
    ``numpy.random.choice`` each. PASCAL: queries in the list's order, round and round; the category by
    ``random.randint`` among the fold's that the query's mask shows; the support by ``numpy.random.choice``. A support
    that is the query is drawn again. An episode may come twice; its ``draw`` then counts up.

    Args:
        lists: Of the fold, in DC-SAM's form.
        fold: 0 to 3.
        categories: That the fold tests, in the authors' order.
        coco: Which of the two orders.
        shown: Categories in an image's mask (PASCAL), void left out.
        count: Episodes.

    Raises:
        UsageError: HSNet's lists, whose order is not the authors'.
        SourceError: A category without images, or with a single one.
    """
    if lists.hsnet:
        raise UsageError(
            "these lists are HSNet's", where=lists.path, expected="data_list_N.txt and sub_class_file_list_N.txt"
        )
    # Own generators in the state that the authors' seeding leaves the global ones in.
    python, legacy = random.Random(SEED), np.random.RandomState(SEED)
    draws: dict[tuple[int, str], int] = {}
    for index in range(count):
        if coco:
            category = categories[legacy_choice(legacy, len(categories))]
            names = _images(lists, category)
            query = names[legacy_choice(legacy, len(names))]
        else:
            query = lists.order[index % len(lists.order)]
            assert categories_of is not None
            among = [category for category in sorted(categories_of(query)) if category in categories]
            if not among:
                raise SourceError(f"query {query} shows no category of fold {fold}", where=lists.path)
            category = among[python.randint(1, len(among)) - 1]
            names = _images(lists, category)
        if all(name == query for name in names):
            raise SourceError(f"category {category} has no image but the query {query}", where=lists.path)
        support = query
        while support == query:
            support = names[legacy_choice(legacy, len(names))]
        draw = draws.setdefault((category, query), 0)
        draws[category, query] += 1
        yield FewShotEpisode("fss-paper", fold, category, query, draw, (support,))


def _images(lists: AuthorLists, category: int) -> list[str]:
    names = lists.by_category.get(category)
    if not names:
        raise SourceError(f"category {category} has no images", where=lists.path, expected="every category of the fold")
    return names


def legacy_choice(legacy: np.random.RandomState, size: int) -> int:
    """Return what ``numpy.random.choice(list, 1, replace=False)`` picks of a list: the first of a permutation."""
    return int(legacy.choice(size, 1, replace=False)[0])
