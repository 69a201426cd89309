"""YouTube-VIS 2019 and 2021 and OVIS: a COCO-like JSON with one RLE (or polygon, or null) a frame and instance.

Every instance has a category, and all instances of the data set's categories are annotated: an IC-VOS-like benchmark
comes from it without any labels made by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from icvos.errors import SourceError, are, counted
from icvos.masks import LARGEST_SIDE, Code, code_area, decode_code, merge_codes, segmentation_code
from icvos.sources.annotations import Entry, by_id, read_annotations, relative_file
from icvos.sources.base import FrameLabels, SourceFrame, SourceVideo, VideoSource

__all__ = ["CATEGORIES_2019", "RleFrame", "VisVideo", "YouTubeVis", "video_files", "video_names"]

K = TypeVar("K")

CATEGORIES_2019 = (
    *("person", "giant_panda", "lizard", "parrot", "skateboard", "sedan", "ape", "dog", "snake", "monkey"),
    *("hand", "rabbit", "duck", "cat", "cow", "fish", "train", "horse", "turtle", "bear"),
    *("motorbike", "giraffe", "leopard", "fox", "deer", "owl", "surfboard", "airplane", "truck", "zebra"),
    *("tiger", "elephant", "snowboard", "boat", "shark", "mouse", "frog", "eagle", "earless_seal", "tennis_racket"),
)
"""Of YouTube-VIS 2019 by their ids, 1 to 40; those of 2021 are others."""

JSON = (
    "train.json",
    "train/instances.json",
    "instances.json",
    "train/train.json",
    "annotations_train.json",
    "annotations/annotations_train.json",
    "annotations/train.json",
    "annotations/instances.json",
    "annotations/instances_train.json",
    "annotations/youtube_vis_2019_train.json",
    "annotations/youtube_vis_2021_train.json",
    "annotations/ovis_train.json",
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

    def union_area(self, objects: Iterable[int]) -> int:
        """Return the pixels of ``union``, which is not decoded for it."""
        codes = [self.codes[number] for number in objects if number in self.codes]
        return code_area(merge_codes(codes)) if codes else 0


@dataclass(frozen=True)
class VisVideo:
    """What the JSON says of a video: the ``detail`` of its ``SourceVideo``.

    Attributes:
        id: Its own.
        files: Of its frames, relative to the images' folder.
        tracks: Annotations by their id, an instance each.
        size: (H, W).
        kept: Indices of the frames that the video is cut to; None for all.
    """

    id: int | str
    files: tuple[str, ...]
    tracks: Mapping[int, Entry]
    size: tuple[int, int]
    kept: tuple[int, ...] | None = None

    def objects(self, category: int) -> tuple[int, ...]:
        """Return the ids of a category's instances, ascending."""
        return tuple(sorted(n for n, track in self.tracks.items() if track.integer("category_id") == category))

    def annotated(self, category: int) -> tuple[int, ...]:
        """Return the indices of the frames on which a category has an annotation: anything but null."""
        tracks = [self.tracks[number].values("segmentations") for number in self.objects(category)]
        return tuple(i for i in range(len(self.files)) if any(track[i] is not None for track in tracks))


class YouTubeVis(VideoSource):
    """YouTube-VIS or OVIS as their authors ship them; the training split, as only it has public masks.

    Args:
        root: The folder with the JSON file and the images.
        name: ``ytvis`` or ``ovis``.
        crowds: Whether annotations that are marked as crowds are objects like others; they are left out otherwise.

    Attributes:
        categories: Names of the JSON's categories by their ids; known after ``videos`` was called.
    """

    def __init__(self, root: Path, *, name: str = "ytvis", crowds: bool = False) -> None:
        self.root = Path(root)
        self.id = name
        self.crowds = crowds
        self.categories: dict[int, str] = {}
        self.title = "OVIS" if name == "ovis" else "YouTube-VIS"
        page = "http://songbai.site/ovis" if name == "ovis" else "https://youtube-vos.org/dataset/vis"
        self.licence = f"{self.title}: non-commercial research (annotations CC BY 4.0 or as its page says); {page}"
        files = [self.root / path for path in JSON if (self.root / path).is_file()]
        if not files:
            raise SourceError(f"no {self.title} here", where=self.root, expected=" or ".join(JSON[:3]))
        self.json = files[0]
        self.images: Path | None = None

    def videos(self) -> list[SourceVideo]:
        kinds = {"categories": "category", "videos": "video", "annotations": "annotation"}
        lists = read_annotations(self.json, kinds, expected="the training split, which has annotations")
        names = {number: entry.name() for number, entry in by_id(lists["categories"])}
        self.categories = names
        videos = dict(by_id(lists["videos"]))
        tracks: dict[int, dict[int, Entry]] = {}
        for number, entry in by_id(lists["annotations"]):
            if entry.integer("category_id") not in names:
                raise entry.problem("category_id", "a category of the file")
            if entry.integer("video_id") not in videos:
                raise entry.problem("video_id", "a video of the file")
            tracks.setdefault(entry.integer("video_id"), {})[number] = entry
        files = {number: video_files(entry) for number, entry in videos.items()}
        called = video_names(files, self.json)
        out = [
            self._video(called[number], number, entry, files[number], tracks.get(number, {}))
            for number, entry in videos.items()
        ]
        return sorted(out, key=lambda video: video.name)

    def _video(
        self, name: str, number: int | str, entry: Entry, files: list[PurePosixPath], tracks: dict[int, Entry]
    ) -> SourceVideo:
        shown: dict[int, Entry] = {}
        objects: dict[int, str | None] = {}
        for track_id, track in tracks.items():
            if len(track.values("segmentations")) != len(files):
                raise track.problem("segmentations", f"{len(files)}, one a frame of {name}: null where it is not seen")
            if self.crowds or not track.flag("iscrowd"):
                objects[track_id], shown[track_id] = self.categories[track.integer("category_id")], track
        # A crowd is instances that nobody told apart: what is left is not all.
        crowd = any(track.flag("iscrowd") for track in tracks.values())
        size = (entry.integer("height", least=1, most=LARGEST_SIDE), entry.integer("width", least=1, most=LARGEST_SIDE))
        detail = VisVideo(number, tuple(map(str, files)), shown, size)
        return SourceVideo(name, "train", objects, True, "unsure" if crowd else "yes", detail=detail)

    def frames(self, video: SourceVideo) -> list[SourceFrame]:
        detail: VisVideo = video.detail
        root = self._image_root(detail.files[0])
        indices = range(len(detail.files)) if detail.kept is None else detail.kept
        paths = {index: root / detail.files[index] for index in indices}
        missing = [path for path in paths.values() if not path.is_file()]
        if missing:
            raise SourceError(
                f"{counted(len(missing), 'frames')} of {video.name} {are(len(missing))} missing", where=missing[0]
            )
        return [SourceFrame(path.stem, path, index=index) for index, path in paths.items()]

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
        detail: VisVideo = video.detail
        if size != detail.size:
            raise SourceError(
                f"frame is {size[0]}x{size[1]} (HxW)",
                where=frame.image,
                expected=f"{detail.size[0]}x{detail.size[1]}, as the JSON says",
            )
        codes = {number: _code(track, frame.index, detail.files, size) for number, track in detail.tracks.items()}
        return RleFrame(size, {number: code for number, code in codes.items() if code is not None})


def video_files(entry: Entry) -> list[PurePosixPath]:
    """Return a video's frames as the JSON names them."""
    files = [relative_file(entry, name, "file_names") for name in entry.values("file_names")]
    if not files or any(len(file.parts) < 2 for file in files):
        raise entry.problem("file_names", "video/00000.jpg, …")
    return files


def video_names(files: Mapping[K, list[PurePosixPath]], where: Path) -> dict[K, str]:
    """Return each video's name: the folder of its frames or, where those of several are called the same, the one above.

    ``VIDEO/00000.jpg`` and ``VIDEO/img1/00000.jpg`` are of VIDEO. Where frames lie in several folders, the one around
    them counts.

    Args:
        files: Of each video.
        where: The annotation file, for messages.

    Raises:
        SourceError: Two videos have their frames in one folder.
    """
    parents = {number: sorted({str(file.parent) for file in each}) for number, each in files.items()}
    folders = {number: PurePosixPath(commonpath(each) or each[0]).parts for number, each in parents.items()}
    while len({folder[-1] for folder in folders.values()}) == 1 < len(set(folders.values())):
        if min(map(len, folders.values())) == 1:
            break
        folders = {number: folder[:-1] for number, folder in folders.items()}
    last = {number: folder[-1] for number, folder in folders.items()}
    if len(set(last.values())) == len(last):
        return last
    names = {number: "/".join(folder) for number, folder in folders.items()}
    if len(set(names.values())) != len(names):
        twice = next(name for name, count in Counter(names.values()).items() if count > 1)
        raise SourceError(f"two videos have their frames in '{twice}'", where=where, expected="a folder each")
    return names


def _code(track: Entry, index: int, files: Sequence[str], size: tuple[int, int]) -> Code | None:
    """Return a track's pixels in a frame, or None where it is not seen (null) or encloses nothing."""
    value = track.values("segmentations")[index]
    try:
        return None if value is None else segmentation_code(value, size)
    except ValueError as problem:
        raise track.broken("segmentations", f"{files[index]}: {problem}") from None
