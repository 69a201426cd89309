"""The plugin interface: what a method implements to be run by ``icvos evaluate``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from icvos.models.objects import without_overlap
from icvos.plugins import package_files
from icvos.types import Mask, ModelInfo, Prediction, Support, Video

__all__ = ["ImageModel", "Model", "Panel", "VideoModel", "of_kind"]


class Model(ABC):
    """What video and image models share: a declaration, and how they are built.

    A subclass sets ``info`` and takes its options as keyword-only parameters of ``__init__`` with defaults; their
    annotations (``int``, ``float``, ``bool``, ``str``) tell how ``--set key=value`` is read.

    Attributes:
        info: The declaration. A built model may say more than its class, as what its weights were trained on.
        dtype: What it computes in, for the record of a run, None where nobody knows; where images and videos differ, a
            mapping from ``"image"`` and ``"video"``. Under an option's name a model may likewise say what the option's
            value ``auto`` came to.
        autocast: The dtype of torch's autocast that it computes under, likewise; None without.
    """

    info: ModelInfo
    dtype: str | Mapping[str, str] | None = "float32"
    autocast: str | Mapping[str, str | None] | None = None

    def __init__(self, *, device: str = "cpu", weights: Mapping[str, Path] | None = None, **options: Any) -> None:
        self.device = device
        self.weights = dict(weights or {})
        if options:
            raise TypeError(f"unknown options: {', '.join(sorted(options))}")

    @classmethod
    def demo_weights(cls) -> Mapping[str, Path]:
        """Return the files of ``info.demo_weights`` by name, used on demo benchmarks when none are given.

        Nothing at all if one of them is not there.
        """
        return package_files(cls.info.demo_weights)

    def explain(self, supports: Sequence[Support], image: np.ndarray, *, video: bool) -> Sequence[Panel]:
        """Return pictures of what leads to the mask, for ``icvos show-episode``. Optional.

        Args:
            supports: As ``segment`` or ``fit`` takes them.
            image: (H, W, 3) uint8 RGB: frame 0, or the query.
            video: Whether it is a video's frame.
        """
        return ()


def of_kind(value: Any, kind: str) -> Any:
    """Return a value that may be a mapping by kind of benchmark, ``image`` or ``video``, for one kind."""
    return value[kind] if isinstance(value, Mapping) else value


class VideoModel(Model):
    """A method that segments a whole video from supports."""

    @abstractmethod
    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Mask | Prediction]:
        """Yield one mask (or ``Prediction``) a frame, in order, at the frame's size.

        Args:
            supports: One or more images with a mask of the same kind of thing.
            video: Read it forward and lazily; never hold all of its frames.
            seed: For every random choice.
        """

    def segment_many(
        self, episodes: Sequence[Sequence[Support]], video: Video, *, seeds: Sequence[int]
    ) -> Iterator[Sequence[Mask | Prediction]]:
        """Yield, frame by frame, one mask for each of several support sets on one video.

        Optional: a model that overrides it can encode the frames once. It must equal ``segment`` on each set.
        The runner calls it only where a class overrides it.
        """
        streams = [self.segment(supports, video, seed=seed) for supports, seed in zip(episodes, seeds, strict=True)]
        yield from zip(*streams, strict=True)

    def segment_from_mask(self, mask: np.ndarray, video: Video, *, seed: int) -> Iterator[Mask | Prediction]:
        """Track frame 0's mask, (H, W) bool, through the video, and yield as ``segment`` does.

        Optional: ``icvos evaluate --oracle first-frame`` calls it only where a class overrides it or
        ``segment_objects``; without, frame 0 and its mask are the one support. A class that can use neither sets
        ``segment_from_mask = None``.
        """
        if type(self).segment_objects is not VideoModel.segment_objects:
            yield from (masks[0] for masks in self.segment_objects([mask], video, seed=seed))
        else:
            yield from self.segment([Support(video[0], mask)], video, seed=seed)

    def segment_objects(
        self, masks: Sequence[np.ndarray], video: Video, *, seed: int
    ) -> Iterator[Sequence[Mask | Prediction]]:
        """Track several objects of frame 0 in one pass, and yield frame by frame a mask of each; none overlaps another.

        Optional: on a benchmark of semi-supervised VOS the runner calls it once a video. A class that overrides it can
        encode frames once, and let the objects compete for a pixel as its method does. Without, each object is tracked
        by itself (``segment_from_mask``; else ``segment_many`` with frame 0 and its mask as the support), and where
        masks overlap the highest score keeps the pixel, or the first object where predictions carry no scores. The
        objects are then tracked side by side, each by a shallow copy of the model: what a class sets on ``self`` while
        it tracks is that object's own, what it changes in place is all objects'.

        Args:
            masks: (H, W) bool of each object on frame 0, one or more; none is empty, none overlaps another.
            video: As for ``segment``.
            seed: For every random choice.
        """
        together: Iterator[Sequence[Mask | Prediction]]
        from_mask = type(self).segment_from_mask is not VideoModel.segment_from_mask
        if not from_mask and type(self).segment_many is not VideoModel.segment_many:
            supports = [[Support(video[0], mask)] for mask in masks]
            together = self.segment_many(supports, video, seeds=[seed] * len(masks))
        else:
            streams: list[Iterator[Mask | Prediction]] = []
            for mask in masks:
                # The first is begun before the others' copies are made, so that they share what it loads.
                stream = iter((copy(self) if streams else self).segment_from_mask(mask, video, seed=seed))
                streams.append(chain(list(islice(stream, 1)), stream))
            together = zip(*streams, strict=True)
        for items in together:
            yield without_overlap([Prediction.of(item, video.size) for item in items])


class ImageModel(Model):
    """A method that segments one query image from supports; on videos it runs frame by frame, or lifted."""

    @abstractmethod
    def fit(self, supports: Sequence[Support], *, seed: int) -> Any:
        """Return whatever ``predict`` needs of the supports; called once an episode."""

    @abstractmethod
    def predict(self, fitted: Any, image: Any) -> Mask | Prediction:
        """Return the mask of one (H, W, 3) uint8 RGB image, at its size."""


@dataclass(frozen=True)
class Panel:
    """One picture of the sheet.

    Attributes:
        title: Above it.
        image: (H, W, 3) uint8 RGB.
        heat: (h, w) float to lay over the image, or None.
        span: Values of ``heat`` for the ends of its colours; its own range by default.
        mask: (H, W) bool to tint, or None.
        outline: (H, W) bool whose border to draw, or None.
    """

    title: str
    image: np.ndarray
    heat: np.ndarray | None = None
    span: tuple[float, float] | None = None
    mask: np.ndarray | None = None
    outline: np.ndarray | None = None
