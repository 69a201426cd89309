"""``make demo-weights``: the shipped weights, trained from nothing on the drawn world's training shapes.

    python -m tools.train_demo_weights --out FOLDER [--stages backbone image] [--minutes 25 25] [--start FOLDER]
        [--for MINUTES] [--install]

Stages: a promptable SAM 2 on stills, then on clips with its memory, then all but its encoder on longer clips; a
backbone that tells families of shapes apart; DC-SAM on pairs of images, SAM 2's mask decoder with it; then on clips,
the mean of the weights before and after which is what is kept. The steps of each are what its minutes hold, by the
speed of its first steps. A stage that is done is not done again; one that was stopped goes on where it was: ``--for``
stops after so many minutes. ``--install`` puts SAM 2 into icvos/demo/weights, and DC-SAM with the record of all stages
into dcsam/weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dcsam.training.task import DCSamTask
from icvos.demo.training.backbone_task import BackboneTask
from icvos.demo.training.examples import Scenes
from icvos.demo.training.pool import draw_pool
from icvos.demo.training.sam2_task import DemoSam2Task
from icvos.demo.world.version import DRAWING, GENERATOR_VERSION
from icvos.errors import UsageError, WeightsError, one_line
from icvos.files import atomic_write, read_json, write_json
from icvos.foundation.weights import load_metadata, load_state, save_state
from icvos.models.options import group_options
from icvos.training.distribute import World
from icvos.training.loop import Trainer
from icvos.training.task import Settings, TrainingTask

__all__ = ["SHIPPED", "STAGES", "average_files", "halve_file", "install", "main", "stage_task"]

#: Each stage with its minutes on 2 CPU cores; there the backbone learns beside those before it, on a core of its own.
STAGES = {"sam2-stills": 18.0, "sam2": 30.0, "memory": 10.0, "backbone": 58.0, "image": 30.0, "tubes": 8.0}
#: What each writes.
FILES = {
    "sam2-stills": "demo_sam2_stills",
    "sam2": "demo_sam2_clips",
    "memory": "demo_sam2",
    "backbone": "demo_backbone",
    "image": "demo_dcsam_image",
    "tubes": "demo_dcsam",
}
#: The files that are shipped, and the folder of the package that each lies in.
SHIPPED = {"demo_sam2": "icvos/demo/weights", "demo_dcsam": "dcsam/weights"}
#: Examples of a step on a GPU and on the CPU, and the learning rate.
BATCHES = {
    "sam2-stills": (64, 16, 1e-3),
    "sam2": (96, 4, 1e-3),
    "memory": (48, 2, 4e-4),
    "backbone": (24, 4, 1.2e-3),
    "image": (48, 3, 1.2e-3),
    "tubes": (40, 4, 1e-4),
}
#: Stages whose steps are one CUDA graph on a GPU.
GRAPHED = ("sam2-stills", "backbone")
#: Decay of the mean of the weights that is kept.
AVERAGE = 0.998
#: Scenes that a stage takes from a pool, where not worlds.
POOLS = {"sam2": "clips", "tubes": "episodes"}


def stage_task(
    stage: str,
    out: Path,
    length: int,
    *,
    pool: Scenes | None = None,
    start: Path | None = None,
    seed: int = 1,
    **changes: Any,
) -> TrainingTask:
    """Return a stage's task; the weights it starts from lie in ``out``.

    Args:
        stage: Its name.
        out: Folder of the stages before it.
        length: Examples of an epoch.
        pool: What is drawn ahead.
        start: Folder of an earlier training, which is gone on with.
        seed: Of the drawn world; another than the earlier training's draws scenes that it has not seen.
        changes: To the task, for ablations.
    """
    files = {name: out / f"{file}.safetensors" for name, file in FILES.items()}
    drawn: dict[str, Any] = {"length": length, "pool": pool, "seed": seed}
    earlier: dict[str, Path] = {}
    if start is not None:
        earlier = {name: start / f"{file}.safetensors" for name, file in FILES.items()}
    if stage == "sam2-stills":
        return DemoSam2Task(weights={"sam2": earlier["memory"]} if earlier else None, frames=1, **drawn)
    if stage == "sam2":
        before = files["sam2-stills"]
        before = before if before.is_file() or not earlier else earlier["memory"]
        return DemoSam2Task(weights={"sam2": before}, frames=8, objects=3, **drawn)
    if stage == "memory":
        return DemoSam2Task(weights={"sam2": files["sam2"]}, frames=16, objects=3, train="tracker", **drawn)
    if stage == "backbone":
        return BackboneTask(weights={"backbone": earlier["backbone"]} if earlier else None, **drawn)
    common: dict[str, Any] = {"data": "demo", "train_sam": "decoder", "sam_file": "changed", **drawn}
    if stage == "image":
        sizes = {"backbone": "compact", "image_size": 192, "queries": 8, "dropout": 0.05, "place_codes": True}
        encoders = {"sam2": files["memory"], "backbone": files["backbone"]}
        if earlier:
            encoders["dcsam"] = earlier["image"]
        losses = {"coarse_weight": 0.3, "attention_weight": 0.3, "presence_weight": 0.2}
        options = group_options(DCSamTask, {**common, **sizes, **losses, **changes})
        return DCSamTask(weights=encoders, stage="image", **options)
    before_tubes = {"sam2": files["memory"], "dcsam": files["image"]}
    losses = {"frames": 8, "coarse_weight": 0.2, "attention_weight": 0.1, "presence_weight": 0.2}
    options = group_options(DCSamTask, {**common, **losses, **changes})
    return DCSamTask(weights=before_tubes, stage="tube-finetune", **options)


def _steps(
    stage: str,
    out: Path,
    minutes: float,
    settings: Settings,
    world: World,
    pool: Scenes | None,
    start: Path | None,
    seed: int,
) -> int:
    """Return how many steps fit into the minutes, by a trial of some; what was planned once stays."""
    path = out / f"{stage}.plan.json"
    if path.is_file():
        try:
            return int(json.loads(path.read_text())["steps"])
        except (ValueError, KeyError, TypeError):
            raise UsageError("a broken plan", where=path, fix="delete it: it is made again") from None
    begin = time.perf_counter()
    # On a GPU the first steps wait for loaders, libraries and graphs.
    count = 100 if world.device.type == "cuda" else 24
    stamps: list[float] = []
    folder = out / f"{stage}.probe"
    folder.mkdir(parents=True, exist_ok=True)
    trial = Trainer(
        stage_task(stage, out, 10**9, pool=pool, start=start, seed=seed),
        replace(settings, max_steps=count, warmup=10),
        world,
        folder,
        say=lambda line: None,
        progress=lambda *_: stamps.append(time.perf_counter()),
    )
    trial.fit()
    half = count // 2
    pace = (stamps[-1] - stamps[half]) / (count - 1 - half)
    steps = max(int((minutes * 60 - (time.perf_counter() - begin) - 10) / pace), 20)
    print(f"{stage}: {pace:.3f} s a step, {steps} steps of {settings.batch}", flush=True)
    write_json(path, {"steps": steps, "batch": settings.batch, "seconds_a_step": pace, "minutes": 0.0})
    return steps


def _spend(path: Path, begin: float) -> float:
    """Add the minutes since ``begin`` to a plan, and return all that were spent."""
    plan = read_json(path)
    plan["minutes"] = round(plan.get("minutes", 0.0) + (time.perf_counter() - begin) / 60, 2)
    write_json(path, plan)
    return float(plan["minutes"])


def _halves_well(device: str) -> bool:
    """Whether a CPU multiplies in bfloat16 itself."""
    return device == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def train_stage(
    stage: str,
    out: Path,
    minutes: float,
    device: str,
    workers: int,
    *,
    pool_size: int = 0,
    start: Path | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """Train one stage, write its fp16 weights, and return its record."""
    world = World(0, 1, torch.device(device))
    begin = time.perf_counter()
    on_gpu, on_cpu, rate = BATCHES[stage]
    settings = Settings(
        epochs=1,
        batch=on_gpu if device.startswith("cuda") else on_cpu,
        lr=rate if start is None else rate / 2,
        weight_decay=0.01,
        warmup=80,
        clip=1.0,
        workers=workers,
        validate_every=1,
        save_every=250,
        graphs=stage in GRAPHED,
        precision="bf16" if _halves_well(device) else "fp32",
        average=AVERAGE,
    )
    pool = None
    if pool_size and stage != "memory":  # whose clips are longer than a pool's
        # On a GPU drawing would be waited for.
        kind = POOLS.get(stage, "worlds")
        pool = draw_pool(out, kind, pool_size, side=192, seed=seed, workers=max(workers, 1))
    steps = _steps(stage, out, minutes - (time.perf_counter() - begin) / 60, settings, world, pool, start, seed)
    task = stage_task(stage, out, steps * settings.batch, pool=pool, start=start, seed=seed)
    folder = out / f"{stage}.run"
    folder.mkdir(parents=True, exist_ok=True)
    last = time.perf_counter()

    def show(step: int, total: int, values: Mapping[str, float]) -> None:
        nonlocal last
        if time.perf_counter() - last > 15 or step == total:
            last = time.perf_counter()
            figures = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "lr")
            print(f"{stage}: step {step} of {total}: {figures}", flush=True)

    final = replace(settings, max_steps=steps)
    minutes_spent = 0.0
    try:
        summary = Trainer(task, final, world, folder, say=lambda line: print(line, flush=True), progress=show).fit()
    finally:
        minutes_spent = _spend(out / f"{stage}.plan.json", begin)
    path = out / f"{FILES[stage]}.safetensors"
    halve_file(folder / "last.safetensors", path)
    if stage == "tubes":
        # Clips teach to go on with a thing, and unteach that nothing may be there: the mean keeps both.
        average_files(out / f"{FILES['image']}.safetensors", path, path)
    return {
        "steps": summary["steps"],
        "batch": settings.batch,
        "lr": settings.lr,
        "precision": settings.precision,
        "average": settings.average,
        "minutes": minutes_spent,
        "validation_mIoU": summary["best_mIoU"],
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or "cpu",
        "torch": torch.__version__,
        "pool": pool_size,
        "describe": {**task.describe(), "weights": None},
        **({"averaged_with": "image"} if stage == "tubes" else {}),
    }


def main() -> None:
    """Train the stages asked for and write the weights and their record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--minutes", type=float, nargs="+", help="Of each stage; by default those of 2 CPU cores.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FOLDER",
        help="Go on from an earlier training's weights, with half its learning rates.",
    )
    parser.add_argument("--seed", type=int, default=1, help="Of the drawn scenes.")
    parser.add_argument("--pool", type=int, help="Draw so many scenes of a kind ahead; 0 none; by default on a GPU.")
    parser.add_argument("--for", type=float, dest="until", metavar="MINUTES", help="Stop after so many; go on later.")
    parser.add_argument("--install", action="store_true", help="Copy what is shipped into the packages at the end.")
    values = parser.parse_args()
    pool = values.pool if values.pool is not None else 8000 if values.device.startswith("cuda") else 0
    minutes = values.minutes or [STAGES[stage] for stage in values.stages]
    if len(minutes) != len(values.stages):
        parser.error(f"{len(values.stages)} stages and {len(minutes)} minutes")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    values.out.mkdir(parents=True, exist_ok=True)
    if values.until is not None:
        # The loop saves and stops at this signal.
        alarm = threading.Timer(60 * values.until, os.kill, [os.getpid(), signal.SIGTERM])
        alarm.daemon = True
        alarm.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped: the same command goes on"))
    threads = torch.get_num_threads()
    beside = None
    if values.device == "cpu" and threads > 1 and "backbone" in values.stages[1:]:
        # The backbone needs no stage before it: it learns in a process of its own, one core each.
        beside = _backbone_beside(values, minutes[values.stages.index("backbone")])
        torch.set_num_threads(1)
    try:
        for stage, share in zip(values.stages, minutes):
            if stage == "backbone" and beside is not None:
                if beside.wait() != 0:
                    raise UsageError("training the backbone failed", fix="see above; the same command goes on")
                torch.set_num_threads(threads)
                continue
            _one_stage(stage, share, pool, values)
    finally:
        if beside is not None and beside.poll() is None:
            beside.terminate()
            beside.wait()
    if values.install:
        install(values.out, Path(__file__).parent.parent)


def _one_stage(stage: str, minutes: float, pool: int, values: argparse.Namespace) -> None:
    """Train a stage and write its record, unless it is done."""
    # A file a stage: stages that do not need each other may be trained side by side.
    path = values.out / f"{stage}.json"
    if path.is_file() and (values.out / f"{FILES[stage]}.safetensors").is_file():
        print(f"{stage}: done before", flush=True)
        return
    before = values.start / f"{stage}.json" if values.start is not None else None
    earlier = read_json(before) if before is not None and before.is_file() else None
    record = train_stage(
        stage, values.out, minutes, values.device, values.workers, pool_size=pool, start=values.start, seed=values.seed
    )
    if earlier is not None:
        record["earlier"] = earlier
    write_json(path, {"stage": stage, "drawing": DRAWING, "generator": GENERATOR_VERSION, **record})


def _backbone_beside(values: argparse.Namespace, minutes: float) -> subprocess.Popen[bytes]:
    """Start this command for the backbone alone, on one core."""
    command = [
        sys.executable,
        "-m",
        "tools.train_demo_weights",
        "--out",
        str(values.out),
        "--stages",
        "backbone",
        "--minutes",
        str(minutes),
        "--device",
        "cpu",
        "--workers",
        str(values.workers),
    ]
    for name in ("start", "pool", "seed"):
        if getattr(values, name) is not None:
            command += [f"--{name}", str(getattr(values, name))]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def install(out: Path, root: Path) -> None:
    """Copy the shipped files of a finished training, with the record of all its stages.

    Args:
        out: Folder of the training.
        root: The repository's folder, where ``SHIPPED`` says which package gets which file.
    """
    for name in SHIPPED:
        if not (out / f"{name}.safetensors").is_file():
            raise UsageError(f"nothing to install: no {name}.safetensors", where=out, fix="train all stages first")
    sizes = {}
    for name, package in SHIPPED.items():
        path = root / package / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as stream:
            stream.write((out / path.name).read_bytes())
        sizes[path.name] = path.stat().st_size
    stages = [read_json(out / f"{stage}.json") for stage in STAGES if (out / f"{stage}.json").is_file()]
    record = {"schema": "icvos-demo-weights/1", "bytes": sizes, "stages": stages}
    write_json(root / SHIPPED["demo_dcsam"] / "training.json", record)


def average_files(first: Path, second: Path, target: Path) -> None:
    """Write the mean of two safetensors files with the same tensors, at the precision and with the metadata of the
    second: weights before and after fine-tuning (arXiv 2109.01903).

    Raises:
        WeightsError: Their tensors do not have the same names and shapes.
    """
    before, after = load_state(first), load_state(second)
    if {k: v.shape for k, v in before.items()} != {k: v.shape for k, v in after.items()}:
        raise WeightsError(f"not the tensors of {second}", where=first, fix="give two files of one model")
    mean = {
        name: ((before[name].float() + value.float()) / 2).to(value.dtype) if value.is_floating_point() else value
        for name, value in after.items()
    }
    save_state(target, mean, metadata=load_metadata(second))


def halve_file(source: Path, target: Path) -> None:
    """Write a safetensors file in fp16, its metadata kept."""
    save_state(target, load_state(source), metadata=load_metadata(source), half=True)


if __name__ == "__main__":
    with one_line():
        main()
