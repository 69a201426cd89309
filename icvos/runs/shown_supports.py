"""The supports that a run shows: on how many pairs they are fewer than its shots, and which draws show the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icvos.benchmark import Episode
from icvos.data.draws import repeated_draws, repeats_note
from icvos.errors import counted

__all__ = ["describe_supports", "support_notes"]


def describe_supports(episodes: Sequence[Episode], shots: int) -> dict[str, Any]:
    """Return what ``run.json`` says of the supports that are shown, of all episodes of a protocol.

    Returns:
        ``pairs`` of a video (or query) and a category; ``whole``, those with as many supports as shots; ``draws``;
        ``repeated``, the draws that show the same supports as an earlier one of their pair, by pair.
    """
    pairs: dict[str, list[tuple[str, ...]]] = {}
    for episode in episodes:
        pairs.setdefault(f"{episode.video},{episode.category_name}", []).append(episode.supports)
    repeated = {pair: repeated_draws(draws, shots) for pair, draws in pairs.items()}
    return {
        "pairs": len(pairs),
        "whole": sum(all(len(supports) >= shots for supports in draws) for draws in pairs.values()),
        "draws": len(episodes),
        "repeated": {pair: count for pair, count in repeated.items() if count},
    }


def support_notes(shown: Any, shots: int) -> tuple[str, ...]:
    """Return lines for people of what ``describe_supports`` returned; none where all is as it should be, or unknown."""
    if not isinstance(shown, Mapping):
        return ()
    repeated: Any = shown.get("repeated")
    counts: list[Any] = [shown.get(name) for name in ("pairs", "whole", "draws")]
    if not isinstance(repeated, Mapping) or not all(type(count) is int for count in (*counts, *repeated.values())):
        return ()
    pairs, whole, draws = counts
    notes = []
    if whole != pairs:
        notes.append(f"{counted(shots, 'supports')} on {whole} of {pairs} pairs; on the others all there are")
    if repeated:
        notes.append(repeats_note(repeated, draws))
    return tuple(notes)
