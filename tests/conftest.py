"""Fixtures and options of all tests."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared_data import shared

# Small tensors on few cores: more threads only wait for each other. Set before torch is imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# A shell has what it starts in the background ignore Ctrl-C, and nohup hang-ups; so would the commands that are tested.
for _number, _own in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _own)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--parity-dir",
        default=None,
        help="Folder of parity fixtures (.npz); default ../shared/parity and parity_end_to_end where present.",
    )
    parser.addoption(
        "--golden-dir",
        default=None,
        help="Folder of goldens of public codes: of a family, or a folder for each; default ../shared/benchmarks.",
    )


@pytest.fixture
def real() -> Path:
    """The folder of real samples, ``../shared/real``."""
    return shared("real")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, headless."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with api.sync_playwright() as play:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = play.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's data folder."""
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path_factory.getbasetemp() / "icvos-home"))


@pytest.fixture(autouse=True)
def _no_second_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run is verified in a fresh process unless its test asks for it."""
    monkeypatch.setattr("icvos.evaluation.verify.DEFAULT_SECONDS", 0.0)
