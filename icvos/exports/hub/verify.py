"""The check of a folder for the Hugging Face Hub, which may be a stranger's."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from icvos.errors import IcvosError
from icvos.exports.hub.card import CARD, LICENSE, PICTURES, PLAIN
from icvos.masks import decode_mask

__all__ = ["problems"]

ROWS = 64
"""Rows that are held at a time, at most."""

Row = dict[str, Any]


def problems(root: Path) -> list[str]:
    """Return what is wrong: names that lead nowhere, counts that do not agree, pictures of another size or content."""
    try:
        return list(_Check(root).problems())
    except IcvosError as error:
        return [str(error)]
    except Exception as problem:  # what is in a stranger's Parquet file raises whatever it likes
        return [f"a table cannot be read: {' '.join(str(problem).split())[:200]}"]


class _Check:
    """A hub folder, read from its first to its last row; of pictures only one row group is held.

    Args:
        root: The folder, whose hashes agree with its manifest.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tables = [name for name in (*PLAIN, *PICTURES) if self._files(name)]

    def _files(self, name: str) -> list[Path]:
        one = self.root / "data" / f"{name}.parquet"
        return [one] if one.is_file() else sorted((self.root / "data" / name).glob("*.parquet"))

    def _rows(self, name: str) -> Iterator[Row]:
        import pyarrow.parquet as pq

        for path in self._files(name):
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_size=ROWS):
                    yield from batch.to_pylist()

    def problems(self) -> Iterator[str]:
        for name in (CARD, LICENSE):
            if not (self.root / name).is_file():
                yield f"{name} is missing"
        image = "queries" in self.tables
        wanted = ["queries", "episodes"] if image else ["videos", "pairs", "frames", "masks", "episodes"]
        missing = [f"the table {name} is missing" for name in wanted if name not in self.tables]
        if missing:
            yield from missing
            return
        if image:
            known = yield from self._images("queries", "query")
        else:
            yield from self._videos()
            known = {(row["video"], row["category"]) for row in self._rows("pairs")}
        shown = (yield from self._images("supports", "support")) if "supports" in self.tables else set()
        row = None
        for row in self._rows("episodes"):
            if (row["query" if image else "video"], row["category"]) not in known:
                yield f"episode {row['id']} is of nothing that is there"
            names = [name for column, name in row.items() if re.fullmatch("support_[0-9]+", column) and name]
            for name in names:
                if (name, row["category"]) not in shown:
                    yield f"episode {row['id']} has a support '{name}', which is not there"
        if row is None:
            yield "the table episodes has no row"

    def _videos(self) -> Iterator[str]:
        videos = {row["video"]: row for row in self._rows("videos")}
        frames: Counter[str] = Counter()
        for row in self._rows("frames"):
            video = row["video"]
            if video not in videos or row["frame"] != frames[video]:
                yield f"frame {row['frame']} of '{video}' is none of the video's, or out of order"
            frames[video] += 1
            yield from _other_image(row, f"frame {row['frame']} of '{video}'")
        for video, row in videos.items():
            if frames[video] != row["frames"]:
                yield f"'{video}' has {frames[video]} rows in frames, and {row['frames']} frames in videos"
        pairs = {(row["video"], row["category"]): row["visible_frames"] for row in self._rows("pairs")}
        masks: Counter[tuple[str, int]] = Counter()
        visible: Counter[tuple[str, int]] = Counter()
        for row in self._rows("masks"):
            key, where = (
                (row["video"], row["category"]),
                f"mask {row['frame']} of {row['category']} in '{row['video']}'",
            )
            if key not in pairs or key[0] not in videos or row["frame"] != masks[key]:
                yield f"{where} is of no pair, or out of order"
                continue
            masks[key] += 1
            labels = decode_mask(row["mask"]["bytes"], where, size=(videos[key[0]]["height"], videos[key[0]]["width"]))
            area = int(np.count_nonzero(labels))
            visible[key] += area > 0
            if labels.max(initial=0) > 1 or area != row["area"]:
                yield f"{where} is not of 0 and 1, or its area is another one"
        for key, count in pairs.items():
            if key[0] not in videos:
                yield f"a pair of '{key[0]}', which is no video"
            elif masks[key] != videos[key[0]]["frames"] or visible[key] != count:
                yield f"masks of {key[1]} in '{key[0]}' are not as many, or not as often visible, as pairs says"

    def _images(self, name: str, column: str) -> Generator[str, None, set[tuple[str, int]]]:
        """Yield what is wrong with a table of images and masks; return its keys."""
        known: set[tuple[str, int]] = set()
        for row in self._rows(name):
            key = (row[column], row["category"])
            where = f"{column} '{key[0]}' of {key[1]}"
            if key in known:
                yield f"{where} stands twice"
            known.add(key)
            labels = decode_mask(row["mask"]["bytes"], where)
            if not np.isin(labels, (0, 1, 255)).all() or int(np.count_nonzero(labels == 1)) != row["area"]:
                yield f"{where}: its mask is not of 0, 1 and 255, or its area is another one"
            yield from _other_image(row, where)
        return known


def _other_image(row: Row, where: str) -> Iterator[str]:
    if "image" in row and hashlib.sha256(row["image"]["bytes"]).hexdigest() != row["sha256"]:
        yield f"{where}: its image is another one (other SHA-256)"
