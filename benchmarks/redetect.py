"""How the rules of ``@redetect`` are chosen: on a benchmark of training shapes, each rule changed by itself.

    python benchmarks/redetect.py                                   # dcsam, pfenet and prototype; an hour on 2 cores
    python benchmarks/redetect.py dcsam --only plain,redetect

The benchmark is that of ``error_budget.py --training-shapes``, so that the demo's held-out shapes have no part in it. A
row: J&F, J&F of the frames with the target, how many of the others are left empty, J&F of the episodes whose target is
absent at times, and of those where it never is; percent.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import icvos
from icvos.benchmark import Benchmark
from icvos.demo.benchmarks import build_training_shapes, load_benchmark
from icvos.errors import RunError, one_line
from icvos.models.redetect import RedetectRules
from icvos.models.registry import create
from icvos.runs.run import Run, score_of

MODES = ("plain", "@first-found", "@every=5", "@every=10")
CHANGES: dict[str, dict[str, Any]] = {
    "redetect": {},
    "every=3": {"every": 3},
    "every=10": {"every": 10},
    "unsure=0.7": {"unsure": 0.7},
    "covered=0.3": {"covered": 0.3},
    "covered=0.7": {"covered": 0.7},
    "gain=0.8": {"gain": 0.8},
    "gain=1.2": {"gain": 1.2},
    "replaced": {"union": False},
}


def built(name: str, row: str) -> Any:
    """Return a model with its demo weights, an image model with SAM 2's tracker; None where it has no such row."""
    if name == "dcsam" and row in MODES[1:]:
        return None
    mode = "" if row == "plain" else row if row in MODES else "@redetect"
    model = create((name if name == "dcsam" else f"{name}+sam2") + mode, demo=True)
    if row in CHANGES:
        model.rules = replace(RedetectRules(), **CHANGES[row])
    return model


def measure(model: Any, benchmark: Benchmark, out: Path) -> list[float]:
    """Return the five figures of a row."""
    summary = icvos.evaluate(model, benchmark, out=out)["summary"]
    if summary["failed"]:
        raise RunError(f"{summary['failed']} episodes failed", where=out, fix="look at its episodes.jsonl")
    at_times: list[float] = []
    never: list[float] = []
    for record in Run.open(out).by_id.values():
        (never if record["absent_correct"] is None else at_times).append(score_of(record))
    visible = (summary["J_visible"] + summary["F_visible"]) / 2
    return [summary["J&F"], visible, summary["absent_correct"], float(np.mean(at_times)), float(np.mean(never))]


def main() -> None:
    """Build the benchmark where it is not there, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["dcsam", "pfenet", "prototype"])
    parser.add_argument("--only", default="", help="rows, by comma")
    parser.add_argument("--shapes", type=Path, default=Path("runs/shapes"), help="folder of the training shapes")
    parser.add_argument("--out", type=Path, default=Path("runs/redetect-rules"), help="folder of the runs")
    values = parser.parse_args()
    benchmark = load_benchmark(build_training_shapes(values.shapes))
    print(f"{len(benchmark.episodes)} episodes", flush=True)
    print(f"{'model':10} {'rules':14}    J&F | J&F vis | absent | at times | never")
    for name in values.models:
        for row in (*MODES, *CHANGES):
            if values.only and row not in values.only.split(","):
                continue
            model = built(name, row)
            if model is not None:
                figures = measure(model, benchmark, values.out / name / row)
                print(f"{name:10} {row:14} {' | '.join(f'{figure:6.2f}' for figure in figures)}", flush=True)


if __name__ == "__main__":
    with one_line():
        main()
