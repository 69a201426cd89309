"""What training pairs and tubes are drawn from: COCO-20i, PASCAL-5i, COCO, their training and validation parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from icvos.data.class_masks import ClassMasks, coco_masks, voc_masks
from icvos.data.folds import training_categories
from icvos.data.options import DataOptions
from icvos.data.sampler import NOVEL, EpisodeSampler, TrainingPool
from icvos.errors import UsageError, did_you_mean

__all__ = [
    "PAIR_DATA",
    "VALIDATION_EPISODES",
    "PairPool",
    "open_masks",
    "open_sampler",
    "part_seed",
    "split_images",
]

#: The raw data sets that pairs are drawn from.
PAIR_DATA = ("coco-20i", "pascal-5i", "coco")
PARTS = ("train", "validation")
#: Share of the training images that validation keeps for itself; a small data set needs more for a pair of a kind.
HELD_OUT = (0.05, 0.1, 0.2, 0.4)
VALIDATION_EPISODES = 1000
#: What is added to a seed for validation's draws.
VALIDATION_SEED = 5000
T = TypeVar("T")


def open_sampler(options: DataOptions, part: str, *, shots: int = 1, novel: str = "background") -> EpisodeSampler:
    """Return the sampler of a data set's pairs.

    Args:
        options: Which data set, one of ``PAIR_DATA``; the sampler's length follows from it.
        part: ``train`` or ``validation``: images of the training split and classes that training never sees, so that
            no choice is made on the test fold.
        shots: Supports of a pair.
        novel: One of ``NOVEL``.

    Raises:
        UsageError: Unknown data, part, fold or ``novel``, no folder, train2014 missing beside train2017, or too few
            images.
        SourceError: Broken raw data.
    """
    if options.data not in PAIR_DATA:
        raise UsageError(f"no pairs of '{options.data}'", expected=", ".join(PAIR_DATA))
    if novel not in NOVEL:
        raise UsageError(f"novel in train '{novel}'", fix=did_you_mean(novel, NOVEL))
    if options.data != "coco":
        training_categories(options.data, options.fold)  # of a fold that does not exist: no word about images
    masks = open_masks(options)
    pool = split_images(masks, part, lambda images: PairPool(masks, options, images, novel))
    length = pool.images if part == "train" else min(5 * pool.pairs, VALIDATION_EPISODES)
    return EpisodeSampler(pool, options.fold, seed=part_seed(options, part), shots=shots, length=length)


def part_seed(options: DataOptions, part: str) -> int:
    """Return the seed of a part's draws: validation has a stream of its own."""
    return options.seed if part == "train" else options.seed + VALIDATION_SEED


def open_masks(options: DataOptions) -> ClassMasks:
    """Return the annotations of a data set's training split; see ``open_sampler``."""
    root = options.root
    if root is None:
        raise UsageError(f"data={options.data} needs the raw data", fix="give --set root=FOLDER, in Python root=")
    if options.data == "pascal-5i":
        split = options.split or ("trainaug" if options.sbd is not None else "train")
        return voc_masks(root, split, sbd=options.sbd)
    annotations = root / "annotations"
    there = {year for year in (2014, 2017) if (annotations / f"instances_train{year}.json").is_file()}
    if not options.split and there == {2017}:
        raise UsageError(
            "train2014 is not here, and train2017 holds images of val2014, which COCO-20i and IC-VOS test on",
            where=root,
            expected="annotations/instances_train2014.json",
            fix="get COCO 2014, or give --set split=train2017 where no test is on val2014",
        )
    return coco_masks(root, options.split or "train2014")


class PairPool(TrainingPool):
    """The training categories' images (all categories' for ``coco``) among some images."""

    def __init__(
        self, masks: ClassMasks, options: DataOptions, images: frozenset[int], novel: str = "background"
    ) -> None:
        every = range(1, len(masks.vocabulary) + 1)
        wanted = every if options.data == "coco" else training_categories(options.data, options.fold)
        self.masks, self.novel = masks, novel
        self.novel_categories = tuple(c for c in every if c not in set(wanted))
        if novel == "drop":
            images -= set(np.flatnonzero(masks.images_with(self.novel_categories)).tolist())
        containing = {c: [i for i in masks.images_of(c, options.min_area) if i in images] for c in wanted}
        self._images = {c: np.array(indices, np.int64) for c, indices in containing.items() if len(indices) > 1}
        if not self._images:
            raise UsageError(f"no training category has two images in {masks.split}", fix="lower min_area")


def split_images(masks: ClassMasks, part: str, make: Callable[[frozenset[int]], T]) -> T:
    """Make examples of the images that a part may see: which they are depends on their names alone.

    Raises:
        UsageError: No such part, or there are too few images for two.
    """
    if part not in PARTS:
        raise UsageError(f"no part '{part}'", fix=did_you_mean(part, PARTS))
    ranks = sorted(range(len(masks)), key=lambda image: hashlib.sha256(masks.names[image].encode()).digest())
    problem: UsageError | None = None
    for share in HELD_OUT:
        kept = max(round(share * len(ranks)), 1)
        try:
            validation, train = make(frozenset(ranks[:kept])), make(frozenset(ranks[kept:]))
        except UsageError as error:
            problem = error
            continue
        return train if part == "train" else validation
    assert problem is not None
    raise UsageError(f"too few images to train and validate: {problem.what}", where=masks.roots[0], fix=problem.fix)
