"""The plan of the demo's weights: what each stage trains, from what, how long and at which settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from baselines.pfenet.train import PfeNetTask
from baselines.sansa_train import SansaTask
from baselines.vrp_sam.train import VrpTask
from dcsam.training.task import DCSamTask
from icvos.demo.training.backbone_task import BackboneTask
from icvos.demo.training.examples import Scenes
from icvos.demo.training.sam2_task import DemoSam2Task
from icvos.models.options import group_options
from icvos.training.task import Settings, TrainingTask

__all__ = ["DCSAM", "HEADS", "LARGE", "SAM2", "STAGES", "Stage", "stage_settings", "stage_task", "stage_weights"]

SAM2, DCSAM, HEADS = "icvos/demo/weights", "dcsam/weights", "baselines/weights"
#: Sides of the squares that a model begins and ends with, pixels.
SMALL, LARGE = 192, 256
#: Decay of the mean of the weights that is kept; of heads, which start from nothing, the last weights are.
AVERAGE = 0.998


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the plan.

    Attributes:
        minutes: Planned, of the process that trains it.
        task: Class of what is trained.
        options: Of the task, as ``icvos train`` takes them.
        weights: What it starts from: stages by the names of the task's weights.
        earlier: Likewise, stages of the earlier training, with ``--start``; a file of this one goes before it.
        file: Of the weights that it writes.
        package: Folder of the repository with its record.
        shipped: Whether its file is.
        batch: Examples of a step, on the CPU and on a GPU.
        lr: Learning rate of a start from nothing; half of it where it goes on from earlier weights.
        pool: Kind of the scenes that are drawn ahead for it, if any can be.
        graphed: Whether its steps are one CUDA graph on a GPU.
        settings: What differs of ``Settings``.
    """

    minutes: float
    task: type[Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)
    file: str
    package: str
    shipped: bool = False
    batch: tuple[int, int]
    lr: float
    pool: str = ""
    graphed: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages before it."""
        return tuple(self.weights.values())


STAGES = {
    "sam2-stills": Stage(
        minutes=20,
        task=DemoSam2Task,
        options={"image_size": SMALL, "frames": 1},
        earlier={"sam2": "memory"},
        file="demo_sam2_stills.safetensors",
        package=SAM2,
        batch=(16, 64),
        lr=1e-3,
        pool="worlds",
        graphed=True,
    ),
    "sam2": Stage(
        minutes=60,
        task=DemoSam2Task,
        options={"image_size": SMALL, "frames": 8, "objects": 3},
        weights={"sam2": "sam2-stills"},
        earlier={"sam2": "memory"},
        file="demo_sam2_clips.safetensors",
        package=SAM2,
        batch=(4, 96),
        lr=1e-3,
        pool="clips",
    ),
    "sam2-large": Stage(
        minutes=75,
        task=DemoSam2Task,
        options={"image_size": LARGE, "frames": 8, "objects": 3},
        weights={"sam2": "sam2"},
        earlier={"sam2": "memory"},
        file="demo_sam2_large.safetensors",
        package=SAM2,
        batch=(3, 48),
        lr=8e-4,
        pool="clips",
    ),
    # Its clips are longer than a pool's.
    "memory": Stage(
        minutes=45,
        task=DemoSam2Task,
        options={"image_size": LARGE, "frames": 16, "objects": 3, "train": "tracker"},
        weights={"sam2": "sam2-large"},
        file="demo_sam2.safetensors",
        package=SAM2,
        shipped=True,
        batch=(2, 48),
        lr=4e-4,
    ),
    "backbone": Stage(
        minutes=100,
        task=BackboneTask,
        options={"image_size": SMALL},
        earlier={"backbone": "backbone-large"},
        file="demo_backbone_small.safetensors",
        package=DCSAM,
        batch=(4, 24),
        lr=1.2e-3,
        pool="worlds",
        graphed=True,
    ),
    "backbone-large": Stage(
        minutes=40,
        task=BackboneTask,
        options={"image_size": LARGE},
        weights={"backbone": "backbone"},
        earlier={"backbone": "backbone-large"},
        file="demo_backbone.safetensors",
        package=DCSAM,
        batch=(3, 24),
        lr=6e-4,
        pool="worlds",
        graphed=True,
    ),
    # The encoder is final here; the tracker is trained beside it.
    "image": Stage(
        minutes=120,
        task=DCSamTask,
        options={
            "stage": "image",
            "train_sam": "decoder",
            "sam_file": "changed",
            "presence_weight": 0.2,
            "backbone": "compact",
            "image_size": LARGE,
            "queries": 8,
            "dropout": 0.05,
            "place_codes": True,
            "coarse_weight": 0.3,
            "attention_weight": 0.3,
        },
        weights={"sam2": "sam2-large", "backbone": "backbone-large"},
        earlier={"dcsam": "image"},
        file="demo_dcsam.safetensors",
        package=DCSAM,
        shipped=True,
        batch=(2, 48),
        lr=1.2e-3,
        pool="worlds",
    ),
    "vrp-sam": Stage(
        minutes=25,
        task=VrpTask,
        options={"backbone": "compact", "image_size": LARGE, "queries": 16, "dropout": 0.05},
        weights={"backbone": "backbone-large", "sam": "memory"},
        file="demo_vrp_sam.safetensors",
        package=HEADS,
        shipped=True,
        batch=(16, 16),
        lr=1e-3,
        settings={"warmup": 50},
    ),
    "pfenet": Stage(
        minutes=25,
        task=PfeNetTask,
        options={"backbone": "compact", "image_size": LARGE, "width": 64, "dropout": 0.1, "foreground": 5.0},
        weights={"backbone": "backbone-large"},
        file="demo_pfenet.safetensors",
        package=HEADS,
        shipped=True,
        batch=(16, 16),
        lr=0.1,
        settings={"warmup": 50, "weight_decay": 1e-4},
    ),
    "sansa": Stage(
        minutes=25,
        task=SansaTask,
        options={"factor": 0.5, "image_size": LARGE},
        weights={"sam2": "memory"},
        file="demo_sansa.safetensors",
        package=HEADS,
        shipped=True,
        batch=(8, 8),
        lr=2e-3,
        settings={"warmup": 50, "weight_decay": 0.0, "clip": 0.5},
    ),
}


def stage_weights(name: str, out: Path, *, start: Path | None = None) -> dict[str, Path]:
    """Return the files that a stage starts from, by the names of its task's weights.

    Args:
        name: Of the stage.
        out: Folder of the stages before it.
        start: Folder of an earlier training, which is gone on with.
    """
    stage = STAGES[name]
    before = {key: out / STAGES[maker].file for key, maker in stage.weights.items()}
    if start is None:
        return before
    earlier = {key: start / STAGES[maker].file for key, maker in stage.earlier.items()}
    weights = {key: path for key, path in before.items() if path.is_file() or key not in earlier}
    return weights | {key: path for key, path in earlier.items() if key not in weights}


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
    """Return a stage's task.

    Args:
        name: Of the stage.
        out: Folder of the stages before it.
        length: Examples of an epoch.
        pool: What is drawn ahead, of the stage's kind.
        start: Folder of an earlier training, which is gone on with.
        seed: Of the drawn world; another than the earlier training's draws scenes that it has not seen.
        changes: To the stage's options.
    """
    stage = STAGES[name]
    options = {**stage.options, "length": length, "seed": seed, **changes}
    if stage.pool:
        options["pool"] = pool
    task: TrainingTask = stage.task(weights=stage_weights(name, out, start=start), **group_options(stage.task, options))
    return task


def stage_settings(name: str, device: str, workers: int, *, goes_on: bool) -> Settings:
    """Return a stage's settings on a device."""
    stage = STAGES[name]
    head = stage.package == HEADS
    own: dict[str, Any] = {"weight_decay": 0.01, "warmup": 80, "clip": 1.0, **stage.settings}
    return Settings(
        epochs=1,
        batch=stage.batch[1 if device.startswith("cuda") else 0],
        lr=stage.lr / 2 if goes_on and not head else stage.lr,
        workers=workers,
        validate_every=1,
        save_every=250,
        graphs=stage.graphed,
        precision="bf16" if _halves_well(device) else "fp32",
        average=0.0 if head else AVERAGE,
        **own,
    )


def _halves_well(device: str) -> bool:
    """Whether a CPU multiplies in bfloat16 itself."""
    return device == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
