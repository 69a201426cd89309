"""Writing mask tubes in the layout of a benchmark, over processes, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icvos.benchmark import EPISODE_COLUMNS, FRAME_COLUMNS, PAIR_COLUMNS, SCHEMA, VIDEO_COLUMNS
from icvos.build.class_masks import ClassMasks, Progress
from icvos.build.draws import DRAW_RULE
from icvos.build.icvos_video import image_size
from icvos.build.manifest import Digest
from icvos.build.mask_tubes import IGNORE, MaskTubes, Step, TubeRules, make_frame, plan_tube
from icvos.build.workers import in_order
from icvos.build.writer import BenchmarkWriter, write_file
from icvos.errors import InputError, SourceError, UsageError
from icvos.files import IMAGE_SUFFIXES, encode_mask, free_bytes, read_json

__all__ = ["BUILDER_VERSION", "TubePlan", "TubeReport", "build_mask_tubes", "encode_jpeg", "plan_mask_tubes"]

BUILDER_VERSION = "1"
"""Raised when the same raw data and rules would give other files."""

QUALITY = 95
"""Of the JPEG frames."""

_CHUNK = 16


@dataclass
class TubePlan:
    """A build that is planned but not begun.

    Attributes:
        tubes: All tubes of the split.
        chosen: Indices of those to write, in order.
        draws, shots: Supports of each.
    """

    tubes: MaskTubes
    chosen: list[int]
    draws: int
    shots: int

    @property
    def files(self) -> int:
        """Frames, masks, and at most so many supports."""
        own = len(self.chosen) * 2 * self.tubes.rules.frames
        return own + 2 * min(len(self.chosen) * self.draws * self.shots, len(self.tubes.pairs))

    @property
    def estimate(self) -> int:
        """About the bytes to write: from the images' sizes: COCO's own files are larger than ours."""
        masks, sizes = self.tubes.masks, {}
        for index in self.chosen:
            image = self.tubes.pairs[index][0]
            if image not in sizes:
                sizes[image] = _stat(masks, image)
        frames = sum(sizes[self.tubes.pairs[index][0]] for index in self.chosen) * (self.tubes.rules.frames * 0.85)
        return int(frames + len(self.chosen) * self.tubes.rules.frames * 1500 + sum(sizes.values()))


@dataclass
class TubeReport:
    """What was built."""

    out: Path
    manifest_sha256: str
    tubes: int
    images: int
    frames: int
    supports: int
    alone: int


def _stat(masks: ClassMasks, image: int) -> int:
    path = masks.path(image)
    try:
        return path.stat().st_size
    except OSError:
        raise SourceError(
            f"image {masks.names[image]} is listed but not there", where=path, fix="unpack the split's images"
        ) from None


def plan_mask_tubes(
    masks: ClassMasks,
    rules: TubeRules | None = None,
    *,
    categories: Sequence[int] | None = None,
    limit: int | None = None,
    draws: int = 1,
    shots: int = 1,
) -> TubePlan:
    """Choose the tubes to write.

    Args:
        masks: Of the split.
        rules: Of the tubes.
        categories: Numbers; all by default.
        limit: So many tubes, chosen by the seed over the whole split; all by default.
        draws, shots: Supports of each tube: other images of its category.

    Raises:
        UsageError: Nothing to write.
    """
    if draws < 1 or shots < 1 or (limit is not None and limit < 1):
        raise UsageError("tubes, draws and shots are one at least")
    tubes = MaskTubes(masks, rules, categories=categories)
    chosen = list(range(len(tubes)))
    if limit is not None and limit < len(chosen):
        chosen = sorted(sorted(chosen, key=lambda index: _rank(tubes, index))[:limit])
    return TubePlan(tubes, chosen, draws, shots)


def _rank(tubes: MaskTubes, index: int) -> str:
    image, category = tubes.pairs[index]
    return hashlib.sha256(f"limit|{tubes.rules.seed}|{tubes.masks.names[image]}|{category}".encode()).hexdigest()


def video_name(masks: ClassMasks, image: int, category: int) -> str:
    """Return the name of a tube as a video."""
    return f"{masks.source}__{masks.names[image]}_c{category}"


@dataclass(frozen=True)
class _Task:
    """Tubes for one worker to write."""

    masks: ClassMasks
    rules: TubeRules
    pairs: tuple[tuple[int, int], ...]
    root: Path
    record: Path


def encode_jpeg(image: np.ndarray) -> bytes:
    """Return (H, W, 3) uint8 RGB as a JPEG."""
    import cv2

    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise InputError("image could not be encoded")
    return data.tobytes()


def _write_tubes(task: _Task) -> int:
    """Write a chunk of tubes and leave a record of them, or find that an earlier, killed build did."""
    key = _fingerprint(task)
    if not _there(task, key):
        tubes = {video_name(task.masks, *pair): _write_tube(task, *pair) for pair in task.pairs}
        # Half a record, of a kill, is none.
        write_file(task.record, json.dumps({"key": key, "tubes": tubes}).encode())
    return len(task.pairs)


def _fingerprint(task: _Task) -> str:
    stats = []
    for image, _ in task.pairs:
        path = task.masks.path(image)
        stat = path.stat() if path.is_file() else None
        stats.append(stat and (stat.st_size, stat.st_mtime_ns))
    text = json.dumps([BUILDER_VERSION, task.masks.sha256, task.rules.header(), task.pairs, stats])
    return hashlib.sha256(text.encode()).hexdigest()


def _there(task: _Task, key: str) -> bool:
    if not task.record.is_file():
        return False
    try:
        record = read_json(task.record)
        return record["key"] == key and all(
            (task.root / "videos" / video / name).stat().st_size == size
            for video, tube in record["tubes"].items()
            for name, (size, _) in tube["files"].items()
        )
    except (InputError, OSError, KeyError, TypeError, ValueError):
        return False


def _write_tube(task: _Task, image: int, category: int) -> dict[str, Any]:
    masks = task.masks
    folder = os.path.join(task.root, "videos", video_name(masks, image, category))  # noqa: PTH118 - many files
    pixels, labels = masks.read(image), masks.mask(image, category)
    crowd = bool((labels == IGNORE).any())
    source = masks.path(image)
    shutil.rmtree(folder, ignore_errors=True)
    for place in ("JPEGImages", f"Annotations/{category}"):
        os.makedirs(f"{folder}/{place}")  # noqa: PTH103
    files: dict[str, Digest] = {}
    visible, void = [], 0
    whole = _mask_png(labels)
    steps = plan_tube(task.rules, masks.names[image], category)
    for index, own in enumerate(steps):
        frame, moved = make_frame(pixels, labels, own)
        # The original stays as it is, to the byte.
        keep = not own and source.suffix.lower() in (".jpg", ".jpeg")
        path = f"JPEGImages/{index:05d}.jpg"
        files[path] = write_file(Path(f"{folder}/{path}"), source.read_bytes() if keep else encode_jpeg(frame))
        path = f"Annotations/{category}/{index:05d}.png"
        files[path] = write_file(Path(f"{folder}/{path}"), whole if moved is labels else _mask_png(moved))
        void += int(np.count_nonzero(moved == IGNORE)) if crowd else 0
        visible.append(1 in moved)
    return {
        "files": files, "size": list(labels.shape), "void": void, "crowd": crowd, "visible": sum(visible),
        "first": visible.index(True) if any(visible) else -1, "steps": [_words(own) for own in steps],
    }  # fmt: skip


def _mask_png(labels: np.ndarray) -> bytes:
    """Return labels as a frame's mask {0, 1}: a crowd is background there."""
    return encode_mask((labels == 1).view(np.uint8))


def build_mask_tubes(
    plan: TubePlan,
    out: Path,
    *,
    name: str = "mask-tubes",
    link: bool = False,
    workers: int = 1,
    licence: str = "",
    progress: Progress | None = None,
) -> TubeReport:
    """Write the tubes. The result depends on the raw data and the rules alone.

    A build that was killed goes on where it stopped, when it is called again with the same ``out``.

    Args:
        plan: From ``plan_mask_tubes``.
        out: The folder to be made.
        name: Of the benchmark.
        link: Hard-link support images.
        workers: Processes.
        licence: One line in place of the source's own.
        progress: Told how many tubes are done.

    Raises:
        InputError: Broken raw data, a full disk, or ``out`` is there already.
        LockedError: Another build works on ``out``.
    """
    need = plan.estimate
    if need > free_bytes(out):
        raise InputError(
            f"the disk has {free_bytes(out) / 1e9:.1f} GB free", where=Path(out).parent,
            expected=f"about {need / 1e9:.1f} GB", fix="use --limit, or another disk",
        )  # fmt: skip
    tubes = plan.tubes
    pairs = [tubes.pairs[index] for index in plan.chosen]
    chunks = [tuple(pairs[start : start + _CHUNK]) for start in range(0, len(pairs), _CHUNK)]
    with _TubeWriter(out, resume=True) as writer:
        tasks = (
            _Task(tubes.masks, tubes.rules, chunk, writer.root, record)
            for chunk, record in zip(chunks, writer.records(chunks, tubes.masks))
        )
        done = 0
        for count in in_order(_write_tubes, tasks, workers):
            done += count
            if progress is not None:
                progress("tubes", done, len(pairs))
        tables = _Tables(plan, writer)
        supports = tables.write_supports(link)
        alone = sum(tubes.supports_of(index) == [tubes.masks.names[tubes.pairs[index][0]]] for index in plan.chosen)
        report = TubeReport(
            writer.out, "", len(pairs), len({image for image, _ in pairs}), len(pairs) * tubes.rules.frames, supports,
            alone,
        )  # fmt: skip
        header = _header(plan, name, report, licence)
        report.manifest_sha256 = writer.finish(header, tables.all(), adopt=False)
    return report


class _TubeWriter(BenchmarkWriter):
    """Knows the workers' files from the records that they left, a record for a chunk of tubes.

    Two records are held at a time, so that memory does not grow with the number of tubes.
    """

    def __enter__(self) -> _TubeWriter:
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


class _Tables:
    """The CSV files, row by row from the records that the workers left."""

    def __init__(self, plan: TubePlan, writer: _TubeWriter) -> None:
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
                "video": video, "source": self.masks.source, "source_split": self.masks.split,
                "source_name": self.masks.names[image], "frames": self.plan.tubes.rules.frames,
                "height": record["size"][0], "width": record["size"][1], "void_pixels": record["void"],
            }  # fmt: skip

    def _pairs(self) -> Iterator[dict[str, Any]]:
        for _, image, category, video in self._tubes():
            record = self.writer.tube(video)
            yield {
                "video": video, "category": category, "category_name": self.masks.vocabulary.label(category),
                "complete": "unsure" if record["crowd"] else "yes", "visible_frames": record["visible"],
                "first_visible": record["first"], "instances": self.masks.instances(image, category),
            }  # fmt: skip

    def _frames(self) -> Iterator[dict[str, Any]]:
        for _, _, _, video in self._tubes():
            for number, words in enumerate(self.writer.tube(video)["steps"]):
                yield {"video": video, "frame": f"{number:05d}", "source_frame": words}

    def _episodes(self, shots: Sequence[str]) -> Iterator[dict[str, Any]]:
        for index, _, category, video in self._tubes():
            for draw in range(self.plan.draws):
                supports = self.plan.tubes.supports_of(index, draw, self.plan.shots)
                yield {
                    "id": f"{video}__{category}__d{draw}", "video": video, "category": category,
                    "category_name": self.masks.vocabulary.label(category), "draw": draw, **dict(zip(shots, supports)),
                }  # fmt: skip

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
    _stat(masks, image)
    masks.check_size(image, image_size(path.read_bytes(), path))
    return path, suffix


def _words(steps: tuple[Step, ...]) -> str:
    return " + ".join(map(str, steps)) or "original"


def _header(plan: TubePlan, name: str, report: TubeReport, licence: str) -> dict[str, Any]:
    tubes = plan.tubes
    masks = tubes.masks
    categories = sorted({tubes.pairs[index][1] for index in plan.chosen})
    rules = {**tubes.rules.header(), "draws": plan.draws, "shots": plan.shots, "draw_rule": DRAW_RULE,
             "jpeg_quality": QUALITY}  # fmt: skip
    names = [f"{masks.names[tubes.pairs[i][0]]} {tubes.pairs[i][1]}" for i in plan.chosen]
    text = json.dumps([SCHEMA, BUILDER_VERSION, rules, masks.sha256, names], sort_keys=True)
    return {
        "schema": SCHEMA,
        "name": name,
        "version": f"{BUILDER_VERSION}.{hashlib.sha256(text.encode()).hexdigest()[:8]}",
        "vocabulary": masks.vocabulary.name,
        "kind": "mask tubes",
        "counts": {
            "videos": report.tubes, "frames": report.frames, "pairs": report.tubes, "images": report.images,
            "episodes": report.tubes * plan.draws, "categories": len(categories), "supports": report.supports,
            "own_image_as_support": report.alone,
        },
        "sources": [{"id": masks.source, "split": masks.split, "annotations_sha256": masks.sha256}],
        "builder": BUILDER_VERSION,
        "seed": tubes.rules.seed,
        "rules": rules,
        "licences": {masks.source: licence or masks.licence},
    }  # fmt: skip
