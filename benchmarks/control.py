"""The control: a model given, in place of an episode's support, one of another category, scored on the episode's own.

    python benchmarks/control.py --model dcsam --benchmark demo --out runs/control

A method that segments in context scores far lower then; one that segments whatever stands out does not mind. Each
support is replaced by one of any other category, chosen by the episode's seed.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import icvos
from icvos import ModelInfo, Support, Video, VideoModel
from icvos.benchmark import Benchmark
from icvos.demo.benchmarks import open_benchmark
from icvos.errors import UsageError, one_line
from icvos.models.registry import create


def digest(support: Support) -> str:
    """Return what tells a support from all others."""
    return hashlib.sha256(support.image.tobytes() + np.ascontiguousarray(support.mask).tobytes()).hexdigest()


class WrongSupport(VideoModel):
    """A model that is shown supports of another category."""

    info = ModelInfo(name="wrong-support", version="1", access="online")

    def __init__(self, model: VideoModel, benchmark: Benchmark) -> None:
        super().__init__(device=model.device)
        self.model = model
        self.supports: dict[int, list[Support]] = {}
        self.category: dict[str, int] = {}
        for category, name in sorted({(e.category, name) for e in benchmark.episodes for name in e.supports}):
            support = benchmark.support(category, name)
            self.supports.setdefault(category, []).append(support)
            self.category[digest(support)] = category

    def other(self, support: Support, seed: int) -> Support:
        """Return a support of another category."""
        generator = np.random.default_rng(seed)
        others = [category for category in self.supports if category != self.category[digest(support)]]
        choice = self.supports[others[int(generator.integers(len(others)))]]
        return choice[int(generator.integers(len(choice)))]

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        yield from self.model.segment([self.other(support, seed) for support in supports], video, seed=seed)


def main() -> None:
    """Evaluate with the right and with wrong supports and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dcsam")
    parser.add_argument("--benchmark", default="demo")
    parser.add_argument("--out", type=Path, default=Path("runs/control"))
    values = parser.parse_args()
    benchmark, demo = open_benchmark(values.benchmark)
    model = create(values.model, demo=demo)
    if not isinstance(model, VideoModel):
        raise UsageError(f"'{values.model}' is an image model", fix=f"use --model {values.model}+sam2")
    right = icvos.evaluate(values.model, values.benchmark, out=values.out / "right")["summary"]["J&F"]
    wrong = icvos.evaluate(WrongSupport(model, benchmark), benchmark, out=values.out / "wrong")["summary"]["J&F"]
    print(f"{values.model}: J&F {right:.2f} with its supports, {wrong:.2f} with supports of another category")


if __name__ == "__main__":
    with one_line():
        main()
