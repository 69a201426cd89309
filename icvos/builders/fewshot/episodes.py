"""COCO-20i, PASCAL-5i and coco2pascal: folds, candidates, and the frozen episodes of both few-shot protocols."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from icvos.categories import COCO80, VOC20, Vocabulary
from icvos.data.class_masks import ClassMasks, check_min_area, pool_sha256
from icvos.data.draws import SupportPool, draw_supports, support_pool
from icvos.errors import UsageError, did_you_mean

__all__ = [
    "BENCHMARKS",
    "FOLDS",
    "MIN_AREA",
    "PAPER_EPISODES",
    "Candidates",
    "FewShotEpisode",
    "candidates",
    "check_fold",
    "native_episodes",
    "paper_episodes",
    "test_categories",
    "training_categories",
    "vocabulary_of",
]

FOLDS = 4
MIN_AREA = 2048
"""Pixels that a category covers in a query or support, at least: 2 * 32 * 32, as the public few-shot lists have it."""

PAPER_EPISODES = 1000
"""Episodes of a fold in ``fss-paper``."""

BENCHMARKS = ("coco-20i", "pascal-5i", "coco2pascal")


def vocabulary_of(benchmark: str) -> Vocabulary:
    """Return the vocabulary of a few-shot benchmark."""
    if benchmark not in BENCHMARKS:
        raise UsageError(f"no few-shot benchmark '{benchmark}'", fix=did_you_mean(benchmark, BENCHMARKS))
    return COCO80 if benchmark == "coco-20i" else VOC20


def check_fold(fold: int) -> int:
    """Return ``fold`` if it is one.

    Raises:
        UsageError: It is not 0 to 3.
    """
    if not 0 <= fold < FOLDS:
        raise UsageError(f"fold {fold} does not exist", expected=f"0 to {FOLDS - 1}")
    return fold


def test_categories(benchmark: str, fold: int) -> tuple[int, ...]:
    """Return the numbers (from 1) of the categories that a fold tests.

    COCO-20i: every fourth, from the fold's own number on; PASCAL-5i: five in a row; coco2pascal: VOC's categories whose
    COCO namesakes COCO-20i's fold tests (the paper's Table XI): a model trained on that fold knows none of them.
    """
    check_fold(fold)
    words = vocabulary_of(benchmark)
    if benchmark == "pascal-5i":
        return tuple(range(5 * fold + 1, 5 * fold + 6))
    if benchmark == "coco-20i":
        return tuple(range(fold + 1, len(words) + 1, FOLDS))
    return tuple(n for n, name in enumerate(words.names, 1) if (COCO80.number(name) - 1) % FOLDS == fold)


test_categories.__test__ = False  # type: ignore[attr-defined]  # no test, whatever pytest makes of its name


def training_categories(benchmark: str, fold: int) -> tuple[int, ...]:
    """Return the categories that a fold trains on: all that it does not test.

    Raises:
        UsageError: coco2pascal, which trains on COCO-20i.
    """
    if benchmark == "coco2pascal":
        raise UsageError("coco2pascal has no training categories", fix="train on coco-20i, of the same fold")
    tested = set(test_categories(benchmark, fold))
    return tuple(n for n in range(1, len(vocabulary_of(benchmark)) + 1) if n not in tested)


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


@dataclass(frozen=True)
class FewShotEpisode:
    """An episode of a few-shot image benchmark; names are image names without suffix."""

    protocol: str
    fold: int
    category: int
    query: str
    draw: int
    supports: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.query}__{self.category}__f{self.fold}__d{self.draw}"


def _supports(seed: int, pool: SupportPool, query: str, category: int, draw: int, shots: int) -> tuple[str, ...]:
    # One more than wanted, less the query: what is left is a draw from the others.
    drawn = draw_supports(seed, pool, query, category, draw + 1, shots + 1)[draw]
    return tuple([name for name in drawn if name != query][:shots])


def native_episodes(found: Candidates, fold: int, *, seed: int, shots: int) -> Iterator[FewShotEpisode]:
    """Yield every query of every category once, with distinct supports that are not the query."""
    for category, pool in found.by_category.items():
        for query in pool.names:
            supports = _supports(seed, pool, query, category, 0, shots)
            yield FewShotEpisode("fss-native", fold, category, query, 0, supports)


def paper_episodes(
    found: Candidates, fold: int, *, seed: int, shots: int, count: int = PAPER_EPISODES
) -> Iterator[FewShotEpisode]:
    """Yield ``count`` episodes: a category, one of its images as query, others as supports, each drawn evenly.

    A pure function of the candidates, fold and seed. (The authors' own draws: ``author_lists.replay``.) An episode may
    come twice with other supports; its ``draw`` then counts up.
    """
    numbers = support_pool([str(category) for category in found.by_category])
    draws: dict[tuple[int, str], int] = {}
    for index in range(count):
        key = f"fss-paper-{fold}-{index}"
        category = int(draw_supports(seed, numbers, key, 0, 1, 1)[0][0])
        pool = found.by_category[category]
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
