"""Intervals and ranks from episodes: over videos (or query images), and over categories.

Over videos: a bootstrap whose unit is the source video (or the query image).

A video's categories and draws move together, and videos are drawn within their source, as the benchmark was put
together from sources of fixed sizes. n - 1 of a source's n videos are drawn and their weights scaled by n / (n - 1)
(Rao and Wu 1988), which makes the bootstrap's variance unbiased; the percentiles are widened from the normal's to
Student's t (Hesterberg 2015), without which intervals over few videos cover too little.

Over categories: the videos' variance, and what categories vary beyond their videos. A category's pairs share its
difficulty and its supports, and other categories would have others. That component is estimated by the analysis of
variance of one random effect with unequal groups (Searle, Casella and McCulloch 1992, section 3.6), and enters by the
sum of squared shares of the categories; Student's t has one degree of freedom less than there are categories. Few-shot
categories vary within their fold, which costs a degree of freedom each; of a fold with one category nothing tells how
much, and what the categories of all other folds vary by stands for it.
docs/explanation/ranks.md has what both cover in simulation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from icvos.metrics import summaries

__all__ = [
    "MIN_CATEGORIES",
    "MIN_UNITS",
    "Ranks",
    "Samples",
    "bootstrap_weights",
    "category_interval",
    "few_shot_samples",
    "in_range",
    "interval",
    "mean_of",
    "over_categories",
    "paired_difference",
    "pooled_samples",
    "rank_intervals",
    "t_quantile",
    "video_samples",
]

MIN_UNITS = 20
"""Under so many videos no interval is given."""
MIN_CATEGORIES = 5
"""Under so many categories, or so many beyond the first of each fold and one, no interval over categories is given."""

Row = Mapping[str, object]


@dataclass(frozen=True, eq=False)
class Samples:
    """A figure and its bootstrap replicates.

    Attributes:
        value: The figure itself, percent.
        replicates: (B,) float64.
        freedom: Degrees of freedom: units less strata.
        units: Names of the units, sorted; replicates of other methods over the same units are paired with these.
        cells: (video, category), or (fold, category) of few-shot images, sorted; empty where categories mean nothing
            across videos.
        scores: (cells,) float64, percent: of a pair the mean over its draws, of a few-shot category its IoU.
        folds: Whether categories stand in folds with an equal say, and not each with its pairs.
    """

    value: float
    replicates: np.ndarray
    freedom: int
    units: tuple[str, ...]
    cells: tuple[tuple[str, str], ...] = ()
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))
    folds: bool = False

    @property
    def categories(self) -> int:
        """How many categories there are to cluster by."""
        return len(set(self.cells) if self.folds else {category for _, category in self.cells})


def _strata(sources: Sequence[str]) -> list[np.ndarray]:
    """Indices of the units of each source; sources with one unit are thrown together, as they show no spread."""
    groups: dict[str, list[int]] = {}
    for index, source in enumerate(sources):
        groups.setdefault(source, []).append(index)
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
        (B, units) float64 weights with mean 1, read-only, and the degrees of freedom (units less strata).
    """
    return _weights(tuple(source.get(unit, "") for unit in units), replicates, seed)


# All rows of a table have the same units.
@lru_cache(maxsize=1)
def _weights(sources: tuple[str, ...], replicates: int, seed: int) -> tuple[np.ndarray, int]:
    generator = np.random.Generator(np.random.PCG64(seed))
    weights = np.ones((replicates, len(sources)))
    strata = _strata(sources)
    for group in strata:
        n = len(group)
        if n < 2:
            continue
        drawn = generator.multinomial(n - 1, np.full(n, 1.0 / n), size=replicates)
        weights[:, group] = drawn * (n / (n - 1))
    weights.flags.writeable = False
    return weights, max(len(sources) - len(strata), 1)


def t_quantile(p: float, freedom: int) -> float:
    """Return a quantile of Student's t, within 0.001 for 0.0001 < p < 0.9999.

    By bisection of the distribution's closed form for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and
    26.7.4) under 30, and by Hill's expansion from there on.
    """
    if freedom < 30:
        low, high = -1e6, 1e6
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if _t_cdf(middle, freedom) < p else (low, middle)
        return (low + high) / 2
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def _t_cdf(t: float, freedom: int) -> float:
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= (k - 1) / k * math.cos(angle) ** 2
    inside = math.sin(angle) * total
    return 0.5 + (angle + inside) / math.pi if odd else 0.5 + inside / 2


def video_samples(
    records: Sequence[Row],
    metrics: Sequence[str],
    *,
    group: str = "",
    weight: str = "",
    clustered: bool = True,
    replicates: int = 2000,
    seed: int = 0,
) -> Samples:
    """Return the replicates of the mean of some metrics: over pairs, then over draws, as ``result.json`` has it.

    Args:
        records: Of episodes: video, source, draw and the metrics (percent or None). A failed one scores 0.
        metrics: Averaged in the end: ``("J", "F")`` gives J&F.
        group: A field of the records by whose values they are averaged first, each value counting alike then.
        weight: A field of the records that says how much each counts in that first mean; nothing where all count alike.
        clustered: Whether a category means the same in all videos; it does not where it is the number of an object.
    """
    units = tuple(sorted({str(row["video"]) for row in records}))
    index_of = {unit: index for index, unit in enumerate(units)}
    draws = {draw: index for index, draw in enumerate(sorted({_draw(row) for row in records}))}
    source = {str(row["video"]): str(row.get("source") or "") for row in records}
    weights, freedom = bootstrap_weights(units, source, replicates=replicates, seed=seed)
    weights = np.vstack([np.ones(len(units)), weights])
    total = np.zeros(len(weights))
    cells = tuple(sorted({_pair(row) for row in records})) if clustered and not group else ()
    scores = np.zeros(len(cells))
    groups = sorted({str(row.get(group)) for row in records})
    for metric in metrics:
        means = np.full((len(weights), len(groups)), np.nan)
        for number, name in enumerate(groups):
            sums, counts = np.zeros((2, len(units), len(draws)))
            for row in records:
                value = _score(row, metric, metrics) if str(row.get(group)) == name else None
                if value is not None:
                    where, share = (index_of[str(row["video"])], draws[_draw(row)]), _weight(row, weight)
                    sums[where] += value * share
                    counts[where] += share
            with np.errstate(invalid="ignore", divide="ignore"):
                means[:, number] = _nanmean((weights @ sums) / (weights @ counts))
        total += _nanmean(means) if groups else np.nan
        scores += _means(records, metric, metrics, cells)
    total, scores = total / len(metrics), scores / len(metrics)
    known = np.isfinite(scores)
    cells = tuple(cell for cell, scored in zip(cells, known) if scored)
    return Samples(float(total[0]), total[1:], freedom, units, cells, scores[known])


def pooled_samples(
    rows: Sequence[summaries.Row], pool: summaries.Pool, score: str, *, replicates: int = 2000, seed: int = 0
) -> Samples:
    """Return the replicates of a figure that is computed from sums over episodes, of each draw, then over draws.

    Args:
        rows: Of episodes, with their video, source and draw.
        pool: What computes it.
        score: The figure.
    """
    units = tuple(sorted({row.video for row in rows}))
    index_of = {unit: index for index, unit in enumerate(units)}
    draws = sorted({row.draw for row in rows})
    weights, freedom = bootstrap_weights(
        units, {row.video: row.source for row in rows}, replicates=replicates, seed=seed
    )
    weights = np.vstack([np.ones(len(units)), weights])
    values = []
    for draw in draws:
        terms = [(row.video, pool.terms(row)) for row in rows if row.draw == draw]
        sums = np.zeros((len(units), len(terms[0][1])))
        for video, each in terms:
            sums[index_of[video]] += each
        values.append(pool.figures(weights @ sums)[score])
    means = _nanmean(np.stack(values, axis=1))
    return Samples(float(means[0]), means[1:], freedom, units)


def _pair(row: Row) -> tuple[str, str]:
    return str(row["video"]), str(row.get("category_name") or row.get("category"))


def _draw(row: Row) -> int:
    """Return the run of a row, or its draw where it is of none."""
    return int(str(row.get("run", row.get("draw")) or 0))


def _weight(row: Row, name: str) -> float:
    return float(str(row[name])) if row.get(name) is not None else 1.0


def _score(row: Row, metric: str, parts: Sequence[str]) -> float | None:
    value = 0.0 if row.get("error") and metric in parts else row.get(metric)
    return None if value is None else float(str(value))


def _means(records: Sequence[Row], metric: str, parts: Sequence[str], cells: Sequence[tuple[str, str]]) -> np.ndarray:
    """(cells,) float64: the mean of a metric over a pair's draws, NaN where none has it."""
    index_of = {cell: index for index, cell in enumerate(cells)}
    sums, counts = np.zeros((2, len(cells)))
    for row in records if cells else ():
        value = _score(row, metric, parts)
        if value is not None:
            sums[index_of[_pair(row)]] += value
            counts[index_of[_pair(row)]] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


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
    scores = dict(zip(((str(fold), str(category)) for fold, category in columns), iou[0]))
    scores |= {(str(fold), f"undrawn {i}"): 0.0 for fold, count in (undrawn or {}).items() for i in range(count)}
    cells = tuple(sorted(scores))
    ordered = np.array([scores[cell] for cell in cells])
    return Samples(float(values[0]), values[1:], freedom, units, cells, ordered, folds=True)


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


def category_interval(samples: Samples, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval over categories; None where their spread cannot be told, or under ``MIN_UNITS`` units."""
    if len(samples.units) < MIN_UNITS or not _tells_spread(samples):
        return None
    over_units = np.nanvar(samples.replicates, ddof=1, keepdims=True)
    variance = float(_category_variance(samples, samples.scores[None], over_units)[0])
    half = t_quantile((1 + level) / 2, _category_freedom(samples)) * math.sqrt(variance)
    return samples.value - half, samples.value + half


def in_range(ends: tuple[float, float] | None, low: float, high: float = 100.0) -> tuple[float, float] | None:
    """Return what of an interval lies in a figure's range; None for None.

    The true figure is nowhere else, so that it is in the one as often as in the other.
    """
    return None if ends is None else (max(ends[0], low), min(ends[1], high))


def _category_freedom(samples: Samples) -> int:
    strata = len({fold for fold, _ in samples.cells}) if samples.folds else 1
    return max(samples.categories - strata, 1)


def _tells_spread(samples: Samples) -> bool:
    """Whether there are categories enough to tell how they vary."""
    return samples.categories > 1 and _category_freedom(samples) >= MIN_CATEGORIES - 1


def _category_variance(samples: Samples, scores: np.ndarray, over_units: np.ndarray) -> np.ndarray:
    """Return variances over units and categories.

    Args:
        samples: Whose cells the scores have.
        scores: (methods or differences, cells) float64.
        over_units: (methods or differences,) float64, their variances over units.

    Returns:
        (methods or differences,) float64, not below those over units.
    """
    order, starts, sizes = _groups(samples.cells, samples.folds)
    cells, count = len(order), len(sizes)
    scores = scores[:, order]
    means = np.add.reduceat(scores, starts, axis=1) / sizes
    within = (scores - np.repeat(means, sizes, axis=1)) ** 2
    if samples.folds:
        # Categories count alike in their fold, and folds alike; what queries vary by is in the categories' own spread.
        spread = np.add.reduceat(within, starts, axis=1) / np.maximum(sizes - 1, 1)
        pooled = within.sum(axis=1, keepdims=True) / max(cells - count, 1)
        spread = np.where(sizes > 1, spread, pooled) / sizes
        return np.maximum(over_units, spread.sum(axis=1) / count**2)
    between = ((means - scores.mean(axis=1, keepdims=True)) ** 2 @ sizes) / (count - 1)
    inside = within.sum(axis=1) / max(cells - count, 1)
    squares = (sizes**2).sum() / cells
    component = (between - inside) * (count - 1) / max(cells - squares, 1e-9)
    return over_units + np.maximum(component, 0) * (squares - 1) / cells


@lru_cache(maxsize=8)
def _groups(cells: tuple[tuple[str, str], ...], folds: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the order that puts cells of one category (of one fold) side by side, where each begins, its size."""
    groups = [fold if folds else category for fold, category in cells]
    _, numbers = np.unique(groups, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    _, starts, sizes = np.unique(numbers[order], return_index=True, return_counts=True)
    return order, starts, sizes


def difference(a: Samples, b: Samples) -> Samples:
    """Return a - b, replicate by replicate and cell by cell; ``interval`` and ``category_interval`` give its range.

    Raises:
        ValueError: They are over different units.
    """
    if a.units != b.units or len(a.replicates) != len(b.replicates):
        raise ValueError("paired differences need the same videos")
    value, replicates = a.value - b.value, a.replicates - b.replicates
    if a.cells != b.cells:
        return Samples(value, replicates, a.freedom, a.units)
    return Samples(value, replicates, a.freedom, a.units, a.cells, a.scores - b.scores, a.folds)


def mean_of(samples: Sequence[Samples]) -> Samples:
    """Return the mean of several over the same units, replicate by replicate and cell by cell.

    Raises:
        ValueError: They are over different units.
    """
    first = samples[0]
    if any(each.units != first.units for each in samples):
        raise ValueError("a mean needs the same videos")
    value = float(np.mean([each.value for each in samples]))
    replicates = np.mean([each.replicates for each in samples], axis=0)
    if any(each.cells != first.cells for each in samples):
        return Samples(value, replicates, first.freedom, first.units)
    scores = np.mean([each.scores for each in samples], axis=0)
    return Samples(value, replicates, first.freedom, first.units, first.cells, scores, first.folds)


def paired_difference(a: Samples, b: Samples, level: float = 0.95) -> tuple[float, tuple[float, float] | None]:
    """Return a - b and its interval over units; both over the same units, replicate by replicate.

    Raises:
        ValueError: They are over different units.
    """
    samples = difference(a, b)
    return samples.value, interval(samples, level)


@dataclass(frozen=True)
class Ranks:
    """A method's rank: from ``best`` to ``worst``, all methods' ranks held at once; ``best`` is shared by ties."""

    best: int
    worst: int


def over_categories(samples: Sequence[Samples]) -> bool:
    """Whether the ranks of some methods rest on intervals over categories: all have the same cells, and enough."""
    return _tells_spread(samples[0]) and all(sample.cells == samples[0].cells for sample in samples)


def rank_intervals(samples: Sequence[Samples], level: float = 0.95) -> list[Ranks]:
    """Return simultaneous rank intervals from all paired differences (the largest studentised one decides).

    A method's best rank is one more than the number of methods that beat it beyond chance; its worst is the number of
    methods less those that it beats so (after Mohr et al. 2020, Mogstad et al. 2024). Identical methods share theirs.
    Chance is that of other videos and, where ``over_categories``, of other categories too.
    """
    count = len(samples)
    if count < 2:
        return [Ranks(1, 1)] * count
    values = np.array([sample.value for sample in samples])
    replicates = np.stack([sample.replicates for sample in samples])
    clustered = over_categories(samples)
    scores = np.stack([sample.scores for sample in samples]) if clustered else None
    largest = np.zeros(replicates.shape[1])
    errors = np.zeros((count, count))
    # One method against all that follow: the differences of all pairs of a long table are gigabytes.
    for one in range(count - 1):
        spread = replicates[one] - replicates[one + 1 :]
        over_units = spread.std(axis=1, ddof=1)
        useful = over_units > 1e-9
        if useful.any():
            apart = np.abs(spread - (values[one] - values[one + 1 :])[:, None])[useful] / over_units[useful, None]
            np.maximum(largest, apart.max(axis=0), out=largest)
        errors[one, one + 1 :] = over_units
        if scores is not None:
            variance = _category_variance(samples[0], scores[one] - scores[one + 1 :], over_units**2)
            errors[one, one + 1 :] = np.sqrt(variance)
    limit = 0.0
    if largest.any():
        # From the normal's tail to Student's t, as in the single intervals.
        freedom = _category_freedom(samples[0]) if clustered else min(sample.freedom for sample in samples)
        tail = NormalDist().cdf(-float(np.quantile(largest, level)))
        limit = -t_quantile(max(tail, 1e-9), freedom)
    beats = values[:, None] - values > np.maximum(limit * (errors + errors.T), 1e-9)
    return [Ranks(int(beats[:, i].sum()) + 1, count - int(beats[i].sum())) for i in range(count)]


def draw_spread(per_draw: Mapping[str, float | None]) -> tuple[float, float, float] | None:
    """Return (worst, best, standard deviation) over support draws, apart from the videos' spread; None under 2."""
    known = [value for value in per_draw.values() if value is not None and math.isfinite(value)]
    if len(known) < 2:
        return None
    return min(known), max(known), float(np.std(known, ddof=1))
