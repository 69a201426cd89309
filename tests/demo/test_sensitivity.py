"""The study of DC-SAM's parts: what its seeds can show, and that it says no more."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import write_image_benchmark

from benchmarks import sensitivity
from icvos.errors import RunError, UsageError


def test_detectable_is_what_a_paired_t_test_finds_four_times_in_five() -> None:
    # By tables: t(0.975, 9) = 2.2622, t(0.8, 9) = 0.8834.
    assert sensitivity.detectable(1.0, 10) == pytest.approx((2.2622 + 0.8834) / 10**0.5, abs=1e-3)
    generator = np.random.default_rng(0)
    effect = sensitivity.detectable(2.0, 8)
    samples = generator.normal(effect, 2.0, (20_000, 8))
    statistic = samples.mean(axis=1) / (samples.std(axis=1, ddof=1) / 8**0.5)
    assert np.mean(np.abs(statistic) > 2.3646) == pytest.approx(0.8, abs=0.03)


def test_seeds_follow_from_the_spread_of_the_pilot() -> None:
    assert sensitivity.seeds_for(0.1, 2.0, least=4, most=12) == 4
    count = sensitivity.seeds_for(2.0, 2.0, least=4, most=30)
    assert sensitivity.detectable(2.0, count) <= 2.0 < sensitivity.detectable(2.0, count - 1)
    assert sensitivity.seeds_for(9.0, 2.0, least=4, most=12) == 12


@pytest.mark.parametrize(
    ("each", "said"),
    [
        ([0.5, -1.0, 1.5, 0.2], "none"),
        ([0.0] * 4, "none"),
        ([5.0, 5.5, 4.8, 5.2], "it helps"),
        ([-5.0, -5.5, -4.8, -5.2], "it harms"),
    ],
)
def test_nothing_is_said_below_what_is_detectable(each: list[float], said: str) -> None:
    line = sensitivity.verdict(each)
    assert line.endswith(f"verdict {said}") and "4 seeds" in line and "detectable" in line


def study(root: Path) -> list[str]:
    """Write what a study is given, and return its command."""
    for name in sensitivity.FILES["demo"]:
        (root / name).write_bytes(b"weights")
    benchmark = write_image_benchmark(root / "benchmark")
    return ["x", "--weights", str(root), "--benchmark", str(benchmark), "--out", str(root / "out")]


def test_the_study_pairs_seeds_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[int, str]] = []

    def trained(values: Any, seed: int, name: str) -> float:
        asked.append((seed, name))
        # The seed moves all three alike; one part adds three points, the other about nothing.
        without = {"negative prompts": 3.0, "cyclic bias": (-1) ** seed * 2.0, "whole": 0.0}[name]
        return 50.0 + 7.0 * seed - without - 0.01 * seed * (name != "whole")

    monkeypatch.setattr(sensitivity, "trained", trained)
    monkeypatch.setattr(sys, "argv", [*study(tmp_path), "--most", "6"])
    sensitivity.main()
    out = capsys.readouterr().out
    assert "6 seeds" in out and len(set(asked)) == 18
    lines = {line.split("  ")[0].strip(): line for line in out.splitlines() if "verdict" in line}
    assert lines["negative prompts"].endswith("it helps") and lines["cyclic bias"].endswith("none")
    record = json.loads((tmp_path / "out" / "sensitivity.json").read_text())
    assert record["contrasts"]["negative prompts"]["differences"] == pytest.approx([3 + 0.01 * s for s in range(1, 7)])


def test_figures_of_other_settings_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "trained", lambda values, seed, name: float(seed))
    given = study(tmp_path)

    def run(*more: str) -> None:
        monkeypatch.setattr(sys, "argv", [*given, *more])
        sensitivity.main()

    run("--steps", "5")
    run("--steps", "5", "--most", "5", "--detect", "1")
    with pytest.raises(UsageError, match="the study in this folder is of other steps, episodes; "):
        run("--steps", "6", "--episodes", "2")
    (tmp_path / "demo_sam2_large.safetensors").write_bytes(b"other")
    with pytest.raises(UsageError, match="is of other weights; "):
        run("--steps", "5")
    (tmp_path / "out" / "study.json").unlink()
    (tmp_path / "out" / "whole-1").mkdir()
    (tmp_path / "out" / "whole-1" / "record.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no study\.json"):
        run("--steps", "5")
    (tmp_path / "demo_backbone.safetensors").unlink()
    with pytest.raises(UsageError, match=r"no demo_backbone\.safetensors; .*make demo-weights"):
        run()


@pytest.mark.parametrize("content", ["[]", "{}", '{"mIoU": NaN}', '{"mIoU": "50"}'])
def test_a_record_without_a_figure_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "whole-1").mkdir()
    (tmp_path / "whole-1" / "record.json").write_text(content)
    with pytest.raises(RunError, match="mIoU is"):
        sensitivity.trained(argparse.Namespace(out=tmp_path), 1, "whole")


GIVEN = [
    ["--pilot", "1"],
    ["--pilot", "5", "--most", "4"],
    ["--data", "pascal-5i"],
    ["--steps", "0"],
    ["--episodes", "-1"],
]


@pytest.mark.parametrize("given", GIVEN)
def test_a_study_that_cannot_be_is_refused(given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--weights", str(tmp_path), "--out", str(tmp_path), *given])
    with pytest.raises(UsageError):
        sensitivity.main()
