"""A real Slurm on the loopback address: an array of shards with a task killed and requeued, then the merge."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from board_runs import icvos
from run_models import RED, write_model
from slurm_cluster import missing, slurm_cluster
from tiny import write_video_benchmark

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with slurm_cluster(tmp_path_factory.mktemp("s")) as environment:
        monkeypatch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        yield


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, subprocess.run(["squeue"], capture_output=True, text=True).stdout
        time.sleep(0.1)


def test_a_killed_task_is_requeued_and_the_merge_is_one_run(
    slurm: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path, RED)
    bench = write_video_benchmark(tmp_path / "b", videos=9)
    words = [
        "evaluate",
        "--model",
        model,
        "--benchmark",
        str(bench),
        "--save-masks",
        "--no-verify",
        "--set",
        "nap=0.12",
    ]
    assert icvos(*words, "--out", tmp_path / "one") == 0
    capsys.readouterr()
    run, shards = tmp_path / "run", tmp_path / "run.slurm"
    assert icvos("launch", "slurm", "--shards", 7, "--submit", "--", *words, "--out", run) == 0
    array = capsys.readouterr().out.partition("sent: ")[2].partition(",")[0]

    task = f"{array}_1"
    wait_for(lambda: (shards / "1/run.json").exists())
    subprocess.run(["scontrol", "requeue", task], check=True)
    shown = subprocess.run(["scontrol", "show", "job", task], capture_output=True, text=True).stdout
    assert "Restarts=1" in shown
    first = shards / "1/result.json"
    assert not first.exists()

    def again() -> bool:
        # Slurm would wait two minutes before a requeued task starts anew.
        subprocess.run(["scontrol", "update", f"JobId={task}", "StartTime=now"], capture_output=True)
        return first.exists()

    wait_for(again)
    wait_for(lambda: not subprocess.run(["squeue", "--noheader"], capture_output=True).stdout)
    assert (run / "result.json").read_bytes() == (tmp_path / "one/result.json").read_bytes()
    masks = sorted(path.relative_to(run) for path in (run / "masks").rglob("*") if path.is_file())
    assert masks and all((run / name).read_bytes() == (tmp_path / "one" / name).read_bytes() for name in masks)
    assert icvos("launch", "status", run) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["complete"] * 7 and lines[-1].endswith("merged")
