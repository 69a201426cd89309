"""Episodes as folders for a machine without icvos."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import icvos
from programs import BRIGHT, write_program
from raw_trees import davis
from tiny import write_image_benchmark, write_video_benchmark

from icvos.benchmark import load_benchmark
from icvos.evaluation.torch_state import episode_seed
from icvos.exports.episodes import plan_export
from icvos.files import read_json
from icvos.images import read_image
from icvos.runs.run import Run


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    return write_video_benchmark(tmp_path / "bench", videos=2, frames=3, draws=2, size=(40, 48))


def export(bench: Path, out: Path, *words: Any) -> int:
    return icvos("export-episodes", "--benchmark", bench, "--out", out, *words)


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_a_folder_for_each_episode_and_one_for_each_video(bench: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(bench, out, "--seed", 3) == 0
    opened = load_benchmark(bench)
    assert sorted(path.name for path in (out / "videos").iterdir()) == sorted(opened.videos)
    for episode in opened.episodes:
        folder = out / "episodes" / episode.id
        request = read_json(folder / "request.json")
        assert request["seed"] == episode_seed(3, episode.id) and request["size"] == [40, 48] and request["count"] == 3
        video = opened.video(episode.video)
        for index in range(3):
            for path in (folder / (request["frames"] % index), folder / f"frames/{index:05d}.png"):
                assert np.array_equal(read_image(path), video[index])
        (support,) = request["supports"]
        assert np.array_equal(read_image(folder / support["image"]), opened.supports(episode)[0].image)
        mask = folder / (request["masks"] % 0)
        assert mask.parent.resolve() == (folder / "masks").resolve() == out / "masks" / episode.id


def test_it_goes_on_and_refuses_what_is_of_something_else(
    bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert export(bench, out) == 0
    before = times(out)
    lost = next((out / "videos").rglob("00001.png"))
    request = next((out / "episodes").rglob("request.json"))
    content, pixels = request.read_bytes(), lost.read_bytes()
    lost.unlink()
    request.unlink()
    (lost.parent / ".00001.png.tmp").write_bytes(b"half")
    assert export(bench, out) == 0
    assert (request.read_bytes(), lost.read_bytes()) == (content, pixels)
    again = times(out)
    assert again.keys() == before.keys()
    assert {path for path in again if again[path] != before[path]} >= {lost, request}
    assert not {path for path in again if again[path] != before[path]} - {lost, *request.parent.rglob("*")}
    for words in (("--seed", 1), ("--shots", 2), ("--frames", "ppm"), ("--limit-episodes", 1), ("--protocol", "paper")):
        capsys.readouterr()
        assert export(bench, out, *words) == 2
        name = words[0].strip("-").replace("-", "_")
        assert f"the folder holds another export (other {name})" in capsys.readouterr().err
    assert export(bench, bench) == 2
    assert "the folder holds something else" in capsys.readouterr().err


def test_a_dry_run_says_the_disk_and_writes_nothing(
    bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert export(bench, out, "--dry-run", "--frames", "ppm") == 0
    printed = capsys.readouterr().out
    assert "6 episodes, 2 videos, 6 frames" in printed and "enough" in printed and not out.exists()
    opened = load_benchmark(bench)
    plan = plan_export(opened, frames="ppm")
    plan.write(out)
    written = sum(path.stat().st_size for path in out.rglob("*") if path.suffix in (".ppm", ".pgm"))
    assert plan.estimate() == pytest.approx(written, rel=0.1)


def test_what_comes_back_is_scored_as_by_evaluate(bench: Path, tmp_path: Path) -> None:
    program = write_program(tmp_path, BRIGHT)
    out = tmp_path / "out"
    assert export(bench, out, "--frames", "ppm") == 0
    for folder in sorted((out / "episodes").iterdir()):
        subprocess.run([program, folder], check=True)
    assert icvos("score", out / "masks", "--benchmark", bench, "--out", tmp_path / "scored") == 0
    words = ("--model", f"exec:{program}", "--set", "frames=ppm", "--benchmark", bench, "--out", tmp_path / "run")
    assert icvos("evaluate", *words) == 0
    here, there = Run.open(tmp_path / "run"), Run.open(tmp_path / "scored")
    assert here.summary["J&F"] == there.summary["J&F"] > 0
    assert here.result["per_category"] == there.result["per_category"]


def test_queries_are_videos_of_one_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench, out = write_image_benchmark(tmp_path / "bench"), tmp_path / "out"
    assert export(bench, out) == 0
    opened = load_benchmark(bench)
    for folder in (out / "episodes").iterdir():
        request = read_json(folder / "request.json")
        assert request["count"] == 1 and read_image(folder / (request["frames"] % 0)).shape[:2] == tuple(
            request["size"]
        )
        (folder / "masks/00000.png").write_bytes((folder / "supports/0_mask.png").read_bytes())
    assert len(list((out / "episodes").iterdir())) == len([e for e in opened.episodes if e.protocol == "fss-native"])
    capsys.readouterr()
    icvos("score", out / "masks", "--benchmark", bench, "--out", tmp_path / "scored")
    said = capsys.readouterr()
    assert "episodes are" not in said.err and "frames are" not in said.err


def test_vos_needs_no_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    davis(tmp_path / "davis")
    bench = tmp_path / "vos"
    assert icvos("build-data", "vos", "--davis", tmp_path / "davis", "--out", bench) == 0
    capsys.readouterr()
    assert export(bench, tmp_path / "out") == 2
    assert "has no supports to be written" in capsys.readouterr().err
    program = write_program(tmp_path, 'cp "$1/supports/0_mask.png" "$1/masks/00000.png"')
    words = ("--model", f"exec:{program}", "--benchmark", bench, "--limit-frames", 1, "--protocol", "native")
    assert icvos("evaluate", *words, "--out", tmp_path / "run") == 0
    assert Run.open(tmp_path / "run").summary["J&F"] == 100
