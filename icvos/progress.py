"""How far long work is: one type for all that tells it, and one line for all that shows it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from icvos.errors import UsageError, in_words, printable

__all__ = ["Meter", "Progress", "Several", "Update", "duration", "shown", "silent", "verbosity"]


@dataclass(frozen=True)
class Update:
    """How far some work is.

    Attributes:
        what: What is counted, in the plural: ``frames``.
        done, total: How much of it is done, and of how much; 0 of what nobody knows.
        figures: What is known so far, for the reader: ``J&F so far 48.2``; several by comma, the one that matters most
            first.
        record: Of the episode that has just ended, if one has.
    """

    what: str
    done: int
    total: int
    figures: str = ""
    record: Mapping[str, Any] | None = None


Progress = Callable[[Update], None]
"""Is told how far the work is, as often as there is news."""


def silent(update: Update) -> None:
    """Tell nobody."""


class Verbosity:
    """How much commands say beside their results.

    Attributes:
        level: -1 with ``-q``, 1 with ``-v``.
        debug: Whether tracebacks are shown.
        relay: In a process whose parent shows how far it is: is told the title and each update, in place of a display.
    """

    level = 0
    debug = False
    relay: Callable[[str, Update], None] | None = None


verbosity = Verbosity()

EVERY = 60.0
"""Seconds between two lines where there is no terminal."""

BAR = 6
"""Columns of a bar, at least."""


class Meter:
    """Elapsed time, and the time left: as long as what was done since the beginning took, for what is left.

    What was done before the first update (a run that is continued) says nothing of the speed.

    Args:
        clock: Seconds, from anywhere.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or time.monotonic
        self.begin = self._clock()
        self.update = Update("", 0, 0)
        self._first: tuple[float, int] | None = None

    def add(self, update: Update) -> bool:
        """Take an update; return whether it is of other work than the one before."""
        other = update.what != self.update.what or self._first is None
        if other:
            self._first = self._clock(), update.done
        self.update = update
        return other

    @property
    def elapsed(self) -> float:
        """Seconds since the meter was made."""
        return self._clock() - self.begin

    @property
    def left(self) -> float | None:
        """Seconds that are left of what is counted now, or None where nothing tells."""
        update = self.update
        if self._first is None or not update.total:
            return None
        if update.done >= update.total:
            return 0.0
        return None if self.pace is None else self.pace * (update.total - update.done)

    @property
    def pace(self) -> float | None:
        """Mean seconds of each thing that is counted now, or None where nothing tells."""
        if self._first is None:
            return None
        begin, before = self._first
        done = self.update.done - before
        return (self._clock() - begin) / done if done > 0 else None

    def line(self, title: str, width: int, *, bar: bool = True) -> str:
        """Return all this as one line that fits; what matters least goes first.

        Args:
            title: Of the whole work.
            width: Columns.
            bar: Whether to draw one in the room that is left.
        """
        update = self.update
        done = f"{update.done:,}/{update.total:,} {update.what}" if update.total else f"{update.done:,} {update.what}"
        share = f"{100 * update.done // update.total} %" if update.total else ""
        left = f"about {duration(self.left)} left" if self.left else ""
        # In the order of the line; each with how long it is kept.
        parts = [
            (printable(title), 1),
            (share, 6),
            (done if update.what else "starting", 2),
            # Of several figures the first is kept longest.
            *((text, 4 if i == 0 else 1.9 - 0.1 * i) for i, text in enumerate(printable(update.figures).split(", "))),
            (f"{duration(self.elapsed)} gone", 3),
            (left, 5),
        ]
        kept = [(text, rank) for text, rank in parts if text]
        least = BAR + 2 if bar and update.total else 0
        while len(kept) > 1 and len(_joined(kept)) + least > width:
            kept.remove(min(kept, key=lambda part: part[1]))
        text = _joined(kept)[:width]
        room = min(width - len(text) - 2, 5 * BAR)
        if not least or room < BAR:
            return text
        filled = round(room * min(update.done / update.total, 1.0))
        return f"{'━' * filled}{'╌' * (room - filled)}  {text}"


def _joined(parts: list[tuple[str, float]]) -> str:
    return ", ".join(text for text, _ in parts)


def duration(seconds: float) -> str:
    """Return a time for a person: ``45 s``, ``1 min 20 s``, ``12 min``, ``2 h 05 min``, ``3 d 4 h``."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes < 2 else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


@contextmanager
def shown(
    title: str,
    progress: Progress | bool | Any = True,
    *,
    quiet: bool = False,
    stream: TextIO | None = None,
    clock: Callable[[], float] | None = None,
) -> Iterator[Progress]:
    """Show how far the work of a block is; gives what is to be told.

    On a terminal (and in a notebook) it is a line that changes, which goes at the end; elsewhere a line a minute, and
    one at the end of what took ten seconds or more. All is on standard error. With ``-v`` each episode has a line too.

    Args:
        title: Of the work, as ``dcsam on demo``.
        progress: True for this display; None or False for none; a callable, which is told each ``Update``; or a bar as
            tqdm's, whose ``total``, ``n`` and ``refresh`` are used.
        quiet: Show nothing, whatever ``progress`` is.
        stream: Where to; standard error by default.
        clock: Seconds, from anywhere; of the computer by default.
    """
    if quiet or progress is None or progress is False or (progress is True and verbosity.level < 0):
        yield silent
    elif progress is not True:
        if not callable(progress) and not hasattr(progress, "refresh"):
            raise UsageError(f"progress is {in_words(progress)}", expected="true, a callable, or a bar as tqdm's")
        yield _bar_of_ones_own(progress) if hasattr(progress, "refresh") else progress
    else:
        console = _console(stream)
        if verbosity.relay is not None:
            yield _relayed(console, title, verbosity.relay)
            return
        show = _on_a_terminal if _is_live(console) else _in_lines
        with show(console, title, Meter(clock)) as told:
            yield told


def _console(stream: TextIO | None) -> Any:
    from rich.console import Console

    return Console(stderr=True, file=stream) if stream is not None else Console(stderr=True)


def _is_live(console: Any) -> bool:
    return bool((console.is_terminal and not console.is_dumb_terminal) or console.is_jupyter)


def _relayed(console: Any, title: str, relay: Callable[[str, Update], None]) -> Progress:
    def told(update: Update) -> None:
        relay(title, update)
        _say_episode(console, update)

    return told


class Several:
    """How far works are that go on at the same time, a line each: on a terminal below all else that is written.

    Without a terminal each has a line a minute, and one at its end if it took ten seconds or more.

    Args:
        quiet: Show nothing.
        stream: Where to; standard error by default.
        clock: Seconds, from anywhere; of the computer by default.
    """

    def __init__(
        self, *, quiet: bool = False, stream: TextIO | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self._quiet, self._clock, self._console = quiet, clock, _console(stream)
        self._works: dict[int, _Work] = {}
        self._live: Any = None

    def __enter__(self) -> Several:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _begin(self) -> None:
        if not self._quiet and _is_live(self._console):
            from rich.live import Live

            self._live = Live(
                get_renderable=self._lines,
                console=self._console,
                transient=True,
                redirect_stdout=False,
                refresh_per_second=4,
            )
            self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _lines(self) -> Any:
        from rich.text import Text

        lines = [work.meter.line(work.title, self._console.width) for work in list(self._works.values())]
        return Text("\n".join(lines), no_wrap=True, overflow="crop")

    def told(self, number: int, title: str, update: Update) -> None:
        """Take how far a work is.

        Args:
            number: Of the work.
            title: As ``dcsam on demo``.
            update: How far it is.
        """
        work = self._works.setdefault(number, _Work(title, Meter(self._clock)))
        work.meter.add(update)
        if work.meter.elapsed - work.said >= EVERY:
            self._say(work)

    def ended(self, number: int) -> None:
        """A work has ended: its line goes."""
        work = self._works.pop(number, None)
        if work is not None and work.meter.update.what and work.meter.elapsed >= EVERY / 6:
            self._say(work)

    def _say(self, work: _Work) -> None:
        work.said = work.meter.elapsed
        if self._live is None and not self._quiet:
            self._console.file.write(work.meter.line(work.title, 200, bar=False) + "\n")
            self._console.file.flush()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the lines off the terminal while a block writes there."""
        self._stop()
        try:
            yield
        finally:
            self._begin()


@dataclass
class _Work:
    title: str
    meter: Meter
    said: float = 0.0


def _say_episode(console: Any, update: Update) -> None:
    record = update.record
    if record is None or record.get("error") or verbosity.level < 1:
        return  # a failure is said in any case, by who runs the episodes
    figures = [f"{name} {record[name]:.1f}" for name in ("J", "F") if isinstance(record.get(name), (int, float))]
    console.print(f"{record['id']}: {', '.join(figures) or 'done'}", markup=False, soft_wrap=True)


def _bar_of_ones_own(bar: Any) -> Progress:
    def told(update: Update) -> None:
        bar.total, bar.n = update.total, update.done
        bar.refresh()

    return told


@contextmanager
def _on_a_terminal(console: Any, title: str, meter: Meter) -> Iterator[Progress]:
    from rich.live import Live
    from rich.text import Text

    # Text goes around the line where both are on the screen; in a file or a pipe it stays where it belongs.
    with Live(
        get_renderable=lambda: Text(meter.line(title, console.width), no_wrap=True, overflow="crop"),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        refresh_per_second=4,
    ):

        def told(update: Update) -> None:
            meter.add(update)
            _say_episode(console, update)

        yield told


@contextmanager
def _in_lines(console: Any, title: str, meter: Meter) -> Iterator[Progress]:
    said = 0.0

    def say() -> None:
        nonlocal said
        said = meter.elapsed
        console.file.write(meter.line(title, 200, bar=False) + "\n")
        console.file.flush()

    def told(update: Update) -> None:
        meter.add(update)
        _say_episode(console, update)
        if meter.elapsed - said >= EVERY:
            say()

    yield told
    if meter.update.what and meter.elapsed >= EVERY / 6:
        say()
