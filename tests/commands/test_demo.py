"""icvos demo: methods side by side in processes, what each writes in the order of the table, and no process left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from run_models import RED, write_model
from tiny import write_video_benchmark

from icvos import cli
from icvos.commands import demo
from icvos.demo.benchmarks import DEMO_NAMES
from icvos.files import read_json

RAISES = """
class Raises(VideoModel):
    info = ModelInfo(name="raises", version="1")

    def segment(self, supports, video, *, seed):
        raise ValueError("no idea")
"""

DIES = """
class Dies(VideoModel):
    info = ModelInfo(name="dies", version="1")

    def segment(self, supports, video, *, seed):
        os._exit(9)
"""


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    return int(stop.value.code or 0)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, where ``demo`` is a tiny benchmark; nothing is built and no other method listed."""
    write_video_benchmark(tmp_path / "demo", videos=2)
    monkeypatch.chdir(tmp_path)
    steps = demo._run
    monkeypatch.setattr(demo, "_run", lambda words: 0 if words[0] == "build-data" else steps(words))
    monkeypatch.setattr(demo, "_show_others", lambda run: None)
    return tmp_path


@pytest.mark.parametrize("workers", ["1", "2"])
def test_methods_side_by_side_are_shown_in_order(
    small: Path, workers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One fails in every episode, one takes its process along: the others go on, and the demo's status is 1."""
    models = [write_model(small, text, name) for text, name in ((RAISES, "r.py"), (DIES, "d.py"), (RED, "m.py"))]
    specs = ["empty", f"{models[0]}:Raises", f"{models[1]}:Dies", f"{models[2]}:Red", "full"]
    monkeypatch.setattr(demo, "MODELS", specs)
    monkeypatch.setattr(demo, "SLOWEST", ("full", specs[3]))
    assert run("demo", "--workers", workers) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    commands = [line for line in lines if line.startswith("$ icvos evaluate")]
    assert commands == [f"$ icvos evaluate --model {spec}" for spec in specs]
    # What a method wrote stands below its command line.
    runs = [line for line in lines if line.startswith(("$ icvos evaluate", "run: "))]
    names = ("empty", "raises", None, "red", "full")
    wanted = [[command, f"run: runs/tiny/{name}"] if name else [command] for command, name in zip(commands, names)]
    assert runs == [line for some in wanted for line in some]
    assert "ValueError: no idea" in err
    assert f"icvos: {specs[2]} gave no result: its process ended with status 9" in err
    assert lines.index("$ icvos leaderboard show --benchmark demo") > lines.index(runs[-1])
    assert "7 commands in" in lines[-1]
    # What is to be known of their speeds.
    environment = read_json(small / "runs/tiny/red/run.json")["environment"]
    assert environment.get("neighbours") == (1 if workers == "2" else None)
    assert run("leaderboard", "show") == 0
    note = "fps of all rows: on one thread, while other methods ran on the other cores"
    assert (note in " ".join(capsys.readouterr().out.split())) is (workers == "2")


@pytest.mark.slow
def test_figures_do_not_hang_on_the_number_of_workers(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum of floats that threads share comes out otherwise on another number of them."""
    source = """
class Sums(VideoModel):
    info = ModelInfo(name="sums", version="1")

    def segment(self, supports, video, *, seed):
        import torch
        self.threads = torch.get_num_threads()
        for frame in video:
            yield np.full(video.size, self.threads == 1)
"""
    monkeypatch.setattr(demo, "MODELS", [f"{write_model(small, source, 's.py')}:Sums"])
    for workers in ("1", "2"):
        assert run("demo", "--workers", workers) == 0
        frames = small / "runs/tiny/sums/frames"
        masks = [np.load(path)["J"] for path in sorted(frames.iterdir())]
        assert masks and all((values[values == values] > 0).any() for values in masks)
        (small / "runs/tiny/sums").rename(small / f"sums-{workers}")


def test_all_adds_what_is_ready_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated: list[list[str]] = []
    monkeypatch.setattr(demo, "_run", lambda words: 0)
    monkeypatch.setattr(demo, "_show_others", lambda run: None)
    monkeypatch.setattr(demo, "_evaluate", lambda runs, workers: evaluated.append(runs) or [0])
    others = [("mine", "ready", ""), ("heavy", "needs weights", ""), ("tracker", "ready", "")]
    monkeypatch.setattr(demo, "_others", lambda run: others)
    assert run("demo") == run("demo", "--all") == 0
    usual, every = ([run for run in runs if "--benchmark" not in run] for runs in evaluated)
    assert usual == evaluated[0] and {model for _, model in usual} <= set(demo.MODELS)
    more = every[len(usual) : -2]
    assert every == [*usual, *more, ("--model", "mine"), ("--model", "tracker")]
    assert more and {model for _, model in more} <= set(demo.MORE)


def test_all_builds_and_shows_the_other_benchmarks(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tiny one stands for each of two: what is meant for it runs, and it has its table."""
    built: list[list[str]] = []
    steps = demo._run
    monkeypatch.setattr(demo, "_run", lambda words: built.append(words) or 0 if "--all" in words else steps(words))
    monkeypatch.setattr(demo, "_others", lambda run: [])
    monkeypatch.setattr(demo, "MODELS", ("empty",))
    monkeypatch.setattr(demo, "MORE", ())
    assert set(demo.OTHERS) == set(DEMO_NAMES[1:])
    methods = {"empty": (), "full": ("--limit-episodes", "1")}
    monkeypatch.setattr(demo, "OTHERS", {"demo/coco-20i": methods, "demo/fss-1000": {"empty": ()}})
    for name in demo.OTHERS:
        write_video_benchmark(small / name, videos=1, frames=2, name=name.replace("/", "-"))
    assert run("demo", "--all", "--workers", "1") == 0
    out = capsys.readouterr().out
    commands = dict(part.split("\n", 1) for part in out.split("\n$ icvos ")[1:])
    assert built == [["build-data", "demo", "--all"]]
    assert list(commands) == [
        "evaluate --model empty",
        "evaluate --model empty --benchmark demo/coco-20i",
        "evaluate --model full --benchmark demo/coco-20i --limit-episodes 1",
        "evaluate --model empty --benchmark demo/fss-1000",
        "leaderboard show --benchmark demo",
        "leaderboard show --benchmark demo/coco-20i",
        "leaderboard show --benchmark demo/fss-1000",
    ]
    table = commands["leaderboard show --benchmark demo/coco-20i"]
    assert table.startswith("demo-coco-20i ") and {"empty", "full", "limited"} <= set(table.split())
    assert commands["leaderboard show --benchmark demo/fss-1000"].startswith("demo-fss-1000 ")
    assert "8 commands in" in out.splitlines()[-1]
    # By its name, too, where no folder is called so.
    shutil.rmtree(small / "demo")
    assert run("leaderboard", "show", "--benchmark", "demo/fss-1000") == 0
    assert capsys.readouterr().out.startswith("demo-fss-1000 ")


def test_ctrl_c_ends_all_processes_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_video_benchmark(tmp_path / "demo", videos=2, frames=8)
    models = [f"{write_model(tmp_path, RED.replace('Red', name), f'{name}.py')}:{name}" for name in ("One", "Two")]
    for path in tmp_path.glob("*.py"):
        path.write_text(path.read_text().replace('"red"', f'"{path.stem}"').replace("nap: float = 0.0", "nap=0.25"))
    script = tmp_path / "script.py"
    script.write_text(
        "from icvos import cli\nfrom icvos.commands import demo\n"
        "demo._run = lambda words: 0\ndemo._show_others = lambda run: None\n"
        f"demo.MODELS = {models}\nif __name__ == '__main__':\n    cli.main(['demo', '--workers', '2'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, script],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        folders = [tmp_path / "runs/tiny" / name for name in ("One", "Two")]
        deadline = time.monotonic() + 60
        while not all((folder / "episodes.jsonl").is_file() for folder in folders):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130 and err.strip().endswith("interrupted; the same command goes on")
    with pytest.raises(ProcessLookupError):  # nobody of the group is left, Python's own resource tracker neither
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    assert {read_json(folder / "run.json")["status"] for folder in folders} == {"interrupted"}
