"""What weights were trained on: the data sets and categories that a file of weights declares to the leaderboards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icvos.errors import UsageError

if TYPE_CHECKING:
    from icvos.data.class_masks import ClassMasks

__all__ = ["DRAWN", "SAM2_DATA", "Lineage"]

#: What the published SAM 2 and 2.1 were trained on.
SAM2_DATA = ("sa-v:train", "sa-1b:train")

#: How the data sets' names are written in a declaration.
_LONG = {"coco14": "coco2014", "coco17": "coco2017", "voc12": "voc2012"}


@dataclass(frozen=True)
class Lineage:
    """Data sets (``coco2014:train``) and names of categories that weights have seen, in this training or before.

    Attributes:
        data: As ``ModelInfo.training_data``.
        categories: As ``ModelInfo.training_categories``.
    """

    data: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @classmethod
    def of_masks(cls, masks: ClassMasks, numbers: Iterable[int]) -> Lineage:
        """Return that of a training on some categories, by number, of a split."""
        names = tuple(masks.vocabulary.names[number - 1] for number in sorted(set(numbers)))
        split = masks.split.removesuffix("2014").removesuffix("2017")
        return cls((f"{_LONG.get(masks.source, masks.source)}:{split}",), names)

    @classmethod
    def named(cls, text: str) -> Lineage:
        """Return that of a public training: ``coco-20i:2``, ``pascal-5i:0`` (all but a test fold's classes), ``coco``.

        Raises:
            UsageError: It is none of these.
        """
        from icvos.data.folds import training_categories, vocabulary_of

        name, _, fold = text.partition(":")
        if name not in ("coco", "coco-20i", "pascal-5i") or (name == "coco") != (fold == ""):
            raise UsageError(f"no training '{text}'", expected="coco, coco-20i:FOLD or pascal-5i:FOLD")
        if name != "coco" and fold not in ("0", "1", "2", "3"):
            raise UsageError(f"fold '{fold}' does not exist", expected="0 to 3")
        words = vocabulary_of("pascal-5i" if name == "pascal-5i" else "coco-20i")
        numbers = range(1, len(words) + 1) if name == "coco" else training_categories(name, int(fold))
        data = "voc2012:trainaug" if name == "pascal-5i" else "coco2014:train"
        return cls((data,), tuple(words.names[number - 1] for number in numbers))

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Lineage | None:
        """Return what a file's metadata say (lists, or their JSON), or None where they say nothing.

        Files of before 0.2.0 say no more than ``data``, which is clear where that is the drawn world.
        """
        data, categories = (_names(record.get(name)) for name in ("training_data", "training_categories"))
        if data is None and categories is None:
            return DRAWN if record.get("data") == "demo" else None
        return cls(data or (), categories or ())

    def __add__(self, other: Lineage) -> Lineage:
        """Return both, each name once."""
        data, categories = dict.fromkeys(self.data + other.data), dict.fromkeys(self.categories + other.categories)
        return Lineage(tuple(data), tuple(categories))

    def record(self) -> dict[str, list[str]]:
        """Return what a file's metadata hold."""
        return {"training_data": list(self.data), "training_categories": list(self.categories)}

    def texts(self) -> dict[str, str]:
        """Return ``record`` for metadata that hold text alone."""
        return {name: json.dumps(value) for name, value in self.record().items()}


def _names(value: Any) -> tuple[str, ...] | None:
    """Return a list of names, or its JSON, as a tuple; None of anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return tuple(map(str, value)) if isinstance(value, list) else None


#: The demo's drawn training families, whose kinds of things are in no vocabulary.
DRAWN = Lineage(("icvos demo:train",))
