"""Two people's labels of the same things, merged: what both say, and the conflicts to settle.

A label counts when two people give it. What they differ in, or one alone has answered, is a conflict; a third file, the
conflicts with their empty columns filled in, settles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from icvos.builders.labels.agreement import cohen_kappa, confused_pairs
from icvos.builders.labels.labeller import COMPLETE, KINDS, OBJECTS, Answer, Key, Kind, Labeller, named_video
from icvos.errors import InputError
from icvos.files import spreadsheet_safe, write_csv

__all__ = ["Conflict", "KindMerge", "merge_labels"]


@dataclass(frozen=True)
class Conflict:
    """A question that two people do not answer alike, or that one alone answers.

    Attributes:
        kind, key: What is asked.
        a, b: What each says; None where one says nothing.
        note_a, note_b: Their notes.
        settled: What the third file says; None while it is open.
        note, said_by: Of the third file.
    """

    kind: Kind
    key: Key
    a: Answer | None
    b: Answer | None
    note_a: str = ""
    note_b: str = ""
    settled: Answer | None = None
    note: str = ""
    said_by: str = ""

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """The (video, category) pairs of a benchmark that it bears on."""
        source, video, last = self.key
        categories = {last} if self.kind is COMPLETE else {x[0] for x in (self.a, self.b) if x} - {"none"}
        return {(named_video(source, video), category) for category in categories}

    @property
    def to_fill_in(self) -> Answer:
        """What stands in the columns of the answer: what settles it, else blanks but for what nobody differs in.

        The first, the answer proper, is always left to be filled in.
        """
        if self.settled is not None:
            return self.settled
        columns = zip(*filter(None, (self.a, self.b)))
        return ("", *(said[0] if len(set(said)) == 1 else "" for said in list(columns)[1:]))

    def says(self, answer: Answer | None) -> str:
        """Return an answer as a person reads it: ``dog, keep no, frames 3 to 9``; "" where there is none."""
        if answer is None or self.kind is COMPLETE:
            return "" if answer is None else answer[0]
        category, keep, start, end = answer
        clip = f", frames {start or 'first'} to {end or 'last'}" if start or end else ""
        return category + (", keep no" if keep == "no" else "") + clip


@dataclass
class KindMerge:
    """Two people's answers of one kind, merged.

    Attributes:
        kind: What they are.
        both, only_a, only_b, neither: How many questions both, one alone and neither answered.
        same: How many of both have the same category (objects) or answer (completeness).
        kappa: Cohen's, over those that both answered; None where it is undefined.
        confused: Pairs of answers that stand for each other, and how often.
        differ_in_keep, differ_in_clip: How many of both differ in ``keep``, and in ``start`` or ``end``.
        conflicts: All of them, the settled ones too.
        rows: The merged rows, by column.
    """

    kind: Kind
    both: int
    only_a: int
    only_b: int
    neither: int
    same: int
    kappa: float | None
    confused: list[tuple[str, str, int]]
    differ_in_keep: int
    differ_in_clip: int
    conflicts: list[Conflict]
    rows: list[dict[str, str]]

    @property
    def open(self) -> list[Conflict]:
        """The conflicts that nobody has settled."""
        return [conflict for conflict in self.conflicts if conflict.settled is None]

    def write_rows(self, path: Path) -> None:
        """Write the merged recipe file; texts stay as people wrote them."""
        write_csv(path, (*self.kind.columns, "said_by"), self.rows)

    def write_conflicts(
        self, path: Path, names: tuple[str, str], *, changes: Mapping[Conflict, float | None] | None = None
    ) -> None:
        """Write the conflicts as a CSV file to be filled in, what is settled already with its answers.

        It is for a spreadsheet: texts that would run as a formula are quoted, and are matched so when it is read.

        Args:
            path: The file.
            names: Of the two people.
            changes: J&F of a run without the pairs of a conflict, less the run's; None where it has none of them.
        """
        says, notes = ([f"{name} {what}" for name in names] for what in ("says", "note"))
        rows = []
        for conflict in self.conflicts:
            row = {**dict(zip(self.kind.key, conflict.key)), **dict(zip(self.kind.answer, conflict.to_fill_in))}
            row |= {"note": conflict.note, "said_by": conflict.said_by}
            row |= dict(zip(says, (conflict.says(conflict.a), conflict.says(conflict.b))))
            row |= dict(zip(notes, (conflict.note_a, conflict.note_b)))
            row = {column: spreadsheet_safe(text) for column, text in row.items()}
            change = (changes or {}).get(conflict)
            rows.append({**row, "J&F without": "" if change is None else f"{change:+.4f}"})
        columns = [*self.kind.key, *says, *self.kind.answer, "note", "said_by", *notes]
        columns += [] if changes is None else ["J&F without"]
        heads = {column: spreadsheet_safe(column) for column in columns}
        write_csv(path, list(heads.values()), ({heads[column]: row[column] for column in columns} for row in rows))


def merge_labels(a: Labeller, b: Labeller, settled: Sequence[Labeller] = ()) -> list[KindMerge]:
    """Merge two people's labels, kind by kind.

    Args:
        a, b: What each said.
        settled: Conflicts with their empty columns filled in; they are named by whoever filled them in.

    Raises:
        InputError: ``settled`` answers what is no conflict, or one thing in two ways.
    """
    merges = [_merge_kind(KINDS[name], a, b, _settled(KINDS[name], a, b, settled)) for name in a.kinds]
    for third in settled:
        other = next((kind for kind in third.kinds if kind not in a.kinds), None)
        if other is not None:
            raise InputError(f"it settles {other}", where=third.files[0], expected=f"conflicts of {', '.join(a.kinds)}")
    return merges


def _settled(kind: Kind, a: Labeller, b: Labeller, settled: Iterable[Labeller]) -> dict[Key, tuple[Answer, str, str]]:
    """Return what the third files answer, with note and who said it, by the key that the two people's files have."""
    said_a, said_b = a.answers.get(kind.name, {}), b.answers.get(kind.name, {})
    keys = {_safe(key): key for key in (*said_a, *said_b)}
    third: dict[Key, tuple[Answer, str, str]] = {}
    for person in settled:
        for written, answer in person.answers.get(kind.name, {}).items():
            key, name, file = keys.get(_safe(written)), ",".join(written), person.files[0]
            if key is None:
                raise InputError(f"neither labelled {name}", where=file, expected="rows of the conflicts alone")
            if said_a.get(key) == said_b.get(key):
                if said_a[key] != answer:
                    raise InputError(f"both labelled {name} alike", where=file, expected="rows of the conflicts alone")
                continue
            if third.get(key, (answer,))[0] != answer:
                raise InputError(f"{name} is settled in two ways", where=file, expected="one answer")
            said_by = person.said_by[kind.name][written] or person.name
            third[key] = (answer, person.notes[kind.name][written], said_by)
    return third


def _safe(key: Key) -> Key:
    source, video, last = map(spreadsheet_safe, key)
    return source, video, last


def _in_order(keys: Iterable[Key]) -> list[Key]:
    return sorted(keys, key=lambda key: (key[:2], key[2].zfill(12) if key[2].isdigit() else key[2]))


def _merge_kind(kind: Kind, a: Labeller, b: Labeller, settled: Mapping[Key, tuple[Answer, str, str]]) -> KindMerge:
    said_a, said_b = a.answers.get(kind.name, {}), b.answers.get(kind.name, {})
    notes_a, notes_b = a.notes.get(kind.name, {}), b.notes.get(kind.name, {})
    both = _in_order(said_a.keys() & said_b.keys())
    first, second = [said_a[key][0] for key in both], [said_b[key][0] for key in both]
    blank = (a.blank.get(kind.name, set()) | b.blank.get(kind.name, set())) - said_a.keys() - said_b.keys()
    conflicts, rows = [], []
    for key in _in_order(said_a.keys() | said_b.keys()):
        answer, note, said_by = (
            said_a.get(key),
            _joined(notes_a.get(key, ""), notes_b.get(key, "")),
            f"{a.name}+{b.name}",
        )
        if answer != said_b.get(key):
            answer, third_note, said_by = settled.get(key, (None, "", ""))
            notes = (notes_a.get(key, ""), notes_b.get(key, ""))
            conflicts.append(Conflict(kind, key, said_a.get(key), said_b.get(key), *notes, answer, third_note, said_by))
            note = third_note or note
        if answer is not None:
            row = {**dict(zip(kind.key, key)), **dict(zip(kind.answer, answer))}
            rows.append({**row, "note": note, "said_by": said_by})
    return KindMerge(
        kind,
        both=len(both),
        only_a=len(said_a.keys() - said_b.keys()),
        only_b=len(said_b.keys() - said_a.keys()),
        neither=len(blank),
        same=sum(x == y for x, y in zip(first, second)),
        kappa=cohen_kappa(first, second),
        confused=confused_pairs(first, second),
        differ_in_keep=sum(kind is OBJECTS and said_a[key][1] != said_b[key][1] for key in both),
        differ_in_clip=sum(said_a[key][2:] != said_b[key][2:] for key in both),
        conflicts=conflicts,
        rows=rows,
    )


def _joined(*notes: str) -> str:
    return "; ".join(dict.fromkeys(filter(None, notes)))
