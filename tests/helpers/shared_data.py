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


def goldens(config: pytest.Config, family: str) -> Path:
    """Return the folder of a family of goldens, in ``--golden-dir`` or ``../shared/benchmarks``, or skip the test."""
    given = config.getoption("--golden-dir")
    folder = Path(given) / family if given else shared("benchmarks", family)
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder
