"""How fast a training goes, by a clock that moves by a script: time left, speed, and what a trial says beforehand."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import ToyExamples, ToyModel, ToyTask

from icvos.costs import in_bytes
from icvos.training.distribute import World
from icvos.training.loop import Trainer, TrainingStopped
from icvos.training.task import Settings
from icvos.training.trial import try_steps

ALONE = World(0, 1, torch.device("cpu"))


class TimedExamples(ToyExamples):
    """Examples of which each takes its time to load."""

    def __init__(self, length: int, task: TimedTask) -> None:
        super().__init__(length)
        self.task = task

    def get(self, epoch: int, index: int) -> Mapping[str, Any]:
        self.task.now += self.task.load
        return super().get(epoch, index)


class TimedTask(ToyTask):
    """A toy whose steps take scripted times; its own clock tells them.

    Args:
        costs: Seconds of each step in turn, that of the last for all after it.
        load: Seconds of loading one example.
        check: Seconds of validating one example.
    """

    def __init__(self, costs: Sequence[float], *, length: int = 100, load: float = 0.0, check: float = 0.0) -> None:
        super().__init__(length=length)
        self.costs, self.load, self.check = list(costs), load, check
        self.now = 1000.0

    def train_examples(self) -> TimedExamples:
        return TimedExamples(self.length, self)

    def loss(self, model: ToyModel, batch: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self.now += self.costs.pop(0) if len(self.costs) > 1 else self.costs[0]
        return super().loss(model, batch)

    def validate(self, model: Any, batches: Any) -> dict[str, list[float]]:
        figures = super().validate(model, batches)
        self.now += self.check * len(figures["mIoU"])
        return figures


def trainer(out: Path, task: TimedTask, **changes: Any) -> Trainer:
    out.mkdir(exist_ok=True)
    settings = replace(task.defaults(), epochs=1, **changes)
    return Trainer(task, settings, ALONE, out, say=lambda line: None, clock=lambda: task.now)


def seconds_left(trainer: Trainer, task: TimedTask) -> dict[int, tuple[float, float]]:
    """Train to the end; return the estimate after each step, and what was really left."""
    estimates = {}

    def progress(step: int, steps: int, values: dict[str, float]) -> None:
        if "seconds_left" in values:
            estimates[step] = values["seconds_left"], task.now

    trainer.progress = progress
    trainer.fit()
    return {step: (estimate, task.now - then) for step, (estimate, then) in estimates.items()}


@pytest.mark.parametrize(
    "costs",
    [
        [2.0],  # all alike
        [60.0, 1.0],  # the first starts processes
        [1.0, 2.0, 3.0] * 20,  # they differ
        [*([1.0] * 4 + [8.0]) * 12, 1.0],  # some write a checkpoint
    ],
)
def test_time_left_after_a_fifth_of_the_steps(costs: list[float], tmp_path: Path) -> None:
    task = TimedTask(costs)
    left = seconds_left(trainer(tmp_path, task, validate_every=0), task)
    assert sorted(left) == list(range(2, 51)) and left[50][0] == 0
    for step in range(10, 41):
        estimate, truth = left[step]
        assert 0.5 * truth <= estimate <= 1.5 * truth, (step, estimate, truth)


@pytest.mark.parametrize("before", [0.01, 100.0])
def test_time_left_after_a_resume_is_of_the_steps_since(before: float, tmp_path: Path) -> None:
    task = TimedTask([before])
    first = trainer(tmp_path, task, validate_every=0)
    first.progress = lambda step, steps, values: signal.raise_signal(signal.SIGTERM) if step == 25 else None
    with pytest.raises(TrainingStopped):
        first.fit()
    task = TimedTask([2.0])
    left = seconds_left(trainer(tmp_path, task, validate_every=0), task)
    assert sorted(left) == list(range(27, 51))
    assert all(estimate == pytest.approx(truth) for estimate, truth in left.values())


def test_speed_counts_the_examples_of_all_of_a_step(tmp_path: Path) -> None:
    task = TimedTask([2.0])
    run = trainer(tmp_path, task, batch=3, accumulate=2, max_steps=4)
    seen: list[dict[str, float]] = []
    run.progress = lambda step, steps, values: seen.append(values)
    run.fit()
    # Two batches of three in four seconds.
    assert [values.get("examples_per_second") for values in seen] == [None, 1.5, 1.5, 1.5]
    assert {"loss", "lr", "wait", "error"} <= set(seen[0])
    assert "seconds_left" not in (tmp_path / "log.csv").read_text()


def test_a_trial_warms_up_and_takes_the_median(tmp_path: Path) -> None:
    """Steps that warm up do not count, nor does one of them that is slow."""
    task = TimedTask([90.0, 70.0, 2.0, 30.0, 2.0], load=0.25, check=3.0)
    trial = try_steps(trainer(tmp_path, task), workers=0)
    assert trial.computing == (2.0, 30.0, 2.0) and trial.loading == (0.5, 0.5, 0.5)
    # 50 steps of 2 s and of 0.5 s to load, and one validation of five examples.
    assert trial.computing_total == 100 and trial.loading_total == 25
    assert trial.validations == 1 and trial.validating == pytest.approx(15)
    assert trial.total == pytest.approx(140)
    assert trial.memory > 2**20 and trial.gpu_memory is None
    assert not list(tmp_path.iterdir())
    text = "\n".join(trial.lines())
    assert "median of 3: 2 s (2 s to 30 s) to compute, 0.5 s (0.5 s to 0.5 s) to load 2 examples" in text
    assert "50 steps: 1 min 40 s to compute, 25 s to load the data in turn" in text
    assert "in all about 2 min" in text


def test_a_trial_takes_more_steps_where_they_are_short(tmp_path: Path) -> None:
    assert len(try_steps(trainer(tmp_path, TimedTask([0.5])), workers=0).computing) == 10
    assert len(try_steps(trainer(tmp_path, TimedTask([0.001])), workers=0).computing) == 50


def test_processes_load_while_the_training_computes(tmp_path: Path) -> None:
    """What takes longer decides: loading, shared by the processes, or computing."""
    totals = []
    for workers in (0, 1, 4):
        task = TimedTask([2.0], load=2.0)
        totals.append(try_steps(trainer(tmp_path, task, validate_every=0), workers=workers).total)
    assert totals == [300, 200, 100]


def test_a_trial_says_what_follows(tmp_path: Path) -> None:
    """The training itself takes what its trial says."""
    trial = try_steps(trainer(tmp_path, TimedTask([9.0, 2.0], load=0.25, check=3.0)), workers=0)
    task = TimedTask([9.0, 2.0], load=0.25, check=3.0)
    begin = task.now
    trainer(tmp_path, task).fit()
    assert task.now - begin == pytest.approx(trial.total + 7)
    size = {path.name: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    assert trial.checkpoint == pytest.approx(size["checkpoint.pt"], rel=0.1)
    assert trial.weights == pytest.approx(size["last.safetensors"], rel=0.1)
    logs = sum(size for name, size in size.items() if name == "log.csv" or "tfevents" in name)
    assert trial.logs == pytest.approx(logs, rel=0.3)
    assert trial.disk == 2 * trial.checkpoint + 2 * trial.weights + trial.logs
    assert f"checkpoint {in_bytes(trial.checkpoint)}, two while one replaces the other" in "".join(trial.lines())


def test_a_rate_is_not_asked_for_beyond_the_end(tmp_path: Path) -> None:
    """A trial does more steps than a short training has."""

    class Ends(TimedTask):
        def rate(self, step: int, steps: int, settings: Settings) -> float:
            assert step <= steps
            return 1 - step / (steps + 1)

    assert try_steps(trainer(tmp_path, Ends([2.0]), max_steps=1), workers=0).steps == 1
