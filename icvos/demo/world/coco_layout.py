"""Writes images in the layout of COCO 2014: both splits, polygons, crowd regions, grey images, empty images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from icvos.categories import COCO80
from icvos.demo.world.plan import Picture, WorldSize, make_picture
from icvos.files import atomic_write, write_json
from icvos.images import write_image
from icvos.progress import Progress, Update

__all__ = ["mask_to_polygons", "mask_to_runs", "write_coco"]

_FINE = 4  # polygons follow the edges of pixels to a quarter of one
_LICENCE = {"id": 1, "name": "Drawn by icvos; free of any rights", "url": ""}


def write_coco(root: Path, size: WorldSize, seed: int, progress: Progress) -> None:
    """Write ``train2014``, ``val2014`` and ``annotations/instances_*.json`` under ``root``."""
    for split, count in size.pictures.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            picture = make_picture(size, seed, split, index)
            image, labels = picture.scene.frame(0)
            image_id = 1009 + 17 * index + (500_000 if split == "val2014" else 0)
            name = f"COCO_{split}_{image_id:012d}.jpg"
            _write(root / split / name, image, grey=picture.grey)
            height, width = labels.shape
            images.append(
                {
                    "license": 1,
                    "file_name": name,
                    "coco_url": "",
                    "height": height,
                    "width": width,
                    "date_captured": "",
                    "flickr_url": "",
                    "id": image_id,
                }
            )
            annotations += _annotations(picture, labels, image_id, 1 + 100 * len(images))
            progress(Update(f"images of coco {split}", index + 1, count))
        categories = [
            {"supercategory": "drawn", "id": source, "name": name}
            for name, source in zip(COCO80.names, COCO80.source_ids)
        ]
        info = {"description": f"icvos demo world, {split}", "version": "1", "year": 2014}
        write_json(
            root / "annotations" / f"instances_{split}.json",
            {
                "info": info,
                "images": images,
                "licenses": [_LICENCE],
                "annotations": annotations,
                "categories": categories,
            },
        )


def _write(path: Path, image: np.ndarray, *, grey: bool) -> None:
    if not grey:
        write_image(path, image, quality=92)
        return
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert done
    with atomic_write(path) as stream:
        stream.write(data.tobytes())


def _annotations(picture: Picture, labels: np.ndarray, image_id: int, first_id: int) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    things: list[tuple[str, np.ndarray, bool]] = [
        (name, labels == label, False) for label, name in enumerate(picture.names, 1) if label not in picture.crowd
    ]
    if picture.crowd:
        name = picture.names[min(picture.crowd) - 1]
        things.append((name, np.isin(labels, sorted(picture.crowd)), True))
    for name, mask, crowd in things:
        if not mask.any():
            continue
        ys, xs = np.nonzero(mask)
        box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
        shape: Any = {"counts": mask_to_runs(mask), "size": list(mask.shape)} if crowd else mask_to_polygons(mask)
        out.append(
            {
                "segmentation": shape,
                "area": int(mask.sum()),
                "iscrowd": int(crowd),
                "image_id": image_id,
                "bbox": box,
                "category_id": COCO80.source_ids[COCO80.number(name) - 1],
                "id": first_id + len(out),
            }
        )
    return out


def mask_to_runs(mask: np.ndarray) -> list[int]:
    """Return COCO's uncompressed run lengths of a (H, W) bool mask: column by column, zeros first."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(n) for n in np.diff(np.concatenate([[0], edges, [mask.size]]))]


def mask_to_polygons(mask: np.ndarray) -> list[list[float]]:
    """Return COCO polygons of a (H, W) bool mask; holes are joined to their rim by a bridge of no width."""
    fine = cv2.resize(mask.astype(np.uint8), None, fx=_FINE, fy=_FINE, interpolation=cv2.INTER_NEAREST)
    contours, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for index, contour in enumerate(contours):
        if hierarchy[0][index][3] >= 0 or len(contour) < 3:
            continue
        ring = contour[:, 0]
        child = int(hierarchy[0][index][2])
        while child >= 0:
            ring = _bridge(ring, contours[child][:, 0])
            child = int(hierarchy[0][child][0])
        polygons.append([round(float(v), 2) for v in ((ring + 0.5) / _FINE).ravel()])
    return polygons


def _bridge(ring: np.ndarray, hole: np.ndarray) -> np.ndarray:
    distance = ((ring[:, None].astype(np.int64) - hole[None]) ** 2).sum(axis=-1)
    at, by = np.unravel_index(int(distance.argmin()), distance.shape)
    around = np.concatenate([hole[by:], hole[: by + 1]])
    return np.concatenate([ring[: at + 1], around, ring[at:]])
