"""What a model yields for a video, taken from it mask by mask: timed, and checked as it comes."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from icvos.errors import InputError, ModelError, UsageError, counted
from icvos.evaluation.frames import StreamedVideo
from icvos.evaluation.torch_state import restore_modes, synchronise, torch_modes
from icvos.plugins import ends_command, plugin_at_work, said
from icvos.types import Prediction, Video

__all__ = ["Clock", "Failed", "model_at_work", "predictions"]

T = TypeVar("T")


class Failed(Exception):
    """The model, not the input or the disk, is why there is no result."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(said(error))
        self.error = error


@contextlib.contextmanager
def model_at_work() -> Iterator[None]:
    """Turn what the model raises into ``Failed``.

    A broken input, or a model that refuses what was asked for, is the user's to mend: its one line ends the run.
    """
    try:
        with np.errstate(), plugin_at_work():
            yield
    except (InputError, UsageError):
        raise
    except BaseException as error:
        # A plugin that exits, or raises as if the user had, ends its episode.
        if ends_command(error):
            raise
        raise Failed(error) from None


class Clock:
    """What a pass over a video takes of the model's time: without decoding and scoring, the device synchronised.

    Attributes:
        frames: Seconds of each mask, as it came; the call of ``segment`` counts to the first.
        support: Seconds until the model first asked for a frame; None if it asked for none.
    """

    def __init__(self, video: StreamedVideo, device: str) -> None:
        self.video, self.device = video, device
        self.frames: list[float] = []
        self.support: float | None = None
        self._called = 0.0

    @property
    def seconds(self) -> float:
        """From the call of ``segment`` to the last mask."""
        return sum(self.frames)

    def call(self, work: Callable[[], T]) -> T:
        """Do the model's work that leads to its iterator; what was measured before is forgotten."""
        self.frames, self.support, self._called, self.video.first_asked = [], None, 0.0, None
        value, self._called = self._measured(work, 0.0)
        return value

    def mask(self, work: Callable[[], T | None]) -> T | None:
        """Do the model's work for its next mask; after the last one nothing counts."""
        value, seconds = self._measured(work, self._called + self.seconds)
        if value is not None:
            self.frames.append(self._called + seconds)
            self._called = 0.0
        return value

    def _measured(self, work: Callable[[], T], before: float) -> tuple[T, float]:
        begin, earlier = time.perf_counter(), self.video.watch.seconds["model"]
        with self.video.watch.part("model"):
            value = work()
            synchronise(self.device)
        if self.support is None and self.video.first_asked is not None:
            self.support = before + self.video.first_asked - begin
        return value, self.video.watch.seconds["model"] - earlier

    def record(self, frames: int, sets: int, episodes: int) -> dict[str, float | None]:
        """Return what an episode's record says of time.

        What one pass for several sets took is shared out to the episodes that have them; how fast one alone is it does
        not tell.
        """
        share = self.seconds / max(sets, 1)
        alone = sets == 1 and share > 0
        middle, slow = np.percentile(self.frames, (50, 95)).tolist() if alone else (None, None)
        return {
            "seconds": self.seconds / max(episodes, 1),
            "support_seconds": None if self.support is None else self.support / max(episodes, 1),
            "fps": frames / share if alone else None,
            "fps_amortised": frames / share if sets > 1 and share > 0 else None,
            "first_mask_seconds": self.frames[0] if alone else None,
            "frame_seconds_p50": middle,
            "frame_seconds_p95": slow,
        }


def predictions(
    begin: Callable[[], Iterator[Sequence[Any]]], clock: Clock, *, sets: int = 1
) -> Generator[list[Prediction], None, None]:
    """Yield a model's valid predictions of each frame, one for each set of supports.

    Who takes them may do so at leisure, and in another of torch's modes: the clock stands meanwhile.

    Args:
        begin: Seeds, calls the model, and returns its iterator, of one item for each set.
        clock: Of the video that it reads.
        sets: How many there are.

    Raises:
        Failed: From the model, or it breaks a rule.
    """
    had_torch, count = "torch" in sys.modules, 0
    stream = _at_work(lambda: clock.call(begin))

    def mask() -> list[Prediction] | None:
        # What a mask computes only when it is looked at is computed here, where the clock runs.
        items = next(stream, None)
        return None if items is None else _valid(items, count, clock.video, sets)

    try:
        predicted = _at_work(lambda: clock.mask(mask))
        if not had_torch and "torch" in sys.modules:
            # The model imported torch only now, unseeded: begin again, as every later episode will.
            _close(stream)
            stream = _at_work(lambda: clock.call(begin))
            predicted = _at_work(lambda: clock.mask(mask))
        while predicted is not None:
            yield predicted
            count += 1
            predicted = _at_work(lambda: clock.mask(mask))
        if count < len(clock.video):
            raise Failed(ModelError(f"it yields {counted(count, 'masks')} for {counted(len(clock.video), 'frames')}"))
    finally:
        modes = torch_modes()
        _close(stream)
        restore_modes(modes)


def _at_work(work: Callable[[], T]) -> T:
    """Let the model work; torch's modes are afterwards what they were.

    Raises:
        Failed: From the model, or it changed them.
    """
    modes = torch_modes()
    try:
        with model_at_work():
            value = work()
            if value is not None and modes is not None and torch_modes() != modes:
                raise ModelError("grad mode, inference mode or autocast leaks out of it", fix="icvos models check")
            return value
    finally:
        restore_modes(modes)


def _valid(items: Sequence[Any], count: int, video: Video, sets: int) -> list[Prediction]:
    with model_at_work():
        if count == len(video):
            raise ModelError(f"it yields more masks than the video's {counted(len(video), 'frames')}")
        if len(items) != sets:
            raise ModelError(f"frame {count}: it yields {counted(len(items), 'masks')}, where {sets} were asked for")
        try:
            return [Prediction.of(item, video.size) for item in items]
        except ModelError as error:
            raise ModelError(f"frame {count}: {error.what}") from None


def _close(stream: Any) -> None:
    # What a generator's clean-up raises must not hide why it is closed.
    with contextlib.suppress(Failed, InputError, UsageError), model_at_work():
        getattr(stream, "close", lambda: None)()
