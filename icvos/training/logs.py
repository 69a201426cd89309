"""The log of a training run: a CSV file, TensorBoard where it is installed, and curves as a picture."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from icvos.files import atomic_write, read_csv

__all__ = ["TrainingLog", "draw_curves", "tag_of"]


OPTIMISER = ("lr", "gradient_norm")
"""Scalars that say how the optimiser fares."""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def tag_of(name: str) -> str:
    """Return a scalar's tag in TensorBoard, which groups by what stands before the slash.

    ``loss/…`` of ``loss`` and its parts, whose names end with ``_loss``; ``optimiser/…``; ``train/…`` of figures on
    training batches, whose names begin with ``train_``; ``validation/…`` of all else.
    """
    if name in OPTIMISER:
        return f"optimiser/{name}"
    if name == "loss" or name.endswith("_loss"):
        return f"loss/{'total' if name == 'loss' else name.removesuffix('_loss')}"
    if name.startswith("train_"):
        return f"train/{name.removeprefix('train_')}"
    return f"validation/{name}"


class TrainingLog:
    """Scalars by step. A resumed run drops what was logged after its checkpoint, so that no step stands twice.

    Args:
        folder: The run's folder; ``log.csv`` (step,name,value) and ``tensorboard/`` go there.
        step: The step the run continues from; 0 for a new one.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "log.csv"
        kept = []
        if step and self.path.is_file():
            kept = [row for row in read_csv(self.path, ("step", "name", "value")) if int(row["step"]) <= step]
        with atomic_write(self.path, "w") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("step", "name", "value"))
            writer.writerows((row["step"], row["name"], row["value"]) for row in kept)
        self._stream = self.path.open("a", encoding="utf-8", newline="")
        self._board = _Board(folder / "tensorboard", step) if find_spec("tensorboard") else None

    def add(self, step: int, values: dict[str, float]) -> None:
        """Log scalars of a step; floats are written so that they read back exactly."""
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows((step, name, repr(float(v))) for name, v in values.items())
        self._stream.write(buffer.getvalue())
        self._stream.flush()
        if self._board is not None:
            self._board.add(step, values)

    def close(self) -> None:
        """Close the files."""
        self._stream.close()
        if self._board is not None:
            self._board.close()


class _Board:
    """What TensorBoard reads of a run. Its own writer works in a thread, whose failure nobody would hear of."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = RecordWriter((folder / f"events.out.tfevents.{step:010d}").open("wb"))
        self._write(file_version="brain.Event:2")
        if step:  # what was logged after the checkpoint is not shown
            self._write(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def _write(self, **content: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **content).SerializeToString())
        self._writer.flush()

    def add(self, step: int, values: dict[str, float]) -> None:
        scalars = [self._summary.Value(tag=tag_of(name), simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=self._summary(value=scalars))

    def close(self) -> None:
        self._writer.close()


def draw_curves(folder: Path) -> Path:
    """Draw loss, training and validation figures over the steps from ``log.csv`` into ``curves.png``; returns its path.

    What each step gives is drawn pale, and over it its mean by a Gaussian window, which does not lag behind.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    series: dict[str, tuple[list[int], list[float]]] = {}
    for row in read_csv(folder / "log.csv", ("step", "name", "value")):
        steps, values = series.setdefault(row["name"], ([], []))
        steps.append(int(row["step"]))
        values.append(float(row["value"]))
    trained = {name: line for name, line in series.items() if tag_of(name).startswith("train/")}
    validated = {name: line for name, line in series.items() if tag_of(name).startswith("validation/")}
    panels = (
        ("Training loss", "loss", {name: line for name, line in series.items() if name == "loss"}),
        ("On training batches", "percent", trained),
        ("Validation", "percent", validated),
    )
    shown = [panel for panel in panels if panel[2]]
    last = max((steps[-1] for steps, _ in series.values()), default=0)
    count = max(len(shown), 1)
    figure, axes = plt.subplots(1, count, figsize=(4.2 * count, 3.6), layout="constrained", squeeze=False)
    for axis, (title, unit, lines) in zip(axes.flat, shown):
        for number, (name, (steps, values)) in enumerate(lines.items()):
            colour = _COLOURS[number % len(_COLOURS)]
            if title == "Validation":
                axis.plot(steps, values, color=colour, marker="o", ms=4, label=name)
                continue
            axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.7)
            axis.plot(steps, _smooth(values), color=colour, linewidth=1.8, label=name)
        axis.set(xlabel="step", ylabel=unit, title=title, xlim=(0, max(last, 1)))
        if unit == "percent":
            axis.set_ylim(0, 100)
        elif lines["loss"][1] and min(lines["loss"][1]) > 0 and max(lines["loss"][1]) > 20 * min(lines["loss"][1]):
            axis.set_yscale("log")
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    path = folder / "curves.png"
    with atomic_write(path) as stream:
        figure.savefig(stream, dpi=110, format="png")
    plt.close(figure)
    return path


def _smooth(values: Sequence[float]) -> np.ndarray:
    """Return a running mean: a Gaussian window of a fortieth of the length, whole at both ends."""
    if not values:
        return np.zeros(0)
    width = max(len(values) / 40, 1.0)
    offsets = np.arange(-round(3 * width), round(3 * width) + 1)
    window = np.exp(-0.5 * (offsets / width) ** 2)
    padded = np.asarray(values, float)
    both = (padded, np.ones_like(padded))
    sums, weights = (np.convolve(each, window)[len(offsets) // 2 :][: len(padded)] for each in both)
    return sums / weights
