"""Supports of YouTube-FSVOS: frames of other videos of the data set, with a category's mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from icvos.builders.ic_vos.plan import PlannedVideo
from icvos.builders.writer import BenchmarkWriter
from icvos.errors import SourceError
from icvos.files import read_bytes
from icvos.images import check_annotated_size, image_size
from icvos.progress import Progress, Update
from icvos.sources.base import SourceFrame, SourceVideo
from icvos.sources.ytvis import YouTubeVis

__all__ = ["FrameSupports", "SupportFrame"]


@dataclass(frozen=True)
class SupportFrame:
    """A frame that supports: a video and one of its frames."""

    video: SourceVideo
    frame: SourceFrame


class FrameSupports:
    """The supports of a build.

    Args:
        source: The raw data.
        frames: Frames by the names that they have as supports.
        drawn: Of each category, the names of the frames that support it.
    """

    def __init__(
        self, source: YouTubeVis, frames: Mapping[str, SupportFrame], drawn: Iterable[tuple[int, str]]
    ) -> None:
        self.source = source
        self.frames = frames
        self._drawn = sorted(set(drawn))

    def drawn(self, videos: Sequence[PlannedVideo] = ()) -> list[tuple[int, str]]:
        """Return the categories and names of all supports, each once, sorted; those of some videos are not told."""
        return list(self._drawn)

    def image_bytes(self, drawn: Iterable[tuple[int, str]]) -> int:
        """Return the bytes of the images that are drawn, each once; those that are not there count nothing."""
        paths = [self.frames[name].frame.image for name in sorted({name for _, name in drawn})]
        return sum(path.stat().st_size for path in paths if path.is_file())

    def write(self, writer: BenchmarkWriter, drawn: Iterable[tuple[int, str]], link: bool, progress: Progress) -> int:
        """Write images and masks {0, 1} of the supports that were drawn; return how many images.

        Raises:
            SourceError: An image is broken or of another size than its annotations, or no pixel is annotated in it.
        """
        wanted = sorted(set(drawn))
        images = set()
        for done, (category, name) in enumerate(wanted):
            video, frame = self.frames[name].video, self.frames[name].frame
            size = video.detail.size
            if name not in images:
                images.add(name)
                stored = image_size(read_bytes(frame.image, "support", SourceError), frame.image)
                check_annotated_size(frame.image, stored, size)
                suffix = ".jpg" if frame.image.suffix.lower() == ".jpeg" else frame.image.suffix.lower()
                writer.place(f"supports/images/{name}{suffix}", frame.image, link=link)
            mask = self.source.labels(video, frame, size).union(video.detail.objects(category))
            if not mask.any():
                label = self.source.categories[category]
                raise SourceError(
                    f"the support {name} shows no pixel of '{label}'",
                    where=self.source.json,
                    expected="an annotation that encloses something; null where nothing is seen",
                )
            writer.mask(f"supports/masks/{category}/{name}.png", mask)
            progress(Update("supports", done + 1, len(wanted)))
        return len(images)
