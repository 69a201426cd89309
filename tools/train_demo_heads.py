"""The shipped heads of VRP-SAM, PFENet and SANSA for the demo, trained on the drawn world's training shapes.

    python -m tools.train_demo_heads --out baselines/weights --minutes 10 [--heads vrp-sam pfenet sansa]
        --backbone dcsam/weights/demo_dcsam.safetensors --sam2 icvos/demo/weights/demo_sam2.safetensors
        [--device cuda --workers 8]

The backbone is DC-SAM's of the demo (SANSA's the demo's SAM 2), frozen, and must be the file that is shipped: a head
refuses another. Each head gets the minutes; how many steps fit is measured first. Files hold the heads alone, in fp16;
``training.json`` is the record.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from baselines.head_task import PairTask
from baselines.pfenet.train import PfeNetSizes, PfeNetTask
from baselines.sansa_train import SansaTask
from baselines.vrp_sam.train import VrpTask
from icvos.data.options import PairOptions
from icvos.demo.world.version import DRAWING, GENERATOR_VERSION
from icvos.errors import one_line
from icvos.files import write_json
from icvos.models.registry import resolve
from icvos.training.distribute import World
from icvos.training.loop import Trainer
from icvos.training.task import Settings
from tools.train_demo_weights import halve_file

__all__ = ["HEADS", "demo_task", "main", "train_head"]

HEADS = ("vrp-sam", "pfenet", "sansa")
#: Steps whose time is measured before the training proper.
PROBE = 12


def head_file(name: str, folder: Path) -> Path:
    """Return a head's file in a folder, named as its plugin declares the shipped one."""
    return folder / Path(resolve(name).info.demo_weights[name]).name


def demo_task(name: str, backbone: Path, sam2: Path | None, *, length: int) -> tuple[PairTask, Settings]:
    """Return a head's task at the demo's size and its settings: small heads, few steps, so faster rates.

    Args:
        name: One of ``HEADS``.
        backbone: A file that holds the demo's backbone.
        sam2: The demo's SAM 2; VRP-SAM and SANSA need it.
        length: Pairs of an epoch.
    """
    source = PairOptions(length=length)
    if name == "vrp-sam":
        files = {"backbone": backbone, **({} if sam2 is None else {"sam": sam2})}
        task: PairTask = VrpTask(
            weights=files, backbone="compact", image_size=192, queries=16, dropout=0.05, source=source
        )
        return task, Settings(epochs=1, batch=16, lr=1e-3, weight_decay=0.01, warmup=50, clip=1.0, validate_every=0)
    if name == "sansa":
        files = {} if sam2 is None else {"sam2": sam2}
        task = SansaTask(weights=files, factor=0.5, image_size=192, source=source)
        return task, Settings(epochs=1, batch=8, lr=2e-3, weight_decay=0.0, warmup=50, clip=0.5, validate_every=0)
    sizes = PfeNetSizes("compact", image_size=192, width=64, dropout=0.1)
    task = PfeNetTask(weights={"backbone": backbone}, sizes=sizes, foreground=5.0, source=source)
    return task, Settings(epochs=1, batch=16, lr=0.1, weight_decay=1e-4, warmup=50, clip=1.0, validate_every=0)


def train_head(
    name: str,
    out: Path,
    backbone: Path,
    sam2: Path | None,
    *,
    minutes: float = 10.0,
    steps: int | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> dict[str, Any]:
    """Train one head, write its file into ``out`` and return its record.

    Args:
        name: One of ``HEADS``.
        out: The folder of the file.
        backbone, sam2: See ``demo_task``.
        minutes: How long, all in all; decides the steps.
        steps: So many instead.
        device: Where.
        workers: Data-loading processes.
    """
    begin = time.perf_counter()
    world = World(0, 1, torch.device(device))
    scratch = Path(tempfile.mkdtemp(prefix=f"icvos-{name}-"))
    try:
        pace = None
        if steps is None:
            pace = _pace(name, backbone, sam2, world, scratch / "probe", workers)
            steps = max(int((60 * minutes - (time.perf_counter() - begin) - 15) / pace), 20)
            print(f"{name}: {pace:.3f} s a step, {steps} steps", flush=True)
        # One epoch: every pair is new.
        batch = demo_task(name, backbone, sam2, length=1)[1].batch
        task, settings = demo_task(name, backbone, sam2, length=steps * batch)
        settings = replace(settings, max_steps=steps, workers=workers, validate_every=1)
        printed = [time.perf_counter()]

        def show(step: int, total: int, values: dict[str, float]) -> None:
            if time.perf_counter() - printed[0] > 15 or step == total:
                printed[0] = time.perf_counter()
                print(
                    f"{name}: step {step} of {total}: loss {values['loss']:.3f}, IoU {values['train_mIoU']:.1f}",
                    flush=True,
                )

        folder = scratch / "run"
        folder.mkdir()
        summary = Trainer(task, settings, world, folder, progress=show).fit()
        out.mkdir(parents=True, exist_ok=True)
        head_path = head_file(name, out)
        halve_file(folder / "last.safetensors", head_path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {
        "steps": summary["steps"],
        "batch": settings.batch,
        "lr": settings.lr,
        "seconds_a_step": pace,
        "minutes": (time.perf_counter() - begin) / 60,
        "validation_mIoU": summary["best_mIoU"],
        "bytes": head_path.stat().st_size,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "describe": task.describe(),
    }


def _pace(name: str, backbone: Path, sam2: Path | None, world: World, folder: Path, workers: int) -> float:
    """Return the seconds that a step takes, the first few left out."""
    stamps: list[float] = []
    task, settings = demo_task(name, backbone, sam2, length=10**9)
    folder.mkdir()
    Trainer(
        task,
        replace(settings, max_steps=PROBE, workers=workers),
        world,
        folder,
        say=lambda line: None,
        progress=lambda *_: stamps.append(time.perf_counter()),
    ).fit()
    return (stamps[-1] - stamps[3]) / (len(stamps) - 4)


def main(arguments: list[str] | None = None) -> None:
    """Train the heads asked for and write them and their record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbone", type=Path, required=True)
    parser.add_argument("--sam2", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each head")
    parser.add_argument("--steps", type=int, help="of each head, instead of minutes")
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=HEADS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0)
    values = parser.parse_args(arguments)
    path = values.out / "training.json"
    record = json.loads(path.read_text()) if path.is_file() else {"heads": {}}
    for name in values.heads:
        record["heads"][name] = train_head(
            name,
            values.out,
            values.backbone,
            values.sam2,
            minutes=values.minutes,
            steps=values.steps,
            device=values.device,
            workers=values.workers,
        )
        record |= {"drawing": DRAWING, "generator": GENERATOR_VERSION}
        write_json(path, record)
        print(f"{name}: {head_file(name, values.out)}, validation mIoU {record['heads'][name]['validation_mIoU']:.2f}")


if __name__ == "__main__":
    with one_line():
        main()
