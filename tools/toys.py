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
from tools.plain_scorer import COLUMNS, Rules, score
from tools.toy_scenes import (
    draw_davis,
    draw_fss_matcher,
    draw_fss_native,
    draw_fss_paper,
    draw_fsvos_danet,
    draw_fsvos_tti,
    draw_lvos,
    draw_mosev2,
    draw_native,
    draw_paper,
    draw_saco,
    draw_vost,
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

BOXED = (
    "Masks are scaled into 241x425 (H x W) by f = min(241 / H, 425 / W), to int(f H) x int(f W), and stand in the "
    "middle: the first row is (241 - int(f H)) // 2. Around them all is background, which is scored."
)
CATEGORIES = (
    "Other figures of a category are means over all its frames; those of the whole are means over categories, then "
    "over draws or runs."
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
    "mosev2": Toy(
        draw_mosev2,
        Rules("sequence", skip_ends=True, all_objects=True, measure="mosev2", leading=False),
        (
            "The objects are the ids of all frames of a sequence; another id that a prediction has is background.",
            "The first and the last frame of the ground truth are not scored. Frames are matched by name.",
            "J is (intersection + 1) / (union + 1).",
            BOUNDARY[1],
            "L = 0.008 sqrt(H^2 + W^2), s = ceil(0.1 sqrt(pixels of the truth)). The tolerance of F_dot is s if the "
            "truth is not empty and s < L, else L; that of F is ceil(L) if s < L, else L. The shape around a "
            "boundary pixel is dx^2 + dy^2 <= r^2 for dx and dy of -r, -r + 1, … up to r + 1 exclusively (numpy's "
            "arange), and its middle is number n // 2 of the n steps: a disk if r is whole, else it lies off its "
            "centre. If no pixel is in it, it is the first of the grid alone, as OpenCV takes it.",
            "F and F_dot are the harmonic mean of the two shares of boundary pixels that have one of the other in "
            "the shape around them; 1 where neither has a boundary, 0 where one alone has.",
            "Disappear: maximal runs of scored frames on which the truth is empty, that follow a frame on which it "
            "is not; reappear: maximal runs of frames on which it is not, that follow one on which it is. The mean "
            "over a run's frames of (J + F_dot) / 2, then over runs, then over the objects that have one.",
            "An object's figures are means over its frames; those of the whole are means over all objects.",
        ),
        (
            Trap("the tolerance that is no whole number is rounded up", {"off_centre": False}),
            Trap("the tolerance does not follow the object's size", {"by_size": False}),
            Trap("J is intersection over union, without one more", {"one_more": False}),
            Trap("the first and the last frame are scored", {"skip_ends": False}),
            Trap("what is absent on the first scored frame has disappeared", {"leading": True}),
            Trap("objects that come later are not scored", {"all_objects": False}),
            Trap("the mean is over sequences, not over objects", {"mean": "sequences"}),
        ),
    ),
    "lvos-v2": Toy(
        draw_lvos,
        Rules("sequence", skip_ends=True, all_objects=True, own_range=True, mean="groups"),
        (
            "The objects are the ids of all frames of a sequence; another id that a prediction has is background.",
            "An object's own frames begin where it is first seen and end with the sequence (LVOS' meta file says "
            "both). The first and the last of its own are not scored.",
            "255 in the truth is void, and counts as background: what is predicted there is wrong.",
            *BOUNDARY,
            "An object's J and F are means over its frames. Seen and unseen (`unseen.txt`: names of sequences) are "
            "means over their objects each, and those of the whole are the mean of the two. J&F = (J + F) / 2.",
            "V of an object: the root of the mean square of J&F of a frame less its mean, rounded to 4 places "
            "before the root (in 0 to 1).",
        ),
        (
            *FRAME_TRAPS,
            Trap("the first and the last frame are scored", {"skip_ends": False}),
            Trap("objects that come later are scored from the second frame on", {"own_range": False}),
            Trap("objects that come later are not scored", {"all_objects": False}),
        ),
    ),
    "vost": Toy(
        draw_vost,
        Rules("sequence", skip_ends=True, up_to_largest=True, measure="region"),
        (
            "The objects are all numbers from 1 to the largest id of a sequence's first frame: one that no frame "
            "has is empty. Another id that a prediction has is background.",
            "The first and the last frame are not scored.",
            "255 in the truth is void, and counts as background: what is predicted there is wrong.",
            BOUNDARY[0],
            "J_last is the mean over an object's last frames, from number floor(0.75 n) of its n scored ones on.",
            "An object's J is the mean over its frames; those of the whole are means over all objects of all "
            "sequences.",
        ),
        (
            Trap("the first and the last frame are scored", {"skip_ends": False}),
            Trap("void is left out of both masks", {"void": "ignored"}),
            Trap("numbers that the first frame leaves out are no objects", {"up_to_largest": False}),
            Trap("objects that come later are scored", {"up_to_largest": False, "all_objects": True}),
            Trap("J_last is of the last half", {"last": 0.5}),
            Trap("the mean is over sequences, not over objects", {"mean": "sequences"}),
        ),
    ),
    "fsvos-danet": Toy(
        draw_fsvos_danet,
        Rules("video", box=(241, 425), eroded=True, mean="categories"),
        (
            BOXED,
            "Of the truth a pixel is left only if all that it is mixed from is of the mask: the one or two rows, and "
            "the one or two columns, around (i + 0.5) old / new - 0.5, beyond the border none. What is predicted takes "
            "row and column floor(i old / new).",
            *BOUNDARY,
            CATEGORIES,
        ),
        (
            *FRAME_TRAPS[:2],
            Trap("frames on which both masks are empty are left out, not 1", {"leave_out_absent": True}),
            Trap("the truth is resized by nearest neighbour", {"eroded": False}),
            Trap("masks are scored at their own size, not at 241x425", {"box": None}),
            Trap("the mean over a category's videos, not over its frames", {"mean": "videos"}),
            Trap("the mean is over all frames, so that longer videos weigh more", {"mean": "frames"}),
        ),
    ),
    "fsvos-tti": Toy(
        draw_fsvos_tti,
        Rules("video", box=(241, 425), measure="overlap", mean="categories"),
        (
            BOXED,
            "Both masks take row and column floor(i old / new).",
            "IoU of a category in a run: the pixels of all intersections over those of all unions. Dice: 2 I / (I + U) "
            "of the same. Both are means over categories, then over runs (`run` in `episodes.csv`).",
            "J is intersection over union of a frame; 1 where both masks are empty. " + CATEGORIES,
        ),
        (
            Trap("the truth is resized as DANet's code does", {"eroded": True}),
            Trap("masks are scored at their own size, not at 241x425", {"box": None}),
            Trap("a category's IoU is the mean over its frames, not of all pixels", {"mean": "frame-ious"}),
            Trap("pixels are summed over all runs at once", {"mean": "together"}),
            Trap("the mean is over all frames, so that longer videos weigh more", {"mean": "frames"}),
        ),
    ),
    "saco-ic": Toy(
        draw_saco,
        Rules("video", measure="presence"),
        (
            "Every frame is scored, the first and the last too, at the size of the truth.",
            "`asked` of `episodes.csv` says whether the thing is in the video (positive) or is known to be in no frame "
            "(negative). A method says that it is by one pixel on one frame (`found`).",
            *BOUNDARY,
            "J_visible and F_visible of an episode are means over its frames whose truth is not empty; absent_correct "
            "is the share of empty predictions among the others.",
            "Over the pairs of a draw, TP, FP, TN and FN count what is so and what is said. presence_MCC is (TP TN - "
            "FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN)), with nothing added below, and none where that is 0; "
            "presence_FPR is FP / (FP + TN) and presence_FNR is FN / (TP + FN).",
            "icF1 is the mean of (J_visible + F_visible) / 2 over the positive pairs of a draw, times its "
            "presence_MCC, or 0 where that is below 0 or none; none without positive or without negative pairs.",
            "Those of the whole are means over draws. absent_correct_negative is absent_correct over negative pairs.",
            "J, F, recall, decay, disappear and reappear are as by `native`, over all pairs.",
        ),
        (
            *FRAME_TRAPS[:3],
            Trap("the first and the last frame are not scored", {"skip_ends": True}),
            Trap("a thing counts as found only where the mask lies on it", {"answer": "overlap"}),
            Trap("presence is asked of each frame, not of the pair", {"answer": "frames"}),
            Trap("frames on which both masks are empty are in icF1, as 1", {"folded": True}),
            Trap("negative pairs are in the mean of J&F that icF1 has", {"negatives": True}),
            Trap("what is said is counted over all draws at once", {"mean": "episodes"}),
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
HEADLINES = {
    "image": ("mIoU", "FB_IoU"),
    "mosev2": ("J&F_dot", "F", "disappear", "reappear"),
    "lvos-v2": ("J&F", "V"),
    "vost": ("J", "J_last"),
    "fsvos-tti": ("IoU", "Dice"),
    "saco-ic": ("icF1", "presence_MCC", "J_visible", "F_visible"),
}
"""What a mistake moves, where that is not J, F and J&F: of a kind, or of a protocol."""


def expect(folder: Path, name: str) -> dict[str, Any]:
    """Return what ``expected.json`` of a drawn toy holds."""
    toy = TOYS[name]
    names = HEADLINES.get(name) or HEADLINES.get(toy.rules.kind, ("J", "F", "J&F"))
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
    columns = COLUMNS[toy.rules.measure]
    lines += _table((what, *columns), [(key, *(row[name] for name in columns)) for key, row in episodes.items()])
    words = " and ".join(filter(None, (", ".join(columns[:-1]), columns[-1])))
    lines += [
        "## Each frame",
        "",
        f"{words} of 0 to 1; {COUNTS[toy.rules.measure][0]}",
        *COUNTS[toy.rules.measure][1:],
        "",
    ]
    rows = [
        (key, stem, *(frame[name] for name in columns), " ".join(map(str, frame["counts"])))
        for key, frames in expected["frames"].items()
        for stem, frame in frames.items()
    ]
    return "\n".join([*lines, *_table((what, "frame", *columns, "counts"), rows)])


COUNTS = {
    "davis": (
        "`counts`: intersection, union; boundary pixels of the prediction, those of them that",
        "are matched; boundary pixels of the truth, those of them that are matched.",
    ),
    "mosev2": (
        "`counts`: intersection, union; boundary pixels of the prediction, those of",
        "them that F_dot matches; boundary pixels of the truth, those of them that F_dot matches; and those that F",
        "matches, of the prediction and of the truth.",
    ),
    "region": ("`counts`: intersection, union.",),
    "overlap": ("`union` in pixels. `counts`: intersection, union.",),
}
COUNTS["presence"] = COUNTS["davis"]
"""What the counts of a frame are."""


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    write_toys(Path(sys.argv[1]))
