"""Writes clips in the layout of YouTube-VIS 2019: a category for every object, run lengths in one JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from icvos.demo.world.coco_layout import mask_to_runs
from icvos.demo.world.plan import Clip, WorldSize, cast_of, make_clip
from icvos.files import write_json
from icvos.images import write_image
from icvos.masks import encode_code
from icvos.progress import Progress, Update

__all__ = ["write_ytvis"]


def write_ytvis(root: Path, size: WorldSize, seed: int, progress: Progress) -> None:
    """Write ``train/train.json`` and ``train/JPEGImages/<10 hex>/00000.jpg`` (every fifth number) under ``root``.

    The world's categories, by name, have the ids 1, 2, …; each is what at least two videos are about. Videos and
    annotations stand in the file in another order than that of their ids, and run lengths are compressed in every
    second video, as both are in the wild.
    """
    names = list(cast_of(size))
    count = len(names) * max(2, sum(size.clips.values()) // 6)
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        clip = make_clip(size, seed, "ytvis", index, names[index % len(names)], extra_named=False)
        folder = f"{(0x3F2A96C1D5 + 0x9E3779B97F * (index + 1)) & 0xFFFFFFFFFF:010x}"
        labels = []
        for frame in range(clip.scene.frames):
            image, objects = clip.scene.frame(frame)
            write_image(root / "train/JPEGImages" / folder / f"{5 * frame:05d}.jpg", image, quality=90)
            labels.append(objects)
        height, width = labels[0].shape
        about = {"height": height, "width": width, "length": len(labels)}
        files = [f"{folder}/{5 * frame:05d}.jpg" for frame in range(len(labels))]
        videos.append({"id": index + 1, "file_names": files, **about})
        annotations += _annotations(clip, labels, names, about, first=len(annotations) + 1)
        progress(Update("videos of ytvis", index + 1, count))
    categories = [{"supercategory": "object", "id": number, "name": name} for number, name in enumerate(names, 1)]
    content = {"info": {"description": "icvos demo world"}, "licenses": [], "categories": categories}
    write_json(root / "train/train.json", {**content, "videos": videos[::-1], "annotations": annotations[::-1]})


def _annotations(
    clip: Clip, labels: list[np.ndarray], names: list[str], about: dict[str, int], *, first: int
) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for label, name in enumerate(clip.names, 1):
        masks = [each == label for each in labels]
        if not any(mask.any() for mask in masks):
            continue
        out.append(
            {
                **about,
                "id": first + len(out),
                "video_id": clip.index + 1,
                "category_id": names.index(name) + 1,
                "iscrowd": 0,
                "segmentations": [_runs(mask, compressed=clip.index % 2 == 1) for mask in masks],
                "areas": [int(mask.sum()) or None for mask in masks],
            }
        )
    return out


def _runs(mask: np.ndarray, *, compressed: bool) -> dict[str, Any] | None:
    if not mask.any():
        return None
    size = list(mask.shape)
    counts = encode_code(mask)["counts"].decode("ascii") if compressed else mask_to_runs(mask)
    return {"size": size, "counts": counts}
