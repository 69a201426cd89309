"""Runs on the benchmark from SA-Co/VEval: what masks score, and that boards hold it to what was asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import raw_trees as raw
from board_runs import icvos
from tiny import write_video_benchmark

from icvos import load_benchmark
from icvos.benchmark import Benchmark
from icvos.builders.saco_ic.build import build_saco, prepare_saco
from icvos.builders.saco_ic.plan import SacoRules
from icvos.errors import UsageError
from icvos.evaluation.runner import evaluate
from icvos.evaluation.score import score
from icvos.leaderboard.consistency import check_against, recompute
from icvos.masks import read_mask, write_mask
from icvos.runs.episodes import get_run_protocol
from icvos.runs.run import Run
from icvos.sources.saco import SacoVeval

NEGATIVE = "saco_sg__clip_0__1__d0"
POSITIVE = "saco_sg__clip_0__2__d0"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    root = tmp_path_factory.mktemp("saco")
    source = SacoVeval(raw.saco(root / "raw"), domain="smartglasses", split="test")
    build_saco(prepare_saco(source, rules=SacoRules(draws=1, shots=1)), root / "b", name="mine")
    return load_benchmark(root / "b")


@pytest.fixture
def masks(bench: Benchmark, tmp_path: Path) -> Path:
    """The ground truth as predictions."""
    for episode in bench.episodes:
        folder = bench.root / "videos" / episode.video / "Annotations" / str(episode.category)
        shutil.copytree(folder, tmp_path / "masks" / episode.id)
    return tmp_path / "masks"


def spoil(masks: Path, episode: str, frame: int, *, value: int) -> None:
    """Put one pixel into a mask, or take all out."""
    path = masks / episode / f"{frame:05d}.png"
    labels = read_mask(path)
    if value:
        labels[0, 0] = 1
    else:
        labels[:] = 0
    write_mask(path, labels)


def scored(masks: Path, bench: Benchmark) -> Run:
    return Run.open(score(masks, benchmark=bench, out=masks.parent / "run").folder)


def test_the_ground_truth_scores_100(masks: Path, bench: Benchmark) -> None:
    run = scored(masks, bench)
    assert run.protocol == "saco-ic", "the benchmark's own protocol is the usual one"
    names = ("icF1", "presence_MCC", "presence_FPR", "presence_FNR", "absent_correct_negative", "J_visible")
    assert [run.summary[name] for name in names] == [100.0, 100.0, 0.0, 0.0, 100.0, 100.0]
    assert run.score == 100.0 and run.summary["found"] == pytest.approx(100 * 5 / 8)
    assert {record["positive"] for record in run.records} == {True, False}


def test_a_pixel_on_one_frame_says_that_the_thing_is_there(masks: Path, bench: Benchmark) -> None:
    spoil(masks, NEGATIVE, 2, value=1)
    run = scored(masks, bench)
    assert run.summary["presence_FPR"] == pytest.approx(100 / 3)
    assert run.summary["absent_correct_negative"] == pytest.approx((100 + 100 + 75) / 3)
    assert run.summary["presence_MCC"] == pytest.approx(100 * 10 / 180**0.5)
    assert run.summary["icF1"] == run.summary["presence_MCC"]
    assert run.by_id[NEGATIVE]["found"] == 100.0 and run.by_id[NEGATIVE]["absent_correct"] == 75.0


def test_nothing_on_all_frames_says_that_it_is_not(masks: Path, bench: Benchmark) -> None:
    for frame in range(raw.SACO_FRAMES):
        spoil(masks, POSITIVE, frame, value=0)
    run = scored(masks, bench)
    assert (run.summary["presence_FNR"], run.summary["J_visible"]) == (pytest.approx(20.0), pytest.approx(80.0))
    assert run.summary["icF1"] == pytest.approx(0.8 * run.summary["presence_MCC"])
    # Frames on which it is hidden are right, and are not in the score.
    assert run.by_id[POSITIVE]["J"] == 25.0 and run.by_id[POSITIVE]["J_visible"] == 0.0


def test_a_run_and_its_masks_score_the_same_and_stand_on_a_board(
    bench: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "histogram"
    evaluate("histogram", bench.root, out=run, save_masks=True, verify=False)
    opened = Run.open(run)
    again = score(run / "masks", benchmark=bench, out=tmp_path / "again")
    assert dict(opened.summary) == again["summary"]
    assert recompute(opened) == [] and check_against(opened, bench) == []
    assert icvos("leaderboard", "add", run, "--board", tmp_path / "board", "--benchmark", bench.root) == 0
    capsys.readouterr()
    assert icvos("leaderboard", "verify", tmp_path / "board") == 0
    assert icvos("leaderboard", "show", "--runs", run.parent, "--board", tmp_path / "board") == 0
    shown = capsys.readouterr().out
    # It finds something in every video: a correlation of one answer alone is none, and its column is left out.
    assert opened.summary["presence_MCC"] is None and "MCC" not in shown
    assert "mine 1." in shown and "protocol saco-ic" in shown and "icF1" in shown and "FPR" in shown
    assert f"{opened.summary['presence_FPR']:.2f}" in shown


def test_an_answer_that_was_turned_is_refused(bench: Benchmark, tmp_path: Path) -> None:
    run = tmp_path / "run"
    evaluate("histogram", bench.root, out=run, verify=False)
    lines = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    for line in lines:
        line["positive"] = True
    (run / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    forged = Run.open(run)
    assert "positive" in check_against(forged, bench)[0]
    assert recompute(forged)


def test_the_protocol_needs_what_was_asked(bench: Benchmark, tmp_path: Path) -> None:
    other = load_benchmark(write_video_benchmark(tmp_path / "other"))
    with pytest.raises(UsageError, match=r"protocol 'saco-ic' does not fit this benchmark.*build-data saco-ic"):
        get_run_protocol(other, "saco-ic")
    assert get_run_protocol(bench, "").name == "saco-ic" and get_run_protocol(bench, "native").name == "native"
    assert get_run_protocol(other, "").name == "native"
