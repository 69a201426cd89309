"""Runs that strangers wrote: whatever type stands where, every command answers in one line or does its work."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import write_image_benchmark, write_video_benchmark

from icvos import cli
from icvos.errors import RunError
from icvos.leaderboard.record import read_record, write_record
from icvos.runs.run import Run

GONE = object()
ODD = [
    GONE,
    None,
    True,
    -1,
    5,
    1.5,
    10**30,
    1e308,
    "",
    "x" * 300,
    "\x1b[31mred\nnew",
    "</script><b>|",
    [],
    [1],
    [[]],
    [None],
    {},
    {"a": 1},
    "../../x",
    "\ud800",
    "\u202eabc",
    "INF",
]


def icvos(*words: Any) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("form")
    write_video_benchmark(root / "video", videos=3, frames=4, draws=2)
    write_image_benchmark(root / "image")
    for kind, model in (("video", "full"), ("image", "histogram")):
        words = ("evaluate", "--model", model, "--benchmark", root / kind, "--out", root / f"{kind}-run")
        assert icvos(*words) == 0
    return root


def read(run: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    return {
        "run": json.loads((run / "run.json").read_text()),
        "lines": lines,
        "result": json.loads((run / "result.json").read_text()),
    }


def write(run: Path, files: dict[str, Any]) -> Path:
    def text(value: Any) -> str:
        return json.dumps(value).replace('"INF"', "1e999")  # what Python reads as infinity

    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    (run / "run.json").write_text(text(files["run"]))
    (run / "result.json").write_text(text(files["result"]))
    (run / "episodes.jsonl").write_text("".join(text(line) + "\n" for line in files["lines"]))
    return run


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if new is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return value


@pytest.mark.parametrize("kind", ["video", "image"])
@pytest.mark.parametrize("seed", range(3))
def test_any_type_anywhere(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, seed: int
) -> None:
    files = read(world / f"{kind}-run")
    chance = random.Random(seed)
    refused = 0
    for _ in range(25):
        name = chance.choice(["run", "run", "result", "lines"])
        place, new = chance.choice(list(places(files[name]))), chance.choice(ODD)
        run = write(tmp_path / "run", {**files, name: put(files[name], place, new)})
        shutil.rmtree(tmp_path / "board", ignore_errors=True)
        board = ("--runs", run, "--board", tmp_path / "board", "--no-published")
        for words in (
            ("leaderboard", "add", run, "--board", tmp_path / "board", "--benchmark", world / kind),
            ("leaderboard", "show", *board[:2], *board[4:]),
            ("leaderboard", "render", tmp_path / "page.html", *board[:2], *board[4:]),
            ("compare", run, world / f"{kind}-run", "--benchmark", world / kind),
            ("submit", "pack", run, "--no-masks"),
        ):
            status = icvos(*words)
            shown = capsys.readouterr()
            refused += status == 2
            assert status in (0, 2), (words, name, place, new, shown.err)
            assert "\x1b" not in shown.out + shown.err and "Traceback" not in shown.err
            assert status == 0 or shown.err.count("\n") == 1, shown.err
    assert refused > 0


@pytest.mark.parametrize(
    ("file", "place", "new", "words"),
    [
        ("run", ("model", "training_data"), 5, "training data is no list"),
        ("run", ("model", "training_categories"), [1], "training categories is no list"),
        ("run", ("model", "paper"), "INF", "run.json, model, paper is inf"),
        ("run", ("start",), "\ud800", "not to be printed"),
        ("result", ("model", "name"), "a\x1b[2J", "not to be printed"),
        ("result", ("model", "name"), "gpj.\u202eexe", "not to be printed"),
        ("result", ("model", "name"), "x" * 151, "model's name is no name"),
        ("result", ("per_video",), {"v": {"J": "9"}}, "per_video, v, J is no number"),
        ("result", ("summary", "failed"), None, "number of failed is None"),
        ("lines", (0, "draw"), [1], "draw of episode"),
        ("lines", (0, "supports"), "x", "supports of episode"),
        ("run", ("environment",), json.loads("[" * 20 + "]" * 20), "damaged"),
    ],
)
def test_what_is_wrong_is_said(
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    place: tuple[Any, ...],
    new: Any,
    words: str,
) -> None:
    files = read(world / "video-run")
    run = write(tmp_path / "run", {**files, file: put(files[file], place, new)})
    assert icvos("submit", "pack", run, "--no-masks") == 2
    assert words in capsys.readouterr().err


def test_good_runs_pass(world: Path, tmp_path: Path) -> None:
    for kind in ("video", "image"):
        run = world / f"{kind}-run"
        assert icvos("leaderboard", "add", run, "--board", tmp_path, "--benchmark", world / kind) == 0


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("run", "key", []),
        ("run", "environment", "here"),
        ("result", "per_draw", None),
        ("summary", "J", "90"),
        ("summary", "F_recall", GONE),
        ("episode", "id", "../x"),
        ("episode", "error", ["no text"]),
        ("episode", "J", None),
        ("episode", "frames", -1),
        ("episode", "fps", "fast"),
    ],
)
def test_a_run_folder_and_a_record_are_validated_by_one_schema(
    world: Path, tmp_path: Path, part: str, name: str, value: Any
) -> None:
    run = Run.open(world / "video-run")
    write_record(tmp_path / "board", run, "self-reported")
    (path,) = (tmp_path / "board").glob("*/*/*.json")
    assert read_record(path).records == run.records
    record = json.loads(path.read_text())
    damaged = record["result"]["summary"] if part == "summary" else record["episodes"][0] if part == "episode" else None
    damaged = record[part] if damaged is None else damaged
    if value is GONE:
        del damaged[name]
    else:
        damaged[name] = value
    folder = tmp_path / "run"
    folder.mkdir()
    for file in ("run", "result"):
        (folder / f"{file}.json").write_text(json.dumps(record[file]))
    (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in record["episodes"]))
    with pytest.raises(RunError):
        Run.open(folder)
    with pytest.raises(RunError):
        Run.of_record(record, path)
