"""Parts of a result: categories seen in training and not, the folds of COCO-20i as a track of IC-VOS; and parts put
together: the mean of runs on the folds, or groups, of a benchmark."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from icvos.categories import get_vocabulary
from icvos.errors import UsageError
from icvos.leaderboard.marks import seen_split
from icvos.metrics.formulas import average
from icvos.metrics.table import METRICS, ranked_metric
from icvos.runs.run import Run, score_of

__all__ = ["fold_of", "mean_of_parts", "mean_over", "parts_of", "seen_summary", "track_20i"]


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


def parts_of(run: Run) -> tuple[str, list[str]]:
    """Return what a run is on a part of a benchmark by, ``fold`` of images or ``category``, and its parts."""
    return ("fold", sorted(run.result["per_fold"])) if run.image else ("category", sorted(run.result["per_category"]))


def mean_of_parts(runs: Sequence[Run]) -> dict[str, float | None]:
    """Return the mean of each figure over runs of one method on parts of a benchmark, percent; each run counts alike.

    So printed tables have it: of the four folds of COCO-20i, the four groups of YouTube-FSVOS.

    Args:
        runs: On other folds each (few-shot images, of as many folds each), or other categories each (videos).

    Returns:
        By metric; None where a run has none.

    Raises:
        UsageError: They are of several methods, protocols or numbers of shots, or two are on one fold or category.
    """
    first = runs[0]
    for what, values in (
        ("model", [run.label for run in runs]),
        ("protocol", [run.protocol for run in runs]),
        ("shots", [run.shown for run in runs]),
    ):
        other = next((value for value in values if value != values[0]), None)
        if other is not None:
            raise UsageError(f"a mean over {values[0]} and {other}", expected=f"runs of one {what}")
    seen: dict[str, Run] = {}
    for run in runs:
        what, parts = parts_of(run)
        for part in parts:
            if part in seen:
                raise UsageError(
                    f"two runs are on the {what} {part}, {seen[part].where} and {run.where}",
                    expected="runs on other folds, or groups of categories, each",
                )
            seen[part] = run
    if first.image and len({len(parts_of(run)[1]) for run in runs}) > 1:
        raise UsageError(
            "the runs are on several numbers of folds", expected="as many folds each, as each counts alike"
        )
    names = [name for name, metric in METRICS.items() if first.rules.has(metric) and metric.stored]
    values_of = {name: [run.summary.get(name) for run in runs] for name in names}
    return {name: None if None in values else average(values) for name, values in values_of.items()}
