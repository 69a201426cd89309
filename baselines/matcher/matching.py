"""The steps of Matcher (arXiv 2305.13310) on arrays: which patches match, what is prompted, which masks are kept.

Sections are those of the paper, numbers and order those of the authors' code; what is ours is marked. numpy and scipy
only (optional extra ``matcher``). A patch grid of h rows and w columns is flattened by rows; points are (x, y).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from icvos.errors import UsageError

__all__ = [
    "RECIPES",
    "Recipe",
    "centres",
    "chosen",
    "emd",
    "grid_mask",
    "kept",
    "matched",
    "metrics",
    "scores",
    "strongest",
    "subset_sizes",
    "subsets",
]


@dataclass(frozen=True)
class Recipe:
    """Every number of the method; the values here are the authors' defaults.

    Attributes:
        sample_min, sample_max: Fewest and most points of a prompt.
        iterations: Random prompts of each number of points, where not all are taken.
        prompts: Prompts are drawn from the matched ``points`` or from the ``centres`` of their clusters.
        box: The matched points' extent is prompted too.
        dense: A grid of 64 x 64 single points is prompted too.
        multimask: Three masks a prompt instead of one (not for the grid's).
        min_iou, min_stability: Least predicted IoU (exclusive) and stability of a mask; 0 asks for nothing.
        nms: Boxes that overlap a better one's by more than this IoU are dropped.
        alpha, beta, exponent: score = alpha * emd + beta * purity * coverage ** exponent.
        emd_filter, purity_filter, coverage_filter: Least values, but never more than the best mask's.
        score_filter: Keep what is near the best mask, instead of what reaches ``topk`` of its score.
        topk: That share.
        merge: Most masks that are merged.
    """

    sample_min: int = 4
    sample_max: int = 6
    iterations: int = 30
    prompts: str = "centres"
    box: bool = False
    dense: bool = False
    multimask: bool = False
    min_iou: float = 0.0
    min_stability: float = 0.0
    nms: float = 1.0
    alpha: float = 1.0
    beta: float = 0.0
    exponent: float = 0.0
    emd_filter: float = 0.0
    purity_filter: float = 0.0
    coverage_filter: float = 0.0
    score_filter: bool = False
    topk: float = 0.7
    merge: int = 10

    def __post_init__(self) -> None:
        wrong = [
            (not 1 <= self.sample_min <= self.sample_max, "sample_min and sample_max", "1 <= sample_min <= sample_max"),
            (self.iterations < 1, "iterations", "1 or more"),
            (self.merge < 1, "merge", "1 or more"),
            (
                min(self.alpha, self.beta) < 0 or self.alpha + self.beta <= 0,
                "alpha and beta",
                "one above 0, none below",
            ),
            (self.exponent < 0, "exponent", "0 or more"),
            (not 0 < self.nms <= 1, "nms", "above 0, at most 1"),
        ]
        for broken, name, expected in wrong:
            if broken:
                values = " and ".join(str(getattr(self, part)) for part in name.split(" and "))
                raise UsageError(f"{name} of the recipe: {values}", expected=expected)


#: The authors' settings: of main_oss.py, of their scripts for COCO-20i and LVIS-92i, for FSS-1000, for parts.
RECIPES = {
    "default": Recipe(),
    "coco": Recipe(
        sample_min=1,
        iterations=64,
        prompts="points",
        dense=True,
        multimask=True,
        min_iou=0.85,
        min_stability=0.9,
        nms=0.65,
        purity_filter=0.02,
        score_filter=True,
        topk=0.0,
        merge=9,
    ),
    "fss": Recipe(alpha=0.8, beta=0.2, exponent=1.0),
    "parts": Recipe(
        sample_min=3, iterations=128, prompts="points", box=True, alpha=0.5, beta=0.5, coverage_filter=0.3, merge=5
    ),
}


# ---- patch-level matching (section 3.2) ------------------------------------------------------------------------------


def grid_mask(mask: np.ndarray, patch: int) -> np.ndarray:
    """Return (H, W) bool as (H / patch, W / patch) bool: patches that hold any pixel of it."""
    height, width = mask.shape
    return np.asarray(mask.reshape(height // patch, patch, width // patch, patch).any(axis=(1, 3)))


def matched(similarity: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match the supports' patches on the thing with the target's, and keep the pairs that lead back to the thing.

    Forward: the one-to-one assignment of greatest similarity. Reverse: the same from the target patches so found to all
    patches of the supports; a pair that does not land on the thing is dropped, unless all would be.

    Args:
        similarity: (N, M) cosine of all the supports' patches to the target's.
        inside: (N,) bool, at least one true: support patches on the thing.

    Returns:
        (P,) target patches and (P,) similarities of the pairs.
    """
    from scipy.optimize import linear_sum_assignment

    forward = similarity[inside]
    rows, targets = linear_sum_assignment(forward, maximize=True)
    values = forward[rows, targets]
    _, back = linear_sum_assignment(similarity.T[targets], maximize=True)
    returned = inside[back]
    return (targets[returned], values[returned]) if returned.any() else (targets, values)


def strongest(targets: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the target patches to prompt, sorted: of more than 40 pairs the half of greatest similarity, else all."""
    if len(targets) > 40:
        targets = targets[np.argsort(-values, kind="stable")[: len(targets) // 2]]
    return np.unique(targets)


# ---- prompts (section 3.3) -------------------------------------------------------------------------------------------


def centres(points: np.ndarray, generator: np.random.Generator, *, count: int = 8, steps: int = 100) -> np.ndarray:
    """Return (K, 2) float cluster centres of (P, 2) points by k-means++; up to ``count`` points are themselves centres.

    Args:
        points: Distinct.
        generator: Draws the first centres (Arthur and Vassilvitskii 2007: by squared distance to those drawn).
        count: Most centres.
        steps: Most iterations.
    """
    coordinates = points.astype(np.float64)
    if len(coordinates) <= count:
        return coordinates
    middles = coordinates[[int(generator.integers(len(coordinates)))]]
    while len(middles) < count:
        nearest = _squared(coordinates, middles).min(axis=1)
        middles = np.vstack([middles, coordinates[int(generator.choice(len(coordinates), p=nearest / nearest.sum()))]])
    for _ in range(steps):
        owner = _squared(coordinates, middles).argmin(axis=1)
        # A centre that lost all of its points stays where it is.
        moved = np.stack(
            [coordinates[owner == k].mean(axis=0) if (owner == k).any() else middles[k] for k in range(count)]
        )
        if np.array_equal(moved, middles):
            break
        middles = moved
    return middles


def _squared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return ((first[:, None] - second[None]) ** 2).sum(axis=2)


def subset_sizes(count: int, recipe: Recipe) -> range:
    """Return how many of ``count`` points prompts have; sizes above ``count`` become ``count`` (ours)."""
    return range(min(recipe.sample_min, count), min(recipe.sample_max, count) + 1)


def subsets(count: int, recipe: Recipe, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield, size by size, (S, size) int subsets of ``count`` points: all of up to 8 points, else random ones.

    Random subsets hold no point twice; one may come again, as in the authors' code.
    """
    for size in subset_sizes(count, recipe):
        if count <= 8:
            yield np.array(list(itertools.combinations(range(count), size)))
        else:
            yield np.stack([generator.choice(count, size, replace=False) for _ in range(recipe.iterations)])


# ---- judging masks (section 3.4) -------------------------------------------------------------------------------------


def emd(cost: np.ndarray) -> float:
    """Return the earth mover's distance of n to m places of equal weight, exactly.

    With n = m it is an assignment (a vertex of the transport polytope is a permutation). Otherwise the transport
    problem is solved by HiGHS on a few arcs, chosen by smoothed prices, and arcs whose reduced cost is negative are
    added until there is none: then the solution is the optimum over all arcs, to the solver's tolerance. No arc is left
    out for good and nothing is cut.

    Args:
        cost: (n, m) of moving a unit from patch i to patch j; n, m >= 1.
    """
    from scipy.optimize import linear_sum_assignment, linprog
    from scipy.sparse import csc_array

    n, m = cost.shape
    if n == m:
        rows, columns = linear_sum_assignment(cost)
        return float(cost[rows, columns].mean())
    if min(n, m) == 1:
        return float(cost.mean())
    arcs = _feasible(n, m) | _smallest(cost - _smooth_prices(cost), 6)
    supply = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    while True:
        rows, columns = np.nonzero(arcs)
        both = np.stack([rows, n + columns], axis=1).ravel()
        ends = np.arange(0, len(both) + 1, 2)
        flows = csc_array((np.ones(len(both)), both, ends), shape=(n + m, len(rows)))
        solved = linprog(cost[rows, columns], A_eq=flows, b_eq=supply, method="highs-ipm")
        if solved.status != 0:
            raise RuntimeError(f"the transport problem of {n} and {m} places was not solved: {solved.message}")
        price = solved.eqlin.marginals
        reduced = cost - price[:n, None] - price[n:]
        better = (reduced < -1e-9) & ~arcs
        if not better.any():
            return float(solved.fun)
        arcs |= better & _smallest(reduced, 4)


def _smooth_prices(cost: np.ndarray) -> np.ndarray:
    """Return (n, m) sums of two places' prices, roughly: Sinkhorn's iteration with less and less smoothing."""
    low = cost.astype(np.float32)
    spread = float(low.max() - low.min())
    rows, columns = np.zeros((len(low), 1), np.float32), np.zeros((1, low.shape[1]), np.float32)
    for share in (0.1, 0.05, 0.02, 0.01, 0.005, 0.002):
        smooth = max(share * spread, 1e-12)
        for _ in range(10):
            rows = -_soft_maximum(columns - low, smooth, axis=1)
            columns = -_soft_maximum(rows - low, smooth, axis=0)
    return rows + columns


def _soft_maximum(values: np.ndarray, smooth: float, *, axis: int) -> np.ndarray:
    most = values.max(axis=axis, keepdims=True)
    return np.asarray(most + smooth * np.log(np.exp((values - most) / smooth).mean(axis=axis, keepdims=True)))


def _feasible(n: int, m: int) -> np.ndarray:
    """Return (n, m) bool arcs over which n places can empty into m: the north-west corner rule."""
    arcs = np.zeros((n, m), bool)
    row = column = 0
    left, free = m, n  # in units of 1 / (n m)
    while row < n and column < m:
        arcs[row, column] = True
        moved = min(left, free)
        left, free = left - moved, free - moved
        if left == 0:
            row, left = row + 1, m
        if free == 0:
            column, free = column + 1, n
    return arcs


def _smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Return (n, m) bool: the ``count`` smallest of each row and of each column."""
    out = np.zeros(values.shape, bool)
    for axis in (0, 1):
        most = min(count, values.shape[axis])
        places = np.argpartition(values, most - 1, axis=axis)
        np.put_along_axis(out, np.take(places, np.arange(most), axis=axis), True, axis=axis)
    return out


def metrics(cost: np.ndarray, points: np.ndarray, grids: np.ndarray) -> np.ndarray:
    """Return (3, K): emd (1 is alike), purity and coverage of K masks, each + 1e-6 as in the authors' code.

    Args:
        cost: (n, M) of the supports' patches on the thing to the target's M patches, 0 to 1.
        points: (P,) target patches that were matched.
        grids: (K, M) bool, at least one true in each: the patches of each mask.
    """
    known: dict[bytes, tuple[float, float, float]] = {}
    out = []
    for grid in grids:
        key = grid.tobytes()  # many prompts give the same mask
        if key not in known:
            hits = float(grid[points].sum())
            known[key] = 1 - emd(cost[:, grid]), hits / float(grid.sum()), hits / len(points)
        out.append(known[key])
    return np.array(out).reshape(-1, 3).T + 1e-6


def scores(values: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return (K,) scores of masks with (3, K) ``metrics``."""
    emds, purity, coverage = values
    return recipe.alpha * emds + recipe.beta * purity * coverage**recipe.exponent


def kept(values: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return which of K masks with (3, K) ``metrics`` pass the filters, as (L,) int; L >= 1 where K >= 1.

    In the order coverage, emd, purity. A threshold is at most the best value of the masks left so far.
    """
    left = np.arange(values.shape[1])
    for row, least in ((2, recipe.coverage_filter), (0, recipe.emd_filter), (1, recipe.purity_filter)):
        if len(left):
            metric = values[row, left]
            left = left[metric >= min(least, float(metric.max()))]
    return left


def chosen(score: Sequence[float] | np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return which of K masks with these scores are merged, best first, as (L,) int; the best is always one."""
    values = np.asarray(score, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    if len(order) == 0:
        return order
    if recipe.score_filter:
        distance = 1 - values[order]
        near = distance < 0.33
        near[0] = True
        near &= (distance - distance.min()) / (distance.max() + 1e-6) < 0.1
        return order[near][: recipe.merge]
    order = order[: recipe.merge]
    good = values[order] / values[order[0]] > recipe.topk
    good[0] = True  # ours: the published comparison drops all of them at topk = 1
    return order[good]
