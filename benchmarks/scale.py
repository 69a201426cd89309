"""icvos at the size of IC-VOS: 369 videos, 99,549 frames at 480p from three data sets, and what grows with a run.

    python benchmarks/scale.py --work W                              # the whole size: about an hour, 2 GB below W
    python benchmarks/scale.py --work W --sample 60 --seconds 80     # evaluates 60 of the videos: about 20 minutes
    python benchmarks/scale.py --work W --videos 12           # small, to see that it works
    python benchmarks/scale.py --work W --part episodes       # one part; others that it needs are made on the way

``build`` makes raw trees in the layouts of DAVIS, MOSE and LVOS with the labels that people give (frames: one drawn
image a video, hard-linked; masks: up to three things that move and change their form), builds IC-VOS from them, scores
saved masks (the ground truth some frames late) and renders the table. Lengths of videos are drawn as those of the three
data sets; which videos the authors took, and how long each is, is not published.

``evaluate`` lets a method that sleeps run in one process, in two workers and on a Ray cluster of two nodes of one core,
10 ms a frame on ``--sample`` videos and 200 ms a frame on the first 60 frames of 20. Sleeping needs no core: it stands
for a method that waits for a GPU. Efficiency is that of two workers after their start, against one process: how long
connecting, starting and ending take is told apart, and the same however long the run is.

``simulate`` gives the measured parts of that to 8 and 64 workers: each takes the next video when it is free, the
longest first or as listed. The driver's share is its processor time (an episode's, and what it hears of a worker in a
second) over the time that the run takes: at 1 the driver would be what all wait for.

``episodes`` compares 10,000 short episodes with 1,000: the driver's peak memory and its processor time. ``board`` adds
a run to a board of 1,000 records, shows and renders it, and ranks 1,000 methods on 400 videos (``rank_intervals``).

Peak memory is that of a command's own process (VmHWM), without its workers. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from icvos.benchmark import EPISODE_COLUMNS, FRAME_COLUMNS, PAIR_COLUMNS, SCHEMA, VIDEO_COLUMNS, Episode, load_benchmark
from icvos.categories import COCO80
from icvos.files import write_csv, write_json
from icvos.manifest import write_manifest
from icvos.masks import encode_mask, write_mask

T = TypeVar("T")
# Runs ``evaluate``, by way.
Ways = Mapping[str, Callable[..., dict[str, Any]]]

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/helpers"))

PARTS = ("build", "evaluate", "simulate", "episodes", "board")
ONE, WORKERS, RAY = WAYS = ("one process", "two workers", "two nodes of Ray")
H, W = 480, 854
FRAMES = 99_549
# Source: how many videos, and median, least and greatest of their frames.
SOURCES = {"davis": (90, 68, 34, 104), "mose": (66, 75, 20, 492), "lvos": (213, 370, 100, 1500)}
CATEGORIES = [name for name in COCO80.names if " " not in name][:30]
SUPPORTS = 12
LATE = 3

METHOD = '''
"""Methods that take no core: one sleeps at each frame, one does nothing."""

import time

import numpy as np

from icvos import ModelInfo, VideoModel


class Sleeping(VideoModel):
    info = ModelInfo(name="sleeping", version="1")

    def __init__(self, *, device="cpu", weights=None, ms: float = 10.0):
        super().__init__(device=device, weights=weights)
        self.ms = ms

    def segment(self, supports, video, *, seed):
        for index, _ in enumerate(video):
            time.sleep(self.ms / 1000)
            yield np.roll(supports[0].mask, 2 * index, axis=1)


class Trivial(VideoModel):
    info = ModelInfo(name="trivial", version="1")

    def segment(self, supports, video, *, seed):
        for _ in video:
            yield supports[0].mask
'''

# Runs a command, or icvos.evaluate with some arguments, and says on its last line what that took of this process.
DRIVER = """
import json, resource, sys, time


def cpu(who=resource.RUSAGE_SELF):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    begin, told = time.perf_counter(), []
    if sys.argv[1] == "evaluate":
        from icvos.evaluation.runner import evaluate

        start = time.perf_counter()

        def tell(update):
            if not told or update.record is not None:
                told[1:] = [(time.perf_counter() - start, cpu())]

        result = evaluate(**json.loads(sys.argv[2]), verify=False, progress=tell)
        ending = time.perf_counter() - start - told[-1][0]
        assert result["summary"]["failed"] == 0
    else:
        import cli

        try:
            cli.main(sys.argv[2:])
        except SystemExit as stop:
            assert not stop.code, stop.code
    wall = time.perf_counter() - begin
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    figures = {"wall": wall, "cpu": cpu(), "workers_cpu": cpu(resource.RUSAGE_CHILDREN), "peak_MiB": int(peak) / 1024}
    if told:
        figures |= {"last_result": told[-1][0], "ending": ending, "driving_cpu": told[-1][1] - told[0][1]}
    print(json.dumps(figures))
"""


@dataclass(frozen=True)
class Place:
    """Where things are, and how large they are to be."""

    work: Path
    videos: int
    sample: int
    seconds: float
    episodes: tuple[int, int]
    records: int
    ways: tuple[str, ...]

    @property
    def bench(self) -> Path:
        return self.work / "IC-VOS"

    @property
    def method(self) -> Path:
        path = self.work / "methods.py"
        path.write_text(METHOD)
        return path


def run(place: Place, words: Sequence[Any], environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Run a command of icvos, or ``evaluate`` with a JSON object of arguments; return what its process took.

    Returns:
        ``wall``, ``cpu`` and ``workers_cpu`` (of processes that it waited for), seconds; ``peak_MiB``, its own. Of
        ``evaluate`` also ``last_result``, seconds until that, ``ending``, those from then on, and ``driving_cpu``, its
        processor time from the first word of progress to the last result.
    """
    script = place.work / "driver.py"
    script.write_text(DRIVER)
    own = {**os.environ, **(environment or {})}
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), own.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, script, *map(str, words)], env=own, cwd=place.work, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))[:200]} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def command(place: Place, *words: Any) -> dict[str, float]:
    """Run a command of icvos; return what its process took."""
    return run(place, ["command", "-q", *words])


# ------------------------------------------------------------------------------------------------------- raw trees


@dataclass(frozen=True)
class Video:
    """A video to be drawn: which it is of all, its data set, name, frames and objects' categories ("" of none)."""

    index: int
    source: str
    name: str
    frames: int
    objects: tuple[str, ...]


def plan_videos(count: int) -> list[Video]:
    """Return so many of the 369 videos, of all three data sets alike; all of them have 99,549 frames."""
    generator = np.random.default_rng(0)
    lengths: dict[str, np.ndarray] = {}
    for source, (videos, median, least, most) in SOURCES.items():
        drawn = median * np.exp(generator.normal(0, 0.35 if source == "davis" else 0.6, videos))
        lengths[source] = np.clip(drawn, least, most).astype(int)
    _, _, least, most = SOURCES["lvos"]
    last = lengths["lvos"]
    while (left := FRAMES - sum(int(each.sum()) for each in lengths.values())) != 0:
        room = np.flatnonzero((last < most) if left > 0 else (last > least))
        last[room[: abs(left)]] += np.sign(left)
    every = []
    for source, frames in lengths.items():
        for number, length in enumerate(frames):
            index = len(every)
            category = CATEGORIES[index % len(CATEGORIES)]
            other = CATEGORIES[(index + 7) % len(CATEGORIES)] if index % 4 == 0 else ""
            objects = (category, category, "")[: 1 + index % 3] if index % 4 else (category, "", other)
            name = f"v{number:03d}" if source == "davis" else f"{index:08x}"
            every.append(Video(index, source, name, int(length), objects))
    return spread(every, count)


def texture(generator: np.random.Generator) -> np.ndarray:
    """Return (H, W, 3) uint8 noise that is stronger the coarser it is, as photographs are."""
    total = np.zeros((H, W, 3), np.float32)
    for step in (2, 8, 32, 128):
        noise = generator.normal(0, step**0.8, (H // step + 2, W // step + 2, 3)).astype(np.float32)
        total += cv2.resize(noise, (W, H), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + total * 50 / total.std(), 0, 255).astype(np.uint8)


def folders_of(raw: Path, video: Video) -> tuple[Path, Path]:
    """Return where a video's frames and masks are."""
    root = raw / video.source
    if video.source == "davis":
        return root / "JPEGImages/480p" / video.name, root / "Annotations/480p" / video.name
    return root / "train/JPEGImages" / video.name, root / "train/Annotations" / video.name


def draw_video(raw: Path, video: Video) -> None:
    """Write a video's frames, which are one file, and its masks: blobs that move, turn and change their form."""
    generator = np.random.default_rng(video.index)
    frames, masks = folders_of(raw, video)
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    _, data = cv2.imencode(".jpg", texture(generator), (cv2.IMWRITE_JPEG_QUALITY, 90))
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    things = [
        (
            generator.uniform(40, 130),
            generator.uniform((200, 120), (W - 200, H - 120)),
            generator.normal(0, 0.1, (2, 5)),
        )
        for _ in video.objects
    ]
    pace, first = generator.uniform(0.01, 0.05), None
    for index in range(video.frames):
        stem = f"{1 + 5 * index:08d}" if video.source == "lvos" else f"{index:05d}"
        if first is None:
            first = frames / f"{stem}.jpg"
            first.write_bytes(data.tobytes())
        else:
            os.link(first, frames / f"{stem}.jpg")
        labels = np.zeros((H, W), np.uint8)
        for number, (size, centre, (waves, phases)) in enumerate(things, 1):
            turn = pace * index * (1 + number / 4)
            radius = 1 + sum(
                wave * np.sin((n + 2) * (angles + turn) + 40 * phase)
                for n, (wave, phase) in enumerate(zip(waves, phases))
            )
            radius *= size * (1 + 0.2 * np.sin(turn + number))
            middle = centre + (150 * np.sin(turn), 90 * np.cos(1.3 * turn))
            outline = middle + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
            cv2.fillPoly(labels, [outline.astype(np.int32)], number)
        (masks / f"{stem}.png").write_bytes(encode_mask(labels, colours=True))


def write_raw(raw: Path, videos: Sequence[Video]) -> None:
    """Write the trees of all three data sets, COCO, and what people say of the objects."""
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        pool.starmap(draw_video, [(raw, video) for video in videos], chunksize=1)
    davis = [video for video in videos if video.source == "davis"]
    if davis:
        (raw / "davis/ImageSets/2017").mkdir(parents=True)
        (raw / "davis/ImageSets/2017/val.txt").write_text("".join(f"{video.name}\n" for video in davis))
        named = {v.name: {str(n): c or "camel" for n, c in enumerate(v.objects, 1)} for v in davis}
        (raw / "davis/davis_semantics.json").write_text(json.dumps(named))
    spans = {
        video.name: {
            "objects": {
                str(n): {"frame_range": {"start": 1, "end": 1 + 5 * video.frames, "frame_nums": video.frames}}
                for n in range(1, len(video.objects) + 1)
            }
        }
        for video in videos
        if video.source == "lvos"
    }
    if spans:
        (raw / "lvos/train/train_meta.json").write_text(json.dumps({"videos": spans}))
    objects, complete = ["source,video,object,category"], ["source,video,category,complete"]
    for video in videos:
        source = "davis17" if video.source == "davis" else video.source
        if source != "davis17":
            objects += [f"{source},{video.name},{n},{c or 'none'}" for n, c in enumerate(video.objects, 1)]
        complete += [f"{source},{video.name},{c},yes" for c in dict.fromkeys(filter(None, video.objects))]
    (raw / "objects.csv").write_text("\n".join(objects) + "\n")
    (raw / "complete.csv").write_text("\n".join(complete) + "\n")
    write_coco(raw / "coco", folders_of(raw, videos[0])[0])


def write_coco(root: Path, frames: Path) -> None:
    """Write images of each category, all of them one file, with a polygon."""
    (root / "val2014").mkdir(parents=True)
    (root / "annotations").mkdir()
    image = next(frames.iterdir())
    data: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    numbers = {name: COCO80.source_ids[COCO80.number(name) - 1] for name in CATEGORIES}
    data["categories"] = [{"id": number, "name": name} for name, number in numbers.items()]
    for number in range(1, SUPPORTS * len(CATEGORIES) + 1):
        name = f"COCO_val2014_{number:012d}.jpg"
        os.link(image, root / "val2014" / name)
        data["images"].append({"id": number, "file_name": name, "height": H, "width": W})
        box = [x + 10 * (number % 17) for x in (100, 100, 300, 100, 320, 260, 120, 240)]
        category = numbers[CATEGORIES[number % len(CATEGORIES)]]
        annotation = {"id": number, "image_id": number, "category_id": category, "iscrowd": 0, "area": 30000.0}
        data["annotations"].append({**annotation, "segmentation": [box]})
    (root / "annotations/instances_val2014.json").write_text(json.dumps(data))


# ----------------------------------------------------------------------------------------------- build and score


def build(place: Place) -> dict[str, Any]:
    """Make the raw trees, build IC-VOS from them, score masks and render the table."""
    videos, raw, begin = plan_videos(place.videos), place.work / "raw", time.perf_counter()
    write_raw(raw, videos)
    made = time.perf_counter() - begin
    frames = sum(video.frames for video in videos)
    print(f"{len(videos)} videos, {frames:,} frames of {H}x{W}; drawn in {made:.0f} s", flush=True)
    trees = [word for source in SOURCES if (raw / source).is_dir() for word in (f"--{source}", raw / source)]
    trees += ["--recipe", raw / "objects.csv", "--recipe", raw / "complete.csv", "--coco", raw / "coco"]
    cores = len(os.sched_getaffinity(0))
    out: dict[str, Any] = {"videos": len(videos), "frames": frames, "drawing": {"wall": made}}
    words = ["build-data", "ic-vos", *trees, "--out", place.bench, "--draws", 1, "--name", "scale"]
    out["building"] = command(place, *words, "--link", "--workers", cores)
    show(f"build-data ic-vos --workers {cores}", out["building"], frames)
    bench, predicted = load_benchmark(place.bench), place.work / "predicted"
    out["pairs"], predictions = len(bench.pairs), 0
    for episode in bench.episodes:
        truth, count = bench.root / "videos" / episode.video / "Annotations", bench.videos[episode.video].frames
        (predicted / episode.id).mkdir(parents=True)
        predictions += count
        for index in range(count):
            late = truth / str(episode.category) / f"{max(index - LATE, 0):05d}.png"
            os.link(late, predicted / episode.id / f"{index:05d}.png")
    out["predictions"], scored = predictions, place.work / "scored/late"
    words = ["score", predicted, "--benchmark", place.bench, "--out", scored, "--model", "late"]
    out["scoring"] = command(place, *words, "--workers", cores)
    show(f"score --workers {cores}", out["scoring"], predictions)
    words = ["leaderboard", "render", place.work / "page.html", "--runs", scored.parent, "--board", empty(place)]
    out["rendering"] = command(place, *words, "--benchmark", place.bench)
    show("leaderboard render", out["rendering"])
    return out


def empty(place: Place) -> Path:
    """Return a board without records."""
    board = place.work / "empty-board"
    board.mkdir(exist_ok=True)
    return board


def show(what: str, figures: Mapping[str, float], frames: int = 0) -> None:
    """Print a line of the report."""
    each = f", {1000 * figures['wall'] / frames:.2f} ms a frame" if frames else ""
    cpu = figures["cpu"] + figures["workers_cpu"]
    print(f"{what:44} {figures['wall']:8.1f} s, {cpu:7.1f} s CPU{each}, peak {figures['peak_MiB']:.0f} MiB", flush=True)


# ------------------------------------------------------------------------------------------------------- evaluate


@contextmanager
def started(place: Place) -> Iterator[Ways]:
    """Give ``evaluate`` for each way that is asked for, with the cluster that it needs, if it does."""
    from ray_cluster import RayCluster

    settings: dict[str, dict[str, Any]] = {ONE: {}, WORKERS: {"workers": 2}, RAY: {}}
    cluster = None
    if RAY in place.ways:
        begin = time.perf_counter()
        cluster = RayCluster(place.work / "home")
        settings[RAY] = {"engine": "ray", "address": cluster.address, "environment": cluster.environment}
        print(f"a Ray cluster of two nodes starts in {time.perf_counter() - begin:.1f} s", flush=True)
    try:
        yield {way: partial(evaluate, place, **settings[way]) for way in WAYS if way in (ONE, *place.ways)}
    finally:
        if cluster is not None:
            cluster.end()


def evaluate(
    place: Place, out: str, *, bench: Path, environment: Mapping[str, str] | None = None, **how: Any
) -> dict[str, Any]:
    """Run ``icvos.evaluate``; return what its process took, and how its workers' time divides (``times``)."""
    folder = place.work / "runs" / out
    arguments = {"benchmark": str(bench), "out": str(folder), **how}
    figures: dict[str, Any] = run(place, ["evaluate", json.dumps(arguments)], environment)
    times = json.loads((folder / "run.json").read_text())["times"]
    rows = times["workers"]
    # A worker's time after its start, until the run's last result is there.
    figures["working"] = sum(figures["last_result"] - row["starting"] for row in rows)
    figures["starting"] = max(row["starting"] for row in rows)
    figures["workers"], figures["times"] = len(rows), times["total"]
    return figures


def evaluated(place: Place, ms: float, chosen: Sequence[Episode], *, limit: int | None, ways: Ways) -> dict[str, Any]:
    """Evaluate a method that sleeps in each way; return their figures by way."""
    bench = load_benchmark(place.bench)
    counts = [bench.videos[episode.video].frames for episode in chosen]
    frames = sum(min(count, limit or count) for count in counts)
    asked = frames * ms / 1000
    how = {"model": f"{place.method}:Sleeping", "options": {"ms": ms}, "limit_frames": limit, "bench": place.bench}
    how["episodes"] = [episode.id for episode in chosen]
    print(f"{ms:g} ms a frame, {len(chosen)} episodes, {frames:,} frames: {asked:.0f} s of sleep", flush=True)
    out: dict[str, Any] = {"episodes": len(chosen), "frames": frames, "asked": asked}
    results = set()
    for way, start in ways.items():
        name = f"{ms:g}ms-{way.replace(' ', '-')}"
        figures = out[way] = start(name, **how)
        figures["efficiency"] = out[ONE]["working"] / figures["working"]
        figures["speed"] = figures["efficiency"] * figures["workers"]
        figures["outside_%"] = 100 * (1 - asked / figures["working"])
        results.add((place.work / "runs" / name / "result.json").read_bytes())
        shares = ", ".join(
            f"{100 * figures['times'][part] / figures['working']:.1f} % {part}"
            for part in ("decoding", "scoring", "writing", "idle")
        )
        show(f"  {way}", figures)
        print(
            f"    efficiency {figures['efficiency']:.3f}; start {figures['starting']:.1f} s, "
            f"end {figures['ending']:.1f} s; of the workers' time: {figures['outside_%']:.1f} % outside the sleep, "
            f"{shares}; driver's CPU {figures['driving_cpu']:.2f} s",
            flush=True,
        )
    if len(results) > 1:
        raise SystemExit("result.json is not the same in all ways")
    return out


def evaluate_part(place: Place, ways: Ways) -> dict[str, Any]:
    """Evaluate the first draw of a category of each video at 10 and at 200 ms a frame."""
    first: dict[str, Episode] = {}
    for episode in load_benchmark(place.bench).episodes:
        first.setdefault(episode.video, episode)
    few = spread(list(first.values()), 20)
    out = {"10 ms": evaluated(place, 10, spread(list(first.values()), place.sample), limit=None, ways=ways)}
    if place.seconds:
        limit = max(2, round(place.seconds / 0.2 / len(few)))
        out["200 ms"] = evaluated(place, 200, few, limit=limit, ways=ways)
    return out


def spread(several: Sequence[T], count: int) -> list[T]:
    """Return so many of several things, from the first to the last; all for 0."""
    count = min(count or len(several), len(several))
    return [several[int(place)] for place in np.linspace(0, len(several) - 1, count)]


# ------------------------------------------------------------------------------------------------------- simulate


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return how long so many workers take if each takes the next in line when it is free."""
    free = [0.0] * workers
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def simulate(place: Place, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Give the whole benchmark to 8 and 64 workers, by the parts that ``evaluate`` and ``episodes`` measured."""
    out: dict[str, Any] = {}
    videos = plan_videos(0)
    for ms in (10.0, 200.0):
        measured = seen["evaluate"].get(f"{ms:g} ms")
        if measured is None:
            continue
        one = measured[ONE]
        # What a frame takes with all that is around it.
        frame = one["working"] / measured["frames"]
        seconds = [video.frames * frame for video in videos]
        for way in (way for way in place.ways if way != ONE):
            each, once = (seen["episodes"][way][name] for name in ("driver_s_an_episode", "driver_s_once"))
            hearing = measured[way]["driving_cpu"] - once - each * measured["episodes"]
            hearing = max(hearing, 0.0) / measured[way]["working"]
            for workers in (8, 64):
                longest, listed = makespan(sorted(seconds, reverse=True), workers), makespan(seconds, workers)
                # What it takes once is of two workers, and most of it their start.
                driving = once * workers / 2 + each * len(videos) + hearing * sum(seconds)
                row = out[f"{ms:g} ms, {workers} workers, as {way}"] = {
                    "longest_first_s": longest,
                    "as_listed_s": listed,
                    "longest_video_s": max(seconds),
                    "efficiency": sum(seconds) / workers / longest,
                    "efficiency_as_listed": sum(seconds) / workers / listed,
                    "driver_cpu_s": driving,
                    "driver_share": driving / longest,
                }
                print(
                    f"{ms:g} ms, {workers:2} workers, as {way:16}: longest first {longest:.1f} s (efficiency "
                    f"{row['efficiency']:.3f}), as listed {listed:.1f} s ({row['efficiency_as_listed']:.3f}), the "
                    f"longest video {max(seconds):.1f} s; driver's CPU {driving:.1f} s, a share of "
                    f"{100 * row['driver_share']:.1f} %",
                    flush=True,
                )
            row = out[f"{ms:g} ms, {way}: driver's CPU, ms"] = {
                "an episode": 1000 * each,
                "a frame": 1000 * hearing * frame,
                "a worker's second": 1000 * hearing,
                "once": 1000 * once,
            }
            print(f"  driver's CPU, ms: {', '.join(f'{name} {value:.3f}' for name, value in row.items())}", flush=True)
    return out


# ------------------------------------------------------------------------------------------------------- episodes


def write_short(root: Path, videos: int, *, draws: int = 5) -> Path:
    """Write a benchmark of videos of two frames at 32x48, with two categories each."""
    height, width = 32, 48
    source = root / "source"
    source.mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    cv2.imwrite(str(source / "0.jpg"), picture)
    mask = np.zeros((height, width), bool)
    mask[8:24, 10:30] = True
    write_mask(source / "0.png", mask)
    names, categories = [f"short__v{number:05d}" for number in range(videos)], {1: "person", 3: "car"}
    for name in names:
        for part in ("JPEGImages", *(f"Annotations/{category}" for category in categories)):
            folder, suffix = root / "videos" / name / part, "jpg" if part == "JPEGImages" else "png"
            folder.mkdir(parents=True)
            for index in range(2):
                os.link(source / f"0.{suffix}", folder / f"{index:05d}.{suffix}")
    for part in ("images", *(f"masks/{category}" for category in categories)):
        folder, suffix = root / "supports" / part, "jpg" if part == "images" else "png"
        folder.mkdir(parents=True)
        for draw in range(draws):
            os.link(source / f"0.{suffix}", folder / f"s{draw}.{suffix}")
    shutil.rmtree(source)
    video = {"source": "short", "source_split": "", "source_name": "", "frames": 2, "height": height}
    write_csv(
        root / "videos.csv", VIDEO_COLUMNS, [{**video, "video": n, "width": width, "void_pixels": 0} for n in names]
    )
    pairs = [
        {"video": name, "category": category, "category_name": label}
        for name in names
        for category, label in categories.items()
    ]
    seen = {"complete": "yes", "visible_frames": 2, "first_visible": 0, "instances": 1}
    write_csv(root / "pairs.csv", PAIR_COLUMNS, [{**pair, **seen} for pair in pairs])
    lines = ({"video": n, "frame": f"{i:05d}", "source_frame": i} for n in names for i in range(2))
    write_csv(root / "frames.csv", FRAME_COLUMNS, lines)
    rows = [
        {**pair, "id": f"{pair['video']}__{pair['category']}__d{number}", "draw": number, "support_1": f"s{number}"}
        for pair in pairs
        for number in range(draws)
    ]
    write_csv(root / "episodes.csv", (*EPISODE_COLUMNS, "support_1"), rows)
    write_json(root / "benchmark.json", {"schema": SCHEMA, "name": "short", "version": "1", "vocabulary": "coco80"})
    write_manifest(root)
    return root


def episodes_part(place: Place, ways: Ways) -> dict[str, Any]:
    """Evaluate few and many short episodes; return the driver's peak memory and its processor time an episode."""
    benches = {count: write_short(place.work / f"short{count}", count // 10) for count in place.episodes}
    few, many = place.episodes
    out: dict[str, Any] = {}
    for way in place.ways:
        row: dict[str, Any] = {}
        for count, bench in benches.items():
            name = f"short{count}-{way.replace(' ', '-')}"
            row[f"{count}"] = ways[way](name, bench=bench, model=f"{place.method}:Trivial")
            show(f"{count} short episodes, {way}", row[f"{count}"])
        row["peak_ratio"] = row[f"{many}"]["peak_MiB"] / row[f"{few}"]["peak_MiB"]
        driving = row[f"{many}"]["driving_cpu"] - row[f"{few}"]["driving_cpu"]
        row["driver_s_an_episode"] = each = driving / (many - few)
        row["driver_s_once"] = max(row[f"{few}"]["driving_cpu"] - each * few, 0.0)
        print(f"  peak memory {row['peak_ratio']:.3f} times; driver's CPU {1000 * each:.2f} ms an episode", flush=True)
        out[way] = row
    return out


# ---------------------------------------------------------------------------------------------------------- board


def board_part(place: Place) -> dict[str, Any]:
    """Fill a board with the like of a run of one draw on 369 videos of two categories, and add, show and render."""
    from icvos.leaderboard.judge import judge
    from icvos.leaderboard.record import record_of, record_path
    from icvos.runs.episodes import benchmark_result, get_run_protocol
    from icvos.runs.run import Run

    root, board = write_short(place.work / "boarded", place.videos, draws=1), place.work / "board"
    evaluate(place, "boarded", bench=root, model=f"{place.method}:Trivial")
    mine, bench = place.work / "runs/boarded", load_benchmark(root)
    entry = judge(mine, str(root)).entry
    protocol, generator = get_run_protocol(bench, entry.protocol), np.random.default_rng(0)
    for number in range(place.records - 1):
        run_json = json.loads(json.dumps(entry.run))
        run_json["model"]["name"] = run_json["key"]["model"] = f"method {number:04d}"
        share = generator.uniform(0.5, 0.9)
        records = {}
        for record in entry.records:
            factor = float(np.clip(share + generator.normal(0, 0.1), 0, 1))
            scaled = {name: factor * record[name] for name in ("J", "F", "J_visible", "F_visible")}
            records[record["id"]] = {**record, **scaled}
        result = benchmark_result(run_json, bench, protocol, bench.episodes, records)
        other = Run(run_json, result, tuple(records[key] for key in sorted(records)), "self-reported", mine)
        path = record_path(board, other)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record_of(other, "self-reported")))
    out: dict[str, Any] = {"records": place.records, "episodes": len(entry.records)}
    common = ["--board", board, "--benchmark", root]
    out["adding"] = command(place, "leaderboard", "add", mine, *common)
    show(f"leaderboard add, the {place.records}th", out["adding"])
    out["showing"] = command(place, "leaderboard", "show", *common)
    show("leaderboard show", out["showing"])
    for suffix in ("html", "md"):
        page = place.work / f"board.{suffix}"
        out[f"rendering {suffix}"] = command(place, "leaderboard", "render", page, *common)
        out[f"rendering {suffix}"]["MB"] = page.stat().st_size / 1e6
        show(f"leaderboard render {page.name}, {page.stat().st_size / 1e6:.1f} MB", out[f"rendering {suffix}"])
    out["ranking"] = ranking(place.records)
    return out


def ranking(methods: int, videos: int = 400) -> dict[str, float]:
    """Rank methods of drawn scores by ``rank_intervals``; its processor time, and what it allocates at most."""
    import tracemalloc

    from icvos.leaderboard.statistics import rank_intervals, video_samples

    samples = []
    for scores in np.random.default_rng(0).uniform(0, 100, (methods, videos)).tolist():
        rows = [
            {"video": f"v{number}", "source": "s", "category": 1, "draw": 0, "J": score, "F": score}
            for number, score in enumerate(scores)
        ]
        samples.append(video_samples(rows, ("J", "F")))
    began = time.process_time()
    rank_intervals(samples)
    seconds = time.process_time() - began
    tracemalloc.start()
    rank_intervals(samples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(
        f"rank_intervals of {methods} methods, {videos} videos: {seconds:.1f} s CPU, {peak / 2**20:.0f} MiB", flush=True
    )
    return {"methods": methods, "videos": videos, "cpu_s": seconds, "peak_mib": peak / 2**20}


# ----------------------------------------------------------------------------------------------------------- main


def measure(place: Place, parts: Sequence[str]) -> dict[str, Any]:
    """Run the parts that are asked for, and before them those that they need."""
    needs = {"evaluate": {"build"}, "simulate": {"build", "evaluate", "episodes"}}
    wanted = set(parts).union(*(needs.get(part, set()) for part in parts))
    seen: dict[str, Any] = {}
    with ExitStack() as stack:
        ways = cache(lambda: stack.enter_context(started(place)))
        does: dict[str, Callable[[], dict[str, Any]]] = {
            "build": lambda: build(place),
            "evaluate": lambda: evaluate_part(place, ways()),
            "episodes": lambda: episodes_part(place, ways()),
            "simulate": lambda: simulate(place, seen),
            "board": lambda: board_part(place),
        }
        for part, do in does.items():
            if part in wanted:
                begin = time.perf_counter()
                seen[part] = do()
                print(f"[{part}: {time.perf_counter() - begin:.0f} s]", flush=True)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="where to work; default the system's temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave there what was made")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="all by default")
    parser.add_argument("--videos", type=int, default=369, help="that are built, of 369")
    parser.add_argument("--sample", type=int, default=0, help="videos that are evaluated at 10 ms; 0 for all")
    parser.add_argument("--seconds", type=float, default=240, help="of sleep at 200 ms a frame; 0 for none")
    parser.add_argument("--episodes", type=int, nargs=2, default=(1000, 10_000), metavar="N", help="few and many")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=WAYS, help="of evaluating; ``evaluate`` compares with one process"
    )
    parser.add_argument("--records", type=int, default=1000, help="of the board")
    options = parser.parse_args()
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="icvos-scale-", dir=options.work))
    place = Place(
        work=work,
        videos=options.videos,
        sample=options.sample,
        seconds=options.seconds,
        episodes=tuple(options.episodes),
        records=options.records,
        ways=tuple(way for way in WAYS if way in options.ways),
    )
    try:
        figures = measure(place, options.part)
    finally:
        if options.keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
