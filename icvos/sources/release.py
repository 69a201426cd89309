"""The authors' released IC-VOS folder: ``<video>/JPEGImages/<n>.jpg``, ``<video>/Annotations/<class>/<n>.png``.

Frames and classes are taken as they are: every folder under ``Annotations`` is a pair, as the reference code lists
them. Stems are whole numbers, sorted as numbers; every frame has a mask in every class. Masks are checked and
normalised to {0, 1}: whatever one value is not 0 (1, 255, the class's number) is the thing.
"""

from __future__ import annotations

from pathlib import Path

from icvos.categories import COCO80
from icvos.errors import SourceError
from icvos.files import check_id
from icvos.listing import folders, frame_files, path_of_stem
from icvos.sources.base import IMAGES, FrameLabels, SourceFrame, SourceVideo, VideoSource, read_class_masks

__all__ = ["Release"]


class Release(VideoSource):
    """The folder of the published IC-VOS; an "object" of it is a class (COCO's 1-based contiguous number)."""

    id = "release"
    title = "IC-VOS, the authors' release"
    licence = "IC-VOS: frames and masks of DAVIS, MOSE and LVOS, under their licences; https://github.com/zaplm/DC-SAM"
    keep_unsure = True
    bare_names = True

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise SourceError("folder not found", where=self.root)

    def videos(self) -> list[SourceVideo]:
        out = []
        for name in folders(self.root, error=SourceError):
            folder = self.root / name
            if not (folder / "JPEGImages").is_dir() or not (folder / "Annotations").is_dir():
                raise SourceError(f"'{name}' is no video", where=folder, expected="JPEGImages and Annotations in it")
            classes: dict[int, str | None] = {}
            for entry in folders(folder / "Annotations", error=SourceError):
                if not (entry.isascii() and entry.isdigit() and 1 <= int(entry) <= len(COCO80)) or entry[0] == "0":
                    raise SourceError(
                        f"class folder '{entry}'", where=folder / "Annotations", expected="a COCO number 1 to 80"
                    )
                classes[int(entry)] = COCO80.label(int(entry))
            if not classes:
                raise SourceError("a video has no class", where=folder / "Annotations")
            out.append(SourceVideo(check_id(name, "video name"), "", classes, all_objects=True))
        if not out:
            raise SourceError(
                "no videos here", where=self.root, expected="<video>/JPEGImages, <video>/Annotations/<class>"
            )
        return out

    def frames(self, video: SourceVideo) -> list[SourceFrame]:
        folder = self.root / video.name
        images = frame_files(folder / "JPEGImages", IMAGES, error=SourceError)
        for category in video.objects:
            masks = frame_files(folder / "Annotations" / str(category), (".png",), error=SourceError)
            odd = sorted(set(images) ^ set(masks))
            if odd:
                what = "has no mask" if odd[0] in images else "is a mask without a frame"
                raise SourceError(
                    f"'{odd[0]}' {what} ({len(odd)} in all)",
                    where=folder / "Annotations" / str(category),
                    expected="a mask for every frame, of the same name",
                )
        parts = [folder / "Annotations" / str(category) for category in video.objects]
        return [
            SourceFrame(stem, path, tuple(path_of_stem(part, stem, ".png") for part in parts))
            for stem, path in images.items()
        ]

    def labels(self, video: SourceVideo, frame: SourceFrame, size: tuple[int, int]) -> FrameLabels:
        return read_class_masks(video, frame, size)
