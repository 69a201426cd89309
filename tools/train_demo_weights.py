"""``make demo-weights``: the shipped weights, trained from nothing on the drawn world's training shapes.

    python -m tools.train_demo_weights --out FOLDER [--stages backbone image] [--minutes 25 25] [--start FOLDER|shipped]
        [--for MINUTES] [--install]

Stages: a promptable SAM 2 on stills, then on clips with its memory, at 192 and at 256 pixels, then all but its
encoder on longer clips; a backbone that tells families of shapes apart, at both sizes; DC-SAM on pairs of images, SAM
2's mask decoder with it; the heads of VRP-SAM, PFENet and SANSA on these. On a CPU stages that do not need each other
run side by side, one core each. The steps of each are what its minutes hold, by the speed of its first steps. A stage
that is done is not done again; one that was stopped goes on where it was: ``--for`` stops after so many minutes.
``--install`` puts what is shipped into its packages, with the record of each package's stages.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dcsam.checkpoint import load_model, read_checkpoint
from icvos.commands.options import check_device
from icvos.demo.training.pool import draw_pool
from icvos.demo.world.version import DRAWING, GENERATOR_VERSION
from icvos.errors import UsageError, one_line
from icvos.files import atomic_write, lock_folder, read_json, write_json
from icvos.foundation.weights import load_metadata, load_state, save_state
from icvos.training.task import Settings, TrainingTask
from tools.demo_stages import DCSAM, HEADS, LARGE, SAM2, STAGES, stage_settings, stage_task, stage_weights
from tools.staged_training import Trained, stoppable, train_side_by_side, train_stage

__all__ = ["check_needs", "halve_file", "install", "main", "train"]


ROOT = Path(__file__).parent.parent


def check_needs(names: Sequence[str], out: Path, *, start: Path | None = None) -> None:
    """Refuse stages that go on from files that are not there, and that none of the others makes.

    Raises:
        UsageError: The first such file, and the stage that makes it.
    """
    makers = {stage.file: name for name, stage in STAGES.items()}
    for name in names:
        for path in () if _is_done(name, out) else stage_weights(name, out, start=start).values():
            maker = makers[path.name]
            if not path.is_file() and (path.parent != out or maker not in names):
                fix = f"train --stages {maker} first" if path.parent == out else f"give a --start with stage {maker}"
                raise UsageError(f"{name} needs {path.name}, which is not there", where=path.parent, fix=fix)


def _is_done(name: str, out: Path) -> bool:
    return (out / f"{name}.json").is_file() and (out / STAGES[name].file).is_file()


def train(name: str, minutes: float, values: argparse.Namespace) -> None:
    """Train a stage and write its fp16 weights and its record, unless it is done."""
    stage, out = STAGES[name], values.out
    if _is_done(name, out):
        print(f"{name}: done before", flush=True)
        return

    def task(length: int) -> TrainingTask:
        pool = None
        if values.pool and stage.pool:
            # On a GPU drawing would be waited for.
            drawn: dict[str, Any] = {"side": LARGE, "seed": values.seed, "workers": max(values.workers, 1)}
            pool = draw_pool(out, stage.pool, values.pool, **drawn)
        return stage_task(name, out, length, pool=pool, start=values.start, seed=values.seed)

    settings = stage_settings(name, values.device, values.workers, goes_on=values.start is not None)
    with lock_folder(out / f"{name}.run"):
        trained = train_stage(name, out, minutes, task=task, settings=settings, device=values.device)
        halve_file(trained.weights, out / stage.file)
        write_json(out / f"{name}.json", _record(name, trained, settings, values))


def _record(name: str, trained: Trained, settings: Settings, values: argparse.Namespace) -> dict[str, Any]:
    cuda = values.device.startswith("cuda")
    record: dict[str, Any] = {
        "stage": name,
        "drawing": DRAWING,
        "generator": GENERATOR_VERSION,
        "steps": trained.summary["steps"],
        "batch": settings.batch,
        "lr": settings.lr,
        "precision": settings.precision,
        "average": settings.average,
        "minutes": trained.minutes,
        "threads": torch.get_num_threads(),
        "validation_mIoU": trained.summary["best_mIoU"],
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "torch": torch.__version__,
        "pool": values.pool if STAGES[name].pool else 0,
        "describe": trained.task.describe(),
    }
    before = None if values.start is None else values.start / f"{name}.json"
    if before is not None and before.is_file():
        record["earlier"] = read_json(before)
    return record


def _start_alone(name: str, minutes: float, threads: int, values: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start this command for one stage."""
    named = {"out": values.out, "stages": name, "minutes": minutes, "device": values.device, "start": values.start}
    named |= {"workers": values.workers, "pool": values.pool, "seed": values.seed}
    options = [part for key, value in named.items() if value is not None for part in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "tools.train_demo_weights", *options, "--parent", str(os.getpid())]
    # In a session of its own: Ctrl-C is this process's, which stops the stages.
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, start_new_session=True)


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not above 0, at most a million")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def main() -> None:
    """Train the stages asked for and write the weights and their record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--minutes", type=_above_zero, nargs="+", help="Of each stage; by default those of the plan.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=_count, default=0)
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FOLDER|shipped",
        help="Go on from an earlier training's weights, or from those shipped, with half its learning rates.",
    )
    parser.add_argument("--seed", type=_count, default=1, help="Of the drawn scenes.")
    parser.add_argument("--pool", type=_count, help="Draw so many scenes of a kind ahead; 0 none; by default on a GPU.")
    parser.add_argument(
        "--for", type=_above_zero, dest="until", metavar="MINUTES", help="Stop after so many; go on later."
    )
    parser.add_argument("--install", action="store_true", help="Copy what is shipped into the packages at the end.")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.start == Path("shipped"):
        values.start = values.out / "shipped"
        unpack(ROOT, values.start)
    if values.pool is None:
        values.pool = 8000 if values.device.startswith("cuda") else 0
    check_device(values.device)
    shares = values.minutes or [STAGES[stage].minutes for stage in values.stages]
    if len(shares) != len(values.stages):
        parser.error(f"{len(values.stages)} stages and {len(shares)} minutes")
    by_name = dict(zip(values.stages, shares))
    minutes = {name: by_name[name] for name in STAGES if name in by_name}
    check_needs(list(minutes), values.out, start=values.start)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    values.out.mkdir(parents=True, exist_ok=True)
    with stoppable(values.until, values.parent):
        if values.device == "cpu" and len(minutes) > 1:
            needs = {name: STAGES[name].needs for name in minutes}
            train_side_by_side(needs, lambda name, threads: _start_alone(name, minutes[name], threads, values))
        else:
            for name, share in minutes.items():
                train(name, share, values)
        if values.install:
            install(values.out, ROOT, start=values.start)


def install(out: Path, root: Path, *, start: Path | None = None) -> None:
    """Copy the shipped files of a finished training into their packages, with the record of each package's stages.

    Args:
        out: Folder of the training.
        root: The repository's folder.
        start: Folder of the earlier training; its records stand where a stage was not trained again.
    """
    for stage in STAGES.values():
        if stage.shipped and not (out / stage.file).is_file():
            raise UsageError(f"nothing to install: no {stage.file}", where=out, fix="train all stages")
    for package in (SAM2, DCSAM, HEADS):
        sizes, records = {}, []
        for name, stage in STAGES.items():
            if stage.package != package:
                continue
            candidates = [folder / f"{name}.json" for folder in (out, start) if folder is not None]
            records += [read_json(path) for path in candidates if path.is_file()][:1]
            if stage.shipped:
                path = root / package / stage.file
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(path) as stream:
                    stream.write((out / path.name).read_bytes())
                sizes[path.name] = path.stat().st_size
        content = {"schema": "icvos-demo-weights/1", "bytes": sizes, "stages": records}
        write_json(root / package / "training.json", content)


def unpack(root: Path, folder: Path) -> None:
    """Lay the shipped weights out as the folder of the training that they are of, for a training that goes on from it.

    DC-SAM's file has the backbone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package in (SAM2, DCSAM, HEADS):
        for record in read_json(root / package / "training.json")["stages"]:
            write_json(folder / f"{record['stage']}.json", record)
    for stage in STAGES.values():
        if stage.shipped:
            shutil.copyfile(root / stage.package / stage.file, folder / stage.file)
    model = load_model(read_checkpoint(folder / STAGES["image"].file))
    backbone = {name: value.contiguous() for name, value in model.backbone.state_dict().items()}
    save_state(folder / STAGES["backbone-large"].file, backbone, metadata={"backbone": model.config.backbone})


def halve_file(source: Path, target: Path) -> None:
    """Write a safetensors file in fp16, its metadata kept."""
    save_state(target, load_state(source), metadata=load_metadata(source), half=True)


if __name__ == "__main__":
    with one_line():
        main()
