"""Writes what people would say of the drawn videos: the recipe that the IC-VOS builder reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from icvos.categories import COCO80
from icvos.demo.world.plan import Names
from icvos.files import write_csv

__all__ = ["write_recipe"]


def write_recipe(folder: Path, known: Mapping[str, Names]) -> None:
    """Write ``objects.csv`` and ``complete.csv``.

    Args:
        folder: Where to.
        known: By source, the category of each object of each video. Names that are not COCO's become ``none``.
    """
    objects, complete = [], []
    for source in sorted(known):
        for video, names in sorted(known[source].items()):
            for label, name in sorted(names.items()):
                # DAVIS says itself what its objects are.
                if source != "davis17":
                    word = name if COCO80.find(name) else "none"
                    objects.append({"source": source, "video": video, "object": label, "category": word})
            for name in sorted(name for name in set(names.values()) if COCO80.find(name)):
                complete.append({"source": source, "video": video, "category": name, "complete": "yes"})
    write_csv(folder / "objects.csv", ("source", "video", "object", "category"), objects)
    write_csv(folder / "complete.csv", ("source", "video", "category", "complete"), complete)
