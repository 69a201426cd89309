"""A competition on Codabench as a bundle: a folder and its zip, which make the competition where they are uploaded.

``bundle/reference_data`` is the benchmark without a frame or support, with its whole manifest, so that it is the same
benchmark to ``icvos score``. Participants see neither it nor the manifest, whose hashes would tell which masks are
empty: what they get with frames is written for them.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

import icvos
from icvos.benchmark import Benchmark, Episode, load_benchmark
from icvos.errors import BenchmarkError, IcvosError, printable
from icvos.evaluation.torch_state import episode_seed
from icvos.exports.codabench.archive import differences, write_archive
from icvos.exports.codabench.competition import Competition, columns_of, plan_competition
from icvos.exports.codabench.pages import write_pages
from icvos.exports.contents import check_tables
from icvos.exports.folder import ExportFolder, read_content
from icvos.exports.formats import ExportOptions
from icvos.files import atomic_write, read_json, read_text, to_json
from icvos.images import SQUEEZED
from icvos.manifest import NAME as MANIFEST
from icvos.manifest import TABLES, iter_files, manifest_rows, read_listed
from icvos.masks import decode_mask, encode_mask
from icvos.models.program import SCHEMA as REQUEST
from icvos.progress import Progress, Update
from icvos.protocols import Protocol
from icvos.runs.episodes import RunOptions, get_run_protocol, select_episodes
from icvos.view import View

__all__ = ["problems", "write"]

BUNDLE, ARCHIVE = "bundle", "bundle.zip"
YAML = "competition.yaml"
REFERENCE, PROGRAM, PUBLIC = "reference_data", "scoring_program", "public_data"
CODE = "icvos.zip"

# Codabench puts the program there, and the folders beside it.
COMMAND = "python3 /app/program/score.py /app/input /app/output"
REQUIREMENTS = ("click>=8.2.1", "numpy>=1.26", "pillow>=11")
"""What scoring imports, with the bounds of icvos' own requirements."""
LETTERBOX_REQUIREMENT = "opencv-python-headless>=4.9.0.80"
"""What protocols that resize otherwise than by the nearest pixel need beside: OpenCV, without its windows."""

Row = tuple[str, int, str]


def write(subject: Any, folder: ExportFolder, options: ExportOptions, progress: Progress) -> None:
    """Write ``bundle`` and ``bundle.zip`` of a ``Benchmark``.

    Raises:
        UsageError: An option does not fit the benchmark.
        BenchmarkError: A file of the benchmark changed or is missing.
    """
    check_tables(subject)
    competition = plan_competition(subject, options)
    # JSON is YAML.
    folder.write(f"{BUNDLE}/{YAML}", lambda: to_json(competition.content).encode())
    folder.write(f"{BUNDLE}/logo.png", _logo)
    for path, text in write_pages(competition).items():
        folder.write(f"{BUNDLE}/{path}", text.encode)
    _write_program(competition, folder)
    root = subject.root
    folder.write(f"{BUNDLE}/{REFERENCE}/{MANIFEST}", (root / MANIFEST).read_bytes)
    for name in TABLES:
        for row in manifest_rows(root / MANIFEST, name):
            folder.write(f"{BUNDLE}/{REFERENCE}/{row[0]}", partial(read_listed, root, *row))
    videos = _by_video(competition.episodes)
    for done, episodes in enumerate(videos.values(), 1):
        for row in _truth_rows(subject, episodes):
            folder.write(f"{BUNDLE}/{REFERENCE}/{row[0]}", partial(read_listed, root, *row))
        if options.with_frames:
            _write_public(competition, episodes, folder, options)
        progress(Update("videos", done, len(videos)))
    if not (folder.root / ARCHIVE).is_file():
        bundle = folder.root / BUNDLE
        with atomic_write(folder.root / ARCHIVE) as stream:
            write_archive(stream, ((path, bundle / path) for path in iter_files(bundle)))


def _by_video(episodes: Iterable[Episode]) -> dict[str, list[Episode]]:
    videos: dict[str, list[Episode]] = {}
    for episode in episodes:
        videos.setdefault(episode.video, []).append(episode)
    return videos


def _logo() -> bytes:
    """Return a small picture: a thing and its mask, beside another of its kind."""
    rows, columns = np.mgrid[:128, :128]
    labels = np.zeros((128, 128), np.uint8)
    labels[(rows - 44) ** 2 + (columns - 44) ** 2 < 28**2] = 2
    labels[(rows - 86) ** 2 + (columns - 86) ** 2 < 28**2] = 4
    return encode_mask(labels, colours=True)


# What scores.


def requirements(protocol: Protocol) -> list[str]:
    """Return what scoring by a protocol imports beside icvos, as pip is told it."""
    letterbox = protocol.size is not None and protocol.resizing is not SQUEEZED
    return sorted([*REQUIREMENTS, *([LETTERBOX_REQUIREMENT] if letterbox else [])])


def _write_program(competition: Competition, folder: ExportFolder) -> None:
    program = f"{BUNDLE}/{PROGRAM}"
    needs = "".join(f"{line}\n" for line in requirements(competition.protocol))
    docker = f"FROM {competition.docker_image}\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n"
    folder.write(f"{program}/metadata.yaml", f"command: {COMMAND}\n".encode)
    folder.write(f"{program}/settings.json", to_json(competition.settings).encode)
    folder.write(f"{program}/requirements.txt", needs.encode)
    folder.write(f"{program}/Dockerfile", docker.encode)
    folder.write(f"{program}/score.py", Path(__file__).with_name("start.py").read_bytes)
    folder.write(f"{program}/{CODE}", _code)


def _code() -> bytes:
    """Return this icvos' own modules as an archive that Python imports from; the compiled one is left out.

    It is of one kind of machine, and numpy computes the same.
    """
    root = Path(icvos.__file__).parent
    names = [name for name in iter_files(root) if name.endswith(".py")]
    buffer = io.BytesIO()
    write_archive(buffer, ((f"{root.name}/{name}", root / name) for name in names))
    return buffer.getvalue()


# What it scores by.


def _truth_rows(benchmark: Benchmark, episodes: Sequence[Episode]) -> list[Row]:
    """Return the rows of the manifest that are the ground truth of a video's or a query's episodes.

    Raises:
        BenchmarkError: Some are missing.
    """
    rows: list[Row] = []
    for video, category in dict.fromkeys((episode.video, episode.category) for episode in episodes):
        if benchmark.kind == "image":
            rows.append(_row(benchmark, f"queries/masks/{category}", video))
        else:
            rows += _rows(benchmark, f"videos/{video}/Annotations/{category}", benchmark.videos[video].frames)
    return rows


def _rows(benchmark: Benchmark, path: str, count: int) -> list[Row]:
    """Return the rows of a folder with a file for each of ``count`` frames, in their order."""
    rows = list(manifest_rows(benchmark.root / MANIFEST, f"{path}/"))
    if [Path(row[0]).stem for row in rows] != [f"{index:05d}" for index in range(count)]:
        raise BenchmarkError(
            f"{path} has {len(rows)} files", where=benchmark.root, expected=f"00000 to {count - 1:05d}"
        )
    return rows


def _row(benchmark: Benchmark, path: str, name: str) -> Row:
    """Return the row of a folder's file, by its name without suffix."""
    for row in manifest_rows(benchmark.root / MANIFEST, f"{path}/{name}."):
        if Path(row[0]).stem == name:
            return row
    raise BenchmarkError(f"'{name}' is not in the manifest", where=benchmark.root / path, fix="build it again")


# What participants get.


def _write_public(
    competition: Competition, episodes: Sequence[Episode], folder: ExportFolder, options: ExportOptions
) -> None:
    """Write the frames of a video (or a query), and a folder for each of its episodes."""
    video, benchmark = episodes[0].video, competition.benchmark
    if benchmark.kind == "image":
        rows, size = [_row(benchmark, "queries/images", video)], benchmark.query_size(episodes[0])
    else:
        record = benchmark.videos[video]
        rows, size = _rows(benchmark, f"videos/{video}/JPEGImages", record.frames), (record.height, record.width)
    count = competition.view.frame_count(episodes[0])
    suffix = Path(rows[0][0]).suffix
    if size is None or any(Path(row[0]).suffix != suffix for row in rows):
        raise BenchmarkError("frames are of several formats, or of no size", where=benchmark.root / rows[0][0])
    for index, row in enumerate(rows[:count]):
        _place(folder, f"{PUBLIC}/videos/{video}/{index:05d}{suffix}", benchmark.root, row, link=options.link)
    for episode in episodes:
        request = {
            "schema": REQUEST,
            "count": count,
            "size": list(size),
            "seed": episode_seed(0, episode.id),
            "supports": list(_supports(competition, episode, folder, options, f"{video}/00000{suffix}")),
            "frames": f"../../videos/{video}/%05d{suffix}",
            "masks": f"../../masks/{episode.id}/%05d.png",
        }
        folder.write(f"{BUNDLE}/{PUBLIC}/episodes/{episode.id}/request.json", to_json(request).encode)


def _supports(
    competition: Competition, episode: Episode, folder: ExportFolder, options: ExportOptions, first: str
) -> Iterator[dict[str, str | None]]:
    """Write the supports of an episode, where they are not there yet; yield what its request says of each."""
    benchmark, category = competition.benchmark, episode.category
    root = benchmark.root
    if benchmark.vos:
        row = _row(benchmark, f"videos/{episode.video}/Annotations/{category}", "00000")
        yield {"image": f"../../videos/{first}", **_masks(folder, episode.id, root, row)}
        return
    for name in episode.supports[: competition.shots]:
        image, row = _row(benchmark, "supports/images", name), _row(benchmark, f"supports/masks/{category}", name)
        path = f"supports/images/{Path(image[0]).name}"
        _place(folder, f"{PUBLIC}/{path}", root, image, link=options.link)
        yield {"image": f"../../{path}", **_masks(folder, f"{category}/{name}", root, row)}


def _masks(folder: ExportFolder, name: str, root: Path, row: Row) -> dict[str, str | None]:
    """Write where a support's thing is, and where that is not known, as 0 and 255; return the paths."""
    labels = decode_mask(read_listed(root, *row), root / row[0])
    paths: dict[str, str | None] = {"mask": None, "ignore": None}
    for what, pixels in (("mask", labels == 1), ("ignore", labels == 255)):
        if what == "mask" or pixels.any():
            path = f"supports/{what}s/{name}.png" if what == "mask" else f"supports/{what}/{name}.png"
            folder.write(f"{BUNDLE}/{PUBLIC}/{path}", partial(encode_mask, np.where(pixels, 255, 0)))
            paths[what] = f"../../{path}"
    return paths


def _place(folder: ExportFolder, path: str, root: Path, row: Row, *, link: bool) -> None:
    if link:
        read_listed(root, *row)
        folder.place(f"{BUNDLE}/{path}", root / row[0], link=True)
    else:
        folder.write(f"{BUNDLE}/{path}", partial(read_listed, root, *row))


# The check.


def problems(root: Path) -> Sequence[str]:
    """Return what is wrong with a bundle, a line each.

    Each file that ``competition.yaml`` names is there, the leaderboard has the columns that are written, the ground
    truth is that of the benchmark and whole, and the archive holds what the folder does.
    """
    bundle = root / BUNDLE
    try:
        wrong = [*_of_yaml(bundle), *_of_program(bundle), *_of_reference(root)]
    except IcvosError as error:
        return [str(error)]
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        what = f"{type(error).__name__}: {printable(str(error))}"
        return [f"{YAML}, settings.json or a request.json: it is not as Codabench and icvos have it ({what})"]
    return wrong or differences(root / ARCHIVE, bundle, list(iter_files(bundle)))


def _of_yaml(bundle: Path) -> Iterator[str]:
    content = read_json(bundle / YAML)
    task, phase = content["tasks"][0], content["phases"][0]
    named = [content["image"], content["terms"], *(page["file"] for page in content["pages"])]
    named += [
        task["reference_data"],
        task["scoring_program"],
        *([phase["public_data"]] if "public_data" in phase else []),
    ]
    there = set(iter_files(bundle))
    there |= {str(folder) for path in there for folder in PurePosixPath(path).parents}
    for path in named:
        if path not in there or path == ".":
            yield f"{YAML}: it names '{path}', which is missing"
    if str(content["version"]) != "2" or phase["tasks"] != [task["index"]] or not phase["start"]:
        yield f"{YAML}: it is no bundle of version 2 with a phase that begins and has the task"
    keys = [column["key"] for column in content["leaderboards"][0]["columns"]]
    if keys != list(read_json(bundle / PROGRAM / "settings.json")["columns"]):
        yield f"{YAML}: the leaderboard has other columns than the scoring program writes"


def _of_program(bundle: Path) -> Iterator[str]:
    program = bundle / PROGRAM
    if read_text(program / "metadata.yaml") != f"command: {COMMAND}\n":
        yield f"{PROGRAM}/metadata.yaml: its command is another than: {COMMAND}"
    for name in ("score.py", "requirements.txt", CODE):
        if not (program / name).is_file():
            yield f"{PROGRAM}/{name}: is missing"


def _of_reference(root: Path) -> Iterator[str]:
    """Yield what keeps ``icvos score`` from the ground truth."""
    reference, about = root / BUNDLE / REFERENCE, read_content(root)["benchmark"]
    told = read_json(root / BUNDLE / PROGRAM / "settings.json")
    benchmark = load_benchmark(reference)
    check_tables(benchmark)
    if not about["manifest_sha256"] == told["manifest_sha256"] == benchmark.manifest_sha256:
        yield f"{REFERENCE}: it is of another benchmark than export.json or settings.json says"
        return
    protocol = get_run_protocol(benchmark, told["protocol"])
    if told["columns"] != {key: metric.name for key, metric in columns_of(protocol).items()}:
        yield f"{PROGRAM}/settings.json: its columns are not those of protocol '{protocol.name}'"
    episodes = select_episodes(benchmark, protocol, RunOptions(protocol.name))
    benchmark.check_shots(episodes, told["shots"])
    wanted = {MANIFEST}
    for name in TABLES:
        wanted.update(row[0] for row in manifest_rows(reference / MANIFEST, name))
    for of_video in _by_video(episodes).values():
        for row in _truth_rows(benchmark, of_video):
            read_listed(reference, *row)
            wanted.add(row[0])
    for path in iter_files(reference):
        if path not in wanted:
            yield f"{REFERENCE}/{path}: the ground truth needs no such file"
    if (root / BUNDLE / PUBLIC).exists():
        yield from _of_public(root / BUNDLE / PUBLIC, View(benchmark, protocol), episodes, told["shots"])


def _of_public(public: Path, view: View, episodes: Sequence[Episode], shots: int) -> Iterator[str]:
    """Yield which episodes participants cannot make masks of, and what is there that no episode names."""
    named, there = set(), set(iter_files(public))
    for episode in episodes:
        folder = f"episodes/{episode.id}"
        request = read_json(public / folder / "request.json")
        count, supports = view.frame_count(episode), request["supports"]
        form = re.fullmatch(r"(\.\./\.\./videos/[\w.-]+/)%05d(\.\w+)", request["frames"], re.ASCII)
        told = 1 if view.benchmark.vos else len(episode.supports[:shots])
        if form is None or (request["count"], len(supports)) != (count, told):
            yield f"{PUBLIC}/{folder}/request.json: it wants other frames or supports than the benchmark has"
            continue
        paths = [f"{form[1]}{index:05d}{form[2]}" for index in range(count)]
        paths += [support[name] for support in supports for name in ("image", "mask", "ignore") if support[name]]
        here = {os.path.normpath(f"{folder}/{path}") for path in paths}
        yield from (f"{PUBLIC}/{path}: is missing" for path in sorted(here - there))
        named |= {f"{folder}/request.json", *here}
    yield from (f"{PUBLIC}/{path}: no episode names it" for path in sorted(there - named))
