"""One person's labels: all that the CSV files of the labels page say, by what was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from icvos.builders.recipe import COMPLETE_COLUMNS, OBJECT_COLUMNS, ObjectLabel, Recipe, read_recipes
from icvos.categories import COCO80, Vocabulary
from icvos.errors import InputError, UsageError
from icvos.files import csv_header, escape_id, read_csv
from icvos.listing import listing
from icvos.sources import keep_unsure_ids

__all__ = ["COMPLETE", "KINDS", "OBJECTS", "Answer", "Key", "Kind", "Labeller", "named_video", "read_labellers"]

Key = tuple[str, str, str]
"""Source, video, and the object's number or the category's name."""
Answer = tuple[str, ...]
"""What one says, as the columns of its kind hold it."""


@dataclass(frozen=True)
class Kind:
    """A kind of recipe file: the column that marks it, those that say what is asked, those of the answer, and all."""

    name: str
    mark: str
    key: tuple[str, str, str]
    answer: tuple[str, ...]
    columns: tuple[str, ...]


OBJECTS = Kind("objects", "object", ("source", "video", "object"), ("category", "keep", "start", "end"), OBJECT_COLUMNS)
COMPLETE = Kind("complete", "complete", ("source", "video", "category"), ("complete",), (*COMPLETE_COLUMNS, "note"))
KINDS = {kind.name: kind for kind in (OBJECTS, COMPLETE)}


@dataclass
class Labeller:
    """One person's labels.

    Attributes:
        name: Of the person.
        files: The CSV files.
        recipe: What they say.
        answers: Each answer, by kind and key.
        notes, said_by: The texts of these columns, likewise.
        blank: What the files ask and do not answer, by kind.
        words: The vocabulary of categories.
    """

    name: str
    files: list[Path]
    recipe: Recipe
    answers: dict[str, dict[Key, Answer]] = field(default_factory=dict)
    notes: dict[str, dict[Key, str]] = field(default_factory=dict)
    said_by: dict[str, dict[Key, str]] = field(default_factory=dict)
    blank: dict[str, set[Key]] = field(default_factory=dict)
    words: Vocabulary = COCO80

    @classmethod
    def read(cls, path: Path, name: str, words: Vocabulary = COCO80) -> Labeller:
        """Read a CSV file of either kind, or a folder of such files.

        Raises:
            InputError: A broken file or row, a question in two rows, or a folder without CSV files.
            UsageError: A category that the vocabulary does not have.
        """
        files = listing(path, (".csv",)) if path.is_dir() else [path]
        if not files:
            raise InputError("no CSV file in this folder", where=path, expected="what the labels page exports")
        # A list of frames that need masks is work, masks made in another tool are facts: neither is an answer.
        headers = {file: csv_header(file) for file in files}
        recipe = read_recipes([file for file in files if "mask" not in headers[file]], words)
        files = [file for file in files if not {"mask", "extra"} & set(headers[file])]
        labeller = cls(name, files, recipe, words=words)
        for (source, video), labels in recipe.objects.items():
            for number, label in labels.items():
                key = (source, video, str(number))
                labeller.answers.setdefault(OBJECTS.name, {})[key] = _object_answer(label, words)
        for (source, video, category), value in recipe.complete.items():
            labeller.answers.setdefault(COMPLETE.name, {})[source, video, words.label(category)] = (value,)
        for file in files:
            labeller._read_rows(file, words)
        return labeller

    def _read_rows(self, file: Path, words: Vocabulary) -> None:
        for row in read_csv(file, ("source", "video", "category")):
            kind = OBJECTS if OBJECTS.mark in row else COMPLETE
            texts = [row[column].strip() for column in kind.key]
            answered = bool(row[kind.answer[0]].strip())
            if kind is COMPLETE and answered:
                texts[2] = words.label(words.number(texts[2]))
            elif kind is OBJECTS:
                texts[2] = texts[2].lstrip("0") or "0"
            key: Key = (texts[0], texts[1], texts[2])
            if not answered:
                self.blank.setdefault(kind.name, set()).add(key)
                continue
            notes = self.notes.setdefault(kind.name, {})
            if key in notes:
                raise InputError(f"two rows for {','.join(key)}", where=file, expected="one row, from one person")
            notes[key] = row.get("note", "").strip()
            self.said_by.setdefault(kind.name, {})[key] = row.get("said_by", "").strip()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What kinds of files they are: ``objects``, ``complete``."""
        headers = [csv_header(file) for file in self.files]
        return tuple(kind.name for kind in KINDS.values() if any(kind.mark in header for header in headers))

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """The (video, category) pairs of a benchmark that the labels make, as ``build-data ic-vos`` makes them.

        A category counts where an object that is kept has it and, in sources whose completeness is judged, where the
        answer is yes and all its objects are kept. Of MOSE, LVOS and others whose unsure pairs a build leaves out, it
        is judged wherever the files ask of completeness. In videos of which no object is labelled (the data set names
        them) the answers on completeness alone say what there is.
        """
        has_completeness = COMPLETE.name in self.kinds
        complete = self.answers.get(COMPLETE.name, {})
        judged, labelled = self.recipe.judged_sources, self.recipe.objects
        dropped: set[Key] = set()
        there = {key for key in complete if key[:2] not in labelled}
        for (source, video, _), (category, keep, *_) in self.answers.get(OBJECTS.name, {}).items():
            if category != "none":
                (there if keep == "yes" else dropped).add((source, video, category))
        for (source, video), extra in self.recipe.extra.items():
            there |= {(source, video, self.words.label(category)) for category in extra.objects.values()}
        whole = {key for key, answer in complete.items() if answer == ("yes",)} - dropped
        return {
            (named_video(source, video), category)
            for source, video, category in there
            if (source, video, category) in whole
            or (source not in judged and (source in keep_unsure_ids() or not has_completeness))
        }

    @property
    def videos(self) -> set[str]:
        """The videos that the labels speak of, as a benchmark names them."""
        return {named_video(source, video) for answers in self.answers.values() for source, video, _ in answers}


def named_video(source: str, video: str) -> str:
    """Return a video's name in a benchmark by a recipe's words for it, as ``ic_vos.plan.video_name`` does."""
    return f"{source}__{escape_id(video)}"


def _object_answer(label: ObjectLabel, words: Vocabulary) -> Answer:
    category = "none" if label.category is None else words.label(label.category)
    clip = ("" if frame is None else str(frame) for frame in (label.start, label.end))
    return (category, "yes" if label.keep else "no", *clip)


def read_labellers(
    a: Path, b: Path, *, names: tuple[str, str] | None = None, words: Vocabulary = COCO80
) -> tuple[Labeller, Labeller]:
    """Read two people's labels of the same things.

    Args:
        a, b: Each a CSV file, or a folder with all CSV files of a person.
        names: Of the two; default what the page was told (``said_by``), else the files' names or, where they are the
            same, their folders'.
        words: The vocabulary of categories.

    Raises:
        InputError: A broken file, or files of different kinds.
        UsageError: The same file twice, or the same name.
    """
    first, second = Labeller.read(a, "", words), Labeller.read(b, "", words)
    names = names or _names((a.resolve(), b.resolve()), (first, second))
    first.name, second.name = names
    for file in first.files:
        if any(file.samefile(other) for other in second.files):
            raise UsageError("the same file twice", where=file, expected="the files of two people")
    if not all(name.strip() for name in names) or names[0] == names[1]:
        raise UsageError(f"two people are called '{names[0]}' and '{names[1]}'", expected="two names that differ")
    if first.kinds != second.kinds:
        kinds = [" and ".join(person.kinds) for person in (first, second)]
        raise InputError(f"files of different kinds: {a} has {kinds[0]}, {b} has {kinds[1]}", expected="the same kinds")
    if not any(rows for person in (first, second) for rows in (*person.answers.values(), *person.blank.values())):
        raise InputError("no row in these files", where=a, expected="labels of objects, or of completeness")
    return first, second


def _names(paths: tuple[Path, Path], people: tuple[Labeller, Labeller]) -> tuple[str, str]:
    """Return what two people are called: what alone stands in ``said_by`` of each, or names of files or folders."""
    said_by = [{text for texts in person.said_by.values() for text in texts.values()} for person in people]
    for a, b in (
        ["".join(texts) if len(texts) == 1 else "" for texts in said_by],
        [path.stem for path in paths],
        [path.parent.name for path in paths],
    ):
        if a and b and a != b:
            return a, b
    return "A", "B"
