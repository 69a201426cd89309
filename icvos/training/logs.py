"""The log of a training run: a CSV file, TensorBoard where it is installed, and curves as a picture."""

from __future__ import annotations

import csv
import io
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
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Log scalars of a step; floats are written so that they read back exactly."""
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows((step, name, repr(float(v))) for name, v in values.items())
        self._stream.write(buffer.getvalue())
        self._stream.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        self._stream.close()
        if self._board is not None:
            self._board.close()


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
