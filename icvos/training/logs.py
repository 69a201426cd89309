"""The log of a training run: a CSV file, TensorBoard where it is installed, and curves as a picture."""

from __future__ import annotations

import csv
import io
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from icvos.files import atomic_write, read_csv

__all__ = ["TrainingLog", "draw_curves"]


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
        scalars = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=self._summary(value=scalars))

    def close(self) -> None:
        self._writer.close()


def draw_curves(folder: Path) -> Path:
    """Draw loss and validation mIoU over the steps from ``log.csv`` into ``curves.png``; returns its path."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    series: dict[str, tuple[list[int], list[float]]] = {}
    for row in read_csv(folder / "log.csv", ("step", "name", "value")):
        steps, values = series.setdefault(row["name"], ([], []))
        steps.append(int(row["step"]))
        values.append(float(row["value"]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    steps, values = series.get("loss", ([], []))
    left.plot(steps, values, color="0.8", linewidth=0.8, label="loss")
    window = max(len(values) // 50, 1)
    smooth = [sum(values[max(0, i - window) : i + 1]) / (i + 1 - max(0, i - window)) for i in range(len(values))]
    left.plot(steps, smooth, color="#0072B2", label=f"mean of {window + 1} steps")
    left.set(xlabel="step", ylabel="loss", title="Training loss")
    left.legend()
    for name, colour in (("train_mIoU", "#999999"), ("mIoU", "#D55E00")):
        if name in series:
            right.plot(*series[name], color=colour, marker="o" if name == "mIoU" else None, label=name)
            right.legend()
    right.set(xlabel="step", ylabel="mIoU (%)", title="Validation", ylim=(0, 100))
    path = folder / "curves.png"
    with atomic_write(path) as stream:
        figure.savefig(stream, dpi=110, format="png")
    plt.close(figure)
    return path
