"""A limit on the time that a piece of somebody else's Python may take."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["time_limit"]


@contextmanager
def time_limit(seconds: float | None, what: str) -> Iterator[None]:
    """Raise ``TimeoutError`` where the block is after so many seconds; compiled code is let finish first.

    Args:
        seconds: None for no limit. A limit needs the main thread of a POSIX system.
        what: What is said to take too long.
    """
    if seconds is None:
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise TimeoutError(f"{what} took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
