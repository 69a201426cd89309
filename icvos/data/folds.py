"""The folds of the few-shot image benchmarks, and an episode of theirs."""

from __future__ import annotations

from dataclasses import dataclass

from icvos.categories import COCO80, VOC20, Vocabulary
from icvos.errors import UsageError, did_you_mean

__all__ = [
    "BENCHMARKS",
    "FOLDS",
    "MIN_AREA",
    "PAPER_EPISODES",
    "FewShotEpisode",
    "check_fold",
    "fold_count",
    "test_categories",
    "training_categories",
    "vocabulary_of",
]


FOLDS = 4


MIN_AREA = 2048


PAPER_EPISODES = 1000


BENCHMARKS = ("coco-20i", "pascal-5i", "coco2pascal")
"""Those whose folds are fixed."""

_COUNTS = {**dict.fromkeys(BENCHMARKS, FOLDS), "fss-1000": 1, "lvis-92i": 10}


def fold_count(benchmark: str) -> int:
    """Return how many folds a few-shot benchmark has.

    Raises:
        UsageError: There is none of the name.
    """
    if benchmark not in _COUNTS:
        raise UsageError(f"no few-shot benchmark '{benchmark}'", fix=did_you_mean(benchmark, _COUNTS))
    return _COUNTS[benchmark]


def vocabulary_of(benchmark: str) -> Vocabulary:
    """Return the vocabulary of a few-shot benchmark whose folds are fixed."""
    if benchmark not in BENCHMARKS:
        raise UsageError(f"no few-shot benchmark '{benchmark}'", fix=did_you_mean(benchmark, BENCHMARKS))
    return COCO80 if benchmark == "coco-20i" else VOC20


def check_fold(fold: int, count: int = FOLDS) -> int:
    """Return ``fold`` if it is one of ``count``.

    Raises:
        UsageError: It is not 0 to ``count`` - 1.
    """
    if not 0 <= fold < count:
        raise UsageError(f"fold {fold} does not exist", expected=f"0 to {count - 1}")
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
