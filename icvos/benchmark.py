"""Reader of a built benchmark: videos, pairs, episodes, frames, annotations and supports, as files or records."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from sys import intern
from typing import Any, Literal

import numpy as np

from icvos.categories import Vocabulary, episode_id, get_vocabulary
from icvos.errors import BenchmarkError, InputError, MaskError, UsageError, counted, did_you_mean, in_words
from icvos.files import check_id, file_sha256, iter_csv, read_json
from icvos.images import read_image
from icvos.listing import listing
from icvos.masks import LARGEST_SIDE, read_mask, stored_size
from icvos.names import name_problem
from icvos.types import Support

__all__ = [
    "ASKED",
    "EPISODE_COLUMNS",
    "FRAME_COLUMNS",
    "PAIR_COLUMNS",
    "QUERY_EPISODE_COLUMNS",
    "RUN_COLUMN",
    "SCHEMA",
    "VIDEO_COLUMNS",
    "VOS",
    "Benchmark",
    "Episode",
    "FolderVideo",
    "Pair",
    "Role",
    "VideoRecord",
    "check_header",
    "load_benchmark",
]

SCHEMA = "icvos-benchmark/1"
VOS = "vos"
"""The ``task`` of a benchmark of semi-supervised VOS: a category is one object, and a model is told its mask on frame 0
in place of supports."""
VIDEO_COLUMNS = ("video", "source", "source_split", "source_name", "frames", "height", "width", "fps", "void_pixels")
PAIR_COLUMNS = (
    "video",
    "category",
    "category_name",
    "complete",
    "visible_frames",
    "first_visible",
    "instances",
)
FRAME_COLUMNS = ("video", "frame", "source_frame")
EPISODE_COLUMNS = ("id", "video", "category", "category_name", "draw")  # and support_1 … support_K
RUN_COLUMN = "run"  # beside them, where a list of episodes is of several runs
Role = Literal["supports", "queries"]
"""What an image is; the name of its folder."""
ASKED = ("positive", "negative")
"""What was asked of an episode's video: something that it has, or something that people verified it has not."""
QUERY_EPISODE_COLUMNS = ("id", "protocol", "query", "category", "category_name", "fold", "draw")  # and support_1 …


@dataclass(frozen=True)
class VideoRecord:
    """A row of ``videos.csv``."""

    video: str
    source: str
    source_split: str
    source_name: str
    frames: int
    height: int
    width: int
    fps: float | None
    void_pixels: int


@dataclass(frozen=True)
class Pair:
    """A row of ``pairs.csv``: a category in a video. ``complete`` is yes, no or unsure."""

    video: str
    category: int
    category_name: str
    complete: str
    visible_frames: int
    first_visible: int
    instances: int


@dataclass(frozen=True, slots=True)
class Episode:
    """A row of ``episodes.csv``: who supports whom; nobody in a benchmark of semi-supervised VOS.

    ``video`` is the video's name, or the query image's file name in a few-shot image benchmark, where ``fold`` and
    ``protocol`` are set. ``run`` is set where the benchmark's list is of several runs, whose figures are averaged.
    ``asked`` is ``positive`` or ``negative`` where people said of all that was asked whether the video has it, and None
    elsewhere.
    """

    id: str
    video: str
    category: int
    category_name: str
    draw: int
    supports: tuple[str, ...]
    fold: int | None = None
    protocol: str | None = None
    run: int | None = None
    asked: str | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What a video episode's record says of it beside its id, video and source."""
        about = {"category": self.category, "category_name": self.category_name, "draw": self.draw}
        return about if self.run is None else {**about, RUN_COLUMN: self.run}

    @property
    def repetition(self) -> int:
        """What figures are averaged over last: its run where the list is of several, else its draw."""
        return self.draw if self.run is None else self.run


class FolderVideo:
    """A lazy video over image files (a ``Video``); frames are (H, W, 3) uint8 RGB.

    Args:
        paths: Frame files in order.
        size: (H, W) that every frame must have.
    """

    def __init__(self, paths: list[Path], size: tuple[int, int]) -> None:
        self.paths = paths
        self._size = size

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> np.ndarray:
        path = self.paths[index]
        frame = read_image(path)
        if frame.shape[:2] != self._size:
            raise BenchmarkError(
                f"frame is {frame.shape[0]}x{frame.shape[1]} (HxW)",
                where=path,
                expected=f"{self._size[0]}x{self._size[1]}",
            )
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(len(self)):
            yield self[index]


class Benchmark:
    """A built benchmark, read lazily.

    Args:
        root: Its folder.
        header: ``benchmark.json``, checked by ``check_header``.
        kind: ``video`` or ``image``; None where the folder tells.

    Attributes:
        root: Its folder.
        header: ``benchmark.json``.
        name, version: From the header.
        kind: ``video`` or ``image``.
        vos: Whether it is one of semi-supervised VOS (``VOS``), whose episodes have no supports.
        vocabulary: The numbering of its categories.
    """

    def __init__(self, root: Path, header: dict[str, Any], *, kind: str | None = None) -> None:
        self.root = root
        self.header = header
        self.name: str = header["name"]
        self.version: str = header["version"]
        self.vocabulary: Vocabulary = _vocabulary(header["vocabulary"], root / "benchmark.json")
        self.kind = kind or ("image" if (root / "queries").is_dir() else "video")
        self.vos = self.kind == "video" and header.get("task") == VOS

    def __repr__(self) -> str:
        return f"Benchmark({self.name} {self.version}, {counted(len(self.episodes), 'episodes')}, {self.root})"

    @property
    def usual_protocol(self) -> str:
        """The name of the protocol that it is evaluated by where none is asked for."""
        return self.header.get("protocol") or ("native" if self.kind == "video" else "fss-native")

    @cached_property
    def manifest_sha256(self) -> str:
        """SHA-256 of ``manifest.csv``, which names every other file with its own: the benchmark's identity."""
        return file_sha256(self.root / "manifest.csv")

    @cached_property
    def videos(self) -> dict[str, VideoRecord]:
        """Videos by name."""
        path = self.root / "videos.csv"
        out = {}
        for row in iter_csv(path, VIDEO_COLUMNS, BenchmarkError):
            name = _id(row["video"], path)
            out[name] = VideoRecord(
                name,
                row["source"],
                row["source_split"],
                row["source_name"],
                _int(row, "frames", path, least=1),
                _int(row, "height", path, least=1, most=LARGEST_SIDE),
                _int(row, "width", path, least=1, most=LARGEST_SIDE),
                _float(row, "fps", path),
                _int(row, "void_pixels", path),
            )
        return out

    @cached_property
    def pairs(self) -> dict[tuple[str, int], Pair]:
        """(video, category) pairs."""
        path = self.root / "pairs.csv"
        out = {}
        for row in iter_csv(path, PAIR_COLUMNS, BenchmarkError):
            key = (intern(_id(row["video"], path)), _int(row, "category", path))
            if key[0] not in self.videos:
                raise BenchmarkError(f"pair of an unknown video '{key[0]}'", where=path)
            out[key] = Pair(
                *key,
                intern(row["category_name"]),
                intern(row["complete"]),
                _int(row, "visible_frames", path),
                _int(row, "first_visible", path),
                _int(row, "instances", path),
            )
        return out

    @cached_property
    def episodes(self) -> tuple[Episode, ...]:
        """All episodes, in the file's order."""
        path = self.root / "episodes.csv"
        image = self.kind == "image"
        columns = (*(QUERY_EPISODE_COLUMNS if image else EPISODE_COLUMNS), "support_1")
        out = []
        seen: set[tuple[str | None, str]] = set()
        for row in iter_csv(path, columns, BenchmarkError):
            shots = [name for name in row if name.startswith("support_")]
            # Names that many episodes share are held once.
            supports = tuple(intern(_id(row[name], path)) for name in shots if row[name])
            video = intern(_id(row["query" if image else "video"], path))
            episode = Episode(
                _id(row["id"], path),
                video,
                _int(row, "category", path),
                intern(row["category_name"]),
                _int(row, "draw", path),
                supports,
                _int(row, "fold", path) if image else None,
                intern(row["protocol"]) if image else None,
                _int(row, RUN_COLUMN, path) if row.get(RUN_COLUMN) else None,
                _asked(row, path),
            )
            if not (supports or self.vos):
                raise BenchmarkError(f"episode {episode.id} has no support", where=path)
            if not image and (video, episode.category) not in self.pairs:
                raise BenchmarkError(f"episode {episode.id} is of no pair in pairs.csv", where=path)
            if (episode.protocol, episode.id) in seen:
                raise BenchmarkError(f"episode {episode.id} stands twice", where=path)
            seen.add((episode.protocol, episode.id))
            out.append(episode)
        return tuple(out)

    def episode(self, id: str) -> Episode:
        """Return the episode with an id, in which a category may stand by its name (see ``episode_id``).

        Raises:
            UsageError: There is none.
        """
        ids = [episode.id for episode in self.episodes]
        wanted = episode_id(id, self.vocabulary, ids)
        for episode in self.episodes:
            if episode.id == wanted:
                return episode
        raise UsageError(f"no episode '{id}'", where=self.root, fix=did_you_mean(id, ids))

    def frame_paths(self, video: str) -> list[Path]:
        """Return the frame files of a video, 00000 onwards."""
        record = self.videos[video]
        folder = self.root / "videos" / video / "JPEGImages"
        names = _stems(folder)
        paths = []
        for index in range(record.frames):
            name = names.get(f"{index:05d}")
            if name is None:
                raise BenchmarkError(f"frame {index:05d} is missing", where=folder, fix=_CHECK)
            paths.append(folder / name)
        return paths

    def video(self, video: str) -> FolderVideo:
        """Return a video to read frames from."""
        record = self.videos[video]
        return FolderVideo(self.frame_paths(video), (record.height, record.width))

    def annotation(self, video: str, category: int, frame: int) -> np.ndarray:
        """Return the ground truth of one frame: (H, W) bool.

        Raises:
            MaskError: Missing, truncated, of another size, or with values other than 0 and 1.
        """
        record = self.videos[video]
        path = self.root / "videos" / video / "Annotations" / str(category) / f"{frame:05d}.png"
        labels = read_mask(path, size=(record.height, record.width))
        if labels.max(initial=0) > 1:
            raise MaskError(f"mask holds the value {labels.max()}", where=path, expected="0 and 1", fix=_CHECK)
        return labels.astype(bool)

    def support(self, category: int, name: str) -> Support:
        """Return a support by its category and image name (without suffix)."""
        image, mask, ignore = self._image_and_mask("supports", category, name)
        return Support(image, mask, ignore if ignore.any() else None)

    def check_shots(self, episodes: Sequence[Episode], shots: int) -> None:
        """Compare the supports to be shown with those that there are.

        Raises:
            UsageError: No episode has so many, or the episodes are a list of another number of shots.
        """
        most = max((len(episode.supports) for episode in episodes), default=0)
        if self.vos:
            if shots != 1:
                raise UsageError(f"'{self.name}' has no supports: frame 0's mask is told", fix="leave --shots out")
        elif self.header.get("shots", shots) != shots:
            listed = self.header["shots"]
            raise UsageError(
                f"{shots} shots, where '{self.name}' is a list of {listed}-shot episodes", fix=f"give --shots {listed}"
            )
        elif episodes and shots > most:
            raise UsageError(
                f"{shots} shots, where no episode of '{self.name}' has more than {counted(most, 'supports')}",
                fix=f"give --shots 1 to {most}, or build the benchmark with more supports",
            )

    def supports(self, episode: Episode, shots: int = 1) -> list[Support]:
        """Return the first ``shots`` supports of an episode."""
        return [self.support(episode.category, name) for name in episode.supports[:shots]]

    def query(self, episode: Episode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a few-shot query: its image, its mask (H, W) bool, and where to ignore (H, W) bool."""
        return self._image_and_mask("queries", episode.category, episode.video)

    def query_truth(self, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
        """Return a few-shot query's mask (H, W) bool, and where to ignore (H, W) bool; its image need not be there."""
        labels = read_mask(self._mask_path("queries", episode.category, episode.video))
        return labels == 1, labels == 255

    def query_size(self, episode: Episode) -> tuple[int, int] | None:
        """Return (H, W) of a few-shot query by its mask's header, or None where there is none (``query`` says why)."""
        return stored_size(self._mask_path("queries", episode.category, episode.video))

    def _mask_path(self, role: str, category: int, name: str) -> Path:
        return self.root / role / "masks" / str(category) / f"{name}.png"

    def image_path(self, role: Role, name: str) -> Path:
        """Return the file of a support's or query's image.

        Raises:
            BenchmarkError: It is missing.
        """
        folder = self.root / role / "images"
        for suffix in (".jpg", ".jpeg", ".png"):
            path = folder / f"{name}{suffix}"
            if path.is_file():
                return path
        raise BenchmarkError(f"image '{name}' is missing", where=folder, fix=_CHECK)

    def labels(self, role: Role, category: int, name: str, *, size: tuple[int, int]) -> np.ndarray:
        """Return the mask of a support or query as it is stored: (H, W) uint8, 1 the thing, 255 where to ignore.

        Args:
            role: What it is.
            category: Number of the category.
            name: The image's name, without suffix.
            size: (H, W) of the image.

        Raises:
            MaskError: Missing, damaged, or of another size.
        """
        return read_mask(self._mask_path(role, category, name), size=size)

    def _image_and_mask(self, role: Role, category: int, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image = read_image(self.image_path(role, name))
        labels = self.labels(role, category, name, size=(image.shape[0], image.shape[1]))
        return image, labels == 1, labels == 255


# Beyond every number of fewer than 19 letters.
LARGEST = 10**18

_CHECK = "look for damage with: icvos build-data check"


def _vocabulary(spec: Any, path: Path) -> Vocabulary:
    try:
        return get_vocabulary(spec)
    except UsageError as error:
        raise BenchmarkError(error.what, where=path, fix=error.fix) from None


def _stems(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise BenchmarkError("folder not found", where=folder, fix=_CHECK)
    return {path.stem: path.name for path in listing(folder)}


def _id(value: str, path: Path) -> str:
    try:
        return check_id(value)
    except InputError as error:
        raise BenchmarkError(error.what, where=path, expected=error.expected) from None


def _int(row: dict[str, str], column: str, path: Path, *, least: int = -LARGEST, most: int = LARGEST) -> int:
    text = row[column]
    number = int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 19 else None
    if number is None or not least <= number <= most:
        expected = "a whole number" + (f" from {least}" if least > -LARGEST else "")
        expected += f" to {most}" if most < LARGEST else ""
        raise BenchmarkError(f"{column} is {in_words(text[:40])}", where=path, expected=expected)
    return number


def _float(row: dict[str, str], column: str, path: Path) -> float | None:
    try:
        number = float(row[column] or 0)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BenchmarkError(f"{column} is '{row[column][:40]}'", where=path, expected="a number or nothing")
    return number if row[column] else None


def _asked(row: dict[str, str], path: Path) -> str | None:
    asked = row.get("asked")
    if asked is not None and asked not in ASKED:
        raise BenchmarkError(f"asked is {in_words(asked)}", where=path, expected=" or ".join(ASKED))
    return None if asked is None else intern(asked)


def _are_folds(value: object) -> bool:
    """Return whether a header's folds are lists of categories by number."""
    return isinstance(value, dict) and all(
        fold.isascii() and fold.isdigit() and isinstance(numbers, list) and all(type(n) is int for n in numbers)
        for fold, numbers in value.items()
    )


def load_benchmark(path: str | os.PathLike[str]) -> Benchmark:
    """Open a built benchmark.

    Args:
        path: Its folder, with ``benchmark.json``.

    Raises:
        BenchmarkError: No benchmark, one of another schema, or a broken one.
    """
    root = Path(path).absolute()  # frames are read while a method runs, which may change the working folder
    if not root.is_dir():
        raise BenchmarkError("benchmark not found", where=root, fix="build one with: icvos build-data")
    header_path = root / "benchmark.json"
    if not header_path.is_file():
        raise BenchmarkError("no benchmark.json", where=root, expected="a folder made by icvos build-data")
    header = check_header(read_json(header_path, BenchmarkError), header_path)
    if not (root / "manifest.csv").is_file():
        raise BenchmarkError("no manifest.csv", where=root, expected="a finished build", fix="build it again")
    return Benchmark(root, header)


def check_header(header: Any, header_path: Path) -> dict[str, Any]:
    """Return what a ``benchmark.json`` holds if it is of the schema.

    Args:
        header: Its content.
        header_path: The file, for messages.

    Raises:
        BenchmarkError: It is of another schema, or a field is missing or broken.
    """
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        schema = header.get("schema") if isinstance(header, dict) else type(header).__name__
        raise BenchmarkError(f"schema is '{schema}'", where=header_path, expected=SCHEMA, fix="build it again")
    for key in ("name", "version", "vocabulary"):
        if not header.get(key):
            raise BenchmarkError(f"'{key}' is missing", where=header_path, fix="build it again")
    if not isinstance(header["name"], str) or not isinstance(header["version"], str):
        raise BenchmarkError("name and version are not text", where=header_path, fix="build it again")
    for key in ("name", "version"):
        if problem := name_problem(header[key]):
            called = in_words(header[key][:40])
            raise BenchmarkError(f"the {key} is {called}: {problem}", where=header_path, fix="build it again")
    try:
        json.dumps(header, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as problem:
        raise BenchmarkError(
            f"the header holds what cannot be written again ({problem})", where=header_path, fix="build it again"
        ) from None
    if header.get("task") not in (None, VOS):
        raise BenchmarkError(f"the task is {in_words(header['task'])}", where=header_path, expected=f"'{VOS}', or none")
    if header.get("shots") is not None and not (type(header["shots"]) is int and header["shots"] > 0):
        raise BenchmarkError("the shots are no number", where=header_path, fix="build it again")
    if header.get("protocol") is not None and not isinstance(header["protocol"], str):
        raise BenchmarkError("the protocol is no name", where=header_path, fix="build it again")
    if header.get("folds") is not None and not _are_folds(header["folds"]):
        raise BenchmarkError(
            "folds are broken",
            where=header_path,
            expected='{"0": [1, 2, …], …}: the categories of each',
            fix="build it again",
        )
    return header
