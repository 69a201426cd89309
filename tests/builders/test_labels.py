"""The labels page: its data, and the page itself in a headless browser, with mouse and keyboard."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_trees as raw
from board_runs import icvos
from pages import SCHEMES, WIDTHS, nearest_colours, open_page, text_problems
from PIL import Image

from icvos import cli
from icvos.benchmark import load_benchmark
from icvos.builders.check import check_benchmark
from icvos.builders.ic_vos.build import build_icvos, prepare
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.labels import page as page_module
from icvos.builders.labels.labeller import read_labellers
from icvos.builders.labels.merge import merge_labels
from icvos.builders.labels.sample import SampleTask, sample_video
from icvos.builders.labels.write import write_labels
from icvos.builders.recipe import read_recipes
from icvos.categories import COCO80
from icvos.errors import UsageError
from icvos.masks import decode_rle, read_mask
from icvos.sources import open_source
from icvos.sources.coco import open_coco


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raw.everything(tmp_path_factory.mktemp("raw"))


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))[1:]


def reload(page: Any) -> None:
    """Reload as a user would.

    Chromium now and then shows a page that is reloaded at once an empty storage, on a busy machine (1 of 50 reloads);
    the next reload has everything.
    """
    page.reload()
    if page.evaluate("localStorage.length") == 0:
        page.reload()


def test_files_to_fill(trees: Path, tmp_path: Path) -> None:
    sources = [open_source(name, trees / name) for name in ("davis", "mose", "lvos", "ytvis")]
    report = write_labels(sources, tmp_path)
    assert [page.name for page in report.pages] == ["davis17.html", "mose.html", "lvos.html", "ytvis.html"]
    objects = {tuple(row[:3]): row[3:] for row in rows(report.objects_csv)}
    assert objects["davis17", "dogs", "1"] == ["dog", "yes", "", "", ""]
    assert objects["davis17", "ride", "1"] == ["none", "yes", "", "", "DAVIS-2017 says camel"]
    assert objects["mose", "001ca3cb", "3"][0] == "" and objects["lvos", "R3UJGYwy", "2"][0] == ""
    assert (report.objects, report.labelled) == (len(objects), 9) and len(objects) == 16
    complete = {tuple(row[:3]): row[3] for row in rows(report.complete_csv)}
    assert complete["davis17", "dogs", "dog"] == "" and complete["ytvis", "0043f083b5", "cat"] == "yes"
    # What is written can be read back as it is, and changes nothing.
    recipe = read_recipes([report.objects_csv, report.complete_csv], COCO80)
    assert recipe.objects["davis17", "dogs"][1].category == 17
    again = write_labels(sources, tmp_path / "again", recipe=recipe)
    assert again.objects_csv.read_text().replace(",DAVIS-2017 says camel", ",") == (
        report.objects_csv.read_text().replace(",DAVIS-2017 says camel", ",")
    )


def test_a_recipe_is_filled_in(trees: Path, tmp_path: Path) -> None:
    recipe = read_recipes(raw.recipe(tmp_path / "recipe"), COCO80)
    report = write_labels([open_source("mose", trees / "mose")], tmp_path / "L", recipe=recipe)
    assert [row[3] for row in rows(report.objects_csv)] == ["cat", "cat", "dog"]
    assert rows(report.complete_csv) == [["mose", "001ca3cb", "cat", "yes"], ["mose", "330ac20d", "dog", "yes"]]


def test_long_pages_are_split(trees: Path, tmp_path: Path) -> None:
    report = write_labels([open_source("davis", trees / "davis")], tmp_path, page_size=1, workers=2)
    assert [page.name for page in report.pages] == ["davis17-01.html", "davis17-02.html"]
    assert "dogs" in report.pages[0].read_text() and '"ride"' not in report.pages[0].read_text()


def test_every_frame_and_every_mask_is_shown(trees: Path, tmp_path: Path) -> None:
    source = open_source("lvos", trees / "lvos")
    video = source.videos()[0]
    about = sample_video(SampleTask(source, video, None, tmp_path / "v.js"))
    assert about["frames"] == ["00000001", "00000006", "00000011", "00000016"] and about["size"] == (raw.H, raw.W)
    assert (tmp_path / "v.js").read_text().startswith("icvosChunk(")
    late = about["objects"][1]
    assert late == {"id": 2, "best": 2, "views": [2, 3]}  # not where it is not
    image = trees / "lvos" / about["folder"] / about["files"][3]
    assert image.is_file() and about["maps"] == f"masks/lvos/{video.name}"
    content = json.loads((tmp_path / "v.js").read_text().strip().removeprefix("icvosChunk(").removesuffix(")"))
    assert content["masks"]["2"][:2] == ["", ""] and set(content["crops"]) == {"1", "2"}
    for index, frame in enumerate(source.frames(video)):
        labels = source.labels(video, frame, (raw.H, raw.W))
        for number in (1, 2):
            text = content["masks"][str(number)][index]
            mask = decode_rle(text, (raw.H, raw.W)) if text else np.zeros((raw.H, raw.W), bool)
            assert np.array_equal(mask, labels.union([number]) > 0)


def test_pages_stand_alone(trees: Path, tmp_path: Path) -> None:
    (page,) = write_labels([open_source("davis", trees / "davis")], tmp_path).pages
    text = page.read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
    assert str(trees) not in text


def test_no_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no video data set"):
        write_labels([], tmp_path)


# --- the page in a browser -----------------------------------------------------------------------------------------


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(10000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert not problems


def export(page: Any, folder: Path, *, also: tuple[str, ...] = ()) -> list[Path]:
    out = []
    for button in ("#save-objects", "#save-complete", *also):
        with page.expect_download() as download:
            page.click(button)
        out.append(folder / download.value.suggested_filename)
        download.value.save_as(out[-1])
    return out


def asked(page: Any) -> str:
    return str(page.inner_text("h2"))


def shown(page: Any) -> str:
    """The frame that is named, once it is drawn."""
    page.locator("#stage[data-shown]").wait_for()
    return str(page.inner_text("#frame"))


def pixels(page: Any, canvas: str) -> np.ndarray:
    """What a canvas shows, (H, W, 4)."""
    data = page.evaluate("id => document.getElementById(id).toDataURL().split(',')[1]", canvas)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def test_label_export_read_back_build(trees: Path, tmp_path: Path, page: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["build-data", "labels", "--mose", str(trees / "mose"), "--out", str(tmp_path / "L")])
    assert stop.value.code == 0
    page.goto((tmp_path / "L/mose.html").as_uri())
    assert asked(page).startswith("What is object 1 of 001ca3cb?")
    page.keyboard.type("do")  # keyboard: the best match is chosen
    page.keyboard.press("Enter")
    assert asked(page).startswith("What is object 3 of 001ca3cb?")
    page.keyboard.type("ca")
    page.click('#words button:text-is("cat")')  # mouse
    assert asked(page).startswith("Is every dog of 001ca3cb outlined in every frame?")
    page.keyboard.press("y")
    assert asked(page).startswith("Is every cat of 001ca3cb")
    page.click("#complete-no")
    assert asked(page).startswith("What is object 1 of 330ac20d?")
    page.keyboard.press("0")
    assert asked(page) == "All is answered"
    page.keyboard.press(",")
    page.fill("#note", 'so "small", it is nothing')
    page.keyboard.press("Tab")
    assert page.inner_text("#count").startswith("3 of 3 objects, 2 of 2 categories")
    objects, complete = export(page, tmp_path)
    assert (objects.name, complete.name) == ("objects-mose.csv", "complete-mose.csv")
    assert rows(objects) == [
        ["mose", "001ca3cb", "1", "dog", "yes", "", "", ""],
        ["mose", "001ca3cb", "3", "cat", "yes", "", "", ""],
        ["mose", "330ac20d", "1", "none", "yes", "", "", 'so "small", it is nothing'],
    ]
    assert rows(complete) == [["mose", "001ca3cb", "dog", "yes"], ["mose", "001ca3cb", "cat", "no"]]
    recipe = read_recipes([objects, complete], COCO80)
    source = open_source("mose", trees / "mose")
    build_icvos(prepare([source], open_coco(trees / "coco"), recipe=recipe, rules=BuildRules(shots=1)), tmp_path / "B")
    bench = load_benchmark(tmp_path / "B")
    assert list(bench.pairs) == [("mose__001ca3cb", 17)] and bench.header["complete_only"] is True
    assert not check_benchmark(tmp_path / "B")


def test_answers_survive_a_reload_and_change_hands(trees: Path, tmp_path: Path, page: Any, browser: Any) -> None:
    (place,) = write_labels([open_source("mose", trees / "mose")], tmp_path / "L").pages
    page.goto(place.as_uri())
    page.keyboard.press("2")  # the second of what is offered
    page.keyboard.press("3")
    reload(page)
    assert page.inner_text("#count").startswith("2 of 3 objects") and asked(page).startswith("Is every dog")
    page.keyboard.press(",")
    page.keyboard.press("PageUp")
    page.keyboard.press("Delete")  # taken back
    assert "no label yet" in asked(page)
    page.click("#keep")
    page.keyboard.type("horse")
    page.keyboard.press("Enter")
    files = export(page, tmp_path)
    assert rows(files[0])[0] == ["mose", "001ca3cb", "1", "horse", "no", "", "", ""]
    other = browser.new_context().new_page()  # another person's browser
    other.goto(place.as_uri())
    assert other.inner_text("#count") == "0 of 3 objects"
    other.set_input_files("#file", files)
    other.locator("#count", has_text="2 rows read in").wait_for()  # the page's policy lets no text be run as code
    assert other.inner_text("#count").startswith(
        "2 of 3 objects, 0 of 1 categories"
    )  # a horse that is not kept asks nothing more
    assert export(other, tmp_path / "other")[0].read_text() == files[0].read_text()
    other.context.close()


def test_two_people_in_one_browser(trees: Path, tmp_path: Path, page: Any) -> None:
    """Neither sees the other's answers, and their files are told apart."""
    (place,) = write_labels([open_source("mose", trees / "mose")], tmp_path / "L").pages
    page.goto(place.as_uri())
    page.keyboard.press("2")
    assert page.inner_text("#count").startswith("1 of 3 objects, 0 of 1")
    page.fill("#who", "Anna 1")  # digits and letters are the name's alone
    page.keyboard.press("Tab")
    page.click("#search")
    page.keyboard.press("3")
    assert page.inner_text("#count").startswith("2 of 3 objects, 0 of 2")  # what was answered before is hers
    reload(page)
    assert page.inner_text("#count").startswith("2 of 3 objects, 0 of 2") and page.input_value("#who") == "Anna 1"
    anna = export(page, tmp_path)
    assert [file.name for file in anna] == ["objects-mose-Anna-1.csv", "complete-mose-Anna-1.csv"]
    with page.expect_navigation():
        page.fill("#who", "Ben")
        page.keyboard.press("Tab")
    page.locator("#count", has_text="0 of 3 objects").wait_for()
    assert page.input_value("#who") == "Ben"
    page.keyboard.press("2")
    page.keyboard.press("1")
    ben = export(page, tmp_path)
    assert [row[3::5] for row in rows(anna[0])] == [["dog", "Anna 1"], ["car", "Anna 1"], ["", "Anna 1"]]
    assert [row[3::5] for row in rows(ben[0])] == [["dog", "Ben"], ["dog", "Ben"], ["", "Ben"]]
    (merge,) = merge_labels(*read_labellers(anna[0], ben[0]))
    assert (merge.both, merge.same, merge.neither) == (2, 1, 1) and merge.rows[0]["said_by"] == "Anna 1+Ben"
    with page.expect_navigation():
        page.fill("#who", "Anna 1")
        page.keyboard.press("Tab")
    page.locator("#count", has_text="2 of 3 objects, 0 of 2").wait_for()  # hers are there still


def test_names_cannot_break_the_page(trees: Path, tmp_path: Path, page: Any) -> None:
    root = tmp_path / "davis"
    shutil.copytree(trees / "davis", root)
    (root / "davis_semantics.json").write_text(
        '{"dogs": {"1": "</script><script>alert(1)</script>", "2": "<b>&\\"\'"}}'
    )
    (place,) = write_labels([open_source("davis", root)], tmp_path / "L").pages
    page.goto(place.as_uri())
    page.click('#strip button:text-is("1") >> nth=0')
    assert shown(page)
    assert "</script><script>alert(1)</script>" in page.input_value("#note")


def test_a_memory_that_was_tampered_with_does_no_harm(trees: Path, tmp_path: Path, page: Any) -> None:
    write_labels([open_source("mose", trees / "mose")], tmp_path)
    page.goto((tmp_path / "mose.html").as_uri())
    page.keyboard.press("1")
    page.wait_for_function("Object.keys(localStorage).some(key => key.startsWith('icvos-labels:'))")
    key, good = page.evaluate("Object.entries(localStorage).find(([key]) => key.startsWith('icvos-labels:'))")
    objects = [name for name, _ in json.loads(good)["objects"]]
    place = ",".join(objects[0].split(",")[:2])
    rows = [[objects[0], None], [objects[0], {"category": "dog", "source": "evil", "keep": 7}]]
    marks = [[f"{place},dog", [10**9, -1, "x", 1.5]]]
    hostile = {"objects": rows, "complete": [[f"{place},dog", "<b>"]], "marks": marks}
    for text in ("{", "null", '{"objects":5}', json.dumps(hostile)):
        page.evaluate("([key, text]) => localStorage.setItem(key, text)", [key, text])
        reload(page)
        assert page.locator("h2").first.inner_text().startswith(("What is object", "Is every"))
    taken = "() => { const a = new Answers(PAGE, VIDEOS); return [[...a.objects], [...a.complete], a.marks.size]; }"
    kept = page.evaluate(taken)
    assert dict(kept[0])[objects[0]] | {"category": "dog", "source": "mose", "keep": "yes"} == dict(kept[0])[objects[0]]
    assert kept[1:] == [[], 0]


def test_labels_that_are_given_are_not_replaced(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_labels([open_source("mose", trees / "mose")], tmp_path)
    before = (tmp_path / "objects.csv").read_bytes()
    for recipe in (tmp_path, tmp_path / "objects.csv"):
        words = ("--mose", trees / "mose", "--recipe", recipe, "--out", tmp_path)
        assert icvos("build-data", "labels", *words) == 2
        assert "would replace labels that are given" in capsys.readouterr().err
    assert (tmp_path / "objects.csv").read_bytes() == before


def test_frames_by_mouse_and_keyboard(trees: Path, tmp_path: Path, page: Any) -> None:
    """The frame that is named is the one that is drawn, however it is reached; a click enlarges it."""
    (place,) = write_labels([open_source("mose", trees / "mose")], tmp_path / "L").pages
    source = open_source("mose", trees / "mose")
    pictures = [np.asarray(Image.open(frame.image), float) for frame in source.frames(source.videos()[0])]
    page.goto(place.as_uri())
    assert shown(page) == "frame 00000, 1 of 4"
    for reach, number in (
        (lambda: page.keyboard.press("ArrowRight"), 1),
        (lambda: page.keyboard.press("End"), 3),
        (lambda: page.click("#back"), 2),
        (lambda: page.locator("#scrubber").fill("1"), 1),
        (lambda: page.click("#film button >> nth=-1"), 3),
        (lambda: page.keyboard.press("Home"), 0),
    ):
        reach()
        assert shown(page) == f"frame {number:05d}, {number + 1} of 4"
        drawn = pixels(page, "picture")[..., :3]
        errors = [np.abs(drawn - picture).mean() for picture in pictures]
        assert int(np.argmin(errors)) == number and errors[number] < 0.8 * sorted(errors)[1]
    small = page.locator("#screen").bounding_box()
    page.click("#screen")
    large = page.locator("#screen").bounding_box()
    assert large["height"] > 1.2 * small["height"] and page.get_attribute("#enlarge", "aria-pressed") == "true"
    page.keyboard.press("ArrowRight")
    assert shown(page) == "frame 00001, 2 of 4"
    page.keyboard.press("Escape")
    assert page.locator("#screen").bounding_box() == small
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("Space")
    page.locator("#play", has_text="Pause").wait_for()
    page.locator("#play", has_text="Play").wait_for()
    assert shown(page) == "frame 00003, 4 of 4"
    assert page.input_value("#search") == ""


def test_outlines_are_thin_and_cover_nothing(tmp_path: Path, page: Any) -> None:
    """A thing of one pixel is seen whole; outlines lie outside of it, and can be hidden."""
    for index in range(2):
        raw.picture(tmp_path / f"mose/train/JPEGImages/v/{index:05d}.jpg", seed=index)
        frame = raw.boxes((2, 20, 20))
        frame[25, 40] = 1
        frame[25, 41] = 3  # a thing beside it
        raw.labels(tmp_path / f"mose/train/Annotations/v/{index:05d}.png", frame)
    (place,) = write_labels([open_source("mose", tmp_path / "mose")], tmp_path / "L").pages
    page.goto(place.as_uri())
    shown(page)
    lines = pixels(page, "outlines")
    high, wide = lines.shape[:2]
    scale = wide / raw.W
    assert scale > 4 and abs(high / raw.H - scale) < 0.1
    rows, columns = (np.arange(count) + 0.5 for count in (high, wide))
    inside = (np.floor(rows / scale) == 25)[:, None] & (np.floor(columns / scale) == 40)[None]
    assert inside.sum() > 16 and not lines[inside, 3].any()
    beside = np.zeros_like(inside)
    beside[:, 2:] |= inside[:, :-2]
    beside[:, :-2] |= inside[:, 2:]
    beside[2:] |= inside[:-2]
    beside[:-2] |= inside[2:]
    light = (lines[..., 3] > 0) & (np.abs(lines[..., :3].astype(int) - (240, 228, 66)).sum(-1) < 9)
    assert light.any() and not (light & ~beside).any()  # two pixels from it at most
    page.keyboard.press("/")
    assert not page.is_visible("#outlines") and not page.is_checked("#show-outlines")
    page.keyboard.press("/")
    assert page.is_visible("#outlines")


def test_colours_are_told_apart_by_the_colour_blind() -> None:
    folder = Path(page_module.__file__).parent
    script, css = (folder / "stage.js").read_text(), (folder / "labels.css").read_text()
    lines = {
        name: tuple(map(int, rgb)) for name, *rgb in re.findall(r"(it|other|extra): \[(\d+), (\d+), (\d+)\]", script)
    }
    answers = {name: tuple(bytes.fromhex(rgb)) for name, rgb in re.findall(r"--(yes|no|unsure):#(\w{6})", css)}
    for colours in (lines, answers):
        assert len(colours) == 3
        difference, which = nearest_colours(colours)  # type: ignore[arg-type]
        assert difference > 20, which


def test_no_text_is_cut_or_covered_or_pale(trees: Path, tmp_path: Path, browser: Any) -> None:
    """Of each kind of question, marked and answered, and of the end; in three widths, light and dark."""
    recipe = read_recipes(raw.recipe(tmp_path / "recipe"), COCO80)
    (place,) = write_labels([open_source("mose", trees / "mose")], tmp_path / "L", recipe=recipe).pages
    page, problems = open_page(browser, place)
    for question in ("", "#strip button >> nth=0", '#strip button:has-text("cat")'):
        if question:
            page.click(question)
            page.keyboard.press("m")
            assert shown(page)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                assert text_problems(page) == [], (width, scheme, asked(page))
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems == [] and "needs a mask" in page.inner_text("#legend")
    page.context.close()


def test_progress_in_objects_and_minutes(trees: Path, tmp_path: Path, page: Any) -> None:
    (place,) = write_labels(
        [open_source("davis", trees / "davis"), open_source("mose", trees / "mose")], tmp_path
    ).pages[1:]
    page.add_init_script(
        "window.late = 0; const now = performance.now.bind(performance); performance.now = () => now() + late;"
    )
    page.goto(place.as_uri())
    for key in ("2", "1"):  # a dog each
        page.evaluate("late += 80000")
        page.keyboard.press(key)
    assert "minute" not in page.inner_text("#count")  # not yet measured
    assert asked(page).startswith("Is every dog")
    page.evaluate("late += 600000")  # a break is no work
    page.keyboard.press("u")
    page.keyboard.press(",")
    page.evaluate("late += 80000")
    page.keyboard.press("y")
    # One object at 80 s, and half a category more at 80 s: two minutes.
    assert page.inner_text("#count") == "2 of 3 objects, 1 of 1 categories, about 2 minutes left"


def test_the_end_says_what_to_do_and_it_does(trees: Path, tmp_path: Path, page: Any) -> None:
    """The commands of the last screen, run as they stand but for the folders' places."""
    (place,) = write_labels([open_source("mose", trees / "mose")], tmp_path / "L").pages
    page.goto(place.as_uri())
    page.click("#finish")
    assert asked(page).startswith("3 of 3 questions are open")
    page.click("#next-open")
    for key in ("2", "1", "n", "1", "y"):  # two dogs and a dog; one video is not complete
        page.keyboard.press(key)
    assert asked(page) == "All is answered"
    build, merge, again = (line.strip() for line in page.locator("#steps pre").all_inner_texts())
    (tmp_path / "LABELS").mkdir()
    _, _, masks = export(page, tmp_path / "LABELS", also=("#save-masks",))
    listed = rows(masks)
    assert masks.name == "masks-mose.csv" and len(listed) == 4
    assert listed[3] == [
        *("mose", "001ca3cb", "dog", "00003", "train/JPEGImages/001ca3cb/00003.jpg", "masks/mose/001ca3cb/00003.png")
    ]
    folders = {"MOSE": trees / "mose", "COCO": trees / "coco", "ANNA": tmp_path / "LABELS", "BEN": tmp_path / "BEN"}
    shutil.copytree(tmp_path / "LABELS", tmp_path / "BEN")

    def run(command: str) -> int:
        program, *words = command.split()
        assert program == "icvos"
        places = {
            name: tmp_path / name for name in ("LABELS", "EXTRA", "BENCH", "AGAIN", "MERGED", "CONFLICTS", "SETTLE")
        }
        return icvos(*(({**places, **folders}).get(word, word) for word in words))

    assert run(merge) == 0
    assert run(f"{build} --min-frames 1 --shots 1") == 0
    assert [video for video, _ in load_benchmark(tmp_path / "BENCH").pairs] == ["mose__330ac20d"]
    # What was missing is drawn in another tool, where the list says.
    for row in listed:
        assert (trees / "mose" / row[4]).is_file()
        raw.labels(tmp_path / "EXTRA" / row[5], raw.boxes((1, 15, 20)))
    (tmp_path / "EXTRA/extra-objects.csv").write_text("source,video,extra,category\nmose,001ca3cb,1,dog\n")
    assert run(again) == 0
    page.goto((tmp_path / "AGAIN/mose.html").as_uri())
    page.click('#strip button:has-text("dog ✗")')
    shown(page)
    assert "dog, from another tool" in page.inner_text("#legend")
    lines = pixels(page, "outlines")
    assert (np.abs(lines[..., :3].astype(int) - (255, 90, 90)).sum(-1) < 9).any()
    page.keyboard.press("y")
    page.click("#finish")
    shutil.rmtree(tmp_path / "LABELS")
    shutil.rmtree(tmp_path / "BENCH")
    export(page, tmp_path / "LABELS")
    assert run(f"{page.locator('#steps pre').first.inner_text()} --shots 1") == 0
    bench = load_benchmark(tmp_path / "BENCH")
    assert bench.pairs["mose__001ca3cb", 17].instances == 3 and bench.header["counts"]["extra_masks"] == 4
    mask = read_mask(tmp_path / "BENCH/videos/mose__001ca3cb/Annotations/17/00002.png")
    assert np.array_equal(mask, raw.boxes((1, 15, 20)))


def test_marked_frames_are_listed_and_read_back(trees: Path, tmp_path: Path, page: Any, browser: Any) -> None:
    recipe = read_recipes(raw.recipe(tmp_path / "recipe"), COCO80)
    (place,) = write_labels([open_source("mose", trees / "mose")], tmp_path / "L", recipe=recipe).pages
    page.goto(place.as_uri())
    page.click('#strip button:has-text("cat")')
    shown(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    assert shown(page) == "frame 00001, 2 of 4, marked"
    assert page.get_attribute("#complete-no", "aria-pressed") == "true"  # it was yes
    page.keyboard.press("End")
    page.keyboard.press("Shift+M")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("m")
    assert page.inner_text("#marked") == "2 of 4 frames need one"
    reload(page)
    files = export(page, tmp_path, also=("#save-masks",))
    assert [row[3] for row in rows(files[2])] == ["00001", "00003"]
    other = browser.new_context().new_page()
    other.goto(place.as_uri())
    other.set_input_files("#file", files)
    other.locator("#count", has_text="rows read in").wait_for()
    other.click('#strip button:has-text("cat")')
    assert other.inner_text("#marked") == "2 of 4 frames need one"
    other.context.close()


def test_many_videos_lie_beside_the_page(
    trees: Path, tmp_path: Path, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "LARGEST", 1000)
    (place,) = write_labels([open_source("mose", trees / "mose")], tmp_path / "L").pages
    folder = tmp_path / "L/mose-videos"
    assert sorted(path.name for path in folder.iterdir()) == ["001ca3cb.js", "330ac20d.js"]
    assert place.stat().st_size + sum(path.stat().st_size for path in folder.iterdir()) < 200_000
    page.goto(place.as_uri())
    assert shown(page) == "frame 00000, 1 of 4"
    page.keyboard.press(".")
    page.keyboard.press(".")
    assert asked(page).startswith("What is object 1 of 330ac20d?") and shown(page) == "frame 00000, 1 of 1"
    page.keyboard.press(",")
    assert shown(page) == "frame 00000, 1 of 4"
    monkeypatch.setattr(page_module, "LARGEST", 10**9)
    write_labels([open_source("mose", trees / "mose")], tmp_path / "L")
    assert not folder.exists()


def test_a_third_person_settles_conflicts_on_a_page(trees: Path, tmp_path: Path, page: Any, capsys: Any) -> None:
    """Both answers side by side with the frames; what is exported is what the merge takes, and then nothing is open."""
    for person in ("anna", "ben"):
        raw.recipe(tmp_path / person)
    objects, complete = tmp_path / "ben/objects.csv", tmp_path / "ben/complete.csv"
    rows_of_ben = objects.read_text().replace("001ca3cb,3,cat,yes,,,a second", "001ca3cb,3,dog,no,1,2,=not")
    objects.write_text(rows_of_ben.replace("mose,330ac20d,1,dog", "mose,330ac20d,1,"))
    complete.write_text(complete.read_text().replace("mose,001ca3cb,cat,yes", "mose,001ca3cb,cat,unsure"))
    words = ("build-data", "labels", "merge", tmp_path / "anna", tmp_path / "ben", "--out", tmp_path / "M")
    page_of = ("--page", tmp_path / "S")
    assert icvos(*words, *page_of) == 2 and "go together" in capsys.readouterr().err
    assert icvos(*words, *page_of, "--davis", trees / "davis") == 2
    assert "conflicts are of mose, which is not given; expected its folder, --mose MOSE" in capsys.readouterr().err
    assert icvos(*words, *page_of, "--mose", trees / "mose", "--davis", trees / "davis") == 1
    assert "settle them on the page and give them as --settled" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "S").iterdir()] == ["settle-mose.html"]
    page.goto((tmp_path / "S/settle-mose.html").as_uri())
    assert asked(page) == "What is object 3 of 001ca3cb? no label yet" and shown(page).endswith("of 4")
    cards = [" | ".join(text.split("\n\n")) for text in page.locator(".card").all_inner_texts()]
    assert "anna | cat | a second one" in cards[0] and "ben | dog, keep no, frames 1 to 2 | =not one" in cards[1]
    page.click("#take-1")
    assert asked(page).startswith("Is every cat of 001ca3cb outlined")
    page.keyboard.press("a")
    assert asked(page).startswith("What is object 1 of 330ac20d?") and page.is_disabled("#take-1")
    page.keyboard.type("horse")
    page.keyboard.press("Enter")
    assert asked(page) == "All is answered" and page.inner_text("#count").startswith("2 of 2 objects, 1 of 1")
    merge, build = page.locator("#steps pre").all_inner_texts()
    assert merge.strip() == "icvos build-data labels merge anna ben --out MERGED --settled SETTLED"
    page.fill("#who", "Cleo")
    page.keyboard.press("Tab")
    settled = tmp_path / "SETTLED"
    files = export(page, settled)
    assert rows(files[0])[0] == ["mose", "001ca3cb", "3", "dog", "no", "1", "2", "", "Cleo"]
    assert icvos(*words, "--settled", settled) == 0
    assert "open conflicts: 0" in capsys.readouterr().out
    merged = {tuple(row[:3]): row[3:] for name in ("objects", "complete") for row in rows(tmp_path / f"M/{name}.csv")}
    assert merged["mose", "330ac20d", "1"][0::5] == ["horse", "Cleo"] and merged["mose", "001ca3cb", "cat"][0] == "yes"
    # The folder that was merged is a recipe.
    given = build.replace("MOSE", str(trees / "mose")).replace("COCO", str(trees / "coco"))
    command = given.replace("MERGED", str(tmp_path / "M")).replace("BENCH", str(tmp_path / "B")).split()[1:]
    assert icvos(*command, "--allow-incomplete", "--min-frames", 1, "--shots", 1) == 0
    assert set(load_benchmark(tmp_path / "B").pairs) == {("mose__001ca3cb", 16), ("mose__330ac20d", 18)}
