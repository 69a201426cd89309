"""Videos of one's own: ``VIDEO/frames`` with images, and ``VIDEO/masks`` in one of two forms.

``VIDEO/masks/CLASS/<frame>.png``: a mask a class, whatever is not 0 is the thing; CLASS is the name of a category. Or
``VIDEO/masks/<frame>.png``: label masks of objects, 255 is void, with ``names.json`` beside the videos:
``{"1": "dog", "2": "person"}`` for all of them, or ``{VIDEO: {"1": "dog"}}``. Frames without a mask are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from icvos.errors import SourceError
from icvos.files import read_json
from icvos.listing import files_by_stem, folders, frame_files, listing, path_of_stem
from icvos.masks import read_mask
from icvos.sources.base import (
    ClassMasksOfFrame,
    FrameLabels,
    SourceFrame,
    SourceVideo,
    VideoSource,
    json_object,
    object_id,
    pair_up,
)

__all__ = ["Folder"]

LAYOUT = "VIDEO/frames, and VIDEO/masks/CLASS or VIDEO/masks with names.json"


class Folder(VideoSource):
    """Videos of one's own.

    Args:
        root: The folder of the videos.
    """

    id = "folder"
    title = "videos of a folder"
    licence = "as their owner says"
    keep_unsure = True

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise SourceError("folder not found", where=self.root, expected=LAYOUT)

    def videos(self) -> list[SourceVideo]:
        names = self._names()
        videos = []
        for video in folders(self.root):
            masks = self.root / video / "masks"
            if not (self.root / video / "frames").is_dir() or not masks.is_dir():
                raise SourceError(f"'{video}' is no video", where=self.root / video, expected="frames and masks in it")
            classes = folders(masks)
            if classes and listing(masks, (".png",)):
                raise SourceError("masks of classes and of objects are mixed", where=masks, expected=LAYOUT)
            if classes:
                objects: Mapping[int, str | None] = dict(enumerate(classes, 1))
                videos.append(SourceVideo(video, "", objects, all_objects=True, complete="yes", detail=classes))
            else:
                videos.append(SourceVideo(video, "", names.get(video, names.get("", {})), all_objects=bool(names)))
        if not videos:
            raise SourceError("no videos here", where=self.root, expected=LAYOUT)
        return videos

    def _names(self) -> dict[str, Mapping[int, str | None]]:
        """Return the objects' categories by video, under "" those of all videos that have none of their own."""
        path = self.root / "names.json"
        if not path.is_file():
            return {}
        content = json_object(read_json(path, SourceError), path)
        nested = {video: value for video, value in content.items() if isinstance(value, dict)}
        if nested and len(nested) != len(content):
            raise SourceError(
                "videos and objects are mixed", where=path, expected='{"1": "dog"} or {VIDEO: {"1": "dog"}}'
            )
        unknown = sorted(set(nested) - set(folders(self.root)))
        if unknown:
            raise SourceError(f"there is no video '{unknown[0]}'", where=path)
        entries = nested or {"": content}
        return {
            video: {object_id(key, path): str(name) for key, name in each.items()} for video, each in entries.items()
        }

    def frames(self, video: SourceVideo) -> list[SourceFrame]:
        images, masks = self.root / video.name / "frames", self.root / video.name / "masks"
        if video.detail is None:
            return pair_up(images, masks, video.name, all_masks=False)
        stems = {name: set(files_by_stem(masks / name, (".png",), error=SourceError)) for name in video.detail}
        annotated = set().union(*stems.values())
        for name, there in stems.items():
            if annotated - there:
                raise SourceError(
                    f"frame {min(annotated - there)} of {video.name} has no mask of '{name}'",
                    where=masks / name,
                    expected="one for each frame that has any, empty where the thing is not seen",
                )
        pictures = frame_files(images, (".jpg", ".jpeg", ".png"), error=SourceError)
        extra = sorted(annotated - set(pictures))
        if extra:
            raise SourceError(f"mask {extra[0]} of {video.name} has no image", where=images)
        first = masks / video.detail[0]
        return [
            SourceFrame(stem, path, path_of_stem(first, stem, ".png"))
            for stem, path in pictures.items()
            if stem in annotated
        ]

    def labels(self, video: SourceVideo, frame: SourceFrame, size: tuple[int, int]) -> FrameLabels:
        if video.detail is None:
            return super().labels(video, frame, size)
        masks = self.root / video.name / "masks"
        files = {number: path_of_stem(masks / str(name), frame.name, ".png") for number, name in video.objects.items()}
        return ClassMasksOfFrame(
            {number: (read_mask(path, size=size) != 0).astype(np.uint8) for number, path in files.items()}, size
        )
