"""The rules that IC-VOS is built by: what is kept, how supports are drawn, and how the files are placed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from icvos.benchmark import SCHEMA
from icvos.data.draws import DRAW_RULE
from icvos.errors import UsageError

__all__ = ["BUILDER_VERSION", "MINI_PAIRS", "BuildRules", "rules_version"]

BUILDER_VERSION = "1"
"""Raised when the same raw data and rules would give other files."""

MINI_PAIRS = 30


@dataclass(frozen=True)
class BuildRules:
    """What decides the content of a benchmark.

    Attributes:
        seed, draws, shots: Of the supports: ``draws`` lists of ``shots`` distinct ones for each pair.
        min_visible_frames: A pair is kept if its category is seen in at least so many frames.
        min_area: … and if it covers at least so many pixels in one of them.
        min_frames: Videos with fewer frames are left out; early MOSE packages held videos of one frame.
        max_frames: The first frames of a video that are used; 0 for all.
        first_frame: ``visible`` keeps only pairs that are seen in the first frame; ``any`` keeps them all.
        categories: Numbers of the categories wanted; empty for all.
        allow_incomplete: Keep pairs whose ``complete`` is not ``yes``.
        support_min_area: Area of a support's category, at least, as COCO's JSON gives it: the sum over its instances,
            crowds apart. 2,048 as in the few-shot lists, which count covered pixels.
        subset: ``mini`` for a frozen choice of 30 pairs, or nothing.
    """

    seed: int = 0
    draws: int = 5
    shots: int = 5
    min_visible_frames: int = 1
    min_area: int = 1
    min_frames: int = 2
    max_frames: int = 0
    first_frame: str = "any"
    categories: tuple[int, ...] = ()
    allow_incomplete: bool = False
    support_min_area: int = 2048
    subset: str = ""

    def __post_init__(self) -> None:
        if self.draws < 1 or self.shots < 1:
            raise UsageError("a benchmark needs at least one draw of one shot")
        least = (self.min_visible_frames, self.min_area, self.max_frames, self.min_frames, self.support_min_area)
        if min(least) < 0:
            raise UsageError("numbers of frames and areas are not negative")
        if self.first_frame not in ("any", "visible"):
            raise UsageError(f"first frame is '{self.first_frame}'", expected="any or visible")
        if self.subset not in ("", "mini"):
            raise UsageError(f"unknown subset '{self.subset}'", expected="mini")

    def header(self) -> dict[str, Any]:
        """Return the rules for ``benchmark.json``."""
        return {**asdict(self), "categories": list(self.categories), "draw_rule": DRAW_RULE}


def rules_version(rules: BuildRules, recipe_sha256: str, sources: Iterable[str], pool: str) -> str:
    """Return a benchmark's version: builder version and eight digits of a hash of all that it was built by.

    Args:
        rules: What is kept, how supports are drawn.
        recipe_sha256: What people said of the objects.
        sources: Ids of the raw video data sets.
        pool: COCO split of the supports.
    """
    text = json.dumps([SCHEMA, BUILDER_VERSION, rules.header(), recipe_sha256, sorted(sources), pool], sort_keys=True)
    return f"{BUILDER_VERSION}.{hashlib.sha256(text.encode()).hexdigest()[:8]}"
