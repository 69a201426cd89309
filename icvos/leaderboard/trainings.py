"""Several trainings of one method as one row: the mean of their figures, and what they vary by."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icvos.runs.run import CHECKED, Run

__all__ = ["Trainings", "joined", "training_text"]


@dataclass(frozen=True, repr=False)
class Trainings(Run):
    """Runs of one method whose weights were trained with other seeds: figures and records are their means.

    Attributes:
        runs: The single runs, by seed and that of their data.
    """

    runs: tuple[Run, ...] = ()

    @property
    def deviation(self) -> float:
        """Standard deviation of the trainings' scores (n - 1), percent."""
        return statistics.stdev(run.score for run in self.runs)

    @property
    def text(self) -> str:
        """One line: mean, deviation, and the score of each training."""
        single = ", ".join(f"seed {seed} {run.score:.2f}" for seed, run in zip(_seeds(self.runs), self.runs))
        return f"{self.full_name}: {self.score:.2f} ± {self.deviation:.2f} over {len(self.runs)} trainings ({single})"


def training_text(entry: Run) -> str | None:
    """Return how many trainings a row is of: ``± 0.31 over 3``, ``1``, or None where its weights say of none."""
    if isinstance(entry, Trainings):
        return f"± {entry.deviation:.2f} over {len(entry.runs)}"
    return "1" if entry.trainings else None


def joined(entries: Sequence[Run]) -> list[Run]:
    """Return the runs of one table, several trainings of a method as one; order is that of each one's first run.

    Trainings are of one method where they differ in their seeds alone, and so do the runs: the same model, version,
    name, options, evaluation seed, untrained weights, episodes and submitter, as nobody sends a training of another's
    method. Runs that take no rank stand alone, and so do runs of which two have one seed.
    """
    groups: dict[str, list[Run]] = {}
    for index, entry in enumerate(entries):
        groups.setdefault(_method(entry) or f"alone {index}", []).append(entry)
    out: list[Run] = []
    for group in groups.values():
        out += [_join(group)] if len(group) > 1 and len(set(_seeds(group))) == len(group) else group
    return out


def _seeds(group: Sequence[Run]) -> list[str]:
    """Return what tells trainings apart: their seeds, and those of their data where these differ and all say them."""
    seeds, of_data = ([_seed_text(run, name) for run in group] for name in ("seed", "data_seed"))
    if len(set(of_data)) == 1 or any("None" in each for each in of_data):
        return seeds
    return [f"{seed} (data {each})" for seed, each in zip(seeds, of_data)]


def _seed_text(run: Run, name: str) -> str:
    return "+".join(dict.fromkeys(str(training.get(name)) for training in run.trainings.values()))


def _method(entry: Run) -> str | None:
    """What trainings of one method share; None of a run that is no such training."""
    trainings = entry.trainings
    if entry.not_ranked or not trainings or any("settings" not in each for each in trainings.values()):
        return None
    trained = {name: (each["settings"], each.get("kept")) for name, each in trainings.items()}
    model = entry.run["model"]
    fixed = {name: digest for name, digest in (model.get("weights") or {}).items() if name not in trainings}
    said = [model.get(name) for name in ("name", "version", "options", "source_sha256", "dtype", "autocast")]
    sent = (entry.submitter, sorted(entry.by_id))
    return repr((said, entry.name, entry.run["key"].get("seed"), trained, sorted(fixed.items()), sent))


def _join(group: Sequence[Run]) -> Trainings:
    def order(run: Run) -> list[int]:
        return [each.get(name) or 0 for name in ("seed", "data_seed") for each in run.trainings.values()]

    runs = tuple(sorted(group, key=order))
    first = runs[0]
    weights = {
        f"{name}, seed {seed}" if name in run.trainings else name: digest
        for seed, run in zip(_seeds(runs), runs)
        for name, digest in (run.run["model"].get("weights") or {}).items()
    }
    # Workers finish in any order.
    records = [{record["id"]: record for record in run.records} for run in runs]
    speeds = {name: _mean([run.run.get(name) for run in runs]) for name in ("fps", "fps_amortised")}
    return Trainings(
        {**first.run, **speeds, "model": {**first.run["model"], "weights": weights}},
        _mean([run.result for run in runs]),
        tuple(_mean([each[name] for each in records]) for name in records[0]),
        min((run.checked for run in runs), key=CHECKED.index),
        first.where,
        runs,
        submitter=first.submitter,
    )


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, and of the numbers in tables; what is no number, or is alike in all, is the first's."""
    first = values[0]
    if all(isinstance(value, Mapping) for value in values):
        shared = [name for name in first if all(name in value for value in values)]
        return {name: _mean([value[name] for value in values]) for name in shared}
    if all(value == first for value in values):
        return first
    if any(value is None for value in values):
        return None
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return math.fsum(values) / len(values)
    return first
