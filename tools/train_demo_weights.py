"""``make demo-weights``: the shipped weights, trained from nothing on the drawn world's training shapes.

    python -m tools.train_demo_weights --out FOLDER [--stages backbone image] [--minutes 25 25] [--start FOLDER]
        [--for MINUTES] [--install]

Stages: a promptable SAM 2 on stills, then on clips with its memory, at 192 and at 256 pixels, then all but its encoder
on longer clips; a backbone that tells families of shapes apart, at both sizes; DC-SAM on pairs of images, SAM 2's mask
decoder with it; then on clips, the mean of the weights before and after which is what is kept; the heads of VRP-SAM,
PFENet and SANSA on these. On a CPU stages that do not need each other run side by side, one core each. The steps of
each are what its minutes hold, by the speed of its first steps. A stage that is done is not done again; one that was
stopped goes on where it was: ``--for`` stops after so many minutes. ``--install`` puts what is shipped into its
packages, with the record of each package's stages.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from baselines.pfenet.train import PfeNetSizes, PfeNetTask
from baselines.sansa_train import SansaTask
from baselines.vrp_sam.train import VrpTask
from dcsam.training.task import DCSamTask
from icvos.commands.options import check_device
from icvos.data.options import PairOptions
from icvos.demo.training.backbone_task import BackboneTask
from icvos.demo.training.examples import Scenes
from icvos.demo.training.pool import draw_pool
from icvos.demo.training.sam2_task import DemoSam2Task
from icvos.demo.world.version import DRAWING, GENERATOR_VERSION
from icvos.errors import UsageError, WeightsError, one_line
from icvos.files import atomic_write, lock_folder, read_json, write_json
from icvos.foundation.weights import load_metadata, load_state, save_state
from icvos.models.options import group_options
from icvos.training.distribute import World
from icvos.training.loop import Trainer
from icvos.training.task import Settings, TrainingTask

__all__ = [
    "STAGES",
    "Stage",
    "average_files",
    "check_needs",
    "halve_file",
    "install",
    "main",
    "stage_task",
]

SAM2, DCSAM, HEADS = "icvos/demo/weights", "dcsam/weights", "baselines/weights"
#: Sides of the squares that a model begins and ends with, pixels.
SMALL, LARGE = 192, 256
#: Decay of the mean of the weights that is kept.
AVERAGE = 0.998


@dataclass(frozen=True)
class Stage:
    """A stage of the plan.

    Attributes:
        minutes: Planned, of the process that trains it.
        file: Of the weights that it writes, without ``.safetensors``.
        package: Folder of the repository with its record.
        batch, gpu_batch: Examples of a step on the CPU, and on a GPU.
        lr: Learning rate of a start from nothing; half of it where it goes on from earlier weights.
        needs: Stages before it.
        shipped: Whether its file is.
        pool: Kind of the scenes that are drawn ahead for it, if any can be.
        graphed: Whether its steps are one CUDA graph on a GPU.
        settings: What differs of ``Settings``.
    """

    minutes: float
    file: str
    package: str
    batch: int
    gpu_batch: int
    lr: float
    needs: tuple[str, ...] = ()
    shipped: bool = False
    pool: str = ""
    graphed: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


STAGES = {
    "sam2-stills": Stage(20, "demo_sam2_stills", SAM2, 16, 64, 1e-3, pool="worlds", graphed=True),
    "sam2": Stage(60, "demo_sam2_clips", SAM2, 4, 96, 1e-3, ("sam2-stills",), pool="clips"),
    "sam2-large": Stage(75, "demo_sam2_large", SAM2, 3, 48, 8e-4, ("sam2",), pool="clips"),
    # Its clips are longer than a pool's.
    "memory": Stage(45, "demo_sam2", SAM2, 2, 48, 4e-4, ("sam2-large",), shipped=True),
    "backbone": Stage(100, "demo_backbone_small", DCSAM, 4, 24, 1.2e-3, pool="worlds", graphed=True),
    "backbone-large": Stage(40, "demo_backbone", DCSAM, 3, 24, 6e-4, ("backbone",), pool="worlds", graphed=True),
    # The encoder is final here; the tracker is trained beside it.
    "image": Stage(120, "demo_dcsam_image", DCSAM, 2, 48, 1.2e-3, ("sam2-large", "backbone-large"), pool="worlds"),
    "tubes": Stage(45, "demo_dcsam", DCSAM, 4, 40, 1e-4, ("memory", "image"), shipped=True, pool="episodes"),
    "vrp-sam": Stage(
        25, "demo_vrp_sam", HEADS, 16, 16, 1e-3, ("memory", "backbone-large"), shipped=True, settings={"warmup": 50}
    ),
    "pfenet": Stage(
        25,
        "demo_pfenet",
        HEADS,
        16,
        16,
        0.1,
        ("backbone-large",),
        shipped=True,
        settings={"warmup": 50, "weight_decay": 1e-4},
    ),
    "sansa": Stage(
        25,
        "demo_sansa",
        HEADS,
        8,
        8,
        2e-3,
        ("memory",),
        shipped=True,
        settings={"warmup": 50, "weight_decay": 0.0, "clip": 0.5},
    ),
}


def stage_task(
    name: str,
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
        name: Of the stage.
        out: Folder of the stages before it.
        length: Examples of an epoch.
        pool: What is drawn ahead.
        start: Folder of an earlier training, which is gone on with.
        seed: Of the drawn world; another than the earlier training's draws scenes that it has not seen.
        changes: To DC-SAM's task.
    """
    files = {stage: out / f"{each.file}.safetensors" for stage, each in STAGES.items()}
    earlier = {} if start is None else {stage: start / path.name for stage, path in files.items()}
    drawn: dict[str, Any] = {"length": length, "pool": pool, "seed": seed}
    if name == "sam2-stills":
        start_file = {"sam2": earlier["memory"]} if earlier else None
        return DemoSam2Task(weights=start_file, image_size=SMALL, frames=1, **drawn)
    if name == "sam2":
        before = files["sam2-stills"]
        before = before if before.is_file() or not earlier else earlier["memory"]
        return DemoSam2Task(weights={"sam2": before}, image_size=SMALL, frames=8, objects=3, **drawn)
    if name == "sam2-large":
        return DemoSam2Task(weights={"sam2": files["sam2"]}, image_size=LARGE, frames=8, objects=3, **drawn)
    if name == "memory":
        return DemoSam2Task(
            weights={"sam2": files["sam2-large"]}, image_size=LARGE, frames=16, objects=3, train="tracker", **drawn
        )
    if name == "backbone":
        start_file = {"backbone": earlier["backbone-large"]} if earlier else None
        return BackboneTask(weights=start_file, image_size=SMALL, **drawn)
    if name == "backbone-large":
        return BackboneTask(weights={"backbone": files["backbone"]}, image_size=LARGE, **drawn)
    shared: dict[str, Any] = {"source": PairOptions(length=length, seed=seed)}
    if name == "vrp-sam":
        sizes: dict[str, Any] = {"backbone": "compact", "image_size": LARGE, "queries": 16, "dropout": 0.05}
        return VrpTask(weights={"backbone": files["backbone-large"], "sam": files["memory"]}, **sizes, **shared)
    if name == "pfenet":
        widths = PfeNetSizes("compact", image_size=LARGE, width=64, dropout=0.1)
        return PfeNetTask(weights={"backbone": files["backbone-large"]}, sizes=widths, foreground=5.0, **shared)
    if name == "sansa":
        return SansaTask(weights={"sam2": files["memory"]}, factor=0.5, image_size=LARGE, **shared)
    common: dict[str, Any] = {"data": "demo", "train_sam": "decoder", "sam_file": "changed", **drawn}
    if name == "image":
        common |= {"backbone": "compact", "image_size": LARGE, "queries": 8, "dropout": 0.05, "place_codes": True}
        common |= {"coarse_weight": 0.3, "attention_weight": 0.3, "presence_weight": 0.2}
        encoders = {"sam2": files["sam2-large"], "backbone": files["backbone-large"]}
        if earlier:
            encoders["dcsam"] = earlier["image"]
        return DCSamTask(weights=encoders, stage="image", **group_options(DCSamTask, {**common, **changes}))
    common |= {"frames": 8, "coarse_weight": 0.2, "attention_weight": 0.1, "presence_weight": 0.2}
    before_tubes = {"sam2": files["memory"], "dcsam": files["image"]}
    return DCSamTask(weights=before_tubes, stage="tube-finetune", **group_options(DCSamTask, {**common, **changes}))


def check_needs(names: Sequence[str], out: Path, *, start: Path | None = None) -> None:
    """Refuse stages that go on from files that are not there, and that none of the others makes.

    Raises:
        UsageError: The first such file, and the stage that makes it.
    """
    makers = {f"{stage.file}.safetensors": name for name, stage in STAGES.items()}
    for name in names:
        weights = getattr(stage_task(name, out, 1, start=start), "weights", {})
        for path in () if _is_done(name, out) else weights.values():
            maker = makers[path.name]
            if not path.is_file() and (path.parent != out or maker not in names):
                fix = f"train --stages {maker} first" if path.parent == out else f"give a --start with stage {maker}"
                raise UsageError(f"{name} needs {path.name}, which is not there", where=path.parent, fix=fix)


def _is_done(name: str, out: Path) -> bool:
    return (out / f"{name}.json").is_file() and (out / f"{STAGES[name].file}.safetensors").is_file()


def stage_settings(name: str, device: str, workers: int, *, goes_on: bool) -> Settings:
    """Return a stage's settings on a device."""
    stage = STAGES[name]
    own: dict[str, Any] = {"weight_decay": 0.01, "warmup": 80, "clip": 1.0, **stage.settings}
    return Settings(
        epochs=1,
        batch=stage.gpu_batch if device.startswith("cuda") else stage.batch,
        # A head starts from nothing every time.
        lr=stage.lr / 2 if goes_on and stage.package != HEADS else stage.lr,
        workers=workers,
        validate_every=1,
        save_every=250,
        graphs=stage.graphed,
        precision="bf16" if _halves_well(device) else "fp32",
        average=AVERAGE,
        **own,
    )


def _halves_well(device: str) -> bool:
    """Whether a CPU multiplies in bfloat16 itself."""
    return device == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


class _Training:
    """One stage of a training in a folder: its plan, its steps, its record."""

    def __init__(self, name: str, values: argparse.Namespace) -> None:
        self.name, self.stage, self.out = name, STAGES[name], values.out
        self.start: Path | None = values.start
        self.seed, self.device, self.workers, self.pool_size = values.seed, values.device, values.workers, values.pool
        self.world = World(0, 1, torch.device(self.device))
        self.settings = stage_settings(name, self.device, self.workers, goes_on=self.start is not None)
        self.path = self.out / f"{self.stage.file}.safetensors"
        self.plan = self.out / f"{name}.plan.json"
        self.record = self.out / f"{name}.json"
        self.begin = time.perf_counter()
        self.pool: Scenes | None = None

    def run(self, minutes: float) -> None:
        """Train it, write its fp16 weights and its record, unless it is done."""
        if _is_done(self.name, self.out):
            print(f"{self.name}: done before", flush=True)
            return
        with lock_folder(self.out / f"{self.name}.run"):
            self._run(minutes)

    def _run(self, minutes: float) -> None:
        if self.pool_size and self.stage.pool:
            # On a GPU drawing would be waited for.
            drawn: dict[str, Any] = {"side": LARGE, "seed": self.seed, "workers": max(self.workers, 1)}
            self.pool = draw_pool(self.out, self.stage.pool, self.pool_size, **drawn)
        steps = self._steps(minutes)
        task = self._task(steps * self.settings.batch)
        folder = self.out / f"{self.name}.run"
        folder.mkdir(parents=True, exist_ok=True)
        settings = replace(self.settings, max_steps=steps)
        try:
            trainer = Trainer(task, settings, self.world, folder, say=self._say, progress=_shower(self._say))
            summary = trainer.fit()
        finally:
            spent = self._spend()
        halve_file(folder / "last.safetensors", self.path)
        if self.name == "tubes":
            # Clips teach to go on with a thing, and unteach that nothing may be there: the mean keeps both.
            average_files(self.out / f"{STAGES['image'].file}.safetensors", self.path, self.path)
        self._write_record(summary, spent, task)

    def _say(self, line: str) -> None:
        print(f"{self.name}: {line}", flush=True)

    def _task(self, length: int) -> TrainingTask:
        return stage_task(self.name, self.out, length, pool=self.pool, start=self.start, seed=self.seed)

    def _steps(self, minutes: float) -> int:
        """Return how many steps fit into the minutes, by a trial of some; what was planned once stays."""
        if self.plan.is_file():
            return int(self._read_plan()["steps"])
        stamps: list[float] = []
        # On a GPU the first steps wait for loaders, libraries and graphs.
        count = 100 if self.world.device.type == "cuda" else 24
        folder = self.out / f"{self.name}.probe"
        # A trial that was stopped begins anew: its pace would be that of its last steps.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        trial = replace(self.settings, max_steps=count, warmup=10, validate_every=0)
        Trainer(
            self._task(10**9),
            trial,
            self.world,
            folder,
            say=lambda line: None,
            progress=lambda *_: stamps.append(time.perf_counter()),
        ).fit()
        half = count // 2
        pace = (stamps[-1] - stamps[half]) / (count - 1 - half)
        steps = max(int((minutes * 60 - (time.perf_counter() - self.begin) - 10) / pace), 20)
        self._say(f"{pace:.3f} s a step, {steps} steps of {self.settings.batch}")
        write_json(self.plan, {"steps": steps, "batch": self.settings.batch, "seconds_a_step": pace, "minutes": 0.0})
        return steps

    def _read_plan(self) -> dict[str, Any]:
        """Read the plan: ``steps``, and the ``minutes`` that were spent.

        Raises:
            InputError, UsageError: It is gone, or broken.
        """
        plan = read_json(self.plan)
        steps, spent = (plan.get("steps"), plan.get("minutes", 0.0)) if isinstance(plan, dict) else (None, 0.0)
        if type(steps) is not int or steps < 1 or type(spent) not in (int, float) or not math.isfinite(spent):
            raise UsageError("a broken plan", where=self.plan, fix="delete it: it is made again")
        return {**plan, "minutes": spent}

    def _spend(self) -> float:
        """Add the minutes of this piece to the plan, and return all that were spent."""
        plan = self._read_plan()
        plan["minutes"] = round(plan["minutes"] + (time.perf_counter() - self.begin) / 60, 2)
        write_json(self.plan, plan)
        return float(plan["minutes"])

    def _write_record(self, summary: Mapping[str, Any], minutes: float, task: TrainingTask) -> None:
        record: dict[str, Any] = {
            "stage": self.name,
            "drawing": DRAWING,
            "generator": GENERATOR_VERSION,
            "steps": summary["steps"],
            "batch": self.settings.batch,
            "lr": self.settings.lr,
            "precision": self.settings.precision,
            "average": self.settings.average,
            "minutes": minutes,
            "threads": torch.get_num_threads(),
            "validation_mIoU": summary["best_mIoU"],
            "device": torch.cuda.get_device_name() if self.device.startswith("cuda") else platform.processor() or "cpu",
            "torch": torch.__version__,
            "pool": self.pool_size if self.stage.pool else 0,
            "describe": task.describe(),
        }
        if self.name == "tubes":
            record["averaged_with"] = "image"
        before = None if self.start is None else self.start / self.record.name
        if before is not None and before.is_file():
            record["earlier"] = read_json(before)
        write_json(self.record, record)


def _shower(say: Any) -> Any:
    """Return a ``progress`` that says a line each quarter of a minute."""
    last = time.perf_counter()

    def show(step: int, total: int, values: Mapping[str, float]) -> None:
        nonlocal last
        if time.perf_counter() - last > 15 or step == total:
            last = time.perf_counter()
            figures = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "lr")
            say(f"step {step} of {total}: {figures}")

    return show


def _side_by_side(minutes: Mapping[str, float], values: argparse.Namespace) -> None:
    """Train each stage in a process of its own as soon as what it needs is done, as many at once as there are cores."""
    cores = torch.get_num_threads()
    waiting, running = list(minutes), dict[str, subprocess.Popen[bytes]]()
    try:
        while waiting or running:
            ready = [name for name in waiting if not {*waiting, *running} & set(STAGES[name].needs)]
            for name in ready[: cores - len(running)]:
                waiting.remove(name)
                threads = max(1, cores // (len(running) + len(ready)))
                running[name] = _alone(name, minutes[name], threads, values)
            time.sleep(0.1)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                if running.pop(name).returncode:
                    raise UsageError(f"training {name} failed", fix="see above; the same command goes on")
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def _alone(name: str, minutes: float, threads: int, values: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start this command for one stage."""
    named = {"out": values.out, "stages": name, "minutes": minutes, "device": values.device, "start": values.start}
    named |= {"workers": values.workers, "pool": values.pool, "seed": values.seed}
    options = [part for key, value in named.items() if value is not None for part in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "tools.train_demo_weights", *options, "--parent", str(os.getpid())]
    # In a session of its own: Ctrl-C is this process's, which stops the stages.
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, start_new_session=True)


@contextmanager
def _stoppable(minutes: float | None, parent: int | None) -> Iterator[None]:
    """Stop what runs at SIGTERM and Ctrl-C, after so many minutes, and with a parent process; the loop saves first."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, _say_stopped) for number in numbers}
    alarm = threading.Timer(60 * (minutes or 0), os.kill, [os.getpid(), signal.SIGTERM])
    alarm.daemon = True
    if minutes is not None:
        alarm.start()
    if parent is not None:
        threading.Thread(target=_stop_with, args=(parent,), daemon=True).start()
    try:
        yield
    finally:
        alarm.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_stopped(*_: Any) -> None:
    sys.exit("stopped: the same command goes on")


def _stop_with(parent: int) -> None:
    """Wait until a parent process is gone, however it went, and stop."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


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
        metavar="FOLDER",
        help="Go on from an earlier training's weights, with half its learning rates.",
    )
    parser.add_argument("--seed", type=_count, default=1, help="Of the drawn scenes.")
    parser.add_argument("--pool", type=_count, help="Draw so many scenes of a kind ahead; 0 none; by default on a GPU.")
    parser.add_argument(
        "--for", type=_above_zero, dest="until", metavar="MINUTES", help="Stop after so many; go on later."
    )
    parser.add_argument("--install", action="store_true", help="Copy what is shipped into the packages at the end.")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    values = parser.parse_args()
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
    with _stoppable(values.until, values.parent):
        if values.device == "cpu" and len(minutes) > 1:
            _side_by_side(minutes, values)
        else:
            for name, share in minutes.items():
                _Training(name, values).run(share)
        if values.install:
            install(values.out, Path(__file__).parent.parent, start=values.start)


def install(out: Path, root: Path, *, start: Path | None = None) -> None:
    """Copy the shipped files of a finished training into their packages, with the record of each package's stages.

    Args:
        out: Folder of the training.
        root: The repository's folder.
        start: Folder of the earlier training; its records stand where a stage was not trained again.
    """
    for stage in STAGES.values():
        if stage.shipped and not (out / f"{stage.file}.safetensors").is_file():
            raise UsageError(f"nothing to install: no {stage.file}.safetensors", where=out, fix="train all stages")
    for package in (SAM2, DCSAM, HEADS):
        sizes, records = {}, []
        for name, stage in STAGES.items():
            if stage.package != package:
                continue
            candidates = [folder / f"{name}.json" for folder in (out, start) if folder is not None]
            records += [read_json(path) for path in candidates if path.is_file()][:1]
            if stage.shipped:
                path = root / package / f"{stage.file}.safetensors"
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(path) as stream:
                    stream.write((out / path.name).read_bytes())
                sizes[path.name] = path.stat().st_size
        content = {"schema": "icvos-demo-weights/1", "bytes": sizes, "stages": records}
        write_json(root / package / "training.json", content)


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
