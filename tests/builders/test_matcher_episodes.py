"""Matcher's episodes of FSS-1000, LVIS-92i and COCO-20i: those that its own code drew, on toy data of every layout."""

from __future__ import annotations

import hashlib
import json
import random
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fewshot_trees as trees
import numpy as np
import pytest
from board_runs import icvos
from shared_data import goldens

from icvos.benchmark import Benchmark, Episode, load_benchmark
from icvos.builders.check import check_benchmark
from icvos.files import read_json
from icvos.images import nearest_resize
from icvos.protocols import get_protocol
from icvos.view import View

Golden = dict[str, Any]


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> Path:
    """The folder of figures that the public code gave."""
    return goldens(request.config, "fewshot", "matcher.json")


@pytest.fixture(scope="module")
def expected(golden: Path) -> Golden:
    return read_json(golden / "matcher.json")


@pytest.fixture(scope="module")
def toy(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy copies of FSS-1000 and LVIS that Matcher's code read."""
    root = tmp_path_factory.mktemp("toy")
    maker = runpy.run_path(str(golden / "make_toy_fewshot.py"))
    for index, name in enumerate(("fss", "lvis")):
        maker[name](str(root), random.Random(100 + index))
    return root


@pytest.fixture(scope="module")
def built(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build a benchmark of Matcher's episodes by the command, once."""

    @cache
    def build(name: str, shots: int) -> Benchmark:
        out = tmp_path_factory.mktemp("built") / "B"
        raw = ("--fss", toy) if name == "fss-1000" else ("--lvis", toy / "LVIS", "--fold", 0, "--fold", 9)
        words = (*raw, "--shots", shots, "--episodes", "matcher", "--out", out)
        assert icvos("build-data", name, *words) == 0
        return load_benchmark(out)

    return build


def drawn(benchmark: Benchmark, fold: int) -> Iterator[list[Any]]:
    """The episodes of a fold in the goldens' form: class, query, supports, and the pixels of each mask."""
    fss = benchmark.header["recipe"]["name"] == "fss-1000"
    number = {c: 759 + c if fss else i for i, c in enumerate(benchmark.header["folds"][str(fold)])}

    def file(name: str) -> str:
        folder, _, stem = name.rpartition("__" if fss else "_")
        return f"{folder}/{stem}.jpg"

    @cache
    def pixels(role: str, category: int, name: str, small: bool) -> int:
        episode = Episode("", name, category, "", 0, (name,))
        mask = benchmark.query(episode)[1] if role == "query" else benchmark.support(category, name).mask
        return int(nearest_resize(mask, (32, 32) if small else mask.shape).sum())

    for e in benchmark.episodes:
        if e.fold == fold:
            supports = [pixels("support", e.category, name, True) for name in e.supports]
            # Matcher's reader of FSS-1000 resizes the query's mask in any case.
            query = pixels("query", e.category, e.video, fss)
            yield [number[e.category], file(e.video), [file(name) for name in e.supports], query, supports]


@pytest.mark.parametrize(
    ("key", "name", "fold", "shots", "hashed"),
    [
        ("fss_1", "fss-1000", 0, 1, 100),
        ("fss_5", "fss-1000", 0, 5, 100),
        ("lvis_f0_1", "lvis-92i", 0, 1, 600),
        ("lvis_f9_1", "lvis-92i", 9, 1, 600),
        ("lvis_f0_5", "lvis-92i", 0, 5, 600),
        ("lvis_f9_5", "lvis-92i", 9, 5, 600),
    ],
)
def test_episodes_are_those_of_its_code(
    expected: Golden, built: Any, key: str, name: str, fold: int, shots: int, hashed: int
) -> None:
    if key not in expected:
        pytest.skip(f"matcher.json has no {key}")
    benchmark, known = built(name, shots), expected[key]
    episodes = list(drawn(benchmark, fold))
    assert len(episodes) == known["length"] and known["errors"] == 0
    assert episodes[: len(known["episodes"])] == known["episodes"]
    assert hashlib.sha256(json.dumps(episodes[:hashed]).encode()).hexdigest() == known["sha256_all"]
    if known["original_ids"]:
        assert benchmark.header["folds"][str(fold)] == known["original_ids"]


def test_the_benchmarks_say_what_they_are(built: Any) -> None:
    for name, shots, called in (("fss-1000", 1, "fss-1000"), ("lvis-92i", 1, "lvis-92i-1shot"), ("lvis-92i", 5, "")):
        benchmark = built(name, shots)
        header = benchmark.header
        assert header["recipe"]["name"] == (called or "lvis-92i-5shot")
        assert header["protocol"] == "fss-matcher" and header["shots"] == shots
        assert (header["drawn"]["seed"], header["drawn"]["workers"], header["drawn"]["size"]) == (0, 0, [518, 518])
        assert check_benchmark(benchmark.root) == []
    # One-shot and five-shot LVIS-92i are of other categories.
    first, second = (set(built("lvis-92i", shots).header["folds"]["0"]) for shots in (1, 5))
    assert (len(first), len(second), len(first & second)) == (14, 6, 3)


def test_a_support_may_come_twice(built: Any) -> None:
    episodes = built("fss-1000", 5).episodes
    assert any(len(set(e.supports)) < 5 for e in episodes)
    assert all(e.video not in e.supports and len(e.supports) == 5 for e in episodes)


def test_evaluation_takes_its_protocol_and_shots(
    built: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """518x518, sums by class, and a class without an episode as 0, by a recomputation from the masks."""
    benchmark = built("fss-1000", 5)
    words = ("evaluate", "--model", "histogram", "--benchmark", benchmark.root, "--out", tmp_path / "R")
    assert icvos(*words) == 2
    assert "list of 5-shot episodes; give --shots 5" in capsys.readouterr().err
    assert icvos(*words, "--shots", 5, "--limit-episodes", 25, "--save-masks") == 0
    result, run = read_json(tmp_path / "R/result.json"), read_json(tmp_path / "R/run.json")
    assert result["protocol"]["name"] == "fss-matcher"
    assert run["benchmark"]["drawn"]["workers"] == 0 and run["benchmark"]["drawn"]["size"] == [518, 518]
    view = View(benchmark, get_protocol("fss-matcher"))
    sums: dict[int, list[int]] = {}
    for episode in benchmark.episodes[:25]:
        _, truth, _ = view.query(episode)
        predicted = trees.mask_file(tmp_path / "R/masks" / episode.id / "00000.png")
        assert predicted.shape == truth.shape == (518, 518)
        counts = sums.setdefault(episode.category, [0, 0])
        counts[0] += int((predicted & truth).sum())
        counts[1] += int((predicted | truth).sum())
    assert len(sums) == 3  # of ten classes
    miou = 100 * sum(inter / max(union, 1) for inter, union in sums.values()) / 10
    assert result["summary"]["mIoU"] == pytest.approx(miou, abs=1e-9)
    assert result["summary"]["mIoU_drawn"] == pytest.approx(miou * 10 / 3, abs=1e-9)


def test_other_worker_counts_draw_other_supports(golden: Path, built: Any) -> None:
    """SANSA's list without workers is this one; those of 1, 2 and 6 workers are others."""
    if not (golden / "sansa_workers.json").is_file():
        pytest.skip(f"sansa_workers.json is not in {golden}")
    known = read_json(golden / "sansa_workers.json")
    mine = [episode[:3] for episode in drawn(built("fss-1000", 1), 0)]
    same = {key: sum(a == b for a, b in zip(mine, episodes)) for key, episodes in known.items()}
    assert same == {f"fss_1_workers_{n}": agree for n, agree in ((0, 100), (1, 11), (2, 12), (6, 7))}


# COCO-20i


@pytest.mark.parametrize("shots", [1, 3])
def test_coco_episodes_are_those_of_the_rule(tmp_path: Path, shots: int) -> None:
    """Against numpy's own legacy generator, called as Matcher's loader of COCO-20i calls it."""
    lists = trees.matcher_coco(tmp_path)
    words = ("--lists", tmp_path / "lists", "--episodes", "matcher", "--shots", shots, "--fold", 0)
    words = ("--coco", tmp_path / "coco", *words, "--paper-episodes", 60, "--out", tmp_path / "B")
    assert icvos("build-data", "coco-20i", *words) == 0
    benchmark = load_benchmark(tmp_path / "B")
    assert benchmark.header["protocol"] == "fss-matcher" and check_benchmark(benchmark.root) == []
    legacy = np.random.RandomState(0)
    wanted = []
    for _ in range(60):
        category = legacy.choice([4 * v for v in range(20)], 1, replace=False)[0]
        query = legacy.choice(lists[category], 1, replace=False)[0]
        supports: list[str] = []
        while len(supports) < shots:
            support = legacy.choice(lists[category], 1, replace=False)[0]
            supports += [support] if support != query else []
        wanted.append((int(category) + 1, query, tuple(supports)))
    names = [
        (e.category, f"val2014/{e.video}.jpg", tuple(f"val2014/{name}.jpg" for name in e.supports))
        for e in benchmark.episodes
    ]
    assert names == wanted and {e.fold for e in benchmark.episodes} == {0}
