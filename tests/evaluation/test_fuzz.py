"""Damaged files through evaluate, score and merge: one line at most, no traceback, no hang, nothing half-written.

Flipped, cut, zeroed, inserted and repeated bytes in the PNG, JPEG, CSV and JSON files of a small benchmark, of masks
made elsewhere and of run folders; from a seed, so that a failure comes back.
"""

from __future__ import annotations

import json
import random
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from run_models import RED, write_model
from tiny import write_video_benchmark

from icvos import cli
from icvos.manifest import write_manifest
from icvos.masks import write_mask

PART = 60
TOKENS = ["-1", "0", "99999999999999999999", "1e999", "NaN", "null", "[]", "{}", '"', "", "é", "../x", "\r\n", ","]


def damage(data: bytes, generator: random.Random) -> bytes:
    """Return the bytes of a file with something wrong with them."""
    out = bytearray(data)
    kind = generator.choice(["flip", "flip", "flip", "cut", "zero", "insert", "repeat", "token", "empty"])
    place = generator.randrange(len(out))
    if kind == "flip":
        for _ in range(generator.choice([1, 1, 2, 8])):
            out[generator.randrange(len(out))] ^= 1 << generator.randrange(8)
    elif kind == "cut":
        del out[place:]
    elif kind == "zero":
        out[place : place + 16] = bytes(len(out[place : place + 16]))
    elif kind == "insert":
        out[place:place] = generator.randbytes(generator.randrange(1, 40))
    elif kind == "repeat":
        out[place:place] = out[: generator.randrange(1, len(out) + 1)]
    elif kind == "token":
        digits = [i for i, byte in enumerate(out) if 48 <= byte <= 57] or [place]
        place = generator.choice(digits)
        out[place : place + 1] = generator.choice(TOKENS).encode()
    else:
        out.clear()
    return bytes(out)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A benchmark, masks for it, label maps, a finished run and two shards."""
    root = tmp_path_factory.mktemp("fuzz") / "world"
    write_video_benchmark(root / "bench", videos=2, frames=3, draws=1, size=(20, 24))
    write_model(root, RED)
    run(
        "evaluate",
        "--model",
        root / "my_method.py",
        "--benchmark",
        root / "bench",
        "--out",
        root / "run",
        "--save-masks",
    )
    for index in (1, 2):
        run(
            "evaluate",
            "--model",
            root / "my_method.py",
            "--benchmark",
            root / "bench",
            "--out",
            root / f"s{index}",
            "--shard",
            f"{index}/2",
        )
    shutil.copytree(root / "run/masks", root / "masks")
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        for index in range(4):
            labels = generator.integers(0, 3, (12, 14), dtype=np.uint8)
            labels[0, 0] = 2
            for tree in ("truth", "labels"):
                write_mask(root / tree / name / f"{index:05d}.png", labels, colours=True)
    return root


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as stop, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd sizes and chunks before it fails
        cli.main([str(a) for a in arguments])
    return int(stop.value.code or 0)


def plan(root: Path, generator: random.Random) -> tuple[Path, list]:
    """Return a file to damage and the command that meets it."""
    evaluate = ["evaluate", "--model", root / "my_method.py", "--benchmark", root / "bench", "--out"]
    score = ["score", root / "masks", "--benchmark", root / "bench", "--out", root / "new"]
    plans = {
        "bench": (root / "bench", generator.choice([[*evaluate, root / "new"], score])),
        "tables": (root / "bench", generator.choice([[*evaluate, root / "new"], score])),
        "masks": (root / "masks", score),
        "run": (root / "run", [*evaluate, root / "run"]),
        "shard": (root / "s1", ["merge", root / "s1", root / "s2", "--out", root / "new"]),
        "labels": (
            root / "labels",
            ["score", root / "labels", "--ground-truth", root / "truth", "--out", root / "new"],
        ),
        "truth": (root / "truth", ["score", root / "labels", "--ground-truth", root / "truth", "--out", root / "new"]),
    }
    kind = generator.choice(sorted(plans))
    folder, command = plans[kind]
    # The tables are few, the pictures many: each has its share.
    found = folder.glob("*.*") if kind in ("tables", "run", "shard") else folder.rglob("*.*")
    return generator.choice(sorted(path for path in found if path.is_file())), command


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2))])
def test_damaged_files(world, tmp_path, capsys, part):
    damaged_files(world, tmp_path, capsys, part)


@pytest.mark.slow
@pytest.mark.parametrize("part", [*range(3, 6), *range(100, 150)])
def test_more_damaged_files(world, tmp_path, capsys, part):
    damaged_files(world, tmp_path, capsys, part)


def damaged_files(world, tmp_path, capsys, part):
    generator = random.Random(1000 + part)
    statuses = set()
    root = shutil.copytree(world, tmp_path / "world")
    described = json.loads((root / "run/run.json").read_text())
    manifest = (root / "bench/manifest.csv").read_bytes()
    for number in range(PART):
        if generator.random() < 0.5:
            # Half-way runs are read back too, not only finished ones.
            (root / "run/run.json").write_text(json.dumps({**described, "status": "running"}))
        path, command = plan(root, generator)
        before = path.read_bytes()
        path.write_bytes(damage(before, generator))
        if path.is_relative_to(root / "bench") and path.name != "manifest.csv" and generator.random() < 0.7:
            write_manifest(root / "bench")  # else the changed file is noticed, and nothing behind it is tried
        begin = time.monotonic()
        status = run(*command)
        out, error = capsys.readouterr()
        what = f"part {part}, case {number}: {path.relative_to(root)} with {command[0]}: {status} {error}"
        statuses.add(status)
        assert status in (0, 1, 2), what
        assert "Traceback" not in error + out and "unexpected" not in error, what
        assert status != 2 or (error.startswith("icvos: ") and error.count("\n") == 1), what
        assert time.monotonic() - begin < 20, what
        left = [p for p in root.rglob("*") if p.suffix in (".tmp", ".partial")]
        assert not left, f"{what} left {left}"
        for result in root.rglob("result.json"):
            if result != path:
                assert json.loads(result.read_text())["schema"] == "icvos-result/1", what
        if status == 0 and "--out" in command:
            assert (command[command.index("--out") + 1] / "result.json").is_file(), what
        for place in root.iterdir():
            if place.is_dir() and (place.name == "run" or not (world / place.name).exists()):
                shutil.rmtree(place)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(before)
        (root / "bench/manifest.csv").write_bytes(manifest)
        shutil.copytree(world / "run", root / "run", dirs_exist_ok=True)
    assert {0, 2} <= statuses  # some damage is harmless, some is not: both were met
