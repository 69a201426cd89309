"""icvos launch: the scripts that it writes, how they are sent, and what it says of shards."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from board_runs import icvos
from run_models import RED, write_model
from tiny import write_video_benchmark

from icvos.runs.slurm import evaluation_job, write_job


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """An evaluation whose paths have letters that a shell would read."""
    odd = tmp_path / "a $(b) 'c' {job}"
    odd.mkdir()
    model = write_model(odd, RED)
    bench = write_video_benchmark(tmp_path / "b", videos=3)
    out = str(odd / "run")
    return ["evaluate", "--model", model, "--benchmark", str(bench), "--no-verify", f"--out={out}"]


def test_the_script_runs_as_a_task_of_each_shard_then_as_the_merge(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert icvos("launch", "slurm", "--shards", 2, "--", *words) == 0
    run = Path(words[-1].removeprefix("--out="))
    script = run.with_name("run.slurm") / "job.sh"
    assert script.read_text() in capsys.readouterr().out
    values = {"MIN": 1, "MAX": 2, "COUNT": 2, "STEP": 1}
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    monkeypatch.setattr("shutil.which", lambda name: None)
    subprocess.run(["bash", script], check=True, capture_output=True)
    assert icvos("launch", "status", run) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["1/2", "missing", "0", "episodes"] and shown[1].split()[:2] == ["2/2", "complete"]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    subprocess.run(["bash", script], check=True, capture_output=True)
    subprocess.run(["bash", script, "merge"], check=True, capture_output=True)
    assert icvos("launch", "status", run) == 0
    assert capsys.readouterr().out.endswith(": 2 of 2 shards complete, merged\n")
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    assert icvos(*words[:-1], "--out", tmp_path / "one") == 0
    assert (run / "result.json").read_bytes() == (tmp_path / "one/result.json").read_bytes()


def test_what_is_sent(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    tool = tmp_path / "bin/sbatch"
    tool.parent.mkdir()
    tool.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(told)!r}, 'a').write(repr(sys.argv[1:]) + '\\n')\nprint(41)"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    assert icvos("launch", "slurm", "--shards", 7, "--sbatch", "-p 'my gpus'", "--submit", "--", *words) == 0
    array, merge = (eval(line) for line in told.read_text().splitlines())
    assert array[:5] == ["--parsable", "-p", "my gpus", "--array=1-7", "--requeue"] and array[-1].endswith("job.sh")
    assert "--dependency=afterany:41" in merge and merge[-1] == "merge"
    assert merge[-2] == array[-1] and Path(array[-1]).is_file()


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ("--partition=gpu --gres=gpu:1 --time 4:00", "--partition=gpu --time 4:00"),
        ("--gres gpu:1 -p gpu -G 2 -G4", "-p gpu"),
        ("--gpus 2 --gpus-per-task=1 --mem-per-gpu=8G --cpus-per-gpu 4 -c 2", "-c 2"),
        ("--gpus --exclusive --tres-per-task=gres/gpu:1 --gpu-bind=none", "--exclusive"),
        ("--mem-per-cpu=2G --get-user-env -A group", "--mem-per-cpu=2G --get-user-env -A group"),
    ],
)
def test_the_merge_asks_for_no_gpu(options: str, kept: str, tmp_path: Path) -> None:
    job = evaluation_job(["--model", "full"], tmp_path / "r", shards=2, options=options.split(), where=tmp_path)
    array, merge = job.commands
    assert array[2:].index("--array=1-2") == len(options.split())
    assert merge[2 : merge.index("--dependency=afterany:")] == kept.split()


def test_a_script_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = evaluation_job(["--model", "full"], tmp_path / "r", shards=2, options=[], where=tmp_path)
    script = write_job(job)
    before = script.read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_job(evaluation_job(["--model", "empty"], tmp_path / "r", shards=2, options=[], where=tmp_path))
    assert script.read_bytes() == before and sorted(path.name for path in script.parent.iterdir()) == [
        "job.sh",
        "launch.json",
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        # What is run is decided by the script, whichever way sbatch would take it from its options.
        ("-a1-3", "--sbatch holds -a1-3, and what is run is in the script"),
        ("--array 1-3", "leave --array out"),
        ("--arr=1-3", "leave --arr out"),
        ("--wrap=hostname", "leave --wrap out"),
        ("-p gpu --wra hostname", "leave --wra out"),
        # The first word that is none of an option would be the script.
        ("gpu", "--sbatch holds 'gpu', which is no option and no option's value"),
        ("-p gpu stray", "holds 'stray'"),
        ("--partition=gpu stray", "holds 'stray'"),
        ("-pgpu stray --time 4", "holds 'stray'"),
        ("--exclusive stray", "holds 'stray'"),
        ("-p gpu -- stray", "holds '--'"),
    ],
)
@pytest.mark.parametrize("what", ["evaluate --model full", "train demo-sam2"])
def test_options_of_sbatch_decide_nothing_else(
    options: str, says: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert icvos("launch", "slurm", "--sbatch", options, "--", *what.split(), "--out", tmp_path / "r") == 2
    line = capsys.readouterr().err.strip()
    assert says in line and "\n" not in line
    assert not list(tmp_path.iterdir())


def test_a_training_is_a_job_of_torchrun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ["train", "demo-sam2", "--max-steps", "3", "--out", str(tmp_path / "a b")]
    assert icvos("launch", "slurm", "--nodes", 2, "--processes", 4, "--", *train) == 0
    shown = capsys.readouterr().out
    assert "--nnodes 2 --nproc-per-node 4" in shown and "--nodes=2" in shown
    assert f"-m icvos.cli {shlex.join(train)}\n" in shown
    subprocess.run(["bash", "-n", tmp_path / "a b.slurm/job.sh"], check=True)


SRUN = """#!/bin/bash
# Two nodes on this machine; as with --kill-on-bad-exit=1 the first that fails ends the other.
[ "$1" = --kill-on-bad-exit=1 ] || exit 3
shift
"$@" & one=$!
"$@" & two=$!
for _ in 1 2; do wait -n || { kill $one $two; wait; exit 1; }; done
"""


@pytest.mark.slow
def test_a_training_of_two_nodes_runs_and_ends_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "srun").write_text(SRUN)
    (tools / "scontrol").write_text(
        "#!/bin/sh\n[ \"$*\" = 'show hostnames n[1-2]' ] && printf '127.0.0.1\\nother\\n'\n"
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root}:{root / 'tests/helpers'}")
    for name, value in {"JOB_NODELIST": "n[1-2]", "JOB_ID": str(os.getpid())}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = tmp_path / "run"
    for steps in (6, 9):
        train = ["train", "toy_training:ToyTask", "--device", "cpu", "--max-steps", steps, "--out", run]
        assert icvos("launch", "slurm", "--nodes", 2, "--", *train) == 0
        done = subprocess.run(["bash", tmp_path / "run.slurm/job.sh"], capture_output=True, text=True, timeout=200)
        if steps == 6:
            assert done.returncode == 0, done.stderr
            summary = json.loads((run / "training.json").read_text())
            assert summary["world"] == 2 and summary["steps"] == 6
        else:  # other settings: what the first says is said, and both end
            assert done.returncode == 1 and "max_steps was 6, is 9" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["merge", "a"], "'merge' cannot be launched"),
        (["evaluate", "--model", "full"], "the run's folder is not said"),
        (["evaluate", "--model", "full", "--out", "r", "--shard", "1/2"], "a job takes one whole run"),
        (["evaluate", "--modle", "full", "--out", "r"], "No such option"),
        (["evaluate", "--model", "full", "--name", "a\nb", "--out", "r"], "cannot stand in a script"),
        (["evaluate", "--model", "full", "--out", "/"], "no run's folder"),
        (["evaluate", "--model", "ful", "--out", "r"], "did you mean 'full'"),
        (["evaluate", "--model", "no.py", "--out", "r"], "model file not found"),
        (["train", "demo-sam", "--out", "r"], "nothing to train is called 'demo-sam'; did you mean 'demo-sam2'"),
        (["train", "--out", "r"], "nothing to train is named"),
    ],
)
def test_what_cannot_be_launched(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert icvos("launch", "slurm", "--", *words) == 2
    line = capsys.readouterr().err.strip()
    assert says in line and "\n" not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["--nodes", 2, "--", "evaluate", "--model", "full", "--out", "r"],
        ["--processes", 1, "--", "evaluate", "--model", "full", "--out", "r"],
        ["--shards", 8, "--", "train", "demo-sam2", "--out", "r"],
    ],
)
def test_what_is_not_of_the_command_is_refused(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert icvos("launch", "slurm", *words) == 2
    assert f"{words[0]} is not of what is launched, {words[3]}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_status_says_what_the_folders_say(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Sent by hand, so that squeue cannot be asked: one runs, one has a failed episode again, one is damaged."""
    run = Path(words[-1].removeprefix("--out="))
    assert icvos("launch", "slurm", "--shards", 3, "--", *words) == 0
    shards = [run.with_name("run.slurm") / str(index) for index in (1, 2, 3)]
    for index, shard in enumerate(shards, 1):
        assert icvos(*words[:-1], "--shard", f"{index}/3", "--out", shard) == 0
    told = json.loads((shards[0] / "run.json").read_text())
    (shards[0] / "run.json").write_text(json.dumps({**told, "status": "running"}))
    records = (shards[1] / "episodes.jsonl").read_text()
    (shards[1] / "episodes.jsonl").write_text(records * 2)
    (shards[2] / "run.json").write_text("{")
    capsys.readouterr()
    assert icvos("launch", "status", run) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"{run}: 1 of 3 shards complete, not merged yet"
    shown = [line.split()[1:3] for line in lines]
    assert shown[0][0] == "running" and shown[1] == ["complete", str(len(records.splitlines()))]
    assert shown[2] == ["damaged", "0"]


def test_the_status_of_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "r"
    assert icvos("launch", "slurm", "--", "train", "demo-sam2", "--out", run) == 0
    capsys.readouterr()
    assert icvos("launch", "status", run) == 0 and capsys.readouterr().out == f"{run}: not trained yet\n"
    run.mkdir()
    (run / "training.json").write_text("{}")
    assert icvos("launch", "status", run) == 0 and capsys.readouterr().out == f"{run}: trained\n"


def test_the_status_of_what_was_not_launched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("launch", "status", tmp_path / "r") == 2
    assert "no job of this run" in capsys.readouterr().err
