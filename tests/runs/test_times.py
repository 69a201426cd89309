"""How the wall time of a run divides: parts that add up, in one run, a resumed one and merged shards."""

from __future__ import annotations

import pytest

from icvos.runs.times import PARTS, Stopwatch, add_times, join_times, run_times, times_line


class Time:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def row(**seconds: float) -> dict[str, float]:
    return {"wall": sum(seconds.values()), **dict.fromkeys(PARTS, 0.0), **seconds}


def test_each_moment_counts_to_the_innermost_part() -> None:
    time = Time()
    watch = Stopwatch(time)
    time.now += 1
    with watch.part("model"):
        time.now += 2
        with watch.part("decoding"):
            time.now += 4
        time.now += 8
        with pytest.raises(ValueError), watch.part("writing"):
            time.now += 16
            raise ValueError
        time.now += 32
        assert watch.seconds["model"] == 42  # a part that is still open counts too
    time.now += 64
    expected = {"model": 42, "decoding": 4, "writing": 16, "other": 65}
    assert watch.seconds == {**dict.fromkeys(PARTS, 0.0), **expected}
    assert sum(watch.seconds.values()) == time.now - 100


def test_what_a_worker_does_not_tell_is_the_rest() -> None:
    watch = {**dict.fromkeys(PARTS, 0.0), "starting": 1.0, "writing": 3.0, "verifying": 2.0, "other": 14.0}
    assert run_times(watch, {}) == [{"wall": 20.0, **watch}]
    # The main process starts and verifies while workers wait; what it writes beside them is no part of their time.
    rows = run_times(watch, {1: {"model": 10.0, "starting": 4.0}, 0: {}})
    assert rows == [row(starting=1, verifying=2, other=17), row(starting=5, model=10, verifying=2, other=3)]


def test_a_resumed_run_adds_up() -> None:
    first = add_times(None, [row(model=3, idle=1), row(model=4)], episodes=5)
    assert first["total"] == row(model=7, idle=1)
    # Two workers, then one.
    both = add_times(first, [row(model=2, scoring=1)], episodes=2)
    assert both == {
        "episodes": 7,
        "total": row(model=9, idle=1, scoring=1),
        "workers": [row(model=5, idle=1, scoring=1), row(model=4)],
    }


def test_shards_are_joined() -> None:
    shards = [add_times(None, [row(model=3)], episodes=2), None, add_times(None, [row(model=4, other=1)], episodes=3)]
    joined = {"episodes": 5, "total": row(model=7, other=1), "workers": [row(model=3), row(model=4, other=1)]}
    assert join_times(shards) == joined
    assert join_times([None, None]) is None


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        3,
        {},
        {"episodes": 1, "total": row(), "workers": None},
        {"episodes": "1", "total": row(), "workers": []},
        {"episodes": 1, "total": None, "workers": []},
        {"episodes": 1, "total": row(model=1), "workers": []},
        {"episodes": 1, "total": row(), "workers": [3]},
        {"episodes": 1, "total": row(), "workers": [{**row(), "model": float("nan")}]},
        {"episodes": 1, "total": row(), "workers": [{**row(), "model": "1"}]},
        {"episodes": 1, "total": row(), "workers": [{"wall": 1.0}]},
    ],
)
def test_what_is_no_time_is_left_out(damaged: object) -> None:
    one = add_times(None, [row(model=3)], episodes=2)
    assert add_times(damaged, [row(model=3)], episodes=2) == one == join_times([damaged, one])
    assert times_line(damaged) == ""


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([row(model=80, decoding=20, scoring=0.4)], "80 % model, 20 % waiting for frames; 1 min 40 s"),
        ([row(model=30), row(model=24, idle=6)], "90 % model, 10 % idle; 2 workers, 30 s each"),
        ([row(model=1, starting=3)], "75 % starting, 25 % model; 4 s"),
    ],
)
def test_one_line(rows: list[dict[str, float]], line: str) -> None:
    assert times_line(add_times(None, rows, episodes=1)) == f"time: {line}"
