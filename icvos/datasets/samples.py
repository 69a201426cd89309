"""What the data sets give: an episode as tensors, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from icvos.datasets.fields import TensorFields, by_shared_memory, stacked
from icvos.errors import UsageError

__all__ = [
    "EpisodeBatch",
    "EpisodeList",
    "EpisodeSample",
    "Frames",
    "Labelled",
    "SupportSample",
    "collate",
    "stack",
]

Labelled = tuple[np.ndarray, np.ndarray]
"""An image, (H, W, 3) uint8 RGB, and its labels, (H, W) uint8: 1 on the thing, 255 where nothing is known, else 0."""
IGNORE = 255


class Frames(Protocol):
    """Frames, or masks on them, as tensors: a ``Tensor`` itself, or one that is decoded where it is indexed."""

    @property
    def shape(self) -> torch.Size: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Tensor: ...

    def __iter__(self) -> Iterator[Tensor]: ...


class SupportSample(NamedTuple):
    """A support image with the mask of a thing.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, true on the thing.
        ignore: (H, W) bool, true where the annotation says nothing (crowd, void border).
    """

    image: Tensor
    mask: Tensor
    ignore: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class EpisodeSample(TensorFields):
    """K supports, and the T frames in which the same kind of thing is looked for; T is 1 where the query is an image.

    Attributes:
        supports: K of them; each image has a size of its own, if the data set squeezes none.
        frames: (T, H, W, 3) uint8 RGB. Of a whole video (``EpisodeDataset(frames=None)``) it is a ``LazyFrames``: an
            index or a slice decodes those frames and gives a tensor.
        masks: (T, H, W) bool, true on the thing; lazy where ``frames`` is.
        ignores: (T, H, W) bool, true where nothing is known and no loss should be taken; None where all is known.
        indices: (T,) int64: which frames of the video these are.
        category: The thing's number in the vocabulary; 0 where it has none.
        name: Of the video, or of the query's image.
        support_names: Of the supports' images, where they have names.
        id: The episode's, in a benchmark; else empty.
    """

    supports: tuple[SupportSample, ...]
    frames: Frames
    masks: Frames
    ignores: Tensor | None
    indices: Tensor
    category: int = 0
    name: str = ""
    support_names: tuple[str, ...] = ()
    id: str = ""

    @classmethod
    def of(cls, supports: Sequence[Labelled], frames: np.ndarray, labels: np.ndarray, **about: Any) -> Self:
        """Return the sample of labelled images.

        Args:
            supports: Each an image and its labels.
            frames: (T, H, W, 3) uint8 RGB.
            labels: (T, H, W) uint8, as of ``Labelled``; or bool, where all is known.
            about: Further fields.
        """
        return cls(
            tuple(support_sample(*support) for support in supports),
            as_tensor(frames),
            torch.from_numpy(labels == 1),
            None if labels.dtype == bool else torch.from_numpy(labels == IGNORE),
            torch.arange(len(frames)),
            **about,
        )

    @property
    def visible(self) -> Tensor:
        """(T,) bool: on which frames the thing is seen. Of a lazy video all masks are decoded for it."""
        return torch.stack([mask.any() for mask in self.masks])


def support_sample(image: np.ndarray, labels: np.ndarray) -> SupportSample:
    """Return a support of an image and its labels, uint8 or bool."""
    return SupportSample(as_tensor(image), torch.from_numpy(labels == 1), torch.from_numpy(labels == IGNORE))


def as_tensor(array: np.ndarray) -> Tensor:
    """Return an array as a tensor on the same memory; copied where that may not be written to."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


@dataclass(frozen=True, eq=False, repr=False)
class EpisodeBatch(TensorFields):
    """B episodes of K supports and T frames each.

    Attributes:
        supports: (B, K, H, W, 3) uint8 RGB.
        support_masks, support_ignores: (B, K, H, W) bool.
        frames: (B, T, H', W', 3) uint8 RGB.
        masks: (B, T, H', W') bool.
        ignores: (B, T, H', W') bool, or None where all is known.
        indices: (B, T) int64.
        categories: (B,) int64.
        names, ids: Of the B samples.
        support_names: Of the K supports of each; empty where they have none.
    """

    supports: Tensor
    support_masks: Tensor
    support_ignores: Tensor
    frames: Tensor
    masks: Tensor
    ignores: Tensor | None
    indices: Tensor
    categories: Tensor
    names: tuple[str, ...]
    support_names: tuple[tuple[str, ...], ...]
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def visible(self) -> Tensor:
        """(B, T) bool: on which frames the thing is seen."""
        return self.masks.flatten(2).any(dim=2)


class EpisodeList(list[EpisodeSample]):
    """Samples that are not of one shape."""


by_shared_memory(EpisodeList)


def stack(samples: Sequence[EpisodeSample]) -> EpisodeBatch:
    """Join samples of one shape to a batch.

    Raises:
        UsageError: They differ in size, frames or supports, or a video is lazy.
    """
    problem = _unequal(samples)
    if problem:
        raise UsageError(f"these samples make no batch: {problem}", fix="give the data set a size and frames")
    supports = [support for sample in samples for support in sample.supports]
    groups = [list(each) for each in zip(*supports, strict=True)]
    groups += [[sample.frames[:] for sample in samples], [sample.masks[:] for sample in samples]]
    groups += [[sample.indices for sample in samples], [torch.tensor(sample.category) for sample in samples]]
    if any(sample.ignores is not None for sample in samples):
        known = torch.zeros(samples[0].masks.shape, dtype=torch.bool)
        groups.append([known if sample.ignores is None else sample.ignores for sample in samples])
    images, shown, unknown, frames, masks, indices, categories, *ignores = stacked(groups)
    images, shown, unknown = (tensor.unflatten(0, (len(samples), -1)) for tensor in (images, shown, unknown))
    return EpisodeBatch(
        images,
        shown,
        unknown,
        frames,
        masks,
        ignores[0] if ignores else None,
        indices,
        categories,
        tuple(sample.name for sample in samples),
        tuple(sample.support_names for sample in samples),
        tuple(sample.id for sample in samples),
    )


def collate(samples: Sequence[EpisodeSample]) -> EpisodeBatch | EpisodeList:
    """Join samples, for torch's loader: a batch where they are of one shape, a list where they are not.

    They are of one shape if the data set has a ``size`` and, of videos, ``frames``. ``stack`` raises where they are
    not.
    """
    return EpisodeList(samples) if _unequal(samples) else stack(samples)


def _unequal(samples: Sequence[EpisodeSample]) -> str:
    """Return why samples cannot be stacked; nothing where they can."""
    if any(not isinstance(sample.frames, Tensor) for sample in samples):
        return "a video is lazy"
    if len({len(sample.supports) for sample in samples}) > 1:
        return "some have more supports than others"
    for what, sizes in (
        ("supports", {tuple(support.mask.shape) for sample in samples for support in sample.supports}),
        ("frames", {tuple(sample.masks.shape) for sample in samples}),
    ):
        if len(sizes) > 1:
            return f"{what} of {' and '.join('x'.join(map(str, size)) for size in sorted(sizes)[:2])}"
    return ""
