"""Curves and tags of a training's log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icvos.training.logs import TrainingLog, _smooth, draw_curves, tag_of


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("loss", "loss/total"),
        ("mask_loss", "loss/mask"),
        ("lr", "optimiser/lr"),
        ("gradient_norm", "optimiser/gradient_norm"),
        ("train_mIoU", "train/mIoU"),
        ("mIoU", "validation/mIoU"),
    ],
)
def test_tags_are_grouped(name: str, tag: str) -> None:
    assert tag_of(name) == tag


def test_tensorboard_has_the_tags(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard")
    log = TrainingLog(tmp_path, 0)
    log.add(1, {"loss": 0.5, "lr": 0.1, "train_mIoU": 40.0})
    log.add(1, {"mIoU": 30.0})
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {*tags["scalars"], *tags["tensors"]} == {"loss/total", "optimiser/lr", "train/mIoU", "validation/mIoU"}
    assert (tmp_path / "log.csv").read_text().splitlines()[-1] == "1,mIoU,30.0"
    assert draw_curves(tmp_path).stat().st_size > 5000


def test_the_running_mean_keeps_a_line_and_does_not_lag() -> None:
    assert np.allclose(_smooth([3.0] * 50), 3.0)
    line = np.arange(400, dtype=float)
    assert np.allclose(_smooth(line.tolist())[40:-40], line[40:-40])
    step = np.repeat([0.0, 1.0], 200)
    crossing = int(np.argmax(_smooth(step.tolist()) >= 0.5))
    assert abs(crossing - 200) <= 1
    assert len(_smooth([1.0])) == 1 and len(_smooth([])) == 0
