"""Intervals, ranks and paired differences: golden values, properties, and (slow) what the intervals cover."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icvos.leaderboard.statistics import (
    MIN_UNITS,
    Samples,
    bootstrap_weights,
    draw_spread,
    few_shot_samples,
    interval,
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
@pytest.mark.parametrize("freedom", [10, 18, 28, 99, 1000])
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
