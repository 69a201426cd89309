"""Golden toys: for each protocol ground truth, predictions and what they score, to check a scorer against.

They are package data, written by ``tools/toys.py``: the expected figures come from a scorer of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.errors import InputError, UsageError, did_you_mean, in_words
from icvos.evaluation.score import score
from icvos.files import read_json, work_folder
from icvos.runs.records import read_frames
from icvos.runs.run import Run

__all__ = ["ToyScore", "copy_toy", "score_toy", "toy_folder", "toy_names"]

FOLDER = Path(__file__).resolve().parents[1] / "toys"


@dataclass(frozen=True)
class ToyScore:
    """What a toy scored.

    Attributes:
        run: The run, whose folder is gone.
        notes: Lines that a user should see.
        figures: How many figures were compared.
        differences: Those that are not exactly the expected ones, one line each.
    """

    run: Run
    notes: tuple[str, ...]
    figures: int
    differences: tuple[str, ...]


def toy_names() -> tuple[str, ...]:
    """Return the names of the toys, each that of its protocol."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob("*/expected.json")))


def toy_folder(name: str) -> Path:
    """Return the folder of a toy.

    Raises:
        UsageError: There is none of the name.
    """
    names = toy_names()
    if name not in names:
        raise UsageError(f"no toy '{name}'", fix=did_you_mean(name, names))
    return FOLDER / name


def copy_toy(name: str, out: Path) -> Path:
    """Copy a toy's folder to ``out``, which must not exist (an empty folder may), and return it.

    Raises:
        UsageError: There is no toy of the name.
        InputError: Something is there.
    """
    source = toy_folder(name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("something is there already", where=out, fix="choose another --out")
    shutil.copytree(source, out, dirs_exist_ok=True)
    return out


def score_toy(name: str, *, folder: Path | None = None, workers: int = 1) -> ToyScore:
    """Score a toy's predictions as any others, and compare every figure with the expected ones: exactly.

    Args:
        name: Of the toy.
        folder: A copy of it; by default the one that comes with icvos.
        workers: Processes.

    Raises:
        UsageError: There is no toy of the name.
        IcvosError: The folder is damaged.
    """
    folder = folder or toy_folder(name)
    expected = read_json(folder / "expected.json")
    maps, unseen = (folder / "ground-truth").is_dir(), folder / "unseen.txt"
    notes: list[str] = []
    with work_folder("icvos-toy") as temporary:
        result = score(
            folder / "predictions",
            benchmark=None if maps else folder / "benchmark",
            ground_truth=folder / "ground-truth" if maps else None,
            protocol=name,
            unseen=unseen if unseen.is_file() else (),
            out=temporary / "run",
            model="toy",
            workers=workers,
            notify=notes.append,
        )
        run = Run.open(result.folder)
        actual = {**result, "episodes": dict(run.by_id), "frames": _frames(result.folder, expected["frames"])}
    names = ("summary", "frames", "episodes", *(key for key in expected if key.startswith("per_")))
    compared = [line for key in names for line in _compare(expected[key], actual[key], key)]
    differences = tuple(line for line in compared if line)
    return ToyScore(run, tuple(notes), len(compared), differences)


def _frames(folder: Path, expected: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is measured of each frame of a run, by episode and frame; by number where there are more or fewer."""
    actual: dict[str, Any] = {}
    for identity, stems in expected.items():
        values = read_frames(folder, identity)
        rows = [] if values is None else list(zip(*values.values()))
        keys = list(stems) if len(stems) == len(rows) else [f"number {index}" for index in range(len(rows))]
        actual[identity] = {key: dict(zip(values or (), map(float, row))) for key, row in zip(keys, rows)}
    return actual


def _compare(expected: Mapping[str, Any], actual: Mapping[str, Any], where: str) -> Iterator[str | None]:
    """Yield for each expected figure None where it is the actual one, or a line that says what differs."""
    for key, value in expected.items():
        name = f"{where} {key}"
        if isinstance(value, dict) and isinstance(actual.get(key), Mapping):
            yield from _compare(value, actual[key], name)
        elif key != "counts":  # which a run does not keep
            agrees = key in actual and actual[key] == value
            yield None if agrees else f"{name}: {in_words(actual.get(key))}, expected {in_words(value)}"
    if all(isinstance(value, dict) for value in expected.values()):
        yield from (f"{where} {key}: not expected" for key in actual if key not in expected)
