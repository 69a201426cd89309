"""Where the project's shared samples and figures lie, beside the checkout; a test that needs them skips without."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


def shared(*parts: str) -> Path:
    """Return a path under ``../shared``, or skip the test where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(('../shared', *parts))}, which is not part of the repository")
    return path


def goldens(config: pytest.Config, family: str, *files: str) -> Path:
    """Return the folder of a family of goldens, or skip the test where it is absent.

    ``--golden-dir`` names such a folder, or one with a folder for each family, as ``../shared/benchmarks`` is.

    Args:
        config: Of the test.
        family: The name of its folder.
        files: What it must hold for the test.
    """
    given = config.getoption("--golden-dir")
    if given and not Path(given).is_dir():
        pytest.fail(f"--golden-dir {given} is no folder")
    folder = Path(given) if given else shared("benchmarks", family)
    folder = folder / family if given and (folder / family).is_dir() else folder
    for name in files:
        if not (folder / name).is_file():
            pytest.skip(f"{name} is not in {folder}")
    return folder
