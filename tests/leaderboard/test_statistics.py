"""Intervals, ranks and paired differences: golden values, properties, and (slow) what the intervals cover."""

from __future__ import annotations

import importlib.util
import math
import sys
import tracemalloc
from itertools import combinations, product
from pathlib import Path
from statistics import NormalDist
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icvos.leaderboard.statistics import (
    MIN_CATEGORIES,
    MIN_UNITS,
    Samples,
    bootstrap_weights,
    category_interval,
    difference,
    draw_spread,
    few_shot_samples,
    in_range,
    interval,
    over_categories,
    paired_difference,
    rank_intervals,
    t_quantile,
    video_samples,
)
from icvos.metrics import FewShotScore


def episodes(values: np.ndarray, *, draws: int = 1, sources: int = 2) -> list[dict[str, Any]]:
    """Records of videos whose scores are ``values``, alternating between sources."""
    return [
        {"video": f"v{i:03d}", "source": f"s{i % sources}", "category": 1, "draw": draw, "J": float(v), "F": float(v)}
        for (i, v), draw in product(enumerate(values), range(draws))
    ]


@pytest.mark.parametrize("p", [0.001, 0.025, 0.2, 0.5, 0.975, 0.999])
@pytest.mark.parametrize("freedom", [1, 2, 4, 7, 10, 18, 28, 29, 30, 99, 1000])
def test_t_quantile_is_students(p: float, freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert t_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), abs=2e-3)


def test_value_is_the_mean_over_draws_of_the_mean_over_pairs() -> None:
    # Two categories in one video, and a second draw that lacks one pair: the plain mean of all would be 36.
    rows = [
        {"video": "a", "source": "s", "draw": 0, "J": 10.0, "F": 10.0},
        {"video": "a", "source": "s", "draw": 0, "J": 20.0, "F": 20.0},
        {"video": "b", "source": "s", "draw": 0, "J": 60.0, "F": 60.0},
        {"video": "a", "source": "s", "draw": 1, "J": 40.0, "F": 40.0},
        {"video": "b", "source": "s", "draw": 1, "J": 50.0, "F": 50.0},
    ]
    assert video_samples(rows, ("J", "F"), replicates=10).value == pytest.approx((30 + 45) / 2)


def test_failed_episode_counts_zero() -> None:
    rows = episodes(np.full(20, 50.0))
    rows[0] = {**rows[0], "J": 0.0, "F": 0.0, "error": "boom"}
    assert video_samples(rows, ("J",), replicates=10).value == pytest.approx(47.5)


def test_few_shot_value_is_miou_of_sums() -> None:
    rows = [
        {"query": "a", "fold": 0, "category": 1, "inter_fg": 1, "union_fg": 2},
        {"query": "b", "fold": 0, "category": 1, "inter_fg": 9, "union_fg": 10},
        {"query": "a", "fold": 1, "category": 2, "inter_fg": 1, "union_fg": 4},
    ]
    # Category 1: 10 of 12; category 2: 1 of 4; the mean of the two folds.
    assert few_shot_samples(rows, replicates=10).value == pytest.approx(100 * (10 / 12 + 1 / 4) / 2)


@pytest.mark.parametrize(("undrawn", "folds"), [(None, (1, 1)), ({0: 1, 1: 3}, (2, 4)), ({}, (1, 1))])
def test_few_shot_value_counts_undrawn_categories_as_the_headline(
    undrawn: dict[int, int] | None, folds: tuple[int, int]
) -> None:
    rows = [
        {"query": "a", "fold": 0, "category": 1, "inter_fg": 1, "union_fg": 2},
        {"query": "b", "fold": 1, "category": 2, "inter_fg": 1, "union_fg": 4},
    ]
    value = few_shot_samples(rows, undrawn=undrawn, replicates=10).value
    assert value == pytest.approx(100 * (1 / 2 / folds[0] + 1 / 4 / folds[1]) / 2)


def test_few_shot_replicates_follow_the_rule_of_the_headline() -> None:
    rows = [
        {"query": f"q{index:02d}", "fold": 0, "category": index % 5, "inter_fg": 3 + index % 5, "union_fg": 10}
        for index in range(10)
    ]
    iou = {category: 10.0 * (3 + category) for category in range(5)}
    units = sorted(row["query"] for row in rows)
    weights, _ = bootstrap_weights(units, {}, replicates=200)
    left_out = few_shot_samples(rows, replicates=200).replicates
    as_zero = few_shot_samples(rows, undrawn={0: 3}, replicates=200).replicates
    missing = 0
    for row, plain, zero in zip(weights, left_out, as_zero, strict=True):
        drawn = {index % 5 for index in np.flatnonzero(row)}
        missing += len(drawn) < 5
        assert plain == pytest.approx(sum(iou[category] for category in drawn) / len(drawn))
        assert zero == pytest.approx(sum(iou[category] for category in drawn) / 8)
    assert missing > 20  # replicates that lack a category are there to be judged


def test_an_empty_union_counts_zero_in_the_value_as_in_the_headline() -> None:
    rows = [
        {"query": "a", "fold": 0, "category": 1, "inter_fg": 0, "union_fg": 0},
        {"query": "b", "fold": 0, "category": 2, "inter_fg": 1, "union_fg": 2},
    ]
    score = FewShotScore()
    for row in rows:
        score.add(row["category"], row["inter_fg"], row["union_fg"], 1, 1)
    assert few_shot_samples(rows, replicates=10).value == score.summary()["mIoU"] == 25.0


def test_weights_stay_within_their_source() -> None:
    units = [f"v{i}" for i in range(30)]
    source = {unit: "a" if i < 12 else "b" for i, unit in enumerate(units)}
    weights, freedom = bootstrap_weights(units, source, replicates=500)
    # Each source keeps its share in every replicate: that is what stratified means.
    assert np.allclose(weights[:, :12].sum(1), 12)
    assert np.allclose(weights[:, 12:].sum(1), 18)
    assert freedom == 28


def test_videos_categories_and_draws_move_together() -> None:
    values = np.random.default_rng(0).uniform(0, 100, 40)
    one = interval(video_samples(episodes(values), ("J",)))
    five = interval(video_samples(episodes(values, draws=5), ("J",)))
    # Five draws that say the same are no more evidence than one.
    assert one == pytest.approx(five)


@pytest.mark.parametrize(("count", "given_one"), [(MIN_UNITS - 1, False), (MIN_UNITS, True)])
def test_no_interval_under_twenty_videos(count: int, given_one: bool) -> None:
    assert (interval(video_samples(episodes(np.linspace(0, 100, count)), ("J",))) is not None) == given_one


def test_order_of_records_changes_nothing() -> None:
    rows = episodes(np.random.default_rng(1).uniform(0, 100, 30), draws=2)
    a, b = video_samples(rows, ("J", "F")), video_samples(rows[::-1], ("J", "F"))
    assert a.value == pytest.approx(b.value)
    np.testing.assert_allclose(a.replicates, b.replicates)


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 60), st.integers(0, 100))
def test_interval_holds_the_value(count: int, seed: int) -> None:
    samples = video_samples(episodes(np.random.default_rng(seed).uniform(20, 80, count)), ("J",), replicates=400)
    low, high = interval(samples) or (0, 0)
    assert low <= samples.value <= high


def test_ranks_of_a_long_table_take_the_memory_of_its_replicates() -> None:
    generator = np.random.default_rng(0)
    samples = [video_samples(episodes(row), ("J", "F")) for row in generator.uniform(0, 100, (60, MIN_UNITS))]
    tracemalloc.start()
    try:
        ranks = rank_intervals(samples)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ranks) == 60
    assert peak < 10 * 60 * samples[0].replicates.nbytes  # all pairs would be 30 times as much


def test_identical_methods_share_a_rank() -> None:
    values = np.random.default_rng(2).uniform(0, 100, 50)
    same = video_samples(episodes(values), ("J",))
    ranks = rank_intervals([same, same])
    assert [(r.best, r.worst) for r in ranks] == [(1, 2), (1, 2)]


def test_clear_winner_is_alone_and_noise_ties() -> None:
    rng = np.random.default_rng(3)
    base = rng.uniform(20, 60, 80)
    samples = [video_samples(episodes(v), ("J",)) for v in (base, base + rng.normal(0, 1, 80), base + 25)]
    ranks = rank_intervals(samples)
    assert (ranks[2].best, ranks[2].worst) == (1, 1)
    assert [(r.best, r.worst) for r in ranks[:2]] == [(2, 3), (2, 3)]


def test_paired_difference_is_sharper_than_two_intervals() -> None:
    rng = np.random.default_rng(4)
    base = rng.uniform(0, 90, 60)
    a, b = (video_samples(episodes(v), ("J",)) for v in (base + 3 + rng.normal(0, 1, 60), base))
    value, range_ = paired_difference(a, b)
    assert range_ is not None and range_[0] > 0 and value == pytest.approx(3, abs=0.5)
    other = Samples(0.0, a.replicates, a.freedom, tuple(f"w{i}" for i in range(60)))
    with pytest.raises(ValueError, match="same videos"):
        paired_difference(a, other)


@pytest.mark.parametrize(
    ("draws", "expected"),
    [({"0": 50.0}, None), ({"0": 50.0, "1": None}, None), ({"0": 50.0, "1": 54.0}, (50.0, 54.0, 8**0.5))],
)
def test_draw_spread(draws: dict[str, float | None], expected: tuple[float, ...] | None) -> None:
    assert draw_spread(draws) == (expected if expected is None else pytest.approx(expected))


def coverage(videos: int, simulations: int = 1000, seed: int = 0) -> float:
    """Share of simulated benchmarks whose interval holds the true mean.

    Scores as they are seen: skewed towards 100, many near 0, two sources of other difficulty, one to three categories
    a video that share its difficulty.
    """
    rng = np.random.default_rng(seed)
    hits = 0
    split = videos * 2 // 3
    shapes = [(2.2, 0.9)] * split + [(0.8, 0.9)] * (videos - split)
    for index in range(simulations):
        rows = []
        for video, (a, b) in enumerate(shapes):
            mood = rng.beta(a, b)
            for category in range(2):
                score = 100 * min(max(mood + 0.1 * rng.uniform(-1, 1) * min(mood, 1 - mood), 0), 1)
                rows.append(
                    {
                        "video": f"v{video}",
                        "source": "a" if video < split else "b",
                        "draw": 0,
                        "category": category,
                        "J": score,
                        "F": score,
                    }
                )
        found = interval(video_samples(rows, ("J",), replicates=1000, seed=index))
        truth = 100 * sum(a / (a + b) for a, b in shapes) / videos
        hits += found is not None and found[0] <= truth <= found[1]
    return hits / simulations


@pytest.mark.slow
@pytest.mark.parametrize("videos", [30, 100, 300])
def test_nominal_coverage(videos: int) -> None:
    assert 0.92 <= coverage(videos) <= 0.97


def clustered(sizes: tuple[int, ...], *, effect: float, draws: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    """Records of categories of some sizes that differ by ``effect``; each pair has a video of its own."""
    rng = np.random.default_rng(seed)
    rows = []
    for category, size in enumerate(sizes):
        mean = 50 + effect * rng.standard_normal()
        for index in range(size):
            value = mean + 5 * rng.standard_normal()
            row = {"video": f"v{category}-{index:03d}", "source": "s", "category": category}
            rows += [{**row, "draw": draw, "J": value + draw} for draw in range(draws)]
    return rows


def test_category_interval_is_that_of_the_analysis_of_variance() -> None:
    stats = pytest.importorskip("scipy.stats")
    rows = clustered((12, 6, 5, 4, 3), effect=10)
    samples = video_samples(rows, ("J",), replicates=400)
    low, high = category_interval(samples) or (0, 0)
    # By hand, from the pairs' means over draws.
    groups = [[row["J"] + 0.5 for row in rows if row["category"] == c and row["draw"] == 0] for c in range(5)]
    sizes, values = np.array([12, 6, 5, 4, 3]), np.concatenate(groups)
    means = np.array([np.mean(group) for group in groups])
    between = (sizes * (means - values.mean()) ** 2).sum() / 4
    inside = sum(((np.array(group) - mean) ** 2).sum() for group, mean in zip(groups, means)) / 25
    component = (between - inside) / ((30 - (sizes**2).sum() / 30) / 4)
    assert component > 10
    variance = samples.replicates.var(ddof=1) + component * (((sizes / 30) ** 2).sum() - 1 / 30)
    assert (low + high) / 2 == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 4) * variance**0.5, rel=1e-3)


def test_categories_that_do_not_differ_add_nothing_but_students_t() -> None:
    rows = clustered((8,) * 6, effect=0)
    for row in rows:  # every category has the same scores
        row["J"] = float(row["video"][-1]) * 10
    samples = video_samples(rows, ("J",), replicates=400)
    low, high = category_interval(samples) or (0, 0)
    assert (high - low) / 2 == pytest.approx(t_quantile(0.975, 5) * samples.replicates.std(ddof=1))


@pytest.mark.parametrize(("categories", "given_one"), [(MIN_CATEGORIES - 1, False), (MIN_CATEGORIES, True)])
def test_no_interval_over_under_five_categories(categories: int, given_one: bool) -> None:
    samples = video_samples(clustered((10,) * categories, effect=5), ("J",), replicates=50)
    assert interval(samples) is not None
    assert (category_interval(samples) is not None) == given_one


def test_no_interval_over_categories_where_they_are_numbers_of_objects() -> None:
    samples = video_samples(clustered((10,) * 8, effect=5), ("J",), clustered=False, replicates=50)
    assert samples.categories == 0 and category_interval(samples) is None


def test_interval_over_few_shot_categories_is_of_their_spread_in_folds() -> None:
    rows = [
        {"query": f"q{fold}{category}{i}", "fold": fold, "category": category, "inter_fg": category, "union_fg": 10}
        for fold, category, i in product(range(2), range(1, 6), range(4))
    ]
    samples = few_shot_samples(rows, replicates=400)
    low, high = category_interval(samples) or (0, 0)
    # IoU 10, 20, … 50 in both folds; queries of a category agree.
    error = (np.var([10, 20, 30, 40, 50], ddof=1) / 5 / 2) ** 0.5
    assert (low + high) / 2 == pytest.approx(30)
    assert (high - low) / 2 == pytest.approx(t_quantile(0.975, 8) * error)


FOLDS = [
    ((5,), True),
    ((4,), False),
    ((1,) * 10, False),  # demo/lvis-92i
    ((3, 2, 1), False),
    ((4, 2, 1), True),
    ((2, 2, 2), False),  # three degrees of freedom
    ((2, 2, 2, 2), True),
    ((3, 3, 3, 3), True),  # demo/coco-20i
]


@pytest.mark.parametrize(("sizes", "given_one"), FOLDS)
def test_no_interval_over_few_shot_categories_whose_spread_nothing_tells(
    sizes: tuple[int, ...], given_one: bool
) -> None:
    """Of single categories the interval was that over queries times Student's t of one degree of freedom, 12.7."""
    rows = [
        {"query": f"q{i}", "fold": fold, "category": 100 * fold + c, "inter_fg": (37 * i * c) % 11, "union_fg": 10}
        for fold, size in enumerate(sizes)
        for c in range(1, size + 1)
        for i in range(25)
    ]
    samples = few_shot_samples(rows, replicates=50)
    assert interval(samples) is not None
    assert (category_interval(samples) is not None) == over_categories([samples, samples]) == given_one


def test_a_fold_of_one_category_varies_as_the_others_do() -> None:
    rows = [
        {"query": f"q{fold}{c}{i}", "fold": fold, "category": c, "inter_fg": c + fold, "union_fg": 20}
        for fold, size in enumerate((4, 3, 1))
        for c in range(size)
        for i in range(4)
    ]
    samples = few_shot_samples(rows, replicates=50)
    first, second = np.array([0, 5, 10, 15.0]), np.array([5, 10, 15.0])
    pooled = (3 * first.var(ddof=1) + 2 * second.var(ddof=1)) / 5
    error = math.sqrt(first.var(ddof=1) / 4 + second.var(ddof=1) / 3 + pooled) / 3
    low, high = category_interval(samples) or (0, 0)
    assert (high - low) / 2 == pytest.approx(t_quantile(0.975, 5) * error)


def test_an_interval_ends_where_its_figure_does() -> None:
    assert in_range((-14.8, 111.3), 0.0) == (0.0, 100.0)
    assert in_range((-14.8, 11.3), -100.0) == (-14.8, 11.3) and in_range(None, 0.0) is None


def test_ranks_rest_on_categories_where_there_are_enough() -> None:
    # One method is better in some categories and worse in others, with videos that all agree within a category.
    base = clustered((20,) * 6, effect=0, draws=1)
    gains = np.array([12, 10, 9, -5, -4, -3])
    other = [{**row, "J": row["J"] + gains[row["category"]]} for row in base]
    pair = [video_samples(rows, ("J",), replicates=400) for rows in (base, other)]
    gap = difference(pair[1], pair[0])
    over_videos, over_categories = interval(gap), category_interval(gap)
    assert over_videos is not None and over_videos[0] > 0
    assert over_categories is not None and over_categories[0] < 0 < over_categories[1]
    assert [(r.best, r.worst) for r in rank_intervals(pair)] == [(1, 2), (1, 2)]
    unclustered = [video_samples(rows, ("J",), clustered=False, replicates=400) for rows in (base, other)]
    assert [(r.best, r.worst) for r in rank_intervals(unclustered)] == [(2, 2), (1, 1)]


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_ranks_of_forty_methods_are_those_of_every_pair_by_itself(folds: bool, seed: int) -> None:
    """Every pair's difference by the public functions, its variance over categories from a table of membership."""
    generator = np.random.default_rng(seed)
    names = [str(int(name)) for name in generator.integers(0, 9, 60)]
    cells = tuple((name, f"{i}") if folds else (f"{i:02d}", name) for i, name in enumerate(names))
    scores = 50 + generator.normal(0, 9, 60) + generator.normal(0, 3, (40, 60)) + generator.normal(0, 4, (40, 1))
    scores[7], scores[9] = scores[8], scores[8] + 1e-12
    weights = generator.multinomial(60, [1 / 60] * 60, size=300) / 60
    units = tuple(str(i) for i in range(60))
    samples = [Samples(float(row.mean()), weights @ row, 59, units, cells, row, folds) for row in scores]
    member = np.array([[name == other for other in sorted(set(names))] for name in names], float)
    sizes = member.sum(axis=0)

    def error(one: Samples, other: Samples) -> float:
        spread, over = one.scores - other.scores, float((one.replicates - other.replicates).var(ddof=1))
        means = spread @ member / sizes
        within = (spread - means @ member.T) ** 2
        if folds:
            own = within @ member / np.maximum(sizes - 1, 1)
            own = np.where(sizes > 1, own, within.sum() / (60 - len(sizes))) / sizes
            return math.sqrt(max(over, own.sum() / len(sizes) ** 2))
        between = (means - spread.mean()) ** 2 @ sizes / (len(sizes) - 1)
        inside = within.sum() / (60 - len(sizes))
        squares = (sizes**2).sum() / 60
        component = max((between - inside) * (len(sizes) - 1) / (60 - squares), 0)
        return math.sqrt(over + component * (squares - 1) / 60)

    largest = np.zeros(300)
    for one, other in combinations(samples, 2):
        less = difference(one, other)
        deviation = less.replicates.std(ddof=1)
        if deviation > 1e-9:
            largest = np.maximum(largest, np.abs(less.replicates - less.value) / deviation)
    freedom = 60 - len(sizes) if folds else len(sizes) - 1
    limit = -t_quantile(NormalDist().cdf(-float(np.quantile(largest, 0.95))), freedom)
    for sample, rank in zip(samples, rank_intervals(samples)):
        apart = [(sample.value - other.value, limit * error(sample, other)) for other in samples if other is not sample]
        assert rank.best == 1 + sum(-value > max(beyond, 1e-9) for value, beyond in apart)
        assert rank.worst == 40 - sum(value > max(beyond, 1e-9) for value, beyond in apart)


def simulation() -> ModuleType:
    """benchmarks/coverage.py."""
    path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_simulation", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("effect", ["small", "medium", "large"])
@pytest.mark.parametrize("shape", ["equal", "unequal"])
@pytest.mark.parametrize("categories", [8, 30])
def test_coverage_over_categories(categories: int, shape: str, effect: str) -> None:
    found = simulation().coverage(categories, shape, effect, simulations=1000)
    (old, _), (new, _) = found["videos"], found["categories"]
    print(f"{categories} categories, {shape}, {effect} effect: over videos {old:.1f} %, over categories {new:.1f} %")
    assert old < 92 <= new <= 97


@pytest.mark.slow
def test_equal_methods_are_left_as_ties() -> None:
    module = simulation()
    old, new = (module.rank_coverage(8, "unequal", "medium", simulations=100, clustered=each) for each in (False, True))
    print(f"ranks of equal methods: over videos {old:.0f} %, over categories {new:.0f} %")
    assert old < 60 and new >= 90
