"""Memory stays flat in a video's length, and frames are decoded ahead, not all at once."""

from __future__ import annotations

import importlib.util
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from icvos import cli
from icvos.evaluation.frames import Ahead


def _benchmark():
    path = Path(cli.__file__).parents[1] / "benchmarks" / "runner.py"
    specification = importlib.util.spec_from_file_location("runner_benchmark", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_3000_frames_take_the_memory_of_300():
    found = _benchmark().memory([300, 3000], (240, 427), "histogram")
    assert found["ratio"] < 1.05, found


@pytest.fixture
def ahead():
    computed: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        yield Ahead(lambda index: computed.append(index) or index, 100, pool, window=5), computed


def settle() -> None:
    time.sleep(0.05)


def test_reading_forward_is_a_few_frames_ahead(ahead):
    items, computed = ahead
    for index in range(20):
        assert items.get(index) == index
        assert max(computed) < index + 5 and len(items._waiting) < 5
    settle()
    assert sorted(computed) == list(range(24))  # each once


def test_the_first_frame_again_and_again(ahead):
    # A model may look back at frame 0 for each frame: that costs one decode, and what is ahead is kept.
    items, computed = ahead
    for index in range(1, 20):
        assert items.get(0) == 0 and items.get(index) == index
    settle()
    assert sorted(i for i in computed if i) == list(range(1, 24))


def test_backwards_and_jumping_about(ahead):
    items, computed = ahead
    order = [99, 98, 50, 3, 70, 0, 99]
    assert [items.get(index) for index in order] == order
    settle()
    assert len(computed) <= len(order) + 4


def test_a_second_pass(ahead):
    items, computed = ahead
    for _ in range(2):
        assert [items.get(index) for index in range(100)] == list(range(100))
    assert len(computed) == 200


def test_errors_come_where_they_are_asked_for():
    def compute(index: int) -> int:
        if index == 3:
            raise ValueError("broken")
        return index

    with ThreadPoolExecutor(2) as pool:
        items = Ahead(compute, 10, pool)
        assert [items.get(i) for i in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="broken"):
            items.get(3)
        assert items.get(4) == 4
