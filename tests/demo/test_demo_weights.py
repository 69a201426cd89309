"""The plan of the demo's weights: its stages, the command, and what is shipped."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcsam.checkpoint import file_key, read_checkpoint
from dcsam.plugin import DCSam
from icvos.errors import LockedError, UsageError
from icvos.files import lock_folder
from icvos.foundation.weights import load_state
from tools import train_demo_weights as demo_weights
from tools.demo_stages import DCSAM, HEADS, SAM2, STAGES, stage_task

ROOT = Path(demo_weights.__file__).parent.parent


def test_going_on_starts_from_the_earlier_weights_on_other_scenes(tmp_path: Path) -> None:
    """``--start``: every stage finds the earlier file it goes on from, and draws what that one has not seen."""
    start, out = tmp_path / "start", tmp_path / "out"
    out.mkdir()
    first = {}
    for stage in ("sam2-stills", "backbone"):
        task = stage_task(stage, start, 4)
        first[stage] = (task.model(), task.train_examples().get(0, 0))
        start.mkdir(exist_ok=True)
        file = STAGES["memory" if stage == "sam2-stills" else "backbone-large"].file
        task.export(first[stage][0], start / file)
    for stage, before in (("sam2-stills", "sam2-stills"), ("sam2", "sam2-stills"), ("backbone", "backbone")):
        task = stage_task(stage, out, 4, start=start, seed=2)
        earlier, example = first[before]
        part = "backbone" if stage == "backbone" else "sam2"
        mine = getattr(task.model(), part).state_dict()
        theirs = getattr(earlier, part).state_dict()
        assert all(torch.allclose(mine[name].float(), value.float(), atol=2e-3) for name, value in theirs.items())
        other = task.train_examples().get(0, 0)
        pictures = [e.images if stage == "backbone" else e["frames"] for e in (example, other)]
        assert not np.array_equal(pictures[0][:1], pictures[1][:1])


def test_what_is_shipped_can_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--start shipped``: DC-SAM's file gives its backbone too; the records go with the files."""
    trained: list[Path] = []
    monkeypatch.setattr(demo_weights, "train", lambda name, minutes, values: trained.append(values.start))
    given = ["--out", str(tmp_path), "--stages", "backbone-large", "--device", "cpu", "--start", "shipped"]
    monkeypatch.setattr(sys, "argv", ["x", *given])
    demo_weights.main()
    (start,) = trained
    model = stage_task("backbone-large", tmp_path, 4, start=start).model()
    shipped = load_state(ROOT / DCSAM / "demo_dcsam.safetensors")
    state = model.backbone.state_dict()  # type: ignore[union-attr,operator]
    assert len(state) > 100
    assert all(torch.equal(value, shipped[f"prompt_encoder.{name}"].to(value.dtype)) for name, value in state.items())
    stage_task("sam2-large", tmp_path, 4, start=start).model()
    head = read_checkpoint(start / STAGES["image"].file)
    assert all(torch.equal(value, shipped[f"prompt_encoder.{file_key(name)}"]) for name, value in head.state.items())
    assert json.loads((start / "image.json").read_text())["stage"] == "image"


def test_one_process_trains_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--out", str(tmp_path), "--stages", "backbone", "--device", "cpu"])
    with lock_folder(tmp_path / "backbone.run"), pytest.raises(LockedError):
        demo_weights.main()


def test_stages_start_with_what_the_command_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: dict[str, tuple[list[str], str]] = {}

    def start_all(needs: Mapping[str, Sequence[str]], start: Any) -> None:
        assert needs == {name: STAGES[name].needs for name in ("sam2-stills", "backbone", "backbone-large")}
        for name in needs:
            start(name, 2)

    def popen(command: list[str], *, env: dict[str, str], start_new_session: bool) -> None:
        started[command[command.index("--stages") + 1]] = (command, env["OMP_NUM_THREADS"])

    monkeypatch.setattr(demo_weights, "train_side_by_side", start_all)
    monkeypatch.setattr(demo_weights.subprocess, "Popen", popen)
    words = ["--stages", "backbone", "backbone-large", "sam2-stills", "--minutes", "1", "2", "3", "--seed", "4"]
    monkeypatch.setattr(sys, "argv", ["x", "--out", str(tmp_path), "--device", "cpu", *words])
    demo_weights.main()
    command, threads = started["backbone-large"]
    assert command[1:3] == ["-m", "tools.train_demo_weights"] and threads == "2"
    given = dict(zip(command[3::2], command[4::2], strict=True))
    assert given.pop("--parent") == str(os.getpid()) and "--start" not in given
    assert given == {
        **{"--out": str(tmp_path), "--stages": "backbone-large", "--minutes": "2.0", "--device": "cpu"},
        **{"--workers": "0", "--pool": "0", "--seed": "4"},
    }


def test_stages_come_in_the_order_of_what_they_need() -> None:
    names = list(STAGES)
    for name, stage in STAGES.items():
        assert {*stage.needs} <= {*names[: names.index(name)]} and {*stage.earlier.values()} <= {*names}
        assert {*stage.weights, *stage.earlier} <= {*stage.task.known_weights}


def test_missing_files_are_named_with_the_stage_that_makes_them(tmp_path: Path) -> None:
    check = demo_weights.check_needs
    check(list(STAGES), tmp_path)
    with pytest.raises(UsageError, match=r"image needs demo_backbone\.safetensors.*--stages backbone-large first"):
        check(["sam2-stills", "sam2", "sam2-large", "memory", "backbone", "image"], tmp_path)
    with pytest.raises(UsageError, match=r"sam2-stills needs demo_sam2\.safetensors.* a --start with stage memory"):
        check(["sam2-stills"], tmp_path, start=tmp_path / "start")
    for name in ("image.json", "demo_dcsam.safetensors"):
        (tmp_path / name).touch()
    check(["image"], tmp_path)  # done before


@pytest.mark.parametrize(
    "given",
    [["--for", "0"], ["--for", "nan"], ["--minutes", "-1"], ["--minutes", "nan"], ["--minutes", "inf"]]
    + [["--minutes", "1", "2"], ["--workers", "-1"], ["--seed", "-1"], ["--pool", "-1"]],
)
def test_numbers_that_cannot_be_are_refused(given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--out", str(tmp_path), "--stages", "sam2-stills", *given])
    with pytest.raises(SystemExit) as end:
        demo_weights.main()
    assert end.value.code == 2


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--out", str(tmp_path), "--stages", "sam2-stills", "--device", "gpu"])
    with pytest.raises(UsageError, match="no device 'gpu'"):
        demo_weights.main()


# ---- what is shipped ------------------------------------------------------------------------------------------------


def test_shipped_weights_are_small_and_recorded() -> None:
    sizes = {}
    for package in (SAM2, DCSAM, HEADS):
        stages = {name: stage for name, stage in STAGES.items() if stage.package == package}
        record = json.loads((ROOT / package / "training.json").read_text())
        found = {s.file: ROOT / package / s.file for s in stages.values() if s.shipped}
        assert record["bytes"] == {name: path.stat().st_size for name, path in found.items()}
        recorded = [stage["stage"] for stage in record["stages"]]
        assert recorded == [name for name in stages if name in recorded]
        assert {name for name, stage in stages.items() if stage.shipped} <= set(recorded)
        sizes[package] = sum(record["bytes"].values())
        if package != HEADS:
            assert set(found.values()) <= set(DCSam.demo_weights().values())
    assert sizes[SAM2] + sizes[DCSAM] <= 10_000_000 and sum(sizes.values()) <= 14_000_000


def test_install_puts_each_file_into_its_package(tmp_path: Path) -> None:
    out, root, start = tmp_path / "out", tmp_path / "root", tmp_path / "start"
    out.mkdir()
    start.mkdir()
    (out / "demo_sam2.safetensors").write_bytes(b"sam")
    with pytest.raises(UsageError, match=r"no demo_dcsam\.safetensors"):
        demo_weights.install(out, root)
    assert not root.exists()
    for stage in STAGES.values():
        if stage.shipped:
            (out / stage.file).write_bytes(stage.file.encode())
    (out / "image.json").write_text('{"stage": "image"}')
    (start / "image.json").write_text('{"stage": "image", "old": true}')
    (start / "sam2-stills.json").write_text('{"stage": "sam2-stills"}')
    demo_weights.install(out, root, start=start)
    assert (root / "icvos" / "demo" / "weights" / "demo_sam2.safetensors").read_bytes() == b"demo_sam2.safetensors"
    assert (root / "baselines" / "weights" / "demo_sansa.safetensors").read_bytes() == b"demo_sansa.safetensors"
    record = json.loads((root / "dcsam" / "weights" / "training.json").read_text())
    assert record["bytes"] == {"demo_dcsam.safetensors": 22} and record["stages"] == [{"stage": "image"}]
    record = json.loads((root / "icvos" / "demo" / "weights" / "training.json").read_text())
    assert record["stages"] == [{"stage": "sam2-stills"}]
