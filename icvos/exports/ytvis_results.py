"""A run's masks in the form of YouTube-VIS' results, which go with its benchmark's own export."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark, Episode
from icvos.demo.benchmarks import open_benchmark
from icvos.errors import InputError, RunError, UsageError
from icvos.exports.coco_json import json_line, json_list, pixels
from icvos.exports.contents import collect, video_ids
from icvos.exports.folder import ExportFolder
from icvos.exports.formats import ExportOptions
from icvos.files import check_id, read_csv, read_json
from icvos.masks import LARGEST_SIDE, code_area, read_mask, segmentation_code, thing_of
from icvos.progress import Progress, Update
from icvos.runs.run import Run

__all__ = ["problems", "write"]

EPISODES = "episodes.csv"
COLUMNS = (
    *("episode", "results", "video_id", "category_id", "video", "category_name", "draw"),
    *("frames", "height", "width"),
)


def write(subject: Run, folder: ExportFolder, options: ExportOptions, progress: Progress) -> None:
    """Write ``results_d0.json``, … and ``episodes.csv``, which says what each entry of them is.

    YouTube-VIS' scorer takes each entry for a thing of its own, so that each draw of supports (each run, where the
    benchmark's list is of several) has a file. Ids are those of the benchmark's own export; the score is 1 of all, as
    masks have none. An episode that failed is null on every frame.

    Raises:
        UsageError: The run has no such masks, or the benchmark is another one.
        RunError: Masks are missing.
    """
    _check_sizes(subject)
    benchmark = _benchmark(subject, options.benchmark)
    episodes = [episode for episode in benchmark.episodes if episode.id in subject.by_id]
    if len(episodes) != len(subject.records):
        raise RunError("it has episodes that its benchmark has not", where=subject.where)
    for episode in episodes:
        if not (subject.by_id[episode.id].get("error") or _masks(subject, episode).is_dir()):
            raise UsageError(
                f"the run has no masks of episode {episode.id}",
                where=subject.where,
                fix="evaluate again with --save-masks, into another --out",
            )
    by_file: dict[str, list[Episode]] = {}
    for episode in episodes:
        by_file.setdefault(_file(episode), []).append(episode)
    folder.write(EPISODES, lambda: _table(benchmark, by_file))
    done = 0
    for name, mine in sorted(by_file.items()):
        folder.write(name, partial(_results, subject, benchmark, folder, mine))
        done += len(mine)
        progress(Update("episodes", done, len(episodes)))


def _check_sizes(run: Run) -> None:
    """Refuse a run whose masks are not of its videos' frames, and a record."""
    if run.where.is_file():
        raise UsageError("a board's record has no masks", where=run.where, fix="export the run that it was made of")
    if run.image:
        raise UsageError(
            "a run of few-shot images has no form 'ytvis'", where=run.where, fix="--to csv has its figures"
        )
    if run.rules.size is not None:
        size = "{}x{}".format(*run.rules.size)
        raise UsageError(
            f"the run's masks are of {size} (HxW), as protocol {run.protocol} has it",
            where=run.where,
            expected="masks of the videos' own sizes",
            fix="evaluate by --protocol native",
        )
    if run.result["protocol"].get("limit_frames"):
        raise UsageError(
            "the run has masks of the first frames alone", where=run.where, fix="evaluate without --limit-frames"
        )


def _benchmark(run: Run, where: str) -> Benchmark:
    folder = where or (run.run.get("environment") or {}).get("benchmark_folder")
    if not isinstance(folder, str) or not (where or Path(folder).is_dir()):
        raise UsageError("the run's benchmark is not where it was", where=run.where, fix="say where with --benchmark")
    benchmark = open_benchmark(folder)[0]
    if benchmark.manifest_sha256 != run.result["benchmark"].get("manifest_sha256"):
        raise UsageError(
            "the run is of another benchmark", where=benchmark.root, fix="--benchmark says where its own is"
        )
    return benchmark


def _masks(run: Run, episode: Episode) -> Path:
    return run.where / "masks" / episode.id


def _file(episode: Episode) -> str:
    return f"results_d{episode.draw}.json" if episode.run is None else f"results_r{episode.run}.json"


def _table(benchmark: Benchmark, by_file: Mapping[str, Sequence[Episode]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    ids = video_ids(benchmark)
    for name, episodes in sorted(by_file.items()):
        for episode in episodes:
            record = benchmark.videos[episode.video]
            about = (episode.id, name, ids[episode.video], episode.category, episode.video, episode.category_name)
            writer.writerow((*about, episode.draw, record.frames, record.height, record.width))
    return stream.getvalue().encode()


def _results(run: Run, benchmark: Benchmark, folder: ExportFolder, episodes: Sequence[Episode]) -> Iterator[bytes]:
    ids = video_ids(benchmark)
    yield from json_list(
        folder.part(episode.id, partial(_entry, run, benchmark, episode, ids[episode.video])) for episode in episodes
    )
    yield b"\n"


def _entry(run: Run, benchmark: Benchmark, episode: Episode, video_id: int) -> bytes:
    record = benchmark.videos[episode.video]
    codes: list[Any] = [None] * record.frames
    if not run.by_id[episode.id].get("error"):
        for index in range(record.frames):
            path = _masks(run, episode) / f"{index:05d}.png"
            mask = thing_of(read_mask(path, size=(record.height, record.width)), where=path)
            codes[index] = (pixels(mask) or {}).get("segmentation")
    about = {"video_id": video_id, "category_id": episode.category, "score": 1.0, "segmentations": codes}
    return json_line({**about, "episode": episode.id, "draw": episode.draw})


def problems(root: Path) -> Sequence[str]:
    """Return what is wrong: entries that are not those of ``episodes.csv``, or masks of another size or length."""
    return collect(_problems(root))


def _problems(root: Path) -> Iterator[str]:
    by_file: dict[str, list[dict[str, str]]] = {}
    for row in read_csv(root / EPISODES, COLUMNS):
        by_file.setdefault(check_id(row["results"], "file"), []).append(row)
    for name, rows in by_file.items():
        entries = read_json(root / name)
        if not isinstance(entries, list) or len(entries) != len(rows):
            yield f"{name}: it is no list of {len(rows)} entries, as {EPISODES} says"
            continue
        for entry, row in zip(entries, rows):
            problem = _entry_problem(entry, row)
            if problem is not None:
                yield f"{name}: {problem}"


def _entry_problem(entry: Any, row: Mapping[str, str]) -> str | None:
    if not isinstance(entry, dict):
        return f"the entry of {row['episode']} is no object"
    for name in ("episode", "video_id", "category_id", "draw"):
        if str(entry.get(name)) != row[name]:
            return f"the entry of {row['episode']} has another {name} than {EPISODES}"
    codes, score = entry.get("segmentations"), entry.get("score")
    if not isinstance(score, (int, float)) or not 0 <= score <= 1:
        return f"the score of {row['episode']} is no number of 0 to 1"
    try:
        frames, height, width = (int(row[name]) for name in ("frames", "height", "width"))
    except ValueError:
        raise InputError(f"frames, height or width of {row['episode']} is no number", where=EPISODES) from None
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        return f"{row['episode']} is {height}x{width} (HxW)"
    if not isinstance(codes, list) or len(codes) != frames:
        return f"{row['episode']} has no {frames} segmentations"
    for index, code in enumerate(codes):
        try:
            marked = segmentation_code(code, (height, width)) if code is not None else None
            if code is not None and (marked is None or not code_area(marked)):
                return f"segmentations[{index}] of {row['episode']} is empty, and not null"
        except ValueError as problem:
            return f"segmentations[{index}] of {row['episode']} is broken ({problem})"
    return None
