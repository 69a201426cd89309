"""icvos doctor: a line a thing, and exit 1 only where something will fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from icvos import cli
from icvos.commands import doctor
from icvos.installation import install_command


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", *args])
    return int(stop.value.code or 0), capsys.readouterr().out


def test_says_what_is_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "home"))
    status, out = run(capsys)
    assert status == 0
    for word in ("icvos", "core", "torch", "sam", "metrics", "home", "disk", "demo", "weights", "models"):
        assert any(line[5:].startswith(word) for line in out.splitlines()), word
    assert f"{tmp_path}/home (from $ICVOS_HOME)" in out and "not built yet: icvos build-data" in out


def test_says_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    there = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("peft", "pandas") else there(name))
    status, out = run(capsys)
    assert status == 1
    assert f"missing: pandas; {install_command()}" in out
    assert f"not installed: peft; {install_command('train')}" in out


def test_other_sam2_and_two_opencvs_are_seen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = doctor._version
    changed = {"sam2": "1.0", "opencv-python-headless": "5.0"}
    monkeypatch.setattr(doctor, "_version", lambda name: changed.get(name) or there(name))
    status, out = run(capsys)
    assert status == 1
    assert "pip install sam2==1.1.0" in out and "uninstall one" in out


def test_weights_are_verified(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "sam2.1_hiera_tiny.pt").write_bytes(b"not it")
    (tmp_path / "weights" / "mine.pt").write_bytes(b"mine")
    status, out = run(capsys, "--verify")
    assert status == 1 and "another hash than published" in out and "mine.pt: no hash known" in out
    assert run(capsys)[0] == 0
