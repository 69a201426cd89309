"""Verifying a run: one video again in a fresh process; a method that keeps something between episodes is told apart."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
from run_models import IMAGE, RED, TOGETHER, write_model
from tiny import write_image_benchmark, write_video_benchmark

import icvos
from icvos import cli
from icvos.errors import UsageError
from icvos.evaluation import verify
from icvos.evaluation.crew import Group, ModelSpec
from icvos.evaluation.episode import Job
from icvos.evaluation.runner import evaluate
from icvos.models.registry import create
from icvos.protocols import get_protocol
from icvos.runs.episodes import RunOptions
from icvos.runs.records import RunFolder, read_run

# The level of red that it looks for falls with every episode that it has seen.
ADDS_UP = """
class AddsUp(VideoModel):
    info = ModelInfo(name="adds-up", version="1")
    seen = 0

    def segment(self, supports, video, *, seed):
        self.seen += 1
        for frame in video:
            yield frame[..., 0] > 250 - 20 * self.seen
"""

# What is not to be done in a process of its own.
ELSEWHERE = """
class Elsewhere(VideoModel):
    info = ModelInfo(name="elsewhere", version="1")

    def __init__(self, *, device="cpu", weights=None, where: str = ""):
        super().__init__(device=device, weights=weights)
        self.where = where
        self.refuse("build")

    def refuse(self, where):
        import multiprocessing
        if self.where == where and multiprocessing.parent_process() is not None:
            raise ValueError("not\\nhere")

    def segment(self, supports, video, *, seed):
        self.refuse("segment")
        for _ in video:
            yield np.zeros(video.size, bool)
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_video_benchmark(tmp_path_factory.mktemp("video") / "bench")


@pytest.fixture
def usual(monkeypatch):
    """What is repeated without being asked for, as users have it."""
    monkeypatch.setattr(verify, "DEFAULT_SECONDS", 60.0)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_leaks_between_episodes_is_said_in_one_line(bench, tmp_path, usual, workers):
    model, lines = write_model(tmp_path, ADDS_UP), []
    result = evaluate(model, bench, out=tmp_path / "r", workers=workers, notify=lines.append)
    run = read_run(tmp_path / "r")
    assert (run["verified"]["video"], run["verified"]["episodes"], run["verified"]["same"]) == ("tiny__v2", 2, False)
    largest = run["verified"]["largest_difference"]
    assert 0 < largest <= 100 and run["status"] == "complete" and "verified" not in result
    (line,) = lines
    assert "tiny__v2 run again in a fresh process gives other masks" in line and f"up to {largest:.2f} points" in line
    assert f"icvos models check {model}" in line


def test_what_leaks_within_the_only_video_shows_in_another_order(tmp_path, usual):
    alone = write_video_benchmark(tmp_path / "b", videos=1)
    evaluate(write_model(tmp_path, ADDS_UP), alone, out=tmp_path / "r")
    assert read_run(tmp_path / "r")["verified"]["same"] is False


@pytest.mark.parametrize("source", [RED, TOGETHER], ids=["one by one", "together"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_clean_method_gives_the_same_to_the_bit(bench, tmp_path, usual, source, workers):
    lines: list[str] = []
    evaluate(write_model(tmp_path, source), bench, out=tmp_path / "r", workers=workers, notify=lines.append)
    expected = {"video": "tiny__v2", "episodes": 2, "same": True, "largest_difference": 0.0}
    assert read_run(tmp_path / "r")["verified"] == expected and lines == []


def status(words: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    return int(left.value.code or 0)


def test_neither_the_exit_status_nor_a_record_hangs_on_it(bench, tmp_path, usual, capsys):
    model, out = write_model(tmp_path, ADDS_UP), tmp_path / "r"
    words = ["evaluate", "--model", model, "--benchmark", str(bench), "--out", str(out)]
    assert status([*words, "--no-verify"]) == 0
    files = [out / "result.json", out / "episodes.jsonl"]
    before = [path.read_bytes() for path in files]
    assert "verified" not in read_run(out) and "fresh process" not in capsys.readouterr().err
    assert status([*words, "--verify"]) == 0
    assert read_run(out)["verified"]["same"] is False and "fresh process" in capsys.readouterr().err
    assert status(words) == 0 and read_run(out)["verified"]["same"] is False
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize(
    "given",
    [
        {"limit_episodes": 3},
        {"limit_frames": 3},
        {"shard": (1, 2)},
        {"oracle": "first-frame"},
        {"episodes": ["tiny__v2__1__d0"]},
        {"verify": False},
    ],
    ids=lambda given: next(iter(given)),
)
def test_parts_of_a_run_are_verified_where_it_is_asked_for_alone(bench, tmp_path, usual, given):
    model = write_model(tmp_path, RED)
    evaluate(model, bench, out=tmp_path / "r", **given)
    assert "verified" not in read_run(tmp_path / "r")
    evaluate(model, bench, out=tmp_path / "r", **{**given, "verify": True})
    assert read_run(tmp_path / "r")["verified"]["same"] is True


def test_a_large_video_is_repeated_where_it_is_asked_for_alone(bench, tmp_path):
    lines: list[str] = []
    evaluate(write_model(tmp_path, RED), bench, out=tmp_path / "r")  # the tests' own limit is 0 seconds
    assert "verified" not in read_run(tmp_path / "r")
    evaluate(write_model(tmp_path, RED), bench, out=tmp_path / "r", verify=True, notify=lines.append)
    assert read_run(tmp_path / "r")["verified"]["same"] is True and lines[0].startswith("verified: tiny__v2")


def test_what_cannot_be_built_anew_is_not_verified(bench, tmp_path, usual):
    model = create(write_model(tmp_path, RED))
    evaluate(model, bench, out=tmp_path / "r")
    assert "verified" not in read_run(tmp_path / "r")
    with pytest.raises(UsageError, match="needs a model by name"):
        evaluate(model, bench, out=tmp_path / "r", verify=True)
    images = write_image_benchmark(tmp_path / "images")
    spec = write_model(tmp_path, IMAGE, "image.py")
    evaluate(spec, images, out=tmp_path / "i")
    assert "verified" not in read_run(tmp_path / "i")
    with pytest.raises(UsageError, match="image benchmark"):
        evaluate(spec, images, out=tmp_path / "i", verify=True)


def test_a_process_that_cannot_start_another_evaluates_as_ever(bench, tmp_path, usual, monkeypatch):
    monkeypatch.setattr(multiprocessing.process._current_process, "_config", {"daemon": True})
    model = write_model(tmp_path, RED)
    evaluate(model, bench, out=tmp_path / "r")
    assert read_run(tmp_path / "r")["status"] == "complete" and "verified" not in read_run(tmp_path / "r")
    with pytest.raises(UsageError, match="a daemon process can start no worker processes"):
        evaluate(model, bench, out=tmp_path / "r", verify=True)


@pytest.mark.parametrize("where", ["build", "segment"])
def test_what_fails_in_a_fresh_process_leaves_the_run_as_it_is(bench, tmp_path, usual, where):
    lines: list[str] = []
    model = write_model(tmp_path, ELSEWHERE)
    result = evaluate(model, bench, out=tmp_path / "r", options={"where": where}, notify=lines.append)
    run = read_run(tmp_path / "r")
    assert result["summary"]["failed"] == 0 and run["status"] == "complete"
    (line,) = lines
    assert "not here" in line and "\n" not in line
    if where == "build":
        assert "verified" not in run and line.startswith("not verified")
    else:
        outcome = {"video": "tiny__v2", "episodes": 2, "same": False, "largest_difference": None}
        assert run["verified"] == outcome and "models check" in line


@pytest.mark.parametrize(("device", "same"), [("cpu", False), ("cuda", True)])
def test_a_gpu_may_differ_by_a_tenth_of_a_point(bench, tmp_path, device, same):
    model, out = write_model(tmp_path, RED), tmp_path / "r"
    evaluate(model, bench, out=out)
    opened = icvos.load_benchmark(bench)
    group = [episode for episode in opened.episodes if episode.video == "tiny__v1"]
    path = out / "frames" / f"{group[0].id}.npz"
    with np.load(path) as stored:
        values = {name: stored[name] for name in ("J", "F")}
    values["F"][2] += 0.0005
    np.savez(path, **values)
    job = Job(get_protocol("native", "video"), RunOptions())
    outcome = verify.verify_run(
        ModelSpec(model, device, {}, {}, False),
        bench,
        job,
        [Group(group, frozenset(episode.id for episode in group))],
        RunFolder(out, {}),
        together=False,
        asked=True,
    )
    assert outcome is not None and outcome["same"] is same
    assert outcome["largest_difference"] == pytest.approx(0.05)
