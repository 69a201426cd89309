"""A run as CSV tables."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from board_runs import icvos
from tiny import write_image_benchmark, write_video_benchmark

from icvos.files import read_csv, read_json
from icvos.runs.records import read_frames
from icvos.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_video_benchmark(folder / "bench", videos=2, frames=3, draws=2, size=(40, 48))
    assert icvos("evaluate", "--model", "histogram", "--benchmark", folder / "bench", "--out", folder / "run") == 0
    return folder / "run"


def test_every_figure_is_there_at_full_precision(run: Path, tmp_path: Path) -> None:
    assert icvos("export", run, "--to", "csv", "--out", tmp_path / "out") == 0
    opened = Run.open(run)
    rows = read_csv(tmp_path / "out/episodes.csv", ("id", "J", "F"))
    assert [row["id"] for row in rows] == [record["id"] for record in opened.records]
    for row, record in zip(rows, opened.records, strict=True):
        assert float(row["J"]) == record["J"] and float(row["F"]) == record["F"]
    frames = read_csv(tmp_path / "out/frames.csv", ("id", "frame", "J", "F"))
    for record in opened.records:
        stored = read_frames(run, record["id"])
        assert stored is not None
        mine = [row for row in frames if row["id"] == record["id"]]
        assert [float(row["F"]) for row in mine] == stored["F"].tolist()
        assert [int(row["frame"]) for row in mine] == list(range(len(stored["F"])))
    result = {row["metric"]: row["value"] for row in read_csv(tmp_path / "out/result.csv", ("metric", "value"))}
    summary = read_json(run / "result.json")["summary"]
    assert result == {name: "" if value is None else str(value) for name, value in summary.items()}


def test_no_spreadsheet_runs_a_name(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    text = (copy / "episodes.jsonl").read_text()
    (copy / "episodes.jsonl").write_text(text.replace('"category_name": "person"', '"category_name": "=cmd()"'))
    assert icvos("export", copy, "--to", "csv", "--out", tmp_path / "out") == 0
    names = [row["category_name"] for row in read_csv(tmp_path / "out/episodes.csv", ("category_name",))]
    assert "'=cmd()" in names and "=cmd()" not in names


def test_images_have_no_frames(tmp_path: Path) -> None:
    write_image_benchmark(tmp_path / "bench")
    assert icvos("evaluate", "--model", "histogram", "--benchmark", tmp_path / "bench", "--out", tmp_path / "run") == 0
    assert icvos("export", tmp_path / "run", "--to", "csv", "--out", tmp_path / "out") == 0
    assert not (tmp_path / "out/frames.csv").exists()
    records = Run.open(tmp_path / "run").records
    rows = read_csv(tmp_path / "out/episodes.csv", ("id", "supports"))
    assert [row["supports"].split() for row in rows] == [record["supports"] for record in records]
