"""A tiny benchmark in the layout of DESIGN, written in milliseconds by nothing but the files module."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icvos.benchmark import (
    EPISODE_COLUMNS,
    FRAME_COLUMNS,
    PAIR_COLUMNS,
    QUERY_EPISODE_COLUMNS,
    SCHEMA,
    VIDEO_COLUMNS,
)
from icvos.files import write_csv, write_json
from icvos.images import write_image
from icvos.manifest import write_manifest
from icvos.masks import write_mask

SIZE = (40, 52)


def scene(
    seed: int, index: int, size: tuple[int, int] = SIZE, *, hidden: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """An image with a reddish disk on a bluish ground, and the disk's mask."""
    generator = np.random.default_rng((seed, index))
    image = generator.integers(0, 90, (*size, 3)).astype(np.uint8)
    image[..., 2] += 90
    rows, columns = np.mgrid[: size[0], : size[1]]
    mask = (rows - size[0] * 0.5) ** 2 + (columns - 12 - 4 * index) ** 2 < (6 + seed) ** 2
    if hidden:
        mask &= False
    image[mask] = (210, 60, 40)
    return image, mask


def write_video_benchmark(
    root: Path,
    *,
    videos: int = 3,
    frames: int = 6,
    draws: int = 2,
    shots: int = 2,
    size: tuple[int, int] = SIZE,
    name: str = "tiny",
    apart: int = 7,
) -> Path:
    """Write a video benchmark: a person (1) in each video, a car (3) in the first too; the person hides on frame 1.

    The car is the person ``apart`` rows lower; at 7 rows they overlap.
    """
    names = [f"tiny__v{number}" for number in range(videos)]
    pairs = [(name, 1, "person") for name in names] + [(names[0], 3, "car")]
    for number, clip in enumerate(names):
        for index in range(frames):
            image, mask = scene(number, index, size, hidden=index == 1)
            write_image(root / "videos" / clip / "JPEGImages" / f"{index:05d}.jpg", image)
            for video, category, _ in pairs:
                if video == clip:
                    shown = mask if category == 1 else np.roll(mask, apart, axis=0)
                    write_mask(root / "videos" / clip / "Annotations" / str(category) / f"{index:05d}.png", shown)
    supports = [f"COCO_val2014_{number:012d}" for number in range(shots + 2)]
    for number, support in enumerate(supports):
        image, mask = scene(number + 1, number, (48, 36))
        write_image(root / "supports" / "images" / f"{support}.jpg", image)
        for category in (1, 3):
            labels = mask.astype(np.uint8)
            labels[0, :3] = 255
            write_mask(root / "supports" / "masks" / str(category) / f"{support}.png", labels)
    episodes = [
        {
            "id": f"{video}__{category}__d{draw}",
            "video": video,
            "category": category,
            "category_name": label,
            "draw": draw,
            **{f"support_{i + 1}": supports[(draw + i) % len(supports)] for i in range(shots)},
        }
        for video, category, label in pairs
        for draw in range(draws)
    ]
    _tables(root, names, pairs, frames, size)
    columns = (*EPISODE_COLUMNS, *(f"support_{i + 1}" for i in range(shots)))
    write_csv(root / "episodes.csv", columns, episodes)
    return _finish(root, name)


def _tables(
    root: Path, names: list[str], pairs: list[tuple[str, int, str]], frames: int, size: tuple[int, int]
) -> None:
    write_csv(
        root / "videos.csv",
        VIDEO_COLUMNS,
        [
            {
                "video": n,
                "source": "tiny",
                "source_split": "val",
                "source_name": n,
                "frames": frames,
                "height": size[0],
                "width": size[1],
                "fps": None,
                "void_pixels": 0,
            }
            for n in names
        ],
    )
    write_csv(
        root / "pairs.csv",
        PAIR_COLUMNS,
        [
            {
                "video": v,
                "category": c,
                "category_name": n,
                "complete": "yes",
                "visible_frames": frames - 1,
                "first_visible": 0,
                "instances": 1,
            }
            for v, c, n in pairs
        ],
    )
    rows = [{"video": n, "frame": f"{i:05d}", "source_frame": f"{i:05d}"} for n in names for i in range(frames)]
    write_csv(root / "frames.csv", FRAME_COLUMNS, rows)


def _finish(root: Path, name: str, **more: object) -> Path:
    header = {"schema": SCHEMA, "name": name, "version": "1", "vocabulary": "coco80", "complete_only": True, **more}
    write_json(root / "benchmark.json", header)
    write_manifest(root)
    return root


def write_image_benchmark(root: Path, *, queries: int = 4) -> Path:
    """Write a few-shot image benchmark: categories 1 (fold 0) and 2 (fold 1), fss-native and fss-paper episodes."""
    names = [f"q{number}" for number in range(queries)]
    for place in ("queries", "supports"):
        for number, name in enumerate(names):
            image, mask = scene(number, number + (1 if place == "supports" else 0))
            labels = mask.astype(np.uint8)
            labels[-2:] = 255
            write_image(root / place / "images" / f"{name}.jpg", image)
            for category in (1, 2):
                write_mask(root / place / "masks" / str(category) / f"{name}.png", labels)
    rows = [
        {
            "id": f"{name}__{category}__f{category - 1}__d0",
            "protocol": protocol,
            "query": name,
            "category": category,
            "category_name": ("person", "bicycle")[category - 1],
            "fold": category - 1,
            "draw": 0,
            "support_1": names[(number + 1) % queries],
        }
        for protocol in ("fss-native", "fss-paper")
        for category in (1, 2)
        for number, name in enumerate(names)
    ]
    write_csv(root / "episodes.csv", (*QUERY_EPISODE_COLUMNS, "support_1"), rows)
    return _finish(root, "tiny-20i", folds={"0": [1, 5], "1": [2]})
