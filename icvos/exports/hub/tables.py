"""A folder as the Hugging Face Hub takes it: a dataset card and Parquet tables, the masks among them.

Masks are PNG files, byte for byte those of the benchmark. Images are in it only where that is asked for; their names
and hashes are always, so that whoever builds the benchmark can tell that they have the same.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from icvos.benchmark import Benchmark, Pair
from icvos.errors import BenchmarkError
from icvos.exports.about import About
from icvos.exports.columns import table_columns, typed_rows
from icvos.exports.contents import check_tables, source_frames
from icvos.exports.folder import ExportFolder
from icvos.exports.formats import ExportOptions
from icvos.exports.hub.card import CARD, LICENSE, PLAIN, TASKS, card, license_text, tasks_text
from icvos.files import read_file
from icvos.manifest import NAME as MANIFEST
from icvos.manifest import manifest_rows, verify_frames, verify_query, verify_supports
from icvos.masks import decode_mask
from icvos.progress import Progress, Update
from icvos.view import View

__all__ = ["write"]

SHARD = 128 << 20
"""Bytes of pictures in a Parquet file, about, which is made in memory; a video that has more has a file of its own."""
GROUP_BYTES, GROUP_ROWS = 16 << 20, 1000
"""Of a row group, which readers take as a whole; it ends with the row that reaches either."""
ROW = 200
"""Bytes of a row beside its pictures, about."""

TEXT, INTEGER, IMAGE = "text", "integer", "image"
_CATEGORY = {"category": INTEGER, "category_name": TEXT}
_FILE = {"file": TEXT, "sha256": TEXT}
SCHEMAS = {
    "frames": {"video": TEXT, "frame": INTEGER, "source_frame": TEXT, **_FILE},
    "masks": {"video": TEXT, **_CATEGORY, "frame": INTEGER, "area": INTEGER, "mask": IMAGE},
    "queries": {"query": TEXT, **_CATEGORY, **_FILE, "area": INTEGER, "mask": IMAGE},
    "supports": {"support": TEXT, **_CATEGORY, **_FILE, "area": INTEGER, "mask": IMAGE},
}
"""Columns of the tables with pictures; where images are written, those that name a file have ``image`` too."""

Row = dict[str, Any]


@dataclass(frozen=True)
class _Part:
    """What no shard divides: the rows of a video, or of a picture.

    Attributes:
        size: Bytes, about.
        rows: Makes them.
    """

    size: int
    rows: Callable[[], Iterable[Row]]


def write(subject: Benchmark, folder: ExportFolder, options: ExportOptions, progress: Progress) -> None:
    """Write the card, licences and tasks, ``data/<table>.parquet`` and ``data/<table>/00000.parquet`` onwards.

    Raises:
        BenchmarkError: A file of the benchmark changed, is missing, or is none that it may be.
    """
    view = View(subject)
    check_tables(subject)
    tables = [name for name in PLAIN if (subject.root / f"{name}.csv").is_file()]
    for name in tables:
        path = subject.root / f"{name}.csv"
        folder.write(f"data/{name}.parquet", partial(_table, path))
    pictures = _pictures(view, options.with_frames)
    total = sum(map(len, pictures.values()))
    done = 0
    for name, parts in pictures.items():
        for number, shard in enumerate(_shards(parts)):
            folder.write(
                f"data/{name}/{number:05d}.parquet", partial(_shard, _schema(name, options.with_frames), shard)
            )
            done += len(shard)
            progress(Update("videos and images", done, total))
    about, masks = About(subject), _mask_count(subject)
    folder.write(
        CARD, lambda: card(about, tables, list(pictures), masks, with_images=options.with_frames).encode("utf-8")
    )
    folder.write(LICENSE, lambda: license_text(about).encode("utf-8"))
    if not about.tubes:
        folder.write(TASKS, lambda: tasks_text(about).encode("utf-8"))


def _schema(name: str, with_images: bool) -> dict[str, str]:
    columns = SCHEMAS[name]
    return {**columns, "image": IMAGE} if with_images and "file" in columns else columns


def _mask_count(benchmark: Benchmark) -> int:
    if benchmark.kind == "image":
        return len({(episode.video, episode.category) for episode in benchmark.episodes})
    return sum(benchmark.videos[video].frames for video, _ in benchmark.pairs)


def _pictures(view: View, with_images: bool) -> dict[str, list[_Part]]:
    """Return the parts of each table with pictures, in the order in which they are written."""
    bench = view.benchmark
    tables: dict[str, list[_Part]] = {}
    categories = {episode.category: episode.category_name for episode in bench.episodes}
    if bench.kind == "image":
        asked = sorted({(episode.video, episode.category) for episode in bench.episodes})
        tables["queries"] = [_image_part(bench, "queries", *key, categories, with_images) for key in asked]
    else:
        pairs: dict[str, list[Pair]] = {}
        for pair in bench.pairs.values():
            pairs.setdefault(pair.video, []).append(pair)
        names = source_frames(bench)
        tables["frames"] = [_frames_part(bench, video, names.get(video, []), with_images) for video in bench.videos]
        tables["masks"] = [_masks_part(view, video, of) for video, of in pairs.items()]
    shown = sorted({(name, episode.category) for episode in bench.episodes for name in episode.supports})
    if shown:
        tables["supports"] = [_image_part(bench, "supports", *key, categories, with_images) for key in shown]
    return tables


def _listed(benchmark: Benchmark, prefix: str) -> list[tuple[str, int, str]]:
    return list(manifest_rows(benchmark.root / MANIFEST, prefix))


def _frames_part(benchmark: Benchmark, video: str, names: Sequence[str | None], with_images: bool) -> _Part:
    prefix = f"videos/{video}/JPEGImages/"

    def rows() -> Iterator[Row]:
        if with_images:
            verify_frames(benchmark, video, len(names))
        files = {PurePosixPath(path).stem: (path, sha256) for path, _, sha256 in _listed(benchmark, prefix)}
        for frame, name in enumerate(names):
            if f"{frame:05d}" not in files:
                raise BenchmarkError(f"frame {frame:05d} is not in the manifest", where=benchmark.root / prefix)
            path, sha256 = files[f"{frame:05d}"]
            row = {"video": video, "frame": frame, "source_frame": name, "file": path, "sha256": sha256}
            yield {**row, "image": _picture(benchmark.root, path)} if with_images else row

    pictures = sum(size for _, size, _ in _listed(benchmark, prefix)) if with_images else 0
    return _Part(pictures + ROW * len(names), rows)


def _masks_part(view: View, video: str, pairs: Sequence[Pair]) -> _Part:
    bench = view.benchmark

    def rows() -> Iterator[Row]:
        for pair in pairs:
            for frame, mask in enumerate(view.truth(video, pair.category)):
                yield {
                    "video": video,
                    "category": pair.category,
                    "category_name": pair.category_name,
                    "frame": frame,
                    "area": int(np.count_nonzero(mask)),
                    "mask": _picture(bench.root, f"videos/{video}/Annotations/{pair.category}/{frame:05d}.png"),
                }

    size = sum(size + ROW for _, size, _ in _listed(bench, f"videos/{video}/Annotations/"))
    return _Part(size, rows)


def _image_part(
    benchmark: Benchmark, role: str, name: str, category: int, categories: Mapping[int, str], with_images: bool
) -> _Part:
    """Return the part of a query or a support: one row."""
    mask = f"{role}/masks/{category}/{name}.png"
    # Behind a name another may go on with a dot.
    files = [row for row in _listed(benchmark, f"{role}/images/{name}.") if PurePosixPath(row[0]).stem == name]

    def rows() -> Iterator[Row]:
        verify = verify_query if role == "queries" else verify_supports
        verify(benchmark, category, name)
        if not files:
            raise BenchmarkError(f"image '{name}' is not in the manifest", where=benchmark.root / role / "images")
        path, _, sha256 = files[0]
        picture = _picture(benchmark.root, mask)
        labels = decode_mask(picture["bytes"], benchmark.root / mask)
        row = {
            "query" if role == "queries" else "support": name,
            "category": category,
            "category_name": categories[category],
            "file": path,
            "sha256": sha256,
            "area": int(np.count_nonzero(labels == 1)),
            "mask": picture,
        }
        yield {**row, "image": _picture(benchmark.root, path)} if with_images else row

    pictures = [*_listed(benchmark, mask), *(files if with_images else ())]
    return _Part(sum(size for _, size, _ in pictures) + ROW, rows)


def _picture(root: Path, path: str) -> dict[str, Any]:
    """Return a picture's file as the Hub's libraries store it."""
    try:
        return {"bytes": read_file(root / path), "path": path}
    except OSError as problem:
        raise BenchmarkError(f"file cannot be read ({problem.strerror})", where=root / path) from None


def _shards(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Yield parts together, as many as fit into a shard; where they are divided hangs on the manifest alone."""
    shard: list[_Part] = []
    size = 0
    for part in parts:
        if shard and size + part.size > SHARD:
            yield shard
            shard, size = [], 0
        shard.append(part)
        size += part.size
    yield shard  # a table without a row has a file, too


def _table(path: Path) -> bytes:
    return _parquet({name: column.kind for name, column in table_columns(path).items()}, typed_rows(path))


def _shard(columns: Mapping[str, str], parts: Sequence[_Part]) -> bytes:
    return _parquet(columns, (row for part in parts for row in part.rows()))


def _parquet(columns: Mapping[str, str], rows: Iterable[Row]) -> bytes:
    """Return rows as a Parquet file whose schema says to the library ``datasets`` which columns are pictures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    types = {"text": pa.string(), "integer": pa.int64(), "float": pa.float64(), "image": picture}
    names = {"text": "string", "integer": "int64", "float": "float64"}
    features = {
        name: {"_type": "Image"} if kind == IMAGE else {"dtype": names[kind], "_type": "Value"}
        for name, kind in columns.items()
    }
    schema = pa.schema(
        [(name, types[kind]) for name, kind in columns.items()],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    buffer = io.BytesIO()
    repeat = [name for name, kind in columns.items() if kind == TEXT]
    # What is compressed already, as PNG and JPEG files are, is not looked at for values that come twice.
    with pq.ParquetWriter(buffer, schema, compression="zstd", use_dictionary=repeat) as writer:
        group: list[Row] = []
        size = 0
        for row in rows:
            group.append(row)
            size += sum(len(row[name]["bytes"]) for name, kind in columns.items() if kind == IMAGE)
            if size >= GROUP_BYTES or len(group) >= GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group, size = [], 0
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema))
    return buffer.getvalue()
