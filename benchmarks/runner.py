"""The runner: memory against a video's length, and time against a plain loop over the same frames.

    python benchmarks/runner.py memory                # peak memory of icvos evaluate, 300 frames and 3,000
    python benchmarks/runner.py speed                 # frames a second: plain loop, runner, runner with workers
    python benchmarks/runner.py memory --frames 30 300 --size 240 320      # a quick turn

The benchmark is drawn into a temporary folder: one video of a moving disk on noise, one category, one draw. The plain
loop reads frame and mask, calls the model and scores, one after another: what a script without a runner does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from icvos.benchmark import EPISODE_COLUMNS, FRAME_COLUMNS, PAIR_COLUMNS, SCHEMA, VIDEO_COLUMNS
from icvos.files import write_csv, write_json
from icvos.images import write_image
from icvos.manifest import write_manifest
from icvos.masks import write_mask

ROOT = Path(__file__).resolve().parents[1]


def draw(root: Path, *, videos: int, frames: int, size: tuple[int, int]) -> Path:
    """Write a benchmark; ten drawn frames are repeated over and over."""
    generator = np.random.default_rng(0)
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    pictures = []
    for step in range(10):
        image = generator.integers(0, 60, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        image = image.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy()
        mask = (rows - height / 2) ** 2 + (columns - width * (step + 3) / 16) ** 2 < (height / 4) ** 2
        image[mask] = (200, 60, 40)
        pictures.append((image, mask))
    write_image(root / "supports/images/s.jpg", pictures[0][0])
    write_mask(root / "supports/masks/1/s.png", pictures[0][1])
    names = [f"bench__v{number}" for number in range(videos)]
    for name in names:
        for index in range(frames):
            image, mask = pictures[index % 10]
            for subfolder, suffix, write, value in (
                ("JPEGImages", "jpg", write_image, image),
                ("Annotations/1", "png", write_mask, mask),
            ):
                folder = root / "videos" / name / subfolder
                if index < 10:
                    write(folder / f"{index:05d}.{suffix}", value)
                else:
                    os.link(folder / f"{index % 10:05d}.{suffix}", folder / f"{index:05d}.{suffix}")
    video = {"source": "bench", "source_split": "", "source_name": "", "frames": frames, "height": height}
    write_csv(
        root / "videos.csv",
        VIDEO_COLUMNS,
        [{**video, "video": name, "width": width, "void_pixels": 0} for name in names],
    )
    pair = {"category": 1, "category_name": "person"}
    write_csv(
        root / "pairs.csv",
        PAIR_COLUMNS,
        [
            {**pair, "video": name, "complete": "yes", "visible_frames": frames, "first_visible": 0, "instances": 1}
            for name in names
        ],
    )
    rows_of_frames = ({"video": n, "frame": f"{i:05d}", "source_frame": i} for n in names for i in range(frames))
    write_csv(root / "frames.csv", FRAME_COLUMNS, rows_of_frames)
    episodes = [{**pair, "id": f"{name}__1__d0", "video": name, "draw": 0, "support_1": "s"} for name in names]
    write_csv(root / "episodes.csv", (*EPISODE_COLUMNS, "support_1"), episodes)
    write_json(root / "benchmark.json", {"schema": SCHEMA, "name": "bench", "version": "1", "vocabulary": "coco80"})
    write_manifest(root)
    return root


def evaluate(bench: Path, out: Path, model: str, workers: int = 1) -> tuple[float, int]:
    """Run icvos evaluate in a process; return its wall seconds and the peak bytes of its resident set."""
    command = [
        sys.executable,
        str(ROOT / "cli.py"),
        "evaluate",
        "--model",
        model,
        "--benchmark",
        str(bench),
        "--out",
        str(out),
        "--workers",
        str(workers),
    ]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"icvos evaluate ended with status {process.returncode}")
    return seconds, usage.ru_maxrss * 1024


def memory(frames: list[int], size: tuple[int, int], model: str) -> dict[str, float]:
    """Return peak memory in MB for each length, and the ratio of the last to the first."""
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in frames:
            bench = draw(Path(folder) / f"b{count}", videos=1, frames=count, size=size)
            peak = evaluate(bench, Path(folder) / f"r{count}", model)[1]
            peaks[f"{count} frames, MB"] = round(peak / 1e6, 1)
    values = list(peaks.values())
    peaks["ratio"] = round(values[-1] / values[0], 4)
    return peaks


def plain_loop(bench: Path, model: str) -> float:
    """Return the seconds of reading, segmenting and scoring one after another."""
    from icvos.benchmark import load_benchmark
    from icvos.metrics import jf
    from icvos.models.registry import as_video_model, create
    from icvos.types import Prediction

    opened, method = load_benchmark(bench), as_video_model(create(model))
    begin = time.perf_counter()
    for episode in opened.episodes:
        masks = method.segment(opened.supports(episode), opened.video(episode.video), seed=0)
        for index, item in enumerate(masks):
            truth = opened.annotation(episode.video, episode.category, index)
            jf(Prediction.of(item, truth.shape).to_numpy(), truth)
    return time.perf_counter() - begin


def speed(videos: int, frames: int, size: tuple[int, int], model: str) -> dict[str, float]:
    """Return frames a second of the plain loop and the runner (start-up excluded) and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        bench = draw(Path(folder) / "b", videos=videos, frames=frames, size=size)
        empty = draw(Path(folder) / "e", videos=1, frames=1, size=(16, 16))
        total = videos * frames
        plain = total / plain_loop(bench, model)
        figures = {"plain loop, frames/s": round(plain, 1)}
        for workers in (1, 2):
            start = evaluate(empty, Path(folder) / f"e{workers}", model, workers)[0]
            seconds = evaluate(bench, Path(folder) / f"r{workers}", model, workers)[0] - start
            figures[f"runner, {workers} workers, frames/s"] = round(total / seconds, 1)
            figures[f"runner, {workers} workers / plain loop"] = round(total / seconds / plain, 2)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "speed"))
    parser.add_argument("--frames", type=int, nargs="+", default=None, help="memory: the lengths; speed: of each video")
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 854), metavar=("H", "W"))
    parser.add_argument("--model", default="histogram")
    options = parser.parse_args()
    size = (options.size[0], options.size[1])
    if options.what == "memory":
        figures = memory(options.frames or [300, 3000], size, options.model)
    else:
        figures = speed(options.videos, (options.frames or [100])[0], size, options.model)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
