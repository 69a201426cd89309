"""Who supports whom: draws of supports as a pure function, so that no listing order or global generator can matter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from icvos.errors import UsageError, name_some

__all__ = [
    "DRAW_RULE",
    "SupportPool",
    "draw_supports",
    "draws_notes",
    "repeated_draws",
    "repeats_note",
    "support_pool",
]

DRAW_RULE = "sha256-fisher-yates/1"
"""The name of the rule below, for ``benchmark.json``; it changes when a draw would."""


@dataclass(frozen=True)
class SupportPool:
    """The candidates of one category: sorted names, and the SHA-256 of them."""

    names: tuple[str, ...]
    sha256: str


def support_pool(names: Iterable[str]) -> SupportPool:
    """Return the pool of some candidates, whatever their order; repeated names count once."""
    ordered = tuple(sorted(set(names)))
    return SupportPool(ordered, hashlib.sha256("\n".join(ordered).encode()).hexdigest())


def draw_supports(
    seed: int, pool: SupportPool | Sequence[str], video: str, category: int, draws: int, shots: int
) -> list[list[str]]:
    """Draw ``shots`` distinct supports, ``draws`` times; a pure function of its arguments.

    Draw ``d`` is a Fisher-Yates shuffle of the sorted candidates whose choices come from SHA-256 of
    (seed, hash of the pool, video, category, d, step): it depends on neither the other draws, nor their number, nor
    the number of shots (more shots only add names at the end). Draws may repeat a support.

    Args:
        seed: Of the benchmark.
        pool: Candidate names of the category, in any order (``support_pool`` makes one to be used again and again).
        video: Name of the video (or query image) that is supported.
        category: Its category's number.
        draws: How many lists, at least 1.
        shots: Length of each list, at least 1; shorter where the pool is.

    Raises:
        UsageError: The pool is empty, or ``draws`` or ``shots`` is below 1.
    """
    if draws < 1 or shots < 1:
        raise UsageError(f"{draws} draws of {shots} supports cannot be drawn", expected="at least 1 of each")
    pool = pool if isinstance(pool, SupportPool) else support_pool(pool)
    if not pool.names:
        raise UsageError(f"no support for category {category} of {video}", fix="take a larger support pool")
    return [_draw(f"{seed}|{pool.sha256}|{video}|{category}|{draw}", pool.names, shots) for draw in range(draws)]


def repeated_draws(draws: Iterable[Sequence[str]], shots: int) -> int:
    """Return how many draws show the same supports as an earlier one, where the first ``shots`` of each are shown."""
    shown = [frozenset(names[:shots]) for names in draws]
    return len(shown) - len(set(shown))


def repeats_note(repeated: Mapping[str, int], draws: int) -> str:
    """Return a line on draws that show the same supports; how many of each pair stands after it where it is not one.

    Args:
        repeated: ``repeated_draws`` of each pair that has any.
        draws: Of all pairs.
    """
    pairs = [pair if count == 1 else f"{pair} ({count})" for pair, count in repeated.items()]
    count = sum(repeated.values())
    return f"{count} of {draws} draws show the same supports as an earlier one of their pair: {name_some(pairs)}"


def draws_notes(drawn: Mapping[str, Sequence[Sequence[str]]], *, draws: int, shots: int) -> list[str]:
    """Return lines on draws that show the same supports, where one of each is shown and where all are.

    Args:
        drawn: The lists of supports of each pair, by what it is called.
        draws, shots: Of a pair: how many lists, and how long.
    """
    out = []
    for shown in sorted({1, shots}):
        counts = {pair: repeated_draws(lists, shown) for pair, lists in drawn.items()}
        repeated = {pair: count for pair, count in counts.items() if count}
        if repeated:
            out.append(f"with {shown} shown, {repeats_note(repeated, draws * len(drawn))}")
    return out


def _draw(key: str, names: tuple[str, ...], shots: int) -> list[str]:
    # A Fisher-Yates shuffle that stores only what moved: pools hold tens of thousands of names, draws take five.
    moved: dict[int, int] = {}
    out = []
    for step in range(min(shots, len(names))):
        index = step + _below(f"{key}|{step}", len(names) - step)
        out.append(names[moved.get(index, index)])
        moved[index] = moved.get(step, step)
    return out


def _below(key: str, limit: int) -> int:
    # 256 bits modulo at most a few million: the bias is below 1e-70.
    return int.from_bytes(hashlib.sha256(key.encode()).digest(), "big") % limit
