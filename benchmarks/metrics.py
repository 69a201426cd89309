"""Speed and memory of J and F, against what the public scorers do and against decoding alone, in one run.

    python benchmarks/metrics.py                      # memory, mosev2, png, score: about six minutes
    python benchmarks/metrics.py memory --quick       # one part, fewer rounds: as make bench does
    python benchmarks/metrics.py gpu                  # masks that are on the GPU already

Peer: the formula that all public scorers share: boundaries of two full-frame masks, each dilated with the disk by
OpenCV, one object at a time (``../shared/facts/metrics.md``). Floor: the time Pillow needs to decode the same files and
do nothing else. Rounds of ours and of the other alternate; figures are medians of rounds, of CPU time where all is one
process without a GPU. The C library's trimming of its heap is turned off for all: freed frames would be given back to
the kernel and fetched again, which costs more than decoding and hits whoever frees more often. Masks are drawn: blobs
with rough outlines, a predicted one is the true one moved by two pixels (good) or another one (bad).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIZES = {"480p": (480, 854), "1080p": (1080, 1920), "4K": (2160, 3840)}
FIGURES: dict[str, float] = {}


def say(what: str, figure: str, **figures: float) -> None:
    """Print a line and keep its figures for the last one."""
    FIGURES.update(figures)
    print(f"{what:64} {figure}", flush=True)


def keep_heap() -> None:
    """Turn off trimming and mapping of large blocks in glibc's allocator, where there is one."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        mallopt(option, 1 << 29)


# ------------------------------------------------------------------------------------------------------------ masks


def blobs(size: tuple[int, int], objects: int, generator: np.random.Generator) -> np.ndarray:
    """Draw label maps, (H, W) uint8: rough outlines, about a tenth of the frame each at one to three objects."""
    import cv2

    height, width = size
    out = np.zeros(size, np.uint8)
    for number in range(1, objects + 1):
        angles = np.linspace(0, 2 * np.pi, 240, endpoint=False)
        wave = sum(generator.normal(0, 0.2 / k) * np.sin(k * angles + generator.uniform(0, 6)) for k in range(2, 9))
        radius = height * generator.uniform(0.12, 0.24) * (1 + wave + generator.normal(0, 0.01, 240))
        centre = generator.uniform((0.2 * width, 0.25 * height), (0.8 * width, 0.75 * height))
        outline = centre + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(out, [outline.astype(np.int32)], number)
    return out


def pairs(size: tuple[int, int], objects: int, count: int, *, good: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (prediction, truth) label maps."""
    generator = np.random.default_rng(objects + 10 * good)
    out = []
    for _ in range(count):
        truth = blobs(size, objects, generator)
        moved = np.roll(truth, (2, -1), (0, 1)) if good else blobs(size, objects, generator)
        out.append((np.ascontiguousarray(moved), truth))
    return out


# ------------------------------------------------------------------------------------------------------- the peer


def _peer_boundary(mask: np.ndarray) -> np.ndarray:
    east, south, both = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1] = mask[:, 1:]
    south[:-1] = mask[1:]
    both[:-1, :-1] = mask[1:, 1:]
    out = (mask ^ east) | (mask ^ south) | (mask ^ both)
    out[-1] = mask[-1] ^ east[-1]
    out[:, -1] = mask[:, -1] ^ south[:, -1]
    out[-1, -1] = False
    return out


def peer(prediction: np.ndarray, truth: np.ndarray, disk: np.ndarray) -> tuple[float, float]:
    """J and F of one object as the public scorers compute them."""
    import cv2

    inter, union = np.sum(prediction & truth), np.sum(prediction | truth)
    mine, theirs = _peer_boundary(prediction), _peer_boundary(truth)
    wide = cv2.dilate(mine.astype(np.uint8), disk), cv2.dilate(theirs.astype(np.uint8), disk)
    hit_p, hit_t = np.sum(mine * wide[1]), np.sum(theirs * wide[0])
    count_p, count_t = np.sum(mine), np.sum(theirs)
    j = inter / union if union else 1.0
    if not count_p or not count_t:
        return float(j), float(count_p == count_t)
    precision, recall = hit_p / count_p, hit_t / count_t
    return float(j), float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def disk_of(size: tuple[int, int]) -> np.ndarray:
    """Return the disk of a frame's size."""
    radius = math.ceil(0.008 * float(np.linalg.norm(size)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


def alternate(rounds: int, *works: Callable[[], object], timer: Callable[[], float] = time.process_time) -> list[float]:
    """Return the median seconds of each, run in turn; CPU time unless ``timer`` says otherwise."""

    def seconds(work: Callable[[], object]) -> float:
        start = timer()
        work()
        return timer() - start

    for work in works:
        work()
    times = [[seconds(work) for work in works] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times)]


# ------------------------------------------------------------------------------------------------------- in memory


def memory(quick: bool) -> None:
    """Ours against the shared formula, in memory, one process, one thread."""
    import cv2

    from icvos.metrics import engine, jf_labels

    cv2.setNumThreads(1)
    print(f"in memory, one process, engine '{engine()}'; fo = a frame of one object")
    for name, size in SIZES.items():
        disk = disk_of(size)
        count = {"480p": 8, "1080p": 3, "4K": 1}[name]
        ratios = []
        for objects in (1, 3, 5):
            for good in (True, False):
                frames = pairs(size, objects, count, good=good)
                numbers = range(1, objects + 1)

                def ours(frames: list = frames, numbers: range = numbers) -> list:
                    return [jf_labels(p, t, numbers) for p, t in frames]

                def theirs(frames: list = frames, numbers: range = numbers, disk: np.ndarray = disk) -> list:
                    return [[peer(p == k, t == k, disk) for k in numbers] for p, t in frames]

                for mine, other in zip(ours(), theirs()):
                    if [tuple(pair) for pair in np.stack(mine, 1).tolist()] != other:
                        raise SystemExit("ours and the peer differ")
                repeat = 10
                fast, slow = alternate(2 if quick else 5, lambda run=ours, n=repeat: [run() for _ in range(n)], theirs)
                total = count * objects
                ratios.append(slow / (fast / repeat))
                say(
                    f"{name}, {objects} objects, {'good' if good else 'bad'}",
                    f"{total * repeat / fast:8.0f} fo/s; peer {total / slow:6.1f}; {ratios[-1]:5.1f} times",
                )
        middle = statistics.median(ratios)
        figures = {f"memory_{name}": middle, f"memory_{name}_least": min(ratios)}
        say(f"{name}: median of the six (least {min(ratios):.1f})", f"{middle:.1f} times", **figures)


def mosev2(quick: bool) -> None:
    """J, F and F_dot of ``mosev2`` against J and F alone, in memory, one process, one thread."""
    from icvos.metrics import engine, jf_labels
    from icvos.metrics.mosev2 import mosev2_labels

    print(f"mosev2 in memory, one process, engine '{engine()}'")
    for name in ("480p", "1080p"):
        ratios = []
        for objects in (1, 3, 5):
            for good in (True, False):
                frames = pairs(SIZES[name], objects, {"480p": 8, "1080p": 3}[name], good=good)
                numbers = range(1, objects + 1)

                def usual(frames: list = frames, numbers: range = numbers) -> list:
                    return [jf_labels(p, t, numbers) for _ in range(10) for p, t in frames]

                def adaptive(frames: list = frames, numbers: range = numbers) -> list:
                    return [mosev2_labels(p, t, numbers) for _ in range(10) for p, t in frames]

                plain, both = alternate(2 if quick else 9, usual, adaptive)
                ratios.append(both / plain)
        middle = statistics.median(ratios)
        line = f"{middle:.2f} times the time (most {max(ratios):.2f})"
        say(f"{name}: median of the six", line, **{f"mosev2_{name}": middle})


# ------------------------------------------------------------------------------------------------------- from files


def write_sequences(root: Path, size: tuple[int, int], sequences: int, frames: int, unique: int) -> tuple[Path, Path]:
    """Write ground truth and predictions as palette PNGs, Pillow's own encoding; some frames, hard-linked."""
    from PIL import Image

    from icvos.masks import palette

    stock = root / "stock"
    stock.mkdir(parents=True)
    made = [*pairs(size, 2, unique // 2, good=True), *pairs(size, 2, unique - unique // 2, good=False)]
    for index, both in enumerate(made):
        for kind, labels in zip("pt", both):
            image = Image.fromarray(labels, "P")
            image.putpalette(palette())
            image.save(stock / f"{kind}{index}.png")
    for sequence in range(sequences):
        for kind in "pt":
            folder = root / kind / f"s{sequence:03d}"
            folder.mkdir(parents=True)
            for frame in range(frames):
                # The first frame of each sequence shows both objects: its largest id is how many there are.
                os.link(stock / f"{kind}{frame % unique}.png", folder / f"{frame:05d}.png")
    return root / "p", root / "t"


def png(quick: bool) -> None:
    """From PNG files, one process: the whole of it against Pillow's decoding of the same files."""
    from PIL import Image

    from icvos.masks import read_mask
    from icvos.metrics import jf_labels

    print("from PNG files, one process")
    for name in ("480p", "1080p"):
        with tempfile.TemporaryDirectory() as folder:
            count = 20 if quick else 60
            predicted, truth = write_sequences(Path(folder), SIZES[name], 1, count, count)
            files = [(predicted / "s000" / f"{i:05d}.png", truth / "s000" / f"{i:05d}.png") for i in range(count)]

            def pillow(files: list = files) -> None:
                for both in files:
                    for path in both:
                        with Image.open(path) as image:
                            np.asarray(image)

            def decoded(files: list = files) -> None:
                for p, t in files:
                    read_mask(p), read_mask(t)

            def whole(files: list = files) -> None:
                for p, t in files:
                    jf_labels(read_mask(p), read_mask(t), (1, 2))

            floor, reading, all_of_it = alternate(3 if quick else 7, pillow, decoded, whole)
            say(f"{name}: Pillow decodes a pair of masks", f"{1000 * floor / count:.2f} ms")
            say(f"{name}: the toolkit decodes a pair", f"{1000 * reading / count:.2f} ms")
            say(f"{name}: the toolkit decodes and scores it", f"{1000 * all_of_it / count:.2f} ms")
            ratio = all_of_it / floor
            say(f"{name}: whole over Pillow's decoding", f"{ratio:.2f} times", **{f"png_{name}": ratio})


CODE = """
import json, sys, time
from icvos import cli
def peak(): return int(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1]) / 1024
if __name__ == '__main__':
    from icvos.evaluation import runner, score_episodes, score_sequences  # of the floor; workers import what they need
    from icvos.runs import environment, records, result
    before, start = peak(), time.perf_counter()
    try: cli.main(sys.argv[1:])
    except SystemExit as stop: assert not stop.code
    print(json.dumps({'wall': time.perf_counter() - start, 'floor': before, 'peak': peak()}), file=sys.stderr)
"""


def run_score(root: Path, predicted: Path, truth: Path, workers: int) -> dict[str, float]:
    """Run ``icvos score`` in a process of its own; seconds and MiB."""
    script = root / "run.py"
    script.write_text(CODE)
    out = Path(tempfile.mkdtemp(dir=root)) / "r"
    command = [sys.executable, str(script), "score", str(predicted), "--ground-truth", str(truth), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(
        [*command, "--workers", str(workers)], env=environment, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stderr.splitlines()[-1]))


def score(quick: bool) -> None:
    """``icvos score`` with one worker and with two, and its peak memory on a long video."""
    print(f"icvos score, {os.cpu_count()} cores")
    for name, sequences in (("480p", 120), ("1080p", 30)):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            predicted, truth = write_sequences(root, SIZES[name], sequences, 100, 20)
            runs = [[run_score(root, predicted, truth, n)["wall"] for n in (1, 2)] for _ in range(1 if quick else 3)]
            one, two = (statistics.median(column) for column in zip(*runs))
            fo = sequences * 100 * 2
            say(f"{name}, {sequences * 100} frames: 1 worker", f"{one:.2f} s, {fo / one:.0f} fo/s")
            figures = {f"score_{name}_two_workers": one / two}
            say(f"{name}, {sequences * 100} frames: 2 workers", f"{two:.2f} s, {one / two:.2f} times", **figures)
    with tempfile.TemporaryDirectory() as folder:
        count = 1000
        predicted, truth = write_sequences(Path(folder), SIZES["1080p"], 1, count, 10)
        used = run_score(Path(folder), predicted, truth, 1)
        say(
            f"peak memory above imports, 1080p video of {count} frames",
            f"{used['peak'] - used['floor']:.0f} MiB, of {used['peak']:.0f}",
            score_peak_MiB=used["peak"] - used["floor"],
        )


# --------------------------------------------------------------------------------------------------------- on a GPU


def gpu(quick: bool) -> None:
    """Masks that are on the GPU already: J and F to the host, checked against the CPU to the last bit."""
    import torch

    from icvos.metrics import jf
    from icvos.metrics.definition import boundary_radius
    from icvos.metrics.device import counts_eager

    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device here")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    for name, size in SIZES.items():
        for good in (True, False):
            few = pairs(size, 1, 8, good=good)
            p, t = (np.stack([pair[i] > 0 for pair in few]) for i in (0, 1))
            exact = jf(p, t)
            for batch in (16, 64, 256) if name == "480p" else (16, 64):
                on = [torch.from_numpy(m).cuda().repeat(batch // 8, 1, 1) for m in (p, t)]
                got = jf(*on)
                for mine, theirs in zip(got, exact):
                    if mine.cpu().tolist() != list(theirs) * (batch // 8):
                        raise SystemExit("GPU and CPU differ")
                eager = batch == 16
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                laps = 3 if quick else 30

                def work(on: list = on, laps: int = laps) -> None:
                    for _ in range(laps):
                        jf(*on)[0].cpu()

                (seconds,) = alternate(3 if quick else 5, work, timer=time.perf_counter)
                peak = (torch.cuda.max_memory_allocated() - before) / 2**20
                key, speed = f"gpu_{name}_{batch}", batch * laps / seconds
                say(
                    f"{name}, {'good' if good else 'bad'}, batches of {batch}",
                    f"{speed:9.0f} fo/s, work memory {peak:.0f} MiB",
                    **{key: min(speed, FIGURES.get(key, speed))},
                )
                if eager:
                    radius = boundary_radius(*size)
                    (slow,) = alternate(3, lambda on=on, r=radius: counts_eager(*on, r).cpu(), timer=time.perf_counter)
                    say(f"{name}, without Triton, batches of {batch}", f"{batch / slow:9.0f} fo/s")
    say("GPU and CPU", "identical in every case above")


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[bool], None]] = {"memory": memory, "mosev2": mosev2, "png": png}
    parts |= {"score": score, "gpu": gpu}
    parser.add_argument("parts", nargs="*", choices=[[], *parts], help="memory, mosev2, png, score (the default), gpu")
    parser.add_argument("--gpu", action="store_true", help="the part gpu alone")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, as make bench does")
    options = parser.parse_args()
    keep_heap()
    for part in options.parts or (["gpu"] if options.gpu else ["memory", "mosev2", "png", "score"]):
        parts[part](options.quick)
    print(json.dumps(FIGURES))


if __name__ == "__main__":
    main()
