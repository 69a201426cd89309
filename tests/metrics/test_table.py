"""The table of metrics: one line adds a metric to results, tables, boards and reports, and nothing else names them."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from board_runs import icvos
from tiny import write_image_benchmark, write_video_benchmark

from icvos.errors import RunError, UsageError
from icvos.metrics import VideoScore
from icvos.metrics.formulas import FoldSums, FrameValues
from icvos.metrics.table import METRICS, Metric, ranked_metric, register, summary_names
from icvos.runs.records import read_result
from icvos.runs.run import Run

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests" / "made_by_0_1_0"


def worst_frame(frames: FrameValues) -> float | None:
    return 100.0 * float(frames.j.min()) if len(frames.j) else None


def best_category(fold: FoldSums) -> float | None:
    return max(fold.ious.values(), default=None)


@pytest.fixture
def more_metrics() -> Iterator[None]:
    before = dict(METRICS)
    register(Metric("J_worst", "video", of_frames=worst_frame, heading="J worst frame", brief="worst"))
    register(Metric("best_IoU", "image", of_fold=best_category))
    yield
    METRICS.clear()
    METRICS.update(before)


@pytest.mark.usefixtures("more_metrics")
def test_a_video_metric_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark, run = write_video_benchmark(tmp_path / "benchmark"), tmp_path / "run"
    assert icvos("evaluate", "--model", "histogram", "--benchmark", benchmark, "--out", run, "--save-masks") == 0
    printed = capsys.readouterr().out
    result = json.loads((run / "result.json").read_text())
    value = result["summary"]["J_worst"]
    records = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    assert 0 <= value <= result["summary"]["J"] and all(row["J_worst"] <= row["J"] for row in records)
    assert all("J_worst" in row for row in result["per_category"].values())
    assert "worst" in printed and f"{value:.2f}" in printed
    assert list(result["summary"])[-1] == "best_IoU" and result["summary"]["best_IoU"] is None

    assert icvos("leaderboard", "add", run, "--board", tmp_path / "board", "--benchmark", benchmark) == 0
    assert "masks re-scored" in capsys.readouterr().out
    assert icvos("leaderboard", "show", "--board", tmp_path / "board", "--no-published") == 0
    assert f"{value:.2f}" in capsys.readouterr().out
    assert icvos("report", run, "--out", tmp_path / "report") == 0
    assert "<dt>J worst" in (tmp_path / "report" / "index.html").read_text()
    assert icvos("compare", run, run, "--benchmark", benchmark) == 0
    shown = capsys.readouterr().out.replace("_", " ")
    assert "J worst" in shown and shown.count("A less B") == 2, "no table of differences where there are none"
    assert "A ahead in 0" in shown and "the largest differences" not in shown


@pytest.mark.usefixtures("more_metrics")
def test_an_image_metric_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark, run = write_image_benchmark(tmp_path / "benchmark"), tmp_path / "run"
    assert icvos("evaluate", "--model", "histogram", "--benchmark", benchmark, "--out", run) == 0
    printed = capsys.readouterr().out
    result = json.loads((run / "result.json").read_text())
    folds = [row["best_IoU"] for row in result["per_fold"].values()]
    assert result["summary"]["best_IoU"] == sum(folds) / len(folds) >= result["summary"]["mIoU"]
    assert "best IoU" in printed and f"{result['summary']['best_IoU']:.2f}" in printed


@pytest.mark.usefixtures("more_metrics")
def test_runs_made_before_a_metric_still_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("run", "run_few_shot"):
        summary = read_result(OLD / name)["summary"]
        assert summary["J_worst"] is None and tuple(sorted(summary)) == tuple(sorted(summary_names()))
        assert Run.open(OLD / name).score > 50
    assert icvos("leaderboard", "show", "--board", OLD / "board", "--benchmark", "tiny") == 0
    assert "worst" not in capsys.readouterr().out  # a column of dashes is left out
    assert icvos("submit", "check", OLD / "submission.zip", "--benchmark", OLD / "benchmark") == 0


@pytest.mark.parametrize("name", [name for name in summary_names() if name not in METRICS or METRICS[name].required])
def test_a_result_without_what_every_version_wrote_is_damaged(tmp_path: Path, name: str) -> None:
    run = shutil.copytree(OLD / "run", tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    del result["summary"][name]
    (run / "result.json").write_text(json.dumps(result))
    with pytest.raises(RunError, match="damaged"):
        read_result(run)


@pytest.mark.parametrize(
    "metric",
    [
        Metric("J", "video", of_frames=worst_frame),
        Metric("episodes", "video", of_frames=worst_frame),
        Metric("mine", "video", of_fold=best_category),
        Metric("mine", "image"),
        Metric("mine", "image", of_fold=best_category, ranked=True),
    ],
)
def test_what_is_not_registered(metric: Metric) -> None:
    before = dict(METRICS)
    with pytest.raises(UsageError):
        register(metric)
    assert before == METRICS


def test_one_metric_of_each_kind_ranks() -> None:
    for kind in ("video", "image"):
        assert [m for m in METRICS.values() if m.kind == kind and m.ranked] == [ranked_metric(kind)]
    assert all(half in METRICS for metric in METRICS.values() for half in metric.halves or ())
    assert list(VideoScore().summary()) == [m.name for m in METRICS.values() if m.of_frames is not None]


def lists_of_metrics(text: str) -> list[int]:
    """Lines of tuples, lists and sets that name three metrics or more: those are copies of the table."""
    rows = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Tuple | ast.List | ast.Set))
    names = ((row, [e.value for e in row.elts if isinstance(e, ast.Constant)]) for row in rows)
    return [row.lineno for row, words in names if sum(word in METRICS for word in words) >= 3]


def test_no_other_module_lists_metrics() -> None:
    assert lists_of_metrics('A = ("J", "F", "J&F")\nB = ("J", "F")') == [1]
    found = {path: lists_of_metrics(path.read_text(encoding="utf-8")) for path in (ROOT / "icvos").rglob("*.py")}
    assert {path.name: lines for path, lines in found.items() if lines} == {}
