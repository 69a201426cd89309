"""How far two people agree who labelled the same things."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from fractions import Fraction

__all__ = ["cohen_kappa", "confused_pairs"]


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Return Cohen's kappa of two people's labels, unweighted.

    Source: J. Cohen, A coefficient of agreement for nominal scales, Educ. Psychol. Meas. 20 (1960) 37-46:
    ``(p_o - p_e) / (1 - p_e)``, here in whole numbers.

    Args:
        a, b: What each said of the same things, in one order.

    Returns:
        -1 to 1; None where it is undefined: of nothing, or where both always say the same one thing (0/0).

    Raises:
        ValueError: The two differ in length.
    """
    count = len(a)
    agreeing = sum(x == y for x, y in zip(a, b, strict=True))
    often_a, often_b = Counter(a), Counter(b)
    by_chance = sum(often_a[label] * often_b[label] for label in often_a)
    if count * count == by_chance:
        return None
    return float(Fraction(count * agreeing - by_chance, count * count - by_chance))


def confused_pairs(a: Sequence[str], b: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return the pairs of labels that stand for each other, whoever said which, and how often; most often first."""
    pairs = Counter(tuple(sorted((x, y))) for x, y in zip(a, b, strict=True) if x != y)
    return sorted(((x, y, n) for (x, y), n in pairs.items()), key=lambda row: (-row[2], row[:2]))
