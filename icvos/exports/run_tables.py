"""A run as CSV tables: a row an episode, a row a frame, the figures of the whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from icvos.errors import InputError
from icvos.exports.folder import ExportFolder
from icvos.exports.formats import ExportOptions
from icvos.files import read_csv, spreadsheet_safe
from icvos.progress import Progress, Update
from icvos.runs.records import read_frames
from icvos.runs.run import Run

__all__ = ["problems", "write"]

EPISODES, FRAMES, RESULT = "episodes.csv", "frames.csv", "result.csv"


def write(subject: Run, folder: ExportFolder, options: ExportOptions, progress: Progress) -> None:
    """Write ``episodes.csv``, ``result.csv`` and, of videos, ``frames.csv``; a board's record holds no frames.

    Figures of episodes and of the whole are percent at full precision, those of frames 0..1; what does not apply is an
    empty field.
    """
    folder.write(EPISODES, lambda: _episodes(subject))
    folder.write(RESULT, lambda: _csv(("metric", "value"), ([name, value] for name, value in subject.summary.items())))
    if not subject.image and subject.where.is_dir():
        folder.write(FRAMES, lambda: _frames(subject, progress))


def problems(root: Path) -> Sequence[str]:
    """Return what is wrong: a table that cannot be read, or frames of an episode that is in no row."""
    try:
        known = {row["id"] for row in read_csv(root / EPISODES, ("id",))}
        read_csv(root / RESULT, ("metric", "value"))
        frames = read_csv(root / FRAMES, ("id", "frame")) if (root / FRAMES).is_file() else []
    except InputError as error:
        return [str(error)]
    unknown = sorted({row["id"] for row in frames} - known)
    return [f"{FRAMES}: frames of '{name}', which is no episode of {EPISODES}" for name in unknown]


def _episodes(run: Run) -> bytes:
    columns = list(dict.fromkeys(name for record in run.records for name in record))
    return _csv(columns, ([_cell(record.get(name)) for name in columns] for record in run.records))


def _frames(run: Run, progress: Progress) -> bytes:
    measured = run.rules.measure.columns
    rows: list[list[Any]] = []
    for done, record in enumerate(run.records, 1):
        values = read_frames(run.where, record["id"])
        if values is not None:
            columns = [values[name] for name in measured if name in values]
            rows += (
                [spreadsheet_safe(record["id"]), frame, *row]
                for frame, row in enumerate(zip(*(c.tolist() for c in columns), strict=True))
            )
        progress(Update("episodes", done, len(run.records)))
    return _csv(("id", "frame", *measured), rows)


def _cell(value: Any) -> Any:
    """Return lists, as a few-shot episode's supports, as one field, and texts so that no spreadsheet runs them."""
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return spreadsheet_safe(text) if isinstance(text, str) else text


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return stream.getvalue().encode()
