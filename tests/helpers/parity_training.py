"""The parity fixtures of a training step (family g): the trainer's own, on the fixture's pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_runs import LOGITS, Arrays, Picture, recorded, thinned, without_dropout
from parity_scheme import WeightFiles, Weights, near

import dcsam.training.task
from dcsam.training.task import DCSamTask
from icvos.data.options import DataOptions
from icvos.datasets.samples import EpisodeSample
from icvos.training.data import batches
from icvos.training.distribute import World
from icvos.training.frozen import set_training_mode
from icvos.training.loop import Trainer
from icvos.training.task import Settings

# The README's tolerances.
LOSS, GRADIENT_NORM, PARAMETER, RATE = 5e-5, 1e-4, 1e-6, 1e-12


class Pairs:
    """The fixture's pairs, again and again, so many that the whole schedule is one epoch."""

    def __init__(self, d: Arrays, steps: int) -> None:
        numbers = [key.removeprefix("in_support_jpeg") for key in sorted(d) if key.startswith("in_support_jpeg")]
        self.pairs = [[Picture.of_fixture(d, side, end).square() for side in ("support", "query")] for end in numbers]
        self.length = steps * len(self.pairs)

    def __len__(self) -> int:
        return self.length

    def get(self, epoch: int, index: int) -> EpisodeSample:
        """Return a pair as ``icvos.datasets`` does."""
        support, query = self.pairs[index % len(self.pairs)]
        return EpisodeSample.of([(support.image, support.mask)], query.image[None], query.mask[None])


class PairsTask(DCSamTask):
    """DC-SAM's image stage on the fixture's pairs."""

    pairs: Pairs

    def train_examples(self) -> Any:
        return self.pairs


def check_training(d: Arrays, path: Path, files: WeightFiles, folder: Path) -> None:
    """One step of the trainer: loss, logits, gradients, what the optimiser makes of them, and the rates after it."""
    steps = len(d["out_schedule_500"]) - 1
    weights = files.image(Weights.of_fixture(path.stem, str(d["in_weights"])))
    task = PairsTask(weights=weights, stage="image", source=DataOptions(data="coco-20i"), variant="reference")
    task.pairs = Pairs(d, steps)
    settings = Settings(
        epochs=1,
        batch=len(task.pairs.pairs),
        lr=float(d["in_lr"]),
        weight_decay=float(d["in_weight_decay"]),
        validate_every=0,
    )
    world = World(0, 1, torch.device("cpu"))
    trainer = Trainer(task, settings, world, folder, say=lambda line: None)
    without_dropout(trainer.model)
    set_training_mode(trainer.model)
    rates = [trainer.schedule.get_last_lr()[0]]
    loader = batches(task, task.pairs, settings, world, 0, 1)
    with recorded(dcsam.training.task, "segmentation_loss") as calls:
        scalars, _ = trainer.one_step(iter(loader))
    (((logits, *_), _),) = calls
    near("loss", torch.tensor(scalars["loss"]), d["out_loss"], LOSS)
    near("logits", thinned(logits, d["out_logits_sub"]), d["out_logits_sub"], LOGITS)
    compare_parameters(d, trainer)
    rates.append(trainer.schedule.get_last_lr()[0])
    for _ in range(steps - 1):
        trainer.schedule.step()
        rates.append(trainer.schedule.get_last_lr()[0])
    near("learning rates", torch.tensor(rates, dtype=torch.float64), d["out_schedule_500"], RATE)


def compare_parameters(d: Arrays, trainer: Trainer) -> None:
    """Compare which tensors have gradients, the gradients' norms, and the tensors after the step."""
    parameters = {key: p for key, p in trainer.model.generator.named_parameters() if p.requires_grad}
    names = [str(key) for key in d["out_grad_names"]]
    assert {key for key, p in parameters.items() if p.grad is not None} == set(names)
    assert set(parameters) - set(names) == {str(key) for key in d["out_no_grad_names"]}
    shares = []
    for row, key in enumerate(names):
        gradient, norm = parameters[key].grad, float(d["out_grad_norms"][row])
        assert gradient is not None
        ratio = gradient.double().norm() / norm
        near(f"norm of {key}'s gradient over the reference's", ratio, np.ones(()), GRADIENT_NORM)
        index = torch.from_numpy(d["out_after_index"][row])
        stored = index >= 0
        after = parameters[key].detach().flatten()[index[stored]]
        expected = d["out_after_value"][row][stored.numpy()]
        # AdamW's first step goes by the gradient's sign alone: one near zero may have either.
        step = 2 * float(d["in_lr"])
        near(f"{key} after the step", after, expected, 1.01 * step)
        large = gradient.flatten()[index[stored]].abs() > 1e-3 * gradient.abs().max()
        shares.append(float(large.float().mean()))
        if bool(large.any()):
            near(f"{key} after the step, large gradients", after[large], expected[large.numpy()], PARAMETER)
    assert np.mean(shares) > 0.5
