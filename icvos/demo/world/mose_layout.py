"""Writes clips in the layouts of MOSE and LVOS v2, which say no category of any object."""

from __future__ import annotations

from pathlib import Path

from icvos.demo.world.plan import Names, WorldSize, clips, make_clip
from icvos.files import write_json
from icvos.images import write_image
from icvos.masks import write_mask
from icvos.progress import Progress, Update

__all__ = ["write_lvos", "write_mose"]


def write_mose(root: Path, size: WorldSize, seed: int, progress: Progress) -> Names:
    """Write ``train/JPEGImages/<8 hex>/00000.jpg`` and the same under ``Annotations``; return what is what."""
    known: Names = {}
    plan = clips(size, seed, "mose")
    for index, target in plan:
        clip = make_clip(size, seed, "mose", index, target, extra_named=True)
        name = f"{(0x1CCA + 0x9E3779B1 * (index + 1)) & 0xFFFFFFFF:08x}"
        known[name] = dict(enumerate(clip.names, 1))
        for frame in range(clip.scene.frames):
            image, labels = clip.scene.frame(frame)
            write_image(root / "train/JPEGImages" / name / f"{frame:05d}.jpg", image, quality=90)
            write_mask(root / "train/Annotations" / name / f"{frame:05d}.png", labels, colours=True)
        progress(Update("videos of mose", index + 1, len(plan)))
    return known


def write_lvos(root: Path, size: WorldSize, seed: int, progress: Progress) -> Names:
    """Write ``{train,valid}/JPEGImages/<8 letters>/00000001.jpg`` (every fifth frame), masks and ``*_meta.json``."""
    known: Names = {}
    plan = clips(size, seed, "lvos")
    cut = len(plan) - len(plan) // 3
    for split, part in (("train", plan[:cut]), ("valid", plan[cut:])):
        videos: dict[str, dict] = {}
        for index, target in part:
            clip = make_clip(size, seed, "lvos", index, target, extra_named=True)
            name = _letters(index)
            known[name] = dict(enumerate(clip.names, 1))
            seen: dict[int, list[int]] = {}
            for frame in range(clip.scene.frames):
                image, labels = clip.scene.frame(frame)
                number = 1 + 5 * frame
                write_image(root / split / "JPEGImages" / name / f"{number:08d}.jpg", image, quality=90)
                write_mask(root / split / "Annotations" / name / f"{number:08d}.png", labels, colours=True)
                for label in known[name]:
                    if (labels == label).any():
                        seen.setdefault(label, []).append(number)
            videos[name] = {
                "objects": {
                    str(label): {
                        "frame_range": {
                            "start": str(numbers[0]),
                            "end": str(numbers[-1] + 5),
                            "frame_nums": str(len(numbers)),
                        }
                    }
                    for label, numbers in sorted(seen.items())
                }
            }
            progress(Update("videos of lvos", index + 1, len(plan)))
        if part:
            write_json(root / split / f"{split}_meta.json", {"videos": videos})
    return known


def _letters(index: int) -> str:
    """Return eight capitals and digits, as LVOS names its videos."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    number = (index + 1) * 0x9E3779B97F4A7C15 % 36**8
    return "".join(alphabet[number // 36**digit % 36] for digit in range(8))
