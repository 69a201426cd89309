"""Every command that writes, killed by SIGKILL at some moment and given again: it ends as if nothing had happened.

After a kill nothing that looks whole is half-written: whatever has a final name has its final content, or its record
says that it is not finished. The moments are drawn from a seed; ``ICVOS_KILLS`` says how many kills each command gets.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from writers import COMMANDS, end, expected_of, judge_finished, judge_unfinished, start, written_world

KILLS = int(os.environ.get("ICVOS_KILLS", "2"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with written_world(tmp_path_factory.mktemp("kills") / "world") as root:
        yield root


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_and_given_again(name: str, world: Path, tmp_path: Path) -> None:
    begin = time.monotonic()
    expected = expected_of(world, name, tmp_path / "reference")
    whole = time.monotonic() - begin
    home = tmp_path / "home"
    home.mkdir()
    generator = random.Random(name)
    for number in range(KILLS):
        out = tmp_path / f"out{number}"
        out.mkdir()
        words = COMMANDS[name](world, out)
        process = start(world, words, home)
        after = generator.uniform(0, 1.1 * whole)
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        what = f"{name}, killed after {after:.3f} of {whole:.3f} s"
        judge_unfinished(out, expected, what)
        # A build that has said that it is done is done, and is refused the second time.
        if not re.search("^built ", (home / "printed").read_text(), re.MULTILINE):
            end(start(world, words, home), home)
        judge_finished(out, expected, what)
        shutil.rmtree(out)
