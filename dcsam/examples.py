"""Where DC-SAM's training examples come from: the drawn world, COCO-20i, PASCAL-5i, COCO, mask tubes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dcsam.drawn import DrawnClips, DrawnWorlds, drawn_world
from icvos.build.class_masks import ClassMasks, coco_masks, voc_masks
from icvos.build.fewshot import MIN_AREA, training_categories
from icvos.build.fewshot_sampler import EpisodeSampler, TrainingPool
from icvos.build.mask_tubes import MaskTubes, TubeRules
from icvos.errors import UsageError
from icvos.training.task import Examples

__all__ = ["ImagePairs", "TubeClips", "TubePairs", "open_examples", "squeezed"]

#: Share of the training images that validation keeps for itself; a small data set needs more for a pair of a kind.
HELD_OUT = (0.05, 0.1, 0.2, 0.4)
VALIDATION_EPISODES = 1000
T = TypeVar("T")


def squeezed(image: np.ndarray, mask: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (H, W, 3) and (H, W) bool as squares of a side: Pillow's bilinear, and torch's nearest, as the authors."""
    from PIL import Image

    height, width = mask.shape
    if (height, width) == (size, size):
        return image, mask
    pixels = np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    places = np.arange(size)
    return pixels, mask[np.ix_(places * height // size, places * width // size)]


class ImagePairs:
    """Pairs of images of one category: a support and a query of COCO or VOC."""

    def __init__(self, sampler: EpisodeSampler, size: int) -> None:
        self.sampler, self.size = sampler, size

    def __len__(self) -> int:
        return len(self.sampler)

    @property
    def images(self) -> int:
        """Distinct images that episodes are drawn from."""
        return self.sampler.pool.images

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        episode = self.sampler.get(epoch, index)
        _, query, supports = self.sampler.draw(epoch, index)
        names = self.sampler.pool.masks.names
        support, support_mask = squeezed(episode["support_images"][0], episode["support_masks"][0], self.size)
        frame, mask = squeezed(episode["query_image"], episode["query_mask"], self.size)
        return {
            "support": support, "support_mask": support_mask, "frames": frame[None], "masks": mask[None],
            "names": (names[supports[0]], names[query]),
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Return what the pairs are drawn from."""
        return self.sampler.describe()


class _Tubes:
    def __init__(self, tubes: MaskTubes, size: int, length: int) -> None:
        self.tubes, self.size, self.length = tubes, size, length
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.length

    def _place(self, epoch: int, index: int) -> int:
        """Return which tube comes at a place of an epoch: another order in each."""
        if self.length < len(self.tubes):
            return index * len(self.tubes) // self.length
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng([self.tubes.rules.seed, 41, epoch])
            self._order = (epoch, generator.permutation(len(self.tubes)))
        return int(self._order[1][index])

    def _squares(self, frames: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = [squeezed(frame, mask, self.size) for frame, mask in zip(frames, masks, strict=True)]
        return np.stack([frame for frame, _ in pairs]), np.stack([mask for _, mask in pairs])

    def describe(self) -> dict[str, Any]:
        """Return what the tubes are made from."""
        return self.tubes.describe()


class TubePairs(_Tubes):
    """Of each tube frame 0 as support, and as query another that the epoch draws."""

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        tube = self.tubes.tube(self._place(epoch, index), epoch)
        other = int(np.random.default_rng([self.tubes.rules.seed, 43, epoch, index]).integers(1, len(tube.frames)))
        chosen = [0, other]
        frames, masks = self._squares(tube.frames[chosen], tube.masks[chosen])
        return {"support": frames[0], "support_mask": masks[0], "frames": frames[1:], "masks": masks[1:]}


class TubeClips(_Tubes):
    """All frames of each tube, with another image of the category as support."""

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        example = self.tubes.get(epoch, self._place(epoch, index))
        support, support_mask = squeezed(example["support_image"], example["support_mask"], self.size)
        frames, masks = self._squares(example["frames"], example["masks"])
        return {"support": support, "support_mask": support_mask, "frames": frames, "masks": masks}


def open_examples(
    data: str,
    part: str,
    *,
    root: Path | None,
    fold: int,
    size: int,
    frames: int,
    length: int,
    seed: int,
    tubes: bool,
    pairs: bool = False,
    split: str = "",
    sbd: Path | None = None,
    min_area: int = MIN_AREA,
) -> Examples:
    """Return the examples of a data set: support (S, S, 3), support_mask (S, S), frames (T, S, S, 3), masks (T, S, S).

    Args:
        data: ``demo``, ``coco-20i``, ``pascal-5i``, ``coco`` or ``mask-tubes``.
        part: ``train`` or ``validation``: images of the training split and classes that training never sees, so that
            no choice is made on the test fold (the reference selects its model there: Q16).
        root: The raw data set's folder.
        fold: The test fold that is left out of COCO-20i and PASCAL-5i.
        size: S, pixels.
        frames: T.
        length: Of an epoch, where examples are drawn without end.
        seed: Of the draws.
        tubes: Whether T frames belong to one tube or clip.
        pairs: Of a tube two frames alone, support and query.
        split: Of the raw data; by default train2014 or train2017, VOC's trainaug with SBD, else train.
        sbd: SBD's folder, for PASCAL-5i.
        min_area: Pixels of a category in an image, at least.

    Raises:
        UsageError: Unknown, a data set that does not go with the stage, or the folder is missing.
        SourceError: Broken raw data.
    """
    if data == "demo":
        # Validation draws from training families too, from another stream: the held-out ones are for the benchmark.
        world = drawn_world(size, seed if part == "train" else seed + 5000)
        count = length if part == "train" else 64
        return DrawnClips(world, count, frames) if tubes else DrawnWorlds(world, count)
    if root is None:
        raise UsageError(f"data={data} needs the raw data", fix="give --set root=FOLDER")
    if data not in ("coco-20i", "pascal-5i", "coco", "mask-tubes"):
        raise UsageError(f"no training data '{data}'", expected="demo, coco-20i, pascal-5i, coco or mask-tubes")
    if tubes != (data == "mask-tubes"):
        fix = "stage=image goes with coco-20i, pascal-5i or coco; the tube stages with mask-tubes"
        raise UsageError(f"data={data} does not go with this stage", fix=f"{fix}; demo goes with all")
    masks = _masks(data, root, split, sbd)
    shown = seed if part == "train" else seed + 5000
    if data == "mask-tubes":
        rules = TubeRules(frames=frames, seed=shown, min_area=min_area)
        own = _split(masks, part, lambda images: MaskTubes(masks, rules, images=images))
        count = len(own) if part == "train" else min(len(own), VALIDATION_EPISODES)
        return TubePairs(own, size, count) if pairs else TubeClips(own, size, count)
    pool = _split(masks, part, lambda images: _Pool(masks, data, fold, min_area, images))
    count_pairs = pool.images if part == "train" else min(5 * pool.pairs, VALIDATION_EPISODES)
    return ImagePairs(EpisodeSampler(pool, fold, seed=shown, length=count_pairs), size)


def _masks(data: str, root: Path, split: str, sbd: Path | None) -> ClassMasks:
    if data == "pascal-5i":
        return voc_masks(root, split or ("trainaug" if sbd is not None else "train"), sbd=sbd)
    if not split:
        there = [s for s in ("train2014", "train2017") if (root / "annotations" / f"instances_{s}.json").is_file()]
        split = there[0] if there else "train2014"
    return coco_masks(root, split)


class _Pool(TrainingPool):
    """The training categories' images (all categories' for ``coco``) among some images."""

    def __init__(self, masks: ClassMasks, data: str, fold: int, min_area: int, images: frozenset[int]) -> None:
        every = range(1, len(masks.vocabulary) + 1)
        wanted = every if data == "coco" else training_categories(data, fold)
        self.masks, self.novel = masks, "background"
        self.novel_categories = tuple(c for c in every if c not in set(wanted))
        found = {c: [i for i in masks.images_of(c, min_area) if i in images] for c in wanted}
        self._images = {c: np.array(numbers, np.int64) for c, numbers in found.items() if len(numbers) > 1}
        if not self._images:
            raise UsageError(f"no training category has two images in {masks.split}", fix="lower min_area")


def _split(masks: ClassMasks, part: str, make: Callable[[frozenset[int]], T]) -> T:
    """Make examples of the images that a part may see: which they are depends on their names alone.

    Raises:
        UsageError: There are too few images for two parts.
    """
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
