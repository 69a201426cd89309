"""What tells figures that papers printed from what was measured here under the same name."""

from __future__ import annotations

from collections.abc import Sequence

from icvos.builders.published import PAPER_COUNTS
from icvos.data.folds import BENCHMARKS as FOLDED
from icvos.data.folds import FOLDS, PAPER_EPISODES, vocabulary_of
from icvos.leaderboard.published import BENCHMARKS
from icvos.runs.run import Run

__all__ = ["DEMO", "is_demo", "printed_name", "what_differs"]

DEMO = "demo"
"""What the names of the drawn world's benchmarks begin with."""

# What the authors' benchmarks hold, by name and protocol, where it is printed.
_PAPER_SIZES = {
    ("ic-vos", "paper"): {"videos": PAPER_COUNTS["videos"]},
    **{
        (name, "fss-paper"): {"episodes": FOLDS * PAPER_EPISODES, "categories": len(vocabulary_of(name))}
        for name in FOLDED
        if name in BENCHMARKS
    },
}


def is_demo(benchmark: str) -> bool:
    """Return whether a benchmark's name is that of one of the drawn world."""
    return benchmark == DEMO or benchmark.startswith(f"{DEMO}-")


def printed_name(benchmark: str) -> str | None:
    """Return the benchmark of ``published.BENCHMARKS`` whose name is a part of another's, or None.

    ``ic-vos`` of ``ic-vos`` and ``ic-vos-r1-davis17``; demo benchmarks have none, by design of their names.
    """
    alike = (name for name in BENCHMARKS if benchmark == name or benchmark.startswith(f"{name}-"))
    return max(alike, key=len, default=None)


def what_differs(printed: str, protocol: str, entries: Sequence[Run]) -> str:
    """Return what differs between printed figures and a measured table: protocol, size and data, as far as is known.

    Args:
        printed: The benchmark as papers call it.
        protocol: That of the printed figures.
        entries: The measured table's, one at least; what they hold is told of the largest.
    """
    run = max(entries, key=lambda each: (not each.limited, each.summary["episodes"]))
    parts = [f"that is of protocol {run.protocol}, this of {protocol}"] if run.protocol != protocol else []
    sizes = _sizes(run)
    paper = _PAPER_SIZES.get((printed, protocol), {})
    if not paper:
        parts.append(f"that has {_in_words(sizes)}, and how many this has is not known here")
    elif any(sizes.get(name) != count for name, count in paper.items()):
        parts.append(f"that has {_in_words(sizes)}, this {_in_words(paper)}")
    same = run.benchmark_name == printed
    parts.append("nothing shows that its data are the authors'" if same else "that is of other data")
    return "; ".join(parts)


def _sizes(run: Run) -> dict[str, int]:
    units = ("query images", "query") if run.image else ("videos", "video")
    sizes = {"episodes": len(run.records), units[0]: len({record.get(units[1]) for record in run.records})}
    # Of semi-supervised VOS it is the number of an object.
    return sizes if run.vos else {**sizes, "categories": len({record.get("category") for record in run.records})}


def _in_words(sizes: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sizes.items())
