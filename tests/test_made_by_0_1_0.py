"""What version 0.1.0 wrote (tests/made_by_0_1_0) still opens: benchmarks, runs, records, submissions, checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from baselines.heads import config_of, read_head
from baselines.vrp_sam.model import KIND, VRPConfig
from dcsam.checkpoint import load_model, read_checkpoint
from dcsam.config import DCSAMConfig
from icvos import evaluate, load_benchmark
from icvos.cli import main
from icvos.manifest import verify_tables
from icvos.runs.records import read_result, read_run
from icvos.runs.run import Run

OLD = Path(__file__).parent / "made_by_0_1_0"


def exit_status(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.mark.parametrize("name", ["benchmark", "few_shot"])
def test_benchmarks(name: str) -> None:
    benchmark = load_benchmark(OLD / name)
    verify_tables(benchmark)
    assert benchmark.episodes


def test_a_run_and_its_records(tmp_path: Path) -> None:
    assert read_run(OLD / "run")["icvos"] == "0.1.0"
    for name, measure in (("run", "J&F"), ("run_few_shot", "mIoU")):
        assert Run.open(OLD / name).score == read_result(OLD / name)["summary"][measure] > 50
    assert exit_status("leaderboard", "show", "--board", OLD / "board", "--benchmark", "tiny") == 0
    assert exit_status("report", OLD / "run", "--out", tmp_path / "report", "--benchmark", OLD / "benchmark") == 0


def test_a_run_is_not_gone_on_with_but_set_aside(tmp_path: Path) -> None:
    """Results are of one version: the old run stays beside the new one."""
    shutil.copytree(OLD / "run", tmp_path / "run")
    lines: list[str] = []
    result = evaluate("histogram", OLD / "benchmark", out=tmp_path / "run", notify=lines.append)
    (line,) = lines
    assert "the earlier run is now" in line and (tmp_path / "run.old1" / "run.json").is_file()
    assert read_run(tmp_path / "run")["icvos"] != "0.1.0"
    # What is measured has not changed between the versions.
    old = json.loads((OLD / "run" / "result.json").read_text())
    assert {key: result["summary"][key] for key in old["summary"]} == old["summary"]


def test_a_submission() -> None:
    assert exit_status("submit", "check", OLD / "submission.zip", "--benchmark", OLD / "benchmark") == 0


def test_checkpoints() -> None:
    checkpoint = read_checkpoint(OLD / "dcsam.safetensors")
    model = load_model(checkpoint)
    assert model.config.variant == "corrected" and not model.training
    features = model.extract(torch.zeros(1, 3, 32, 32), top=True)
    assert features.top is not None and features.top.isfinite().all()
    head = read_head(OLD / "vrp.safetensors", KIND)
    assert config_of(VRPConfig, head.config).queries == 2
    # A ResNet that 0.1.0 trained keeps the dilation that it was trained with.
    old = DCSAMConfig.from_json((OLD / "dcsam_resnet50.json").read_text())
    assert old.backbone_options == {"dilation": "pspnet"}
