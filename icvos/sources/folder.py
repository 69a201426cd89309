"""Videos of one's own: ``VIDEO/frames`` with images, and ``VIDEO/masks`` in one of two forms.

``VIDEO/masks/CLASS/<frame>.png``: a mask a class, where one value that is not 0 is the thing; CLASS is the name of a
category, and every annotated frame has a mask of each. Or ``VIDEO/masks/<frame>.png``: label masks of objects, where
255 is void, save where the first that is not empty holds 0 and 255 alone: there it is object 1. What the objects are
stands in ``VIDEO/names.json``, as ``{"1": "dog", "2": "person"}``, or in ``names.json`` beside the videos, for all of
them or as ``{VIDEO: {"1": "dog"}}``.
A mask is called as its frame is, or is the same number. Frames without a mask are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np

from icvos.errors import MaskError, SourceError, did_you_mean
from icvos.files import read_json
from icvos.listing import files_by_stem, folders, frame_files, listing
from icvos.masks import is_0_or_255, is_grey, read_header, read_mask
from icvos.sources.base import (
    IMAGES,
    FrameLabels,
    LabelMap,
    SourceFrame,
    SourceVideo,
    VideoSource,
    categories_by_object,
    images_of,
    json_object,
    pair_up,
    read_class_masks,
)

__all__ = ["Folder"]

LAYOUT = "VIDEO/frames, and VIDEO/masks/CLASS, or VIDEO/masks with VIDEO/names.json"
Names = Mapping[int, str | None]


class Folder(VideoSource):
    """Videos of one's own.

    Args:
        root: The folder of the videos.
    """

    id = "folder"
    title = "videos of a folder"
    licence = "as their owner says"
    keep_unsure = True
    named_by = "names.json or a recipe"

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise SourceError("folder not found", where=self.root, expected=LAYOUT)

    def videos(self) -> list[SourceVideo]:
        if {"frames", "masks"} <= set(folders(self.root, error=SourceError)):
            raise SourceError(
                "this is a video, not a folder of videos", where=self.root, fix="give the folder above it"
            )
        names = self._names()
        videos, left_out = [], {}
        for name in folders(self.root, error=SourceError):
            video = self._video(name, names)
            images, annotated = len(listing(self.root / name / "frames", IMAGES)), len(self.frames(video))
            if annotated < images:
                left_out[name] = f"{images - annotated} of {images} frames have no mask"
            videos.append(video)
        self.left_out = left_out
        if not videos:
            raise SourceError("no videos here", where=self.root, expected=LAYOUT)
        return videos

    def _video(self, name: str, names: Mapping[str, Names]) -> SourceVideo:
        frames, masks = self.root / name / "frames", self.root / name / "masks"
        if not frames.is_dir() or not masks.is_dir():
            raise SourceError(f"'{name}' is no video", where=self.root / name, expected="frames and masks in it")
        if (masks / "names.json").exists():
            raise SourceError("names.json lies among the masks", where=masks, expected="it beside frames and masks")
        classes, labels = folders(masks, error=SourceError), listing(masks, (".png",))
        if classes and labels:
            raise SourceError("masks of classes and of objects are mixed", where=masks, expected=LAYOUT)
        if classes:
            return SourceVideo(
                name, "", dict(enumerate(classes, 1)), all_objects=True, complete="yes", detail="classes"
            )
        said = names.get(name, names.get("", {}))
        if _is_binary(labels):
            return SourceVideo(name, "", {1: said.get(1)}, all_objects=True, detail="binary")
        return SourceVideo(name, "", said, all_objects=bool(said), detail="labels")

    def _names(self) -> dict[str, Names]:
        """Return the objects' categories by video, under "" those of all videos that have none of their own."""
        videos = folders(self.root, error=SourceError)
        out: dict[str, Names] = {}
        path = self.root / "names.json"
        if path.is_file():
            content = json_object(read_json(path, SourceError), path)
            nested = {video: value for video, value in content.items() if isinstance(value, dict)}
            if nested and len(nested) != len(content):
                raise SourceError(
                    "videos and objects are mixed", where=path, expected='{"1": "dog"} or {VIDEO: {"1": "dog"}}'
                )
            out = {} if nested else {"": _read_names(content, path)}
            for key, each in nested.items():
                video = _video_called(key, videos, path)
                if video in out:
                    raise SourceError(f"video '{video}' is there twice", where=path, expected="each once")
                out[video] = _read_names(each, path)
        for video in videos:
            path = self.root / video / "names.json"
            if path.is_file():
                out[video] = _read_names(read_json(path, SourceError), path)
        return out

    def frames(self, video: SourceVideo) -> list[SourceFrame]:
        images, masks = self.root / video.name / "frames", self.root / video.name / "masks"
        if video.detail != "classes":
            return pair_up(images, masks, video.name, all_masks=False)
        parts = {str(name): masks / str(name) for name in video.objects.values()}
        pictures = frame_files(images, IMAGES, error=SourceError)
        files: dict[str, dict[str, Path]] = {}
        for name, part in parts.items():
            stems = files_by_stem(part, (".png",), error=SourceError)
            named = images_of(list(stems), list(pictures), video.name, images)
            files[name] = {named[stem]: path for stem, path in stems.items()}
        annotated = [stem for stem in pictures if any(stem in there for there in files.values())]
        if not annotated:
            raise SourceError(f"{video.name} has no mask", where=masks, expected=".png files, named as the frames are")
        for name, there in files.items():
            missing = [stem for stem in annotated if stem not in there]
            if missing:
                raise SourceError(
                    f"frame {missing[0]} of {video.name} has no mask of '{name}'",
                    where=masks / name,
                    expected="one for each frame that has any, empty where the thing is not seen",
                )
        return [SourceFrame(stem, pictures[stem], tuple(there[stem] for there in files.values())) for stem in annotated]

    def labels(self, video: SourceVideo, frame: SourceFrame, size: tuple[int, int]) -> FrameLabels:
        if video.detail == "classes":
            return read_class_masks(video, frame, size)
        (path,) = frame.masks
        labels = read_mask(path, size=size)
        if video.detail == "binary":
            if ((labels != 0) & (labels != 255)).any():
                raise MaskError(
                    "mask holds other values", where=path, expected="0 and 255, as the video's first that is not empty"
                )
            labels = (labels != 0).view(np.uint8)
        return LabelMap(labels)


def _video_called(key: str, videos: Sequence[str], path: Path) -> str:
    """Return the video of a name, whose letters may be composed in another way: macOS writes é as e and an accent."""
    same = [video for video in videos if normalize("NFC", video) == normalize("NFC", key)]
    if key not in videos and len(same) != 1:
        raise SourceError(f"there is no video '{key}'", where=path, fix=did_you_mean(key, videos))
    return key if key in videos else same[0]


def _read_names(content: object, path: Path) -> Names:
    return categories_by_object(content, path, 'names by object id, as {"1": "dog"}')


def _is_binary(masks: Iterable[Path]) -> bool:
    for path in masks:
        labels = read_mask(path)
        if labels.any():
            return is_0_or_255(labels) and is_grey(read_header(path))
    return False
