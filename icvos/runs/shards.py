"""Shares of a run: which videos each machine takes, and which share the job that runs here is."""

from __future__ import annotations

from collections.abc import Mapping

from icvos.errors import UsageError

__all__ = ["DIVISION", "MAX_SHARDS", "divide", "job_shard"]

DIVISION = "frames"
"""How videos are divided; it stands in the key of a shard's run, so that shards of another division are told apart."""

MAX_SHARDS = 10_000
"""More is a slip of the keyboard; the division is worked out by all of them."""


def divide(frames: Mapping[str, int], count: int) -> list[set[str]]:
    """Divide videos so that each share has about as many frames: the longest first, into the lightest share.

    Args:
        frames: Frames to predict of each video. Of equally long ones the first comes first, as of equally light
            shares.
        count: Of shares. With fewer videos than shares, some are empty.
    """
    shares: list[set[str]] = [set() for _ in range(count)]
    load = [(0, index) for index in range(count)]
    for video in sorted(frames, key=lambda name: -frames[name]):
        lightest = min(load)
        load[lightest[1]] = (lightest[0] + frames[video], lightest[1])
        shares[lightest[1]].add(video)
    return shares


def job_shard(environment: Mapping[str, str], count: int | None = None) -> tuple[int, int]:
    """Return the shard (i, N) that a job is: of a Slurm array, or of an indexed job of Kubernetes.

    Args:
        environment: Variables: Slurm's say the number of tasks; Kubernetes' only the index, from 0.
        count: Of shards; None takes Slurm's.

    Raises:
        UsageError: There are none, or they contradict one another or the count.
    """
    slurm, kubernetes = "SLURM_ARRAY_TASK_ID" in environment, "JOB_COMPLETION_INDEX" in environment
    if slurm and kubernetes:
        raise UsageError(
            "--shard auto finds SLURM_ARRAY_TASK_ID and JOB_COMPLETION_INDEX", fix="unset one, or give --shard I/N"
        )
    if kubernetes:
        if count is None:
            raise UsageError(
                "--shard auto cannot know how many shards a Kubernetes job has",
                fix="give --shard auto/N, N being the job's completions",
            )
        index = _number(environment, "JOB_COMPLETION_INDEX") + 1
        if index > count:
            raise UsageError(
                f"JOB_COMPLETION_INDEX is {index - 1}", expected=f"0 to {count - 1} with --shard auto/{count}"
            )
        return index, count
    if not slurm:
        raise UsageError(
            "--shard auto finds neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX",
            fix="run it in a Slurm array or an indexed Kubernetes job, or give --shard I/N",
        )
    task, least, tasks = (_number(environment, f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "COUNT"))
    step = _number(environment, "SLURM_ARRAY_TASK_STEP") if "SLURM_ARRAY_TASK_STEP" in environment else 1
    last = _number(environment, "SLURM_ARRAY_TASK_MAX") if "SLURM_ARRAY_TASK_MAX" in environment else None
    place, beside = divmod(task - least, max(step, 1))
    whole = last is None or (last - least) // max(step, 1) + 1 == tasks
    if beside or not 0 <= place < tasks or not whole:
        raise UsageError(
            f"Slurm's array has {tasks} tasks from {least} in steps of {step}, and task {task} is none of them or "
            "others are missing",
            fix="submit it as an array of tasks 1 to N, or give --shard I/N",
        )
    if count is not None and count != tasks:
        raise UsageError(
            f"--shard auto/{count} in a Slurm array of {tasks}",
            fix=f"submit it as an array of tasks 1 to {count}, or give --shard I/N",
        )
    return place + 1, tasks


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name} is '{text[:40]}'", expected="a whole number, as Slurm and Kubernetes set it")
    return int(text)
