"""Writes clips in the layout of SA-Co/VEval: phrases that were asked, masklets, and phrases verified to be absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from icvos.categories import COCO80
from icvos.demo.world.plan import Clip, WorldSize, cast_of, make_clip
from icvos.files import write_json
from icvos.images import write_image
from icvos.masks import encode_code, mask_box
from icvos.progress import Progress, Update

__all__ = ["write_saco"]

ROLES = 3
"""Videos that each phrase is the target of, at least."""
UNASKED = 4
"""Of so many absent phrases one is not asked."""


def write_saco(root: Path, size: WorldSize, seed: int, progress: Progress) -> None:
    """Write ``annotation/saco_veval_smartglasses_test.json`` and ``media/saco_sg/JPEGImages_6fps/<video>/00000.jpg``.

    The list of phrases is longer than what is asked, as the real one is. A phrase that is in no annotation of a video
    is asked there as an absent one, or is not asked.
    """
    count = 2 * max(ROLES, size.clips["mose"])
    targets = list(cast_of(size))[: count // ROLES]
    number = {name: 7 + 13 * index for index, name in enumerate(COCO80.names)}
    content: dict[str, list[dict[str, Any]]] = {"videos": [], "annotations": [], "video_np_pairs": []}
    for index in range(count):
        clip = make_clip(size, seed, "saco", index, targets[index % len(targets)], extra_named=False)
        tracks = _write_frames(root / "media/saco_sg/JPEGImages_6fps" / _name(index), clip)
        height, width = clip.scene.size
        file_names = [f"{_name(index)}/{frame:05d}.jpg" for frame in range(clip.scene.frames)]
        video = {"id": index, "video_name": _name(index), "file_names": file_names}
        content["videos"].append({**video, "height": height, "width": width, "length": len(file_names)})
        seen = {
            name: [track for label, track in tracks.items() if clip.names[label - 1] == name] for name in clip.names
        }
        asked = {name: masklets for name, masklets in sorted(seen.items()) if masklets}
        absent = [
            name for name in targets if name not in seen and (index + targets.index(name)) % UNASKED != UNASKED - 1
        ]
        for name in (*asked, *absent):
            of = {"video_id": index, "category_id": number[name], "noun_phrase": f"a {name}"}
            masklets = asked.get(name, [])
            pairs, annotations = content["video_np_pairs"], content["annotations"]
            pairs.append({"id": 3 * len(pairs), **of, "num_masklets": len(masklets)})
            for masklet in masklets:
                annotations.append({"id": 1 + len(annotations), **of, "height": height, "width": width, **masklet})
        progress(Update("videos of saco", index + 1, count))
    info = {"version": "v1", "date": "2025-09-24", "description": "icvos demo world"}
    categories = [{"id": number[name], "name": _phrase(name)} for name in COCO80.names]
    path = root / "annotation" / "saco_veval_smartglasses_test.json"
    write_json(path, {"info": info, **content, "categories": categories})


def _phrase(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _name(index: int) -> str:
    return f"saco_sg_{100 + 37 * index:06d}"


def _write_frames(folder: Path, clip: Clip) -> dict[int, dict[str, Any]]:
    """Write a clip's frames; return the masklet of each label that is seen, with null where it is not."""
    count = clip.scene.frames
    tracks: dict[int, dict[str, Any]] = {}
    for frame in range(count):
        image, labels = clip.scene.frame(frame)
        write_image(folder / f"{frame:05d}.jpg", image, quality=90)
        for label in range(1, len(clip.names) + 1):
            box = mask_box(labels == label)
            if box is None:
                continue
            track = tracks.setdefault(
                label,
                {"segmentations": [None] * count, "bboxes": [None] * count, "areas": [None] * count, "iscrowd": 0},
            )
            code = encode_code(labels == label)
            track["segmentations"][frame] = {"counts": code["counts"].decode("ascii"), "size": list(labels.shape)}
            track["bboxes"][frame] = [float(box[0]), float(box[1]), box[2] - box[0] + 1.0, box[3] - box[1] + 1.0]
            track["areas"][frame] = float(np.count_nonzero(labels == label))
    return dict(sorted(tracks.items()))
