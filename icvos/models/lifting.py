"""Image models on video: frame by frame, or through a tracker as a row of ``icvos.models.lifts`` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from icvos.errors import UsageError
from icvos.models.interface import ImageModel, Model, VideoModel, of_kind
from icvos.models.options import group_options
from icvos.models.redetect import Answer, Redetector, RedetectRules, confidence_of
from icvos.plugins import package_files
from icvos.types import Mask, ModelInfo, Prediction, Support, Video, WeightInfo

__all__ = [
    "FrameByFrame",
    "Lift",
    "Lifted",
    "LiftedBest",
    "LiftedRedetect",
    "first_mask_use",
    "needs_first_mask",
    "training_data_of",
]


class FrameByFrame(VideoModel):
    """An image model on every frame of a video by itself; ``fit`` is called once an episode."""

    def __init__(self, model: ImageModel) -> None:
        super().__init__(device=model.device, weights=model.weights)
        self.model = model
        self.info = model.info

    def __copy__(self) -> FrameByFrame:
        return FrameByFrame(copy(self.model))

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Mask | Prediction]:
        fitted: Any = self.model.fit(supports, seed=seed)
        for frame in video:
            yield self.model.predict(fitted, frame)


def first_mask_use(model: Model) -> Literal["prompt", "support"]:
    """Return how a model takes frame 0's ground truth (``icvos evaluate --oracle first-frame``).

    ``prompt``: its class overrides ``segment_from_mask`` or ``segment_objects`` (an image model lifted as ``X+sam2``).
    ``support``: it does not, and gets frame 0 and its mask as its one support. A class that sets
    ``segment_from_mask = None`` takes neither.

    Raises:
        UsageError: It takes neither.
    """
    default = VideoModel.segment_from_mask
    method = getattr(type(model), "segment_from_mask", default)
    if method is None:
        name = type(model).info.name
        base = name.partition("@")[0]
        raise UsageError(
            f"'{name}' localises on later frames too, which frame 0's mask cannot replace",
            fix=f"use --model {base} with --oracle" if base != name else "evaluate it without --oracle",
        )
    several = getattr(type(model), "segment_objects", VideoModel.segment_objects)
    return "support" if method is default and several is VideoModel.segment_objects else "prompt"


def needs_first_mask(model: Model) -> bool:
    """Whether a model only tracks: it says that it uses frame 0's mask, and takes it by a hook, not by itself."""
    hooks = ("segment_from_mask", "segment_objects")
    return "first-frame" in type(model).info.uses and any(
        getattr(type(model), name, None) not in (None, getattr(VideoModel, name)) for name in hooks
    )


class Lifted(VideoModel):
    """An image model whose masks prompt a tracker; made by ``icvos.models.lifts.lift``.

    Attributes:
        lifted: The image model's class.
        rows: The rows of ``icvos.models.lifts.LIFTS`` that its name is made of, the tracker's first.
        open_tracker: Returns the tracker of a row: takes ``weights`` (files by name), ``device`` and ``options``.
        tracker_options: What differs from the defaults of the tracker's options, as how its memory is kept.
        every: Prompt again each so many frames (``@every=N``), or None.
        wait: Whether the first prompt waits for a mask that is not empty (``@first-found``).
    """

    lifted: ClassVar[type[ImageModel]]
    rows: ClassVar[tuple[Lift, ...]] = ()
    open_tracker: ClassVar[Callable[..., Any]]
    tracker_options: ClassVar[Mapping[str, Any]] = {}
    every: ClassVar[int | None] = None
    wait: ClassVar[bool] = False

    def __init__(self, *, device: str = "cpu", weights: Mapping[str, Path] | None = None, **options: Any) -> None:
        super().__init__(device=device, weights=weights)
        tracker_files = {name: path for name, path in self.weights.items() if self._of_tracker(name)}
        files = {name: path for name, path in self.weights.items() if name not in tracker_files}
        self.image_model = self.lifted(device=device, weights=files, **group_options(self.lifted, options))
        self.dtype = of_kind(self.image_model.dtype, "image")
        self.autocast = of_kind(self.image_model.autocast, "image")
        self.weights |= self.image_model.weights  # with the files that it found itself: they are part of the record
        self.tracker = self.open_tracker(weights=tracker_files, device=device, options=self.tracker_options)
        self.weights |= tracker_files  # likewise
        # What both have seen, and the image model is told, is known when they are open.
        lifted_info = self.image_model.info
        seen = getattr(getattr(self.tracker, "segmenter", None), "trained_on", None)
        rows = [row if seen is None or not row.weights else replace(row, training_data=seen) for row in self.rows]
        self.info = replace(  # type: ignore[misc]
            type(self).info,
            training_categories=lifted_info.training_categories,
            training_data=training_data_of(lifted_info, rows),
            uses=lifted_info.uses,
        )

    @classmethod
    def _of_tracker(cls, name: str) -> bool:
        return any(name in row.weights for row in cls.rows)

    @classmethod
    def demo_weights(cls) -> Mapping[str, Path]:
        shipped = {name: path for row in cls.rows for name, path in package_files(row.demo_weights).items()}
        return {**cls.lifted.demo_weights(), **shipped}

    def _localise(self, fitted: Any, frame: np.ndarray) -> tuple[Any, float]:
        """Return the image model's mask as (1, H, W) float on the tracker's device, and its confidence."""
        import torch

        prediction = Prediction.of(self.image_model.predict(fitted, frame), (frame.shape[0], frame.shape[1]))
        mask = torch.as_tensor(prediction.mask, device=self.tracker.segmenter.device)
        return mask[None].float(), float(prediction.confidence or 0.0)

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        for masks in self.segment_many([supports], video, seeds=[seed]):
            yield masks[0]

    def segment_many(
        self, episodes: Sequence[Sequence[Support]], video: Video, *, seeds: Sequence[int]
    ) -> Iterator[Sequence[Any]]:
        """Yield frame by frame a mask for each support set: the tracker encodes a frame once for all of them."""
        from icvos.foundation.streams import without_gradients

        fitted = [self.image_model.fit(supports, seed=seed) for supports, seed in zip(episodes, seeds, strict=True)]
        yield from without_gradients(self._stream(fitted, video))

    def segment_objects(self, masks: Sequence[np.ndarray], video: Video, *, seed: int) -> Iterator[Sequence[Any]]:
        """Track masks of frame 0 through the video, frames encoded once; the image model is not asked."""
        from icvos.foundation.streams import without_gradients

        return without_gradients(self.tracker.track_objects(masks, video))

    def _stream(self, fitted: Sequence[Any], video: Video) -> Iterator[Sequence[Any]]:
        import torch

        empty = torch.zeros(video.size, dtype=torch.bool, device=self.tracker.segmenter.device)
        waiting = list(range(len(fitted)))
        tracks: list[_Track] = []
        for index, frame in enumerate(video):
            masks = [empty] * len(fitted)
            starts = [
                (episode, mask)
                for episode in (waiting if index == 0 or self.wait or self.every else ())
                if (mask := self._prompt(fitted[episode], frame)) is not None
            ]
            waiting = [episode for episode in waiting if episode not in dict(starts)]
            if starts or tracks:
                (features,) = self.tracker.encode([frame])
                for track in tracks:
                    # Only @every prompts again, and it tracks each episode by itself.
                    again = self.every is not None and index % self.every == 0
                    mask = self._prompt(fitted[track.episodes[0]], frame) if again else None
                    track.step(self.tracker, features, mask, masks, video.size)
                # What starts on the same frame and is never prompted again is tracked as one batch.
                size = 1 if self.every else max(len(starts), 1)
                for group in (starts[first : first + size] for first in range(0, len(starts), size)):
                    begun = _Track(
                        [episode for episode, _ in group],
                        self.tracker.start(num_frames=len(video) - index, size=video.size),
                    )
                    begun.step(self.tracker, features, torch.cat([mask for _, mask in group]), masks, video.size)
                    tracks.append(begun)
            yield masks

    def _prompt(self, fitted: Any, frame: np.ndarray) -> Any:
        """Return a frame's (1, H, W) float prompt, or None: an empty mask neither starts a track nor erases it."""
        mask, _ = self._localise(fitted, frame)
        return mask if bool(mask.any()) else None


@dataclass
class _Track:
    """Episodes that are tracked as one batch.

    Attributes:
        episodes: The index of each among all episodes.
        bank: Its memory.
    """

    episodes: Sequence[int]
    bank: Any

    def step(self, tracker: Any, features: Any, mask: Any, masks: list[Any], size: tuple[int, int]) -> None:
        """Track one frame, with the (N, H, W) prompts ``mask`` if any; write its masks to its episodes' rows."""
        from icvos.foundation.frame_tracker import Prompt

        prompt = None if mask is None else Prompt(masks=mask)
        tracked = tracker.step(self.bank, features, prompt=prompt).masks(size)
        for row, episode in enumerate(self.episodes):
            masks[episode] = tracked[row]


class LiftedBest(Lifted):
    """``@best``: two passes, the second from the most confident frame both ways; masks wait as bits, not frames.

    Its passes go through a video in different orders for each support set, so that there is nothing to share.
    """

    segment_many = VideoModel.segment_many

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        from icvos.foundation.streams import without_gradients

        return without_gradients(self._both_ways(self.image_model.fit(supports, seed=seed), video))

    def _both_ways(self, fitted: Any, video: Video) -> Iterator[Any]:
        import torch

        best, chosen, score = -1, None, -np.inf
        for index, frame in enumerate(video):
            mask, confidence = self._localise(fitted, frame)
            if confidence > score and bool(mask.any()):
                best, chosen, score = index, mask, confidence
        if chosen is None:
            for _ in range(len(video)):
                yield torch.zeros(video.size, dtype=torch.bool)
            return
        before = list(self._track(video, range(best, -1, -1), chosen))
        for bits in reversed(before[1:]):
            yield np.unpackbits(bits, count=video.size[0] * video.size[1]).reshape(video.size).astype(bool)
        for bits in self._track(video, range(best, len(video)), chosen):
            yield np.unpackbits(bits, count=video.size[0] * video.size[1]).reshape(video.size).astype(bool)

    def _track(self, video: Video, order: Sequence[int], mask: Any) -> Iterator[np.ndarray]:
        from icvos.foundation.frame_tracker import Prompt

        frames = (video[index] for index in order)
        for tracked in self.tracker.track(frames, Prompt(masks=mask), num_frames=len(order), size=video.size):
            yield np.packbits(tracked.masks(video.size)[0].cpu().numpy())


class LiftedRedetect(Lifted):
    """``@redetect``: prompted on the first frame where anything is found, then where the image model finds more.

    Attributes:
        rules: When it looks again, and what it believes.
    """

    rules: ClassVar[RedetectRules] = RedetectRules()

    def _stream(self, fitted: Sequence[Any], video: Video) -> Iterator[Sequence[Any]]:
        import torch

        empty = torch.zeros(video.size, dtype=torch.bool, device=self.tracker.segmenter.device)
        tracks = [Redetector(self.tracker, lambda frame: frame.masks(video.size), self.rules) for _ in fitted]
        for index, frame in enumerate(video):
            (features,) = self.tracker.encode([frame])
            masks = [
                track.step(features, partial(self._answer, each, frame), left=len(video) - index)
                for each, track in zip(fitted, tracks)
            ]
            yield [empty if mask is None else mask[0] for mask in masks]

    def _answer(self, fitted: Any, frame: np.ndarray) -> Answer | None:
        """Return what the image model finds on a frame, on the tracker's device, or None."""
        import torch

        from icvos.foundation.frame_tracker import Prompt

        prediction = Prediction.of(self.image_model.predict(fitted, frame), (frame.shape[0], frame.shape[1]))
        mask = torch.as_tensor(prediction.mask, device=self.tracker.segmenter.device)[None].bool()
        if not bool(mask.any()):
            return None
        return Answer(Prompt(masks=mask.float()), mask, confidence_of(prediction))


@dataclass(frozen=True)
class Lift:
    """A tracker, a memory policy or a way of prompting: one row of ``icvos.models.lifts.LIFTS``.

    Attributes:
        name: ``+`` and a tracker's name, or ``@`` and that of what changes how it is prompted or remembers.
        help: What it does, one line.
        attributes: Returns attributes of the lifted class (see ``Lifted``) from the text behind ``=``; a ValueError
            says what was expected.
        argument: What stands behind ``=``, as ``N``; "" where it takes none.
        base: The class that runs it.
        access: The lifted model's, of an image model that is ``online``; "" for the image model's own.
        weights: The files it takes, by name.
        training_data: What it was trained on.
        extra: The pip extra of icvos that it needs.
        demo_weights: Files shipped for the demo benchmarks, as in ``ModelInfo``.
        trackers: The trackers that it goes with, without their ``+``; none for all.
        paper: Where it comes from, as in ``ModelInfo``.
    """

    name: str
    help: str
    attributes: Callable[[str], Mapping[str, Any]]
    argument: str = ""
    base: type[Lifted] = Lifted
    access: str = ""
    weights: Mapping[str, WeightInfo] = field(default_factory=dict)
    training_data: tuple[str, ...] = ()
    extra: str = ""
    demo_weights: Mapping[str, str] = field(default_factory=dict)
    trackers: tuple[str, ...] = ()
    paper: str = ""

    @property
    def usage(self) -> str:
        """How it is written: the name, and the argument if it takes one."""
        return f"{self.name}={self.argument}" if self.argument else self.name


def training_data_of(info: ModelInfo, rows: Sequence[Lift]) -> tuple[str, ...]:
    """Return what a lifted model was trained on: the image model's data, then each row's."""
    return tuple(dict.fromkeys((*info.training_data, *(data for row in rows for data in row.training_data))))
