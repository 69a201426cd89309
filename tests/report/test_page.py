"""The page of a run, and of two: opened in a headless browser, played, scrubbed, sorted and filtered."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import icvos
from pages import SCHEMES, WIDTHS, nearest_colours, open_page, text_problems
from PIL import Image
from tiny import write_image_benchmark, write_video_benchmark

from icvos import clips
from icvos.masks import encode_code
from icvos.report import page as page_module
from icvos.report.overlay import COLOURS
from icvos.report.run import open_run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports of a run on videos and of one on images, and the comparison of two runs."""
    root = tmp_path_factory.mktemp("page")
    write_video_benchmark(root / "videos", videos=3, frames=12, draws=2, size=(120, 160))
    write_image_benchmark(root / "images")
    for model, benchmark in (("histogram", "videos"), ("full", "videos"), ("few-shot", "images")):
        words = ("--model", "histogram" if model == "few-shot" else model, "--benchmark", root / benchmark)
        assert icvos("evaluate", *words, "--out", root / model, "--save-masks") == 0
        assert icvos("report", root / model) == 0
    assert icvos("compare", root / "histogram", root / "full", "--out", root / "compare") == 0
    return root


def page_of(world: Path, name: str) -> Path:
    return world / name / ("index.html" if name == "compare" else "report/index.html")


def opened(browser: Any, file: Path, width: int = 1440, scheme: str = "light") -> tuple[Any, list[str]]:
    page, problems = open_page(browser, file, width, scheme)
    page.wait_for_function("document.getElementById('player').dataset.shown")
    return page, problems


def shown(page: Any) -> str:
    """The text beside the picture, once the frame that it names is drawn."""
    page.wait_for_function("player.wanted === null && !player.drawing && !player.playing")
    return str(page.locator("#frame").inner_text())


def pixels(page: Any, screen: int = 0) -> np.ndarray:
    """What a canvas shows, (H, W, 3)."""
    script = "number => document.querySelectorAll('#screens canvas')[number].toDataURL().split(',')[1]"
    data = base64.b64decode(page.evaluate(script, screen))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("name", ["histogram", "few-shot", "compare"])
def test_no_text_is_cut_or_covered_or_pale(world: Path, browser: Any, name: str) -> None:
    for width in WIDTHS:
        for scheme in SCHEMES:
            page, problems = opened(browser, page_of(world, name), width, scheme)
            assert text_problems(page) == [], (width, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert problems == []
            page.context.close()


def test_colours_are_told_apart_by_the_colour_blind() -> None:
    difference, which = nearest_colours({**COLOURS, "outline": (255, 255, 255)})
    assert difference > 20, which
    css = (Path(page_module.__file__).parent / "report.css").read_text()
    for one, two in zip(*(re.findall(rf"--{name}:#(\w{{6}})", css) for name in ("one", "two")), strict=True):
        pair = {name: tuple(bytes.fromhex(colour)) for name, colour in (("one", one), ("two", two))}
        difference, which = nearest_colours(pair)  # type: ignore[arg-type]
        assert difference > 20, which


def test_it_plays_steps_and_seeks_by_mouse_and_keyboard(world: Path, browser: Any) -> None:
    page, problems = opened(browser, page_of(world, "histogram"))
    assert shown(page) == "frame 0 of 12"
    page.keyboard.press("ArrowRight")
    assert shown(page) == "frame 1 of 12, not there"
    page.keyboard.press("End")
    assert shown(page) == "frame 11 of 12"
    page.locator("#back").click()
    assert shown(page) == "frame 10 of 12"
    box = page.locator("#lines").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 3.5 / 12, box["y"] + 20)
    assert shown(page) == "frame 3 of 12"
    page.mouse.move(box["x"] + box["width"] * 3.5 / 12, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 6.5 / 12, box["y"] + 30)
    page.mouse.up()
    assert shown(page) == "frame 6 of 12"
    page.locator("#scrubber").fill("2")
    assert shown(page) == "frame 2 of 12"
    page.locator("#speed").select_option("25")
    page.keyboard.press("Space")
    page.wait_for_function("!player.playing && player.number === 11")
    assert page.locator("#play").inner_text() == "Play"
    first = page.locator("#player-title").inner_text()
    page.keyboard.press(".")
    page.wait_for_function("first => document.getElementById('player-title').textContent !== first", arg=first)
    page.keyboard.press(",")
    page.wait_for_function("first => document.getElementById('player-title').textContent === first", arg=first)
    assert problems == []


def test_the_frame_that_is_named_is_the_one_that_is_drawn(world: Path, browser: Any) -> None:
    run = open_run(world / "histogram")
    page, _ = opened(browser, page_of(world, "histogram"))
    for layer in ("prediction", "errors", "truth"):
        page.locator(f"#layer-{layer}").uncheck()
    name = page.evaluate("player.row.id")
    episode = run.episode(name)
    for index in (0, 7, 3, 11):
        page.locator("#scrubber").fill(str(index))
        assert shown(page).startswith(f"frame {index} ")
        errors = [np.abs(pixels(page).astype(float) - run.picture(episode, other)).mean() for other in range(12)]
        assert int(np.argmin(errors)) == index and errors[index] < 0.8 * sorted(errors)[1]


def test_layers_are_the_masks(world: Path, browser: Any) -> None:
    run = open_run(world / "histogram")
    page, _ = opened(browser, page_of(world, "histogram"))
    name = page.evaluate("player.row.id")
    masks = run.frame_masks(run.episode(name), 0)
    script = "text => decodeMask(text, player.chunk.size).join('')"
    for mask in (masks.truth, masks.predicted, np.ones_like(masks.truth), np.eye(120, 160, dtype=bool)):
        text = encode_code(mask)["counts"].decode()  # type: ignore[union-attr]
        decoded = np.frombuffer(page.evaluate(script, text).encode(), np.uint8) == ord("1")
        assert np.array_equal(decoded.reshape(mask.shape), mask)
    page.locator("#layer-truth").uncheck()
    shown(page)
    painted = pixels(page)
    for where, colour in ((masks.truth & masks.predicted, "right"), (~masks.truth & masks.predicted, "wrong")):
        if where.any():
            near = {each: np.abs(painted[where].mean(0) - COLOURS[each]).sum() for each in COLOURS}
            assert min(near, key=near.__getitem__) == colour
    page.locator("#layer-errors").uncheck()
    page.locator("#layer-prediction").uncheck()
    shown(page)
    plain = pixels(page)
    page.keyboard.press("3")
    shown(page)
    changed = (pixels(page) != plain).any(2)
    assert changed.any() and not (changed & masks.truth).any()  # an outline lies outside of what it is of


def test_the_table_sorts_and_filters(world: Path, browser: Any) -> None:
    page, problems = opened(browser, page_of(world, "histogram"))

    def column(place: int) -> list[str]:
        return [str(text) for text in page.locator(f"#rows td:nth-child({place})").all_inner_texts()]

    scores = [float(text) for text in column(2)]
    assert scores == sorted(scores, reverse=True) and len(scores) == 8
    page.locator("#episodes th button", has_text="J&F").click()
    assert [float(text) for text in column(2)] == sorted(scores)
    page.locator("#episodes th button", has_text="video").focus()
    page.keyboard.press("Enter")
    assert column(1) == sorted(column(1))
    page.locator("#by-category").select_option("car")
    assert set(column(3)) == {"car"} and page.locator("#count").inner_text() == "2 of 8 episodes"
    page.locator("#reset").click()
    page.locator("#find").fill("v2 d1")
    assert page.locator("#rows tr").count() == 1
    page.locator("#reset").click()
    middle = sorted(scores)[4]
    page.locator("#least").fill(str(middle))
    assert page.locator("#rows tr").count() == sum(round(score, 1) >= middle for score in scores)
    page.locator("#rows tr").last.click()
    chosen = page.locator("#rows tr[aria-selected=true]").get_attribute("data-id")
    page.wait_for_function("id => document.getElementById('player').dataset.shown?.startsWith(id + ' ')", arg=chosen)
    assert page.url.endswith(f"#{chosen}") and problems == []


def test_two_runs_are_side_by_side(world: Path, browser: Any) -> None:
    page, problems = opened(browser, page_of(world, "compare"))
    page.locator("#layer-errors").uncheck()
    shown(page)
    first, second = pixels(page, 0), pixels(page, 1)
    assert first.shape == second.shape and (first != second).any()
    assert page.locator("#values").inner_text().count("J ") == 2
    assert page.locator("#lines .line").count() == 4
    assert "A less B" in page.locator("h2").first.inner_text() and problems == []


def test_more_than_fits_lies_beside_the_page(
    world: Path, tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "LARGEST", 1000)
    assert icvos_again(world, tmp_path / "r") == 0
    scripts = {path: path.stat().st_mtime_ns for path in (tmp_path / "r/data").iterdir()}
    assert len(scripts) == 3
    page, problems = opened(browser, tmp_path / "r/index.html")
    page.locator("#rows tr").last.click()
    page.wait_for_function("player.chunk?.episodes[player.row.id]")
    assert problems == []
    # A call that was stopped is gone on with: what is whole is kept, what is not of it goes.
    next(iter(scripts)).unlink()
    (tmp_path / "r/data/old.js").write_text('//[]\nicvosChunk({"video":"old"})\n')
    assert icvos_again(world, tmp_path / "r") == 0
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "r/data").iterdir()}
    assert set(after) == set(scripts) and sum(after[path] == scripts[path] for path in scripts) == 2


def icvos_again(world: Path, out: Path) -> int:
    return icvos("report", world / "histogram", "--out", out)


def test_stills_where_pyav_is_missing(
    world: Path, tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "find_spec", lambda name: None)
    assert icvos_again(world, tmp_path / "r") == 0
    page, problems = opened(browser, tmp_path / "r/index.html")
    page.keyboard.press("End")
    assert shown(page) == "frame 11 of 12" and pixels(page).std() > 5 and problems == []
