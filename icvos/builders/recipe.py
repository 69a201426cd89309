"""The recipe: CSV files in which people say what each object is, and whether a category is wholly annotated.

``source,video,object,category[,keep,start,end,note]`` says what an object is; ``source,video,category,complete`` says
whether every instance of that category in the video is annotated; ``source,video,extra,category`` what a value of masks
made in another tool is (``icvos.builders.extra``). A file is known by its header; several can be given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icvos.builders.extra import EXTRA_COLUMNS, ExtraMasks, open_maps
from icvos.categories import Vocabulary
from icvos.errors import InputError, UsageError
from icvos.files import csv_header, read_csv

__all__ = ["COMPLETE_COLUMNS", "OBJECT_COLUMNS", "ObjectLabel", "Recipe", "read_recipes"]

OBJECT_COLUMNS = ("source", "video", "object", "category", "keep", "start", "end", "note")
COMPLETE_COLUMNS = ("source", "video", "category", "complete")
REQUIRED = OBJECT_COLUMNS[:4]
YES = {"yes": True, "y": True, "true": True, "1": True, "": True, "no": False, "n": False, "false": False, "0": False}
NONE = ("none", "-")
"""What stands in ``category`` for an object that is no thing of the vocabulary."""


@dataclass(frozen=True)
class ObjectLabel:
    """What the recipe says of one object.

    Attributes:
        category: Its number in the vocabulary, or None for a thing that the vocabulary does not have.
        keep: Whether it is wanted at all.
        start, end: First and last frame of the video to use, as the data set numbers its frames; None for all.
    """

    category: int | None
    keep: bool = True
    start: int | None = None
    end: int | None = None


@dataclass
class Recipe:
    """All recipe files together.

    Attributes:
        objects: Labels of the objects of each (source, video).
        complete: ``yes``, ``no`` or ``unsure`` by (source, video, category); ``unsure`` says what no row says.
        extra: Masks made in another tool, by (source, video).
    """

    objects: dict[tuple[str, str], dict[int, ObjectLabel]] = field(default_factory=dict)
    complete: dict[tuple[str, str, int], str] = field(default_factory=dict)
    extra: dict[tuple[str, str], ExtraMasks] = field(default_factory=dict)

    @property
    def judged_sources(self) -> set[str]:
        """The sources of which someone said whether categories are complete."""
        return {source for (source, _, _), value in self.complete.items() if value != "unsure"}

    @property
    def sha256(self) -> str:
        """Hash of what the files say, whatever the order of files and rows; notes and ``unsure`` do not count.

        Masks made in another tool count with all their bytes.
        """
        lines = [
            f"object,{source},{video},{number},{label}"
            for (source, video), labels in self.objects.items()
            for number, label in labels.items()
        ]
        lines += [
            f"complete,{','.join(map(str, key))},{value}" for key, value in self.complete.items() if value != "unsure"
        ]
        for (source, video), extra in self.extra.items():
            lines += [f"extra,{source},{video},{number},{category}" for number, category in extra.objects.items()]
            lines += [f"mask,{source},{video},{stem},{digest}" for stem, digest in extra.hashes.items()]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()

    def of_sources(self, sources: Iterable[str]) -> Recipe:
        """Return what is said of these sources alone."""
        kept = set(sources)
        return Recipe(
            {key: labels for key, labels in self.objects.items() if key[0] in kept},
            {key: value for key, value in self.complete.items() if key[0] in kept},
            {key: value for key, value in self.extra.items() if key[0] in kept},
        )

    def is_complete(self, source: str, video: str, category: int) -> str | None:
        """Return ``yes`` or ``no``, or None where nobody is sure."""
        said = self.complete.get((source, video, category))
        return None if said == "unsure" else said

    def clip(self, source: str, video: str) -> tuple[int | None, int | None]:
        """Return first and last frame of a video to use, which all rows that give them must agree on.

        Raises:
            InputError: They do not.
        """
        labels = self.objects.get((source, video), {})
        clips = sorted(
            {(x.start, x.end) for x in labels.values() if x.start is not None or x.end is not None},
            key=lambda clip: (clip[0] or 0, clip[1] or 0),
        )
        if len(clips) > 1:
            raise InputError(
                f"two clips of one video in the recipe: {source},{video} has {clips[0]} and {clips[1]}",
                expected="one start and end for all objects of a video",
            )
        return clips[0] if clips else (None, None)


def read_recipes(paths: Iterable[Path], words: Vocabulary) -> Recipe:
    """Read recipe files of all kinds, and the masks beside those of extra objects.

    Args:
        paths: CSV files; their order does not matter.
        words: The vocabulary that categories are looked up in, by name, synonym or number.

    Raises:
        InputError: A broken file or row, or two answers to one question.
        UsageError: A category that the vocabulary does not have.
    """
    recipe = Recipe()
    tables: dict[Path, Path] = {}
    extra: dict[Path, dict[tuple[str, str], dict[int, int]]] = {}
    for path in sorted(Path(p) for p in paths):
        rows = read_csv(path, ("source", "video", "category"))
        names = set(rows[0]) if rows else set(csv_header(path))
        if "object" in names:
            _read_objects(recipe, path, read_csv(path, REQUIRED), words)
        elif "complete" in names:
            _read_complete(recipe, path, rows, words)
        elif "extra" in names:
            tables.setdefault(path.parent, path)
            _read_extra(extra.setdefault(path.parent, {}), path, read_csv(path, EXTRA_COLUMNS), words)
        else:
            raise InputError("no recipe", where=path, expected="a column 'object', 'complete' or 'extra'")
    for folder, objects in extra.items():
        for key, masks in open_maps(tables[folder], objects).items():
            if recipe.extra.setdefault(key, masks) is not masks:
                raise InputError(
                    f"extra masks of {','.join(key)} lie in two folders, {recipe.extra[key].table.parent} and {folder}",
                    expected="all masks of a video in one",
                )
    return recipe


def _read_extra(
    objects: dict[tuple[str, str], dict[int, int]], path: Path, rows: Sequence[dict[str, str]], words: Vocabulary
) -> None:
    for row in rows:
        name = f"{row['source']},{row['video']},{row['extra']}"
        number = _whole(row["extra"], "extra", name, path)
        if number is None or not 1 <= number <= 254:
            raise InputError(f"extra of {name} is '{row['extra'][:40]}'", where=path, expected="1 to 254")
        category = row["category"].strip()
        if not category or category.lower() in NONE:
            raise InputError(f"{name} has no category", where=path, expected=f"one of {words.name}")
        known = objects.setdefault((row["source"].strip(), row["video"].strip()), {})
        if known.setdefault(number, _category(category, words, name, path)) != _category(category, words, name, path):
            raise InputError(f"two categories for the extra object {name}", where=path, expected="one")


def _read_objects(recipe: Recipe, path: Path, rows: Sequence[dict[str, str]], words: Vocabulary) -> None:
    for row in rows:
        name = f"{row['source']},{row['video']},{row['object']}"
        category = row["category"].strip()
        if not category:  # not labelled yet
            continue
        number = _whole(row["object"], "object", name, path)
        keep = YES.get(row.get("keep", "").strip().lower())
        if keep is None or number is None:
            raise InputError(f"keep of {name} is '{row.get('keep')}'", where=path, expected="yes or no, and an object")
        label = ObjectLabel(
            None if category.lower() in NONE else _category(category, words, name, path),
            keep,
            _whole(row.get("start", ""), "start", name, path),
            _whole(row.get("end", ""), "end", name, path),
        )
        if label.start is not None and label.end is not None and label.end < label.start:
            raise InputError(
                f"clip of {name} ends before it starts", where=path, expected="start <= end, both included"
            )
        known = recipe.objects.setdefault((row["source"].strip(), row["video"].strip()), {})
        old = known.setdefault(number, label)
        if old.category != label.category:
            raise InputError(
                f"two categories for one object: {name} is {_name(old, words)} and {_name(label, words)}",
                where=path,
                expected="one category",
            )
        if old != label:
            raise InputError(f"two rows for {name} differ in keep, start or end", where=path, expected="one answer")


def _read_complete(recipe: Recipe, path: Path, rows: Sequence[dict[str, str]], words: Vocabulary) -> None:
    for row in rows:
        name = f"{row['source']},{row['video']},{row['category']}"
        value = row["complete"].strip().lower()
        if not value:
            continue
        if value not in ("yes", "no", "unsure"):
            raise InputError(f"complete of {name} is '{value}'", where=path, expected="yes, no or unsure")
        number = _category(row["category"], words, name, path)
        key = (row["source"].strip(), row["video"].strip(), number)
        old = recipe.complete.get(key, value)
        if "unsure" not in (old, value) and old != value:
            raise InputError(f"two answers for {name}: {old} and {value}", where=path, expected="one")
        # Whoever is sure wins over whoever is not.
        recipe.complete[key] = value if old == "unsure" else old


def _category(text: str, words: Vocabulary, name: str, path: Path) -> int:
    try:
        return words.number(text)
    except UsageError as error:
        raise UsageError(f"{error.what} (row {name})", where=path, fix=error.fix) from None


def _name(label: ObjectLabel, words: Vocabulary) -> str:
    return "none" if label.category is None else words.label(label.category)


def _whole(text: str, column: str, name: str, path: Path) -> int | None:
    text = text.strip()
    if not text and column != "object":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InputError(f"{column} of {name} is '{text[:40]}'", where=path, expected="a whole number")
    return int(text)
