"""What is known of each data set that a benchmark may be built of: terms, who labelled it, what to cite.

The words of its licence, with its page, are in ``benchmark.json``; here is what they mean for whoever passes it on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from icvos.files import page_asset
from icvos.sources.drawn import LICENCE

__all__ = ["FACTS", "TERMS", "SourceFacts", "citations", "facts_of"]

TERMS = {
    "free": "may be passed on, with attribution",
    "non-commercial": "may be passed on with attribution, and not for commercial use",
    "share-alike": "may be passed on with attribution and under the same licence, and not for commercial use",
    "research": "are for non-commercial research; not to be passed on without asking",
    "others": "belong to others; not to be passed on without asking",
    "each image": "have a licence each, named in the JSON of COCO; some forbid commercial use or changes",
    "unknown": "nobody has said here whether they may be passed on: ask first",
}
"""What may be done with frames or masks; only those that are ``free`` may be passed on without a thought."""

UNKNOWN = "not known here"


@dataclass(frozen=True)
class SourceFacts:
    """A data set.

    Attributes:
        title: As people call it.
        frames, masks: A key of ``TERMS``: what may be done with its images, and with its masks.
        labelled_by: Who made the masks, and how.
        spdx: The licence's name where one licence of SPDX's list holds for frames and masks alike, or "".
        cite: Keys of ``citations.bib``.
        people: Whether people can be recognised in its images; None where nobody has looked.
        synthetic: Whether a program drew it.
    """

    title: str
    frames: str = "unknown"
    masks: str = "unknown"
    labelled_by: str = UNKNOWN
    spdx: str = ""
    cite: tuple[str, ...] = ()
    people: bool | None = None
    synthetic: bool = False

    @property
    def free(self) -> bool:
        """Whether all of it may be passed on."""
        return self.frames == self.masks == "free"


_DRAWN = SourceFacts(
    "drawn world", "free", "free", "the program that drew it", "Apache-2.0", people=False, synthetic=True
)
_COCO = SourceFacts(
    "COCO",
    "each image",
    "free",
    "workers of Amazon Mechanical Turk, as its paper says; groups too many to be told apart are marked as crowds",
    cite=("lin2014coco",),
    people=True,
)
_SACO = "people, who also verified what is absent, with the help of models, as its paper says"

FACTS: dict[str, SourceFacts] = {
    "davis16": SourceFacts(
        "DAVIS-2016",
        "non-commercial",
        "non-commercial",
        "people, every frame by hand, as its paper says",
        "CC-BY-NC-4.0",
        ("perazzi2016davis",),
        people=True,
    ),
    "davis17": SourceFacts(
        "DAVIS-2017",
        "non-commercial",
        "non-commercial",
        "people, every frame by hand, as its paper says",
        "CC-BY-NC-4.0",
        ("ponttuset2017davis", "perazzi2016davis"),
        people=True,
    ),
    "mose": SourceFacts(
        "MOSE v1",
        "share-alike",
        "share-alike",
        "its authors' annotators; how is in its paper",
        "CC-BY-NC-SA-4.0",
        ("ding2023mose",),
        people=True,
    ),
    "mose2": SourceFacts(
        "MOSE v2",
        "share-alike",
        "share-alike",
        "its authors' annotators; how is in its paper",
        "CC-BY-NC-SA-4.0",
        ("ding2025mosev2", "ding2023mose"),
        people=True,
    ),
    "lvos": SourceFacts(
        "LVOS",
        "others",
        "free",
        "models, corrected by people, as its paper says; its frames come from VOT-LT2019, LaSOT and others",
        cite=("hong2023lvos",),
        people=True,
    ),
    "ytvis": SourceFacts(
        "YouTube-VIS", "others", "research", "people; how is in its paper", cite=("yang2019vis",), people=True
    ),
    "ovis": SourceFacts("OVIS", "others", "research", "people; how is in its paper", cite=("qi2022ovis",), people=True),
    "release": SourceFacts(
        "IC-VOS, the authors' release",
        "others",
        "others",
        "its authors, from masks of DAVIS, MOSE and LVOS",
        cite=("qi2025dcsam", "ponttuset2017davis", "ding2023mose", "hong2023lvos"),
        people=True,
    ),
    "coco": _COCO,
    "coco14": _COCO,
    "coco17": _COCO,
    "voc12": SourceFacts(
        "PASCAL VOC 2012 with SBD",
        "others",
        "unknown",
        "annotators of VOC's organisers, by their guidelines; SBD's on Amazon Mechanical Turk",
        cite=("everingham2015voc", "hariharan2011sbd"),
        people=True,
    ),
    "fss1000": SourceFacts("FSS-1000", cite=("li2020fss1000",)),
    "lvis1": SourceFacts(
        "LVIS v1",
        "each image",
        "unknown",
        "people, in stages; each image is exhaustive only for the categories that its JSON names, as its paper says",
        cite=("gupta2019lvis", "lin2014coco"),
        people=True,
    ),
    "saco_sg": SourceFacts(
        "SA-Co/VEval SmartGlasses", "free", "free", _SACO, "CC-BY-4.0", ("carion2025sam3",), people=True
    ),
    "saco_sav": SourceFacts(
        "SA-Co/VEval SA-V", "unknown", "non-commercial", _SACO, cite=("carion2025sam3",), people=True
    ),
    "saco_yt1b": SourceFacts(
        "SA-Co/VEval YT-Temporal-1B", "others", "non-commercial", _SACO, cite=("carion2025sam3",), people=True
    ),
}
"""By the source's id in ``benchmark.json``."""


def facts_of(source: str, licence: str = "") -> SourceFacts:
    """Return what is known of a source; of one of one's own, or one that is not in ``FACTS``, that it is not known.

    Args:
        source: Its id.
        licence: Its words in ``benchmark.json``, which say whether it is of the drawn world.
    """
    if licence == LICENCE:
        return _DRAWN
    return FACTS.get(source) or SourceFacts("videos of one's own" if source == "folder" else source)


def citations(keys: Iterable[str]) -> list[str]:
    """Return the BibTeX entries of some keys, in the order of ``citations.bib``."""
    wanted = set(keys)
    return [entry for key, entry in _entries().items() if key in wanted]


@cache
def _entries() -> Mapping[str, str]:
    text = page_asset("icvos.sources", "citations.bib")
    entries = (entry.strip() for entry in re.split(r"\n(?=@)", text))
    return {re.match(r"@\w+\{(\w+),", entry)[1]: entry for entry in entries}  # type: ignore[index]
