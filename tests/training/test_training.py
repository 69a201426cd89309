"""The training loop: exact resume, the gradients of many processes, what is frozen, and how it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from toy_training import ToyTask
from training_logs import losses

from icvos.datasets import TensorFields
from icvos.demo.training.graphs import GraphedStep
from icvos.errors import RunError
from icvos.foundation.weights import load_state
from icvos.training.data import batches, steps_per_epoch, to_device
from icvos.training.distribute import World
from icvos.training.frozen import set_training_mode
from icvos.training.loop import Trainer, TrainingStopped
from icvos.training.precision import computing

ALONE = World(0, 1, torch.device("cpu"))


def trainer(out: Path, task: ToyTask | None = None, **changes: object) -> Trainer:
    out.mkdir(exist_ok=True)
    task = task or ToyTask()
    return Trainer(task, replace(task.defaults(), **changes), ALONE, out, say=lambda line: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("stop", "average"), [(1, 0), (5, 0), (6, 0.9), (7, 0), (17, 0.9)])
def test_a_stopped_run_has_the_losses_of_one_never_stopped(tmp_path: Path, stop: int, average: float) -> None:
    trainer(tmp_path / "whole", average=average).fit()
    first = trainer(tmp_path / "parts", save_every=1, average=average)
    first.progress = lambda step, steps, values: signal.raise_signal(signal.SIGTERM) if step == stop else None
    with pytest.raises(TrainingStopped, match=f"saved at step {stop} of 18"):
        first.fit()
    second = trainer(tmp_path / "parts", save_every=1, average=average)
    second.fit()
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by a signal"),
        (signal.SIGHUP, 129, "ended by a signal"),
    ],
)
def test_a_signal_ends_as_that_of_other_commands(tmp_path: Path, number: int, status: int, word: str) -> None:
    stopped = trainer(tmp_path)
    stopped.progress = lambda step, steps, values: signal.raise_signal(number) if step == 2 else None
    with pytest.raises(TrainingStopped) as stop:
        stopped.fit()
    assert str(stop.value) == f"{word}; saved at step 2 of 18 in {tmp_path}; the same command goes on"
    assert stop.value.exit_status == status


def test_processes_that_load_data_leave_ctrl_c_to_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = signal.getsignal(signal.SIGINT), []
    monkeypatch.setattr(DataLoader, "__iter__", lambda self: seen.append(signal.getsignal(signal.SIGINT)) or iter(()))
    task = ToyTask()
    assert list(batches(task, task.train_examples(), task.defaults(), ALONE, 0, 1)) == []
    assert seen == [signal.SIG_IGN] and signal.getsignal(signal.SIGINT) is before


def test_the_mean_of_the_weights_is_what_is_kept(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    one = trainer(tmp_path, average=0.9)
    one.progress = lambda *_: seen.append({name: p.detach().clone() for name, p in one.model.named_parameters()})
    one.fit()
    kept = load_state(tmp_path / "last.safetensors")
    for name, parameter in dict(one.kept_model.named_parameters()).items():
        mean = seen[0][name]
        for later in seen[1:]:
            mean = 0.9 * mean + 0.1 * later[name]
        assert torch.allclose(parameter, mean, atol=1e-6)
        if parameter.requires_grad:
            assert not torch.equal(mean, seen[-1][name])
            assert any(value.shape == mean.shape and torch.allclose(value, mean, atol=1e-6) for value in kept.values())
    # What takes no mean goes on with checkpoints that do not know of it, and refuses one that took another.
    with pytest.raises(RunError, match=r"average was 0\.9, is None"):
        trainer(tmp_path).fit()


def test_a_mean_leaves_tables_and_masks_as_they_are(tmp_path: Path) -> None:
    class Indexed(ToyTask):
        def model(self) -> torch.nn.Module:
            model = super().model()
            model.register_buffer("table", torch.arange(100))
            model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
            return model

    task = Indexed()
    one = Trainer(task, replace(task.defaults(), average=0.998), ALONE, tmp_path, say=lambda line: None)
    one.fit()
    assert one.kept_model is not one.model
    for name, values in one.model.named_buffers():
        assert torch.equal(one.kept_model.get_buffer(name), values), name


def test_a_killed_run_goes_back_to_its_checkpoint(tmp_path: Path) -> None:
    trainer(tmp_path / "whole").fit()

    class Killed(BaseException):
        pass

    def kill(step: int, steps: int, values: dict[str, float]) -> None:
        if step == 10:
            raise Killed

    first = trainer(tmp_path / "parts")  # checkpoints at steps 6 and 12 only
    first.progress = kill
    with pytest.raises(Killed):
        first.fit()
    second = trainer(tmp_path / "parts")
    assert second.resume() and second.step == 6
    trainer(tmp_path / "parts").fit()
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_the_seed_is_of_all_global_generators(tmp_path: Path) -> None:
    """A model may draw from any; two runs of one seed end with the same checkpoint."""
    trainer(tmp_path / "a").fit()
    trainer(tmp_path / "b").fit()
    states = [torch.load(tmp_path / run / "checkpoint.pt", weights_only=True)["generators"][0] for run in "ab"]
    assert states[0]["python"] == states[1]["python"]
    assert torch.equal(states[0]["numpy"][1], states[1]["numpy"][1])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("settings", {"lr": 0.02}, r"settings lr is 0\.01, on rank 1 0\.02"),
        ("settings", {"seed": 7}, r"settings seed is 0, on rank 1 7"),
        ("settings", {"save_every": 5}, r"settings save_every is 0, on rank 1 5"),
        ("describe", {"dropout": 0.5}, r"describe dropout is 0\.3, on rank 1 0\.5"),
        ("examples", 10, "examples is 12, on rank 1 10"),
        ("icvos", "0.1.0", r"icvos is .*, on rank 1 0\.1\.0"),
        ("out", "other", r"out is .*run, on rank 1 other"),
    ],
)
def test_ranks_that_would_train_otherwise_do_not_begin(tmp_path: Path, name: str, value: Any, said: str) -> None:
    """Each would step by its own, and the weights of rank 0 be those of neither."""

    class Apart(World):
        def gather(self, mine: Any) -> list[Any]:
            other = {**mine[name], **value} if isinstance(value, dict) else value
            return [mine, {**mine, name: other}]

    task = ToyTask()
    with pytest.raises(RunError, match=f"rank 1 would train otherwise than rank 0: {said}; run the same command"):
        Trainer(task, task.defaults(), Apart(0, 2, torch.device("cpu")), tmp_path / "run")


def test_ranks_that_read_different_checkpoints_do_not_go_on(tmp_path: Path) -> None:
    """Folders that are not shared: one rank would go on, the other begin."""
    trainer(tmp_path / "run", max_steps=4).fit()

    class Apart(World):
        def gather(self, value: Any) -> list[Any]:
            return [value, 0]

    task = ToyTask()
    second = Trainer(task, replace(task.defaults(), max_steps=4), Apart(0, 1, torch.device("cpu")), tmp_path / "run")
    with pytest.raises(RunError, match=r"begin at different steps: 0, 4; in .*; put --out where all nodes see it"):
        second.fit()


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.checkpoint.pt.abc.tmp").write_bytes(b"half")
    trainer(tmp_path / "run", max_steps=1).fit()
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_other_settings_do_not_resume(tmp_path: Path) -> None:
    trainer(tmp_path / "run").fit()
    with pytest.raises(RunError, match=r"lr was 0.01, is 0.5"):
        trainer(tmp_path / "run", lr=0.5).resume()
    with pytest.raises(RunError, match="length was 12, is 14"):
        trainer(tmp_path / "run", ToyTask(length=14)).resume()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"cut")
    with pytest.raises(Exception, match="cannot be read"):
        trainer(tmp_path / "run").resume()


def test_a_loss_that_is_no_number_stops_with_the_batch_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="nan at step 9; in epoch 1, example 6; epoch 1, example 7"):
        trainer(tmp_path / "run", ToyTask(poison=6)).fit()


def test_ranks_see_disjoint_examples_that_change_with_the_epoch() -> None:
    task = ToyTask(length=16)
    settings = replace(task.defaults(), batch=2)
    seen = []
    for rank in range(2):
        world = World(rank, 2, torch.device("cpu"))
        assert steps_per_epoch(16, settings, world) == 4
        seen.append([key for b, _ in batches(task, task.train_examples(), settings, world, 0, 8) for key in b["keys"]])
    assert not set(seen[0]) & set(seen[1])
    assert {key for keys in seen for key in keys} == {(epoch, index) for epoch in range(2) for index in range(16)}
    task2 = [b["x"] for b, _ in batches(task, task.train_examples(), settings, ALONE, 0, 16)]
    assert not torch.equal(task2[0], task2[8])


def test_a_typed_batch_is_pinned_and_moved_with_its_plain_values(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.data._utils.pin_memory import pin_memory

    @dataclass(frozen=True)
    class Named(TensorFields):
        x: torch.Tensor
        names: tuple[str, ...]

    batch = Named(torch.ones(2), ("a", "b"))
    moved = to_device(batch, torch.device("meta"))
    assert isinstance(moved, Named) and moved.x.is_meta and moved.names == ("a", "b") and not batch.x.is_meta
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)  # there is no pinned memory on a CPU
    pinned, names = pin_memory((batch, ["epoch 0, example 3"]), "cpu")
    assert isinstance(pinned, Named) and pinned.x.tolist() == [2, 2] and names == ["epoch 0, example 3"]


def test_frozen_modules_stay_in_eval() -> None:
    model = ToyTask().model()
    set_training_mode(model)
    assert model.training and model.head.training and not any(m.training for m in model.frozen.modules())


def test_a_run_with_cuda_graphs_goes_on_without_them(tmp_path: Path) -> None:
    """Graphs keep rates and counts of steps on the device; plain steps want them as numbers and on the CPU."""
    trainer(tmp_path / "whole").fit()
    first = trainer(tmp_path / "parts")
    first.progress = lambda step, steps, values: signal.raise_signal(signal.SIGTERM) if step == 10 else None
    with pytest.raises(TrainingStopped):
        first.fit()
    content = torch.load(first.checkpoint_path, weights_only=True)
    for group in content["optimiser"]["param_groups"]:
        group["lr"], group["capturable"] = torch.tensor(group["lr"], dtype=torch.float64), True
    torch.save(content, first.checkpoint_path)
    second = trainer(tmp_path / "parts")
    second.fit()
    assert all(isinstance(group["lr"], float) and not group["capturable"] for group in second.optimiser.param_groups)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_a_graphed_step_is_logged_and_averaged_as_a_plain_one(tmp_path: Path) -> None:
    class Uncaptured(GraphedStep):
        __call__ = GraphedStep.plainly

    for graphed in ("", "graphed"):
        run = trainer(tmp_path / f"run {graphed}", max_steps=4, clip=1.0, average=0.5)
        if graphed:
            run.graphed = Uncaptured(run._compute, run.optimiser, run.parameters, 1.0)
        run.fit()
        assert run.step == 4
    for name in ("log.csv", "last.safetensors"):
        assert (tmp_path / "run " / name).read_bytes() == (tmp_path / "run graphed" / name).read_bytes()


def test_accumulation_equals_a_larger_batch(tmp_path: Path) -> None:
    task = ToyTask(dropout=0.0)
    one = trainer(tmp_path / "a", task, batch=4, max_steps=3, validate_every=0)
    two = trainer(tmp_path / "b", task, batch=2, accumulate=2, max_steps=3, validate_every=0)
    one.fit()
    two.fit()
    for a, b in zip(one.model.parameters(), two.model.parameters()):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


SCRIPT = """
import sys
from dataclasses import dataclass, replace
from pathlib import Path
import torch
from toy_training import ToyTask
from icvos.training.distribute import open_world
from icvos.training.loop import Trainer
with open_world("cpu") as world:
    task = ToyTask(dropout=0.0)
    t = Trainer(task, replace(task.defaults(), batch=1, max_steps=4), world, Path(sys.argv[1]), say=lambda line: None)
    # Else all ranks would drop the same units.
    assert len(set(world.gather(torch.initial_seed()))) == 2
    t.fit()
    if world.main:
        torch.save({k: v for k, v in t.model.state_dict().items()}, sys.argv[1] + "/model.pt")
# A thread of the process group that outlives the world may abort the process at its end.
names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in name for name in names), names
"""


@pytest.mark.slow
def test_torchrun_with_two_processes_equals_one_with_batch_two(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[1] / "helpers"), OMP_NUM_THREADS="1")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script), str(tmp_path / "two")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    one = trainer(tmp_path / "one", ToyTask(dropout=0.0), batch=2, max_steps=4)
    one.fit()
    two = torch.load(tmp_path / "two" / "model.pt", weights_only=True)
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(two[name], value, atol=1e-6, rtol=0)
    assert (tmp_path / "two" / "curves.png").stat().st_size > 5000
    # Five validation examples: three on one rank, two on the other, each counts the same.
    figures = [json.loads((tmp_path / run / "training.json").read_text())["best_mIoU"] for run in ("two", "one")]
    assert figures[0] == pytest.approx(figures[1], rel=1e-5)


def test_a_weight_cast_without_gradients_is_cast_again_where_it_is_trained() -> None:
    """torch before 2.10 would take the first, which has no graph."""
    with computing("bf16", "cpu"):
        assert torch.is_autocast_enabled("cpu") and not torch.is_autocast_cache_enabled()


def test_attention_in_bfloat16_is_plain_products_on_the_cpu() -> None:
    """The fused kernel's backward pass takes several times as long there; what was set is set again after."""
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed(), torch.backends.cuda.flash_sdp_enabled()
    query = torch.randn(1, 1, 8, 4, requires_grad=True)
    with computing("bf16", "cpu"):
        out = torch.nn.functional.scaled_dot_product_attention(query, query, query)
        assert out.dtype == torch.bfloat16 and "Flash" not in type(out.grad_fn).__name__
    assert before == (
        torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed(),
        torch.backends.cuda.flash_sdp_enabled(),
    )
