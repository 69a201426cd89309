"""Marks of a row: what a method has seen before, what it was told, and how it computes, by its own declaration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from icvos.categories import get_vocabulary
from icvos.runs.run import Run

__all__ = ["MARKS", "categories_of", "legend", "marks", "seen_split"]

MARKS = {
    "C": "trained on categories that are tested",
    "I": "trained on the data set that the support or query images come from",
    "V": "trained on a data set that the videos come from",
    "L": "reads some frames ahead of the current one",
    "O": "reads the whole video before it answers",
    "T": "is told what to segment in words",
    "N": "is told the categories' names",
    "G": "is told frame 0's ground truth",
    "P": "computes in another precision than float32",
    "R": "masks were resized to the protocol's size",
    "S": "fps is the submission's own claim",
}
# Data sets whose images are those of a benchmark's supports or queries (COCO 2017 reshuffles the images of 2014).
IMAGES = {"coco": ("coco2014", "coco2017", "coco", "lvis", "refcoco"), "voc": ("voc2012", "voc", "sbd", "pascal")}
# How ids of sources, as episodes name them, stand in training_data.
VIDEOS = {"davis": ("davis",), "mose": ("mose",), "lvos": ("lvos",), "ytvis": ("ytvis", "ytvos", "youtube")}


def categories_of(entry: Run) -> list[str]:
    """Return the names of the categories tested."""
    return sorted(entry.result["per_category"])


@cache
def _same(name: str) -> str:
    """One name for a category however it is spelled: COCO's, else the name itself."""
    coco = get_vocabulary("coco80")
    number = coco.find(name)
    return name.lower() if number is None else coco.label(number)


def seen_split(entry: Run) -> tuple[list[str], list[str]]:
    """Return the tested categories that the method declares to have trained on, and the others."""
    trained = {_same(name) for name in entry.run["model"].get("training_categories") or ()}
    names = categories_of(entry)
    return [n for n in names if _same(n) in trained], [n for n in names if _same(n) not in trained]


def marks(entry: Run) -> tuple[str, ...]:
    """Return the marks of a row, from what the method declares."""
    out = []
    model = entry.run["model"]
    data = [str(name).lower() for name in model.get("training_data") or ()]
    if seen_split(entry)[0]:
        out.append("C")
    benchmark = entry.benchmark_name.lower()
    family = "voc" if "pascal" in benchmark else "coco"
    if not entry.vos and any(name.partition(":")[0].startswith(IMAGES[family]) for name in data):
        out.append("I")
    sources = {str(record.get("source") or "").lower() for record in entry.records}
    for family, names in VIDEOS.items():
        if any(source.startswith(family) for source in sources) and any(n.startswith(names) for n in data):
            out.append("V")
            break
    uses = model.get("uses") or ()
    others = {
        "L": str(model.get("access")).startswith("lookahead"),
        "O": model.get("access") == "offline",
        "T": "text" in uses,
        "N": "class-names" in uses,
        "G": entry.oracle == "first-frame" and not entry.vos,  # there all are
        "P": not {model.get("dtype"), model.get("autocast")} <= {None, "float32"},
        "R": bool(entry.result["protocol"].get("resized_masks")),
        # Nobody timed it again: of a record that was added, J and F alone are checked.
        "S": entry.checked != "not added" and entry.fps is not None,
    }
    return (*out, *(mark for mark, used in others.items() if used))


def legend(used: Sequence[str]) -> tuple[str, ...]:
    """Return a line for each mark that is used."""
    return tuple(f"{mark}: {MARKS[mark]}" for mark in MARKS if mark in used)
