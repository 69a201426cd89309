"""What remedies say to install: as this icvos was, never a project of its name from an index."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from icvos import installation
from icvos.errors import MissingExtraError
from icvos.installation import install_command, requirements_of

ROOT = Path(__file__).resolve().parents[1]
REQUIRES = ["numpy>=1.26", 'torch>=2.5.1; extra == "sam"', "sam2==1.1.0; extra == 'sam'", 'ray==2.60.0; extra == "ray"']


class Installed:
    """Metadata of an installed icvos, with a direct_url.json or none."""

    requires = REQUIRES

    def __init__(self, record: Any) -> None:
        self._record = record

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._record if self._record is None or isinstance(self._record, str) else json.dumps(self._record)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "my checkout"
    (folder / "icvos").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    return folder


def said(monkeypatch: pytest.MonkeyPatch, record: Any, extra: str = "sam", **more: Any) -> str:
    monkeypatch.setattr(installation, "_distribution", lambda: record and Installed(record))
    return install_command(extra, **more)


def test_a_checkout_and_an_editable_one(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = checkout.as_uri()
    assert said(monkeypatch, {"url": url, "dir_info": {}}) == f"pip install '{checkout}[sam]'"
    editable = {"url": url, "dir_info": {"editable": True}}
    assert said(monkeypatch, editable, "sam,ray") == f"pip install -e '{checkout}[sam,ray]'"
    assert said(monkeypatch, editable, "") == f"pip install -e '{checkout}'"
    assert said(monkeypatch, editable, "", again=True) == f"pip install --force-reinstall --no-deps -e '{checkout}'"


def test_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, None) == f"pip install -e {shlex.quote(f'{ROOT}[sam]')}"


def test_a_wheel_by_its_path_and_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "icvos-0.2.0-py3-none-any.whl"
    wheel.touch()
    assert said(monkeypatch, {"url": wheel.as_uri(), "archive_info": {}}) == f"pip install '{wheel}[sam]'"
    address = "https://example.org/icvos-0.2.0-py3-none-any.whl"
    assert said(monkeypatch, {"url": address, "archive_info": {}}) == f"pip install 'icvos[sam] @ {address}'"
    git = {"url": "https://example.org/icvos.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    assert said(monkeypatch, git) == "pip install 'icvos[sam] @ git+https://example.org/icvos.git@abc'"


GONE = {"url": "file:///no/such/folder", "dir_info": {"editable": True}}
GONE_WHEEL = {"url": "file:///no/such/icvos.whl", "archive_info": {}}


@pytest.mark.parametrize("record", ["{}", "no JSON", "[]", '{"url": 3}', GONE, GONE_WHEEL, {"url": "https://x:y]"}])
def test_where_nothing_tells_the_packages_are_named(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, record) == "pip install sam2==1.1.0 'torch>=2.5.1'"
    assert said(monkeypatch, record, "") == "pip install 'numpy>=1.26'"
    assert "pip install" not in said(monkeypatch, record, "none") and "pip" not in said(monkeypatch, record, again=True)


def test_an_extra_that_a_plugin_made_up(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"url": checkout.as_uri(), "dir_info": {}}
    assert said(monkeypatch, record, "sam]; rm -rf ~ #,ray,\x1b[2J") == f"pip install '{checkout}[ray]'"


def test_requirements_of_the_installed_icvos() -> None:
    assert {Requirement(line).name for line in requirements_of("sam")} >= {"torch", "sam2", "segment-anything"}
    assert {Requirement(line).name for line in requirements_of("")} >= {"numpy", "click"}
    assert set(requirements_of("sam,ray")) == {*requirements_of("sam"), *requirements_of("ray")}


def test_no_remedy_asks_an_index_for_icvos() -> None:
    named = re.compile(r"(install|-U|--upgrade|--force-reinstall) +['\"]?icvos\b(?![-_/.]| @)")
    texts = [*ROOT.glob("*.md"), *(path for room in ("docs", "icvos", "baselines", "dcsam", "tools", "examples")
             for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".md", ".sh"))]  # fmt: skip
    found = [str(path) for path in texts if path.name != "CHANGELOG.md" and named.search(path.read_text("utf-8"))]
    assert not found
    assert not named.search(str(MissingExtraError("sam2", "sam", "model 'x'")))
