"""What holds of every export: it goes on, it is the same twice, and half or altered ones are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_runs import icvos
from exported import refusal
from tiny import write_image_benchmark, write_video_benchmark

from icvos.benchmark import load_benchmark
from icvos.exports import folder as folders
from icvos.exports.export import check_export, default_out, export
from icvos.exports.folder import ExportFolder
from icvos.exports.formats import FORMATS
from icvos.files import read_csv, read_json, write_csv, write_json
from icvos.manifest import iter_files, write_manifest
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


# ------------------------------------------------------------------------------------------ places, and what lies there


@pytest.mark.parametrize("subject", ["video", "run"])
def test_what_is_whole_stays_as_it_is(
    subject: str, subjects: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No export lies in a benchmark, a run or another export, named through a link or not."""
    shutil.copytree(subjects[subject], tmp_path / "whole")
    (tmp_path / "link").symlink_to("whole")
    to = "coco" if subject == "video" else "csv"
    assert icvos("export", subjects[subject], "--to", to, "--out", tmp_path / "export") == 0
    before = sorted(tmp_path.rglob("*"))
    for place in ("whole/a", "whole/a/b", "link/a", "export/a"):
        line = refusal(capsys, "export", tmp_path / "whole", "--to", to, "--out", tmp_path / place)
        assert "the export would lie in a benchmark, a run or another export" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_somebodys_stays(subjects: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/.draft.tmp").write_text("mine")
    line = refusal(capsys, "export", subjects["video"], "--to", "coco", "--out", tmp_path / "theirs")
    assert "holds something else" in line and (tmp_path / "theirs/.draft.tmp").read_text() == "mine"
    line = refusal(capsys, "export", subjects["video"], "--to", "coco", "--out", tmp_path / "theirs/.draft.tmp")
    assert "a file is there, and no folder" in line
    # What a killed export left as it began is its own.
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/.export.json.tmp").write_text("{")
    assert icvos("export", subjects["video"], "--to", "coco", "--out", tmp_path / "begun") == 0
    overlapping = write_video_benchmark(tmp_path / "bench", videos=1, frames=2, draws=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert "overlap" in refusal(capsys, "export", overlapping, "--to", "davis", "--out", tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and not list((tmp_path / "empty").iterdir())


def test_room_is_asked_for_what_is_not_written_yet(
    subjects: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("export", subjects["video"], "--to", "ytvis", "--with-frames", "--out", tmp_path / "out")
    monkeypatch.setattr(folders, "free_bytes", lambda _: 100)
    assert "the disk has 100 B free" in refusal(capsys, *words)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with monkeypatch.context() as patch:
        patch.setattr(folders, "free_bytes", lambda _: 1 << 30)
        assert icvos(*words) == 0
    (tmp_path / "out/manifest.csv").unlink()
    assert icvos(*words) == 0


# ------------------------------------------------------------------------------------------------ strangers' benchmarks


def altered(root: Path, table: str, change: Callable[[list[dict[str, str]]], Any]) -> None:
    """Change a table, with a manifest that fits."""
    rows = read_csv(root / table, ())
    columns = list(rows[0])
    change(rows)
    write_csv(root / table, columns, rows)
    write_manifest(root)


TABLES: dict[str, tuple[str, Callable[[list[dict[str, str]]], Any], str]] = {
    "frames": ("videos.csv", lambda rows: rows[0].update(frames=str(10**12)), "expected 1000000000000, of videos.csv"),
    "no frame": ("videos.csv", lambda rows: rows[0].update(frames="0"), "a whole number from 1"),
    "height": ("videos.csv", lambda rows: rows[0].update(height=str(10**12)), "a whole number from 1 to 65535"),
    "order": ("frames.csv", lambda rows: rows.reverse(), "are not in order"),
    "no episode": ("episodes.csv", lambda rows: rows.clear(), "no episode"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_contradict_each_other(
    case: str, subjects: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made of a number that stands in a table alone: neither by an export nor by its check."""
    table, change, said = TABLES[case]
    for to in ("ytvis", "coco", "davis", "codabench"):
        good = tmp_path / f"{to}"
        assert icvos("export", subjects["video"], "--to", to, "--out", good) == 0
        altered(good / "bundle/reference_data" if to == "codabench" else good, table, change)
        write_manifest(good)
        if to != "codabench":  # whose settings name the manifest
            assert said in "\n".join(check_export(good))
    shutil.copytree(subjects["video"], tmp_path / "bench")
    altered(tmp_path / "bench", table, change)
    for form in FORMATS:
        if "video" in form.of and not form.file and not missing_packages(form.extra):
            words = ("export", tmp_path / "bench", "--to", form.name, "--out", tmp_path / f"out-{form.name}")
            assert said in refusal(capsys, *words), form.name


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "a\nb"}, "the name is 'a�b': it holds letters that are not seen"),
        ({"name": "x" * 300}, "it has 300 letters"),
        ({"version": "1\x7f"}, "the version is '1�'"),
        ({"licences": {"a": float("nan")}}, "the header holds what cannot be written again"),
        ({"licences": {"\ud800": "b"}}, "the header holds what cannot be written again"),
    ],
)
def test_headers_that_no_file_could_hold(
    fields: dict[str, Any], said: str, subjects: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(subjects["image"], tmp_path / "bench")
    header = {**read_json(tmp_path / "bench/benchmark.json"), **fields}
    (tmp_path / "bench/benchmark.json").write_text(json.dumps(header))
    write_manifest(tmp_path / "bench")
    assert said in refusal(capsys, "export", tmp_path / "bench", "--to", "coco", "--out", tmp_path / "out")


def test_texts_of_strangers_make_no_page(subjects: dict[str, Path], tmp_path: Path) -> None:
    """Of a name, a licence or an id nothing is Markdown or HTML, and an id may be as long as a file's name."""
    name, video = "<b>é</b> # *x*: 'q' \U0001f600", "v" * 255
    shutil.copytree(subjects["video"], tmp_path / "bench")
    (tmp_path / "bench/videos/tiny__v0").rename(tmp_path / "bench/videos" / video)
    header = read_json(tmp_path / "bench/benchmark.json")
    licences = {"a*b*": "CC\n# <script>"}
    write_json(tmp_path / "bench/benchmark.json", {**header, "name": name, "licences": licences})
    for table in ("videos.csv", "pairs.csv", "frames.csv", "episodes.csv"):
        altered(
            tmp_path / "bench",
            table,
            lambda rows: [row.update(video=video) for row in rows if row["video"] == "tiny__v0"],
        )
    for to in ("ytvis", "coco", "davis", "codabench"):
        assert icvos("export", tmp_path / "bench", "--to", to, "--out", tmp_path / to) == 0
        assert icvos("export", "check", tmp_path / to) == 0
    pages = tmp_path / "codabench/bundle/pages"
    assert r"# \<b\>é\</b\> \# \*x\*: 'q'" in (pages / "overview.md").read_text()
    assert r"- a\*b\*: CC \# \<script\>" in (pages / "data.md").read_text()
    assert default_out(load_benchmark(tmp_path / "bench"), "hub").name.isascii()
