"""Supports of IC-VOS: which COCO images may support a category, and writing the ones that were drawn."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.writer import BenchmarkWriter
from icvos.categories import Vocabulary
from icvos.data.draws import SupportPool, support_pool
from icvos.errors import InputError, SourceError
from icvos.files import read_bytes
from icvos.images import IMAGE_SUFFIXES, check_annotated_size, image_size
from icvos.progress import Progress, Update
from icvos.sources.coco import Coco

__all__ = ["Supports"]


class Supports:
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
        self.rules = rules
        self.words = words
        self.split = coco.split
        self._pools: dict[int, SupportPool] = {}
        self._images: dict[str, int] = {}

    def pool(self, category: int) -> SupportPool:
        """Return the candidates of a category: images with enough annotated area of it.

        Raises:
            SourceError: There is none.
        """
        if category not in self._pools:
            names = []
            for image in self.coco.image_ids_of(category):
                if self.coco.area(image, category) < self.rules.support_min_area:
                    continue
                name = self.coco.images[image].name
                self._images[name] = image
                names.append(name)
            if not names:
                raise SourceError(
                    f"no support for '{self.words.label(category)}' in {self.split}",
                    where=self.coco.root,
                    expected=f"an image with at least {self.rules.support_min_area} pixels of it, by the JSON's areas",
                    fix="lower --support-min-area, take another --support-pool, or leave it out with --categories",
                )
            self._pools[category] = support_pool(names)
        return self._pools[category]

    def write(self, writer: BenchmarkWriter, drawn: Iterable[tuple[int, str]], link: bool, progress: Progress) -> int:
        """Write images and masks {0, 1, 255 = ignore} of the supports that were drawn; return how many images."""
        wanted = sorted(set(drawn))
        images = set()
        for done, (category, name) in enumerate(wanted):
            image = self._images[name]
            source = self.coco.path(image)
            suffix = source.suffix.lower()
            if suffix not in IMAGE_SUFFIXES:
                raise SourceError(
                    f"a support's suffix is '{suffix}'", where=source, expected=" or ".join(IMAGE_SUFFIXES)
                )
            if name not in images:
                images.add(name)
                record = self.coco.images[image]
                size = image_size(read_bytes(source, "support", SourceError), source)
                check_annotated_size(source, size, (record.height, record.width))
                writer.place(f"supports/images/{name}{suffix}", source, link=link)
            mask = self.coco.class_mask(image, category)
            if not (mask == 1).any():
                raise InputError(f"the support {name} shows no '{self.words.label(category)}'", where=source)
            writer.mask(f"supports/masks/{category}/{name}.png", np.ascontiguousarray(mask))
            progress(Update("supports", done + 1, len(wanted)))
        return len(images)
