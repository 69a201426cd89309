"""Image models on video: frame by frame here; through a tracker in ``icvos.models.lifting``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from icvos.errors import UsageError, did_you_mean
from icvos.models.interface import ImageModel, Model, VideoModel, of_kind
from icvos.types import Mask, ModelInfo, Prediction, Support, Video, WeightInfo

__all__ = ["FrameByFrame", "Lifted", "first_mask_use", "lift"]


class FrameByFrame(VideoModel):
    """An image model on every frame of a video by itself; ``fit`` is called once an episode."""

    def __init__(self, model: ImageModel) -> None:
        super().__init__(device=model.device, weights=model.weights)
        self.model = model
        self.info = model.info

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Mask | Prediction]:
        fitted: Any = self.model.fit(supports, seed=seed)
        for frame in video:
            yield self.model.predict(fitted, frame)


def first_mask_use(model: Model) -> Literal["prompt", "support"]:
    """Return how a model takes frame 0's ground truth (``icvos evaluate --oracle first-frame``).

    ``prompt``: its class overrides ``segment_from_mask`` (an image model lifted as ``X+sam2``). ``support``: it does
    not, and gets frame 0 and its mask as its one support. A class that sets ``segment_from_mask = None`` takes neither.

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
    return "support" if method is default else "prompt"


_TRACKER = WeightInfo("a SAM 2 or SAM 2.1 checkpoint for the tracker (icvos weights list)")


_MODES = ("", "first-found", "every=N", "best")


class Lifted(VideoModel):
    """An image model whose masks prompt a tracker; made by ``lift``.

    Attributes:
        lifted: The image model's class.
        every: Prompt again each so many frames (``@every=N``), or None.
        wait: Whether the first prompt waits for a mask that is not empty (``@first-found``).
    """

    lifted: ClassVar[type[ImageModel]]
    every: ClassVar[int | None] = None
    wait: ClassVar[bool] = False

    def __init__(self, *, device: str = "cpu", weights: Mapping[str, Path] | None = None, **options: Any) -> None:
        super().__init__(device=device, weights=weights)
        from icvos.foundation.load import load_sam2
        from icvos.foundation.tracker import Tracker, TrackerOptions

        files = {name: path for name, path in self.weights.items() if name != "tracker"}
        self.image_model = self.lifted(device=device, weights=files, **options)
        self.dtype = of_kind(self.image_model.dtype, "image")
        self.weights |= self.image_model.weights  # with the files that it found itself: they are part of the record
        # What the image model has seen is known when its weights are open.
        own = self.image_model.info
        self.info = replace(
            type(self).info, training_categories=own.training_categories, training_data=_data_with_tracker(own)
        )
        # Prompts of @every pile up: only as many are kept as memories as the tracker's window is long.
        kept = 7 if self.every else None
        self.tracker = Tracker(load_sam2(self.weights["tracker"], device=device), TrackerOptions(max_prompted=kept))

    @classmethod
    def demo_weights(cls) -> Mapping[str, Path]:
        from icvos.foundation.demo import demo_weights

        tracker = demo_weights("sam2")
        return {**cls.lifted.demo_weights(), **({"tracker": tracker["sam2"]} if tracker else {})}

    def _found(self, fitted: Any, frame: np.ndarray) -> tuple[Any, float]:
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
        fitted = [self.image_model.fit(supports, seed=seed) for supports, seed in zip(episodes, seeds, strict=True)]
        yield from _no_grad(self._stream(fitted, video))

    def segment_from_mask(self, mask: Any, video: Video, *, seed: int) -> Iterator[Any]:
        """Track a mask of frame 0, (H, W) bool, through the video; the image model is not asked."""
        return _no_grad(self._tracked(mask, video))

    def _tracked(self, mask: Any, video: Video) -> Iterator[Any]:
        import torch

        from icvos.foundation.tracker import Prompt

        prompt = Prompt(masks=torch.as_tensor(mask, device=self.tracker.segmenter.device)[None].float())
        for tracked in self.tracker.track(video, prompt, num_frames=len(video)):
            yield tracked.masks(video.size)[0]

    def _stream(self, fitted: Sequence[Any], video: Video) -> Iterator[Sequence[Any]]:
        import torch

        empty = torch.zeros(video.size, dtype=torch.bool, device=self.tracker.segmenter.device)
        waiting = list(range(len(fitted)))
        tracks: list[_Track] = []
        for index, frame in enumerate(video):
            masks = [empty] * len(fitted)
            starts = [
                (place, mask)
                for place in (waiting if index == 0 or self.wait or self.every else ())
                if (mask := self._prompt(fitted[place], frame)) is not None
            ]
            waiting = [place for place in waiting if place not in dict(starts)]
            if starts or tracks:
                (features,) = self.tracker.encode([frame])
                for track in tracks:
                    # Only @every prompts again, and it tracks each episode by itself.
                    again = self.every is not None and index % self.every == 0
                    mask = self._prompt(fitted[track.places[0]], frame) if again else None
                    track.step(self.tracker, features, mask, masks, video.size)
                # What starts on the same frame and is never prompted again is tracked as one batch.
                size = 1 if self.every else max(len(starts), 1)
                for group in (starts[first : first + size] for first in range(0, len(starts), size)):
                    begun = _Track([place for place, _ in group], self.tracker.start(num_frames=len(video) - index))
                    begun.step(self.tracker, features, torch.cat([mask for _, mask in group]), masks, video.size)
                    tracks.append(begun)
            yield masks

    def _prompt(self, fitted: Any, frame: np.ndarray) -> Any:
        """Return a frame's (1, H, W) float prompt, or None: an empty mask neither starts a track nor erases it."""
        mask, _ = self._found(fitted, frame)
        return mask if bool(mask.any()) else None


@dataclass
class _Track:
    """Episodes that are tracked as one batch.

    Attributes:
        places: Of each, among all episodes.
        bank: Its memory.
    """

    places: Sequence[int]
    bank: Any

    def step(self, tracker: Any, features: Any, mask: Any, masks: list[Any], size: tuple[int, int]) -> None:
        """Track one frame, with the (N, H, W) prompts ``mask`` if any, and put its masks into their places."""
        from icvos.foundation.tracker import Prompt

        prompt = None if mask is None else Prompt(masks=mask)
        found = tracker.step(self.bank, features, prompt=prompt).masks(size)
        for row, place in enumerate(self.places):
            masks[place] = found[row]


class LiftedBest(Lifted):
    """``@best``: two passes, the second from the most confident frame both ways; masks wait as bits, not frames.

    Its passes go through a video in different orders for each support set, so that there is nothing to share.
    """

    segment_many = VideoModel.segment_many

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        return _no_grad(self._both_ways(self.image_model.fit(supports, seed=seed), video))

    def _both_ways(self, fitted: Any, video: Video) -> Iterator[Any]:
        import torch

        best, chosen, score = -1, None, -np.inf
        for index, frame in enumerate(video):
            mask, confidence = self._found(fitted, frame)
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
        from icvos.foundation.tracker import Prompt

        frames = (video[index] for index in order)
        for tracked in self.tracker.track(frames, Prompt(masks=mask), num_frames=len(order)):
            yield np.packbits(tracked.masks(video.size)[0].cpu().numpy())


def _no_grad(stream: Iterator[Any]) -> Iterator[Any]:
    """Compute each item without gradients, the caller's mode untouched between items."""
    import torch

    while True:
        with torch.no_grad():
            try:
                item = next(stream)
            except StopIteration:
                return
        yield item


def _data_with_tracker(info: ModelInfo) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*info.training_data, "sa-v:train", "sa-1b:train")))


def lift(cls: type[Model], mode: str = "") -> type[Lifted]:
    """Return the class of ``cls`` lifted to video.

    Args:
        cls: An image model.
        mode: ``""``, ``first-found``, ``every=N`` or ``best``.

    Raises:
        UsageError: ``cls`` is a video model already, or an unknown mode.
    """
    info: ModelInfo = cls.info
    if not issubclass(cls, ImageModel):
        raise UsageError(f"'{info.name}' is a video model and needs no tracker", fix=f"use --model {info.name}")
    name, _, number = mode.partition("=")
    if name == "every" and not (number.isdigit() and int(number) > 0):
        raise UsageError(f"'@{mode}' is no way to lift", expected="@every=N with N at least 1")
    if name not in ("", "first-found", "every", "best") or (number and name != "every"):
        raise UsageError(f"'@{mode}' is no way to lift", fix=did_you_mean(mode, [m for m in _MODES if m]))
    if name == "best" and info.access != "online":
        raise UsageError(f"'{info.name}' cannot be lifted with @best")
    lifted_info = replace(
        info,
        name=f"{info.name}+sam2{'@' + mode if mode else ''}",
        version=f"{info.version}.1",
        access="offline" if name == "best" else info.access,
        weights={**info.weights, "tracker": _TRACKER},
        training_data=_data_with_tracker(info),
        extra=",".join(dict.fromkeys((info.extra or "sam", "sam"))),
    )
    body = {
        "info": lifted_info,
        "lifted": cls,
        "wait": name == "first-found",
        "every": int(number) if name == "every" else None,
        "__module__": cls.__module__,
        "__doc__": Lifted.__doc__,
    }
    if name in ("every", "best"):
        # X goes on localising on later frames, which is not to be had from frame 0's mask: no oracle there.
        body["segment_from_mask"] = None
    base: Callable[..., Any] = type
    return base(f"{cls.__name__}Lifted", (LiftedBest if name == "best" else Lifted,), body)
