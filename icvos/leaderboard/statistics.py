"""Intervals and ranks from episodes: a bootstrap whose unit is the source video (or the query image).

A video's categories and draws move together, and videos are drawn within their source, as the benchmark was put
together from sources of fixed sizes. n - 1 of a source's n videos are drawn and their weights scaled by n / (n - 1)
(Rao and Wu 1988), which makes the bootstrap's variance unbiased; the percentiles are widened from the normal's to
Student's t (Hesterberg 2015), without which intervals over few videos cover too little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from icvos.metrics.table import ranked_parts

__all__ = [
    "MIN_UNITS",
    "Ranks",
    "Samples",
    "bootstrap_weights",
    "few_shot_samples",
    "interval",
    "paired_difference",
    "rank_intervals",
    "t_quantile",
    "video_samples",
]

MIN_UNITS = 20
"""Under so many videos no interval is given."""

Row = Mapping[str, object]


@dataclass(frozen=True, eq=False)
class Samples:
    """A figure and its bootstrap replicates.

    Attributes:
        value: The figure itself, percent.
        replicates: (B,) float64.
        freedom: Degrees of freedom: units less strata.
        units: Names of the units, sorted; replicates of other methods over the same units are paired with these.
    """

    value: float
    replicates: np.ndarray
    freedom: int
    units: tuple[str, ...]


def _strata(units: Sequence[str], source: Mapping[str, str]) -> list[np.ndarray]:
    """Indices of the units of each source; sources with one unit are thrown together, as they show no spread."""
    groups: dict[str, list[int]] = {}
    for index, unit in enumerate(units):
        groups.setdefault(source.get(unit, ""), []).append(index)
    large = [np.array(group) for _, group in sorted(groups.items()) if len(group) > 1]
    single = [group[0] for _, group in sorted(groups.items()) if len(group) == 1]
    if len(single) == 1 and large:
        # A lone one joins the smallest source.
        smallest = min(range(len(large)), key=lambda i: len(large[i]))
        large[smallest] = np.append(large[smallest], single[0])
    elif single:
        large.append(np.array(single))
    return large


def bootstrap_weights(
    units: Sequence[str], source: Mapping[str, str], *, replicates: int = 2000, seed: int = 0
) -> tuple[np.ndarray, int]:
    """Return weights of units, a pure function of the units, their sources and the seed.

    Args:
        units: Names, sorted.
        source: Stratum of each unit; units that are missing share one.

    Returns:
        (B, units) float64 weights with mean 1, and the degrees of freedom (units less strata).
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    weights = np.ones((replicates, len(units)))
    strata = _strata(units, source)
    for group in strata:
        n = len(group)
        if n < 2:
            continue
        drawn = generator.multinomial(n - 1, np.full(n, 1.0 / n), size=replicates)
        weights[:, group] = drawn * (n / (n - 1))
    return weights, max(len(units) - len(strata), 1)


def t_quantile(p: float, freedom: int) -> float:
    """Return a quantile of Student's t by Hill's expansion; within 0.001 for 0.001 < p < 0.999 from 10 degrees on."""
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def video_samples(records: Sequence[Row], metrics: Sequence[str], *, replicates: int = 2000, seed: int = 0) -> Samples:
    """Return the replicates of the mean of some metrics: over pairs, then over draws, as ``result.json`` has it.

    Args:
        records: Of episodes: video, source, draw and the metrics (percent or None). A failed one scores 0.
        metrics: Averaged in the end: ``("J", "F")`` gives J&F.
    """
    units = tuple(sorted({str(row["video"]) for row in records}))
    index_of = {unit: index for index, unit in enumerate(units)}
    draws = {draw: index for index, draw in enumerate(sorted({int(str(row.get("draw") or 0)) for row in records}))}
    source = {str(row["video"]): str(row.get("source") or "") for row in records}
    weights, freedom = bootstrap_weights(units, source, replicates=replicates, seed=seed)
    weights = np.vstack([np.ones(len(units)), weights])
    total = np.zeros(len(weights))
    for metric in metrics:
        sums, counts = np.zeros((len(units), len(draws))), np.zeros((len(units), len(draws)))
        for row in records:
            value = 0.0 if row.get("error") and metric in ranked_parts() else row.get(metric)
            if value is not None:
                where = index_of[str(row["video"])], draws[int(str(row.get("draw") or 0))]
                sums[where] += float(str(value))
                counts[where] += 1
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = (weights @ sums) / (weights @ counts)
        total += np.nanmean(ratio, axis=1) if ratio.size else np.nan
    total /= len(metrics)
    return Samples(float(total[0]), total[1:], freedom, units)


def few_shot_samples(
    records: Sequence[Row], *, undrawn: Mapping[int, int] | None = None, replicates: int = 2000, seed: int = 0
) -> Samples:
    """Return the replicates of mIoU, recomputed from the episodes' sums; the unit is the query image.

    Args:
        records: Of episodes: query, fold, category, inter_fg, union_fg.
        undrawn: How many categories of each fold no episode drew, for the mIoU that counts them as 0: so do its
            replicates, those too that a replicate alone did not draw. None: each leaves out what it did not draw.
    """
    units = tuple(sorted({str(row["query"]) for row in records}))
    index_of = {unit: index for index, unit in enumerate(units)}
    columns = sorted({(int(str(row["fold"])), int(str(row["category"]))) for row in records})
    at = {column: index for index, column in enumerate(columns)}
    inter, union, episodes = np.zeros((3, len(units), len(columns)))
    for row in records:
        where = index_of[str(row["query"])], at[int(str(row["fold"])), int(str(row["category"]))]
        inter[where] += float(str(row["inter_fg"]))
        union[where] += float(str(row["union_fg"]))
        episodes[where] += 1
    weights, freedom = bootstrap_weights(units, {}, replicates=replicates, seed=seed)
    weights = np.vstack([np.ones(len(units)), weights])
    # A weight is 0 or at least 1, and unions are whole: as FewShotScore has it, an empty union makes the IoU 0.
    iou = 100 * (weights @ inter) / np.maximum(weights @ union, 1)
    drawn = weights @ episodes > 0
    folds = np.array([fold for fold, _ in columns])
    means = []
    for fold in np.unique(folds):
        inside = folds == fold
        count = drawn[:, inside].sum(axis=1)
        over = np.maximum(count, 1) if undrawn is None else inside.sum() + undrawn.get(int(fold), 0)
        means.append(np.where(count > 0, np.where(drawn, iou, 0.0)[:, inside].sum(axis=1) / over, np.nan))
    values = _nanmean(np.stack(means, axis=1))
    return Samples(float(values[0]), values[1:], freedom, units)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is a number; no warning where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=-1) / np.maximum(count, 1), np.nan)


def interval(samples: Samples, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval of a figure, or None under ``MIN_UNITS`` units."""
    if len(samples.units) < MIN_UNITS:
        return None
    tail = NormalDist().cdf(t_quantile((1 - level) / 2, samples.freedom))
    low, high = np.nanquantile(samples.replicates, [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(a: Samples, b: Samples, level: float = 0.95) -> tuple[float, tuple[float, float] | None]:
    """Return a - b and its interval; both over the same units, replicate by replicate.

    Raises:
        ValueError: They are over different units.
    """
    if a.units != b.units or len(a.replicates) != len(b.replicates):
        raise ValueError("paired differences need the same videos")
    samples = Samples(a.value - b.value, a.replicates - b.replicates, a.freedom, a.units)
    return samples.value, interval(samples, level)


@dataclass(frozen=True)
class Ranks:
    """A method's rank: from ``best`` to ``worst``, all methods' ranks held at once; ``best`` is shared by ties."""

    best: int
    worst: int


def rank_intervals(samples: Sequence[Samples], level: float = 0.95) -> list[Ranks]:
    """Return simultaneous rank intervals from all paired differences (the largest studentised one decides).

    A method's best rank is one more than the number of methods that beat it beyond chance; its worst is the number of
    methods less those that it beats so (after Mohr et al. 2020, Mogstad et al. 2024). Identical methods share theirs.
    """
    count = len(samples)
    if count < 2:
        return [Ranks(1, 1)] * count
    values = np.array([sample.value for sample in samples])
    replicates = np.stack([sample.replicates for sample in samples])
    first, second = np.triu_indices(count, 1)
    differences = values[first] - values[second]
    spread = replicates[first] - replicates[second]
    errors = spread.std(axis=1, ddof=1)
    useful = errors > 1e-9
    if useful.any():
        largest = np.abs((spread - differences[:, None])[useful] / errors[useful, None]).max(axis=0)
        # From the normal's tail to Student's t, as in the single intervals.
        freedom = min(sample.freedom for sample in samples)
        limit = float(np.quantile(largest, level)) * t_quantile(0.975, freedom) / t_quantile(0.975, 10**9)
    else:
        limit = 0.0
    beats = np.zeros((count, count), bool)
    for i, j, difference, error in zip(first, second, differences, errors):
        if abs(difference) > max(limit * error, 1e-9):
            winner, loser = (i, j) if difference > 0 else (j, i)
            beats[winner, loser] = True
    return [Ranks(int(beats[:, i].sum()) + 1, count - int(beats[i].sum())) for i in range(count)]


def draw_spread(per_draw: Mapping[str, float | None]) -> tuple[float, float, float] | None:
    """Return (worst, best, standard deviation) over support draws, apart from the videos' spread; None under 2."""
    known = [value for value in per_draw.values() if value is not None and math.isfinite(value)]
    if len(known) < 2:
        return None
    return min(known), max(known), float(np.std(known, ddof=1))
