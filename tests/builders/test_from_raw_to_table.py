"""From raw trees to tables: every benchmark with a rule of episodes of its own, by the commands that people type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fewshot_trees
import pytest
from board_runs import icvos
from listings import shuffle_listings

from icvos.benchmark import load_benchmark
from icvos.demo.benchmarks import demo_layout
from icvos.files import file_sha256, read_json

MATCHER: tuple[Any, ...] = ("--episodes", "matcher")
FSVOS = ("youtube-fsvos", "ytvis", ("--group", 3))
WEIGHTS = {"prototype": "backbone=demo", "dcsam": "dcsam=demo"}


@dataclass(frozen=True)
class Row:
    """A benchmark.

    Attributes:
        builder, raw, words: Of ``icvos build-data``: its name, whose raw data it takes, and further words.
        protocol: By which it is evaluated unasked.
        printed: A method whose printed figures stand below, apart; empty where nobody printed any.
        shots: Of its episodes.
    """

    builder: str
    raw: str
    words: tuple[Any, ...]
    protocol: str
    printed: str = ""
    shots: int = 1


ROWS = {
    "fsvos": Row(*FSVOS, "native", "DANet w/o OL", 2),
    "fsvos-danet": Row(*FSVOS, "fsvos-danet", "DANet w/o OL", 2),
    "fsvos-tti-v1": Row(*FSVOS, "fsvos-tti", "RePRI", 2),
    "fsvos-tti-v2": Row(*FSVOS, "fsvos-tti", "RePRI", 2),
    "fss-1000": Row("fss-1000", "fss-1000", (), "fss-native", "SANSA"),
    "fss-1000-matcher": Row("fss-1000", "fss-1000", MATCHER, "fss-matcher", "SANSA"),
    "lvis-92i": Row("lvis-92i", "lvis", (), "fss-native", "SANSA"),
    "lvis-92i-matcher": Row("lvis-92i", "lvis", (*MATCHER, "--fold", 0, "--fold", 9), "fss-matcher", "SANSA"),
    "coco-20i-matcher": Row(
        "coco-20i", "coco", (*MATCHER, "--fold", 0, "--paper-episodes", 8), "fss-matcher", "VRP-SAM"
    ),
    "saco-ic": Row("saco-ic", "saco", ("--draws", 1, "--shots", 2), "saco-ic"),
}
# With DC-SAM on one of each kind; the others are for -m slow.
QUICK = {*((name, "prototype") for name in ROWS), ("fsvos-danet", "dcsam"), ("lvis-92i", "dcsam"), ("saco-ic", "dcsam")}


def words_of(name: str) -> tuple[Any, ...]:
    row = ROWS[name]
    if row.builder != "youtube-fsvos":
        return row.words
    _, _, listed = name.partition("-")
    drawn = ("--episodes", listed) if listed else ("--draws", 2)
    return (*row.words, *drawn, *(("--seed", 42) if listed == "danet" else ()), "--shots", row.shots)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, ...]]:
    """Returns the words that give a builder its raw data, which are written once."""
    root = tmp_path_factory.mktemp("raw")

    @cache
    def written(name: str) -> tuple[Any, ...]:
        if name == "coco":
            fewshot_trees.matcher_coco(root)
            return "--coco", root / "coco", "--lists", root / "lists"
        return f"--{name.partition('-')[0]}", demo_layout(name, "tiny", 0, root)

    return written


@pytest.fixture(scope="module")
def built(raw: Callable[[str], tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a benchmark, which is built once, by one process."""
    root = tmp_path_factory.mktemp("built")

    @cache
    def build(name: str) -> Path:
        row = ROWS[name]
        assert icvos("build-data", row.builder, *raw(row.raw), *words_of(name), "--out", root / name) == 0
        return root / name

    return build


@pytest.mark.parametrize("name", ROWS)
def test_built_again_by_two_processes_in_another_order_it_is_the_same(
    raw: Callable[[str], tuple[Any, ...]],
    built: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    first, row = built(name), ROWS[name]
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "home"))  # masks are decoded again
    with monkeypatch.context() as patch:
        shuffle_listings(patch)
        words = ("build-data", row.builder, *raw(row.raw), *words_of(name), "--workers", 2, "--out", tmp_path / "B")
        assert icvos(*words) == 0
    assert file_sha256(tmp_path / "B/manifest.csv") == file_sha256(first / "manifest.csv")
    assert str(tmp_path) not in (tmp_path / "B/benchmark.json").read_text()
    assert icvos("build-data", "check", tmp_path / "B") == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "model"),
    [
        pytest.param(name, model, marks=() if (name, model) in QUICK else pytest.mark.slow)
        for name in ROWS
        for model in WEIGHTS
    ],
)
def test_a_method_runs_on_it_and_has_its_table_with_printed_figures_apart(
    built: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, model: str
) -> None:
    row, out = ROWS[name], tmp_path / "runs" / model
    video = load_benchmark(built(name)).kind == "video"
    words = ("--model", model, "--weights", WEIGHTS[model], "--benchmark", built(name), "--shots", row.shots)
    limits = ("--limit-episodes", 1, *(("--limit-frames", 2) if video else ()))
    assert icvos("evaluate", *words, *limits, "--device", "cpu", "--out", out) == 0
    result = read_json(out / "result.json")
    assert result["summary"]["failed"] == 0 and result["protocol"]["name"] == row.protocol
    capsys.readouterr()
    assert icvos("leaderboard", "show", "--runs", tmp_path / "runs", "--published") == 0
    measured, _, printed = capsys.readouterr().out.partition(": printed in")
    (title,) = (line for line in measured.splitlines() if "protocol" in line)
    assert f"protocol {row.protocol}, {row.shots}-shot" in title and result["benchmark"]["name"] in title
    (cells,) = (line.split() for line in measured.splitlines() if model in line.split()[:2])
    assert "limited" in cells
    assert row.printed in printed and model not in printed.split()
    assert not row.printed or row.printed not in measured
