"""What the intervals of a leaderboard cover, by simulation.

Benchmarks are made as IC-VOS is: pairs of video and category, five draws whose supports a category's pairs share,
categories of few and of many pairs, videos with two categories, three sources. A score is a mean, and normal terms of
the category, of its draw, of the video, and of what is left. Each simulated benchmark has other categories and other
videos; the truth is the mean over all that there could be. The intervals come from the code that the boards use.

    python benchmarks/coverage.py                       # the table of docs/explanation/ranks.md, about 10 minutes
    python benchmarks/coverage.py --simulations 200 --categories 8
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from icvos.leaderboard.statistics import (
    Samples,
    bootstrap_weights,
    category_interval,
    interval,
    rank_intervals,
    t_quantile,
    video_samples,
)

EFFECTS = {"none": (0, 15, 0, 15), "small": (4, 15, 3, 15), "medium": (8, 15, 6, 15), "large": (15, 15, 8, 15)}
"""Standard deviations in points: of categories, of videos, of a category's draws, and of what is left."""
SHAPES = ("equal", "unequal", "person")
"""Equal numbers of videos; in proportion to 1, 1/2, 1/3, …; and the first category twice as many again."""
PAIRS = {8: 80, 12: 150, 30: 440}
"""Pairs of a simulated benchmark, by its number of categories."""
DRAWS, MEAN, TWO = 5, 60.0, 0.15


def sizes(categories: int, shape: str, pairs: int) -> np.ndarray:
    """Return the number of pairs of each category, (categories,) int."""
    share = np.ones(categories) if shape == "equal" else 1 / np.arange(1, categories + 1)
    share[0] *= 2 if shape == "person" else 1
    return np.maximum(1, np.round(pairs * share / share.sum())).astype(int)


@dataclass(frozen=True)
class Design:
    """A benchmark without scores: its pairs, their videos, categories and sources."""

    category: np.ndarray
    video: np.ndarray

    @classmethod
    def drawn(cls, categories: int, shape: str, pairs: int, generator: np.random.Generator) -> Design:
        """Return a design in which about 15 % of the videos have a second category."""
        category = np.repeat(np.arange(categories), sizes(categories, shape, pairs))
        video, order = np.arange(len(category)), generator.permutation(len(category))
        some = int(TWO * len(category))
        for one, other in zip(order[:some], order[some : 2 * some]):
            if category[one] != category[other]:
                video[other] = video[one]
        return cls(category, video)

    def scores(self, effects: tuple[float, ...], generator: np.random.Generator) -> np.ndarray:
        """Return scores about 0, (pairs, draws) float64."""
        of_category, of_video, of_draw, rest = effects
        count, pairs = int(self.category.max()) + 1, len(self.category)
        fixed = of_category * generator.standard_normal(count)[self.category]
        fixed = fixed + of_video * generator.standard_normal(pairs)[self.video]
        drawn = of_draw * generator.standard_normal((count, DRAWS))[self.category]
        return fixed[:, None] + drawn + rest * generator.standard_normal((pairs, DRAWS))

    def samples(self, scores: np.ndarray, *, replicates: int, seed: int) -> Samples:
        """Return what a leaderboard makes of the scores."""
        rows = [
            {"video": f"v{video:04d}", "source": f"s{video % 3}", "category": int(category), "draw": draw, "J": value}
            for video, category, values in zip(self.video, self.category, scores)
            for draw, value in enumerate(values.tolist())
        ]
        return video_samples(rows, ("J",), replicates=replicates, seed=seed)


def rao_wu(samples: Samples, seed: int) -> tuple[float, float]:
    """Return the interval of a bootstrap that draws categories instead of videos, with Student's t."""
    names = tuple(sorted({category for _, category in samples.cells}))
    member = np.array([[category == name for name in names] for _, category in samples.cells], float)
    weights, freedom = bootstrap_weights(names, {}, replicates=len(samples.replicates), seed=seed)
    values = (weights @ (samples.scores @ member)) / (weights @ member.sum(axis=0))
    half = t_quantile(0.975, freedom) * values.std(ddof=1)
    return samples.value - half, samples.value + half


def jackknife(samples: Samples) -> tuple[float, float]:
    """Return the interval of the jackknife that leaves out a category, with Student's t."""
    names = sorted({category for _, category in samples.cells})
    total, count = samples.scores.sum(), len(samples.scores)
    left = []
    for name in names:
        inside = np.array([category == name for _, category in samples.cells])
        left.append((total - samples.scores[inside].sum()) / (count - inside.sum()))
    variance = (len(names) - 1) / len(names) * ((np.array(left) - np.mean(left)) ** 2).sum()
    half = t_quantile(0.975, len(names) - 1) * float(np.sqrt(variance))
    return samples.value - half, samples.value + half


def coverage(
    categories: int, shape: str, effect: str, *, simulations: int, replicates: int = 500, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return of each interval the share of simulations, in percent, that hold the truth, and its median width."""
    generator = np.random.default_rng(seed)
    widths: dict[str, list[float]] = {}
    hits: dict[str, int] = {}
    for index in range(simulations):
        design = Design.drawn(categories, shape, PAIRS[categories], generator)
        scores = MEAN + design.scores(EFFECTS[effect], generator)
        samples = design.samples(scores, replicates=replicates, seed=index)
        found = {
            "videos": interval(samples),
            "categories": category_interval(samples),
            "bootstrap of categories": rao_wu(samples, index),
            "jackknife of categories": jackknife(samples),
        }
        for name, ends in found.items():
            assert ends is not None
            hits[name] = hits.get(name, 0) + (ends[0] <= MEAN <= ends[1])
            widths.setdefault(name, []).append(ends[1] - ends[0])
    return {name: (100 * hits[name] / simulations, float(np.median(widths[name]))) for name in hits}


def rank_coverage(
    categories: int, shape: str, effect: str, *, simulations: int, clustered: bool, replicates: int = 500, seed: int = 0
) -> float:
    """Return in what share of simulations, in percent, five equal methods are all left as ties.

    Methods share the effects above, and each has its own of half the size.
    """
    generator = np.random.default_rng(seed)
    hits = 0
    half = tuple(value / 2 for value in EFFECTS[effect])
    for index in range(simulations):
        design = Design.drawn(categories, shape, PAIRS[categories], generator)
        shared = MEAN + design.scores(EFFECTS[effect], generator)
        samples = [
            design.samples(shared + design.scores(half, generator), replicates=replicates, seed=index) for _ in range(5)
        ]
        if not clustered:
            samples = [Samples(s.value, s.replicates, s.freedom, s.units) for s in samples]
        hits += all((rank.best, rank.worst) == (1, 5) for rank in rank_intervals(samples))
    return 100 * hits / simulations


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--simulations", type=int, default=1000, help="simulated benchmarks a row (1000)")
    parser.add_argument("--categories", type=int, nargs="*", choices=PAIRS, default=list(PAIRS), help="of them (all)")
    options = parser.parse_args()
    for categories in options.categories:
        for shape in SHAPES:
            for effect in EFFECTS:
                found = coverage(categories, shape, effect, simulations=options.simulations)
                cells = [f"{share:.1f} ({width:.1f})" for share, width in found.values()]
                largest = sizes(categories, shape, PAIRS[categories])
                share = f"{shape}, {100 * largest.max() / largest.sum():.0f} %"
                print("| " + " | ".join([str(categories), share, effect, *cells]) + " |", flush=True)
    for categories in options.categories:
        for effect in EFFECTS:
            few = max(options.simulations // 5, 1)
            found = [
                rank_coverage(categories, "unequal", effect, simulations=few, clustered=clustered)
                for clustered in (False, True)
            ]
            print(f"| ranks | {categories} | {effect} | {found[0]:.1f} | {found[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
