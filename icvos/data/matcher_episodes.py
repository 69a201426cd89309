"""The episodes that Matcher's evaluation draws, one by one from the same generator.

``numpy``'s legacy generator, seeded with 0 once for a fold; no worker process draws (with workers each would be seeded
anew, and other supports come out). Each draw is ``numpy.random.choice(list, 1, replace=False)[0]``, which makes a whole
permutation of the list. Supports are drawn one by one; only the query is drawn again, so that a support may come twice.
Source: aim-uofa/Matcher @ d59b6c76, ``matcher/data``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from icvos.data.author_lists import AuthorLists, legacy_choice
from icvos.data.folds import FewShotEpisode, fold_count
from icvos.errors import SourceError, UsageError, counted

__all__ = ["DRAWN", "LVIS_EPISODES", "PROTOCOL", "coco_episodes", "fss_episodes", "lvis_classes", "lvis_episodes"]

PROTOCOL = "fss-matcher"
SEED = 0
LVIS_EPISODES = 2300
DRAWN: dict[str, Any] = {"by": "aim-uofa/Matcher @ d59b6c76", "seed": SEED, "workers": 0, "size": [518, 518]}
"""What ``benchmark.json`` and ``run.json`` say of such episodes: whose rule, and what a row of them hangs on."""


class _Stream:
    """The generator of one fold's evaluation, and the episodes that it draws.

    Args:
        fold: Its number.
        shots: Supports of an episode.
    """

    def __init__(self, fold: int, shots: int) -> None:
        self._legacy = np.random.RandomState(SEED)
        self._fold, self._shots = fold, shots
        self._draws: dict[tuple[int, str], int] = {}

    def choice(self, names: Sequence[Any]) -> Any:
        return names[legacy_choice(self._legacy, len(names))]

    def episode(self, category: int, query: str, names: Sequence[str], where: Any) -> FewShotEpisode:
        """Draw the supports of a query among ``names``."""
        if all(name == query for name in names):
            raise SourceError(f"category {category} has no image but the query {query}", where=where)
        supports: list[str] = []
        while len(supports) < self._shots:
            name = self.choice(names)
            if name != query:
                supports.append(name)
        draw = self._draws.setdefault((category, query), 0)
        self._draws[category, query] += 1
        return FewShotEpisode(PROTOCOL, self._fold, category, query, draw, tuple(supports))


def fss_episodes(pictures: Sequence[Sequence[str]], shots: int) -> Iterator[FewShotEpisode]:
    """Yield FSS-1000's episodes: each picture of each class once as query, in the order of their names as texts.

    Args:
        pictures: Of each class, sorted by name, its images 1 to 10 in the order of their numbers. Category 1 is the
            first class.
        shots: Supports of an episode.
    """
    stream = _Stream(0, shots)
    for category, names in enumerate(pictures, 1):
        yield from (stream.episode(category, query, names, None) for query in _as_texts(names))


def _as_texts(names: Sequence[str]) -> list[str]:
    # 1, 10, 2, …: as the files' paths sort, suffix and all.
    return sorted(names, key=lambda name: f"{name}.jpg")


def lvis_classes(counts: Mapping[int, int], fold: int, shots: int) -> tuple[int, ...]:
    """Return the categories of a fold of LVIS-92i: every tenth of those with more images than shots.

    The last ones, fewer than ten, are in no fold; the list is another for another number of shots.

    Args:
        counts: Images of each category, in the list's order.
        fold: 0 to 9.
        shots: Supports of an episode.

    Raises:
        UsageError: Fewer than ten categories have so many images.
    """
    folds = fold_count("lvis-92i")
    categories = [category for category, count in counts.items() if count > shots]
    if len(categories) < folds:
        raise UsageError(
            f"{len(categories)} categories have more than {counted(shots, 'images')}",
            expected=f"{folds} or more",
            fix="lower --shots",
        )
    return tuple(categories[fold::folds][: len(categories) // folds])


def lvis_episodes(
    images: Mapping[int, Sequence[str]], categories: Sequence[int], fold: int, shots: int
) -> Iterator[FewShotEpisode]:
    """Yield LVIS-92i's 2,300 episodes of a fold: its categories round and round, query and supports drawn.

    Args:
        images: Of each category, in the list's order.
        categories: From ``lvis_classes``.
        fold: 0 to 9.
        shots: Supports of an episode.
    """
    stream = _Stream(fold, shots)
    for index in range(LVIS_EPISODES):
        category = categories[index % len(categories)]
        names = images[category]
        yield stream.episode(category, stream.choice(names), names, None)


def coco_episodes(
    lists: AuthorLists, categories: Sequence[int], fold: int, shots: int, count: int
) -> Iterator[FewShotEpisode]:
    """Yield COCO-20i's episodes of a fold: category, query and supports drawn.

    Args:
        lists: Of the fold, by ``read_matcher_lists``.
        categories: That the fold tests, in order.
        fold: 0 to 3.
        shots: Supports of an episode.
        count: Episodes.

    Raises:
        SourceError: A category without images, or with a single one.
    """
    stream = _Stream(fold, shots)
    for _ in range(count):
        category = stream.choice(categories)
        names = lists.by_category.get(category)
        if not names:
            raise SourceError(f"category {category} has no images", where=lists.path, expected="every one of the fold")
        yield stream.episode(category, stream.choice(names), names, lists.path)
