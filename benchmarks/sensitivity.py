"""What DC-SAM's parts do: two contrasts, the seed as the unit, and no verdict below what is detectable.

    python -m benchmarks.sensitivity --weights FOLDER                       # the demo's variant, hours on 2 cores
    python -m benchmarks.sensitivity --weights FOLDER --data pascal-5i --root VOC2012 --sbd SBD --benchmark PASCAL_5I
        --device cuda                                                       # Table V's, fold 0

FOLDER holds ``demo_sam2_large.safetensors`` and ``demo_backbone.safetensors`` of ``make demo-weights``; for PASCAL-5i
``sam2.pt`` and ``resnet50.pth`` as published. Each seed trains three models on the same pairs in the same order: with
all parts, without negative prompts, and without the cyclic bias. What is compared is each seed's difference in mIoU, on
images of training shapes (of PASCAL-5i: on the test fold). The first seeds are a pilot: their spread says how many
seeds it takes to detect ``--detect`` points (two-sided at 5 %, four times in five), and as many are trained, up to
``--most``. A stopped run goes on. It is a study of the short training that it does, not of the published model.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import icvos
from dcsam.training.task import DCSamTask
from icvos.commands.options import check_device
from icvos.demo.benchmarks import ensure_demo, load_benchmark
from icvos.errors import RunError, UsageError, name_some, one_line
from icvos.files import file_sha256, lock_folder, read_json, write_json
from icvos.leaderboard.statistics import t_quantile
from icvos.models.options import group_options
from icvos.training.distribute import World
from icvos.training.loop import Trainer
from icvos.training.task import Settings, TrainingTask
from tools.demo_stages import stage_settings, stage_task

WHOLE = "whole"
#: Contrasts, named before anything was trained: what each switches off.
CONTRASTS: dict[str, dict[str, bool]] = {"negative prompts": {"negative": False}, "cyclic bias": {"cyclic": False}}
#: Error of the first kind, two-sided, and power.
ALPHA, POWER = 0.05, 0.8
#: Of ``--weights``, by data.
FILES = {"demo": ("demo_sam2_large.safetensors", "demo_backbone.safetensors"), "pascal-5i": ("sam2.pt", "resnet50.pth")}


def detectable(spread: float, seeds: int) -> float:
    """Return the least difference that so many seeds detect four times in five.

    Args:
        spread: Standard deviation of a seed's difference, points.
        seeds: 2 or more.
    """
    freedom = seeds - 1
    return (t_quantile(1 - ALPHA / 2, freedom) + t_quantile(POWER, freedom)) * spread / math.sqrt(seeds)


def seeds_for(spread: float, wanted: float, *, least: int, most: int) -> int:
    """Return the fewest seeds, from ``least`` on, that detect a difference of ``wanted`` points; ``most`` at most."""
    return next((n for n in range(least, most) if detectable(spread, n) <= wanted), most)


def verdict(differences: Sequence[float]) -> str:
    """Return a line on one contrast: the mean, its interval, what is detectable, and what that allows to be said."""
    count, centre, spread = len(differences), mean(differences), stdev(differences)
    least = detectable(spread, count)
    half = t_quantile(1 - ALPHA / 2, count - 1) * spread / math.sqrt(count)
    outcome = "none" if abs(centre) <= least else "it helps" if centre > 0 else "it harms"
    ends = f"{centre - half:+.2f} to {centre + half:+.2f}"
    return (
        f"{centre:+.2f} (95 %: {ends}; spread {spread:.2f}, {count} seeds), detectable {least:.2f}: verdict {outcome}"
    )


def training(values: argparse.Namespace, seed: int, changes: Mapping[str, Any]) -> tuple[TrainingTask, Settings]:
    """Return the task and settings of one model."""
    if values.data == "demo":
        whole = stage_settings("image", values.device, 0, goes_on=False)
        task = stage_task("image", values.weights, values.steps * whole.batch, seed=seed, **changes)
        settings = replace(whole, lr=8e-4, warmup=20, average=0.0, graphs=False, max_steps=values.steps)
    else:
        files = {"sam2": values.weights / "sam2.pt", "backbone": values.weights / "resnet50.pth"}
        options = {"data": values.data, "root": values.root, "sbd": values.sbd, "fold": 0, "seed": seed, **changes}
        task = DCSamTask(weights=files, stage="image", **group_options(DCSamTask, options))
        settings = task.defaults()
    return task, replace(settings, validate_every=0, save_every=100, seed=seed)


def trained(values: argparse.Namespace, seed: int, name: str) -> float:
    """Train and score one model, unless that was done before; return its mIoU, percent."""
    folder = values.out / f"{name.replace(' ', '-')}-{seed}"
    record = folder / "record.json"
    if record.is_file():
        content = read_json(record)
        score = content.get("mIoU") if isinstance(content, dict) else None
        if not isinstance(score, float) or not math.isfinite(score):
            raise RunError(f"mIoU is {score}", where=record, fix="delete the record: it is made again")
        return score
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.process_time()
    task, settings = training(values, seed, CONTRASTS.get(name, {}))
    world = World(0, 1, torch.device(values.device))
    Trainer(task, settings, world, folder, say=lambda line: None).fit()
    spent = time.process_time() - begin
    sam = values.weights / FILES[values.data][0]
    result = icvos.evaluate(
        "dcsam",
        values.benchmark,
        out=folder / "run",
        device=values.device,
        limit_episodes=values.episodes,
        weights={"dcsam": folder / "last.safetensors", "sam2": sam},
    )
    if result["summary"]["failed"]:
        raise RunError(f"{result['summary']['failed']} episodes failed", where=folder / "run", fix="run it again")
    score = float(result["summary"]["mIoU"])
    write_json(record, {"name": name, "seed": seed, "mIoU": score, "cpu_seconds": round(spent)})
    print(f"seed {seed:3}  {name:18} {score:6.2f} mIoU, trained in {spent:.0f} s of CPU", flush=True)
    return score


def check_study(values: argparse.Namespace) -> None:
    """Write what the study's figures depend on into its folder, or compare it with what stands there.

    Raises:
        UsageError: The folder's figures are of another study.
    """
    study: dict[str, Any] = {name: getattr(values, name) for name in ("data", "steps", "episodes")}
    study["benchmark"] = load_benchmark(values.benchmark).manifest_sha256
    study["weights"] = {name: file_sha256(values.weights / name) for name in FILES[values.data]}
    path = values.out / "study.json"
    if path.is_file():
        before = read_json(path)
        other = [name for name in study if not isinstance(before, dict) or before.get(name) != study[name]]
        if other:
            what = f"the study in this folder is of other {name_some(other)}"
            raise UsageError(what, where=values.out, fix="give another --out")
    elif any(values.out.glob("*/record.json")):
        raise UsageError("no study.json says what the records are of", where=values.out, fix="give another --out")
    values.out.mkdir(parents=True, exist_ok=True)
    write_json(path, study)


def differences(values: argparse.Namespace, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Return what each part adds, whole less without, by contrast and in the order of the seeds."""
    out: dict[str, list[float]] = {name: [] for name in CONTRASTS}
    for seed in seeds:
        whole = trained(values, seed, WHOLE)
        for name in CONTRASTS:
            out[name].append(whole - trained(values, seed, name))
    return out


def main() -> None:
    """Run the pilot, then as many seeds as its spread asks for, and print what they show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/sensitivity"))
    parser.add_argument("--data", choices=("demo", "pascal-5i"), default="demo")
    parser.add_argument("--root", type=Path, help="VOC2012, for pascal-5i.")
    parser.add_argument("--sbd", type=Path, help="SBD, for pascal-5i.")
    parser.add_argument("--benchmark", help="Of images; by default of training shapes, drawn where it is not there.")
    parser.add_argument("--episodes", type=int, default=400, help="Its first so many.")
    parser.add_argument("--steps", type=int, default=300, help="Of the demo's training.")
    parser.add_argument("--pilot", type=int, default=4, help="Seeds whose spread plans the rest.")
    parser.add_argument("--detect", type=float, default=2.0, help="Points of mIoU that are to be detected.")
    parser.add_argument("--most", type=int, default=12, help="Seeds at most.")
    parser.add_argument("--device", default="cpu")
    values = parser.parse_args()
    if values.pilot < 2 or values.most < values.pilot:
        raise UsageError(f"--pilot {values.pilot} --most {values.most}", expected="2 <= pilot <= most")
    check_device(values.device)
    if not 0 < values.detect < 100:
        raise UsageError(f"--detect {values.detect}", expected="points of mIoU, above 0 and under 100")
    if values.steps < 1 or values.episodes < 1:
        raise UsageError(f"--steps {values.steps} --episodes {values.episodes}", expected="1 or more of each")
    if values.data != "demo" and not values.benchmark:
        raise UsageError("no --benchmark", fix="give PASCAL-5i's fold 0, of 'icvos build-data pascal-5i'")
    for name in FILES[values.data]:
        if not (values.weights / name).is_file():
            fix = "make demo-weights trains it" if values.data == "demo" else "'icvos weights list' says where it is"
            raise UsageError(f"no {name}", where=values.weights, fix=fix)
    values.benchmark = values.benchmark or str(ensure_demo("demo/coco-20i", "large"))
    with lock_folder(values.out):
        check_study(values)
        _study(values)


def _study(values: argparse.Namespace) -> None:
    pilot = differences(values, range(1, values.pilot + 1))
    spread = max(stdev(each) for each in pilot.values())
    count = seeds_for(spread, values.detect, least=values.pilot, most=values.most)
    print(f"pilot: a spread of {spread:.2f} points; {count} seeds detect {detectable(spread, count):.2f}", flush=True)
    by_contrast = differences(values, range(1, count + 1))
    for name, each in by_contrast.items():
        print(f"{name:18} {verdict(each)}")
    figures = {
        name: {"differences": each, "detectable": detectable(stdev(each), count)} for name, each in by_contrast.items()
    }
    write_json(values.out / "sensitivity.json", {"data": values.data, "seeds": count, "contrasts": figures})


if __name__ == "__main__":
    with one_line():
        main()
