"""What two people's labels make of a run: its J&F over the pairs of each, and what each conflict moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from icvos.builders.labels.labeller import Labeller
from icvos.builders.labels.merge import Conflict
from icvos.errors import UsageError, name_some
from icvos.runs.result import video_score
from icvos.runs.run import Run

__all__ = ["LabelScore", "LabelScores", "score_labels"]


@dataclass(frozen=True)
class LabelScore:
    """J&F of a run over some of its pairs.

    Attributes:
        score: J&F, percent; None of no pair.
        pairs: How many (video, category) pairs of the run it is over.
        missing: How many pairs the labels make that the run has no figure for.
    """

    score: float | None
    pairs: int
    missing: int = 0


@dataclass(frozen=True)
class LabelScores:
    """What two people's labels make of a run.

    Attributes:
        run: The run as it is.
        agreed: Over the pairs on which both agree wholly: both make them, and no conflict bears on them.
        a, b: Over the pairs that each one's labels make.
        unlabelled: Pairs of the run in videos that neither labelled, which stand in every figure.
        changes: By conflict, J&F without its pairs less that of the run; None where it has none of them.
    """

    run: LabelScore
    agreed: LabelScore
    a: LabelScore
    b: LabelScore
    unlabelled: int
    changes: dict[Conflict, float | None]


def score_labels(run: Run, a: Labeller, b: Labeller, conflicts: Iterable[Conflict]) -> LabelScores:
    """Score a run over the pairs that two people's labels make, by the means of the whole run, at full precision.

    Args:
        run: A run on a video benchmark built with the labels of either.
        a, b: The two people's labels.
        conflicts: Where they differ; settled or not.

    Raises:
        UsageError: The run is not of pairs of a video and a category, or has no video that they labelled.
    """
    if run.image or not all("category_name" in record for record in run.records):
        raise UsageError(
            "the run has no pairs of a video and a category", where=run.where, expected="a run on a benchmark of ic-vos"
        )
    conflicts = list(conflicts)
    by_pair = {(record["video"], record["category_name"]) for record in run.records}
    labelled = a.videos | b.videos
    if not labelled & {video for video, _ in by_pair}:
        raise UsageError(
            f"the run on {run.benchmark_name} has no video that is labelled here",
            where=run.where,
            expected=f"one of {name_some(sorted(labelled)) or 'none'}",
        )
    others = {pair for pair in by_pair if pair[0] not in labelled}

    def score(pairs: set[tuple[str, str]]) -> LabelScore:
        records = [r for r in run.records if (r["video"], r["category_name"]) in pairs]
        return LabelScore(video_score(records), len(pairs & by_pair), len(pairs - by_pair))

    disputed = {pair for conflict in conflicts for pair in conflict.pairs}
    whole = score(by_pair)
    changes: dict[Conflict, float | None] = {}
    without: dict[frozenset[tuple[str, str]], float | None] = {frozenset(): None}
    for conflict in conflicts:
        met = frozenset(conflict.pairs & by_pair)
        if met not in without:
            without[met] = score(by_pair - met).score
        rest = without[met]
        changes[conflict] = None if rest is None or whole.score is None else rest - whole.score
    return LabelScores(
        run=whole,
        agreed=score((a.pairs & b.pairs - disputed) | others),
        a=score(a.pairs | others),
        b=score(b.pairs | others),
        unlabelled=len(others),
        changes=changes,
    )
