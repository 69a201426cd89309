"""MOSE v1 and v2: ``train/JPEGImages/<video>/00000.jpg``, ``train/Annotations/<video>/00000.png``, palette PNG.

Only train has a mask for every frame (valid has the first alone). v2 brings ``meta_train.json`` with the objects'
ids, v1 mostly does not; neither says what the objects are. Frames with an empty mask and one-frame videos occur.
"""

from __future__ import annotations

from pathlib import Path

from icvos.errors import SourceError, counted
from icvos.files import read_json
from icvos.listing import folders
from icvos.sources.base import SourceFrame, SourceVideo, VideoSource, by_object, json_object, pair_up

__all__ = ["Mose"]


class Mose(VideoSource):
    """MOSE as its authors ship it.

    Args:
        root: The folder with ``train``, or ``train`` itself.
        version: 1 or 2; it decides the id, ``mose`` or ``mose2``.
    """

    licence = "MOSE: CC BY-NC-SA 4.0, non-commercial research; https://github.com/henghuiding/MOSE-api"

    def __init__(self, root: Path, *, version: int = 1) -> None:
        self.root = Path(root)
        self.id = "mose" if version == 1 else f"mose{version}"
        self.title = f"MOSE v{version}"
        inside = (self.root / "JPEGImages").is_dir()
        self.folder = self.root if inside else self.root / "train"
        for part in ("JPEGImages", "Annotations"):
            if not (self.folder / part).is_dir():
                raise SourceError(
                    "no MOSE here: folder not found", where=self.folder / part, expected="train/JPEGImages/<video>"
                )

    def videos(self) -> list[SourceVideo]:
        meta = self._meta()
        out = []
        for name in folders(self.folder / "Annotations", error=SourceError):
            known = meta.get(name)
            out.append(SourceVideo(name, "train", dict.fromkeys(known or ()), all_objects=known is not None))
        missing = sorted(set(meta) - {video.name for video in out})
        if missing:
            raise SourceError(
                f"{counted(len(missing), 'videos')} of the meta file without masks, {missing[0]} for one",
                where=self.folder / "Annotations",
                fix="unpack the whole archive",
            )
        return out

    def _meta(self) -> dict[str, list[int]]:
        """Return the objects of each video from the meta file; nothing where there is none."""
        for path in (
            self.folder.parent / "meta_train.json",
            self.folder / "meta_train.json",
            self.folder / "meta.json",
        ):
            if path.is_file():
                break
        else:
            return {}
        videos = json_object(json_object(read_json(path, SourceError), path).get("videos"), path, "videos")
        out = {}
        for name, entry in videos.items():
            objects = json_object(entry, path).get("objects")
            # A list of ids, which need not be contiguous; some copies hold a mapping by id.
            if isinstance(objects, (list, dict)):
                out[name] = sorted(by_object(objects, path))
        return out

    def frames(self, video: SourceVideo) -> list[SourceFrame]:
        return pair_up(self.folder / "JPEGImages" / video.name, self.folder / "Annotations" / video.name, video.name)
