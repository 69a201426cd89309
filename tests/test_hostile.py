"""Altered files through the commands that read what strangers made: no traceback, no hang, nothing outside, bounded.

A file of each kind is altered by hypothesis, structure and bytes alike, and given to the command that meets it, in a
process with limits (``helpers/hostile.py``). ``make fuzz`` does so for an hour.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from board_runs import icvos
from hostile import WEIGHTS, Server, altered, damaged, judged
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from raw_trees import coco, davis
from run_models import RED, write_model
from tiny import write_video_benchmark

EXAMPLES = 12
MINUTES = float(os.environ.get("ICVOS_FUZZ_MINUTES", "0"))
"""Of the whole campaign, divided among the targets; 0 for a few examples."""
FIRST = int(os.environ.get("ICVOS_FUZZ_SEED", str(int(time.time()))))


@dataclass(frozen=True)
class Target:
    """Where an altered file comes from and what meets it.

    Attributes:
        folder: Whose files are altered, within the world.
        files: Patterns of these files.
        words: The command, given the folder with the altered file and a folder for output.
        status: What it ends with where nothing is altered; the small trees lack what ``check`` and ``source`` miss.
    """

    folder: str
    files: tuple[str, ...]
    words: Callable[[Path, Path, Path], list[Any]]
    status: int = 0


TARGETS = {
    "archive": Target(
        "sent", ("*.zip",), lambda w, at, out: ["submit", "check", at / "run.zip", "--benchmark", w / "bench"]
    ),
    "archive-added": Target(
        "sent",
        ("*.zip",),
        lambda w, at, out: ["leaderboard", "add", at / "run.zip", "--benchmark", w / "bench", "--board", out / "board"],
    ),
    "predictions-zip": Target(
        "masks-zip",
        ("*.zip",),
        lambda w, at, out: ["score", at / "masks.zip", "--benchmark", w / "bench", "--out", out],
    ),
    "predictions-rle": Target(
        "rle", ("*.json",), lambda w, at, out: ["score", at / "p.json", "--benchmark", w / "bench", "--out", out]
    ),
    "png": Target(
        "run/masks", ("*/*.png",), lambda w, at, out: ["score", at, "--benchmark", w / "bench", "--out", out]
    ),
    "run": Target("run", ("*.json", "*.jsonl"), lambda w, at, out: ["show", at]),
    "runs-on-a-board": Target(
        "runs", ("*/*.json", "*/*.jsonl"), lambda w, at, out: ["leaderboard", "show", "--runs", at]
    ),
    "record": Target(
        "board", ("*/*/*.json",), lambda w, at, out: ["leaderboard", "render", out / "page.html", "--board", at]
    ),
    "packed": Target("run", ("*.json", "*.jsonl"), lambda w, at, out: ["submit", "pack", at, "--out", out / "x.zip"]),
    "benchmark": Target("bench", ("*.json", "*.csv"), lambda w, at, out: ["build-data", "check", at], status=1),
    "benchmark-scored": Target(
        "bench", ("*.json", "*.csv"), lambda w, at, out: ["score", w / "run/masks", "--benchmark", at, "--out", out]
    ),
    "annotations": Target("coco", ("annotations/*.json",), lambda w, at, out: ["build-data", "source", at], status=1),
    "tubes": Target(
        "coco",
        ("annotations/*.json",),
        lambda w, at, out: ["build-data", "mask-tubes", "--coco", at, "--split", "val2014", "--out", out / "b"],
    ),
    "lists": Target("davis", ("ImageSets/*/*.txt",), lambda w, at, out: ["build-data", "source", at], status=1),
    "checkpoint": Target("weights", ("*.safetensors", "*.pth"), lambda w, at, out: [WEIGHTS, next(at.iterdir())]),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "world"
    write_video_benchmark(root / "bench", videos=2, frames=3, draws=1, size=(20, 24))
    words = ["--model", write_model(root, RED), "--benchmark", root / "bench", "--save-masks"]
    assert icvos("evaluate", *words, "--out", root / "run") == 0
    shutil.copytree(root / "run", root / "runs/a")
    shutil.copytree(root / "run", root / "runs/b")
    (root / "sent").mkdir()
    assert icvos("submit", "pack", root / "run", "--out", root / "sent/run.zip") == 0
    assert icvos("leaderboard", "add", root / "run", "--benchmark", root / "bench", "--board", root / "board") == 0
    (root / "masks-zip").mkdir()
    shutil.make_archive(str(root / "masks-zip/masks"), "zip", root / "run/masks")
    _write_rle(root / "run/masks", root / "rle")
    coco(root / "coco")
    davis(root / "davis")
    _write_weights(root / "weights")
    return root


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.end()


def _write_rle(masks: Path, out: Path) -> None:
    from pycocotools import mask as codes

    from icvos.files import write_json
    from icvos.masks import decode_mask

    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(masks.glob("*/*.png")):
        mask = decode_mask(path.read_bytes(), str(path))
        packed = codes.encode((mask > 0).astype("uint8", order="F"))
        code = {"size": list(packed["size"]), "counts": packed["counts"].decode()}
        rows.setdefault(path.parent.name, {})[path.stem] = code
    write_json(out / "p.json", rows)


def _write_weights(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("sam2")
    from tiny_weights import tiny_dcsam_file, tiny_sam2_file

    folder.mkdir()
    tiny_sam2_file(folder)
    tiny_dcsam_file(folder)
    torch.save({"model": {"a": torch.zeros(3), "b": torch.ones(2, 2)}}, folder / "small.pth")


def _places(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


@pytest.mark.parametrize("name", TARGETS)
def test_what_strangers_made_is_read_or_refused(name: str, world: Path, server: Server, tmp_path: Path) -> None:
    target = TARGETS[name]
    source = world / target.folder
    files = sorted(path for pattern in target.files for path in source.glob(pattern))
    assert files
    before = _places(world)
    home = tmp_path / "home"
    for folder in ("temporary", "home"):
        (tmp_path / folder).mkdir()
    environment = {"TMPDIR": str(tmp_path / "temporary"), "ICVOS_HOME": str(home), "HOME": str(home)}

    def attempt(path: Path, data: bytes) -> int:
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        at, out = work / "in" / "given", work / "out"
        # The altered file alone is new; the others are links, which cost nothing.
        _link(source, at)
        place = at / path.relative_to(source)
        place.unlink()
        place.write_bytes(data)
        if name == "checkpoint":
            for other in at.iterdir():
                if other != place:
                    other.unlink()
        out.mkdir()
        words = target.words(world, at, out)
        reply = server.answer(words, tmp_path / "printed", where=work, environment=environment)
        judged(reply, f"{name}: {path.relative_to(world)} as {data[:80]!r}… of {len(data)} bytes")
        assert {path.name for path in tmp_path.iterdir()} <= {"home", "temporary", "printed", "work"}
        assert {path.name for path in work.iterdir()} <= {"in", "out", "runs"}, (
            "something was written beside the output"
        )
        assert not [*(tmp_path / "temporary").glob("icvos-*")], "work is left in the temporary folder"
        assert not list(work.rglob("*.tmp")), "a half-written file is left"
        return reply.status

    for path in files[:3]:
        if path.suffix != ".pth":  # which holds no model
            assert attempt(path, path.read_bytes()) == target.status, f"{path.name} as it is"

    def one(data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(files))
        content = path.read_bytes()
        attempt(path, altered(data.draw, path.name, content) if content else damaged(data.draw, b"\0"))

    quiet = settings(
        deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink)
    )
    settings(quiet, max_examples=EXAMPLES, derandomize=True)(given(st.data())(one))()
    end, number, problems = time.monotonic() + 60 * MINUTES / len(TARGETS), FIRST, []
    while time.monotonic() < end:
        number += 1
        try:
            seed(number)(settings(quiet, max_examples=100)(given(st.data())(one)))()
        except AssertionError as problem:
            problems.append(f"seed {number}: {problem}")
    if MINUTES:
        print(f"{name}: {number - FIRST} times 100 cases, {len(problems)} with problems")
    assert not problems, "\n\n".join(problems)
    assert _places(world) == before


def _link(source: Path, at: Path) -> None:
    shutil.copytree(source, at, copy_function=os.link)
