"""What a method pays for an interpreter of its own (``--python``): milliseconds a frame at 854x480, and memory.

    python benchmarks/interpreter.py                    # about 20 seconds
    python benchmarks/interpreter.py --frames 10000     # memory over a long video

A method that looks at one pixel of each frame and yields one mask runs in this process and in another of the same
Python, in turn; what the second takes more is the price: a frame there, a mask back. Memory is what each end takes more
for so many frames than for 200. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from icvos.costs import peak_resident
from icvos.models.registry import create
from icvos.types import Support

SIZE = (480, 854)
METHOD = """
import numpy as np
from icvos import ModelInfo, VideoModel


class Nothing(VideoModel):
    info = ModelInfo(name="nothing", version="1")

    def segment(self, supports, video, *, seed):
        mask = np.zeros(video.size, bool)
        for frame in video:
            mask[0, 0] = frame[0, 0, 0] > 99
            yield mask
"""


class Noise:
    """A video of 8 frames over and over."""

    size = SIZE

    def __init__(self, count: int) -> None:
        self._count = count
        generator = np.random.default_rng(0)
        self._frames = [generator.integers(0, 255, (*SIZE, 3), dtype=np.uint8) for _ in range(8)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        return self._frames[range(self._count)[index] % 8]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(self._count))


def main() -> None:
    """Measure, print, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300, help="of a pass")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--python", default=sys.executable, help="of the other process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nothing.py"
        path.write_text(METHOD)
        models = {"here": create(str(path)), "there": create(f"{options.python}::{path}")}

        def milliseconds(name: str, frames: int) -> float:
            video = Noise(frames)
            supports = [Support(video[0], np.ones(SIZE, bool))]
            begin = time.perf_counter()
            for _ in models[name].segment(supports, video, seed=0):  # type: ignore[attr-defined]
                pass
            return 1000 * (time.perf_counter() - begin) / frames

        rounds = [
            {name: milliseconds(name, min(options.frames, 1000)) for name in models} for _ in range(options.rounds)
        ]
        here, there = (statistics.median(each[name] for each in rounds) for name in models)
        more = statistics.median(each["there"] - each["here"] for each in rounds)
        print(f"854x480: {here:.2f} ms a frame in this process, {there:.2f} in another: {more:.2f} more")
        figures = {"here_ms": here, "there_ms": there, "overhead_ms": more}
        if options.frames > 1000:
            interpreter = models["there"].interpreter  # type: ignore[attr-defined]
            peaks = []
            for frames in (200, options.frames):
                milliseconds("there", frames)
                peaks.append((peak_resident(), interpreter.peak_memory("cpu")))
            grown = [(after - before) / 2**20 for before, after in zip(*peaks)]
            print(f"memory of {options.frames:,} frames beside 200: {grown[0]:.1f} MiB more here, {grown[1]:.1f} there")
            figures |= {"here_mib": grown[0], "there_mib": grown[1]}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
