"""Every command that writes, killed by SIGKILL at some moment and given again: it ends as if nothing had happened.

After a kill nothing that looks whole is half-written: whatever has a final name has its final content, or its record
says that it is not finished. The moments are drawn from a seed; ``ICVOS_KILLS`` says how many kills each command gets.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_runs import icvos
from raw_trees import coco, davis
from run_models import RED, write_model
from tiny import write_video_benchmark

KILLS = int(os.environ.get("ICVOS_KILLS", "2"))

# Command: its words, given the world and the folder for its output.
# weights fetch is taken up again in tests/foundation/test_weights.py.
COMMANDS: dict[str, Callable[[Path, Path], list[Any]]] = {
    "build-data demo": lambda w, out: ["build-data", "demo", "--size", "tiny", "--out", out / "a"],
    "build-data vos": lambda w, out: ["build-data", "vos", "--davis", w / "davis", "--out", out / "a"],
    "build-data mask-tubes": lambda w, out: [
        *(
            "build-data",
            "mask-tubes",
            "--coco",
            w / "coco",
            "--split",
            "val2014",
            "--min-area",
            1,
            "--limit",
            4,
            "--out",
            out / "a",
        )
    ],
    "build-data labels": lambda w, out: ["build-data", "labels", "--davis", w / "davis", "--out", out / "a"],
    "evaluate": lambda w, out: [*w_evaluate(w), "--save-masks", "--out", out / "a"],
    "evaluate workers": lambda w, out: [*w_evaluate(w), "--save-masks", "--workers", 2, "--out", out / "a"],
    "score": lambda w, out: ["score", w / "run/masks", "--benchmark", w / "bench", "--out", out / "a"],
    "merge": lambda w, out: ["merge", w / "s1", w / "s2", "--out", out / "a"],
    "report": lambda w, out: ["report", w / "run", "--out", out / "a"],
    "submit pack": lambda w, out: ["submit", "pack", w / "run", "--out", out / "a.zip"],
    "leaderboard add": lambda w, out: [
        *("leaderboard", "add", w / "run", "--benchmark", w / "bench", "--board", out / "board", "--replace")
    ],
    "leaderboard render": lambda w, out: ["leaderboard", "render", out / "a.html", "--board", w / "board"],
    "segment": lambda w, out: [
        *("segment", "--support", w / "photo.jpg", w / "photo.png", "--video", w / "frames"),
        *("--model", "histogram", "--out", out / "a"),
    ],
    "show-episode": lambda w, out: [
        *("show-episode", "--model", "histogram", "--benchmark", w / "bench", "--out", out / "a.png")
    ],
}
# What the clock says, and where a thing lies. A run that is killed before it is verified is not verified afterwards.
MEASURED = re.compile(
    r"verified|start|end|times|seconds|fps|.*memory.*|.*seconds|.*_fps|commit|platform|where|made|created|out|first_mask.*|elapsed|frame_seconds.*"
)
GROWING = ("episodes.jsonl", "run.json", "benchmarks.json")


def w_evaluate(world: Path) -> list[Any]:
    return ["evaluate", "--model", f"{world}/my_method.py", "--benchmark", world / "bench"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kills") / "world"
    write_video_benchmark(root / "bench", videos=3, frames=4, draws=1, size=(40, 48))
    write_model(root, RED)
    assert icvos(*w_evaluate(root), "--save-masks", "--out", root / "run") == 0
    for index in (1, 2):
        assert icvos(*w_evaluate(root), "--shard", f"{index}/2", "--out", root / f"s{index}") == 0
    assert icvos("leaderboard", "add", root / "run", "--benchmark", root / "bench", "--board", root / "board") == 0
    coco(root / "coco")
    davis(root / "davis")
    video = next(path for path in (root / "bench").rglob("00000.jpg"))
    shutil.copytree(video.parent, root / "frames")
    shutil.copy(video, root / "photo.jpg")
    shutil.copy(next((root / "bench").rglob("00000.png")), root / "photo.png")
    return root


def _content(path: Path) -> Any:
    """What a file says, without what the clock says."""
    if path.suffix == ".json":
        return _steady(json.loads(path.read_bytes()))
    if path.suffix == ".jsonl":
        return sorted(json.dumps(_steady(json.loads(line)), sort_keys=True) for line in path.read_text().splitlines())
    if path.suffix in (".webm", ".mp4", ".html"):
        return path.stat().st_size > 0
    return path.read_bytes()


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(each) for key, each in value.items() if not MEASURED.fullmatch(key)}
    return [_steady(each) for each in value] if isinstance(value, list) else value


def _files(root: Path) -> dict[str, Path]:
    """Files by their places; not what is hidden, partial, or cached by the places of what it was made from."""
    found = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    passed = {k for k in found if "cache" in k.parts or any(p.startswith(".") or ".partial" in p for p in k.parts)}
    return {key.as_posix(): path for key, path in found.items() if key not in passed}


def _start(words: list[Any], home: Path) -> subprocess.Popen[bytes]:
    """Start a command, in a group of its own."""
    with (home / "printed").open("wb") as printed:
        return subprocess.Popen(
            [sys.executable, "-m", "icvos.cli", *map(str, words)],
            env={**os.environ, "ICVOS_HOME": str(home), "OMP_NUM_THREADS": "1"},
            stdout=printed,
            stderr=printed,
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes], home: Path) -> None:
    assert process.wait(300) == 0, (home / "printed").read_text()[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_and_given_again(name: str, world: Path, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    home = tmp_path / "home"
    for folder in (reference, home):
        folder.mkdir()
    begin = time.monotonic()
    _end(_start(COMMANDS[name](world, reference), home), home)
    whole = time.monotonic() - begin
    expected = {key: _content(path) for key, path in _files(reference).items()}
    assert expected
    generator = random.Random(name)
    for number in range(KILLS):
        out = tmp_path / f"out{number}"
        out.mkdir()
        words = COMMANDS[name](world, out)
        process = _start(words, home)
        after = generator.uniform(0, 1.1 * whole)
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        what = f"{name}, killed after {after:.3f} of {whole:.3f} s"
        for key, path in _files(out).items():
            if path.name not in GROWING:
                assert key in expected and _content(path) == expected[key], f"{what}: {key} is half-written"
        # A build that has said that it is done is done, and is refused the second time.
        if not re.search("^built ", (home / "printed").read_text(), re.MULTILINE):
            _end(_start(words, home), home)
        written = _files(out)
        assert sorted(written) == sorted(expected), what
        for key, path in written.items():
            assert _content(path) == expected[key], f"{what}: {key} differs"
        left = [path for path in out.rglob("*") if path.name.endswith((".tmp", ".partial"))]
        assert not left, f"{what}: left {left}"
        shutil.rmtree(out)
