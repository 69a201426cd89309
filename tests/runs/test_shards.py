"""Shares of a run: balanced by frames, the same on every machine, and told by what a cluster sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import write_video_benchmark

from icvos.benchmark import load_benchmark
from icvos.errors import UsageError
from icvos.protocols import get_protocol
from icvos.runs.episodes import RunOptions, select_episodes
from icvos.runs.shards import divide, job_shard


def test_the_longest_first_into_the_lightest_share() -> None:
    frames = {"a": 10, "b": 90, "c": 40, "d": 40, "e": 20}
    assert divide(frames, 2) == [{"b", "a"}, {"c", "d", "e"}]
    assert divide(frames, 1) == [set(frames)]
    assert divide({"a": 5}, 3) == [{"a"}, set(), set()]


def test_equals_go_in_the_benchmarks_order() -> None:
    assert divide(dict.fromkeys("zyxw", 7), 2) == [{"z", "x"}, {"y", "w"}]


def test_shares_of_long_and_short_videos_are_as_heavy() -> None:
    frames = {f"v{index}": 20 + 97 * index * index % 900 for index in range(100)}
    shares = divide(frames, 7)
    assert sorted(name for share in shares for name in share) == sorted(frames)
    loads = [sum(frames[name] for name in share) for share in shares]
    assert max(loads) - min(loads) <= min(frames.values()) * 2


def test_every_episode_is_in_one_shard(tmp_path: Path) -> None:
    benchmark = load_benchmark(write_video_benchmark(tmp_path / "b", videos=5))
    protocol = get_protocol("native")
    found = [e for i in (1, 2, 3) for e in select_episodes(benchmark, protocol, RunOptions(shard=(i, 3)))]
    assert sorted(e.id for e in found) == sorted(e.id for e in select_episodes(benchmark, protocol, RunOptions()))


def slurm(task: int, least: int, most: int, count: int, step: int = 1) -> dict[str, str]:
    values = {"ID": task, "MIN": least, "MAX": most, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("environment", "count", "shard"),
    [
        (slurm(1, 1, 7, 7), None, (1, 7)),
        (slurm(7, 1, 7, 7), 7, (7, 7)),
        (slurm(0, 0, 6, 7), None, (1, 7)),
        (slurm(15, 10, 20, 3, step=5), None, (2, 3)),
        ({"JOB_COMPLETION_INDEX": "0"}, 4, (1, 4)),
        ({"JOB_COMPLETION_INDEX": "3"}, 4, (4, 4)),
    ],
)
def test_a_job_knows_its_shard(environment: dict[str, str], count: int | None, shard: tuple[int, int]) -> None:
    assert job_shard(environment, count) == shard


@pytest.mark.parametrize(
    ("environment", "count", "says"),
    [
        ({}, None, "finds neither"),
        ({}, 4, "finds neither"),
        ({"JOB_COMPLETION_INDEX": "0"}, None, "--shard auto/N"),
        ({"JOB_COMPLETION_INDEX": "4"}, 4, "JOB_COMPLETION_INDEX is 4"),
        ({"JOB_COMPLETION_INDEX": "-1"}, 4, "JOB_COMPLETION_INDEX is '-1'"),
        ({**slurm(1, 1, 7, 7), "JOB_COMPLETION_INDEX": "0"}, 7, "finds SLURM_ARRAY_TASK_ID and JOB_COMPLETION_INDEX"),
        (slurm(3, 3, 3, 1), 7, "--shard auto/7 in a Slurm array of 1"),
        (slurm(3, 1, 4, 3), None, "others are missing"),
        (slurm(12, 10, 20, 3, step=5), None, "task 12 is none of them"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, None, "SLURM_ARRAY_TASK_MIN is ''"),
    ],
)
def test_what_contradicts_is_refused(environment: dict[str, str], count: int | None, says: str) -> None:
    with pytest.raises(UsageError) as error:
        job_shard(environment, count)
    assert says in str(error.value) and "\n" not in str(error.value)
