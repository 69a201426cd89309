"""The training loop: one step after another, on one process or many, resumable at any of them."""

from __future__ import annotations

import itertools
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from icvos.errors import ENDING, IcvosError, RunError
from icvos.files import remove_partial_files, write_json
from icvos.foundation.trainings import training_record
from icvos.progress import Meter, Update
from icvos.terminal import echo
from icvos.training.checkpoint import (
    check_identity,
    check_ranks,
    generator_state,
    read_checkpoint,
    restore_generators,
    seed_generators,
    write_checkpoint,
)
from icvos.training.data import batches, steps_per_epoch, to_device, validation_batches
from icvos.training.distribute import World
from icvos.training.frozen import set_training_mode, trained_state
from icvos.training.logs import TrainingLog, draw_curves
from icvos.training.precision import computing
from icvos.training.task import Examples, GraphedStep, Settings, TrainingTask
from icvos.version import __version__

__all__ = ["Trainer", "TrainingStopped"]


class TrainingStopped(IcvosError):
    """Training stopped before its end: a loss that is no number (exit 1), or a signal (128 and its number)."""

    exit_status = 1


class _LossOf(nn.Module):
    """The task's loss as a module's forward, so that DistributedDataParallel sees all that happens in it."""

    def __init__(self, task: TrainingTask, model: nn.Module) -> None:
        super().__init__()
        self.task = task
        self.model = model

    def forward(self, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.task.loss(self.model, batch)


class Trainer:
    """Trains a task's model.

    Args:
        task: What is trained.
        settings: How.
        world: This process among those of the run.
        out: The run's folder: ``checkpoint.pt``, ``best.safetensors``, ``last.safetensors``, ``log.csv``,
            ``curves.png``, ``training.json``.
        say: Prints a line (rank 0 only).
        progress: Called with (step, steps, values) after each step of rank 0, or None. ``values`` holds ``loss``, the
            task's own scalars, ``lr``, ``wait`` (share of the time that was waited for data) and, from the second step
            of this process on, ``examples_per_second`` (of all ranks) and ``seconds_left``.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        task: TrainingTask,
        settings: Settings,
        world: World,
        out: Path,
        *,
        say: Callable[[str], None] = echo,
        progress: Callable[[int, int, dict[str, float]], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.task, self.settings, self.world, self.out = task, settings, world, out
        self.say, self.progress, self.clock = say, progress, clock
        seed_generators(settings.seed)
        self.model = task.model().to(world.device)
        self.examples = task.train_examples()
        if len(self.examples) == 0:
            raise RunError("there are no training examples", fix="look at the data set and the minimum area")
        self.per_epoch = steps_per_epoch(len(self.examples), settings, world)
        self.steps = self.per_epoch * settings.epochs
        if settings.max_steps is not None:
            self.steps = min(self.steps, settings.max_steps)
        groups = task.parameter_groups(self.model, settings)
        if not any(len(list(group["params"])) for group in groups):
            raise RunError("nothing is trainable", fix="look at --set train_sam=… and the frozen parts")
        self.parameters = [p for group in groups for p in group["params"]]
        self.optimiser = task.optimiser(groups, settings)
        if world.size > 1:
            check_ranks(world.gather(self._of_rank()))
        graphs = settings.graphs and world.device.type == "cuda" and world.size == 1 and settings.accumulate == 1
        self.module = world.parallel(_LossOf(task, self.model))
        self.graphed: GraphedStep | None = None
        if graphs:
            self.graphed = task.graphed_step(self._compute, self.optimiser, self.parameters, settings)
        self.mean: AveragedModel | None = None
        if settings.average:
            # Buffers (statistics, tables, masks) are always the model's own.
            self.mean = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
        self._place_rates(self.graphed is not None)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._rate)
        self.step = 0
        self.best: float | None = None
        self._stop: int | None = None
        if world.size > 1:
            # The weights began alike; what is drawn beside the examples, as dropout is, must not be.
            seed_generators(int(np.random.SeedSequence([settings.seed, world.rank]).generate_state(1, np.uint64)[0]))

    def _place_rates(self, graphs: bool) -> None:
        """Keep rates and counts on the device for graphs, which read them where they lie, and otherwise on the CPU."""
        for group in self.optimiser.param_groups:
            rate = float(group["lr"])
            group["lr"] = torch.tensor(rate, device=self.world.device) if graphs else rate
            if "capturable" in group:
                group["capturable"] = graphs
        for state in self.optimiser.state.values():
            if isinstance(state.get("step"), torch.Tensor):
                state["step"] = state["step"].to(self.world.device if graphs else "cpu")

    def _rate(self, step: int) -> float:
        # After the last step the schedule asks once more, and a trial goes beyond it.
        return self.task.rate(min(step, self.steps), self.steps, self.settings)

    @property
    def kept_model(self) -> nn.Module:
        """What is validated and exported: the mean of the weights where one is taken, else the model."""
        return self.model if self.mean is None else self.mean.module

    # ----------------------------------------------------------------------------------------------- checkpoints

    @property
    def checkpoint_path(self) -> Path:
        """Where the run's checkpoint is."""
        return self.out / "checkpoint.pt"

    def _identity(self) -> dict[str, Any]:
        # What may change on resume without changing the result: the number of loading processes and how often to save.
        settings = {k: v for k, v in asdict(self.settings).items() if k not in ("workers", "save_every")}
        if not self.settings.average:
            del settings["average"]  # which runs of 0.2.0 do not name
        return {
            "task": self.task.name,
            "describe": self.task.describe(),
            "settings": settings,
            "world": self.world.size,
        }

    def _of_rank(self) -> dict[str, Any]:
        # The ranks save together, and so equally often; only the number of loading processes is each one's own.
        settings = {k: v for k, v in asdict(self.settings).items() if k != "workers"}
        own = {"icvos": __version__, "examples": len(self.examples), "settings": settings, "out": str(self.out)}
        return {**self._identity(), **own}

    def _export(self, kept: str) -> None:
        begun = getattr(self.task, "weights", {})
        self.task.training = training_record(self._identity(), begun, kept=kept)
        self.task.export(self.kept_model, self.out / f"{kept}.safetensors")

    def save(self) -> None:
        """Write the checkpoint (rank 0; every rank must call it)."""
        states = self.world.gather(generator_state(self.world.device))
        if not self.world.main:
            return
        content = {
            "identity": self._identity(),
            "step": self.step,
            "best": self.best,
            "model": trained_state(self.model),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generators": states,
        }
        if self.mean is not None:
            content["mean"] = {"count": int(self.mean.n_averaged), "model": trained_state(self.mean.module)}
        write_checkpoint(self.checkpoint_path, content)

    def resume(self) -> bool:
        """Continue from the folder's checkpoint, if there is one.

        Raises:
            RunError: It is of another task, data, settings or number of processes.
        """
        if not self.checkpoint_path.is_file():
            return False
        content = read_checkpoint(self.checkpoint_path)
        check_identity(content["identity"], self._identity(), where=self.checkpoint_path)
        self.model.load_state_dict(content["model"], strict=False)
        if self.mean is not None:
            self.mean.module.load_state_dict(content["mean"]["model"], strict=False)
            self.mean.n_averaged.fill_(content["mean"]["count"])
        self.optimiser.load_state_dict(content["optimiser"])
        self._place_rates(self.graphed is not None)
        self.schedule.load_state_dict(content["schedule"])
        self.step, self.best = int(content["step"]), content["best"]
        restore_generators(content["generators"][self.world.rank], self.world.device)
        return True

    # ------------------------------------------------------------------------------------------------------ steps

    def fit(self) -> dict[str, Any]:
        """Train to the end, from where the folder's checkpoint stands; returns the run's summary.

        Raises:
            TrainingStopped: A loss that is no number (with the batch's examples), Ctrl-C, SIGTERM or SIGHUP (after
                saving).
            RunError: The checkpoint does not fit, or the ranks read different ones.
        """
        if self.world.main:
            remove_partial_files(self.out)
        resumed = self.resume()
        begun = sorted(set(self.world.gather(self.step)))
        if len(begun) > 1:
            raise RunError(
                f"the ranks would begin at different steps: {', '.join(map(str, begun))}",
                where=self.checkpoint_path,
                expected="one checkpoint for all",
                fix="put --out where all nodes see it",
            )
        if resumed:
            self.say(f"continues at step {self.step} of {self.steps}")
        log = TrainingLog(self.out, self.step) if self.world.main else None
        try:
            with self._signals():
                self._run(log)
        finally:
            if log is not None:
                log.close()
        summary = {"schema": "icvos-training/1", **self._identity(), "steps": self.step, "best_mIoU": self.best}
        if self.world.main:
            self._export("last")
            write_json(self.out / "training.json", summary)
            draw_curves(self.out)
        self.world.barrier()
        return summary

    def _run(self, log: TrainingLog | None) -> None:
        if self.step >= self.steps:
            return
        loader = batches(self.task, self.examples, self.settings, self.world, self.step, self.steps)
        stream: Iterator[tuple[Any, list[str]]] = iter(loader)
        waited = worked = 0.0
        meter = Meter(self.clock)
        group = self.settings.batch * self.settings.accumulate * self.world.size
        while self.step < self.steps:
            begin = self.clock()
            values, wait = self.one_step(stream)
            waited, worked = waited + wait, worked + self.clock() - begin
            if log is not None:
                log.add(self.step, values)
            end_of_epoch = self.step % self.per_epoch == 0 or self.step == self.steps
            epoch = math.ceil(self.step / self.per_epoch)
            every = self.settings.validate_every
            if end_of_epoch and every and (epoch % every == 0 or self.step == self.steps):
                figures = self.validate()
                if log is not None and figures:
                    log.add(self.step, figures)
                    self.say(f"step {self.step}: " + ", ".join(f"{k} {v:.2f}" for k, v in figures.items()))
            if self.progress is not None and self.world.main:
                meter.add(Update("steps", self.step, self.steps))
                values["wait"] = waited / max(worked, 1e-9)
                if meter.pace:
                    values["examples_per_second"] = group / meter.pace
                    values["seconds_left"] = meter.pace * (self.steps - self.step)
                self.progress(self.step, self.steps, values)
            stop = self.world.any(self._stop is not None)
            save_every = self.settings.save_every
            if stop or end_of_epoch or (save_every and self.step % save_every == 0):
                self.save()
            if stop:
                del stream  # which ends the processes that load data
                raise self._stopped()
        self.say(f"waited for data {waited / max(worked, 1e-9):.0%} of the time")

    def one_step(self, stream: Iterator[tuple[Any, list[str]]]) -> tuple[dict[str, float], float]:
        """Do one optimiser step; returns its scalars and the seconds it waited for data.

        Raises:
            TrainingStopped: The loss is no number.
        """
        set_training_mode(self.model)
        values, wait = self._plain_step(stream) if self.graphed is None else self._graphed_step(self.graphed, stream)
        values["lr"] = float(self.schedule.get_last_lr()[0])
        self.schedule.step()
        self.step += 1
        if self.mean is not None:
            self.mean.update_parameters(self.model)
        return values, wait

    def _next(self, stream: Iterator[tuple[Any, list[str]]]) -> tuple[Any, list[str], float]:
        """Return the next batch, on the device, the names of its examples, and the seconds that this took."""
        begin = self.clock()
        batch, names = next(stream)
        return to_device(batch, self.world.device), names, self.clock() - begin

    def _plain_step(self, stream: Iterator[tuple[Any, list[str]]]) -> tuple[dict[str, float], float]:
        settings = self.settings
        self.optimiser.zero_grad(set_to_none=True)
        total: dict[str, float] = {}
        waited = 0.0
        for micro in range(settings.accumulate):
            batch, names, wait = self._next(stream)
            waited += wait
            last = micro == settings.accumulate - 1
            apart = isinstance(self.module, DistributedDataParallel) and not last
            with self.module.no_sync() if apart else nullcontext():  # type: ignore[operator]
                loss, scalars = self._compute(batch)
                # Checked on every rank together, or one would wait for the others for ever.
                if self.world.any(not bool(torch.isfinite(loss.detach()))):
                    raise self._no_number(float(loss.detach()), names)
                (loss / settings.accumulate).backward()
            for name, scalar in (("loss", loss.detach()), *scalars.items()):
                total[name] = total.get(name, 0.0) + float(scalar) / settings.accumulate
        if settings.clip is not None:
            total["gradient_norm"] = float(nn.utils.clip_grad_norm_(self.parameters, settings.clip))
        self.optimiser.step()
        return total, waited

    def _stopped(self) -> TrainingStopped:
        """Return the end by a signal; where another rank had it, that of SIGTERM."""
        number = self._stop or signal.SIGTERM
        error = TrainingStopped(
            "interrupted" if number == signal.SIGINT else "ended by a signal",
            fix=f"saved at step {self.step} of {self.steps} in {self.out}; the same command goes on",
        )
        error.exit_status = 128 + number
        return error

    def _graphed_step(
        self, graphed: GraphedStep, stream: Iterator[tuple[Any, list[str]]]
    ) -> tuple[dict[str, float], float]:
        batch, names, wait = self._next(stream)
        try:
            scalars = graphed(batch)
        except RuntimeError as error:
            # What cannot be captured runs as it is; the optimiser does not mind.
            self.say(f"no CUDA graph: {str(error).splitlines()[0]}")
            self.graphed = None
            scalars = graphed.plainly(batch)
        values = dict(zip(scalars, torch.stack([scalar.float() for scalar in scalars.values()]).tolist(), strict=True))
        if not math.isfinite(values["loss"]):
            raise self._no_number(values["loss"], names)
        return values, wait

    def _no_number(self, loss: float, names: Sequence[str]) -> TrainingStopped:
        return TrainingStopped(
            f"the loss is {loss} at step {self.step}",
            where="; ".join(names),
            fix="lower --lr, set --clip, or look at these examples",
        )

    def _compute(self, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with computing(self.settings.precision, self.world.device.type):
            loss, scalars = self.module(batch)
        return loss, scalars

    def validate(self) -> dict[str, float]:
        """Validate in eval mode without gradients; keeps the best model as ``best.safetensors``."""
        examples = self.task.validation_examples()
        if examples is None or len(examples) == 0:
            return {}
        figures = self.figures(examples)
        score = figures.get("mIoU")
        if score is not None and (self.best is None or score > self.best):
            self.best = score
            if self.world.main:
                self._export("best")
        return figures

    def figures(self, examples: Examples, *, limit: int | None = None) -> dict[str, float]:
        """Return the task's validation figures, of all examples, or of ``limit`` batches a rank."""
        self.kept_model.eval()
        generators = generator_state(self.world.device)

        def moved() -> Iterable[Any]:
            loader = validation_batches(self.task, examples, self.settings, self.world)
            for batch, _ in itertools.islice(loader, limit):
                yield to_device(batch, self.world.device)

        with torch.no_grad(), computing(self.settings.precision, self.world.device.type):
            mine = self.task.validate(self.kept_model, moved())
        # Validation must not shift what training draws next.
        restore_generators(generators, self.world.device)
        values: dict[str, list[float]] = {}
        for share in self.world.gather(mine):
            for name, part in share.items():
                values.setdefault(name, []).extend(part)
        return {name: sum(every) / len(every) for name, every in values.items() if every}

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """While the loop runs Ctrl-C, SIGTERM and SIGHUP (not under nohup) ask it to stop after the step at hand."""

        def ask(number: int, frame: Any) -> None:
            self._stop = number

        try:
            heard = [each for each in (signal.SIGINT, *ENDING) if signal.getsignal(each) is not signal.SIG_IGN]
            before = {number: signal.signal(number, ask) for number in heard}
        except ValueError:  # not in the main thread: a notebook's own business
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
