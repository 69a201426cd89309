"""Writes clips in the layout of DAVIS-2017."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from icvos.demo.world.plan import Names, WorldSize, clips, make_clip
from icvos.files import atomic_write, write_json
from icvos.images import write_image
from icvos.masks import write_mask
from icvos.progress import Progress, Update

__all__ = ["write_davis"]


def write_davis(root: Path, size: WorldSize, seed: int, progress: Progress) -> Names:
    """Write images and masks at ``480p``, ``ImageSets/2017`` and ``davis_semantics.json``; return what is what."""
    plan = clips(size, seed, "davis")
    known: Names = {}
    for index, target in plan:
        clip = make_clip(size, seed, "davis", index, target, extra_named=True)
        name = f"{target.replace(' ', '-')}-{index:02d}"
        known[name] = dict(enumerate(clip.names, 1))
        for frame in range(clip.scene.frames):
            image, labels = clip.scene.frame(frame)
            if index % 6 == 5:
                labels = _with_void(labels)
            write_image(root / "JPEGImages/480p" / name / f"{frame:05d}.jpg", image, quality=90)
            write_mask(root / "Annotations/480p" / name / f"{frame:05d}.png", labels, colours=True)
        progress(Update("videos of davis", index + 1, len(plan)))
    names = list(known)
    cut = len(names) - max(1, len(names) // 3)
    for split, part in (("train", names[:cut]), ("val", names[cut:])):
        with atomic_write(root / "ImageSets/2017" / f"{split}.txt", "w") as stream:
            stream.write("".join(f"{name}\n" for name in sorted(part)))
    semantics = {name: {str(label): family for label, family in known[name].items()} for name in sorted(known)}
    write_json(root / "davis_semantics.json", semantics)
    return known


def _with_void(labels: np.ndarray) -> np.ndarray:
    """Return labels with 255 in a band around the first object, where nobody could say (as in DAVIS' tennis)."""
    around = cv2.dilate((labels == 1).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(around & (labels == 0), np.uint8(255), labels)
