"""What a command would cost, in a table: an amount, and what was measured and multiplied to get it."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icvos.files import free_bytes
from icvos.processes import available_memory
from icvos.progress import duration
from icvos.terminal import Column, print_table

__all__ = [
    "Cost",
    "bytes_in",
    "disk_cost",
    "in_bytes",
    "in_gib",
    "in_seconds",
    "memory_cost",
    "peak_resident",
    "print_costs",
]

#: Below what it has free, a disk must keep so much of what is written.
SPARE = 1.05


@dataclass(frozen=True)
class Cost:
    """A row of the table.

    Attributes:
        what: As ``disk``, ``memory``, ``time``.
        amount: With its unit.
        how: What was measured, where, and what it was multiplied by.
    """

    what: str
    amount: str
    how: str


def print_costs(title: str, costs: Sequence[Cost]) -> None:
    """Print the table of a dry run, which writes nothing."""
    columns = [Column("", "left"), Column(""), Column.words("from")]
    print_table(columns, [[cost.what, cost.amount, cost.how] for cost in costs], title=title)


def disk_cost(need: float, folder: Path, how: str) -> Cost:
    """Return a row on what is written, and whether there is room where it goes.

    Args:
        need: Bytes.
        folder: Where they go; it need not be there.
        how: What they are.
    """
    free = free_bytes(folder)
    room = "enough" if need * SPARE <= free else "NOT ENOUGH"
    return Cost("disk", in_bytes(need), f"{how}; {in_bytes(free)} free there, {room}")


def memory_cost(one: float, processes: int, how: str) -> Cost:
    """Return a row on the peak resident memory of some processes alike.

    Args:
        one: Bytes of one.
        processes: How many.
        how: Of which process, doing what.
    """
    times = f"{in_gib(one)} × {processes} processes, " if processes > 1 else ""
    available = available_memory()
    room = "" if available is None else f"; {in_gib(available)} can be had now"
    return Cost("memory", in_gib(one * processes), f"{times}{how}{room}")


def peak_resident() -> int:
    """Return the bytes of memory that this process has held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def in_bytes(number: float) -> str:
    """Return a size on a disk in words: 1,000 bytes are a kB."""
    for unit in ("B", "kB", "MB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.1f} GB"


def in_gib(number: float) -> str:
    """Return a size of memory in words."""
    return f"{number / 2**30:,.2f} GiB"


def in_seconds(seconds: float) -> str:
    """Return a time in words, which may be short: ``0.12 s``, ``45 s``, ``2 h 05 min``."""
    if 0 < seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
