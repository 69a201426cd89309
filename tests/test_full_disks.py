"""Every command that writes, on a disk that is full, under a limit on a file's size, and with few open files.

It ends with one line and status 2, or does its work; nothing that looks whole is half-written; and the same command,
given again where there is room, ends as if nothing had happened.
"""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from writers import (
    COMMANDS,
    end,
    expected_of,
    files,
    judge_finished,
    judge_unfinished,
    start,
    written_world,
)

TIMES = int(os.environ.get("ICVOS_DISKS", "2"))
"""How full disks, and limits, each command meets."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with written_world(tmp_path_factory.mktemp("disks") / "world") as root:
        yield root


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make file systems in memory of so many bytes."""
    mounted: list[Path] = []

    def make(size: int) -> Path:
        if mounted:
            subprocess.run(["mount", "-o", f"remount,size={size}", mounted[0]], check=True)
            return mounted[0]
        place = tmp_path / "disk"
        place.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "icvos-test", place]
        if subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("only root may mount a file system")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


def _refused(process: subprocess.Popen[bytes], home: Path, what: str) -> bool:
    """Whether a command ended with one line and status 2; else it must have done its work."""
    status = process.wait(300)
    text = (home / "printed").read_text()
    assert "Traceback" not in text and "unexpected" not in text, f"{what}: {text[-3000:]}"
    lines = [line for line in re.split("[\r\n]", text) if line.startswith(("icvos: ", "error: "))]
    assert status in (0, 2) and len(lines) == (status == 2), f"{what}: {status}: {text[-3000:]}"
    return status == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(name: str, world: Path, tmp_path: Path, disk: Callable[[int], Path]) -> None:
    expected = expected_of(world, name, tmp_path / "reference")
    page = resource.getpagesize()
    used = sum(path.stat().st_size // page + 2 for path in (tmp_path / "reference/out").rglob("*"))
    generator = random.Random(name)
    home = tmp_path / "home"
    home.mkdir()
    met = False
    for number in range(TIMES):
        room = page * max(1, int(used * (0, 0.5, *(generator.random() for _ in range(TIMES)))[number]))
        root = disk(room)
        (root / "temporary").mkdir()
        if not number:  # nothing fits
            (root / "temporary/full").write_bytes(bytes(room))
        words = COMMANDS[name](world, root)
        what = f"{name} in {room} bytes"
        refused = _refused(start(world, words, home, TMPDIR=str(root / "temporary")), home, what)
        shutil.rmtree(root / "temporary")
        if refused:
            met = True
            judge_unfinished(root, expected, what)
            disk(1 << 30)
            end(start(world, words, home), home)
        judge_finished(root, expected, what)
        for path in root.iterdir():
            subprocess.run(["rm", "-rf", path], check=True)
    assert met


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_limit_on_the_size_of_files(name: str, world: Path, tmp_path: Path) -> None:
    expected = expected_of(world, name, tmp_path / "reference")
    largest = max(path.stat().st_size for path in files(tmp_path / "reference/out").values())
    generator = random.Random(name)
    home = tmp_path / "home"
    home.mkdir()
    for number in range(TIMES):
        size = max(1, int(largest * (0.99, 0.3, *(generator.random() for _ in range(TIMES)))[number]))
        out = tmp_path / f"out{number}"
        out.mkdir()
        words = COMMANDS[name](world, out)
        what = f"{name} with files of at most {size} bytes"
        # What it prints goes to a file of this length as well.
        process = start(world, words, home, limit=(resource.RLIMIT_FSIZE, max(size, 4096)))
        if _refused(process, home, what):
            judge_unfinished(out, expected, what)
            end(start(world, words, home), home)
        judge_finished(out, expected, what)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_few_open_files(name: str, world: Path, tmp_path: Path) -> None:
    expected = expected_of(world, name, tmp_path / "reference")
    home, generator = tmp_path / "home", random.Random(name)
    home.mkdir()
    for number, most in enumerate([64, *(generator.randint(8, 63) for _ in range(TIMES - 1))]):
        out = tmp_path / f"out{number}"
        out.mkdir()
        words = COMMANDS[name](world, out)
        what = f"{name} with {most} open files"
        process = start(world, words, home, limit=(resource.RLIMIT_NOFILE, most))
        if _refused(process, home, what):
            judge_unfinished(out, expected, what)
            end(start(world, words, home), home)
        judge_finished(out, expected, what)
