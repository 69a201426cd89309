"""DAVIS-2017 (several objects, void, categories in a file of their own) and DAVIS-2016 (one object, {0, 255}).

Layout: ``JPEGImages/480p/<sequence>/00000.jpg``, ``Annotations/480p/<sequence>/00000.png`` (or ``Full-Resolution``),
``ImageSets/2017/{train,val,…}.txt`` (any one of them, or none), ``davis_semantics.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from icvos.errors import MaskError, SourceError, did_you_mean
from icvos.files import read_json
from icvos.listing import folders, listed_names, listing
from icvos.masks import read_mask
from icvos.sources.base import (
    LabelMap,
    SourceFrame,
    SourceVideo,
    VideoSource,
    categories_by_object,
    json_object,
    pair_up,
)

__all__ = ["Davis"]

# test-challenge and test-dev have masks of their first frames only.
SPLITS = ("train", "val", "trainval", "test-dev", "test-challenge")
SEMANTICS = ("davis_semantics.json", "DAVIS-2017_semantics-480p/davis_semantics.json")


class Davis(VideoSource):
    """DAVIS as its authors ship it.

    Args:
        root: The folder with ``JPEGImages`` and ``Annotations``.
        year: 2017, or 2016: one object, whose masks hold 0 and 255.
        resolution: ``480p`` or ``Full-Resolution``; None takes what is there, 480p first.
    """

    title = "DAVIS"
    licence = "DAVIS: CC BY-NC 4.0 (sequences CC 4.0 attribution); https://davischallenge.org"
    keep_unsure = True

    def __init__(self, root: Path, *, year: Literal[2016, 2017] = 2017, resolution: str | None = None) -> None:
        self.root = Path(root)
        self.year = year
        self.id = f"davis{year % 100}"
        self.title = f"DAVIS-{year}"
        resolutions = [
            name for name in ("480p", "Full-Resolution", "1080p") if (self._part("Annotations") / name).is_dir()
        ]
        if resolution is None:
            if not resolutions:
                raise SourceError(
                    f"no {self.title} here", where=self.root, expected="JPEGImages/480p and Annotations/480p"
                )
            resolution = resolutions[0]
        self.resolution = resolution
        for part in ("JPEGImages", "Annotations"):
            if not (self._part(part) / resolution).is_dir():
                raise SourceError("folder not found", where=self._part(part) / resolution)

    def _part(self, name: str) -> Path:
        return self.root / name

    def videos(self) -> list[SourceVideo]:
        annotated = folders(self._part("Annotations") / self.resolution, error=SourceError)
        splits = self._splits()
        names = sorted(set(splits)) if splits else annotated
        for name in names:
            if name not in annotated:
                raise SourceError(
                    f"sequence '{name}' of ImageSets has no masks",
                    where=self._part("Annotations") / self.resolution,
                    fix=did_you_mean(name, annotated),
                )
        semantics = self._semantics(annotated)
        whole = [name for name in names if self._has_all_masks(name)]
        self.left_out = {name: "in no list of ImageSets" for name in annotated if name not in names}
        self.left_out |= {name: "only its first frame has a mask" for name in names if name not in whole}
        return [
            SourceVideo(
                name,
                splits.get(name, ""),
                semantics.get(name, {1: None} if self.year == 2016 else {}),
                all_objects=name in semantics or self.year == 2016,
                fps=24.0,
            )
            for name in whole
        ]

    def _has_all_masks(self, name: str) -> bool:
        # The test splits carry the first mask only; a sequence of one frame alone is still whole.
        masks = listing(self._part("Annotations") / self.resolution / name, (".png",))
        images = self._part("JPEGImages") / self.resolution / name
        return not (len(masks) == 1 and images.is_dir() and len(listing(images)) > 1)

    def _splits(self) -> dict[str, str]:
        """Return the split of each sequence that ImageSets names; nothing where there is no list."""
        out: dict[str, str] = {}
        for split in SPLITS:
            path = self._part("ImageSets") / str(self.year) / f"{split}.txt"
            if not path.is_file():
                continue
            for name in listed_names(path, error=SourceError):
                out.setdefault(name, split)
        return out

    def _semantics(self, annotated: list[str]) -> dict[str, Mapping[int, str | None]]:
        for name in SEMANTICS:
            path = self.root / name
            if path.is_file():
                break
        else:
            return {}
        out: dict[str, Mapping[int, str | None]] = {}
        for sequence, objects in json_object(read_json(path, SourceError), path).items():
            # The official file covers the test sets too, whose masks may not be here.
            if sequence in annotated:
                out[sequence] = categories_by_object(objects, path, "sequence: {object: category}")
        return out

    def frames(self, video: SourceVideo) -> list[SourceFrame]:
        return pair_up(
            self._part("JPEGImages") / self.resolution / video.name,
            self._part("Annotations") / self.resolution / video.name,
            video.name,
        )

    def labels(self, video: SourceVideo, frame: SourceFrame, size: tuple[int, int]) -> LabelMap:
        (path,) = frame.masks
        labels = read_mask(path, size=size)
        if self.year == 2016:
            if ((labels != 0) & (labels != 255) & (labels != 1)).any():
                raise MaskError("mask holds more than one object", where=path, expected="0 and 255 (2016)")
            labels = (labels != 0).astype(np.uint8)
        return LabelMap(labels)
