"""The tables, supports and header of written mask tubes, from the records that the workers left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from icvos.benchmark import EPISODE_COLUMNS, FRAME_COLUMNS, PAIR_COLUMNS, SCHEMA, VIDEO_COLUMNS
from icvos.builders.tubes.plan import BUILDER_VERSION, QUALITY, TubePlan, TubeReport, image_bytes, video_name
from icvos.builders.writer import BenchmarkWriter
from icvos.data.class_masks import ClassMasks
from icvos.data.draws import DRAW_RULE
from icvos.data.mask_tubes import plan_tube
from icvos.errors import SourceError
from icvos.files import read_file, read_json
from icvos.images import IMAGE_SUFFIXES, image_size
from icvos.manifest import Digest
from icvos.masks import encode_mask

__all__ = ["TubeTables", "TubeWriter", "tube_header"]


class TubeWriter(BenchmarkWriter):
    """Knows the workers' files from the records that they left, a record for a chunk of tubes.

    Two records are held at a time, so that memory does not grow with the number of tubes.
    """

    def __enter__(self) -> TubeWriter:
        super().__enter__()
        return self

    def records(self, chunks: Sequence[tuple[tuple[int, int], ...]], masks: ClassMasks) -> list[Path]:
        """Return the file of each chunk's record."""
        files = [self.state / f"{number:07d}.json" for number in range(len(chunks))]
        self._record_of = {video_name(masks, *pair): path for chunk, path in zip(chunks, files) for pair in chunk}
        self._open: dict[Path, dict[str, Any]] = {}
        return files

    def has_tube(self, video: str) -> bool:
        """Whether a tube is in this build."""
        return video in self._record_of

    def tube(self, video: str) -> dict[str, Any]:
        """Return what is recorded of a tube."""
        path = self._record_of[video]
        if path not in self._open:
            # Tubes of one image may lie in two chunks, and their names sort otherwise than their numbers.
            while len(self._open) > 1:
                self._open.pop(next(iter(self._open)))
            self._open[path] = read_json(path)["tubes"]
        return self._open[path][video]

    def digest(self, path: str) -> Digest | None:
        parts = path.split("/", 2)
        if parts[0] != "videos" or len(parts) < 3 or parts[1] not in self._record_of:
            return super().digest(path)
        entry = self.tube(parts[1])["files"].get(parts[2])
        return (int(entry[0]), str(entry[1])) if entry else None


class TubeTables:
    """The CSV files, row by row from the records that the workers left."""

    def __init__(self, plan: TubePlan, writer: TubeWriter) -> None:
        self.plan, self.writer, self.masks = plan, writer, plan.tubes.masks

    def all(self) -> dict[str, tuple[Sequence[str], Iterator[dict[str, Any]]]]:
        shots = [f"support_{shot}" for shot in range(1, self.plan.shots + 1)]
        return {
            "videos.csv": (VIDEO_COLUMNS, self._videos()),
            "pairs.csv": (PAIR_COLUMNS, self._pairs()),
            "frames.csv": (FRAME_COLUMNS, self._frames()),
            "episodes.csv": ((*EPISODE_COLUMNS, *shots), self._episodes(shots)),
        }

    def _tubes(self) -> Iterator[tuple[int, int, int, str]]:
        for index in self.plan.chosen:
            image, category = self.plan.tubes.pairs[index]
            yield index, image, category, video_name(self.masks, image, category)

    def _videos(self) -> Iterator[dict[str, Any]]:
        for _, image, _, video in self._tubes():
            record = self.writer.tube(video)
            yield {
                "video": video,
                "source": self.masks.source,
                "source_split": self.masks.split,
                "source_name": self.masks.names[image],
                "frames": self.plan.tubes.rules.frames,
                "height": record["size"][0],
                "width": record["size"][1],
                "void_pixels": record["void"],
            }

    def _pairs(self) -> Iterator[dict[str, Any]]:
        for _, image, category, video in self._tubes():
            record = self.writer.tube(video)
            yield {
                "video": video,
                "category": category,
                "category_name": self.masks.vocabulary.label(category),
                "complete": "unsure" if record["crowd"] else "yes",
                "visible_frames": record["visible"],
                "first_visible": record["first"],
                "instances": self.masks.instances(image, category),
            }

    def _frames(self) -> Iterator[dict[str, Any]]:
        for _, _, _, video in self._tubes():
            for number, words in enumerate(self.writer.tube(video)["steps"]):
                yield {"video": video, "frame": f"{number:05d}", "source_frame": words}

    def _episodes(self, shots: Sequence[str]) -> Iterator[dict[str, Any]]:
        for index, _, category, video in self._tubes():
            for draw in range(self.plan.draws):
                supports = self.plan.tubes.supports_of(index, draw, self.plan.shots)
                yield {
                    "id": f"{video}__{category}__d{draw}",
                    "video": video,
                    "category": category,
                    "category_name": self.masks.vocabulary.label(category),
                    "draw": draw,
                    **dict(zip(shots, supports)),
                }

    def write_supports(self, link: bool) -> int:
        """Write the supports that were drawn; return how many images."""
        wanted: set[tuple[str, int]] = set()
        for index, _, category, _ in self._tubes():
            for draw in range(self.plan.draws):
                wanted.update((name, category) for name in self.plan.tubes.supports_of(index, draw, self.plan.shots))
        images: set[str] = set()
        for name, category in sorted(wanted):
            image = self.masks.numbers[name]
            if name not in images:
                images.add(name)
                path, suffix = _support_file(self.masks, image)
                self.writer.place(f"supports/images/{name}{suffix}", path, link=link)
            self.writer.write(f"supports/masks/{category}/{name}.png", self._support_mask(image, category))
        return len(images)

    def _support_mask(self, image: int, category: int) -> bytes:
        video = video_name(self.masks, image, category)
        if not self.writer.has_tube(video) or self.masks.has_ignore(image, category):
            return encode_mask(self.masks.mask(image, category))
        # The tube of the same image holds the same file, as the mask of its original.
        steps = plan_tube(self.plan.tubes.rules, self.masks.names[image], category)
        path = f"videos/{video}/Annotations/{category}/{steps.index(()):05d}.png"
        return (self.writer.root / path).read_bytes()


def _support_file(masks: ClassMasks, image: int) -> tuple[Path, str]:
    path = masks.path(image)
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise SourceError(f"an image's suffix is '{suffix}'", where=path, expected=" or ".join(IMAGE_SUFFIXES))
    image_bytes(masks, image)
    masks.check_size(image, image_size(read_file(path), path))
    return path, suffix


def tube_header(plan: TubePlan, name: str, report: TubeReport, licence: str) -> dict[str, Any]:
    tubes = plan.tubes
    masks = tubes.masks
    categories = sorted({tubes.pairs[index][1] for index in plan.chosen})
    rules = {
        **tubes.rules.header(),
        "draws": plan.draws,
        "shots": plan.shots,
        "draw_rule": DRAW_RULE,
        "jpeg_quality": QUALITY,
    }
    names = [f"{masks.names[tubes.pairs[i][0]]} {tubes.pairs[i][1]}" for i in plan.chosen]
    text = json.dumps([SCHEMA, BUILDER_VERSION, rules, masks.sha256, names], sort_keys=True)
    return {
        "schema": SCHEMA,
        "name": name,
        "version": f"{BUILDER_VERSION}.{hashlib.sha256(text.encode()).hexdigest()[:8]}",
        "vocabulary": masks.vocabulary.name,
        "kind": "mask tubes",
        "counts": {
            "videos": report.tubes,
            "frames": report.frames,
            "pairs": report.tubes,
            "images": report.images,
            "episodes": report.tubes * plan.draws,
            "categories": len(categories),
            "supports": report.supports,
            "own_image_as_support": report.alone,
        },
        "sources": [{"id": masks.source, "split": masks.split, "annotations_sha256": masks.sha256}],
        "builder": BUILDER_VERSION,
        "seed": tubes.rules.seed,
        "rules": rules,
        "licences": {masks.source: licence or masks.licence},
    }
