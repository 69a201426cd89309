"""Ranks and intervals of the rows of one table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from icvos.leaderboard.statistics import (
    MIN_UNITS,
    Samples,
    category_interval,
    few_shot_samples,
    in_range,
    interval,
    mean_of,
    over_categories,
    pooled_samples,
    rank_intervals,
    video_samples,
)
from icvos.leaderboard.trainings import Trainings
from icvos.metrics.table import METRICS
from icvos.runs.result import score_row
from icvos.runs.run import Run

__all__ = ["Standing", "samples_of", "standings"]


@dataclass(frozen=True)
class Standing:
    """Where a row stands.

    Attributes:
        rank: Best rank that the data allow, shared by ties; None for a row that is not ranked.
        worst: Worst rank; None where no interval is given.
        interval: 95 % over source videos (query images), within what the score may be, or None.
        units: Source videos (query images).
        categories: 95 % over categories, likewise.
        clusters: Categories.
        clustered: Whether the rank rests on the categories, too.
    """

    rank: int | None
    worst: int | None
    interval: tuple[float, float] | None
    units: int
    categories: tuple[float, float] | None = None
    clusters: int = 0
    clustered: bool = False

    @property
    def text(self) -> str:
        """As a table shows it: ``2``, ``1-3``, or a dash."""
        if self.rank is None:
            return "-"
        return f"{self.rank}" if self.worst in (None, self.rank) else f"{self.rank}-{self.worst}"


def samples_of(entry: Run, *, replicates: int = 2000) -> Samples:
    """Return the bootstrap replicates of what an entry is ranked by; of several trainings those of their mean."""
    if isinstance(entry, Trainings):
        return mean_of([samples_of(run, replicates=replicates) for run in entry.runs])
    if entry.image:
        undrawn = entry.undrawn
        counted = None if undrawn is None else undrawn.counted_as_zero
        return few_shot_samples(entry.records, undrawn=counted, replicates=replicates)
    # On a benchmark of semi-supervised VOS a category is the number of an object, which says nothing across videos.
    rules = entry.rules
    if rules.pool is not None:
        rows = [score_row(each, rules, video=each["video"], source=each.get("source") or "") for each in entry.records]
        return pooled_samples(rows, rules.pool, rules.score, replicates=replicates)
    return video_samples(
        entry.records,
        rules.parts,
        group=rules.group,
        weight=rules.weight,
        clustered=not entry.vos,
        replicates=replicates,
    )


def standings(entries: Sequence[Run], *, intervals: bool = True) -> list[Standing]:
    """Return where each row of a table stands, in the order given."""
    samples = [samples_of(entry, replicates=2000 if intervals else 1) if entry.records else None for entry in entries]
    units = [len(s.units) if s else 0 for s in samples]
    ranked = [i for i, entry in enumerate(entries) if not entry.not_ranked]
    chosen = [samples[i] for i in ranked]
    paired = [s for s in chosen if s is not None and chosen[0] is not None and s.units == chosen[0].units]
    ranks: dict[int, tuple[int, int | None]] = {}
    clustered = False
    if intervals and len(paired) == len(ranked) > 0 and len(paired[0].units) >= MIN_UNITS:
        ranks = {i: (rank.best, rank.worst) for i, rank in zip(ranked, rank_intervals(paired))}
        clustered = over_categories(paired)
    else:
        scores = {i: entries[i].score for i in ranked}
        ranks = {i: (1 + sum(other > score + 1e-9 for other in scores.values()), None) for i, score in scores.items()}
    out = []
    for i, entry in enumerate(entries):
        sample = samples[i]
        known = intervals and sample is not None and not math.isnan(entry.score) and not entry.not_ranked
        best, worst = ranks.get(i, (None, None))
        over = (interval(sample), category_interval(sample)) if known and sample is not None else (None, None)
        low = METRICS[entry.rules.score].low
        clusters = sample.categories if sample is not None else 0
        ends, categories = (in_range(each, low) for each in over)
        out.append(Standing(best, worst, ends, units[i], categories, clusters, clustered and i in ranks))
    return out
