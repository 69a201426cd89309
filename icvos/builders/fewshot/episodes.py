"""COCO-20i, PASCAL-5i and coco2pascal: folds, candidates, and the frozen episodes of both few-shot protocols."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from icvos.data.class_masks import ClassMasks, check_min_area, pool_sha256
from icvos.data.draws import SupportPool, draw_supports, support_pool
from icvos.data.folds import MIN_AREA, PAPER_EPISODES, FewShotEpisode
from icvos.errors import UsageError

__all__ = ["Candidates", "candidates", "native_episodes", "paper_episodes"]

"""Pixels that a category covers in a query or support, at least: 2 * 32 * 32, as the public few-shot lists have it."""

"""Episodes of a fold in ``fss-paper``."""


@dataclass(frozen=True)
class Candidates:
    """What queries and supports are drawn from.

    Attributes:
        by_category: Image names of each category, sorted; only categories with two images or more.
        alone: Categories of the fold without two images: they cannot be tested.
        sha256: Of all of it.
    """

    by_category: dict[int, SupportPool]
    alone: tuple[int, ...]
    sha256: str


def candidates(
    masks: ClassMasks,
    categories: Sequence[int],
    *,
    min_area: int = MIN_AREA,
    lists: dict[int, list[str]] | None = None,
) -> Candidates:
    """Return the images in which each category covers at least ``min_area`` pixels.

    Args:
        masks: Of the test split.
        categories: Of the fold.
        min_area: Pixels, outside crowds and void borders.
        lists: Names of each category from the authors' lists, which take the place of the rule.

    Raises:
        UsageError: No category has two images.
    """
    pools: dict[int, SupportPool] = {}
    for category in sorted(categories):
        if lists is not None:
            names = lists.get(category, [])
        else:
            names = [masks.names[image] for image in masks.images_of(category, check_min_area(min_area))]
        if len(set(names)) > 1:
            pools[category] = support_pool(names)
    if not pools:
        what = ", ".join(masks.vocabulary.label(category) for category in categories)
        raise UsageError(
            f"no category of the fold ({what}) has two images in {masks.split}",
            expected="a query and a support",
            fix="lower --min-area, or leave the fold out with --fold",
        )
    whole = pool_sha256([f"{category} {pool.sha256}" for category, pool in pools.items()])
    return Candidates(pools, tuple(c for c in sorted(categories) if c not in pools), whole)


def _supports(seed: int, pool: SupportPool, query: str, category: int, draw: int, shots: int) -> tuple[str, ...]:
    # One more than wanted, less the query: what is left is a draw from the others.
    drawn = draw_supports(seed, pool, query, category, draw + 1, shots + 1)[draw]
    return tuple([name for name in drawn if name != query][:shots])


def native_episodes(drawn_from: Candidates, fold: int, *, seed: int, shots: int) -> Iterator[FewShotEpisode]:
    """Yield every query of every category once, with distinct supports that are not the query."""
    for category, pool in drawn_from.by_category.items():
        for query in pool.names:
            supports = _supports(seed, pool, query, category, 0, shots)
            yield FewShotEpisode("fss-native", fold, category, query, 0, supports)


def paper_episodes(
    drawn_from: Candidates, fold: int, *, seed: int, shots: int, count: int = PAPER_EPISODES
) -> Iterator[FewShotEpisode]:
    """Yield ``count`` episodes: a category, one of its images as query, others as supports, each drawn evenly.

    A pure function of the candidates, fold and seed. (The authors' own draws: ``author_lists.replay``.) An episode may
    come twice with other supports; its ``draw`` then counts up.
    """
    numbers = support_pool([str(category) for category in drawn_from.by_category])
    draws: dict[tuple[int, str], int] = {}
    for index in range(count):
        key = f"fss-paper-{fold}-{index}"
        category = int(draw_supports(seed, numbers, key, 0, 1, 1)[0][0])
        pool = drawn_from.by_category[category]
        query = draw_supports(seed, pool, key, category, 1, 1)[0][0]
        draw = draws.setdefault((category, query), 0)
        draws[category, query] += 1
        yield FewShotEpisode(
            "fss-paper", fold, category, query, draw, _supports(seed, pool, query, category, draw, shots)
        )


def episodes_sha256(episodes: Sequence[FewShotEpisode]) -> str:
    """Return the SHA-256 of episodes with their supports, in order."""
    total = hashlib.sha256()
    for e in episodes:
        total.update(f"{e.protocol} {e.id} {' '.join(e.supports)}\n".encode())
    return total.hexdigest()
