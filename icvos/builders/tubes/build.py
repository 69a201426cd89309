"""Writing mask tubes in the layout of a benchmark, over processes, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icvos.builders.published import check_own_name
from icvos.builders.trial import BuildTrial, spread, trial_folder, try_tasks
from icvos.builders.tubes.plan import (
    BUILDER_VERSION,
    QUALITY,
    TubePlan,
    TubeReport,
    plan_mask_tubes,
    step_words,
    video_name,
)
from icvos.builders.tubes.tables import TubeTables, TubeWriter, tube_header
from icvos.builders.writer import write_file
from icvos.costs import bytes_in
from icvos.data.class_masks import ClassMasks
from icvos.data.mask_tubes import IGNORE, TubeRules, make_frame, plan_tube
from icvos.errors import InputError
from icvos.files import read_file, read_json
from icvos.manifest import Digest
from icvos.masks import encode_mask
from icvos.progress import Progress

__all__ = ["TubePlan", "TubeReport", "build_mask_tubes", "encode_jpeg", "plan_mask_tubes", "try_mask_tubes"]

_CHUNK = 16


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
    _make_folders(folder, category)
    files: dict[str, Digest] = {}
    visible, void = [], 0
    whole = _mask_png(labels)
    steps = plan_tube(task.rules, masks.names[image], category)
    for index, step in enumerate(steps):
        frame, moved = make_frame(pixels, labels, step)
        # The original stays as it is, to the byte.
        keep = not step and source.suffix.lower() in (".jpg", ".jpeg")
        path = f"JPEGImages/{index:05d}.jpg"
        files[path] = write_file(Path(f"{folder}/{path}"), read_file(source) if keep else encode_jpeg(frame))
        path = f"Annotations/{category}/{index:05d}.png"
        files[path] = write_file(Path(f"{folder}/{path}"), whole if moved is labels else _mask_png(moved))
        void += int(np.count_nonzero(moved == IGNORE)) if crowd else 0
        visible.append(1 in moved)
    return {
        "files": files,
        "size": list(labels.shape),
        "void": void,
        "crowd": crowd,
        "visible": sum(visible),
        "first": visible.index(True) if any(visible) else -1,
        "steps": [step_words(step) for step in steps],
    }


def _make_folders(folder: str, category: int) -> None:
    # Plain calls, as few as can be: on some disks they take longer than the pixels.
    try:
        os.mkdir(folder)  # noqa: PTH102
    except FileExistsError:
        # Half a tube of a killed build.
        shutil.rmtree(folder)
        os.mkdir(folder)  # noqa: PTH102
    for part in ("JPEGImages", "Annotations", f"Annotations/{category}"):
        os.mkdir(f"{folder}/{part}")  # noqa: PTH102


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
        UsageError: ``name`` is that of a published benchmark.
        InputError: Broken raw data, a full disk, or ``out`` is there already.
        LockedError: Another build works on ``out``.
    """
    check_own_name(name)
    tubes = plan.tubes
    pairs = [tubes.pairs[index] for index in plan.chosen]
    chunks = [tuple(pairs[start : start + _CHUNK]) for start in range(0, len(pairs), _CHUNK)]
    with TubeWriter(out, need=plan.estimate, resume=True) as writer:
        tasks = (
            _Task(tubes.masks, tubes.rules, chunk, writer.root, record)
            for chunk, record in zip(chunks, writer.records(chunks, tubes.masks))
        )
        (writer.root / "videos").mkdir(exist_ok=True)
        for _ in writer.work(
            _write_tubes, tasks, what="tubes", total=len(pairs), workers=workers, progress=progress, size=int
        ):
            pass
        tables = TubeTables(plan, writer)
        supports = tables.write_supports(link)
        alone = sum(tubes.supports_of(index) == [tubes.masks.names[tubes.pairs[index][0]]] for index in plan.chosen)
        report = TubeReport(
            writer.out,
            "",
            len(pairs),
            len({image for image, _ in pairs}),
            len(pairs) * tubes.rules.frames,
            supports,
            alone,
        )
        header = tube_header(plan, name, report, licence)
        report.manifest_sha256 = writer.finish(header, tables.all(), adopt=False)
    return report


def try_mask_tubes(plan: TubePlan, out: Path, *, workers: int = 1) -> BuildTrial:
    """Write a few of the tubes, in a temporary folder where ``out`` would be.

    Args:
        plan, out, workers: As for ``build_mask_tubes``.

    Raises:
        InputError: Broken raw data, or nothing can be written there.
    """
    tubes = plan.tubes
    with trial_folder(out) as folder:
        (folder / "videos").mkdir()
        tasks = (
            _Task(tubes.masks, tubes.rules, (tubes.pairs[index],), folder, folder / f"{index}.json")
            for index in spread(plan.chosen)
        )
        sample = try_tasks(_write_tubes, tasks, what="tubes", total=len(plan.chosen), size=int, workers=workers)
        written = bytes_in(folder / "videos") * len(plan.chosen) // max(sample.done, 1)
    files = f"{plan.files:,} images and masks at most, by those tubes or by COCO's images, whichever is more"
    return BuildTrial(out, (sample,), max(plan.estimate, written), files, workers)
