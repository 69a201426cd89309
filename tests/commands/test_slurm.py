"""A real Slurm on the loopback address: an array of shards with a task killed and requeued, then the merge."""

from __future__ import annotations

import contextlib
import json
import os
import signal
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


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def records(run: Path) -> list[str]:
    """The lines of ``episodes.jsonl``, sorted, without what the clock says."""
    rows = map(json.loads, (run / "episodes.jsonl").read_text().splitlines())
    measured = ("seconds", "fps", "memory", "first_mask")
    return sorted(
        json.dumps({name: value for name, value in row.items() if not any(word in name for word in measured)})
        for row in rows
    )


def task_process(word: Path) -> int | None:
    """The process of a shard's evaluation, which the script has become."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().endswith(f"--out\0{word}\0".encode()):
                return int(path.parent.name)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "requeued"])
def test_a_task_that_is_lost_is_requeued_and_the_merge_is_one_run(
    slurm: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    model = write_model(tmp_path, RED)
    bench = write_video_benchmark(tmp_path / "b", videos=9)
    words = ["evaluate", "--model", model, "--benchmark", str(bench), "--save-masks", "--no-verify"]
    words += ["--set", "nap=0.12"]
    assert icvos(*words, "--out", tmp_path / "one") == 0
    capsys.readouterr()
    run, shards = tmp_path / "run", tmp_path / "run.slurm"
    assert icvos("launch", "slurm", "--shards", 7, "--submit", "--", *words, "--out", run) == 0
    array = capsys.readouterr().out.partition("sent: array ")[2].partition(",")[0]

    task, first = f"{array}_1", shards / "1"
    lines = first / "episodes.jsonl"
    wait_for(lambda: lines.exists() and len(lines.read_bytes().splitlines()) >= 1)
    if how == "killed":
        process = task_process(first)
        assert process is not None
        os.kill(process, signal.SIGKILL)
        wait_for(lambda: "FAILED" in shown("show", "job", task))
    subprocess.run(["scontrol", "requeue", task], check=True)
    assert "Restarts=1" in shown("show", "job", task)
    # It was at work, and its work is not done.
    assert not (first / "result.json").exists() and 1 <= len(records(first)) < 4

    def again() -> bool:
        # Slurm would wait two minutes before a requeued task starts anew.
        subprocess.run(["scontrol", "update", f"JobId={task}", "StartTime=now"], capture_output=True)
        return (first / "result.json").exists()

    wait_for(again)
    wait_for(lambda: not subprocess.run(["squeue", "--noheader"], capture_output=True).stdout)
    assert (run / "result.json").read_bytes() == (tmp_path / "one/result.json").read_bytes()
    assert records(run) == records(tmp_path / "one")
    assert files(run / "masks") == files(tmp_path / "one/masks") and files(run / "masks")
    assert icvos("launch", "status", run) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said[:-1]] == ["complete"] * 7 and said[-1].endswith("merged")


def shown(*words: str) -> str:
    return subprocess.run(["scontrol", *words], capture_output=True, text=True).stdout
