"""How fast a training goes while it runs."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Pace"]


class Pace:
    """The mean time of the steps that were done since the pace was made: steps before a resume do not count.

    Nor does the first step, which starts processes and warms up, once there is another.

    Args:
        step: Steps done before.
        clock: Gives the time in seconds.
    """

    def __init__(self, step: int, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = (step, clock())
        self._warmed = False

    def seconds_a_step(self, step: int) -> float:
        """Return the mean time of a step; called after each step, with the number of steps done."""
        now = self._clock()
        done, begin = self._start
        if not self._warmed:
            self._warmed, self._start = True, (step, now)
        return (now - begin) / (step - done)
