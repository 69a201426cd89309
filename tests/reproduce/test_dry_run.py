"""Every rung's commands go through end to end, on the demo's raw layouts with small weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from board_runs import icvos

from icvos.models.needs import missing_packages
from icvos.reproduce.rungs import RUNGS


@pytest.mark.parametrize("name", RUNGS)
def test_a_rung_goes_through(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rung = RUNGS[name]
    if missing_packages(rung.extra):
        pytest.skip(f"needs the extra {rung.extra}")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    status = icvos("reproduce", "run", name, "--dry-run")
    out, error = capsys.readouterr()
    assert status == 0, error
    assert out.splitlines()[-1] == f"{name}: all {len(rung.steps)} commands go through"
    assert out.count("$ icvos ") == len(rung.steps)
    assert f"GPU-hours: {'not estimated' if rung.hours is None else f'about {rung.hours:g}'}; " in out
    assert "GPU memory, peak: not measured" in out and "GB of weights" in out and "SHA-256 " in out
    assert not list(tmp_path.glob("icvos-*")), "the temporary folder is left"


def test_a_rung_whose_extra_is_not_installed_is_not_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("icvos.reproduce.ladder.missing_packages", lambda extra: ("transformers",))
    assert icvos("reproduce", "run", "seggpt-coco-20i", "--dry-run") == 0
    assert capsys.readouterr().out.endswith("not tried: it lacks the package transformers (extra seggpt)\n")


def test_a_command_that_fails_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("icvos.reproduce.stand_ins.shorten", lambda words: [*words, "--shots", "0"])
    assert icvos("reproduce", "run", "persam-f-coco-20i", "--dry-run") != 0
    assert capsys.readouterr().err and not list(tmp_path.glob("icvos-*"))
