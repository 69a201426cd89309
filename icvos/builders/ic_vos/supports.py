"""Supports of IC-VOS: which COCO images may support a category, and writing the ones that were drawn."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icvos.builders.ic_vos.plan import PlannedVideo
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.support_writer import SupportWriter
from icvos.categories import Vocabulary
from icvos.data.draws import SupportPool, draw_supports, draws_notes, support_pool
from icvos.errors import SourceError, counted
from icvos.sources.coco import Coco
from icvos.sources.drawn import licence_of

__all__ = ["Supports"]


class Supports(SupportWriter):
    """The support pools of a COCO split.

    An image may support a category if the ``area`` values that the JSON gives to its instances there (crowds apart) add
    up to ``support_min_area`` or more. Covered pixels, which the few-shot benchmarks and mask tubes count, differ from
    that: overlaps count twice, and a polygon's area is geometric (bowls in image 337264 of val2014: 2,052.5 by the
    JSON, 2,037 pixels covered).

    Attributes:
        licence: One line, for ``benchmark.json``.

    Args:
        coco: The split.
        rules: Of the build; ``support_min_area`` is the least annotated area of the category in a support.
        words: Names of the categories, for messages.
    """

    licence = (
        "COCO: annotations CC BY 4.0; each image has the Flickr licence that its JSON names; https://cocodataset.org"
    )

    def __init__(self, coco: Coco, rules: BuildRules, words: Vocabulary) -> None:
        self.coco = coco
        self.licence = licence_of(coco.root, type(self).licence)
        self.rules = rules
        self.words = words
        self.split = coco.split
        self._pools: dict[int, SupportPool] = {}
        self._images: dict[str, int] = {}

    def pool(self, category: int) -> SupportPool:
        """Return the candidates of a category: images with enough annotated area of it; there may be none."""
        if category not in self._pools:
            names = []
            for image in self.coco.image_ids_of(category):
                if self.coco.area(image, category) < self.rules.support_min_area:
                    continue
                name = self.coco.images[image].name
                self._images[name] = image
                names.append(name)
            self._pools[category] = support_pool(names)
        return self._pools[category]

    def lacks(self, category: int) -> bool:
        """Whether no image may support a category."""
        return not self.pool(category).names

    def check(self, categories: Sequence[int]) -> None:
        """Compare the categories of a build with what may support them.

        Raises:
            SourceError: Nothing supports some; all of those are named.
        """
        names = [self.words.label(category) for category in categories if self.lacks(category)]
        if names:
            quoted = ", ".join(f"'{name}'" for name in names)
            raise SourceError(
                f"no support for {quoted} in {self.split}",
                where=self.coco.root,
                expected=f"an image of each with at least {self.rules.support_min_area} pixels, by the JSON's areas",
                fix="lower --support-min-area, take another --support-pool, or leave out what has none: "
                f"--without-support leave-out, or --exclude {shlex.quote(','.join(names))}",
            )

    def notes(self, videos: Sequence[PlannedVideo]) -> list[str]:
        """Return lines for people: of which categories there are few supports, and which draws show the same."""
        rules = self.rules
        sizes = {c: len(self.pool(c).names) for video in videos for c in video.groups}
        few = {c: size for c, size in sorted(sizes.items()) if size < rules.shots}
        out = []
        if few:
            names = ", ".join(f"{self.words.label(c)} ({size})" for c, size in few.items())
            pairs = sum(c in few for video in videos for c in video.groups)
            out.append(
                f"fewer than {counted(rules.shots, 'supports')} of {names}, on {counted(pairs, 'pairs')}: all there are"
            )
        drawn = {f"{video.name},{self.words.label(c)}": self._draws(video, c) for video in videos for c in video.groups}
        return out + draws_notes(drawn, draws=rules.draws, shots=rules.shots)

    def _draws(self, video: PlannedVideo, category: int) -> list[list[str]]:
        rules = self.rules
        return draw_supports(rules.seed, self.pool(category), video.name, category, rules.draws, rules.shots)

    def drawn(self, videos: Sequence[PlannedVideo]) -> list[tuple[int, str]]:
        """Return the categories and names of all supports of some videos, each once, sorted."""
        pairs = [(video, category) for video in videos for category in video.groups]
        return sorted({(c, name) for video, c in pairs for names in self._draws(video, c) for name in names})

    def image(self, category: int, name: str) -> Path:
        return self.coco.path(self._images[name])

    def size(self, category: int, name: str) -> tuple[int, int]:
        record = self.coco.images[self._images[name]]
        return record.height, record.width

    def mask(self, category: int, name: str) -> np.ndarray:
        return self.coco.class_mask(self._images[name], category)

    def label(self, category: int) -> str:
        return self.words.label(category)
