"""Masks made in another tool, of things that a source left out: a CSV file, and label maps in ``masks/`` beside it.

``source,video,extra,category`` says what a value of the label maps of a video is; the map of a frame is
``masks/<source>/<video>/<frame>.png``. A frame without a map has none of these things.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icvos.categories import Vocabulary
from icvos.errors import InputError, did_you_mean
from icvos.files import escape_id, file_sha256, read_file
from icvos.images import image_size
from icvos.listing import files_by_stem, folders, match_stems
from icvos.masks import is_0_or_255, read_coloured_mask
from icvos.sources.base import VOID, FrameLabels, SourceFrame, SourceVideo, VideoSource

__all__ = [
    "EXTRA_COLUMNS",
    "MAPS",
    "ExtraMasks",
    "MendedLabels",
    "check_extra",
    "map_folder",
    "mended_labels",
    "open_maps",
]

EXTRA_COLUMNS = ("source", "video", "extra", "category")
"""Columns of the CSV file; ``note`` and ``said_by`` may follow."""

MAPS = "masks"
"""The folder of the label maps, beside the CSV file."""


@dataclass(frozen=True)
class ExtraMasks:
    """What another tool added to a video.

    Attributes:
        table: The CSV file, for messages.
        objects: The category's number of each value of the maps.
        maps: The label map of a frame, by its stem.
        hashes: SHA-256 of each map.
    """

    table: Path
    objects: Mapping[int, int]
    maps: Mapping[str, Path]
    hashes: Mapping[str, str]

    @property
    def content(self) -> list[list[tuple[int, int]] | list[tuple[str, str]]]:
        """Rows and hashes of the maps, sorted: what a benchmark with them depends on."""
        return [sorted(self.objects.items()), sorted(self.hashes.items())]


def map_folder(source: str, video: str) -> str:
    """Return where the maps of a video lie, ``<frame>.png`` each, beside the CSV file; ``/`` between the parts."""
    return f"{MAPS}/{escape_id(source)}/{escape_id(video)}"


def open_maps(table: Path, objects: Mapping[tuple[str, str], Mapping[int, int]]) -> dict[tuple[str, str], ExtraMasks]:
    """Find and hash the maps beside a CSV file.

    Args:
        table: The CSV file.
        objects: The category's number by value, of each (source, video) that files of this folder name.

    Raises:
        InputError: A video has no map, or a folder of maps is of no video that is named.
    """
    root = table.parent / MAPS
    named = {(escape_id(source), escape_id(video)) for source, video in objects}
    for source in folders(root):
        for video in folders(root / source):
            if (source, video) not in named:
                near = did_you_mean(video, [name for of, name in named if of == source])
                raise InputError(
                    "these masks are of no video that the table names",
                    where=root / source / video,
                    expected=f"a row {source},{video},… in {table}",
                    fix=near if near.startswith("did") else "",
                )
    found = {}
    for (source, video), categories in objects.items():
        folder = table.parent / map_folder(source, video)
        maps = files_by_stem(folder, (".png",)) if folder.is_dir() else {}
        if not maps:
            raise InputError(
                f"{table.name} names {source},{video}, which has no mask",
                where=folder,
                expected="a .png for each frame with these things, named as the frame is",
            )
        hashes = {stem: file_sha256(path) for stem, path in maps.items()}
        found[source, video] = ExtraMasks(table, dict(categories), maps, hashes)
    return found


def check_extra(source: VideoSource, video: SourceVideo, extra: ExtraMasks, words: Vocabulary) -> None:
    """Compare the maps of a video with its frames and with the table.

    Raises:
        InputError: A map has no frame, another size than its frame, or a value that the table does not name; or no map
            shows a thing that it names.
    """
    seen: set[int] = set()
    for frame, path in _by_frame(source.frames(video), extra, f"{source.id},{video.name}").values():
        labels = _read_map(path, extra, image_size(read_file(frame.image), frame.image))
        for value in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist():
            if value and value not in extra.objects:
                rows = ", ".join(f"{number} ({words.label(of)})" for number, of in sorted(extra.objects.items()))
                raise InputError(
                    f"mask holds the value {value}, of which {extra.table.name} has no row",
                    where=path,
                    expected=f"0 and {rows}",
                )
            seen.add(value)
    for number in sorted(set(extra.objects) - seen):
        raise InputError(
            f"no mask shows the extra object {number} of {source.id},{video.name}",
            where=extra.table,
            expected="masks of all that it names",
        )


def _by_frame(frames: Sequence[SourceFrame], extra: ExtraMasks, video: str) -> dict[str, tuple[SourceFrame, Path]]:
    """Return frame and map by the frame's name."""
    by_name = {frame.name: frame for frame in frames}
    named = match_stems(list(extra.maps), list(by_name))
    for stem, path in extra.maps.items():
        if stem not in named:
            raise InputError(
                f"{video} has no annotated frame '{stem}'",
                where=path,
                expected=f"the name of one of its {len(frames)} frames, {frames[0].name} to {frames[-1].name}",
            )
    return {named[stem]: (by_name[named[stem]], path) for stem, path in extra.maps.items()}


def _read_map(path: Path, extra: ExtraMasks, size: tuple[int, int]) -> np.ndarray:
    """Return a map (H, W) uint8 of the values that the table names; 255 beside 0 alone is the one thing there is."""
    labels = read_coloured_mask(path, size=size)
    if len(extra.objects) == 1 and VOID not in extra.objects and labels.any() and is_0_or_255(labels):
        return (labels // VOID) * np.uint8(next(iter(extra.objects)))
    return labels


class MendedLabels(FrameLabels):
    """The objects of a frame, and beside them those of another tool: their values with a minus.

    A pixel that the source gives to an object stays that object's.

    Attributes:
        drawn: Pixels of each added object on its map.
        taken: Of those, how many the source gives to an object of its own, by (added object, source's object).

    Args:
        labels: Of the source.
        added: (H, W) uint8, the values of the other tool.
    """

    def __init__(self, labels: FrameLabels, added: np.ndarray) -> None:
        self.labels = labels
        self.size = labels.size
        counts = np.bincount(added.ravel(), minlength=256)
        self.drawn = {number: int(counts[number]) for number in range(1, 256) if counts[number]}
        self.taken: dict[tuple[int, int], int] = {}
        self._own = labels.areas()
        for number in self._own:
            under = np.bincount(added[labels.union([number]) > 0], minlength=256)
            self.taken |= {(value, number): int(under[value]) for value in self.drawn if under[value]}
        self.added = np.where(labels.union(self._own) > 0, np.uint8(0), added) if self._own else added
        self._areas = np.bincount(self.added.ravel(), minlength=256)

    def areas(self) -> dict[int, int]:
        added = {-number: int(self._areas[number]) for number in self.drawn if self._areas[number]}
        return {**self._own, **added}

    @property
    def void(self) -> int:
        return self.labels.void

    def union(self, objects: Iterable[int]) -> np.ndarray:
        numbers = list(objects)
        own, added = [n for n in numbers if n > 0], [-n for n in numbers if n < 0]
        out = self.labels.union(own) if own else np.zeros(self.size, np.uint8)
        return out | np.isin(self.added, added).view(np.uint8) if added else out


def mended_labels(labels: FrameLabels, frame: SourceFrame, extra: ExtraMasks | None) -> FrameLabels:
    """Return the objects of a frame with those of another tool, where there is a map of it.

    Raises:
        MaskError: The map is broken or of another size.
    """
    if extra is None:
        return labels
    stem = match_stems([frame.name], list(extra.maps)).get(frame.name)
    return labels if stem is None else MendedLabels(labels, _read_map(extra.maps[stem], extra, labels.size))
