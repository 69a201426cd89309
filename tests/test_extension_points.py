"""Adding one thing touches one place: each is added at run time and seen in a command's output."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import raw_trees as raw

from icvos import cli, plugins
from icvos.commands import leaderboard
from icvos.sources import SOURCES, SourceRow

ROOT = Path(__file__).resolve().parents[1]

READER = """
from icvos.sources.lvos import Lvos

class Ponds(Lvos):
    id = "ponds"
    title = "Ponds"
"""
METHOD = """
from icvos import ModelInfo, VideoModel, WeightInfo

class Newcomer(VideoModel):
    info = ModelInfo(
        name="newcomer",
        version="1",
        weights={"net": WeightInfo("somewhere")},
        demo_weights={"net": "icvos_test_newcomer/demo.safetensors"},
    )

    def segment(self, supports, video, *, seed):
        text = self.weights["net"].read_text()
        for frame in video:
            yield frame[..., 0] > int(text)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, as if a package were installed in it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    for name in [name for name in sys.modules if name.startswith("icvos_test_")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def icvos(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must succeed, and return what it prints."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    output = capsys.readouterr()
    assert not stop.value.code, output.err
    return output.out


def test_a_raw_data_set(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "icvos_test_ponds.py").write_text(READER)
    monkeypatch.setitem(SOURCES, "ponds", SourceRow("ponds", "icvos_test_ponds:Ponds", "Ponds: laid out as LVOS."))
    for module in ("ic_vos", "labels"):  # their options are read when they are first called
        monkeypatch.delitem(sys.modules, f"icvos.commands.builders.{module}", raising=False)
    assert re.search(r"--ponds DIR +Ponds: laid out as LVOS", icvos(capsys, "build-data", "ic-vos", "--help"))
    out = icvos(capsys, "build-data", "labels", "--ponds", raw.lvos(folder / "raw"), "--out", folder / "labels")
    assert f"page: {folder / 'labels' / 'ponds.html'}" in out
    for module in ("ic_vos", "labels"):  # the next test finds them without the row
        monkeypatch.delitem(sys.modules, f"icvos.commands.builders.{module}", raising=False)


def test_a_method_with_demo_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = folder / "icvos_test_newcomer"
    package.mkdir()
    (package / "__init__.py").write_text(METHOD)
    entry = EntryPoint("newcomer", "icvos_test_newcomer:Newcomer", "icvos.models")

    def installed(*, group: str) -> list[EntryPoint]:
        return [*entry_points(group=group), *([entry] if group == entry.group else [])]

    monkeypatch.setattr(plugins, "entry_points", installed)

    def row() -> str:
        lines = icvos(capsys, "models", "list").splitlines()
        return " ".join(next(line for line in lines if "newcomer" in line).split())

    assert row() == "newcomer 1 video online net not here -"
    (package / "demo.safetensors").write_text("100")
    assert row() == "newcomer 1 video online net here -"
    assert "demo weights: here" in icvos(capsys, "models", "show", "newcomer")
    assert "newcomer: keeps every rule" in icvos(capsys, "models", "check", "newcomer", "--quick")


def test_an_export_format(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "icvos_test_format.py").write_text(
        "def to_titles(tables):\n    return '|'.join(t.title for t in tables)\n"
    )
    monkeypatch.setitem(leaderboard.FORMATS, "titles", ((".titles",), "icvos_test_format:to_titles"))
    (folder / "board").mkdir()
    words: list[Any] = ["--board", folder / "board", "--published"]
    path = folder / "board.titles"
    assert icvos(capsys, "leaderboard", "render", path, *words) == f"titles: {path}\n"
    assert path.read_text().count("|") >= 1


def test_the_table_names_what_is_there() -> None:
    text = (ROOT / "docs" / "explanation" / "house.md").read_text(encoding="utf-8").partition("## Adding one thing")[2]
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 8
    for row in rows:
        name, path = re.findall(r"`([^`]+)`", row.split("|")[3])
        source = (ROOT / path).read_text(encoding="utf-8")
        if path == "setup.cfg":
            assert f"\n{name} =\n" in source, row
        else:
            targets = [
                node.targets[0] if isinstance(node, ast.Assign) else node.target
                for node in ast.parse(source).body
                if isinstance(node, (ast.Assign, ast.AnnAssign))
            ]
            assert name in {target.id for target in targets if isinstance(target, ast.Name)}, row
