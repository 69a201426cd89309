"""What every training may be told about its data, once: which data set, where it lies, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from icvos.data.folds import MIN_AREA
from icvos.errors import UsageError

__all__ = ["DataOptions", "PairOptions"]


@dataclass(frozen=True)
class DataOptions:
    """The training data of a task; on the command line each attribute is an option, ``--set fold=1``.

    Attributes:
        data: ``demo`` (synthetic), ``coco-20i``, ``pascal-5i``, ``coco`` (all categories) or ``mask-tubes``.
        root: The raw data set's folder; ``demo`` has none. Text is taken as a path, that of ``sbd`` too.
        fold: The test fold of COCO-20i and PASCAL-5i, whose classes are not trained on.
        length: Examples of an epoch, where they are drawn without end.
        seed: Of the random draws.
        split: Split of the raw data; by default train2014, VOC's trainaug with SBD, else train.
        sbd: SBD's folder, for PASCAL-5i.
        min_area: Pixels of a category in an image, at least.

    Raises:
        UsageError: A number is too small.
    """

    data: Literal["demo", "coco-20i", "pascal-5i", "coco", "mask-tubes"] = "demo"
    root: Path | None = None
    fold: int = 0
    length: int = 20_000
    seed: int = 1
    split: str = ""
    sbd: Path | None = None
    min_area: int = MIN_AREA

    def __post_init__(self) -> None:
        for name in ("root", "sbd"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        for name, value, least in (("length", self.length, 1), ("seed", self.seed, 0), ("min_area", self.min_area, 0)):
            if value < least:
                raise UsageError(f"option {name} is {value}", expected=f"{least} or more")


@dataclass(frozen=True)
class PairOptions(DataOptions):
    """The training data of a few-shot baseline, which takes pairs alone.

    Attributes:
        data: ``demo`` (synthetic), ``coco-20i``, ``pascal-5i`` or ``coco`` (all categories).
    """

    data: Literal["demo", "coco-20i", "pascal-5i", "coco"] = "demo"
