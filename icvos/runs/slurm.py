"""Jobs of Slurm: the script of an evaluation in shards or of a training, how it is sent, and what is there of it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icvos.errors import RunError, UsageError
from icvos.files import absolute_path, atomic_write, read_file, write_json
from icvos.runs.records import RunFolder, read_run

__all__ = ["SlurmJob", "evaluation_job", "job_folder", "shard_states", "submit", "training_job", "write_job"]

ICVOS = (sys.executable, "-m", "icvos.cli")
AFTER = "--dependency=afterany:"
# Options of sbatch that no word follows as their value: sbatch(1).
FLAGS = {
    *("--contiguous", "--exclusive", "--get-user-env", "-H", "--hold", "--ignore-pbs", "--nice", "-k", "--no-kill"),
    *("--no-requeue", "-O", "--overcommit", "-s", "--oversubscribe", "--parsable", "--propagate", "-Q", "--quiet"),
    *("--reboot", "--requeue", "--spread-job", "--use-min-nodes", "-v", "--verbose", "-W", "--wait"),
}


@dataclass(frozen=True)
class SlurmJob:
    """A script and the commands that send it.

    Attributes:
        folder: Where the script, its logs and the shards lie.
        body: Of the script.
        commands: Of sbatch, in order; the word ``AFTER`` stands for that it waits for the job sent before.
        shards: How many, 0 for a training.
    """

    folder: Path
    body: str
    commands: list[list[str]]
    shards: int

    @property
    def script(self) -> str:
        """The whole script; how to send it by hand stands in its head."""
        lines = [f"#   job=$({shlex.join(self.commands[0])})"]
        lines += [
            "#   " + " ".join(f"{AFTER}$job" if word == AFTER else shlex.quote(word) for word in words)
            for words in self.commands[1:]
        ]
        return "\n".join(["#!/bin/bash", "# Sent by icvos launch slurm --submit, or by hand:", *lines, self.body, ""])


def job_folder(run: Path) -> Path:
    """Return the folder of a run's jobs: beside it, as the run's own holds nothing else.

    Raises:
        UsageError: The run's folder is the root of all files.
    """
    path = absolute_path(run)
    if not path.name:
        raise UsageError("no run's folder", where=path, expected="a folder of its own")
    return path.with_name(f"{path.name}.slurm")


def evaluation_job(words: Sequence[str], run: Path, *, shards: int, options: Sequence[str], where: Path) -> SlurmJob:
    """Return an array of shards and the merge that waits for them.

    Args:
        words: What follows ``icvos evaluate``, without ``--out``.
        run: Folder of the merged run.
        shards: How many.
        options: Of sbatch; the merge gets those that ask for no GPU.
        where: The folder that the command is run in.

    Raises:
        UsageError: A word holds what no line of a script can, or ``options`` are not, or decide what is run.
    """
    folder = job_folder(run)
    _check_words([*words, *options, str(folder), str(where)])
    evaluate = shlex.join([*ICVOS, "evaluate", *words, "--shard", f"auto/{shards}", "--out"])
    parts = " ".join(f'"$shards"/{index}' for index in range(1, shards + 1))
    body = "\n".join(
        [
            "set -euo pipefail",
            f"cd {shlex.quote(str(where))}",
            f"shards={shlex.quote(str(folder))}",
            'if [ "${1:-}" = merge ]; then',
            f"    exec {shlex.join([*ICVOS, 'merge'])} {parts} --out {shlex.quote(str(run.absolute()))}",
            "fi",
            "# A task that is requeued goes on where it stopped.",
            f'exec {evaluate} "$shards/$SLURM_ARRAY_TASK_ID"',
        ]
    )
    logs, script = str(folder).replace("%", "%%"), str(folder / "job.sh")
    array = [f"--array=1-{shards}", "--requeue", "--open-mode=append", f"--output={logs}/%a.log"]
    # The merge waits for tasks that failed too: it says which episodes are in no shard.
    merge = [AFTER, f"--output={logs}/merge.log"]
    start = ["sbatch", "--parsable"]
    commands = [[*start, *options, *array, script], [*start, *_without_gpus(options), *merge, script, "merge"]]
    return SlurmJob(folder, body, commands, shards)


def _split(options: Sequence[str]) -> list[list[str]]:
    """Return options of sbatch, each as its words: itself, and its value where that is a word of its own.

    Raises:
        UsageError: A word is neither, or one is an array or a command, which stand in the script.
    """
    parts: list[list[str]] = []
    for word in options:
        name = word.partition("=")[0]
        if word.startswith("-") and word.strip("-"):
            # getopt takes a long name that is cut off.
            if word.startswith("-a") or (len(name) > 3 and ("--array".startswith(name) or "--wrap".startswith(name))):
                raise UsageError(f"--sbatch holds {word}, and what is run is in the script", fix=f"leave {name} out")
            parts.append([word])
        elif parts and len(parts[-1]) == 1 and _takes_word(parts[-1][0]):
            parts[-1].append(word)
        else:
            raise UsageError(
                f"--sbatch holds '{word}', which is no option and no option's value",
                expected="options of sbatch alone, as in '-p gpu -t 4:00'",
            )
    return parts


def _takes_word(option: str) -> bool:
    return option not in FLAGS and (len(option) == 2 or (option.startswith("--") and "=" not in option))


def _without_gpus(options: Sequence[str]) -> list[str]:
    """Return options of sbatch without those that ask for GPUs, nor their values."""
    asks = re.compile("-G|--(gres|gpu|tres|[a-z-]+-per-gpu)")
    return [word for part in _split(options) if asks.match(part[0]) is None for word in part]


def training_job(
    words: Sequence[str], run: Path, *, nodes: int, processes: int, options: Sequence[str], where: Path
) -> SlurmJob:
    """Return a training by torchrun on several nodes; requeued, it goes on from its last checkpoint.

    srun starts no task again. Where torchrun ends badly on one node it therefore ends on all, and the job with it.

    Args:
        words: What follows ``icvos train``.
        run: Folder of the training.
        nodes: How many.
        processes: On each node, one a GPU.
        options: Of sbatch.
        where: The folder that the command is run in.

    Raises:
        UsageError: A word holds what no line of a script can, or ``options`` are not, or decide what is run.
    """
    folder = job_folder(run)
    _check_words([*words, *options, str(folder), str(where)])
    _split(options)
    body = "\n".join(
        [
            "set -euo pipefail",
            f"cd {shlex.quote(str(where))}",
            'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
            "# Requeued, or sent again, the training goes on from its last checkpoint.",
            f"exec srun --kill-on-bad-exit=1 {shlex.quote(sys.executable)} -m torch.distributed.run \\",
            f'    --nnodes {nodes} --nproc-per-node {processes} --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d \\',
            '    --rdzv-endpoint "$first:$((20000 + SLURM_JOB_ID % 20000))" \\',
            f"    -m icvos.cli train {shlex.join(words)}",
        ]
    )
    logs = str(folder).replace("%", "%%")
    command = ["sbatch", "--parsable", *options, f"--nodes={nodes}", "--ntasks-per-node=1", "--requeue"]
    command += ["--open-mode=append", f"--output={logs}/train.log", str(folder / "job.sh")]
    return SlurmJob(folder, body, [command], 0)


def _check_words(words: Sequence[str]) -> None:
    for word in words:
        if not word.isprintable():
            escaped = word[:60].encode("unicode_escape").decode()
            raise UsageError(f"'{escaped}' cannot stand in a script", expected="words of letters that can be printed")


def write_job(job: SlurmJob, numbers: Sequence[str] = ()) -> Path:
    """Write the script and what is known of it; return the script's path."""
    with atomic_write(job.folder / "job.sh", "w") as stream:
        stream.write(job.script)
    write_json(job.folder / "launch.json", {"shards": job.shards, "jobs": list(numbers)})
    return job.folder / "job.sh"


def submit(job: SlurmJob) -> list[str]:
    """Send a job whose script is written; return the numbers that Slurm gave.

    Raises:
        UsageError: There is no sbatch, or it refuses.
    """
    if shutil.which("sbatch") is None:
        raise UsageError("there is no sbatch here", fix="send the script where Slurm is; its head says how")
    numbers: list[str] = []
    for words in job.commands:
        words = [f"{AFTER}{numbers[-1]}" if word == AFTER else word for word in words]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        number = done.stdout.strip().partition(";")[0]
        if done.returncode or not re.fullmatch("[0-9]+", number):
            raise UsageError(f"sbatch refuses: {' '.join(done.stderr.split())[:300]}", where=words[-1])
        numbers.append(number)
    return numbers


def shard_states(run: Path) -> list[tuple[int, str, int]]:
    """Return each shard's number, state and count of episodes, from the folders, and from squeue where it is.

    Of a job that was sent by hand squeue cannot be asked, and the folder's word stands.

    Args:
        run: Folder of the merged run.

    Raises:
        RunError: No job of this run was made here.
    """
    folder = job_folder(run)
    try:
        known = json.loads(read_file(folder / "launch.json"))
        shards, numbers = int(known["shards"]), [str(number) for number in known["jobs"]]
    except (OSError, ValueError, OverflowError, TypeError, KeyError):
        raise RunError("no job of this run", where=folder, fix="icvos launch slurm makes one") from None
    queue = _queue(numbers[0]) if numbers and shards else None
    states: list[tuple[int, str, int]] = []
    for index in range(1, shards + 1):
        path = folder / str(index)
        there = (path / "run.json").is_file()
        try:
            said = read_run(path) if there else {}
            status = str(said.get("status")) if there else "missing"
            count = len(RunFolder(path, said).records())
        except RunError:
            states.append((index, "damaged", 0))
            continue
        if status in ("running", "missing"):
            stopped = "stopped" if there else "missing"
            status = status if queue is None else queue.get(index, stopped)
        states.append((index, status, count))
    return states


def _queue(job: str) -> dict[int, str] | None:
    """Return the state of an array's tasks that Slurm still has; None where Slurm cannot be asked."""
    if shutil.which("squeue") is None or not job.isdigit():
        return None
    words = ["squeue", "--noheader", "--array", f"--jobs={job}", "--format=%K %T"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    rows = [line.split() for line in done.stdout.splitlines()]
    return {int(row[0]): row[1].lower() for row in rows if len(row) == 2 and row[0].isdigit()}
