"""What papers printed: ``leaderboards/published.csv``, package data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from icvos.builders.published import FSVOS_PREFIX, VOS_PREFIX
from icvos.errors import InputError
from icvos.files import read_csv

__all__ = ["BENCHMARKS", "BUILD", "COLUMNS", "PublishedRow", "is_of", "published_for", "read_published"]

COLUMNS = (
    "benchmark",
    "protocol",
    "method",
    "encoder",
    "shots",
    "metric",
    "part",
    "value",
    "kind",
    "source",
    "table",
    "note",
)
_ANY = "histogram"
BUILD = {
    "ic-vos": ("ic-vos --from-release IC-VOS --coco COCO", _ANY),
    "coco-20i": ("coco-20i --coco COCO", _ANY),
    "pascal-5i": ("pascal-5i --voc VOC2012", _ANY),
    "coco-20i-to-pascal-5i": ("pascal-5i --voc VOC2012 --domain-shift", _ANY),
    "lvos-v2": ("vos --lvos LVOS", "sam2-tracker --weights sam2=FILE"),
    "youtube-fsvos": ("youtube-fsvos --ytvis YTVIS --group 1", _ANY),
    "fss-1000": ("fss-1000 --fss FSS-1000", _ANY),
    "lvis-92i-1shot": ("lvis-92i --lvis LVIS --coco COCO", _ANY),
}
"""Of each printed benchmark what builds it, after ``icvos build-data`` and without ``--out``, and a method for it."""
BENCHMARKS = tuple(BUILD)


_BUILT_AS = {"youtube-fsvos": FSVOS_PREFIX, "coco-20i-to-pascal-5i": "coco2pascal", "lvos-v2": f"{VOS_PREFIX}lvos-"}
"""What names of builds of printed benchmarks begin with, where they are others: a group of YouTube-FSVOS is one."""


def is_of(name: str, benchmark: str) -> bool:
    """Whether a benchmark that was measured on is the named one, or what is built of a printed one of that name."""
    return name == benchmark or (benchmark in _BUILT_AS and name.startswith(_BUILT_AS[benchmark]))


@dataclass(frozen=True)
class PublishedRow:
    """A line of a printed table.

    Attributes:
        kind: ``published``, or ``reference`` (given the first frame's own mask: no in-context method).
        shots: Supports shown; 0 for a reference.
        values: Printed figures in percent, by (metric, part): ``("mIoU", "fold-0")``, ``("J&F", "all")``.
        notes: What is odd about the printed figures.
    """

    benchmark: str
    protocol: str
    method: str
    encoder: str
    shots: int
    kind: str
    source: str
    table: str
    values: dict[tuple[str, str], float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def value(self, metric: str) -> float | None:
        """Return the figure of the whole benchmark, or None if it was not printed."""
        return self.values.get((metric, "all"), self.values.get((metric, "mean")))

    @property
    def label(self) -> str:
        """Method with its encoder."""
        return f"{self.method} ({self.encoder})" if self.encoder else self.method


@cache
def _packaged() -> tuple[PublishedRow, ...]:
    # Beside icvos/ in a checkout and in site-packages alike; importlib.resources trips over the path hook that an
    # editable install can leave in a namespace package.
    return read_published(Path(__file__).resolve().parents[2] / "leaderboards" / "published.csv")


def read_published(path: Path | None = None) -> tuple[PublishedRow, ...]:
    """Read printed figures; by default those that come with icvos.

    Raises:
        InputError: A column is missing, or a figure is no percentage.
    """
    if path is None:
        return _packaged()
    rows: dict[tuple[str, ...], PublishedRow] = {}
    for number, line in enumerate(read_csv(path, COLUMNS), 2):
        head = tuple(line[name] for name in ("benchmark", "protocol", "method", "encoder", "shots", "kind", "table"))
        try:
            value, shots = float(line["value"]), int(line["shots"])
        except ValueError:
            value, shots = math.nan, 0
        if not 0 <= value <= 100 or line["kind"] not in ("published", "reference"):
            raise InputError(f"line {number} holds no printed figure", where=path, expected="a percentage, its kind")
        old = rows.get(head)
        values = {**(old.values if old else {}), (line["metric"], line["part"]): value}
        part = f"{line['metric']} {line['part']}: " if line["part"] not in ("all", "mean") else ""
        notes = old.notes if old else ()
        notes += tuple(note for note in [part + line["note"]] if line["note"] and note not in notes)
        rows[head] = PublishedRow(
            line["benchmark"],
            line["protocol"],
            line["method"],
            line["encoder"],
            shots,
            line["kind"],
            line["source"],
            line["table"],
            values,
            notes,
        )
    return tuple(rows.values())


def published_for(benchmark: str, rows: Sequence[PublishedRow] | None = None) -> list[PublishedRow]:
    """Return what was printed for a benchmark; demo benchmarks have none, by design of their names."""
    return [row for row in (read_published() if rows is None else rows) if row.benchmark == benchmark]
