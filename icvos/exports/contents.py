"""What exports take over of a benchmark as it is: its header, its tables, its frames; and reading that again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from icvos.benchmark import FRAME_COLUMNS, Benchmark, Role, check_header
from icvos.errors import BenchmarkError, InputError
from icvos.exports.columns import typed_rows
from icvos.exports.folder import ExportFolder, read_content
from icvos.exports.formats import ExportOptions
from icvos.files import read_file, read_json
from icvos.progress import Progress, Update
from icvos.protocols import PROTOCOLS
from icvos.view import View

__all__ = [
    "HEADER",
    "categories_by_video",
    "check_tables",
    "collect",
    "missing_files",
    "open_tables",
    "place_frames",
    "source_frames",
    "stills_by_name",
    "unmarked",
    "video_ids",
    "write_tables",
]

HEADER = "header.json"
"""``benchmark.json`` as it is, under a name that makes no benchmark of the export."""
TABLES = {"video": ("episodes.csv", "frames.csv", "pairs.csv", "videos.csv"), "image": ("episodes.csv",)}


def check_tables(benchmark: Benchmark) -> None:
    """Compare tables with each other, before anything is made of a number that stands in one.

    Raises:
        BenchmarkError: There is no episode, or ``videos.csv`` says other frames than ``frames.csv`` lists.
    """
    if not benchmark.episodes:
        raise BenchmarkError("no episode", where=benchmark.root / "episodes.csv", fix="build it again")
    if benchmark.kind == "video":
        source_frames(benchmark)


def source_frames(benchmark: Benchmark) -> dict[str, list[str | None]]:
    """Return what each video's frames are called in their data set, in order.

    Raises:
        BenchmarkError: ``frames.csv`` is broken, or lists other frames than ``videos.csv`` says.
    """
    names: dict[str, list[str | None]] = {}
    path = benchmark.root / "frames.csv"
    for row in typed_rows(path, FRAME_COLUMNS):
        of = names.setdefault(row["video"], [])
        if row["frame"] != len(of):
            raise BenchmarkError(f"frames of '{row['video']}' are not in order", where=path, expected=f"{len(of):05d}")
        of.append(row["source_frame"])
    for video, record in benchmark.videos.items():
        if len(names.get(video, ())) != record.frames:
            raise BenchmarkError(
                f"'{video}' has {len(names.get(video, ()))} frames",
                where=path,
                expected=f"{record.frames}, of videos.csv",
            )
    return names


def write_tables(view: View, folder: ExportFolder) -> None:
    """Write a benchmark's header and tables, which opening its view has verified, byte for byte.

    Raises:
        BenchmarkError: As ``check_tables``.
    """
    check_tables(view.benchmark)
    root = view.benchmark.root
    folder.write(HEADER, partial(read_file, root / "benchmark.json"))
    for name in TABLES[view.benchmark.kind]:
        folder.write(name, partial(read_file, root / name))


def open_tables(root: Path) -> Benchmark:
    """Return what ``write_tables`` wrote, as a benchmark of which there is nothing but the tables.

    Raises:
        InputError: The header is missing or broken, or a table, as ``check_tables``.
    """
    path = root / HEADER
    header = check_header(read_json(path, BenchmarkError), path)
    benchmark = Benchmark(root, header, kind=read_content(root)["of"])
    check_tables(benchmark)
    return benchmark


def video_ids(benchmark: Benchmark) -> dict[str, int]:
    """Return the number of each video in an export, from 1, in the order of ``videos.csv``."""
    return {video: number for number, video in enumerate(benchmark.videos, 1)}


def categories_by_video(benchmark: Benchmark) -> dict[str, list[int]]:
    """Return the categories of each video, ascending; videos in the order of ``videos.csv``.

    Raises:
        BenchmarkError: A category is none of the vocabulary.
    """
    categories: dict[str, list[int]] = {video: [] for video in benchmark.videos}
    for video, category in benchmark.pairs:
        categories[video].append(category)
    _check_categories(benchmark, (category for _, category in benchmark.pairs))
    return {video: sorted(numbers) for video, numbers in categories.items()}


def stills_by_name(benchmark: Benchmark, role: Role) -> dict[str, list[int]]:
    """Return the categories in which an image is a support, or a query, ascending; images sorted by name.

    Raises:
        BenchmarkError: A category is none of the vocabulary.
    """
    stills: dict[str, set[int]] = {}
    for episode in benchmark.episodes:
        for name in episode.supports if role == "supports" else (episode.video,):
            stills.setdefault(name, set()).add(episode.category)
    _check_categories(benchmark, {number for numbers in stills.values() for number in numbers})
    return {name: sorted(stills[name]) for name in sorted(stills)}


def unmarked(benchmark: Benchmark, role: Role) -> set[tuple[str, int]]:
    """Return the images, each with a category, whose masks may be empty: those of episodes that other code drew."""
    stills = set()
    for episode in benchmark.episodes:
        protocol = PROTOCOLS.get(episode.protocol or "")
        if protocol is not None and protocol.verbatim:
            names = episode.supports if role == "supports" else (episode.video,)
            stills |= {(name, episode.category) for name in names}
    return stills


def _check_categories(benchmark: Benchmark, numbers: Iterable[int]) -> None:
    for number in numbers:
        if not 1 <= number <= len(benchmark.vocabulary):
            raise BenchmarkError(
                f"category {number} is none of the benchmark's",
                where=benchmark.root,
                expected=f"1 to {len(benchmark.vocabulary)}",
            )


def place_frames(
    view: View, folder: ExportFolder, options: ExportOptions, progress: Progress, inside: str = "JPEGImages/{video}"
) -> None:
    """Put the frames of all videos into an export.

    Args:
        view: Of the benchmark as it is stored.
        folder: The export.
        options: Whether they are linked.
        progress: Is told how many videos are done.
        inside: Where a video's frames lie.
    """
    videos = view.benchmark.videos
    for done, video in enumerate(videos, 1):
        for path in view.frame_paths(video):
            folder.place(f"{inside.format(video=video)}/{path.name}", path, link=options.link)
        progress(Update("videos' frames", done, len(videos)))


def missing_files(root: Path, files: Mapping[str, str]) -> Iterable[str]:
    """Yield a line for each image that an export with frames lacks.

    Args:
        root: The export.
        files: What each image is, by its path below ``root``.
    """
    options = read_content(root).get("options")
    if isinstance(options, dict) and options.get("with_frames"):
        yield from (f"{path}: {what} is missing" for path, what in files.items() if not (root / path).is_file())


def collect(problems: Iterable[str]) -> list[str]:
    """Return problems, and at their end that of a file that cannot be read, which ends the search."""
    found = []
    try:
        for problem in problems:
            found.append(problem)
    except InputError as error:
        found.append(str(error))
    return found
