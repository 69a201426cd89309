"""Fixtures and options of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--parity-dir", default=None, help="Folder of parity fixtures (.npz); default ../shared/parity where present."
    )


def shared(*parts: str) -> Path:
    """Return a path under ``../shared``, or skip the test where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(('../shared', *parts))}, which is not part of the repository")
    return path


@pytest.fixture
def real() -> Path:
    """The folder of real samples, ``../shared/real``."""
    return shared("real")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's data folder."""
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path_factory.getbasetemp() / "icvos-home"))
