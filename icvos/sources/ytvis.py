"""YouTube-VIS 2019 and 2021 and OVIS: a COCO-like JSON with one RLE (or polygon, or null) a frame and instance.

Every instance has a category, and all instances of the data set's categories are annotated: an IC-VOS-like benchmark
comes from it without any labels made by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from icvos.errors import MaskError, SourceError
from icvos.files import check_id, read_json
from icvos.masks import Code, code_area, decode_code, merge_codes, segmentation_code
from icvos.sources.base import FrameLabels, SourceFrame, SourceVideo, VideoSource, json_object

__all__ = ["RleFrame", "YouTubeVis"]

JSON = (
    "train.json",
    "train/instances.json",
    "instances.json",
    "train/train.json",
    "annotations_train.json",
    "annotations/annotations_train.json",
    "annotations/train.json",
    "youtube_vis_2019_train.json",
    "youtube_vis_2021_train.json",
    "ovis_train.json",
)
IMAGES = ("train/JPEGImages", "JPEGImages", "train", "train_all_frames/JPEGImages", ".")


class RleFrame(FrameLabels):
    """Objects as run-length codes, which may overlap.

    Args:
        size: (H, W).
        codes: Compressed run lengths of each object.
    """

    def __init__(self, size: tuple[int, int], codes: dict[int, Code]) -> None:
        self.size = size
        self.codes = codes
        self._areas = {number: code_area(code) for number, code in codes.items()}

    def areas(self) -> dict[int, int]:
        return {number: area for number, area in self._areas.items() if area}

    @property
    def void(self) -> int:
        return 0

    def union(self, objects: Iterable[int]) -> np.ndarray:
        codes = [self.codes[number] for number in objects if number in self.codes]
        if not codes:
            return np.zeros(self.size, np.uint8)
        return decode_code(merge_codes(codes))


class YouTubeVis(VideoSource):
    """YouTube-VIS or OVIS as their authors ship them; the training split, as only it has public masks.

    Args:
        root: The folder with the JSON file and the images.
        name: ``ytvis`` or ``ovis``.
    """

    def __init__(self, root: Path, *, name: str = "ytvis") -> None:
        self.root = Path(root)
        self.id = name
        self.title = "OVIS" if name == "ovis" else "YouTube-VIS"
        page = "http://songbai.site/ovis" if name == "ovis" else "https://youtube-vos.org/dataset/vis"
        self.licence = f"{self.title}: non-commercial research (annotations CC BY 4.0 or as its page says); {page}"
        files = [self.root / path for path in JSON if (self.root / path).is_file()]
        if not files:
            raise SourceError(f"no {self.title} here", where=self.root, expected=" or ".join(JSON[:3]))
        self.json = files[0]
        self.images: Path | None = None

    def videos(self) -> list[SourceVideo]:
        data = json_object(read_json(self.json, SourceError), self.json)
        names = {entry["id"]: str(entry["name"]) for entry in self._list(data, "categories", ("id", "name"))}
        videos = self._list(data, "videos", ("id", "width", "height", "file_names"))
        tracks: dict[Any, list[dict[str, Any]]] = {}
        for entry in self._list(data, "annotations", ("id", "video_id", "category_id", "segmentations")):
            if entry["category_id"] not in names:
                raise SourceError(f"annotation {entry['id']} has an unknown category", where=self.json)
            tracks.setdefault(entry["video_id"], []).append(entry)
        unknown = set(tracks) - {entry["id"] for entry in videos}
        if unknown:
            raise SourceError(f"annotations of an unknown video {min(map(str, unknown))}", where=self.json)
        out = [self._video(entry, tracks.get(entry["id"], []), names) for entry in videos]
        return sorted(out, key=lambda video: video.name)

    def _list(self, data: dict[str, Any], key: str, fields: tuple[str, ...]) -> list[dict[str, Any]]:
        value = data.get(key)
        if not isinstance(value, list):
            raise SourceError(
                f"'{key}' is missing", where=self.json, expected="the training split, which has annotations"
            )
        for entry in value:
            missing = [field for field in fields if field not in json_object(entry, self.json)]
            if missing:
                raise SourceError(f"an entry of '{key}' has no '{missing[0]}'", where=self.json)
        return value

    def _video(self, entry: dict[str, Any], tracks: list[dict[str, Any]], names: dict[Any, str]) -> SourceVideo:
        files = [PurePosixPath(str(name)) for name in entry["file_names"]]
        if not files or any(len(file.parts) < 2 or ".." in file.parts or file.is_absolute() for file in files):
            raise SourceError(
                f"video {entry['id']} has no usable file names", where=self.json, expected="video/00000.jpg"
            )
        name = check_id(files[0].parts[-2], "video name")
        masks: dict[int, list[Any]] = {}
        objects: dict[int, str | None] = {}
        for track in tracks:
            if not isinstance(track["segmentations"], list) or len(track["segmentations"]) != len(files):
                raise SourceError(
                    f"annotation {track['id']} of {name} does not cover its frames",
                    where=self.json,
                    expected=f"{len(files)} segmentations, null where it is not seen",
                )
            if not track.get("iscrowd"):
                number = int(track["id"])
                objects[number], masks[number] = names[track["category_id"]], track["segmentations"]
        # A crowd is instances that nobody told apart: what is left is not all.
        crowd = any(track.get("iscrowd") for track in tracks)
        size = (int(entry["height"]), int(entry["width"]))
        detail = (tuple(map(str, files)), masks, size)
        return SourceVideo(name, "train", objects, True, "unsure" if crowd else "yes", detail=detail)

    def frames(self, video: SourceVideo) -> list[SourceFrame]:
        files, _, _ = video.detail
        root = self._image_root(files[0])
        missing = [file for file in files if not (root / file).is_file()]
        if missing:
            raise SourceError(f"{len(missing)} frames of {video.name} are missing", where=root / missing[0])
        return [SourceFrame(PurePosixPath(file).stem, root / file) for file in files]

    def _image_root(self, file: str) -> Path:
        if self.images is None or not (self.images / file).is_file():
            roots = [self.root / folder for folder in IMAGES if (self.root / folder / file).is_file()]
            if not roots:
                raise SourceError(
                    f"frame {file} not found", where=self.root, expected="it in " + " or ".join(IMAGES[:3])
                )
            self.images = roots[0]
        return self.images

    def labels(self, video: SourceVideo, frame: SourceFrame, size: tuple[int, int]) -> RleFrame:
        files, masks, said = video.detail
        if size != said:
            raise SourceError(
                f"frame is {size[0]}x{size[1]} (HxW)",
                where=frame.image,
                expected=f"{said[0]}x{said[1]}, as the JSON says",
            )
        index = next(i for i, file in enumerate(files) if PurePosixPath(file).stem == frame.name)
        tracked = {number: track[index] for number, track in masks.items() if track[index]}
        codes = {number: _code(value, size, frame, self.json) for number, value in tracked.items()}
        return RleFrame(size, {number: code for number, code in codes.items() if code is not None})


def _code(value: Any, size: tuple[int, int], frame: SourceFrame, path: Path) -> Code | None:
    """Return a segmentation as ``masks.segmentation_code``; what is wrong with it is a MaskError."""
    try:
        if isinstance(value, dict) and tuple(value["size"]) != size:
            raise MaskError(
                f"RLE of frame {frame.name} is {'x'.join(map(str, value['size']))}",
                where=path,
                expected=f"{size[0]}x{size[1]}",
            )
        return segmentation_code(value, size)
    except (KeyError, TypeError, ValueError) as problem:
        raise MaskError(
            f"mask of frame {frame.name} is broken ({problem})", where=path, expected="RLE or polygons"
        ) from None
