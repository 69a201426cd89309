"""Where pages may be written, and what of a folder they leave alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import icvos
from pages import open_page
from tiny import write_video_benchmark

from icvos.clips import chunk_script, page_folder, tidy_scripts
from icvos.errors import LockedError, PredictionError, UsageError
from icvos.evaluation.predictions import open_predictions
from icvos.report import report
from icvos.report.overlay import titled
from icvos.report.page import write_page
from icvos.report.run import open_run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark with runs of two methods."""
    root = tmp_path_factory.mktemp("folders")
    write_video_benchmark(root / "videos", videos=2, frames=3, draws=2)
    for model in ("full", "empty"):
        words = ("--model", model, "--benchmark", root / "videos", "--out", root / model, "--save-masks", "--no-verify")
        assert icvos("evaluate", *words) == 0
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("out", ["full", "full/masks", "full/masks/new", "full/frames", "videos", "videos/new"])
def test_no_page_is_written_where_a_run_or_a_benchmark_keeps_its_files(
    world: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(world)
    # A comparison has an episodes.csv too, which would be the benchmark's.
    assert icvos("compare", world / "full", world / "empty", "--out", world / out) == 2
    assert icvos("report", world / "full", "--out", world / out) == 2
    assert capsys.readouterr().err.count("keeps its files here") == 2
    assert contents(world) == before


def test_a_folder_named_data_keeps_what_is_not_the_pages_own(world: Path, tmp_path: Path) -> None:
    own = {"own.js": "let mine;\n", "table.csv": "a,b\n", ".notes.tmp": "mine"}
    (tmp_path / "data").mkdir()
    for name, text in own.items():
        (tmp_path / "data" / name).write_text(text)
    (tmp_path / "data" / "old-0123456789ab.js").write_text("//[]\n" + chunk_script("old", {}))
    assert icvos("report", world / "full", "--out", tmp_path) == 0
    assert icvos("compare", world / "full", world / "empty", "--out", tmp_path) == 0
    assert {path.name: path.read_text() for path in (tmp_path / "data").iterdir()} == own


def test_scripts_that_are_kept_stay_and_an_empty_folder_goes(tmp_path: Path) -> None:
    kept, old = tmp_path / "d" / "kept.js", tmp_path / "d" / "old.js"
    kept.parent.mkdir()
    for path in (kept, old):
        path.write_text(chunk_script("v", {}))
    (kept.parent / ".old.js.tmp").write_text("half")
    tidy_scripts(kept.parent, [kept])
    assert list(kept.parent.iterdir()) == [kept]
    tidy_scripts(kept.parent, [])
    assert not kept.parent.exists()


def test_two_do_not_write_a_page_at_once(tmp_path: Path) -> None:
    with page_folder(tmp_path / "o"), pytest.raises(LockedError), page_folder(tmp_path / "o"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_was_made_with_a_mask_missing_is_made_anew(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icvos.report.page.LARGEST", 0)
    mask = next((world / "full" / "masks").rglob("00001.png"))
    content = mask.read_bytes()
    mask.unlink()
    assert icvos("report", world / "full", "--out", tmp_path) == 0
    assert "00001.png" in (tmp_path / "index.html").read_text()
    mask.write_bytes(content)
    assert icvos("report", world / "full", "--out", tmp_path) == 0
    assert "00001.png" not in (tmp_path / "index.html").read_text()
    assert len(list((tmp_path / "data").iterdir())) == 2


def test_a_comparison_says_why_it_has_no_pictures(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", "full", "--benchmark", world / "videos", "--out", tmp_path / "bare", "--no-verify")
    assert icvos("evaluate", *words) == 0
    capsys.readouterr()
    assert icvos("compare", tmp_path / "bare", world / "empty", "--out", tmp_path / "c") == 0
    assert "no pictures: full 1: the run has no masks" in capsys.readouterr().err
    assert "no pictures: full 1: the run has no masks" in (tmp_path / "c" / "index.html").read_text()


@pytest.mark.parametrize("frames", [{}, {"00000": None}])
def test_a_json_without_a_frame_is_said(world: Path, tmp_path: Path, frames: dict[str, Any]) -> None:
    path = tmp_path / "masks.json"
    path.write_text(json.dumps({"tiny__v0__1__d0": frames}))
    with pytest.raises(PredictionError, match="mask not found"):
        open_predictions(path).load("tiny__v0__1__d0", "00002")
    with pytest.raises(PredictionError, match="mask not found"):
        open_predictions(path).frames("other")
    assert icvos("report", world / "full", "--masks", path, "--out", tmp_path / "r") == 0
    assert "mask not found" in (tmp_path / "r" / "index.html").read_text()


@pytest.mark.parametrize("width", [1, 2, 9])
def test_a_picture_too_narrow_for_words_has_its_caption(width: int) -> None:
    captioned = titled(np.zeros((20, width, 3), np.uint8), "frame 3, absent")
    assert captioned.shape[1] >= 64
    assert (captioned[20:] < 100).any()


def test_only_episodes_of_the_page_are_played(world: Path, tmp_path: Path, browser: Any) -> None:
    words = ("--episode", "tiny__v0__1__d0", "--episode", "tiny__v1__1__d1")
    assert icvos("report", world / "full", *words, "--out", tmp_path) == 0
    page, problems = open_page(browser, tmp_path / "index.html")
    page.wait_for_function("document.getElementById('player').dataset.shown")
    assert page.locator("#rows button.name").count() == 2
    for number in range(page.locator("#rows tr").count()):  # other draws of these videos among them
        page.locator("#rows tr").nth(number).click()
    first = page.evaluate("player.row.id")
    page.keyboard.press(",")
    page.keyboard.press(",")
    page.wait_for_function("id => player.row.id !== id && player.wanted === null", arg=first)
    page.goto((tmp_path / "index.html").as_uri() + "#%E0%A4%A")
    page.reload()
    page.wait_for_function("document.getElementById('player').dataset.shown")
    assert problems == []


def test_the_figures_of_a_run_are_sought_once(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 7,500 episodes it took minutes to look through all of them for each.
    run, calls = open_run(world / "full"), []
    monkeypatch.setattr(report, "_figures", lambda run: calls.append(run) or [])
    assert len(report.episode_rows(run)) == 6
    assert len(calls) == 1
    assert run._episodes is run._episodes


def test_long_and_spaced_categories_filter_and_fit(tmp_path: Path, browser: Any) -> None:
    names = ["a  b", " ", "é" * 300, "</script><b>"]
    rows = [
        {"id": str(n), "video": "v", "category": name, "category_number": "1", "score": 1.0, "frames": 1}
        for n, name in enumerate(names)
    ]
    columns = [("video", "video", False), ("category", "category", False)]
    write_page(
        tmp_path / "p.html", title="t", runs=["r"], parts=["J"], head=[], columns=columns, episodes=rows, chunks=[]
    )
    page, problems = open_page(browser, tmp_path / "p.html", 390)
    for name in names:
        page.select_option("#by-category", value=name)
        assert page.locator("#count").inner_text() == "1 of 4 episodes"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert problems == []


def test_a_page_inside_another_kind_of_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "benchmark.json").write_text("{}")  # without a manifest it is somebody's own
    with page_folder(tmp_path / "o"):
        pass
    (tmp_path / "manifest.csv").write_text("")
    with pytest.raises(UsageError), page_folder(tmp_path / "o"):
        pass
