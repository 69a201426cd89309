"""Worker processes: the script that starts them has a main guard, or is told of it in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
