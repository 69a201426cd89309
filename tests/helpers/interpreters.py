"""Environments of other interpreters for tests: one with numpy alone, and what the method's processes are."""

from __future__ import annotations

import venv
from pathlib import Path

import numpy as np


def numpy_alone(folder: Path) -> Path:
    """Make an environment of this Python that has numpy and no icvos, by links; return its program."""
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = folder.glob("lib/python3*/site-packages")
    home = Path(np.__file__).parents[1]
    for path in (*home.glob("numpy"), *home.glob("numpy.libs"), *home.glob("numpy-*.dist-info")):
        (packages / path.name).symlink_to(path)
    return folder / "bin/python"


def hosts(python: Path | str) -> list[int]:
    """Return the processes that run the program of an environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == str(python).encode():
            found.append(int(path.parent.name))
    return found
