"""What ``icvos evaluate`` adds to a method's own time, with one worker a core.

    python benchmarks/overhead.py                       # 10 and 50 ms a frame, one worker and two: about 4 minutes
    python benchmarks/overhead.py --ms 10 --videos 2    # a quick turn

Methods that sleep so long at each frame, as one that waits for a GPU does, run on drawn videos at 854x480: JPEG frames
of the size of DAVIS's (some 80 kB), PNG masks, two categories a video and two draws of supports each. ``one by one``
gets the episodes of a video one after another, ``together`` all four in one pass (``segment_many``), whose masks are
scored in the time of one. ``busy`` computes instead of sleeping, so that decoding and scoring have no core to
themselves. Each worker has one core: with one worker the whole command is kept on one.

The share outside of the method is 1 - (frames x ms) / wall: all that is not the sleep asked for, even what the sleep
takes too long. Start-up is told apart: the command until its workers are ready (Python, imports, the model built), and
from the result to its end. It is the same however long the run is, and counts in ``of the command``, the share of all
that a user waits for. Verification, which repeats a video, is left out. The last line is one JSON object.
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

import cv2
import numpy as np

from icvos.benchmark import EPISODE_COLUMNS, FRAME_COLUMNS, PAIR_COLUMNS, SCHEMA, VIDEO_COLUMNS
from icvos.files import write_csv, write_json
from icvos.manifest import write_manifest
from icvos.masks import write_mask

ROOT = Path(__file__).resolve().parents[1]
SIZE = (480, 854)
CATEGORIES = {1: "person", 3: "car"}
DRAWS = 2

METHOD = '''
"""Methods that take a given time for each frame: waiting, or computing."""

import hashlib
import time

import numpy as np

from icvos import ModelInfo, VideoModel

BLOCK = bytes(1 << 16)


class Waiting(VideoModel):
    info = ModelInfo(name="waiting", version="1")

    def __init__(self, *, device="cpu", weights=None, ms: float = 10.0):
        super().__init__(device=device, weights=weights)
        self.ms = ms

    def work(self):
        time.sleep(self.ms / 1000)

    def segment(self, supports, video, *, seed):
        for index, _ in enumerate(video):
            self.work()
            yield np.roll(supports[0].mask, 2 * index, axis=1)


class Together(Waiting):
    info = ModelInfo(name="together", version="1")

    def segment_many(self, episodes, video, *, seeds):
        for masks in self.segment(episodes[0], video, seed=seeds[0]):
            yield [masks] * len(episodes)


class Busy(Waiting):
    info = ModelInfo(name="busy", version="1")

    def work(self):
        end = time.thread_time() + self.ms / 1000
        while time.thread_time() < end:
            hashlib.sha256(BLOCK)
'''

CASES = {"one by one": "Waiting", "together": "Together", "busy": "Busy"}


def texture(generator: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return (H, W, 3) uint8 noise that is stronger the coarser it is, as photographs are."""
    total = np.zeros((*size, 3), np.float32)
    for step in (1, 2, 4, 8, 16, 32, 64, 128):
        noise = generator.normal(0, step**0.8, (size[0] // step + 2, size[1] // step + 2, 3)).astype(np.float32)
        total += cv2.resize(noise, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + total * 50 / total.std(), 0, 255).astype(np.uint8)


def draw(root: Path, *, videos: int, frames: int) -> Path:
    """Write a benchmark of textured things that move over a textured ground."""
    generator = np.random.default_rng(0)
    height, width = SIZE
    rows, columns = np.mgrid[:height, :width]
    names = [f"bench__v{number}" for number in range(videos)]
    for name in names:
        ground = texture(generator, (height + frames, width + 2 * frames))
        things = {category: texture(generator, SIZE) for category in CATEGORIES}
        folder = root / "videos" / name
        (folder / "JPEGImages").mkdir(parents=True)
        for index in range(frames):
            image = ground[index : index + height, 2 * index : 2 * index + width].copy()
            for number, category in enumerate(CATEGORIES):
                y, x = height * (0.4 + 0.2 * number), 150 + 400 * number + 2 * index
                edge = 1 + 0.15 * np.sin(7 * np.arctan2(rows - y, columns - x) + index / 5)
                mask = ((rows - y) / 110) ** 2 + ((columns - x) / 90) ** 2 < edge
                image[mask] = things[category][mask]
                write_mask(folder / "Annotations" / str(category) / f"{index:05d}.png", mask)
            cv2.imwrite(str(folder / "JPEGImages" / f"{index:05d}.jpg"), image, (cv2.IMWRITE_JPEG_QUALITY, 90))
    source = root / "videos" / names[0]
    (root / "supports/images").mkdir(parents=True)
    for draw_number in range(DRAWS):
        data = (source / f"JPEGImages/{draw_number:05d}.jpg").read_bytes()
        (root / f"supports/images/s{draw_number}.jpg").write_bytes(data)
        for category in CATEGORIES:
            (root / f"supports/masks/{category}").mkdir(parents=True, exist_ok=True)
            data = (source / f"Annotations/{category}/{draw_number:05d}.png").read_bytes()
            (root / f"supports/masks/{category}/s{draw_number}.png").write_bytes(data)
    video = {"source": "bench", "source_split": "", "source_name": "", "frames": frames, "height": height}
    write_csv(
        root / "videos.csv",
        VIDEO_COLUMNS,
        [{**video, "video": name, "width": width, "void_pixels": 0} for name in names],
    )
    pairs = [
        {"video": name, "category": category, "category_name": label}
        for name in names
        for category, label in CATEGORIES.items()
    ]
    seen = {"complete": "yes", "visible_frames": frames, "first_visible": 0, "instances": 1}
    write_csv(root / "pairs.csv", PAIR_COLUMNS, [{**pair, **seen} for pair in pairs])
    lines = ({"video": n, "frame": f"{i:05d}", "source_frame": i} for n in names for i in range(frames))
    write_csv(root / "frames.csv", FRAME_COLUMNS, lines)
    episodes = [
        {**pair, "id": f"{pair['video']}__{pair['category']}__d{number}", "draw": number, "support_1": f"s{number}"}
        for pair in pairs
        for number in range(DRAWS)
    ]
    write_csv(root / "episodes.csv", (*EPISODE_COLUMNS, "support_1"), episodes)
    write_json(root / "benchmark.json", {"schema": SCHEMA, "name": "bench", "version": "1", "vocabulary": "coco80"})
    write_manifest(root)
    return root


def evaluate(bench: Path, out: Path, method: str, ms: float, *, workers: int, masks: bool) -> tuple[float, dict]:
    """Run icvos evaluate on as many cores as it has workers; return its wall seconds, and the times in its run.json."""
    command = [sys.executable, str(ROOT / "cli.py"), "-q", "evaluate", "--no-verify"]
    command += ["--model", method, "--set", f"ms={ms}", "--workers", str(workers)]
    command += ["--benchmark", str(bench), "--out", str(out)]
    command += ["--save-masks"] if masks else []
    every = os.sched_getaffinity(0)
    if len(every) < workers:
        raise SystemExit(f"{workers} workers need as many cores, and {len(every)} are there")
    os.sched_setaffinity(0, sorted(every)[:workers])  # the command inherits it
    try:
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - begin
    finally:
        os.sched_setaffinity(0, every)
    return seconds, json.loads((out / "run.json").read_text())["times"]


def measure(
    bench: Path, out: Path, case: str, ms: float, *, workers: int, frames: int, masks: bool
) -> dict[str, float]:
    """Return the shares of one case, and how the time outside of the method divides, in percent."""
    method = f"{bench / 'methods.py'}:{CASES[case]}"
    seconds, times = evaluate(bench, out, method, ms, workers=workers, masks=masks)
    total = times["total"]
    asked = frames * ms / 1000
    running = total["wall"] - total["starting"]
    parts = {name: 100 * total[name] / running for name in ("decoding", "scoring", "writing", "idle", "other")}
    return {
        "outside, %": 100 * (1 - asked / running),
        "by run.json, %": 100 * (1 - total["model"] / running),
        **{f"{name}, %": share for name, share in parts.items()},
        "start-up, s": seconds - running / workers,
        "of the command, %": 100 * (1 - asked / workers / seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="the methods")
    parser.add_argument("--ms", type=float, nargs="+", default=[10.0, 50.0], help="of a frame")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="each on a core of its own")
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--frames", type=int, default=60, help="of each video")
    parser.add_argument("--save-masks", action="store_true", help="the predicted masks are written too")
    parser.add_argument("--folder", type=Path, help="where to work; default the system's temporary folder")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = draw(Path(folder) / "bench", videos=options.videos, frames=options.frames)
        (bench / "methods.py").write_text(METHOD)
        sizes = [path.stat().st_size for path in bench.glob("videos/*/JPEGImages/*")]
        print(f"{options.videos} videos of {options.frames} frames, {sum(sizes) / len(sizes) / 1000:.0f} kB each")
        for case in options.cases:
            # All four episodes of a video are one pass; the first one runs once more by itself, for its speed.
            passes = options.videos + 1 if case == "together" else options.videos * len(CATEGORIES) * DRAWS
            for ms in options.ms if case != "busy" else options.ms[:1]:
                for workers in options.workers:
                    name = f"{case}, {ms:g} ms, {workers} workers"
                    out = Path(folder) / "runs" / name.replace(" ", "")
                    frames = passes * options.frames
                    row = measure(bench, out, case, ms, workers=workers, frames=frames, masks=options.save_masks)
                    figures[name] = {what: round(value, 2) for what, value in row.items()}
                    print(name, figures[name], flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
