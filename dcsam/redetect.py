"""``--model dcsam@redetect``: DC-SAM looks at later frames too, and what it finds there becomes another prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dcsam.plugin import DCSam, DCSamOptions
from icvos import Video
from icvos.errors import UsageError
from icvos.models.redetect import RedetectRules

if TYPE_CHECKING:
    from torch import Tensor

    from dcsam.features import SupportState

__all__ = ["DCSamRedetect", "RedetectOptions"]


@dataclass(frozen=True)
class RedetectOptions(DCSamOptions):
    """Settings of DC-SAM that looks again.

    Attributes:
        every: It looks each so many frames, beside those where the tracker is unsure.
    """

    every: int = RedetectRules.every


DEFAULTS = RedetectOptions()


class DCSamRedetect(DCSam):
    """DC-SAM on SAM 2, whose tracker starts where anything is found, and is prompted again by ``RedetectRules``.

    Images are segmented as by ``dcsam``.
    """

    info = replace(DCSam.info, name="dcsam@redetect")
    # It goes on localising on later frames, which is not to be had from frame 0's mask: no oracle there.
    segment_from_mask = None  # type: ignore[assignment]

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        options: RedetectOptions = DEFAULTS,
    ) -> None:
        if options.every < 1:
            raise UsageError(f"every={options.every}", expected="1 frame or more")
        super().__init__(device=device, weights=weights, options=options)
        self.rules = RedetectRules(every=options.every)

    def _track(self, supports: SupportState, video: Video) -> Iterator[Iterable[Tensor]]:
        return self.engine.redetect(supports, video, self.rules)
