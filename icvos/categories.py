"""Category vocabularies: COCO's 80 and PASCAL VOC's 20, their numbers, and synonyms between data sets.

A category's number is its place in the vocabulary, from 1: COCO's contiguous index 1..80 (not COCO's ``category_id``,
which has gaps up to 90), VOC's 1..20.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from icvos.errors import UsageError, did_you_mean

__all__ = ["COCO80", "VOC20", "Vocabulary", "episode_id", "get_vocabulary"]

_COCO = (
    "1 person,2 bicycle,3 car,4 motorcycle,5 airplane,6 bus,7 train,8 truck,9 boat,10 traffic light,11 fire hydrant,"
    "13 stop sign,14 parking meter,15 bench,16 bird,17 cat,18 dog,19 horse,20 sheep,21 cow,22 elephant,23 bear,"
    "24 zebra,25 giraffe,27 backpack,28 umbrella,31 handbag,32 tie,33 suitcase,34 frisbee,35 skis,36 snowboard,"
    "37 sports ball,38 kite,39 baseball bat,40 baseball glove,41 skateboard,42 surfboard,43 tennis racket,44 bottle,"
    "46 wine glass,47 cup,48 fork,49 knife,50 spoon,51 bowl,52 banana,53 apple,54 sandwich,55 orange,56 broccoli,"
    "57 carrot,58 hot dog,59 pizza,60 donut,61 cake,62 chair,63 couch,64 potted plant,65 bed,67 dining table,"
    "70 toilet,72 tv,73 laptop,74 mouse,75 remote,76 keyboard,77 cell phone,78 microwave,79 oven,80 toaster,81 sink,"
    "82 refrigerator,84 book,85 clock,86 vase,87 scissors,88 teddy bear,89 hair drier,90 toothbrush"
)
_VOC = (
    "aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,pottedplant,"
    "sheep,sofa,train,tvmonitor"
)

# Groups of names for one thing, as DAVIS, YouTube-VIS, LVOS, VOC and COCO write them.
_SYNONYMS = (
    ("airplane", "aeroplane", "plane"),
    ("motorcycle", "motorbike"),
    ("bicycle", "bike"),
    ("couch", "sofa"),
    ("dining table", "diningtable"),
    ("potted plant", "pottedplant"),
    ("tv", "tvmonitor", "tv monitor", "television"),
    ("cell phone", "mobile phone", "cellphone"),
    ("hair drier", "hair dryer"),
    ("skis", "ski"),
    ("sports ball", "ball"),
    ("refrigerator", "fridge"),
    ("donut", "doughnut"),
    ("teddy bear", "teddy"),
    ("person", "people", "human"),
    ("tennis racket", "racket"),
)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())


@dataclass(frozen=True)
class Vocabulary:
    """A numbered list of category names.

    Attributes:
        name: ``coco80``, ``voc20`` or ``custom``.
        names: Names in order; the first has number 1.
        source_ids: The data set's own id for each name (COCO's ``category_id``); the numbers themselves elsewhere.
    """

    name: str
    names: tuple[str, ...]
    source_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.source_ids:
            object.__setattr__(self, "source_ids", tuple(range(1, len(self.names) + 1)))
        if len(set(self.names)) != len(self.names) or len(self.names) != len(self.source_ids):
            raise UsageError(f"the vocabulary '{self.name}' has a name twice, or not one id a name")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def spec(self) -> str | list[str]:
        """What ``benchmark.json`` says of it, for ``get_vocabulary``: its name, or the names of one's own."""
        return list(self.names) if self.name == "custom" else self.name

    @cached_property
    def _lookup(self) -> dict[str, int]:
        table: dict[str, int] = {}
        for group in _SYNONYMS:
            numbers = [self.names.index(name) + 1 for name in group if name in self.names]
            if len(numbers) == 1:
                table.update({_plain(name): numbers[0] for name in group})
        table.update({_plain(name): number for number, name in enumerate(self.names, 1)})
        return table

    def find(self, name: str) -> int | None:
        """Return the number of a category by its name or a synonym of it, or None."""
        return self._lookup.get(_plain(name))

    def number(self, name: str) -> int:
        """Return the number of a category by its name, a synonym, or the number itself as text.

        Raises:
            UsageError: The vocabulary has no such category.
        """
        number = self.find(name)
        if number is None and re.fullmatch("[0-9]{1,9}", name.strip()) and 1 <= int(name) <= len(self.names):
            number = int(name)
        if number is None:
            raise UsageError(f"'{name}' is no category of {self.name}", fix=did_you_mean(_plain(name), self._lookup))
        return number

    def label(self, number: int) -> str:
        """Return the name of category ``number`` (from 1)."""
        if not 1 <= number <= len(self.names):
            raise UsageError(f"{self.name} has categories 1 to {len(self.names)}, not {number}")
        return self.names[number - 1]


COCO80 = Vocabulary(
    "coco80",
    tuple(entry.split(" ", 1)[1] for entry in _COCO.split(",")),
    tuple(int(entry.split(" ", 1)[0]) for entry in _COCO.split(",")),
)
VOC20 = Vocabulary("voc20", tuple(_VOC.split(",")))


def episode_id(text: str, vocabulary: Vocabulary, known: Iterable[str]) -> str:
    """Return the id that ``text`` is, with a category's name or a synonym in place of its number.

    ``davis17__dog__dog__d0`` is ``davis17__dog__17__d0``, if that is among ``known``; any other text is given back.
    """
    ids, parts = set(known), text.split("__")
    for index in reversed(range(len(parts))):
        number = vocabulary.find(parts[index])
        candidate = "__".join((*parts[:index], str(number), *parts[index + 1 :]))
        if text not in ids and candidate in ids:
            return candidate
    return text


def get_vocabulary(spec: str | Sequence[str]) -> Vocabulary:
    """Return the vocabulary that a ``benchmark.json`` names: ``coco80``, ``voc20``, or a list of names.

    Raises:
        UsageError: It is none of them.
    """
    if isinstance(spec, str):
        known = {"coco80": COCO80, "voc20": VOC20}
        if spec not in known:
            raise UsageError(f"unknown vocabulary '{spec}'", fix=did_you_mean(spec, known))
        return known[spec]
    if not isinstance(spec, Sequence) or not all(isinstance(name, str) and name.strip() for name in spec):
        raise UsageError("the vocabulary holds no names of categories", fix="give coco80, voc20 or a list of names")
    return Vocabulary("custom", tuple(spec))
