"""What holds of every export: it goes on, it is the same twice, and half or altered ones are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from board_runs import icvos
from tiny import write_image_benchmark, write_video_benchmark

from icvos.exports.export import export
from icvos.exports.folder import ExportFolder
from icvos.exports.formats import FORMATS
from icvos.manifest import iter_files
from icvos.models.needs import missing_packages
from icvos.runs.run import Run


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A benchmark of videos, one of images, and a run with its masks."""
    folder = tmp_path_factory.mktemp("subjects")
    write_video_benchmark(folder / "video", videos=2, frames=3, draws=2, size=(40, 48), apart=20)
    write_image_benchmark(folder / "image")
    words = ("--model", "histogram", "--benchmark", folder / "video", "--out", folder / "run", "--save-masks")
    assert icvos("evaluate", *words) == 0
    return {name: folder / name for name in ("video", "image", "run")}


CASES = [
    pytest.param(
        form.name, kind, marks=pytest.mark.skipif(bool(missing_packages(form.extra)), reason=f"needs {form.extra}")
    )
    for form in FORMATS
    for kind in form.of
    if not form.file  # one file is never half; it has tests of its own
]

# What a format cannot do without, beside its name: by format and kind.
NEEDS: dict[tuple[str, str], tuple[str, ...]] = {("hub", "run"): ("--dataset", "me/bench")}


def contents(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in iter_files(root)}


@pytest.mark.parametrize(("to", "kind"), CASES)
def test_it_goes_on_and_is_the_same_twice(
    to: str, kind: str, subjects: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("export", subjects[kind], "--to", to, *NEEDS.get((to, kind), ()))
    assert icvos(*words, "--out", tmp_path / "whole") == 0
    whole = contents(tmp_path / "whole")
    assert icvos("export", "check", tmp_path / "whole") == 0
    # Of all files two are not the format's own: export.json and the manifest.
    real, left = ExportFolder.write, [(len(whole) - 2) // 2]

    def stop(self: ExportFolder, *given: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ExportFolder, "write", stop)
        assert icvos(*words, "--out", tmp_path / "again") != 0
    assert icvos("export", "check", tmp_path / "again") == 2
    assert icvos(*words, "--out", tmp_path / "again") == 0
    assert contents(tmp_path / "again") == whole
    assert icvos(*words, "--out", tmp_path / "again") == 0


@pytest.mark.parametrize(("to", "kind"), CASES)
def test_altered_files_are_refused(to: str, kind: str, subjects: dict[str, Path], tmp_path: Path) -> None:
    words = ("export", subjects[kind], "--to", to, *NEEDS.get((to, kind), ()))
    assert icvos(*words, "--out", tmp_path / "good") == 0
    for number, path in enumerate(name for name in contents(tmp_path / "good") if name != "manifest.csv"):
        if number % 3 == 0:
            bad = tmp_path / f"bad{number}"
            shutil.copytree(tmp_path / "good", bad)
            data = (bad / path).read_bytes()
            (bad / path).write_bytes(data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :])
            assert icvos("export", "check", bad) == 2, path
            (bad / path).unlink()
            assert icvos("export", "check", bad) == 2, path


def test_what_has_no_such_form_and_what_is_no_export(
    subjects: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert icvos("export", subjects["video"], "--to", "csv", "--out", tmp_path / "out") == 2
    assert "a video benchmark has no form 'csv'" in capsys.readouterr().err
    assert icvos("export", subjects["run"], "--to", "csv", "--with-frames", "--out", tmp_path / "out") == 2
    assert "csv takes no --with-frames" in capsys.readouterr().err
    assert icvos("export", subjects["video"], "--to", "coco", "--link", "--out", tmp_path / "out") == 2
    assert "--link is of images, and there are none without --with-frames" in capsys.readouterr().err
    assert icvos("export", tmp_path, "--to", "csv", "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "neither a run nor a benchmark" in said and "expected a folder with run.json or benchmark.json" in said
    assert not (tmp_path / "out").exists()
    assert icvos("export", "check", tmp_path) == 2
    assert "a folder made by icvos export" in capsys.readouterr().err
    assert icvos("export", subjects["run"], "--to", "csv", "--out", subjects["run"]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert export(Run.open(subjects["run"]), "csv", tmp_path / "python") is True
    assert export(Run.open(subjects["run"]), "csv", tmp_path / "python") is False
