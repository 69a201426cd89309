"""Writes images in the layout of LVIS v1, and in that of the lists that Matcher's authors made of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from icvos.demo.world.coco_layout import mask_to_polygons
from icvos.demo.world.plan import WorldSize, cast_of, make_picture
from icvos.files import atomic_write, write_json
from icvos.images import write_image
from icvos.masks import encode_code
from icvos.progress import Progress, Update

__all__ = ["write_lvis"]

_EACH = 4  # images in which each category comes first


def write_lvis(root: Path, size: WorldSize, seed: int, progress: Progress) -> None:
    """Write ``coco/{train2017,val2017}``, ``lvis_v1_val.json`` and ``lvis_val.pkl`` under ``root``.

    The categories have numbers of their own, in the order of their names; one more is on no image.
    """
    names = [*cast_of(size), "zucchini"]
    total = _EACH * (len(names) - 1)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    # The lists' order is not that of the numbers.
    lists: dict[int, dict[str, Any]] = {1 + (5 * n + 3) % len(names): {} for n in range(len(names))}
    for index in range(total):
        picture = make_picture(size, seed, "lvis", index)
        image, labels = picture.scene.frame(0)
        number = 1009 + 17 * index
        file = f"{'train' if index % 4 == 1 else 'val'}2017/{number:012d}.jpg"
        write_image(root / "coco" / file, image, quality=92)
        height, width = labels.shape
        address = f"http://images.cocodataset.org/{file}"
        images.append({"id": number, "license": 1, "coco_url": address, "height": height, "width": width})
        for label, name in enumerate(picture.names, 1):
            mask = labels == label
            if not mask.any():
                continue
            category = 1 + names.index(name)
            polygons = mask_to_polygons(mask)
            annotations.append(
                {
                    "id": 1 + len(annotations),
                    "image_id": number,
                    "category_id": category,
                    "segmentation": polygons,
                    "area": int(mask.sum()),
                }
            )
            shape: Any = _code(mask) if label == 2 else polygons
            lists[category].setdefault(file, {"annotations": []})["annotations"].append({"segmentation": shape})
        progress(Update("images of lvis", index + 1, total))
    categories = [{"id": n, "name": name.replace(" ", "_"), "frequency": "r"} for n, name in enumerate(names, 1)]
    write_json(root / "lvis_v1_val.json", {"images": images, "annotations": annotations, "categories": categories})
    with atomic_write(root / "lvis_val.pkl") as stream:
        pickle.dump(lists, stream, protocol=4)


def _code(mask: np.ndarray) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": encode_code(mask)["counts"].decode("ascii")}
