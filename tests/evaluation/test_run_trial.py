"""A run's dry run: what it counts is what the run then does, what it says beforehand, and that it writes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from board_runs import icvos
from run_models import IMAGE, RED, TOGETHER, write_model
from tiny import write_image_benchmark, write_video_benchmark

from icvos.errors import ModelError, RunError, UsageError
from icvos.evaluation import trial as trials
from icvos.evaluation.runner import evaluate
from icvos.evaluation.trial import Pace, RunTrial, fit_pace, try_run
from icvos.models.registry import resolve
from icvos.progress import Update
from icvos.runs.episodes import RunOptions


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    return write_video_benchmark(tmp_path / "bench")


def everything(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of all that lies in a folder."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))}


def sizes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_episodes_and_frames_take_is_told_apart() -> None:
    def passes(episodes: int, short: int, long: int) -> tuple[trials.Pass, trials.Pass]:
        both = [(episodes, frames, episodes * (3.0 + 0.5 * frames)) for frames in (short, long)]
        return both[0], both[1]

    pace = fit_pace([passes(5, 2, 10), passes(10, 2, 25), passes(1, 2, 7)])
    assert pace.episode == pytest.approx(3.0) and pace.frame == pytest.approx(0.5)
    assert pace.total(4, 100) == pytest.approx(62)
    # A video of two frames does not tell them apart; nor do passes whose short one took longer, by chance.
    assert fit_pace([((1, 2, 5.0), (1, 2, 4.0))]) == Pace(0.0, 2.0)
    assert fit_pace([((1, 2, 9.0), (1, 4, 8.0))]) == Pace(0.0, 2.0)
    # Nothing is ever less than free.
    assert fit_pace([((1, 2, 0.0), (1, 4, 8.0))]) == Pace(0.0, 2.0)


@pytest.mark.parametrize("source", [RED, TOGETHER], ids=["one by one", "together"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"save_masks": True}, {"limit_frames": 4}, {"shard": (1, 2)}, {"workers": 2}, {"oracle": "first-frame"}],
    ids=lambda settings: next(iter(settings), "plain"),
)
def test_what_is_counted_is_what_the_run_does(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, settings: dict
) -> None:
    # So long that every frame is looked at, however slow the machine is.
    monkeypatch.setattr(trials, "ENOUGH", 1e6)
    model, out = write_model(tmp_path, source), tmp_path / "runs/r"
    before = everything(tmp_path)
    trial = try_run(model, bench, RunOptions(**settings), out=out)
    assert {path: value for path, value in everything(tmp_path).items() if "__pycache__" not in path} == before
    updates: list[Update] = []
    result = evaluate(model, bench, out=out, verify=False, progress=updates.append, **settings)
    assert trial.folder == result.folder and trial.state == "a new run"
    assert trial.episodes == trial.left == result["summary"]["episodes"] and trial.done == 0
    # The progress counts what is run once more for its speed, too.
    alone = trial.frames // trial.episodes if source == TOGETHER and "oracle" not in settings else 0
    assert trial.frames == updates[0].total - alone
    assert trial.value_bytes == sizes(out / "frames")
    assert trial.mask_bytes == (sizes(out / "masks") if settings.get("save_masks") else 0)
    # Times are of more or fewer digits, and that of one alone has a line of its own.
    assert trial.record_bytes == pytest.approx((out / "episodes.jsonl").stat().st_size, rel=0.3)
    assert trial.pace is not None and trial.seconds > 0 and 1 <= trial.parallel <= settings.get("workers", 1)


def test_a_run_that_is_there_is_looked_at_and_left_alone(bench: Path, tmp_path: Path) -> None:
    model, out = write_model(tmp_path, RED), tmp_path / "r"
    evaluate(model, bench, out=out)
    path = out / "episodes.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    before = everything(out)
    trial = try_run(model, bench, RunOptions(), out=out)
    assert (trial.episodes, trial.done, trial.left, trial.frames) == (8, 3, 5, 30)
    assert trial.state == "the run would go on there: 3 of 8 episodes are done"
    path.write_bytes(whole)
    done = try_run(model, bench, RunOptions(), out=out)
    assert done.state == "the run is there, complete" and done.pace is None
    assert (done.left, done.frames, done.disk) == (0, 0, 0) and [row.what for row in done.costs()][-1] == "episodes"
    edited = write_model(tmp_path, RED + "\n# edited\n")
    assert "would be set aside" in try_run(edited, bench, RunOptions(), out=out).state
    with pytest.raises(RunError, match="another run is there"):
        try_run(edited, bench, RunOptions(seed=1), out=out)
    path.write_bytes(whole)
    assert set(everything(out)) == set(before)
    # Half a file of a killed run is nothing to go on with, and stays where it is.
    half = tmp_path / "half/.run.json.x.tmp"
    half.parent.mkdir()
    half.write_text("{")
    assert try_run(model, bench, RunOptions(), out=half.parent).state == "a new run" and half.exists()
    half.with_name("photo.jpg").write_text("x")
    with pytest.raises(RunError, match="no run here"):
        try_run(model, bench, RunOptions(), out=half.parent)


def test_a_pass_for_several_episodes_is_made_for_all_of_them_again(bench: Path, tmp_path: Path) -> None:
    model, out = write_model(tmp_path, TOGETHER), tmp_path / "r"
    evaluate(model, bench, out=out)
    path = out / "episodes.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    # One of the first video's four is missing, and the line of its speed.
    path.write_bytes(b"".join(line for line in lines if b'"tiny__v0__1__d0"' not in line))
    trial = try_run(model, bench, RunOptions(), out=out)
    assert (trial.done, trial.left, trial.frames) == (7, 4, 24)


def test_what_stops_a_run_stops_its_dry_run(bench: Path, tmp_path: Path) -> None:
    red = write_model(tmp_path, RED)
    head = "def segment(self, supports, video, *, seed):\n"
    broken = write_model(tmp_path, RED.replace(head, f"{head}        raise ValueError('half-way')\n"), "broken.py")
    for settings, more, says in (
        ({"protocol": "papr"}, {}, "did you mean 'paper'"),
        ({"shots": 9}, {}, "9"),
        ({}, {"options": {"noize": 1}}, "did you mean 'noise'"),
        ({}, {"weights": {"w": "x"}}, "takes no weights"),
    ):
        with pytest.raises(UsageError, match=says):
            try_run(red, bench, RunOptions(**settings), out=tmp_path / "r", **more)
    with pytest.raises(UsageError, match="need a model by name"):
        try_run(resolve(red), bench, RunOptions(workers=2), out=tmp_path / "r")
    with pytest.raises(ModelError, match=r"tiny__v\d__\d__d\d fails: .*half-way"):
        try_run(broken, bench, RunOptions(), out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_shard_without_a_video_costs_nothing(bench: Path, tmp_path: Path) -> None:
    settings = RunOptions(limit_episodes=1, shard=(2, 2))
    trial = try_run(write_model(tmp_path, RED), bench, settings, out=tmp_path / "r")
    assert (trial.episodes, trial.left, trial.pace) == (0, 0, None)


def test_image_episodes_are_timed_each(tmp_path: Path) -> None:
    bench = write_image_benchmark(tmp_path / "b")
    model = write_model(tmp_path, IMAGE)
    trial = try_run(model, bench, RunOptions(save_masks=True), out=tmp_path / "r")
    result = evaluate(model, bench, out=tmp_path / "r", save_masks=True)
    assert trial.left == trial.episodes == result["summary"]["episodes"] and trial.what == "episodes"
    assert trial.mask_bytes == sizes(tmp_path / "r/masks") and trial.value_bytes == 0
    assert trial.pace is not None and trial.pace.frame == 0
    assert trial.seconds == pytest.approx(trial.left * trial.pace.episode + trial.starting)


TRIAL = RunTrial(
    folder=Path("runs/b/m"),
    state="a new run",
    episodes=1000,
    done=0,
    left=1000,
    frames=80_000,
    what="frames",
    starting=10.0,
    pace=Pace(2.0, 0.1),
    timed="timed on 75 frames",
    workers=1,
    parallel=1,
    busy=1.0,
    memory=2 * 2**30,
    gpu_memory=3 * 2**30,
    sharing=1,
    record_bytes=1_000_000,
    value_bytes=2_000_000,
    mask_bytes=0,
    device="NVIDIA H100",
)


def test_what_was_multiplied_by_what_is_said() -> None:
    rows = {row.what: row for row in TRIAL.costs()}
    assert rows["time"].amount == "2 h 47 min"
    assert rows["time"].how == "1,000 episodes × 2 s + 80,000 frames × 0.1 s, and 10 s to build the model"
    assert rows["a frame"].how == "timed on 75 frames, on NVIDIA H100"
    assert rows["memory"].amount == "2.00 GiB" and rows["GPU memory"].amount == "3.00 GiB"
    assert rows["disk"].amount == "3 MB" and "enough" in rows["disk"].how
    several = replace(TRIAL, workers=8, parallel=2, sharing=4, value_bytes=10**18)
    rows = {row.what: row for row in several.costs()}
    assert several.seconds == 10_000 / 2 + 20 and "(8 workers, each on 1.0 cores)" in rows["time"].how
    assert rows["memory"].amount == "18.00 GiB" and rows["memory"].how.startswith("2.00 GiB × 9 processes")
    assert rows["GPU memory"].amount == "12.00 GiB" and "4 processes share a GPU" in rows["GPU memory"].how
    assert "the first GPU holds this process' weights beside that" in rows["GPU memory"].how
    assert "NOT ENOUGH" in rows["disk"].how


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_on_one_gpu_are_counted_as_one(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    # Nothing of this model is on a GPU; the run is told that it is, and that there is one.
    for name, value in (("device_count", 1), ("synchronize", None), ("reset_peak_memory_stats", None)):
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *_, value=value: value)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: 5)
    model = write_model(tmp_path, RED)
    trial = try_run(model, bench, RunOptions(workers=workers), out=tmp_path / "r", device="cuda")
    assert (trial.parallel, trial.sharing, trial.gpu_memory) == (1, workers, 5)


def test_the_command_prints_a_table_and_writes_nothing(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ("evaluate", "--model", "histogram", "--model", "full", "--benchmark", bench, "--dry-run")
    assert icvos(*common) == 0
    out = capsys.readouterr().out
    assert "histogram on" in out and "full on" in out and "runs/tiny/full: a new run" in out
    for what in ("folder", "episodes", "frames", "a frame", "time", "memory", "disk"):
        assert sum(line.split("  ")[0].strip() == what for line in out.splitlines()) == 2, what
    assert not (tmp_path / "runs").exists()
    assert icvos(*common, "--protocol", "papr") == 2 and "did you mean" in capsys.readouterr().err
