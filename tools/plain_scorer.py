"""A second scorer of golden toys, written plainly from the definitions with numpy, scipy and Pillow: nothing of icvos.

Sources: the official DAVIS-2017 evaluation (boundary, tolerance, J, F, recall, decay; which objects and frames count),
the public code of DC-SAM (512x512, the index rule of its resizing, sums of few-shot folds). ``tools.toys`` writes what
it finds as each toy's ``expected.json``; the tests compare it with what ``icvos score`` finds.
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
FOLD_COUNTS = ("inter_fg", "union_fg", "inter_bg", "union_bg")
NAMES = ("id", "video", "object", "source", "query", "category", "category_name", "draw", "fold")
"""What a row says of an episode that is no figure."""


@dataclass(frozen=True)
class Rules:
    """The rules of a protocol; and, by other values than the defaults, the mistakes of a scorer.

    Attributes:
        kind: ``sequence`` (label maps), ``video`` or ``image`` (benchmarks).
        side: Masks are resized to ``side`` x ``side`` before they are scored; None for none.
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
        void: What 255 of the ground truth is: ``background``, or ``ignored`` (neither mask counts there).
        mean: Over what: ``objects``, ``sequences``; ``draws``, ``episodes``, ``frames``; ``sums``, ``ious``.
    """

    kind: str
    side: int | None = None
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


def _resize(labels: np.ndarray, rules: Rules) -> np.ndarray:
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
    """Return J, F and counts of one frame, two (H, W) bool masks."""
    predicted, truth = np.ascontiguousarray(predicted), np.ascontiguousarray(truth)
    counts = _counts(predicted.tobytes(), truth.tobytes(), truth.shape, rules.cut, rules.square, rules.border)
    inter, union, boundary_p, matched_p, boundary_t, matched_t = counts
    if boundary_p == boundary_t == 0:
        f = 1.0
    elif boundary_p == 0 or boundary_t == 0:
        f = 0.0
    else:
        precision, recall = matched_p / boundary_p, matched_t / boundary_t
        f = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"J": inter / union if union else 1.0, "F": f, "counts": list(counts)}


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
    figures: dict[str, float | None] = {}
    for name in ("J", "F"):
        values = np.array([frame[name] for frame in frames.values()])
        figures[name] = float(values.mean())
        figures[f"{name}_visible"] = float(values[there].mean()) if there.any() else None
        figures[f"{name}_recall"] = _recall(values)
        figures[f"{name}_decay"] = _decay(values)
    figures["absent_correct"] = float(right.mean()) if len(right) else None
    return {name: None if value is None else 100.0 * value for name, value in figures.items()}, frames


def _sequences(folder: Path, rules: Rules) -> dict[str, Any]:
    rows: list[Table] = []
    frames: dict[str, Any] = {}
    for sequence in sorted((folder / "ground-truth").iterdir()):
        paths = sorted(sequence.glob("*.png"))
        maps = [_read(path) for path in paths]
        voids = [labels == 255 for labels in maps]
        maps = [np.where(void, 0, labels) for labels, void in zip(maps, voids)]
        predicted = [_read(folder / "predictions" / sequence.name / path.name) for path in paths]
        numbers = sorted({int(n) for labels in (maps if rules.all_objects else maps[:1]) for n in np.unique(labels)})
        if rules.void == "ignored":
            predicted = [np.where(void, 0, labels) for labels, void in zip(predicted, voids)]
        for number in (number for number in numbers if number):
            scored = rules.frames(len(paths))
            pairs = [(paths[i].stem, predicted[i] == number, maps[i] == number) for i in scored]
            if rules.leave_out_missing and not any(p.any() for _, p, _ in pairs):
                continue
            name = f"{sequence.name}__{number}"
            figures, frames[name] = _episode(pairs, rules)
            rows.append({"id": name, "video": sequence.name, "object": number, "frames": len(pairs), **figures})
    names = [name for name in rows[0] if name.partition("_")[0] in ("J", "F", "absent")]
    videos = sorted({row["video"] for row in rows})
    groups = [[row for row in rows if row["video"] == video] for video in videos]
    if rules.mean == "sequences":
        summary = {name: _mean(_mean(row[name] for row in group) for group in groups) for name in names}
    else:
        summary = {name: _mean(row[name] for row in rows) for name in names}
    per_video = {
        video: {**_half({name: _mean(row[name] for row in group) for name in ("J", "F")}), "objects": len(group)}
        for video, group in zip(videos, groups)
    }
    return {
        "summary": {**_half(summary), "episodes": len(rows), "failed": 0},
        "per_video": per_video,
        "episodes": _by_id(rows),
        "frames": frames,
    }


def _by_id(rows: Sequence[Table]) -> dict[str, Table]:
    return {row["id"]: {name: value for name, value in row.items() if name not in NAMES} for row in rows}


def _half(figures: Table) -> Table:
    return {**figures, "J&F": (figures["J"] + figures["F"]) / 2}


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
            pairs.append((name, _resize(predicted, rules) > 0, _resize(truth, rules) > 0))
        figures, frames[episode["id"]] = _episode(pairs, rules)
        visible = sum(bool(truth.any()) for _, _, truth in pairs)
        known = {"video": video, "category": int(episode["category"]), "category_name": episode["category_name"]}
        known |= {"source": videos[video]["source"], "draw": int(episode["draw"])}
        rows.append({"id": episode["id"], **known, "frames": len(pairs), "visible_frames": visible, **figures})
    names = [name for name in rows[0] if name.partition("_")[0] in ("J", "F", "absent")]

    def means(some: Sequence[Table]) -> Table:
        if rules.mean == "episodes":
            return _half({name: _mean(row[name] for row in some) for name in names})
        if rules.mean == "frames":
            weights = [row["frames"] for row in some]
            return _half({n: float(np.average([row[n] for row in some], weights=weights)) for n in ("J", "F")})
        draws = [[row for row in some if row["draw"] == draw] for draw in sorted({row["draw"] for row in some})]
        return _half({name: _mean(_mean(row[name] for row in draw) for draw in draws) for name in names})

    def table(key: Callable[[Table], str]) -> dict[str, Table]:
        groups = {value: [row for row in rows if key(row) == value] for value in sorted({key(row) for row in rows})}
        return {value: {**means(group), "episodes": len(group)} for value, group in groups.items()}

    per_category = table(lambda row: row["category_name"])
    by_category = _mean(row["J&F"] for row in per_category.values())
    return {
        "summary": {**means(rows), "J&F_by_category": by_category, "episodes": len(rows), "failed": 0},
        "per_category": per_category,
        "per_source": table(lambda row: row["source"]),
        "per_video": table(lambda row: row["video"]),
        "per_draw": table(lambda row: str(row["draw"])),
        "episodes": _by_id(rows),
        "frames": frames,
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
