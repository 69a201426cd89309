"""The conformance check: runs a model on tiny synthetic clips and judges every rule of the plugin interface."""

from __future__ import annotations

import contextlib
import gc
import itertools
import re
import sys
import traceback
import tracemalloc
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icvos.errors import IcvosError, ModelError, counted
from icvos.models.clips import Clip, support
from icvos.models.interface import ImageModel, Model, VideoModel
from icvos.models.lifting import needs_first_mask
from icvos.models.objects import overlap
from icvos.models.program import Program
from icvos.models.registry import as_video_model, source_line
from icvos.models.remote import Remote
from icvos.models.seeds import seed_all
from icvos.models.timeout import time_limit
from icvos.plugins import ends_command, plugin_at_work, said
from icvos.progress import verbosity
from icvos.types import Prediction, Support

__all__ = ["RULES", "Finding", "check_model"]


@dataclass(frozen=True)
class Finding:
    """The verdict on one rule: ``status`` is passed, failed or skipped; ``mend`` says what to do about a failure."""

    rule: str
    status: str
    message: str
    mend: str = ""


class _Broken(Exception):
    """A rule is broken; the text says how."""


class _Skip(Exception):
    """A rule does not apply; the text says why."""


def _mask(answer: Any, size: tuple[int, int], name: str) -> np.ndarray:
    """Return a copy of what a model yielded, (H, W) bool: it may write the next mask into the same memory."""
    try:
        return Prediction.of(answer, size).to_numpy().copy()
    except ModelError as error:
        raise _Broken(f"{name}: {error.what}") from None


class _Trial:
    """A model under check, and how to run it."""

    def __init__(self, build: Callable[[], Model]) -> None:
        self.build = build
        self.model = build()
        self.video_model: VideoModel = as_video_model(self.model)
        self.failed: set[str] = set()  # rules, so far

    @property
    def info(self) -> Any:
        return type(self.model).info

    def segment(self, supports: Sequence[Support], video: Clip, *, seed: int) -> Iterator[Any]:
        """Call the model as the runner does: one that only tracks is told frame 0's mask in place of supports."""
        if not needs_first_mask(self.model):
            return self.video_model.segment(supports, video, seed=seed)
        mask = video.mask.copy()
        mask &= any(support.mask.any() for support in supports)
        return self.video_model.segment_from_mask(mask, video, seed=seed)

    def run(self, video: Clip, supports: Sequence[Support] | None = None, *, seed: int = 0) -> list[np.ndarray]:
        """Run to the end, generators seeded as the runner seeds them; every mask checked."""
        return list(self.masks(video, supports, seed=seed))

    def begin(self, video: Clip, count: int) -> list[np.ndarray]:
        """Return the first masks of ``run``; the rest is not asked for."""
        with contextlib.closing(self.masks(video)) as masks:
            return list(itertools.islice(masks, count))

    def masks(
        self, video: Clip, supports: Sequence[Support] | None = None, *, seed: int = 0
    ) -> Generator[np.ndarray, None, None]:
        """Yield the masks of ``run``, one by one."""
        seed_all(seed)
        count = 0
        for answer in self.segment(supports or [support()], video, seed=seed):
            if count == len(video):
                raise _Broken(f"it yields more masks than the video's {counted(len(video), 'frames')}")
            yield _mask(answer, video.size, f"frame {count}")
            count += 1
        if count < len(video):
            raise _Broken(f"it yields {counted(count, 'masks')} for {counted(len(video), 'frames')}")


def _rule_declares(trial: _Trial) -> str:
    info = trial.info
    if not all(c.isalnum() or c in "_.-+@=" for c in info.name):
        raise _Broken(f"the name '{info.name}' holds other characters than letters, digits, '_', '.', '-', '+', '@'")
    return f"{info.name} {info.version}, {info.access}"


def _rule_masks(trial: _Trial) -> str:
    trial.run(Clip(5))
    return "5 masks for 5 frames, of their size and type"


def _rule_lazy(trial: _Trial) -> str:
    stream = trial.segment([support()], Clip(4), seed=0)
    if not isinstance(stream, Iterator):
        raise _Broken(f"segment returns a {type(stream).__name__}, not an iterator")
    return "segment returns an iterator"


def _rule_sizes(trial: _Trial) -> str:
    trial.run(Clip(2, (40, 40)), [support((56, 36))])
    trial.run(Clip(2, (37, 91)), [support((64, 64))])
    trial.run(Clip(2, (90, 33)), [support((31, 47))])
    return "40x40, 37x91 and 90x33 after one another, supports of other sizes"


def _rule_one_frame(trial: _Trial) -> str:
    trial.run(Clip(1))
    return "a video of one frame"


def _rule_empty_support(trial: _Trial) -> str:
    trial.run(Clip(2), [support(empty=True)])
    return "a support with an empty mask"


def _rule_shots(trial: _Trial) -> str:
    try:
        trial.run(Clip(2), [support(seed=100), support((64, 48), seed=102)])
    except IcvosError as error:
        return f"more than one support is refused with one line: {error}"
    return "two supports of two sizes"


def _rule_untouched(trial: _Trial) -> str:
    example = support()
    before = example.image.copy(), example.mask.copy()
    try:
        trial.run(Clip(2), [example])
    except ValueError as error:
        if "read-only" in str(error):
            raise _Broken("it writes into the support's arrays") from None
        raise
    if not (np.array_equal(before[0], example.image) and np.array_equal(before[1], example.mask)):
        raise _Broken("it changed the support's arrays")
    return "supports are left as they were"


def _same(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> int | None:
    """Return the first frame that differs, or None."""
    for index, (a, b) in enumerate(zip(first, second, strict=True)):
        if not np.array_equal(a, b):
            return index
    return None


def _rule_deterministic(trial: _Trial) -> str:
    first = trial.run(Clip(4), seed=7)
    trial.run(Clip(2, seed=3), [support(seed=103)], seed=8)
    frame = _same(first, trial.run(Clip(4), seed=7))
    if frame is not None:
        raise _Broken(f"the same seed gives another mask on frame {frame} the second time, after another episode")
    return "the same seed gives the same masks, another episode in between"


def _rule_fresh(trial: _Trial) -> str:
    def fresh() -> list[np.ndarray]:
        return _Trial(trial.build).run(Clip(4), seed=7)

    expected = fresh()
    # Worlds 1 and 0 swap the colours of things and backgrounds; the others differ in everything.
    for world, size in ((1, (48, 64)), (4, (72, 40)), (1, (64, 80)), (7, (36, 60))):
        trial.run(Clip(2, size, seed=world), [support((size[1], size[0]), seed=100 + world)], seed=world)
    frame = _same(expected, trial.run(Clip(4), seed=7))
    if frame is None:
        # Of one size and length with those: what is kept by them is another's.
        other, clip = [support(seed=104)], Clip(4, seed=4)
        frame = _same(_Trial(trial.build).run(clip, other, seed=7), trial.run(clip, other, seed=7))
    if frame is None:
        return "after very different episodes it gives what a fresh instance gives"
    if "deterministic" in trial.failed and _same(fresh(), fresh()) is not None:
        raise _Skip("not to be judged while the same seed gives a fresh instance other masks")
    raise _Broken(f"after other episodes it gives another mask on frame {frame} than a fresh instance")


def _need_repeatable(trial: _Trial) -> None:
    """Skip a rule that compares two runs where the same run twice differs: that is said already, with its cause."""
    for rule in ("deterministic", "fresh"):
        if rule in trial.failed:
            raise _Skip(f"not to be judged while '{rule}' fails")


def _rule_many(trial: _Trial) -> str:
    model = trial.video_model
    if type(model).segment_many is VideoModel.segment_many:
        raise _Skip("it does not override segment_many")
    _need_repeatable(trial)
    sets = [[support(seed=100)], [support((40, 50), seed=103)], [support(seed=105, empty=True)]]
    clip = Clip(5)
    together: list[list[np.ndarray]] = [[] for _ in sets]
    for answers in model.segment_many(sets, clip, seeds=[1, 2, 3]):
        if len(answers) != len(sets):
            raise _Broken(f"segment_many yields {counted(len(answers), 'masks')} for {counted(len(sets), 'episodes')}")
        for episode, answer in enumerate(answers):
            together[episode].append(_mask(answer, clip.size, f"segment_many, episode {episode}"))
    for episode, supports in enumerate(sets):
        alone = trial.run(Clip(5), supports, seed=episode + 1)
        if len(alone) != len(together[episode]):
            raise _Broken(f"segment_many yields {counted(len(together[episode]), 'frames')}, segment {len(alone)}")
        worst = max(float((a != b).mean()) for a, b in zip(alone, together[episode]))
        # Batched arithmetic may round a pixel on the border differently; anything more is another result.
        if worst > 0.002:
            raise _Broken(f"segment_many differs from segment on {worst:.1%} of a frame (episode {episode})")
    return "three episodes together equal each alone"


def _rule_objects(trial: _Trial) -> str:
    model = trial.video_model
    if type(model).segment_objects is VideoModel.segment_objects or type(model).segment_from_mask is None:
        raise _Skip("it does not override segment_objects")
    _need_repeatable(trial)
    clip = Clip(4)
    masks = [clip.mask, np.roll(clip.mask, (15, 28), (0, 1)) & ~clip.mask]

    def tracked(masks: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        seed_all(0)
        frames: list[list[np.ndarray]] = []
        for answers in model.segment_objects(masks, clip, seed=0):
            if len(answers) != len(masks):
                raise _Broken(
                    f"segment_objects yields {counted(len(answers), 'masks')} for {counted(len(masks), 'objects')}"
                )
            frames.append([_mask(answer, clip.size, f"segment_objects, frame {len(frames)}") for answer in answers])
            if overlap([Prediction(mask) for mask in frames[-1]]):
                raise _Broken(f"segment_objects gives a pixel of frame {len(frames) - 1} to two objects")
        if len(frames) != len(clip):
            raise _Broken(f"segment_objects yields {counted(len(frames), 'frames')} of {len(clip)}")
        return frames

    if any(_same(*pair) is not None for pair in zip(tracked(masks), tracked(masks), strict=True)):
        raise _Broken("segment_objects gives the same objects other masks the second time")
    seed_all(0)
    alone = [_mask(each, clip.size, "segment_from_mask") for each in model.segment_from_mask(masks[0], clip, seed=0)]
    if any(float((a != b[0]).mean()) > 0.002 for a, b in zip(alone, tracked(masks[:1]), strict=True)):
        raise _Broken("segment_objects tracks one object otherwise than segment_from_mask")
    return "two objects together never share a pixel, and one alone is what segment_from_mask gives"


def _torch_state() -> tuple | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled()


def _rule_leaks(trial: _Trial) -> str:
    trial.run(Clip(2))
    if isinstance(trial.model, Remote):
        return "its interpreter looks for them at every mask"
    torch = sys.modules.get("torch")
    if torch is None:
        return "it does not use torch"
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            before = _torch_state()
            stream = trial.segment([support()], Clip(3), seed=0)
            for _ in stream:
                if _torch_state() != before:
                    names = ("grad mode", "inference mode", "autocast")
                    changed = [n for n, a, b in zip(names, before or (), _torch_state() or ()) if a != b]
                    raise _Broken(f"{' and '.join(changed)} leaks out of the generator at a yield")
            if _torch_state() != before:
                raise _Broken("grad mode, inference mode or autocast is left changed at the end")
    return "grad mode, inference mode and autocast stay inside"


def _rule_access(trial: _Trial) -> str:
    ahead = trial.info.lookahead
    if ahead is None:
        raise _Skip("it declares itself offline")
    _need_repeatable(trial)
    count, cut = 20, 6 + ahead
    clip = Clip(count + ahead)
    plain: list[np.ndarray] = []
    read_early: set[int] = set()
    with contextlib.closing(trial.masks(clip)) as masks:
        for index, mask in enumerate(itertools.islice(masks, count)):
            plain.append(mask)
            read_early.update(range(index + ahead + 1, clip.last_read + 1))
    # Only what was read before its turn can have been looked at: each such frame is changed, one run each.
    for change in sorted({cut, *read_early}):
        changed = trial.begin(Clip(count + ahead, change_from=change), change - ahead)
        frame = _same(plain[: change - ahead], changed)
        if frame is not None:
            raise _Broken(
                f"declared '{trial.info.access}', but frame {frame} changes when frames from {change} on change"
            )
    frame = _same(plain[: cut - ahead], trial.begin(Clip(cut), cut - ahead))
    if frame is not None:
        raise _Broken(f"declared '{trial.info.access}', but frame {frame} changes when the video is cut at {cut}")
    return f"no frame's mask hangs on frames more than {ahead} ahead"


def _torch_bytes() -> int:
    torch = sys.modules.get("torch")
    if torch is None:
        return 0
    return sum(o.numel() * o.element_size() for o in gc.get_objects() if type(o) is torch.Tensor)


def _held(trial: _Trial, frames: int) -> tuple[int, int]:
    """Bytes that are held (numpy and python, torch) when the last mask of a clip is yielded."""
    gc.collect()
    tracemalloc.start()
    try:
        start, start_torch = tracemalloc.get_traced_memory()[0], _torch_bytes()
        stream = iter(trial.segment([support()], Clip(frames), seed=0))
        for _ in range(frames):
            next(stream)
        gc.collect()
        # The generator is suspended at its last yield: what it holds is still there.
        return tracemalloc.get_traced_memory()[0] - start, _torch_bytes() - start_torch
    finally:
        tracemalloc.stop()


def _rule_memory(trial: _Trial) -> str:
    short, long = 40, 88
    frame_bytes = 48 * 64 * 3
    trial.run(Clip(2))
    gc.freeze()  # what was there before, all of torch, is not looked through four times
    try:
        first, second = _held(trial, short), _held(trial, long)
    finally:
        gc.unfreeze()
    for name, a, b in (("arrays", first[0], second[0]), ("tensors", first[1], second[1])):
        growth = (b - a) / (long - short)
        # A kept mask is 3,072 bytes here and a kept frame 9,216: half a mask a frame is growth.
        if growth > frame_bytes / 6:
            raise _Broken(f"it holds {growth:,.0f} bytes of {name} more for each frame of the video")
    return f"what is held after {counted(long, 'frames')} is what is held after {short}"


def _rule_streams(trial: _Trial) -> str:
    ahead = trial.info.lookahead
    if ahead is None:
        raise _Skip("it declares itself offline")
    clip = Clip(200)
    stream = trial.segment([support()], clip, seed=0)
    next(stream)
    close = getattr(stream, "close", None)
    if close is not None:
        close()
    if clip.last_read > 64 + ahead:
        raise _Broken(f"it read {clip.last_read + 1} of 200 frames before its first mask")
    return "the first mask comes before the video is read"


def _rule_fit_once(trial: _Trial) -> str:
    if not isinstance(trial.model, ImageModel):
        raise _Skip("it is a video model")
    fitted = trial.model.fit([support()], seed=0)
    image = Clip(1)[0]
    size = (image.shape[0], image.shape[1])
    first = _mask(trial.model.predict(fitted, image), size, "predict")
    trial.model.predict(fitted, Clip(1, (50, 30), seed=9)[0])
    if not np.array_equal(first, _mask(trial.model.predict(fitted, image), size, "predict")):
        raise _Broken("predict gives another mask for the same image after another image")
    return "predict depends on what fit returned and on the image alone"


RULES: tuple[tuple[str, Callable[[_Trial], str], str], ...] = (
    ("declares", _rule_declares, "Give the class info = ModelInfo(name=…, version=…) with a plain name."),
    ("masks", _rule_masks, "Yield exactly one (H, W) bool mask a frame, of the frame's own size, in order."),
    ("lazy", _rule_lazy, "Make segment a generator (use yield) rather than returning a list."),
    ("sizes", _rule_sizes, "Resize masks back to video.size; supports have sizes of their own."),
    ("one-frame", _rule_one_frame, "Do not assume a second frame: len(video) may be 1."),
    ("empty-support", _rule_empty_support, "A support's mask may be empty: yield empty masks then, do not raise."),
    ("shots", _rule_shots, "Take several supports of several sizes, or raise a UsageError with one line."),
    ("untouched", _rule_untouched, "Copy a support's arrays before you write into them; other models see the same."),
    ("deterministic", _rule_deterministic, "Use the seed for every random choice and keep nothing between episodes."),
    (
        "fresh",
        _rule_fresh,
        "Keep nothing between episodes in self, class or globals: what is the supports' stays in local variables, or "
        "in what fit returns.",
    ),
    ("segment-many", _rule_many, "segment_many must give each support set what segment gives it, or go."),
    ("objects", _rule_objects, "segment_objects yields a mask an object, and gives each pixel to one of them."),
    ("leaks", _rule_leaks, "Open no_grad and autocast around the computation, not around the yield."),
    ("access", _rule_access, "Declare access='lookahead:N' or 'offline', or read frames only up to the current one."),
    ("streams", _rule_streams, "Read frames as you yield masks; do not start with list(video)."),
    ("memory", _rule_memory, "Keep a bounded number of past frames, features and masks."),
    ("fit-once", _rule_fit_once, "Keep what belongs to the supports in fit's return value, nothing in self."),
)

# Rules of Python that runs in this process.
_IN_PROCESS = ("lazy", "untouched", "leaks", "memory")


def check_model(
    build: Callable[[], Model], *, skip: Sequence[str] = (), timeout: float | None = None
) -> Iterator[Finding]:
    """Judge a model by every rule.

    Args:
        build: Builds the model; called again for a fresh instance.
        skip: Names of rules to leave out.
        timeout: Seconds that a rule may take, or None; needs the main thread of a POSIX system.

    Yields:
        A finding for each rule of ``RULES``, in order, as it is judged.
    """
    trial = _Trial(build)
    basic = ""
    for name, rule, mend in RULES:
        finding = (
            Finding(name, "skipped", "left out on request")
            if name in skip
            else _judge(trial, name, rule, mend, timeout)
        )
        if finding.status == "failed":
            trial.failed.add(name)
            # What no mask comes out of breaks most rules: said once.
            fault = re.sub(r"\d+", "#", finding.message)
            if fault == basic:
                finding = Finding(name, "skipped", "not to be judged while 'masks' fails")
            elif name == "masks":
                basic = fault
        yield finding


def _judge(trial: _Trial, name: str, rule: Callable[[_Trial], str], mend: str, timeout: float | None) -> Finding:
    try:
        if name in _IN_PROCESS and isinstance(trial.model, Program):
            raise _Skip("it is a program: what it holds and changes stays in its process")
        with np.errstate(), plugin_at_work(), time_limit(timeout, "the rule"):
            return Finding(name, "passed", rule(trial))
    except _Skip as reason:
        return Finding(name, "skipped", str(reason))
    except _Broken as problem:
        return Finding(name, "failed", str(problem), mend)
    except BaseException as error:
        if ends_command(error):
            raise
        where = source_line(type(trial.model), error)
        if verbosity.debug:
            traceback.print_exc()
        # What it raised is to be mended, whatever rule it was raised under.
        return Finding(name, "failed", f"it raised {said(error)} ({where})", "--debug shows the way there.")
