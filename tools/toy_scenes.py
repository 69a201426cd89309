"""What golden toys show: masks of ground truth and of predictions, drawn from numbers, in the files of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from icvos.benchmark import (
    EPISODE_COLUMNS,
    FRAME_COLUMNS,
    PAIR_COLUMNS,
    QUERY_EPISODE_COLUMNS,
    RUN_COLUMN,
    SCHEMA,
    VIDEO_COLUMNS,
)
from icvos.categories import COCO80
from icvos.files import write_csv, write_json
from icvos.manifest import write_manifest
from icvos.masks import encode_mask

__all__ = [
    "draw_davis",
    "draw_fss_matcher",
    "draw_fss_native",
    "draw_fss_paper",
    "draw_fsvos_danet",
    "draw_fsvos_tti",
    "draw_lvos",
    "draw_mosev2",
    "draw_native",
    "draw_paper",
    "draw_saco",
    "draw_vost",
]

Size = tuple[int, int]
Shape = tuple[int, ...]
"""A disk (y, x, radius), or a box (top, bottom, left, right)."""
Frame = Sequence[Shape]
"""What a mask is the union of."""
Objects = dict[int, Sequence[Shape]]
"""What a label map shows, by id."""


def mask(size: Size, *shapes: Shape) -> np.ndarray:
    """Return the union of shapes, (H, W) bool."""
    out = np.zeros(size, bool)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for shape in shapes:
        if len(shape) == 3:
            out |= (rows - shape[0]) ** 2 + (columns - shape[1]) ** 2 <= shape[2] ** 2
        elif shape:
            out[shape[0] : shape[1], shape[2] : shape[3]] = True
    return out


def labels(size: Size, objects: Mapping[int, Sequence[Shape]]) -> np.ndarray:
    """Return a label map; later ids lie over earlier ones."""
    out = np.zeros(size, np.uint8)
    for number, shapes in objects.items():
        out[mask(size, *shapes)] = number
    return out


def _write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_mask(values.astype(np.uint8)))


def _boats(folder: Path) -> None:
    """61x131, where the tolerance is 2: three objects, one that comes late, void at the lower edge."""
    size = (61, 131)
    void = (52, 61, 0, 50)
    dots = [(4, 7), (4, 10), (4, 13), (4, 16), (4, 19), (4, 22), (4, 25)]
    steps: list[tuple[int, int] | None] = [None, (0, 0), (0, 1), (2, 2), None, (1, 1), None]
    for index in range(7):
        x = 30 + 6 * index
        truth: dict[int, list[Shape]] = {1: [(34, x, 11)]}
        predicted: dict[int, list[Shape]] = {1: [] if index in (0, 6) else [(34, x + 2, 11)]}
        if index < 4:
            truth[2] = [(8, 20, 96, 119)]
        if index <= 4:
            predicted[2] = [(9, 20, 95, 121)]
        dot, step = dots[index], steps[index]
        truth[3] = [(*dot, 0)]
        if step is not None:
            predicted[3] = [(dot[0] + step[0], dot[1] + step[1], 0)]
        if index >= 2:
            truth[4] = [(40, 55, 2, 14)]
        truth[255] = [void]
        if index in (2, 3):
            predicted[1] = [*predicted[1], (50, 60, 20, 42)]
        _write(folder / "ground-truth" / "boats" / f"{index:05d}.png", labels(size, truth))
        _write(folder / "predictions" / "boats" / f"{index:05d}.png", labels(size, predicted))


def _birds(folder: Path) -> None:
    """19x33, where the tolerance is 1: an object that fills the frame, one whose id no prediction has."""
    size = (19, 33)
    full = (0, 19, 0, 33)
    truth: list[dict[int, list[Shape]]] = [
        {1: [(9, 10, 5)], 2: [(2, 9, 22, 30)]},
        {1: [(9, 12, 5)], 2: [(3, 10, 22, 30)]},
        {1: [full]},
        {1: [full]},
        {1: [(8, 14, 6)], 2: [(6, 14, 23, 30)]},
        {1: [(8, 16, 6)], 2: [(7, 15, 24, 31)]},
    ]
    predicted: list[dict[int, list[Shape]]] = [
        {},
        {1: [(9, 13, 5)]},
        {1: [full]},
        {1: [(4, 19, 3, 33)]},
        {1: [(10, 15, 6)]},
        {},
    ]
    for index, (each, other) in enumerate(zip(truth, predicted)):
        _write(folder / "ground-truth" / "birds" / f"{index:05d}.png", labels(size, each))
        _write(folder / "predictions" / "birds" / f"{index:05d}.png", labels(size, other))


def _cup(folder: Path) -> None:
    """40x27, four frames of which two are scored: no decay; one object alone in its sequence."""
    size = (40, 27)
    for index in range(4):
        truth = labels(size, {1: [(10 + index, 30 + index, 5, 20)]})
        predicted = labels(size, {1: [(10 + index, 29, 6, 20)]})
        _write(folder / "ground-truth" / "cup" / f"{index:05d}.png", truth)
        _write(folder / "predictions" / "cup" / f"{index:05d}.png", predicted)


def draw_davis(folder: Path) -> None:
    """Draw three sequences of label maps."""
    _boats(folder)
    _birds(folder)
    _cup(folder)


def _sequence(folder: Path, name: str, size: Size, truth: Sequence[Objects], predicted: Sequence[Objects]) -> None:
    for kind, frames in (("ground-truth", truth), ("predictions", predicted)):
        for index, objects in enumerate(frames):
            _write(folder / kind / name / f"{index:05d}.png", labels(size, objects))


def _herd(folder: Path) -> None:
    """60x91, where MOSEv2's tolerance is 0.87: one that leaves twice, one that comes late, one that is small."""
    truth: list[Objects] = []
    predicted: list[Objects] = []
    for index in range(12):
        x = 12 + 5 * index
        there: Objects = {} if index in (4, 5, 9) else {1: [(20, x, 9)]}
        found: Objects = {} if index in (4, 9) else {1: [(21, x + (2 if index > 5 else 1), 9)]}
        if index in (4, 5):
            found = {1: [(50, 70, 3 if index == 4 else 1)]}
        if index >= 3:
            there[2] = [(40, 52, x % 40, x % 40 + 14)]
            found[2] = [(41, 52, x % 40, x % 40 + (15 if index < 8 else 6))]
        if index > 1:
            there[3] = [(6, 80, 2)]
            found[3] = [(6, 81 + index % 2, 2)]
        if index == 7:
            found[9] = [(55, 58, 80, 90)]  # an id that the ground truth has not
        truth.append(there)
        predicted.append(found)
    _sequence(folder, "herd", (60, 91), truth, predicted)


def _flock(folder: Path) -> None:
    """270x480, where it is 4.41: a large bird with small ones around it, and one pixel that is missed."""
    truth: list[Objects] = [{1: [(135, 150 + 10 * i, 60)], 2: [(30, 400, 6)], 4: [(8, 8 + i, 0)]} for i in range(6)]
    predicted: list[Objects] = [
        {1: [(138, 153 + 10 * i, 61)], 2: [(31, 402, 6)], **({4: [(8, 8, 0)]} if i == 2 else {})} for i in range(6)
    ]
    truth[4] = {1: truth[4][1], 4: truth[4][4]}
    _sequence(folder, "flock", (270, 480), truth, predicted)


def draw_mosev2(folder: Path) -> None:
    """Draw three sequences of label maps; objects vanish and return."""
    _herd(folder)
    _flock(folder)
    _cup(folder)


def draw_lvos(folder: Path) -> None:
    """Draw four sequences of label maps, of which one is unseen."""
    _herd(folder)
    _boats(folder)
    _birds(folder)
    _cup(folder)
    (folder / "unseen.txt").write_text("birds\n", encoding="utf-8")


def draw_vost(folder: Path) -> None:
    """Draw three sequences of label maps; the ids of one leave out a number."""
    _flock(folder)
    _boats(folder)
    _birds(folder)


# --- videos: a tiny built benchmark ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A category in a video: its shapes on each frame, of each draw those that are predicted, and what was asked."""

    video: str
    category: int
    truth: Sequence[Frame]
    predicted: Sequence[Sequence[Frame]]
    asked: str = ""


NATIVE_SIZES = {"toy__kitchen": (37, 53), "toy__street": (61, 131)}
PAPER_SIZES = {"toy__kitchen": (37, 53), "toy__street": (521, 601)}
FULL = (0, 37, 0, 53)


def _kitchen() -> list[Pair]:
    """Six frames: the person comes late, is one pixel, is absent, fills the frame; the cup leaves."""
    person: list[Frame] = [[], [(18, 20, 9)], [(18, 23, 9)], [(5, 40, 0)], [], [FULL]]
    cup: list[Frame] = [*([(20 + i, 30 + i, 34, 46)] for i in range(4)), [], []]
    return [
        Pair(
            "toy__kitchen",
            1,
            person,
            [
                [[(4, 9, 4, 12)], [(19, 21, 9)], [(18, 25, 9)], [(6, 41, 0)], [], [FULL]],
                [[], [(18, 20, 7)], [], [(5, 40, 0)], [(30, 33, 8, 12)], [(6, 37, 4, 53)]],
            ],
        ),
        Pair("toy__kitchen", 42, cup, [[[(20, 30, 35, 47)]] * 4 + [[(22, 30, 36, 46)], []]]),
    ]


def _street(scale: int, step: tuple[int, int]) -> list[Pair]:
    """Three frames of a larger video: a disk, its prediction ``step`` beside it, and at last one pixel."""
    where = [(25, 40), (27, 52)]
    disks: list[Frame] = [[(y * scale, x * scale, 14 * scale)] for y, x in where]
    beside: list[Frame] = [[(y * scale + step[0], x * scale + step[1], 14 * scale)] for y, x in where]
    smaller: list[Frame] = [[(y * scale + 1, x * scale, 13 * scale)] for y, x in where]
    # Row 57 is one of the nine of 521 that 512 rows leave out: at 512x512 the last frame of ``paper`` shows nothing.
    dot: Frame = [(57, 64 * scale, 0)]
    return [Pair("toy__street", 1, [*disks, dot], [[*beside, dot], [*smaller, []]])]


def draw_native(folder: Path) -> None:
    """Draw a video benchmark at its own odd sizes."""
    _video_benchmark(folder, "toy-native", NATIVE_SIZES, [*_kitchen(), *_street(1, (0, 2))])


def draw_paper(folder: Path) -> None:
    """Draw a video benchmark of which one video is smaller and one larger than 512x512."""
    _video_benchmark(folder, "toy-paper", PAPER_SIZES, [*_kitchen(), *_street(4, (5, 5))])


def draw_fsvos_danet(folder: Path) -> None:
    """Draw a video benchmark with an upright video, and a category of two videos of different length."""
    _video_benchmark(folder, "toy-fsvos-danet", FSVOS_SIZES, _queries_of_videos())


def draw_fsvos_tti(folder: Path) -> None:
    """Draw the same, each draw of which is a run of its own."""
    _video_benchmark(folder, "toy-fsvos-tti", FSVOS_SIZES, _queries_of_videos(), runs=True)


FSVOS_SIZES = {"toy__kitchen": (90, 160), "toy__street": (75, 46), "toy__yard": (54, 72)}


def _queries_of_videos() -> list[Pair]:
    """A disk, bars of one to five pixels and a dot; boxes in an upright video; what is wholly gone once resized."""
    bars: list[Frame] = [
        [(45, 60 + 4 * index, 20 - 3 * index), *[(5, 70, 100 + 8 * width, 100 + 9 * width) for width in range(1, 6)]]
        for index in range(4)
    ]
    beside: list[Frame] = [[(47, 62 + 4 * index, 20 - 3 * index), (5, 70, 100, 104)] for index in range(4)]
    boxes: list[Frame] = [[(10, 50, 8, 38)], [(12, 52, 9, 38)]]
    lower: list[Frame] = [[(14, 54, 8, 40)], []]
    thin: list[Frame] = [[(20, 21, 10, 60)], [(25, 30, 5)], [(25, 30, 9)], []]
    return [
        Pair("toy__kitchen", 1, bars, [beside, [*bars[1:], []]]),
        Pair("toy__street", 1, boxes, [lower, boxes[::-1]]),
        Pair(
            "toy__yard", 42, thin, [[[], [(27, 30, 5)], [(25, 33, 9)], []], [thin[0], [], [(24, 30, 10)], [(9, 9, 3)]]]
        ),
    ]


def draw_saco(folder: Path) -> None:
    """Draw a video benchmark with pairs of which it is known that the thing is in no frame."""
    person, cup = 1, 42
    kitchen, street = _kitchen()[0], _street(1, (0, 2))[0]
    yard: list[Frame] = [[(6, 6, 4)], [(7, 8, 4)], [(8, 10, 4)], [], []]
    away: list[Frame] = [*([(24, 36, 3)] for _ in range(4)), []]
    nothing: list[Frame] = [[]] * 6
    pairs = [
        replace(kitchen, asked="positive"),
        # One pixel on one frame says that it is there.
        Pair("toy__kitchen", cup, nothing, [[*nothing[:4], [(3, 50, 0)], []], nothing], "negative"),
        Pair("toy__street", person, street.truth, [nothing[:3], street.predicted[0]], "positive"),
        # It is there, and what is found is something else; frames on which it is not are right.
        Pair("toy__yard", person, yard, [away], "positive"),
        Pair("toy__yard", cup, nothing[:5], [nothing[:5]], "negative"),
    ]
    _video_benchmark(folder, "toy-saco-ic", {**NATIVE_SIZES, "toy__yard": (31, 47)}, pairs)


def _video_benchmark(
    folder: Path, name: str, sizes: Mapping[str, Size], pairs: Sequence[Pair], *, runs: bool = False
) -> None:
    root = folder / "benchmark"
    lengths = {pair.video: len(pair.truth) for pair in pairs}
    for video, count in lengths.items():
        for index in range(count):
            shown = mask(sizes[video], *(shape for p in pairs if p.video == video for shape in p.truth[index]))
            _write(root / "videos" / video / "JPEGImages" / f"{index:05d}.png", np.where(shown, 190, 70))
    episodes = []
    for pair in pairs:
        size = sizes[pair.video]
        for index, shapes in enumerate(pair.truth):
            where = root / "videos" / pair.video / "Annotations" / str(pair.category)
            _write(where / f"{index:05d}.png", mask(size, *shapes))
        for draw, frames in enumerate(pair.predicted):
            identity = f"{pair.video}__{pair.category}__d{draw}"
            known = {"id": identity, "video": pair.video, "category": pair.category, "draw": draw}
            run = {RUN_COLUMN: draw} if runs else {}
            episodes.append({**known, **run, "category_name": COCO80.label(pair.category)})
            episodes[-1]["support_1"] = _support(root, draw, pair.category)
            episodes[-1] |= {"asked": pair.asked} if pair.asked else {}
            for index, shapes in enumerate(frames):
                _write(folder / "predictions" / identity / f"{index:05d}.png", mask(size, *shapes))
    _video_tables(root, sizes, lengths, pairs)
    of_run = (RUN_COLUMN,) if runs else ()
    asked = ("asked",) if any(pair.asked for pair in pairs) else ()
    write_csv(root / "episodes.csv", (*EPISODE_COLUMNS, *of_run, *asked, "support_1"), episodes)
    _finish(root, name, complete_only=True)


def _support(root: Path, draw: int, category: int) -> str:
    """Write a draw's support and return its name."""
    name = f"COCO_val2014_{draw + 1:012d}"
    thing = mask((31, 25), (6 + draw, 22, 5, 18))
    _write(root / "supports" / "images" / f"{name}.png", np.where(thing, 190, 70))
    _write(root / "supports" / "masks" / str(category) / f"{name}.png", thing)
    return name


def _video_tables(root: Path, sizes: Mapping[str, Size], lengths: Mapping[str, int], pairs: Sequence[Pair]) -> None:
    videos = [
        {
            "video": video,
            "source": "toy",
            "source_split": "val",
            "source_name": video.removeprefix("toy__"),
            "frames": count,
            "height": sizes[video][0],
            "width": sizes[video][1],
            "void_pixels": 0,
        }
        for video, count in lengths.items()
    ]
    rows = []
    for pair in pairs:
        visible = [index for index, shapes in enumerate(pair.truth) if shapes]
        row = {"video": pair.video, "category": pair.category, "category_name": COCO80.label(pair.category)}
        row |= {"complete": "yes", "visible_frames": len(visible), "first_visible": min(visible, default=-1)}
        row["instances"] = int(bool(visible))
        rows.append(row)
    stems = [(video, f"{index:05d}") for video, count in lengths.items() for index in range(count)]
    write_csv(root / "videos.csv", VIDEO_COLUMNS, videos)
    write_csv(root / "pairs.csv", PAIR_COLUMNS, rows)
    write_csv(root / "frames.csv", FRAME_COLUMNS, [{"video": v, "frame": f, "source_frame": f} for v, f in stems])


def _finish(root: Path, name: str, **more: Any) -> None:
    write_json(
        root / "benchmark.json", {"schema": SCHEMA, "name": name, "version": "1", "vocabulary": "coco80", **more}
    )
    write_manifest(root)


@dataclass(frozen=True)
class Query:
    """A category in a query image: its shapes, those of void, and what each episode predicts."""

    name: str
    size: Size
    category: int
    truth: Frame
    void: Frame
    predicted: Sequence[Frame]


FOLDS = {"0": [1, 5, 9], "1": [2, 6, 10, 14]}
"""Categories by fold: of 9, 10 and 14 there is no episode."""


def _queries(large: Size, again: bool) -> list[Query]:
    """Queries: void in and around the thing, a prediction in void alone, an empty and a full one; one drawn twice.

    Args:
        large: Size of the last query.
        again: Whether an episode is drawn a second time, as in all protocols but ``fss-native``.
    """
    rim: Frame = [(0, 47, 0, 3), (10, 14, 8, 30)]
    wide, high = large[1] // 2, large[0] // 2
    return [
        Query("harbour", (47, 61), 1, [(12, 40, 10, 30)], rim, [[(8, 38, 0, 28)], *([[(14, 40, 12, 34)]] * again)]),
        Query("harbour", (47, 61), 5, [(5, 20, 38, 58)], [(20, 24, 36, 61)], [[(5, 23, 38, 58)]]),
        Query("meadow", (33, 29), 1, [(16, 14, 3)], [], [[]]),
        Query("meadow", (33, 29), 2, [(4, 12, 4, 20)], [(12, 16, 4, 20)], [[(12, 16, 4, 20), (4, 8, 4, 12)]]),
        Query("square", large, 6, [(high, wide, large[0] // 4)], [(0, 5, 0, large[1])], [[(0, large[0], 0, large[1])]]),
        Query("square", large, 2, [(high, large[0], 0, 12)], [], [[(high + 3, large[0], 1, 15)]]),
    ]


def draw_fss_native(folder: Path) -> None:
    """Draw a few-shot benchmark whose queries have odd sizes of their own."""
    _image_benchmark(folder, "fss-native", _queries((45, 71), False))


def draw_fss_paper(folder: Path) -> None:
    """Draw a few-shot benchmark of which one query is larger than 512x512, and one episode is drawn twice."""
    _image_benchmark(folder, "fss-paper", _queries((531, 611), True))


def draw_fss_matcher(folder: Path) -> None:
    """Draw a few-shot benchmark of which one query is larger than 518x518, and one episode is drawn twice."""
    _image_benchmark(folder, "fss-matcher", _queries((607, 541), True))


def _image_benchmark(folder: Path, protocol: str, queries: Sequence[Query]) -> None:
    root = folder / "benchmark"
    folds = {category: int(fold) for fold, categories in FOLDS.items() for category in categories}
    rows = []
    for query in queries:
        shown = mask(query.size, *(shape for q in queries if q.name == query.name for shape in q.truth))
        _write(root / "queries" / "images" / f"{query.name}.png", np.where(shown, 190, 70))
        truth = labels(query.size, {1: query.truth, 255: query.void})
        _write(root / "queries" / "masks" / str(query.category) / f"{query.name}.png", truth)
        for draw, shapes in enumerate(query.predicted):
            identity = f"{query.name}__{query.category}__f{folds[query.category]}__d{draw}"
            rows.append(
                {
                    "id": identity,
                    "protocol": protocol,
                    "query": query.name,
                    "category": query.category,
                    "category_name": COCO80.label(query.category),
                    "fold": folds[query.category],
                    "draw": draw,
                    "support_1": _support(root, draw, query.category),
                }
            )
            _write(folder / "predictions" / identity / "00000.png", mask(query.size, *shapes))
    rows.sort(key=lambda row: (row["fold"], row["id"]))
    write_csv(root / "episodes.csv", (*QUERY_EPISODE_COLUMNS, "support_1"), rows)
    _finish(root, f"toy-{protocol}", folds=FOLDS)
