"""``make demo-weights``: the shipped weights, trained from nothing on the drawn world's training shapes.

    python -m dcsam.demo_weights --out FOLDER --minutes 4.5 4.5 3 [--stages sam2 image tubes]

Three stages: a promptable SAM 2; DC-SAM with its backbone on pairs of images, SAM 2's decoder trained with it; then
both through clips, memory modules too. Each stage's length is its share of the minutes: the speed is measured first.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dcsam.train import DCSamTask
from dcsam.train_sam2 import DemoSam2Task
from icvos.build.demo_world.version import drawing_hash, generator_version
from icvos.files import write_json
from icvos.foundation.weights import load_metadata, load_state, save_state
from icvos.training.distribute import World
from icvos.training.loop import Trainer
from icvos.training.task import Settings, TrainingTask

__all__ = ["main"]

STAGES = ("sam2", "image", "tubes")


def _task(stage: str, out: Path, length: int) -> tuple[TrainingTask, dict[str, Any]]:
    """Return a stage's task and what of its settings is not the default."""
    if stage == "sam2":
        return DemoSam2Task(frames=4, length=length), {"batch": 32, "lr": 8e-4, "weight_decay": 0.01}
    sam2 = {"sam2": out / "demo_sam2.safetensors"}
    if stage == "image":
        task = DCSamTask(
            weights=sam2, stage="image", data="demo", backbone="compact", image_size=192, queries=8, dropout=0.05,
            train_backbone=True, train_sam="decoder", coarse_weight=0.5, prior_weight=1.0, sam_file="changed",
            length=length,
        )  # fmt: skip
        return task, {"batch": 48, "lr": 1e-3, "weight_decay": 0.01}
    task = DCSamTask(
        weights={**sam2, "dcsam": out / "demo_dcsam_image.safetensors"}, stage="tube-finetune", data="demo", frames=5,
        train_backbone=True, train_sam="decoder+memory", coarse_weight=0.25, prior_weight=0.5, sam_file="changed",
        length=length,
    )  # fmt: skip
    return task, {"batch": 16, "lr": 3e-4, "weight_decay": 0.01}


def _train(stage: str, out: Path, minutes: float, device: str, workers: int) -> dict[str, Any]:
    world = World(0, 1, torch.device(device))
    begin = time.perf_counter()
    probe, changes = _task(stage, out, 10**9)
    settings = replace(
        Settings(epochs=1, clip=1.0, warmup=150, workers=workers, validate_every=0, seed=0), **changes
    )  # fmt: skip
    stamps: list[float] = []
    trial = Trainer(
        probe, replace(settings, max_steps=25, warmup=10), world, out / f"{stage}.probe",
        say=lambda line: None, progress=lambda *_: stamps.append(time.perf_counter()),
    )  # fmt: skip
    (out / f"{stage}.probe").mkdir(parents=True, exist_ok=True)
    trial.fit()
    pace = (stamps[-1] - stamps[4]) / (len(stamps) - 5)
    left = minutes * 60 - (time.perf_counter() - begin) - 15
    steps = max(int(left / pace), 20)
    print(f"{stage}: {pace:.3f} s a step, {steps} steps of {settings.batch}", flush=True)
    task, _ = _task(stage, out, steps * settings.batch)
    folder = out / f"{stage}.run"
    folder.mkdir(parents=True, exist_ok=True)
    last = time.perf_counter()

    def show(step: int, total: int, values: dict[str, float]) -> None:
        nonlocal last
        if time.perf_counter() - last > 15 or step == total:
            last = time.perf_counter()
            shown = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "lr")
            print(f"{stage}: step {step} of {total}: {shown}", flush=True)

    final = replace(settings, max_steps=steps, validate_every=1)
    trainer = Trainer(task, final, world, folder, say=print, progress=show)
    summary = trainer.fit()
    name = {"sam2": "demo_sam2", "image": "demo_dcsam_image", "tubes": "demo_dcsam"}[stage]
    halve(folder / "last.safetensors", out / f"{name}.safetensors")
    return {
        "stage": stage, "steps": summary["steps"], "batch": settings.batch, "lr": settings.lr, "seconds_a_step": pace,
        "minutes": (time.perf_counter() - begin) / 60, "validation_mIoU": summary["best_mIoU"],
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or "cpu",
        "torch": torch.__version__, "describe": {**task.describe(), "weights": None},
    }  # fmt: skip


def halve(source: Path, target: Path) -> None:
    """Write a safetensors file in fp16, its metadata kept."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in load_state(source).items()}
    save_state(target, state, metadata=load_metadata(source))


def main() -> None:
    """Train the stages asked for and write the weights and their record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[40.0, 40.0, 35.0])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0)
    values = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    values.out.mkdir(parents=True, exist_ok=True)
    record_path = values.out / "training.json"
    record = json.loads(record_path.read_text()) if record_path.is_file() else {"stages": {}}
    record |= {"drawing": drawing_hash(), "generator": generator_version()}
    for stage, minutes in zip(values.stages, values.minutes, strict=True):
        record["stages"][stage] = _train(stage, values.out, minutes, values.device, values.workers)
        write_json(record_path, record)


if __name__ == "__main__":
    main()
