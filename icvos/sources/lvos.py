"""LVOS v1 and v2: ``{train,val}/JPEGImages/<video>/00000001.jpg``, ``…/Annotations/<video>/00000001.png``.

Eight digits from 00000001 in steps of 5. ``<split>_meta.json`` (or ``valid_meta.json``, ``meta.json``) gives each
object's range of frames, whose numbers may be strings and whose end is exclusive; objects may start late. 255 is void.
The test split has first masks only. Nothing says what the objects are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icvos.errors import SourceError
from icvos.files import read_json
from icvos.listing import folders
from icvos.sources.annotations import whole_number
from icvos.sources.base import SourceFrame, SourceVideo, VideoSource, by_object, json_object, pair_up

__all__ = ["Lvos", "read_spans"]

# Split: the folders it may be called.
SPLITS = {"train": ("train",), "val": ("val", "valid")}


class Lvos(VideoSource):
    """LVOS as its authors ship it.

    Args:
        root: The folder with ``train`` and ``val`` (or one of them).
    """

    id = "lvos"
    title = "LVOS"
    licence = "LVOS: annotations CC BY 4.0, data for non-commercial research; https://github.com/LingyiHongfd/LVOS"

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.splits = {
            split: self.root / name
            for split, names in SPLITS.items()
            for name in names
            if (self.root / name / "Annotations").is_dir()
        }
        if not self.splits:
            raise SourceError(
                "no LVOS here", where=self.root, expected="train/Annotations/<video> or val/Annotations/<video>"
            )
        for folder in self.splits.values():
            if not (folder / "JPEGImages").is_dir():
                raise SourceError("folder not found", where=folder / "JPEGImages")

    def videos(self) -> list[SourceVideo]:
        out = []
        for split, folder in self.splits.items():
            meta = self._meta(split, folder)
            for name in folders(folder / "Annotations", error=SourceError):
                spans = meta.get(name)
                # The annotations are at 6 frames a second, every fifth of 30.
                out.append(
                    SourceVideo(name, split, dict.fromkeys(spans or ()), spans is not None, fps=6.0, spans=spans or {})
                )
        return sorted(out, key=lambda video: video.name)

    def _meta(self, split: str, folder: Path) -> dict[str, dict[int, tuple[int, int]]]:
        names = (f"{folder.name}_meta.json", f"{split}_meta.json", "valid_meta.json", "meta.json")
        for base in (folder, self.root):
            spans = read_spans(base, names if split == "val" else (names[0], "meta.json"))
            if spans is not None:
                return spans
        return {}

    def frames(self, video: SourceVideo) -> list[SourceFrame]:
        folder = self.splits[video.split]
        return pair_up(folder / "JPEGImages" / video.name, folder / "Annotations" / video.name, video.name)


def read_spans(
    folder: Path, names: Sequence[str] = ("val_meta.json", "valid_meta.json", "meta.json")
) -> dict[str, dict[int, tuple[int, int]]] | None:
    """Return each object's frames [start, end) of each video by the first of some files that a folder has, or None.

    Raises:
        SourceError: The file is broken.
    """
    return next((_read_meta(folder / name) for name in names if (folder / name).is_file()), None)


def _read_meta(path: Path) -> dict[str, dict[int, tuple[int, int]]]:
    """Return each object's frames [start, end) of each video."""
    videos = json_object(json_object(read_json(path, SourceError), path).get("videos"), path, "videos")
    out: dict[str, dict[int, tuple[int, int]]] = {}
    for name, entry in videos.items():
        objects = json_object(json_object(entry, path).get("objects"), path, "objects of each video")
        numbers = by_object(sorted(objects), path)
        out[name] = {number: _span(objects[key], name, path) for number, key in numbers.items()}
    return out


def _span(value: Any, video: str, path: Path) -> tuple[int, int]:
    entry: Mapping[str, Any] = json_object(value, path)
    span = json_object(entry.get("frame_range", entry), path, "frame_range of each object")
    start, end = whole_number(span.get("start")), whole_number(span.get("end"))
    if start is None or end is None:
        raise SourceError(
            f"frame_range of an object of {video} is broken", where=path, expected="start and end, whole numbers"
        )
    if end < start:
        raise SourceError(f"an object of {video} ends before it starts", where=path, expected="start <= end")
    return start, end
