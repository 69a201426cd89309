"""A second scorer of golden toys, written plainly from the definitions with numpy, scipy and Pillow: nothing of icvos.

Sources: the official DAVIS-2017 evaluation (boundary, tolerance, J, F, recall, decay; which objects and frames count),
the public code of DC-SAM (512x512, the index rule of its resizing, sums of few-shot folds), of MOSEv2, LVOS, VOST, and
of DANet and TTI (letterbox, what is left of a mask, the mean over categories).
``tools.toys`` writes what it finds as each toy's ``expected.json``; the tests hold it to ``icvos score``.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

__all__ = ["Rules", "frame_values", "pixel_counts", "score"]

Table = dict[str, Any]
COLUMNS = {
    "davis": ("J", "F"),
    "mosev2": ("J", "F", "F_dot"),
    "region": ("J",),
    "overlap": ("J", "union"),
    "presence": ("J", "F", "found"),
}
FOLD_COUNTS = ("inter_fg", "union_fg", "inter_bg", "union_bg")
NAMES = (
    *("id", "video", "object", "source", "query", "category", "category_name", "draw", "fold"),
    *("unseen", "positive", "answers"),
)
"""What a row says of an episode that is no figure."""


@dataclass(frozen=True)
class Rules:
    """The rules of a protocol; and, by other values than the defaults, the mistakes of a scorer.

    Attributes:
        kind: ``sequence`` (label maps), ``video`` or ``image`` (benchmarks).
        side: Masks are resized to ``side`` x ``side`` before they are scored; None for none.
        box: Masks are scaled into (H, W), their aspect ratio kept, before they are scored; None for none.
        eroded: Of the ground truth in the box only that is left which is mixed from pixels of the mask alone.
        length: Only the first so many frames.
        skip_ends: The first and the last frame are not scored.
        undrawn_as_zero: Categories that no episode drew count as 0.
        centred: Resizing takes the pixel under the middle of the new one: Pillow's nearest, not torch's.
        cut: The boundary's tolerance is cut off to a whole number, not rounded up.
        square: The tolerance is a square, not a disk.
        border: The image's lower and right border is a boundary.
        leave_out_absent: Frames on which neither mask has a pixel are left out.
        all_objects: Objects count that are not on the first frame.
        leave_out_missing: Objects that no predicted frame has are left out.
        measure: What a frame's figures are: ``davis`` (J, F), ``mosev2`` (J, F, F_dot), ``region`` (J), ``overlap`` (J
            and the union's pixels, from which IoU and Dice of an episode are computed) or ``presence`` (J, F, found).
        answer: By what a method says that the thing is in a video: any ``pixel``, or one on the thing (``overlap``); or
            each of the ``frames`` is asked.
        folded: icF1 is of J&F over all frames, those too on which both masks are empty.
        negatives: Negative pairs are in the mean of J&F that icF1 has.
        one_more: MOSEv2's J has one more pixel above and below the line.
        off_centre: A tolerance of MOSEv2 that is no whole number is not rounded up.
        by_size: The tolerance of F_dot follows the object's size.
        own_range: Of an object the frames from that on which it is first seen on are its own.
        up_to_largest: All numbers up to the largest of the first frame are objects.
        leading: The thing that is absent on the first scored frame has disappeared, too.
        last: What ``J_last`` is the mean of begins at this share of the frames.
        void: What 255 of the ground truth is: ``background``, or ``ignored`` (neither mask counts there).
        mean: Over what: ``objects``, ``sequences``, ``groups`` (seen and unseen); ``draws``, ``episodes``, ``frames``;
            ``sums``, ``ious``; ``categories`` (of each by its frames, its IoU by its pixels), ``videos`` (categories,
            whose videos count alike), ``together`` (categories over all runs at once), ``frame-ious`` (categories,
            their IoU by frames).
    """

    kind: str
    side: int | None = None
    box: tuple[int, int] | None = None
    eroded: bool = False
    length: int | None = None
    skip_ends: bool = False
    undrawn_as_zero: bool = False
    centred: bool = False
    cut: bool = False
    square: bool = False
    border: bool = False
    leave_out_absent: bool = False
    all_objects: bool = False
    leave_out_missing: bool = False
    measure: str = "davis"
    one_more: bool = True
    off_centre: bool = True
    by_size: bool = True
    own_range: bool = False
    up_to_largest: bool = False
    leading: bool = True
    answer: str = "pixel"
    folded: bool = False
    negatives: bool = False
    last: float = 0.75
    void: str = "background"
    mean: str = ""

    def frames(self, count: int) -> list[int]:
        """Return the scored frames of ``count``."""
        numbers = list(range(count if self.length is None else min(count, self.length)))
        return numbers[1:-1] if self.skip_ends else numbers


def score(folder: Path, rules: Rules) -> dict[str, Any]:
    """Score a toy's predictions.

    Args:
        folder: With ``ground-truth/`` or ``benchmark/``, and ``predictions/``.
        rules: By which.

    Returns:
        ``summary`` and the tables ``per_…`` (percent), ``episodes`` (by id, percent and counts), ``frames`` (by id and
        frame: J and F in 0..1; ``counts``: intersection, union, boundary pixels of the prediction, those of them that
        are matched, boundary pixels of the truth, those of them that are matched).
    """
    return {"sequence": _sequences, "video": _videos, "image": _images}[rules.kind](folder, rules)


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def _letterbox(mask: np.ndarray, box: tuple[int, int], eroded: bool) -> np.ndarray:
    """Return a (H, W) bool mask in the middle of a box."""
    factor = min(box[0] / mask.shape[0], box[1] / mask.shape[1])
    sizes = [int(factor * length) for length in mask.shape]
    for axis, (old, new) in enumerate(zip(mask.shape, sizes)):
        if eroded:
            place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
            first = np.clip(np.floor(place), 0, old - 1).astype(int)
            other = np.where((place > first) & (first < old - 1), first + 1, first)
            mask = np.take(mask, first, axis) & np.take(mask, other, axis)
        else:
            mask = np.take(mask, np.arange(new) * old // new, axis)
    out = np.zeros(box, bool)
    top, left = ((length - new) // 2 for length, new in zip(box, sizes))
    out[top : top + sizes[0], left : left + sizes[1]] = mask
    return out


def _resize(labels: np.ndarray, rules: Rules, *, truth: bool = False) -> np.ndarray:
    if rules.box is not None:
        return _letterbox(labels > 0, rules.box, rules.eroded and truth)
    if rules.side is None:
        return labels
    # In float32, as torch computes them: at 518 some indices are one less than the quotient of whole numbers.
    place = np.arange(rules.side, dtype=np.float32) + np.float32(0.5 if rules.centred else 0)
    rows, columns = ((place * (np.float32(length) / np.float32(rules.side))).astype(int) for length in labels.shape)
    return labels[rows][:, columns]


def _edge(mask: np.ndarray, border: bool) -> np.ndarray:
    wide = np.pad(mask, ((0, 1), (0, 1)), mode="constant" if border else "edge")
    return (mask != wide[:-1, 1:]) | (mask != wide[1:, :-1]) | (mask != wide[1:, 1:])


@cache
def _counts(p: bytes, t: bytes, shape: tuple[int, int], cut: bool, square: bool, border: bool) -> tuple[int, ...]:
    predicted, truth = (np.frombuffer(data, bool).reshape(shape) for data in (p, t))
    tolerance = 0.008 * math.sqrt(shape[0] ** 2 + shape[1] ** 2)
    radius = math.floor(tolerance) if cut else math.ceil(tolerance)
    edges = _edge(predicted, border), _edge(truth, border)
    matched = []
    for mine, other in (edges, edges[::-1]):
        if not other.any():
            matched.append(0)
        elif square:
            matched.append(int((mine & (ndimage.distance_transform_cdt(~other, "chessboard") <= radius)).sum()))
        else:
            matched.append(int((mine & (ndimage.distance_transform_edt(~other) <= radius)).sum()))
    areas = int((predicted & truth).sum()), int((predicted | truth).sum())
    return *areas, int(edges[0].sum()), matched[0], int(edges[1].sum()), matched[1]


def frame_values(predicted: np.ndarray, truth: np.ndarray, rules: Rules) -> Table:
    """Return the figures and counts of one frame, two (H, W) bool masks."""
    if rules.measure == "mosev2":
        return _mosev2_values(predicted, truth, rules)
    predicted, truth = np.ascontiguousarray(predicted), np.ascontiguousarray(truth)
    counts = _counts(predicted.tobytes(), truth.tobytes(), truth.shape, rules.cut, rules.square, rules.border)
    inter, union, *boundaries = counts
    j = inter / union if union else 1.0
    if rules.measure == "region":
        return {"J": j, "counts": [inter, union]}
    if rules.measure == "overlap":
        return {"J": j, "union": union, "counts": [inter, union]}
    found = {"found": float(predicted.any())} if rules.measure == "presence" else {}
    return {"J": j, "F": _boundary_f(*boundaries), **found, "counts": list(counts)}


def _boundary_f(boundary_p: int, matched_p: int, boundary_t: int, matched_t: int) -> float:
    if boundary_p == boundary_t == 0:
        return 1.0
    if boundary_p == 0 or boundary_t == 0:
        return 0.0
    precision, recall = matched_p / boundary_p, matched_t / boundary_t
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _mosev2_values(predicted: np.ndarray, truth: np.ndarray, rules: Rules) -> Table:
    """Return J, F, F_dot; counts are those of F_dot, then the matched boundary pixels of F."""
    inter, union = int((predicted & truth).sum()), int((predicted | truth).sum())
    more = 1 if rules.one_more or not union else 0
    largest = 0.008 * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2)
    wide = close = largest if rules.off_centre else float(math.ceil(largest))
    small = float(math.ceil(0.1 * math.sqrt(truth.sum())))
    if truth.any() and small < largest:
        wide, close = float(math.ceil(largest)), small if rules.by_size else float(math.ceil(largest))
    edges = _edge(predicted, False), _edge(truth, False)
    matched = [[int((a & _spread(b, radius)).sum()) for a, b in (edges, edges[::-1])] for radius in (close, wide)]
    counts = [int(edges[0].sum()), matched[0][0], int(edges[1].sum()), matched[0][1]]
    return {
        "J": (inter + more) / (union + more),
        "F": _boundary_f(counts[0], matched[1][0], counts[2], matched[1][1]),
        "F_dot": _boundary_f(*counts),
        "counts": [inter, union, *counts, *matched[1]],
    }


def _spread(edge: np.ndarray, radius: float) -> np.ndarray:
    """Return each pixel that has one of ``edge`` in the shape around it, whose middle is that of OpenCV's kernels.

    Of a shape without a pixel OpenCV takes the first of its grid.
    """
    steps = [-radius + number for number in range(math.ceil(2 * radius + 1))]
    middle = len(steps) // 2
    empty = min(y * y for y in steps) * 2 > radius**2
    wide = np.pad(edge, len(steps))
    out = np.zeros(edge.shape, bool)
    for row, y in enumerate(steps):
        for column, x in enumerate(steps):
            if y * y + x * x <= radius**2 or (empty and row == column == 0):
                top, left = len(steps) + row - middle, len(steps) + column - middle
                out |= wide[top : top + edge.shape[0], left : left + edge.shape[1]]
    return out


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _total(known) / len(known) if known else None


def _total(values: Iterable[float]) -> float:
    """Add one after another: from Python 3.12 on its own ``sum`` of floats rounds otherwise."""
    total = 0.0
    for value in values:
        total += value
    return total


def _recall(values: np.ndarray) -> float:
    return float(np.mean(values > 0.5))


def _decay(values: np.ndarray) -> float | None:
    if len(values) < 4:
        return None
    ends = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    quarters = [values[first : last + 1].mean() for first, last in pairwise(ends)]
    return float(quarters[0] - quarters[3])


def _episode(pairs: Sequence[tuple[str, np.ndarray, np.ndarray]], rules: Rules) -> tuple[Table, dict[str, Table]]:
    """Return the figures of an episode, percent, and its frames, of (frame, predicted, truth)."""
    if rules.leave_out_absent:
        pairs = [(name, p, t) for name, p, t in pairs if p.any() or t.any()]
    frames = {name: frame_values(p, t, rules) for name, p, t in pairs}
    there = np.array([t.any() for _, _, t in pairs], bool)
    right = np.array([not p.any() for _, p, t in pairs if not t.any()], float)
    figures: Table = {}
    columns = {name: np.array([frame[name] for frame in frames.values()]) for name in COLUMNS[rules.measure]}
    for name, values in columns.items():
        if name == "union":
            continue
        figures[name] = float(values.max() if name == "found" else values.mean())
        if name in ("F_dot", "found"):
            continue
        figures[f"{name}_visible"] = float(values[there].mean()) if there.any() else None
        figures[f"{name}_recall"] = _recall(values)
        figures[f"{name}_decay"] = _decay(values)
    figures["absent_correct"] = float(right.mean()) if len(right) else None
    if "F" in columns:
        both = (columns["J"] + columns.get("F_dot", columns["F"])) / 2
        figures["disappear"], figures["reappear"] = _by_run(both, there, rules)
    if rules.mean == "groups":
        square = float(np.mean((both.mean() - both) ** 2))
        figures["V"] = math.sqrt(np.round(square, 4))
    if rules.measure == "region":
        figures["J_last"] = float(columns["J"][math.floor(rules.last * len(columns["J"])) :].mean())
    counts: Table = {}
    if rules.measure == "overlap":
        inter, union = (sum(frame["counts"][index] for frame in frames.values()) for index in (0, 1))
        figures["IoU"] = inter / union if union else 1.0
        figures["Dice"] = _dice(figures["IoU"])
        counts = {"union": union}
    percent: Table = {name: None if value is None else 100.0 * value for name, value in figures.items()}
    return {**percent, **counts}, frames


def _dice(iou: float) -> float:
    return 2 * iou / (1 + iou)


def _by_run(values: np.ndarray, there: np.ndarray, rules: Rules) -> tuple[float | None, float | None]:
    """Return the mean over runs of absent frames of each run's mean, and that over runs of frames after one."""
    runs: list[tuple[bool, list[float]]] = []
    for seen, value in zip(there.tolist(), values.tolist()):
        if not runs or runs[-1][0] != seen:
            runs.append((seen, []))
        runs[-1][1].append(value)
    means = [(seen, float(np.mean(each)), number > 0) for number, (seen, each) in enumerate(runs)]
    gone = [value for seen, value, follows in means if not seen and (follows or rules.leading)]
    back = [value for seen, value, follows in means if seen and follows]
    return _mean(gone), _mean(back)


def _numbers(maps: Sequence[np.ndarray], rules: Rules) -> list[int]:
    """Return the ids of the objects that are scored."""
    numbers = {int(n) for labels in (maps if rules.all_objects else maps[:1]) for n in np.unique(labels)}
    return list(range(1, max(numbers) + 1)) if rules.up_to_largest else sorted(numbers - {0})


def _own(maps: Sequence[np.ndarray], number: int, rules: Rules) -> list[int]:
    """Return the scored frames of an object."""
    first = next(index for index, labels in enumerate(maps) if (labels == number).any()) if rules.own_range else 0
    return [first + index for index in rules.frames(len(maps) - first)]


def _sequences(folder: Path, rules: Rules) -> dict[str, Any]:
    rows: list[Table] = []
    frames: dict[str, Any] = {}
    unseen = (folder / "unseen.txt").read_text().split() if rules.mean == "groups" else []
    for sequence in sorted((folder / "ground-truth").iterdir()):
        paths = sorted(sequence.glob("*.png"))
        maps = [_read(path) for path in paths]
        voids = [labels == 255 for labels in maps]
        maps = [np.where(void, 0, labels) for labels, void in zip(maps, voids)]
        predicted = [_read(folder / "predictions" / sequence.name / path.name) for path in paths]
        if rules.void == "ignored":
            predicted = [np.where(void, 0, labels) for labels, void in zip(predicted, voids)]
        for number in _numbers(maps, rules):
            scored = _own(maps, number, rules)
            pairs = [(paths[i].stem, predicted[i] == number, maps[i] == number) for i in scored]
            if rules.leave_out_missing and not any(p.any() for _, p, _ in pairs):
                continue
            name = f"{sequence.name}__{number}"
            figures, frames[name] = _episode(pairs, rules)
            rows.append({"id": name, "video": sequence.name, "object": number, "frames": len(pairs), **figures})
            if unseen:
                rows[-1]["unseen"] = sequence.name in unseen
    names = [name for name in rows[0] if name not in (*NAMES, "frames")]
    videos = sorted({row["video"] for row in rows})
    groups = [[row for row in rows if row["video"] == video] for video in videos]
    parts: Table = {}
    if rules.mean == "groups":
        halves = {
            word: [row for row in rows if row["unseen"] is flag] for word, flag in (("seen", False), ("unseen", True))
        }
        means: dict[str, Table] = {
            word: {name: _mean(row[name] for row in half) for name in names} for word, half in halves.items()
        }
        summary = {name: _mean(each[name] for each in means.values()) for name in names}
        parts = {f"{name}_{word}": each[name] for word, each in means.items() for name in ("J", "F", "V")}
        parts |= {f"J&F_{word}": (each["J"] + each["F"]) / 2 for word, each in means.items()}
    elif rules.mean == "sequences":
        summary = {name: _mean(_mean(row[name] for row in group) for group in groups) for name in names}
    else:
        summary = {name: _mean(row[name] for row in rows) for name in names}
    main = [name for name in COLUMNS[rules.measure] if (name, rules.measure) != ("F", "mosev2")]
    per_video = {
        video: {**_half({name: _mean(row[name] for row in group) for name in main}), "objects": len(group)}
        for video, group in zip(videos, groups)
    }
    return {
        "summary": {**_half(summary), **parts, "episodes": len(rows), "failed": 0},
        "per_video": per_video,
        "episodes": _by_id(rows),
        "frames": frames,
    }


def _by_id(rows: Sequence[Table]) -> dict[str, Table]:
    return {row["id"]: {name: value for name, value in row.items() if name not in NAMES} for row in rows}


def _half(figures: Table) -> Table:
    return {
        **figures,
        **{f"J&{name}": (figures["J"] + figures[name]) / 2 for name in ("F", "F_dot") if name in figures},
    }


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _videos(folder: Path, rules: Rules) -> dict[str, Any]:
    bench = folder / "benchmark"
    videos = {row["video"]: row for row in _csv(bench / "videos.csv")}
    rows: list[Table] = []
    frames: dict[str, Any] = {}
    for episode in _csv(bench / "episodes.csv"):
        video = episode["video"]
        pairs = []
        for index in rules.frames(int(videos[video]["frames"])):
            name = f"{index:05d}"
            truth = _read(bench / "videos" / video / "Annotations" / episode["category"] / f"{name}.png")
            predicted = _read(folder / "predictions" / episode["id"] / f"{name}.png")
            pairs.append((name, _resize(predicted, rules) > 0, _resize(truth, rules, truth=True) > 0))
        figures, frames[episode["id"]] = _episode(pairs, rules)
        visible = sum(bool(truth.any()) for _, _, truth in pairs)
        known = {"video": video, "category": int(episode["category"]), "category_name": episode["category_name"]}
        known |= {"source": videos[video]["source"], "draw": int(episode.get("run") or episode["draw"])}
        rows.append({"id": episode["id"], **known, "frames": len(pairs), "visible_frames": visible, **figures})
        if "asked" in episode:
            rows[-1] |= {"positive": episode["asked"] == "positive", "answers": _answers(pairs, rules)}
    names = [name for name in rows[0] if name not in (*NAMES, "frames", "visible_frames", "union")]

    def means(some: Sequence[Table]) -> Table:
        if rules.mean == "episodes":
            usual = _half({name: _mean(row[name] for row in some) for name in names})
            return {**usual, **_presence([some], rules)} if rules.measure == "presence" else usual
        if rules.mean == "frames":
            weights = [row["frames"] for row in some]
            columns = [n for n in ("J", "F", "IoU", "Dice") if n in names]
            return _half({n: float(np.average([row[n] for row in some], weights=weights)) for n in columns})
        if rules.mean in ("categories", "videos", "together", "frame-ious"):
            return _half(_over_categories(some, names, rules))
        draws = [[row for row in some if row["draw"] == draw] for draw in sorted({row["draw"] for row in some})]
        usual = _half({name: _mean(_mean(row[name] for row in draw) for draw in draws) for name in names})
        return {**usual, **_presence(draws, rules)} if rules.measure == "presence" else usual

    def table(key: Callable[[Table], str]) -> dict[str, Table]:
        groups = {value: [row for row in rows if key(row) == value] for value in sorted({key(row) for row in rows})}
        return {value: {**means(group), "episodes": len(group)} for value, group in groups.items()}

    per_category = table(lambda row: row["category_name"])
    by_category = _mean(row.get("J&F") for row in per_category.values())
    return {
        "summary": {**means(rows), "J&F_by_category": by_category, "episodes": len(rows), "failed": 0},
        "per_category": per_category,
        "per_source": table(lambda row: row["source"]),
        "per_video": table(lambda row: row["video"]),
        "per_draw": table(lambda row: str(row["draw"])),
        "episodes": _by_id(rows),
        "frames": frames,
    }


def _over_categories(rows: Sequence[Table], names: Sequence[str], rules: Rules) -> Table:
    """Return the mean over categories, then over draws or runs; of a category the weighted mean over its episodes."""
    cells: dict[tuple[int, str], list[Table]] = {}
    for row in rows:
        cells.setdefault((0 if rules.mean == "together" else row["draw"], row["category_name"]), []).append(row)

    def of(name: str, cell: Sequence[Table]) -> float | None:
        known = [row for row in cell if row[name] is not None]
        by = "union" if name == "IoU" and rules.mean != "frame-ious" else "frames"
        weights = [1 if rules.mean == "videos" else row[by] for row in known]
        if not any(weights):
            return _mean(row[name] for row in known)
        return _total(row[name] * weight for row, weight in zip(known, weights)) / _total(weights)

    def over(figures: dict[tuple[int, str], float | None]) -> float | None:
        draws = sorted({draw for draw, _ in figures})
        return _mean(_mean(figures[key] for key in sorted(figures) if key[0] == draw) for draw in draws)

    out = {name: over({key: of(name, cell) for key, cell in cells.items()}) for name in names}
    if "IoU" in names:
        ious = {key: of("IoU", cell) for key, cell in cells.items()}
        out["Dice"] = over({key: None if iou is None else 100 * _dice(iou / 100) for key, iou in ious.items()})
    return out


def _answers(pairs: Sequence[tuple[str, np.ndarray, np.ndarray]], rules: Rules) -> list[tuple[bool, bool]]:
    """Return what is so and what the prediction says, of the video or of each frame."""
    frames = [(bool(t.any()), bool((p & t).any() if rules.answer == "overlap" else p.any())) for _, p, t in pairs]
    if rules.answer == "frames":
        return frames
    return [(any(there for there, _ in frames), any(found for _, found in frames))]


def _presence(draws: Sequence[Sequence[Table]], rules: Rules) -> Table:
    """Return the mean over draws of what the answers of each are worth, percent."""
    figures = [_presence_of_draw(draw, rules) for draw in draws]
    return {name: _mean(each[name] for each in figures) for name in figures[0]}


def _presence_of_draw(rows: Sequence[Table], rules: Rules) -> Table:
    answers = [answer for row in rows for answer in row["answers"]]
    tp, fp, fn, tn = (answers.count(kind) for kind in ((True, True), (False, True), (True, False), (False, False)))
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    correlation = (tp * tn - fp * fn) / math.sqrt(product) if product else None
    masks = [row for row in rows if row["positive"] or rules.negatives]
    whole = rules.folded or rules.negatives
    sums = [_total(row[name if whole else f"{name}_visible"] for row in masks) for name in ("J", "F")]
    told = tp + fn and fp + tn
    return {
        "presence_MCC": None if correlation is None else 100 * correlation,
        "presence_FPR": 100 * fp / (fp + tn) if fp + tn else None,
        "presence_FNR": 100 * fn / (tp + fn) if tp + fn else None,
        "icF1": (sums[0] + sums[1]) / (2 * len(masks)) * max(correlation or 0.0, 0.0) if told else None,
        "absent_correct_negative": _mean(row["absent_correct"] for row in rows if not row["positive"]),
    }


def _images(folder: Path, rules: Rules) -> dict[str, Any]:
    bench = folder / "benchmark"
    folds = json.loads((bench / "benchmark.json").read_text(encoding="utf-8"))["folds"]
    rows: list[Table] = []
    for episode in _csv(bench / "episodes.csv"):
        truth = _resize(_read(bench / "queries" / "masks" / episode["category"] / f"{episode['query']}.png"), rules)
        predicted = _resize(_read(folder / "predictions" / episode["id"] / "00000.png"), rules) > 0
        known = truth != 255 if rules.void == "ignored" else np.ones(truth.shape, bool)
        row: Table = {"id": episode["id"], "category_name": episode["category_name"]}
        row |= {"fold": int(episode["fold"]), "category": int(episode["category"]), "query": episode["query"]}
        rows.append({**row, **dict(zip(FOLD_COUNTS, pixel_counts(predicted, truth == 1, known)))})
    per_fold: dict[str, Table] = {}
    per_category: dict[str, Table] = {}
    for fold, categories in sorted(folds.items()):
        mine = [row for row in rows if str(row["fold"]) == fold]
        ious: dict[int, float] = {}
        for category in sorted(categories):
            some = [row for row in mine if row["category"] == category]
            if some:
                ious[category] = _category_iou(some, rules)
                per_category[some[0]["category_name"]] = {"mIoU": ious[category], "fold": int(fold)}
        sums = [sum(row[name] for row in mine) for name in FOLD_COUNTS]
        drawn, over_all = _total(ious.values()) / len(ious), _total(ious.values()) / len(categories)
        per_fold[fold] = {
            "mIoU": over_all if rules.undrawn_as_zero else drawn,
            "mIoU_drawn": drawn,
            "mIoU_undrawn_as_0": over_all,
            "FB_IoU": 50.0 * (sums[0] / max(sums[1], 1) + sums[2] / max(sums[3], 1)),
            "mean_IoU": 100.0 * float(np.mean([_iou(row) for row in mine])),
            "undrawn": [category for category in sorted(categories) if category not in ious],
        }
    names = ("mIoU", "mIoU_drawn", "mIoU_undrawn_as_0", "FB_IoU")
    summary = {name: _mean(row[name] for row in per_fold.values()) for name in names}
    by_fold = sorted(rows, key=lambda row: row["fold"])
    summary |= {"mean_IoU": _mean(100.0 * row["inter_fg"] / max(row["union_fg"], 1) for row in by_fold)}
    return {
        "summary": {**summary, "episodes": len(rows), "failed": 0},
        "per_category": dict(sorted(per_category.items())),
        "per_fold": per_fold,
        "episodes": _by_id(rows),
        "frames": {},
    }


def pixel_counts(predicted: np.ndarray, truth: np.ndarray, known: np.ndarray) -> list[int]:
    """Return intersection and union of the thing, then of the rest, of two (H, W) bool masks where ``known``."""
    pairs = ((predicted, truth), (~predicted, ~truth))
    return [int((join(p, t) & known).sum()) for p, t in pairs for join in (np.logical_and, np.logical_or)]


def _iou(row: Table) -> float:
    return float(row["inter_fg"] / row["union_fg"])


def _category_iou(rows: Sequence[Table], rules: Rules) -> float:
    """Return the IoU of a category, percent: of the sums over its episodes (or, wrongly, the mean of their IoU)."""
    if rules.mean == "ious":
        return 100.0 * sum(map(_iou, rows)) / len(rows)
    return 100.0 * sum(row["inter_fg"] for row in rows) / sum(row["union_fg"] for row in rows)
