"""Image models on video: frame by frame here; through a tracker in ``icvos.models.lifting``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from icvos.errors import UsageError, did_you_mean
from icvos.models.interface import ImageModel, Model, VideoModel, of_kind
from icvos.models.options import group_options
from icvos.models.redetect import Answer, Redetector, RedetectRules, confidence_of
from icvos.plugins import package_files
from icvos.types import Mask, ModelInfo, Prediction, Support, Video, WeightInfo

__all__ = ["LIFTS", "FrameByFrame", "Lift", "Lifted", "first_mask_use", "lift", "lift_usages", "needs_first_mask"]


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
    """An image model whose masks prompt a tracker; made by ``lift``.

    Attributes:
        lifted: The image model's class.
        rows: The rows of ``LIFTS`` that its name is made of, the tracker's first.
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
        # What the image model has seen and is told is known when it is open.
        lifted_info = self.image_model.info
        self.info = replace(  # type: ignore[misc]
            type(self).info,
            training_categories=lifted_info.training_categories,
            training_data=_training_data(lifted_info, self.rows),
            uses=lifted_info.uses,
        )
        self.tracker = self.open_tracker(weights=tracker_files, device=device, options=self.tracker_options)
        self.weights |= tracker_files  # likewise

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
        fitted = [self.image_model.fit(supports, seed=seed) for supports, seed in zip(episodes, seeds, strict=True)]
        yield from _no_grad(self._stream(fitted, video))

    def segment_objects(self, masks: Sequence[np.ndarray], video: Video, *, seed: int) -> Iterator[Sequence[Any]]:
        """Track masks of frame 0 through the video, frames encoded once; the image model is not asked."""
        return _no_grad(self.tracker.track_objects(masks, video))

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
        from icvos.foundation.tracker import Prompt

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
        return _no_grad(self._both_ways(self.image_model.fit(supports, seed=seed), video))

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
        from icvos.foundation.tracker import Prompt

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

        from icvos.foundation.tracker import Prompt

        prediction = Prediction.of(self.image_model.predict(fitted, frame), (frame.shape[0], frame.shape[1]))
        mask = torch.as_tensor(prediction.mask, device=self.tracker.segmenter.device)[None].bool()
        if not bool(mask.any()):
            return None
        return Answer(Prompt(masks=mask.float()), mask, confidence_of(prediction))


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


@dataclass(frozen=True)
class Lift:
    """A tracker, a memory policy or a way of prompting: one row of ``LIFTS``.

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


def _open_sam2(*, weights: Mapping[str, Path], device: str, options: Mapping[str, Any]) -> Any:
    from icvos.foundation.load import load_sam
    from icvos.foundation.memory_policies import POLICIES
    from icvos.foundation.policy_tracker import PolicyTracker
    from icvos.foundation.sam2 import Sam2
    from icvos.foundation.tracker import Tracker, TrackerOptions

    segmenter = load_sam(Sam2, weights["tracker"], device=device)
    if "policy" in options:
        return PolicyTracker(segmenter, POLICIES[options["policy"]])
    return Tracker(segmenter, TrackerOptions(**options))


def _open_sam3(*, weights: dict[str, Path], device: str, options: Mapping[str, Any]) -> Any:
    from icvos.foundation.sam3 import load_sam3_tracker
    from icvos.foundation.sam3_tracker import Sam3Tracker, Sam3TrackerOptions

    config = weights.setdefault("tracker_config", weights["tracker"].with_name("config.json"))
    return Sam3Tracker(load_sam3_tracker(weights["tracker"], config).to(device), Sam3TrackerOptions(**options))


def _period(number: str, name: str) -> int:
    if not (re.fullmatch("[0-9]{1,9}", number) and int(number) > 0):
        raise ValueError(f"@{name}=N with N at least 1")
    return int(number)


# Their prompts pile up: only as many are kept as memories as the tracker's window is long.
_FLAT = {"tracker_options": {"max_prompted": 7}}


def _every(number: str) -> Mapping[str, Any]:
    return {"every": _period(number, "every"), **_FLAT, **_NO_ORACLE}


def _redetect(number: str) -> Mapping[str, Any]:
    rules = RedetectRules(every=_period(number, "redetect")) if number else RedetectRules()
    return {"rules": rules, **_FLAT, **_NO_ORACLE}


def _policy(name: str, help: str, paper: str) -> Lift:
    return Lift(f"@{name}", help, lambda _: {"tracker_options": {"policy": name}}, trackers=("sam2",), paper=paper)


# X goes on localising on later frames, which is not to be had from frame 0's mask: no oracle there.
_NO_ORACLE = {"segment_from_mask": None}

LIFTS: dict[str, Lift] = {
    row.name: row
    for row in (
        Lift(
            "+sam2",
            "SAM 2's tracker, prompted with X's mask of frame 0",
            lambda _: {"open_tracker": staticmethod(_open_sam2)},
            weights={"tracker": WeightInfo("a SAM 2 or SAM 2.1 checkpoint for the tracker (icvos weights list)")},
            training_data=("sa-v:train", "sa-1b:train"),
            extra="sam",
            demo_weights={"tracker": "icvos/demo/weights/demo_sam2.safetensors"},
        ),
        Lift(
            "+sam3",
            "SAM 3's tracker, through transformers, prompted with X's mask of frame 0",
            lambda _: {"open_tracker": staticmethod(_open_sam3)},
            weights={
                "tracker": WeightInfo(
                    "the folder of facebook/sam3 (config.json, model.safetensors) on huggingface.co, which asks to be "
                    "accepted, or its model.safetensors"
                ),
                "tracker_config": WeightInfo("the config.json of these, where it is not beside them", required=False),
            },
            training_data=("sa-v:train", "sa-1b:train", "sa-co:train"),
            extra="hf",
        ),
        Lift("@first-found", "prompted on the first frame where X's mask is not empty", lambda _: {"wait": True}),
        Lift("@every", "prompted again with X's mask each N frames", _every, argument="N"),
        Lift(
            "@redetect",
            "prompted again where X, asked each N frames or where the tracker is unsure, finds what is not tracked",
            _redetect,
            argument="N",
            base=LiftedRedetect,
            trackers=("sam2",),
        ),
        Lift(
            "@best",
            "prompted on the frame where X is most confident, and tracked from there both ways",
            lambda _: _NO_ORACLE,
            base=LiftedBest,
            access="offline",
        ),
        _policy(
            "dam",
            "frames on which something else looked like the thing are remembered (DAM4SAM)",
            "Videnovic et al., A Distractor-Aware Memory for Visual Object Tracking with SAM2, CVPR 2025 "
            "(arXiv 2411.17576)",
        ),
        _policy(
            "samurai",
            "its box's motion has a say in the mask, and bad frames are not remembered (SAMURAI)",
            "Yang et al., SAMURAI: Adapting Segment Anything Model for Zero-Shot Visual Tracking with Motion-Aware "
            "Memory, 2024 (arXiv 2411.11922)",
        ),
        _policy(
            "sam3-memory",
            "bad frames are not remembered, as in SAM 3's tracker",
            "Carion et al., SAM 3: Segment Anything with Concepts, 2025 (arXiv 2511.16719)",
        ),
    )
}


def lift_usages(sign: str) -> list[str]:
    """Return how the rows of ``LIFTS`` are written: ``+`` for trackers, ``@`` for the others."""
    return [row.usage for row in LIFTS.values() if row.name.startswith(sign)]


def _training_data(info: ModelInfo, rows: Sequence[Lift]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*info.training_data, *(data for row in rows for data in row.training_data))))


def lift(cls: type[Model], mode: str = "", *, tracker: str = "sam2") -> type[Lifted]:
    """Return the class of ``cls`` lifted to video.

    Args:
        cls: An image model.
        mode: A row of ``LIFTS`` without its ``@``: ``first-found``, ``every=N``, ``best``, …; "" for frame 0's prompt.
        tracker: A row of ``LIFTS`` without its ``+``.

    Raises:
        UsageError: ``cls`` is a video model already, or an unknown tracker or mode.
    """
    info: ModelInfo = cls.info
    if f"+{tracker}" not in LIFTS:
        trackers = [usage[1:] for usage in lift_usages("+")]
        raise UsageError(f"no tracker '{tracker}' to lift '{info.name}' to video", fix=did_you_mean(tracker, trackers))
    if not issubclass(cls, ImageModel):
        raise UsageError(f"'{info.name}' is a video model and needs no tracker", fix=f"use --model {info.name}")
    rows = [(LIFTS[f"+{tracker}"], "")]
    if mode:
        name, _, argument = mode.partition("=")
        row = LIFTS.get(f"@{name}")
        if row is None or (argument and not row.argument):
            modes = [usage[1:] for usage in lift_usages("@")]
            raise UsageError(f"'@{mode}' is no way to lift", fix=did_you_mean(mode, modes))
        if row.trackers and tracker not in row.trackers:
            raise UsageError(
                f"'+{tracker}' does not go with @{name}", fix=f"it goes with +{' and +'.join(row.trackers)}"
            )
        if row.access and info.access != "online":
            raise UsageError(f"'{info.name}' cannot be lifted with @{mode}")
        rows.append((row, argument))
    body: dict[str, Any] = {}
    for row, argument in rows:
        try:
            body |= row.attributes(argument)
        except ValueError as error:
            raise UsageError(f"'@{mode}' is no way to lift", expected=str(error)) from None
        info = replace(info, access=row.access or info.access, weights={**info.weights, **row.weights})
    used = tuple(row for row, _ in rows)
    extras = [row.extra for row in used if row.extra]
    body |= {
        "info": replace(
            info,
            name=f"{info.name}+{tracker}{'@' + mode if mode else ''}",
            version=f"{info.version}.1",
            paper="; ".join(part for part in (info.paper, *(row.paper for row in used)) if part),
            training_data=_training_data(info, used),
            extra=",".join(dict.fromkeys([*([info.extra] if info.extra else []), *extras])) or None,
        ),
        "lifted": cls,
        "rows": used,
        "__module__": cls.__module__,
        "__doc__": Lifted.__doc__,
    }
    base: Callable[..., Any] = type
    return base(f"{cls.__name__}Lifted", (used[-1].base,), body)
