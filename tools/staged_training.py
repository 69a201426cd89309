"""A training in stages, all in one folder: each as long as its minutes, gone on with after a stop, side by side."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from icvos.errors import UsageError
from icvos.files import read_json, write_json
from icvos.training.distribute import World
from icvos.training.loop import Trainer
from icvos.training.task import Settings, TrainingTask
from icvos.training.trial import seconds_a_step

__all__ = ["Trained", "stoppable", "train_side_by_side", "train_stage"]


@dataclass(frozen=True)
class Trained:
    """A stage that was trained.

    Attributes:
        task: What was trained.
        weights: The file of the last step's.
        summary: As ``Trainer.fit`` returns it.
        minutes: Of all the pieces in which it was trained.
    """

    task: TrainingTask
    weights: Path
    summary: Mapping[str, Any]
    minutes: float


def train_stage(
    name: str,
    out: Path,
    minutes: float,
    *,
    task: Callable[[int], TrainingTask],
    settings: Settings,
    device: str,
) -> Trained:
    """Train a stage to its end, from where a stop left it.

    Args:
        name: Of the stage, whose plan is ``NAME.plan.json`` and whose run is in ``NAME.run``.
        out: Folder of the training.
        minutes: From now on, what is done before the first step with them; they decide the steps the first time.
        task: Gives the task whose epoch has so many examples.
        settings: But for the number of steps.
        device: ``cpu`` or ``cuda``.

    Raises:
        TrainingStopped: By a signal; all is saved.
        UsageError: Its plan is broken.
    """
    begin = time.perf_counter()
    world, plan, folder = World(0, 1, torch.device(device)), out / f"{name}.plan.json", out / f"{name}.run"

    def say(line: str) -> None:
        print(f"{name}: {line}", flush=True)

    folder.mkdir(parents=True, exist_ok=True)
    if not plan.is_file():
        pace = _pace(task, settings, world, folder)
        steps = max(int((minutes * 60 - (time.perf_counter() - begin) - 10) / pace), 20)
        say(f"{pace:.3f} s a step, {steps} steps of {settings.batch}")
        write_json(plan, {"steps": steps, "batch": settings.batch, "seconds_a_step": pace, "minutes": 0.0})
    steps = read_plan(plan)["steps"]
    whole = task(steps * settings.batch)
    try:
        trainer = Trainer(
            whole, replace(settings, max_steps=steps), world, folder, say=say, progress=_progress_lines(say)
        )
        summary = trainer.fit()
    finally:
        spent = add_minutes(plan, (time.perf_counter() - begin) / 60)
    return Trained(whole, folder / "last.safetensors", summary, spent)


def _pace(task: Callable[[int], TrainingTask], settings: Settings, world: World, folder: Path) -> float:
    """Return the seconds of a step, by a trial."""
    # On a GPU the first steps wait for loaders, libraries and graphs.
    count = 100 if world.device.type == "cuda" else 24
    trial = replace(settings, max_steps=count, warmup=10)
    return seconds_a_step(Trainer(task(10**9), trial, world, folder, say=lambda line: None), count)


def read_plan(path: Path) -> dict[str, Any]:
    """Read a stage's plan: ``steps``, and the ``minutes`` that were spent.

    Raises:
        InputError, UsageError: It is gone, or broken.
    """
    plan = read_json(path)
    steps, spent = (plan.get("steps"), plan.get("minutes", 0.0)) if isinstance(plan, dict) else (None, 0.0)
    if type(steps) is not int or steps < 1 or type(spent) not in (int, float) or not math.isfinite(spent):
        raise UsageError("a broken plan", where=path, fix="delete it: it is made again")
    return {**plan, "minutes": spent}


def add_minutes(path: Path, minutes: float) -> float:
    """Add minutes to those that a plan says were spent, and return all."""
    plan = read_plan(path)
    plan["minutes"] = round(plan["minutes"] + minutes, 2)
    write_json(path, plan)
    return float(plan["minutes"])


def _progress_lines(say: Callable[[str], None]) -> Callable[[int, int, Mapping[str, float]], None]:
    """Return a ``progress`` that says a line each quarter of a minute."""
    last = time.perf_counter()

    def progress(step: int, total: int, values: Mapping[str, float]) -> None:
        nonlocal last
        if time.perf_counter() - last > 15 or step == total:
            last = time.perf_counter()
            figures = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "lr")
            say(f"step {step} of {total}: {figures}")

    return progress


def train_side_by_side(
    stages: Mapping[str, Collection[str]], start: Callable[[str, int], subprocess.Popen[bytes]]
) -> None:
    """Train each stage in a process of its own as soon as what it needs is done, as many at once as there are cores.

    Args:
        stages: The stages in order, with those that each needs; one that is not among them is done.
        start: Starts the process of a stage, which computes on so many threads.

    Raises:
        UsageError: One failed; the others are stopped.
    """
    cores = torch.get_num_threads()
    waiting, running = list(stages), dict[str, subprocess.Popen[bytes]]()
    try:
        while waiting or running:
            ready = [name for name in waiting if not {*waiting, *running} & set(stages[name])]
            threads = max(1, cores // max(len(running) + len(ready), 1))
            for name in ready[: cores - len(running)]:
                waiting.remove(name)
                running[name] = start(name, threads)
            time.sleep(0.1)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                if running.pop(name).returncode:
                    raise UsageError(f"training {name} failed", fix="see above; the same command goes on")
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


@contextmanager
def stoppable(minutes: float | None, parent: int | None) -> Iterator[None]:
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
