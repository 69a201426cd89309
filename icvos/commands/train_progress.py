"""What icvos train shows of its steps: a bar on a terminal, else a line a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

__all__ = ["Progress", "progress_lines", "training_progress"]

Progress = Callable[[int, int, dict[str, float]], None]

#: Seconds between two lines.
EVERY = 60.0


@contextmanager
def training_progress() -> Iterator[Progress]:
    """Show the steps of a training on standard error; yields what a ``Trainer`` takes as ``progress``."""
    from rich.progress import BarColumn, ProgressColumn, Task
    from rich.table import Column
    from rich.text import Text

    from icvos.commands.show import bars

    class Line(ProgressColumn):
        """The figures in one text: where the terminal is narrow its end is cut, which says least, and not the bar."""

        def render(self, task: Task) -> Text:
            return Text(task.description, no_wrap=True, overflow="ellipsis")

    with bars(BarColumn(6, table_column=Column(no_wrap=True)), Line()) as bar:
        if bar.disable:
            yield progress_lines(lambda line: click.echo(line, err=True))
            return
        row = bar.add_task("", total=None)

        def progress(step: int, steps: int, values: dict[str, float]) -> None:
            bar.update(row, completed=step, total=steps, description=f"{step:,}/{steps:,} {_figures(values)}")

        yield progress


def progress_lines(write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Return what writes a line after the first step, the last, and each minute between them."""
    last: float | None = None

    def progress(step: int, steps: int, values: dict[str, float]) -> None:
        nonlocal last
        now = clock()
        if last is None or now - last >= EVERY or step == steps:
            last = now
            write(f"step {step:,} of {steps:,}: {_figures(values)}")

    return progress


def _figures(values: dict[str, float]) -> str:
    from icvos.training.pace import duration

    left = f"{duration(values['seconds_left'])} left, " if values["seconds_left"] else ""
    pace = f"{values['examples_per_second']:,.2f} examples/s, waits {values['wait']:.0%}"
    return f"{left}loss {values['loss']:.4f}, lr {values['lr']:.1e}, {pace}"
