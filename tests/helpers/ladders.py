"""Another ladder, for the tests of its commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from icvos.reproduce.rung import Rung
from icvos.reproduce.rungs import RUNGS


@contextmanager
def the_ladder_is(*rungs: Rung) -> Iterator[None]:
    """Put other rungs in the place of the ladder's, and the ladder's back in their order."""
    before = dict(RUNGS)
    try:
        RUNGS.clear()
        RUNGS.update({rung.name: rung for rung in rungs})
        yield
    finally:
        RUNGS.clear()
        RUNGS.update(before)
