"""Writing the supports of a build: images, and in each the mask of a category."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icvos.errors import SourceError
from icvos.files import read_bytes
from icvos.images import IMAGE_SUFFIXES, check_annotated_size, image_size
from icvos.progress import Progress, Update

if TYPE_CHECKING:
    from icvos.builders.ic_vos.plan import PlannedVideo
    from icvos.builders.writer import BenchmarkWriter

__all__ = ["SupportWriter"]


class SupportWriter(ABC):
    """What supports the pairs of a build; a support is one of a category, by its image's name."""

    @abstractmethod
    def drawn(self, videos: Sequence[PlannedVideo]) -> list[tuple[int, str]]:
        """Return the categories and names of all supports of some videos, each once, sorted."""

    @abstractmethod
    def image(self, category: int, name: str) -> Path:
        """Return the image of a support."""

    @abstractmethod
    def size(self, category: int, name: str) -> tuple[int, int]:
        """Return the (H, W) at which a support is annotated."""

    @abstractmethod
    def mask(self, category: int, name: str) -> np.ndarray:
        """Return the (H, W) uint8 mask of a support: 1 where the category is, 255 where nobody said, else 0."""

    @abstractmethod
    def label(self, category: int) -> str:
        """Return what a category is called."""

    def image_bytes(self, drawn: Iterable[tuple[int, str]]) -> int:
        """Return the bytes of the images that are drawn, each once; those that are not there count nothing."""
        paths = {name: self.image(category, name) for category, name in drawn}
        return sum(path.stat().st_size for path in paths.values() if path.is_file())

    def write(self, writer: BenchmarkWriter, drawn: Iterable[tuple[int, str]], link: bool, progress: Progress) -> int:
        """Write images and masks of the supports that were drawn; return how many images.

        Raises:
            SourceError: An image is gone, broken, of another kind or of another size than its annotations, or no pixel
                of it is of the category.
        """
        wanted = sorted(set(drawn))
        written = set()
        for done, (category, name) in enumerate(wanted):
            image = self.image(category, name)
            if name not in written:
                suffix = image.suffix.lower()
                if suffix not in IMAGE_SUFFIXES:
                    expected = " or ".join(IMAGE_SUFFIXES)
                    raise SourceError(f"a support's suffix is '{suffix}'", where=image, expected=expected)
                data = read_bytes(image, "support", SourceError)
                check_annotated_size(image, image_size(data, image), self.size(category, name))
                writer.place(f"supports/images/{name}{suffix}", image, link=link, data=data)
                written.add(name)
            mask = self.mask(category, name)
            if not (mask == 1).any():
                raise SourceError(
                    f"the support {name} shows no pixel of '{self.label(category)}'",
                    where=image,
                    expected="an annotation that encloses something",
                )
            writer.mask(f"supports/masks/{category}/{name}.png", np.ascontiguousarray(mask))
            progress(Update("supports", done + 1, len(wanted)))
        return len(written)
