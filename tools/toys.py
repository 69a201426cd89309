"""Writes the golden toys: for each protocol ground truth, predictions and what they score, with the traps in them.

python -m tools.toys icvos/toys

Masks come from ``tools.toy_scenes``; ``expected.json`` and the README come from ``tools.plain_scorer``, which shares
nothing with icvos. The same bytes come out each time; a test compares them with what is shipped.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from icvos.files import write_json
from tools.plain_scorer import Rules, score
from tools.toy_scenes import (
    draw_davis,
    draw_fss_matcher,
    draw_fss_native,
    draw_fss_paper,
    draw_native,
    draw_paper,
)

__all__ = ["TOYS", "Toy", "Trap", "write_toys"]


@dataclass(frozen=True)
class Trap:
    """A mistake that a scorer may make, and what it does to the rules."""

    text: str
    wrong: Mapping[str, Any]


@dataclass(frozen=True)
class Toy:
    """A toy: how it is drawn, by which rules it is scored, and the traps in it."""

    draw: Callable[[Path], None]
    rules: Rules
    text: Sequence[str]
    traps: Sequence[Trap]


BOUNDARY = (
    "J is intersection over union; 1 where both masks are empty.",
    "A pixel is of a mask's boundary if its right, lower or lower right neighbour in the image differs from it. The "
    "image's border is no boundary: a mask that fills the frame has none.",
    "The tolerance is ceil(0.008 sqrt(H^2 + W^2)) pixels, as a disk dx^2 + dy^2 <= r^2. F is the harmonic mean of the "
    "share of the prediction's boundary pixels that have one of the truth within it, and of the truth's that have one "
    "of the prediction; 1 where neither has a boundary, 0 where one alone has.",
)
FRAME_TRAPS = (
    Trap("the tolerance of F is cut off to a whole number, not rounded up", {"cut": True}),
    Trap("the tolerance of F is a square, not a disk", {"square": True}),
    Trap("the image's lower and right border counts as a boundary", {"border": True}),
    Trap("frames on which both masks are empty are left out, not 1", {"leave_out_absent": True}),
)
VIDEO_TRAPS = (
    *FRAME_TRAPS,
    Trap("the first and the last frame are not scored", {"skip_ends": True}),
    Trap("the mean is over all episodes, not over pairs and then over draws", {"mean": "episodes"}),
    Trap("the mean is over all frames, so that longer videos weigh more", {"mean": "frames"}),
)
VIDEO_TEXT = (
    *BOUNDARY,
    "An episode's J and F are means over its frames. A draw's are means over its (video, category) pairs, and those of "
    "the whole are means over draws. J&F = (J + F) / 2.",
    "J_visible and F_visible are over frames whose truth is not empty; absent_correct is the share of empty "
    "predictions among the others; recall is the share of frames above 0.5; decay is the mean of the first quarter "
    "less that of the last (none under four frames). Episodes without such a frame are left out of its mean.",
)
IMAGE_TEXT = (
    "255 in the truth is void: such pixels count nowhere.",
    "Intersections and unions of the thing are summed by category over the episodes. A category's IoU is the one over "
    "the other. mIoU is the mean over a fold's categories, then over folds.",
    "FB_IoU: sums over all episodes of a fold, of the thing and of the rest; the mean of both IoU, then over folds. "
    "mean_IoU is the mean over episodes.",
)
IMAGE_TRAPS = (
    Trap("void counts as background", {"void": "background"}),
    Trap("a category's IoU is the mean of its episodes', not of the sums", {"mean": "ious"}),
)
RESIZED = (
    "Masks are resized to 512x512 before they are scored: pixel i of the new rows and columns is pixel "
    "floor(i * old / 512) of the old."
)
RESIZE_TRAPS = (
    Trap("resizing takes the pixel under the new one's middle, as Pillow's nearest does", {"centred": True}),
    Trap("masks are scored at their own size, not at 512x512", {"side": None}),
)

TOYS: dict[str, Toy] = {
    "native": Toy(
        draw_native,
        Rules("video"),
        ("Every frame is scored, the first and the last too, at the size of the truth.", *VIDEO_TEXT),
        VIDEO_TRAPS,
    ),
    "paper": Toy(
        draw_paper,
        Rules("video", side=512, length=512),
        (
            RESIZED + " What is one pixel of a larger frame may be gone then, and the thing is absent.",
            "The first 512 frames are scored, the first and the last too. (No video here is longer.)",
            *VIDEO_TEXT,
        ),
        (*VIDEO_TRAPS, *RESIZE_TRAPS),
    ),
    "davis-2017": Toy(
        draw_davis,
        Rules("sequence", skip_ends=True),
        (
            "The objects are the ids of a sequence's first frame. One that comes later is not scored; one that a "
            "prediction lacks has an empty mask there. (Ids run from 1 without a gap here.)",
            "The first and the last frame are not scored.",
            "255 in the truth is void, and counts as background: what is predicted there is wrong.",
            *BOUNDARY,
            "An object's J and F are means over its frames; those of the whole are means over all objects of all "
            "sequences. J&F = (J + F) / 2.",
            "Recall is the share of frames above 0.5; decay is the mean of the first quarter less that of the last "
            "(none under four frames; such objects are left out of its mean).",
        ),
        (
            *FRAME_TRAPS,
            Trap("the first and the last frame are scored", {"skip_ends": False}),
            Trap("void is left out of both masks", {"void": "ignored"}),
            Trap("objects that come later are scored", {"all_objects": True}),
            Trap("an object whose id no prediction has is left out", {"leave_out_missing": True}),
            Trap("the mean is over sequences, not over objects", {"mean": "sequences"}),
        ),
    ),
    "fss-paper": Toy(
        draw_fss_paper,
        Rules("image", side=512, undrawn_as_zero=True, void="ignored"),
        (RESIZED, "A category of a fold that no episode drew counts as 0.", *IMAGE_TEXT),
        (*IMAGE_TRAPS, *RESIZE_TRAPS, Trap("categories that no episode drew are left out", {"undrawn_as_zero": False})),
    ),
    "fss-native": Toy(
        draw_fss_native,
        Rules("image", void="ignored"),
        (
            "Masks are scored at the size of the truth.",
            "Categories of a fold that no episode drew are left out of mIoU.",
            *IMAGE_TEXT,
        ),
        (
            *IMAGE_TRAPS,
            Trap("masks are resized to 512x512 first", {"side": 512}),
            Trap("categories that no episode drew count as 0", {"undrawn_as_zero": True}),
        ),
    ),
    "fss-matcher": Toy(
        draw_fss_matcher,
        Rules("image", side=518, undrawn_as_zero=True, void="ignored"),
        (
            "Masks are resized to 518x518 before they are scored: pixel i of the new rows and columns is pixel "
            "floor(i * (old / 518)) of the old, computed in 32-bit floats, as torch does.",
            "A category of a fold that no episode drew counts as 0.",
            *IMAGE_TEXT,
        ),
        (
            *IMAGE_TRAPS,
            RESIZE_TRAPS[0],
            Trap("masks are scored at their own size, not at 518x518", {"side": None}),
            Trap("categories that no episode drew are left out", {"undrawn_as_zero": False}),
        ),
    ),
}
HEADLINES = {"image": ("mIoU", "FB_IoU")}


def expect(folder: Path, name: str) -> dict[str, Any]:
    """Return what ``expected.json`` of a drawn toy holds."""
    toy = TOYS[name]
    names = HEADLINES.get(toy.rules.kind, ("J", "F", "J&F"))
    mistakes = {}
    for trap in toy.traps:
        figures = score(folder, replace(toy.rules, **trap.wrong))["summary"]
        mistakes[trap.text] = {figure: figures[figure] for figure in names}
    return {"protocol": name, **score(folder, toy.rules), "mistakes": mistakes}


def write_toys(root: Path, names: Iterable[str] = tuple(TOYS)) -> None:
    """Write toys into ``root``, each into a folder of its protocol's name, which is replaced."""
    for name in names:
        folder = root / name
        if folder.exists():
            shutil.rmtree(folder)
        TOYS[name].draw(folder)
        expected = expect(folder, name)
        write_json(folder / "expected.json", expected)
        (folder / "README.md").write_text(_readme(name, expected), encoding="utf-8")


LAYOUT = {
    "sequence": (
        "`ground-truth/SEQUENCE/FRAME.png`: label maps. 0 is background, 255 void, all else an object's id.",
        "`predictions/SEQUENCE/FRAME.png`: the same of what is predicted.",
    ),
    "video": (
        "`benchmark/`: a built benchmark. `episodes.csv` lists the episodes: id, video, category, draw.",
        "`benchmark/videos/VIDEO/Annotations/CATEGORY/FRAME.png`: the truth, 0 and 1.",
        "`predictions/EPISODE/FRAME.png`: the masks of an episode, 0 and 1.",
    ),
    "image": (
        "`benchmark/`: a built benchmark. `episodes.csv` lists the episodes: id, query, category, fold; "
        "`benchmark.json` lists the categories of each fold (`folds`).",
        "`benchmark/queries/masks/CATEGORY/QUERY.png`: the truth: 0, 1, and 255 for void.",
        "`predictions/EPISODE/00000.png`: the mask of an episode, 0 and 1.",
    ),
}


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    def cell(value: Any) -> str:
        return "-" if value is None else repr(value) if isinstance(value, float) else str(value)

    lines = [" | ".join(map(cell, row)) for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {line} |" for line in lines), ""]


def _item(text: str) -> str:
    return textwrap.fill(f"- {text}", 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _readme(name: str, expected: Mapping[str, Any]) -> str:
    toy = TOYS[name]
    kind = toy.rules.kind
    lines = [f"# Toy of the protocol `{name}`", ""]
    lines += ["Ground truth, predictions, and what they score by this protocol, to check a scorer against.", ""]
    lines += [f"`icvos score --toy {name}` scores it by icvos. `expected.json` holds every figure below and more.", ""]
    lines += ["## Layout", "", *map(_item, LAYOUT[kind]), ""]
    lines += ["## Rules", "", *map(_item, toy.text), ""]
    lines += ["## Expected", "", "In percent. The sum's order may change the last digit.", ""]
    lines += _table(("figure", "value"), [row for row in expected["summary"].items() if row[1] is not None])
    lines += ["## If your scorer prints another figure", ""]
    lines += ["Each row is the result of one mistake alone.", ""]
    heads = next(iter(expected["mistakes"].values()))
    lines += _table(("mistake", *heads), [(text, *row.values()) for text, row in expected["mistakes"].items()])
    episodes = expected["episodes"]
    what = {"sequence": "object", "video": "episode", "image": "episode"}[kind]
    lines += [f"## Each {what}", ""]
    if kind == "image":
        names = ("inter_fg", "union_fg", "inter_bg", "union_bg")
        lines += ["Pixels: intersection and union of the thing, then of the rest.", ""]
        lines += _table((what, *names), [(key, *(row[n] for n in names)) for key, row in episodes.items()])
        return "\n".join(lines)
    lines += _table((what, "J", "F"), [(key, row["J"], row["F"]) for key, row in episodes.items()])
    lines += ["## Each frame", ""]
    lines += ["J and F of 0 to 1; `counts`: intersection, union; boundary pixels of the prediction, those of them that"]
    lines += ["are matched; boundary pixels of the truth, those of them that are matched.", ""]
    rows = [
        (key, stem, frame["J"], frame["F"], " ".join(map(str, frame["counts"])))
        for key, frames in expected["frames"].items()
        for stem, frame in frames.items()
    ]
    return "\n".join([*lines, *_table((what, "frame", "J", "F", "counts"), rows)])


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    write_toys(Path(sys.argv[1]))
