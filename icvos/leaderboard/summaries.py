"""Parts of a result: categories seen in training and not, and the folds of COCO-20i as a track of IC-VOS."""

from __future__ import annotations

from collections.abc import Collection

from icvos.categories import get_vocabulary
from icvos.leaderboard.marks import seen_split
from icvos.metrics.formulas import average
from icvos.metrics.table import ranked_metric
from icvos.runs.run import Run, score_of

__all__ = ["fold_of", "mean_over", "seen_summary", "track_20i"]


def fold_of(name: str) -> int | None:
    """Return COCO-20i's test fold of a category: every fourth of the 80 (fold f holds f + 1, f + 5, …)."""
    number = get_vocabulary("coco80").find(name)
    return None if number is None else (number - 1) % 4


def mean_over(entry: Run, names: Collection[str]) -> tuple[int, float | None]:
    """Return the number of pairs and J&F over the pairs of some categories, mean over draws; mIoU on images."""
    if entry.image:
        rows = [row[ranked_metric("image").name] for name, row in entry.result["per_category"].items() if name in names]
        known = [value for value in rows if value is not None]
        return len(known), average(known)
    draws: dict[int, list[float]] = {}
    pairs = set()
    for row in entry.records:
        if row.get("category_name") in names:
            draws.setdefault(row["draw"], []).append(score_of(row, entry.rules))
            pairs.add((row["video"], row["category_name"]))
    return len(pairs), average(average(values) for values in draws.values())


def seen_summary(entry: Run) -> list[tuple[str, int, float | None]]:
    """Return (what, pairs, score) for categories declared as trained on and the others; empty if none is declared."""
    seen, unseen = seen_split(entry)
    if not seen:
        return []
    return [("seen", *mean_over(entry, set(seen))), ("unseen", *mean_over(entry, set(unseen)))]


def track_20i(entry: Run) -> list[tuple[int, int, float | None]]:
    """Return (fold, pairs, score) of the track ``ic-vos-20i``: fold f = pairs whose category is in its test fold f."""
    if entry.image:
        return []
    names = list(entry.result["per_category"])
    out = []
    for fold in range(4):
        count, score = mean_over(entry, {name for name in names if fold_of(name) == fold})
        if count:
            out.append((fold, count, score))
    return out
