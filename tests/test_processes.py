"""Worker processes: the script that starts them has a main guard, or is told of it in one line."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from icvos.processes import limit_memory

CALL = "print(sorted(in_order(abs, [1, -2, 3], {workers})))"


@pytest.mark.parametrize(
    ("text", "workers", "answer"),
    [
        (CALL, 1, "[1, 2, 3]"),
        (CALL, 2, ""),
        ("def main():\n    {CALL}\nmain()", 2, ""),
        ("if __name__ == '__main__':\n    {CALL}", 2, "[1, 2, 3]"),
        ("def main():\n    {CALL}\nif __name__ == '__main__':\n    main()", 2, "[1, 2, 3]"),
    ],
)
def test_a_script_without_a_main_guard_is_told(tmp_path: Path, text: str, workers: int, answer: str) -> None:
    script = tmp_path / "script.py"
    body = text.replace("{CALL}", CALL).replace("{workers}", str(workers))
    script.write_text(f"from icvos.processes import in_order\n{body}\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == answer
    if not answer:
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == 1 and "no main guard" in last and f"{script}, line" in last
        assert done.stderr.count("Traceback") == 1  # no worker was started


def test_code_of_no_file_needs_none() -> None:
    code = f"from icvos.processes import in_order\n{CALL.format(workers=2)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[1, 2, 3]"


def test_processes_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, bounds: limits.append(bounds[0]))
    used = os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text().split()[5])
    for workers in (1, 1000):
        limit_memory("cpu", workers=workers)
    limit_memory("cuda", workers=1000)
    lines = Path("/proc/meminfo").read_text().splitlines()
    memory = 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("MemTotal:", "SwapTotal:")))
    # What is used already is this process's own, and may grow a little meanwhile.
    assert len(limits) == 2 and limits[1] < used + memory / 1000 + (8 << 20) < limits[0]
