"""Categories of a few-shot fold that no episode drew: what is printed and stored, and records of 0.1.0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from board_runs import icvos, run
from run_models import IMAGE, write_model
from tiny import write_image_benchmark

from icvos.files import read_json, write_json
from icvos.leaderboard.ranks import samples_of
from icvos.leaderboard.record import read_record, write_record
from icvos.leaderboard.table import build_tables
from icvos.protocols import PROTOCOLS
from icvos.report.compare import compare
from icvos.report.report import write_report
from icvos.report.run import open_run
from icvos.runs.records import read_result
from icvos.runs.run import Run
from icvos.runs.undrawn import complete_means, undrawn_of

NEW = ("mIoU_drawn", "mIoU_undrawn_as_0")
PROTOCOL_NAMES = ("fss-native", "fss-paper")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of both protocols on a benchmark whose fold 0 has two categories, one of them drawn; fold 1 has one."""
    root = tmp_path_factory.mktemp("undrawn")
    bench, model = write_image_benchmark(root / "bench"), write_model(root, IMAGE)
    return {name: run(bench, root / name, str(model), "--protocol", name) for name in PROTOCOL_NAMES}


def as_0_1_0(result: dict[str, Any]) -> dict[str, Any]:
    """A result as 0.1.0 wrote it: one mIoU, over drawn categories."""
    rows = {fold: {**row, "mIoU": row["mIoU_drawn"]} for fold, row in result["per_fold"].items()}
    folds = {fold: {name: row[name] for name in row if name not in NEW} for fold, row in rows.items()}
    summary = {name: value for name, value in result["summary"].items() if name not in NEW}
    return {**result, "summary": {**summary, "mIoU": result["summary"]["mIoU_drawn"]}, "per_fold": folds}


@pytest.mark.parametrize("protocol", PROTOCOL_NAMES)
def test_both_means_of_a_run(runs: dict[str, Path], protocol: str) -> None:
    result = read_json(runs[protocol] / "result.json")
    summary, folds = result["summary"], result["per_fold"]
    # Fold 0 has one category of two, fold 1 its only one.
    assert folds["0"]["mIoU_undrawn_as_0"] == folds["0"]["mIoU_drawn"] / 2
    assert folds["1"]["mIoU_undrawn_as_0"] == folds["1"]["mIoU_drawn"]
    headline = NEW[PROTOCOLS[protocol].undrawn_as_zero]
    for row in (summary, *folds.values()):
        assert row["mIoU"] == row[headline]
    for name in NEW:
        assert summary[name] == (folds["0"][name] + folds["1"][name]) / 2
    undrawn = undrawn_of(result)
    assert undrawn is not None and undrawn.by_fold == {0: 1, 1: 0} and undrawn.drawn == 2
    assert undrawn.beside == NEW[not PROTOCOLS[protocol].undrawn_as_zero]


@pytest.mark.parametrize(("protocol", "rule"), zip(PROTOCOL_NAMES, ("leaves out", "counts as 0"), strict=True))
def test_what_is_printed(
    runs: dict[str, Path], protocol: str, rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = read_json(runs[protocol] / "result.json")["summary"]
    figures = f"{summary[NEW[1]]:.2f} with undrawn ones as 0, {summary[NEW[0]]:.2f} over drawn ones"
    line = f"mIoU {rule} the 1 of 3 categories that no episode drew"
    bench, model = runs[protocol].parent / "bench", runs[protocol].parent / "my_method.py"
    again = ("evaluate", "--model", model, "--benchmark", bench, "--protocol", protocol)
    assert icvos(*again, "--out", runs[protocol]) == 0
    assert f"{line}: {figures}\n" in capsys.readouterr().out
    # The first four episodes are of fold 0 alone, and such a run says so.
    assert icvos(*again, "--out", tmp_path / "r", "--limit-episodes", 4) == 0
    text = capsys.readouterr().out
    assert f"mIoU {rule} the 1 of 2 categories that no episode drew" in text
    assert "the run is limited to 4 episodes and never ranked" in text
    # A board's table has the other mean as a column, and the rule as a note.
    entry = Run.open(runs[protocol])
    (table,) = build_tables([entry], published=False)
    column = [c.head for c in table.columns].index("mIoU drawn" if rule == "counts as 0" else "mIoU undrawn=0")
    assert table.rows[0][column] == summary[NEW[rule == "leaves out"]] != summary["mIoU"]
    assert line in table.notes
    report = write_report(open_run(runs[protocol]), tmp_path / "report")
    page = (report.root / "index.html").read_text()
    assert f"{line}: {figures}" in page and f"<dd>{summary[NEW[rule == 'leaves out']]:.2f}" in page


def test_all_drawn_is_said(runs: dict[str, Path]) -> None:
    result = read_json(runs["fss-paper"] / "result.json")
    one = result["per_fold"]["1"]
    result["per_fold"] = {"1": one}
    result["per_category"] = {name: row for name, row in result["per_category"].items() if row["fold"] == 1}
    result["summary"] |= {name: one[name] for name in ("mIoU", *NEW)}
    undrawn = undrawn_of(result)
    assert undrawn is not None
    assert undrawn.text == f"mIoU {one['mIoU']:.2f} by both rules: all 1 categories were drawn"


@pytest.mark.parametrize("protocol", PROTOCOL_NAMES)
def test_replicates_and_comparison_follow_the_protocol(runs: dict[str, Path], protocol: str) -> None:
    entry = Run.open(runs[protocol])
    assert samples_of(entry, replicates=10).value == pytest.approx(entry.score)
    opened = open_run(runs[protocol])
    # Against a run that found nothing the difference is the headline.
    nothing = tuple({**record, "inter_fg": 0} for record in opened.records)
    other = replace(opened, records=nothing)
    found = compare(opened, other, replicates=10)
    assert found.difference == pytest.approx(entry.score)
    assert {name for name, *_ in found.metrics} == {"mIoU", "FB_IoU", "mean_IoU", undrawn_key(opened.result)}


def undrawn_key(result: Any) -> str:
    undrawn = undrawn_of(result)
    assert undrawn is not None
    return undrawn.beside


@pytest.mark.parametrize("protocol", PROTOCOL_NAMES)
def test_files_of_0_1_0_open_with_both_means(runs: dict[str, Path], protocol: str, tmp_path: Path) -> None:
    now = read_result(runs[protocol])
    old = as_0_1_0(now)
    assert not set(NEW) & {*old["summary"], *old["per_fold"]["0"]}
    write_json(tmp_path / "result.json", old)
    again = read_result(tmp_path)
    assert again == complete_means(again) == now
    # A record on a board: its result still has to follow from its episodes.
    entry = Run.open(runs[protocol])
    written = type(entry)(entry.run, old, entry.records, "self-reported", entry.where)
    path = write_record(tmp_path / "board", written, "self-reported")
    assert not set(NEW) & set(read_json(path)["result"]["summary"])
    assert read_record(path).summary == now["summary"]


def test_old_results_of_videos_and_damaged_folds_have_no_means() -> None:
    video = {"summary": {"mIoU": None, "J": 1.0}, "protocol": {"name": "native"}, "per_category": {}}
    assert complete_means(video)["summary"] == {"mIoU": None, "J": 1.0, NEW[0]: None, NEW[1]: None}
    assert undrawn_of(complete_means(video)) is None
    rows: list[Any] = [{}, [], {"0": None}, {"0": {"undrawn": 3}}, {"00": {"undrawn": []}}, {"0": {"undrawn": []}}]
    for folds in rows:
        image = {
            "summary": {"mIoU": 50.0},
            "protocol": {"name": "fss-paper"},
            "per_fold": folds,
            "per_category": {"cat": {"mIoU": 50.0, "fold": 0}},
        }
        assert complete_means(image)["summary"] == {"mIoU": 50.0, NEW[0]: None, NEW[1]: None}, folds


@pytest.mark.parametrize("name", ["mIoU", *NEW])
def test_a_mean_that_does_not_follow_is_refused(runs: dict[str, Path], name: str, tmp_path: Path) -> None:
    from icvos.errors import RunError

    entry = Run.open(runs["fss-paper"])
    path = write_record(tmp_path, entry, "self-reported")
    record = read_json(path)
    record["result"]["summary"][name] += 1
    write_json(path, record)
    with pytest.raises(RunError, match=f"for summary, {name}, and its episodes give"):
        read_record(path)
