"""Stages of a training: as long as their minutes, gone on with after a stop, side by side."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import ToyTask

from icvos.errors import IcvosError, UsageError
from icvos.training.distribute import World
from icvos.training.loop import Trainer
from icvos.training.trial import seconds_a_step
from tools import staged_training
from tools.staged_training import Trained, add_minutes, read_plan, stoppable, train_side_by_side, train_stage

ROOT = Path(staged_training.__file__).parent.parent


def train(out: Path, minutes: float) -> Trained:
    settings = ToyTask().defaults()
    return train_stage("toy", out, minutes, task=lambda n: ToyTask(length=n), settings=settings, device="cpu")


def test_a_stage_has_the_steps_that_its_minutes_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged_training, "seconds_a_step", lambda trainer, count: 5.0)
    trained = train(tmp_path, 2.5)
    plan = json.loads((tmp_path / "toy.plan.json").read_text())
    # Of 150 seconds ten are for what comes after the steps, and some went before them.
    assert 20 <= plan["steps"] <= 28 and plan["seconds_a_step"] == 5
    assert trained.summary["steps"] == plan["steps"] and plan["minutes"] == trained.minutes
    assert trained.weights.is_file() and trained.weights.parent == tmp_path / "toy.run"
    assert len(trained.task.train_examples()) == plan["steps"] * plan["batch"]
    # What was planned once stays, whatever is left of the minutes.
    assert train(tmp_path, 9).summary["steps"] == plan["steps"]


def test_a_pace_is_that_of_later_steps(tmp_path: Path) -> None:
    """The n-th step takes n seconds; of eight, the last three count."""
    now = steps = 0.0

    class Slower(ToyTask):
        def loss(self, *given: Any) -> Any:
            nonlocal now, steps
            steps += 1
            now += steps
            return super().loss(*given)

    task = Slower()
    trainer = Trainer(task, task.defaults(), World(0, 1, torch.device("cpu")), tmp_path, clock=lambda: now)
    assert seconds_a_step(trainer, 8) == 7 and steps == 8
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "plan",
    ["", "[]", '{"steps": 0}', '{"steps": 1e999}', '{"steps": true}', '{"steps": 3, "minutes": "2"}']
    + ['{"steps": 3, "minutes": NaN}'],
)
def test_a_broken_plan_is_one_line(plan: str, tmp_path: Path) -> None:
    (tmp_path / "toy.plan.json").write_text(plan)
    with pytest.raises(IcvosError, match=r"broken.*toy\.plan\.json"):
        train(tmp_path, 1)


def test_minutes_of_all_pieces_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "toy.plan.json"
    path.write_text('{"steps": 9}')
    assert add_minutes(path, 1) == 1 and add_minutes(path, 2) == 3
    assert read_plan(path) == {"steps": 9, "minutes": 3}


# ---- processes ------------------------------------------------------------------------------------------------------

NEEDS = {"a": (), "b": (), "c": ("a", "elsewhere"), "d": ("c", "b"), "e": ("d",)}


@pytest.mark.parametrize("status", [0, 3])
def test_stages_that_do_not_need_each_other_run_side_by_side(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[str, int]] = []
    ended: list[str] = []
    stopped: list[str] = []

    class Process:
        """Ends at the second look, b at the fourth and with ``status``, c at the fifth."""

        def __init__(self, name: str, threads: int) -> None:
            assert set(NEEDS[name]) <= {"elsewhere", *ended}
            begun.append((name, threads))
            self.name, self.left, self.returncode = name, {"b": 4, "c": 5}.get(name, 2), 0

        def poll(self) -> int | None:
            self.left -= 1
            if self.left:
                return None
            ended.append(self.name)
            self.returncode = status if self.name == "b" else 0
            return self.returncode

        def terminate(self) -> None:
            stopped.append(self.name)

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(staged_training.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    if status:
        with pytest.raises(UsageError, match="training b failed"):
            train_side_by_side(NEEDS, Process)  # type: ignore[arg-type]
        assert stopped == [name for name, _ in begun if name not in ended]
        return
    train_side_by_side(NEEDS, Process)  # type: ignore[arg-type]
    # One core each while two run; what runs alone has both.
    assert begun == [("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 2)] and not stopped


def test_training_stops_after_the_minutes_it_was_given() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="the same command goes on"), stoppable(0.001, None):
        time.sleep(30)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_a_stage_ends_with_what_started_it() -> None:
    """However that ended: its children would go on alone, beside those of the next start."""
    code = """if True:
        import os, subprocess, sys
        words = [sys.executable, "-c", "import sys, time\\nfrom tools.staged_training import stoppable\\n"
            "with stoppable(None, int(sys.argv[1])):\\n print('ready', flush=True)\\n time.sleep(60)"]
        child = subprocess.Popen([*words, str(os.getpid())], stdout=subprocess.PIPE, start_new_session=True)
        child.stdout.readline()
        print(child.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    child = int(ended.stdout)
    patience = time.monotonic() + 20
    while Path(f"/proc/{child}/stat").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < patience
        time.sleep(0.1)
    assert "the same command goes on" in ended.stderr
