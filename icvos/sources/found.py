"""What was found of a data set in a folder: its counts beside those of a whole one, and a line for each fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from icvos.listing import listing
from icvos.sources.expected import expected_counts

__all__ = ["COUNTED", "Count", "Found", "compare", "name_few", "to_unpack", "what_is_missing"]

COUNTED = ("sequences", "frames", "categories", "images", "masks", "objects", "annotations")
"""What is counted, in the order of the table."""

FEW = 3
"""Names that a line gives before it says how many more there are."""


@dataclass(frozen=True)
class Count:
    """So many of a thing; ``expected`` is None where nobody published how many there are."""

    found: int
    expected: int | None = None

    def __str__(self) -> str:
        return f"{self.found:,}" if self.expected is None else f"{self.found:,} of {self.expected:,}"


@dataclass(frozen=True)
class Found:
    """A split of a data set in a folder.

    Attributes:
        dataset: Its name with its version, ``LVOS v2``.
        split: ``trainval``, ``val2014``, …; empty where there are none.
        folder: Where it lies.
        counts: By what is counted (``COUNTED``).
        detail: What else there is to say of the version, ``480p``.
        problems: One line each: what is wrong, and what to do. That it is a part, which ``counts`` tell, is none.
        notes: One line each, of what is no fault.
    """

    dataset: str
    split: str
    folder: Path
    counts: Mapping[str, Count]
    detail: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is missing that is known of."""
        return not self.problems and not self.part

    @property
    def part(self) -> bool:
        """Whether there are fewer of what is counted first (sequences, images) than in all of the split."""
        return any(count.found < (count.expected or 0) for count in list(self.counts.values())[:1])

    @property
    def verdict(self) -> str:
        """``yes`` or ``no``: whether it is whole; ``not known`` where nobody published what a whole one holds."""
        if not self.whole:
            return "no"
        return "not known" if all(count.expected is None for count in self.counts.values()) else "yes"

    @property
    def title(self) -> str:
        """Its data set, split and detail."""
        return " ".join(filter(None, (self.dataset, self.split, self.detail)))

    @property
    def line(self) -> str:
        """What it is and the first of its counts: ``DAVIS-2017 trainval 480p, 90 of 90 sequences``."""
        counts = [f"{count} {what}" for what, count in self.counts.items()]
        return ", ".join([self.title, *counts[:1]])


def name_few(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {more:,} more" if more > 0 else "")


def what_is_missing(names: Sequence[str]) -> str:
    """Return a clause that says that names are missing."""
    return f"{name_few(names)} {'is' if len(names) == 1 else 'are'} missing"


def to_unpack(root: Path, archive: str, detail: str = "") -> str:
    """Return what to do: unpack the archive that lies here, or the one that the data set comes in."""
    # DAVIS has an archive for each resolution.
    archive = archive.replace("480p", detail or "480p")
    if archive and archive.lower() in {path.name.lower() for path in listing(root)}:
        return f"{archive} is here, unpack it"
    return f"unpack {archive} again" if archive else "fetch and unpack it again"


def compare(
    dataset: str, split: str, root: Path, counts: Mapping[str, int], *, faults: Iterable[str] = (), detail: str = ""
) -> Found:
    """Return a split with its counts beside those of a whole one, and what the difference says.

    Args:
        dataset, split, root, detail: As ``Found`` has them.
        counts: What is there; the first kind is what the split is made of.
        faults: What is known to be missing by name.
    """
    whole = expected_counts(dataset, split)
    shown = {what: Count(number, whole.counts.get(what)) for what, number in counts.items()}
    first = next(iter(shown), "")
    faults = list(faults)
    if first and not counts[first] and first not in whole.counts and not faults:
        faults = [f"no {first} here; {to_unpack(root, whole.archive, detail)}"]
    found = Found(dataset, split, root, shown, detail, tuple(faults))
    known = [(what, count, count.expected) for what, count in shown.items() if count.expected is not None]
    more = tuple(
        f"{count.found:,} {what}, more than the {most:,} known of" for what, count, most in known if count.found > most
    )
    cut = [(what, count) for what, count, most in known if what not in (first, "objects") and count.found < most]
    if found.problems or found.part or not cut:
        return replace(found, notes=more)
    coco = cut[0][0] == "annotations" and dataset.startswith("COCO")
    archive = f"annotations_trainval{split[-4:]}.zip" if coco else whole.archive
    short = f"{' and '.join(f'{count} {what}' for what, count in cut)} are here; {to_unpack(root, archive, detail)}"
    return replace(found, problems=(short,), notes=more)
