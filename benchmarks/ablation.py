"""DC-SAM's parts at demo scale: the same short training with one of them off, several seeds, on the demo benchmark.

    python -m benchmarks.ablation --weights FOLDER --out runs/ablation     # resumes; one process, one thread

FOLDER holds ``demo_sam2.safetensors`` and ``demo_backbone.safetensors`` (``make demo-weights``, its first stages).
Every row has the same steps: image pairs, then mask tubes, made from COCO-layout images of training shapes (the demo
world of size ``large``, drawn into ``--raw`` if it is not there); the row without tubes has image pairs instead, for
the same time, another drawn clips. The backbone and SAM 2's encoder are frozen. Every value is printed, in the order
of the configurations.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import icvos
from icvos.demo.benchmarks import demo_raw
from icvos.errors import one_line
from icvos.files import write_json
from icvos.training.distribute import World
from icvos.training.loop import Trainer
from icvos.training.task import Settings
from tools.train_demo_weights import stage_task

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "corrected": {},
    "reference": {"variant": "reference"},
    "no negative prompts": {"negative": False},
    "no cyclic bias": {"cyclic": False},
    "no mask tubes": {},
    "drawn clips": {},
    "no place codes": {"place_codes": False},
}


def train(stage: str, folder: Path, out: Path, steps: int, batch: int, rate: float, seed: int, **changes: Any) -> float:
    """Train one stage; return its CPU seconds."""
    begin = time.process_time()
    task = stage_task(stage, folder, steps * batch, seed=seed, **changes)
    settings = Settings(
        epochs=1,
        batch=batch,
        lr=rate,
        weight_decay=0.01,
        warmup=20,
        clip=1.0,
        max_steps=steps,
        validate_every=0,
        seed=seed,
    )
    out.mkdir(parents=True, exist_ok=True)
    Trainer(task, settings, World(0, 1, torch.device("cpu")), out, say=lambda line: None).fit()
    return time.process_time() - begin


def one(name: str, seed: int, values: argparse.Namespace) -> dict[str, Any]:
    """Train and score one configuration and seed, unless that was done before."""
    folder = values.out / f"{name.replace(' ', '-')}-{seed}"
    record = folder / "record.json"
    if record.is_file():
        return dict(json.loads(record.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("demo_sam2", "demo_backbone"):
        link = folder / f"{part}.safetensors"
        if not link.exists():
            link.symlink_to((values.weights / link.name).resolve())
    changes = CONFIGURATIONS[name]
    tubes = name != "no mask tubes"
    images = values.images if tubes else values.images + values.more
    spent = train("image", folder, folder / "image", images, 2, 8e-4, seed, **changes)
    best = folder / "image" / "last.safetensors"
    if tubes:
        (folder / "demo_dcsam_image.safetensors").unlink(missing_ok=True)
        (folder / "demo_dcsam_image.safetensors").symlink_to(best.resolve())
        changes = {**changes, "frames": 5}
        if name != "drawn clips":
            changes |= {"data": "mask-tubes", "root": values.raw / "coco", "split": "train2014"}
        spent += train("tubes", folder, folder / "tubes", values.tubes, 2, 4e-4, seed, **changes)
        best = folder / "tubes" / "last.safetensors"
    result = icvos.evaluate(
        "dcsam",
        values.benchmark,
        out=folder / "run",
        limit_episodes=values.episodes,
        weights={"dcsam": best, "sam2": values.weights / "demo_sam2.safetensors"},
    )
    summary = result["summary"]
    row = {
        "name": name,
        "seed": seed,
        "J&F": summary["J&F"],
        "J": summary["J"],
        "F": summary["F"],
        "cpu_seconds": round(spent),
    }
    write_json(record, row)
    return row


def main() -> None:
    """Run all and print every value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--raw", type=Path, default=Path("runs/large/raw"), help="Raw data of training shapes.")
    parser.add_argument("--benchmark", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--images", type=int, default=100, help="Steps on pairs.")
    parser.add_argument("--tubes", type=int, default=30, help="Steps on mask tubes or clips.")
    parser.add_argument("--more", type=int, default=20, help="Steps on pairs instead, without tubes.")
    parser.add_argument("--episodes", type=int)
    parser.add_argument("--only", nargs="+", choices=list(CONFIGURATIONS), default=list(CONFIGURATIONS))
    values = parser.parse_args()
    torch.set_num_threads(1)
    if not values.raw.is_dir():
        demo_raw("large", 0, values.raw)
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in values.seeds:
        for name in values.only:
            row = one(name, seed, values)
            rows.setdefault(name, []).append(row)
            print(f"{name:22} seed {seed}: J&F {row['J&F']:6.2f}, {row['cpu_seconds']} s of CPU", flush=True)
    print()
    for name, found_rows in rows.items():
        each = ", ".join(f"{row['J&F']:.2f}" for row in found_rows)
        print(f"{name:22} mean {mean(row['J&F'] for row in found_rows):6.2f}  ({each})")


if __name__ == "__main__":
    with one_line():
        main()
