"""The HTML page, opened in a headless browser: sorted, filtered, compared, from a phone's width to a desktop's."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from board_runs import build, icvos, run
from pages import SCHEMES, WIDTHS, open_page, text_problems

from icvos.leaderboard.render_html import GROUPS, to_html
from icvos.leaderboard.render_text import to_markdown
from icvos.leaderboard.table import Column, Table, best_cells, build_tables
from icvos.leaderboard.trainings import Trainings
from icvos.runs.run import Run, find_runs

EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, one with a page of its own, and a page of them, of one with an evil name and of printed figures."""
    root = tmp_path_factory.mktemp("page")
    patch = pytest.MonkeyPatch()
    patch.setenv("ICVOS_HOME", str(root / "home"))
    benchmark = build(root) / "demo"
    for model in ("empty", "full", "histogram"):
        run(benchmark, root / "runs" / model, model)
    patch.undo()
    (root / "runs/histogram/report").mkdir()
    (root / "runs/histogram/report/index.html").write_text("<title>of the run</title>")
    write(root / "page.html", [*runs_of(root), called(runs_of(root)[0], EVIL)], published=True)
    return root


def runs_of(world: Path) -> list[Run]:
    return find_runs(world / "runs")[0]


def called(entry: Run, name: str, *, benchmark: str = "", limit: int = 0, **summary: float) -> Run:
    """The run under another name, of another benchmark, of a part of it, or with other figures."""
    result = {**entry.result, "model": {**entry.result["model"], "name": name}}
    result["summary"] = {**result["summary"], **summary}
    if benchmark:
        result["benchmark"] = {**result["benchmark"], "name": benchmark}
    if limit:
        result["protocol"] = {**result["protocol"], "limit_episodes": limit}
    return replace(entry, result=result)


def write(file: Path, entries: Sequence[Run], *, published: bool = False, intervals: bool = True) -> Path:
    tables = build_tables(entries, published=published, intervals=intervals)
    file.write_text(to_html(tables, file), encoding="utf-8")
    return file


def data_of(text: str) -> Any:
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])


def column(page: Any, head: str) -> list[str]:
    heads = page.locator("#table th button").all_inner_texts()
    place = [text.split(" \u25b2")[0].split(" \u25bc")[0].strip() for text in heads].index(head)
    return [row.locator("td").nth(place).inner_text() for row in page.locator("#table tbody tr").all()]


def names(page: Any) -> list[str]:
    return list(page.locator("#table .name").all_inner_texts())


def to_board(page: Any, *words: str) -> None:
    """Choose a board by the keyboard alone."""
    page.locator("#picker").press("Enter")
    page.keyboard.type(" ".join(words))
    page.keyboard.press("Enter")


def test_page_is_self_contained(world: Path) -> None:
    text = (world / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)|@import|url\(""", text.replace(EVIL, ""))
    assert "</script><img" not in text
    data = data_of(text)
    assert {table["kind"] for table in data["tables"]} == {"measured", "published"}
    assert len({table["id"] for table in data["tables"]}) == len(data["tables"])


def test_sorting_and_filtering(browser: Any, world: Path) -> None:
    page, problems = open_page(browser, world / "page.html")
    page.locator("#table th button", has_text=re.compile("^J&F$")).click()
    figures = [float(text) for text in column(page, "J&F")]
    assert figures == sorted(figures, reverse=True) and len(set(figures)) > 1
    page.locator("#table th button", has_text=re.compile("^J&F$")).press("Enter")
    assert [float(text) for text in column(page, "J&F")] == figures[::-1]
    assert set(page.locator("#table td.main.best").all_inner_texts()) == {f"{max(figures):.2f}"}
    page.fill("#filter", "histogram")
    assert names(page) == ["histogram"]
    page.fill("#filter", "nothing like it")
    assert names(page) == [] and "0 of 4" in page.inner_text("#count")
    assert not problems


# Of the texts of charts, as they are drawn, in pixels.
SIZES = """[...document.querySelectorAll('svg text')].map(text => {
    const svg = text.ownerSVGElement, shrunk = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return parseFloat(getComputedStyle(text).fontSize) * shrunk; })"""


@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_is_cut_or_covered_or_pale_or_small(browser: Any, world: Path, tmp_path: Path, width: int) -> None:
    first = runs_of(world)[0]
    others = [called(first, f"another method {i}", J=60 + i / 9, F=60 + i / 9) for i in range(9)]
    file = write(tmp_path / "page.html", [*runs_of(world), *others, called(first, "part", limit=2)], published=True)
    for scheme in SCHEMES:
        page, problems = open_page(browser, file, width, scheme)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        for place in ("#plot-jf .point", "#plot-speed .point", "#heat tbody tr", "#compare-plot .point"):
            assert page.locator(place).count() > 2, place
        assert text_problems(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert min(page.evaluate(SIZES)) >= 11
        # The name and the figure that ranks are seen first.
        heads = page.locator("#table th").all()
        assert [head.inner_text() for head in heads[:2]] == (["model", "J&F"] if width == 390 else ["rank", "model"])
        assert all(head.bounding_box()["x"] + head.bounding_box()["width"] <= width for head in heads[:3])
        page.click("#picker")
        assert [line for line in text_problems(page) if "on each other" not in line] == []
        page.keyboard.press("Escape")
        to_board(page, "arXiv", "Table IV")
        assert page.inner_text("#table th >> nth=0") == "method" and text_problems(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width and not problems
        page.context.close()


def test_light_and_dark_by_the_system_and_by_the_button(browser: Any, world: Path) -> None:
    page, problems = open_page(browser, world / "page.html")
    seen = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(seen)
    page.emulate_media(color_scheme="dark")
    page.locator("html[data-theme=dark]").wait_for()
    assert page.evaluate(seen) != light
    page.click("#theme")
    assert page.evaluate(seen) == light
    page.emulate_media(color_scheme="light")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(seen) == light and not problems


def test_names_of_strangers_are_text(browser: Any, world: Path) -> None:
    page, problems = open_page(browser, world / "page.html")
    page.locator("#table").get_by_role("button", name=EVIL).click()
    assert EVIL in page.inner_text("#details") and page.locator("img").count() == 0
    page.click("#close")
    assert not page.locator("#details").is_visible() and not problems


def test_boards_are_chosen_from_ones_own_first(browser: Any, world: Path, tmp_path: Path) -> None:
    first, second, third = runs_of(world)
    own = [called(each, each.model, benchmark="mine") for each in (first, second)]
    parts = [called(first, f"part {number}", benchmark="parts", limit=2) for number in range(5)]
    demos = [called(each, each.model, benchmark="demo-tiny") for each in (first, second, third)]
    file = write(tmp_path / "page.html", [*demos, *own, *parts, called(first, "one", benchmark="aaa")], published=True)
    page, problems = open_page(browser, file, 390)
    assert page.inner_text("#title").startswith("mine ")  # the most whole runs of one's own
    page.click("#picker")
    groups = page.locator("#boards h3").all_inner_texts()
    assert [text.rpartition(" (")[0] for text in groups] == list(GROUPS) and groups[0].endswith("(3)")
    boards = [" ".join(text.split()) for text in page.locator(".board").all_inner_texts()]
    assert [text.split()[0] for text in boards[:4]] == ["aaa", "mine", "parts", "demo-tiny"]
    assert "2 runs" in boards[1] and "5 runs, 5 of a part" in boards[2]
    assert " ".join(page.locator(".board[aria-current]").inner_text().split()) == boards[1]
    page.keyboard.type("full")  # a method's name finds the boards that it is on
    assert page.locator(".board:visible").count() == 2
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.inner_text("#title").startswith("demo-tiny ") and not page.locator("#boards").is_visible()
    page.reload()
    assert page.inner_text("#title").startswith("demo-tiny ")
    page.evaluate("id => { location.hash = id }", page.evaluate("DATA.tables[0].id"))
    page.locator("#title", has_text="aaa 1").wait_for()
    page.locator("#picker").press("Enter")
    page.keyboard.type("nothing like it")
    assert page.locator("#boards-none").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#boards").is_visible() and not problems


def test_printed_tables_and_their_marks(browser: Any, world: Path) -> None:
    page, problems = open_page(browser, world / "page.html", 390)
    to_board(page, "Table IV")
    assert page.inner_text("#title .kind") == "published" and "20.44" in page.inner_text("#notes")
    assert page.get_attribute("#title a", "href") == "https://arxiv.org/abs/2504.12080v2"
    assert not page.locator("#plots").is_visible() and not page.locator("#compare").is_visible()
    assert column(page, "J&F")[0] == "71.52"
    page.reload()
    assert page.inner_text("#title .kind") == "published"
    assert not problems


def test_printed_figures_say_what_tells_them_from_measured_ones_of_their_name(
    browser: Any, world: Path, tmp_path: Path
) -> None:
    entries = runs_of(world)
    small = [called(entry, entry.model, benchmark="ic-vos") for entry in entries]
    tables = build_tables([*entries, *small, called(entries[0], "x", benchmark="lvos-v2-mine")])
    (mine,) = (table for table in tables if table.kind == "measured" and table.benchmark == "ic-vos")
    printed = next(table for table in tables if table.kind == "published" and table.benchmark == "ic-vos")
    (line,) = printed.apart
    assert line.startswith(f"not what is measured here as {mine.title}: that is of protocol native, this of paper; ")
    assert f"{len({each['video'] for each in entries[0].records})} videos" in line and "this 369 videos" in line
    apart = {table.benchmark: table.apart for table in tables if table.apart}
    assert apart.keys() == {"ic-vos", "lvos-v2"} and "that is of other data" in apart["lvos-v2"][0]
    text = to_markdown(tables)
    assert text.index(mine.title) < text.index(f"## {printed.title}") < text.index("not what is measured here")
    between = text.partition(f"## {printed.title}\n\n")[2]
    assert between.startswith("not what is measured here as ic-vos")
    (tmp_path / "page.html").write_text(to_html(tables), encoding="utf-8")
    page, problems = open_page(browser, tmp_path / "page.html")
    assert page.inner_text("#title").startswith("ic-vos ")
    page.locator("#related button").first.press("Enter")
    assert page.inner_text("#apart") == line
    page.click("#related button")
    assert page.inner_text("#title").startswith(mine.title) and page.inner_text("#apart") == "" and not problems


def test_two_methods_compared(browser: Any, world: Path) -> None:
    page, problems = open_page(browser, world / "page.html")
    before = page.inner_text("#compare-text")
    page.select_option("#second", label="full")
    assert page.inner_text("#compare-text") != before and "full" in page.inner_text("#compare-text")
    assert not problems


def test_a_part_of_a_benchmark_is_hollow_and_last(browser: Any, world: Path, tmp_path: Path) -> None:
    entries = runs_of(world)
    best = max(entries, key=lambda entry: entry.score)
    page, problems = open_page(browser, write(tmp_path / "page.html", [called(best, "part", limit=2), *entries]))
    assert len(names(page)) == 4 and names(page)[-1] == "part"
    for _ in ("down", "up"):
        page.locator("#table th button", has_text=re.compile("^J&F$")).click()
        assert names(page)[-1] == "part"
    legend = page.locator("#legend button").all_inner_texts()
    assert legend[-1] == "part, a part of the benchmark" and not any("part" in text for text in legend[:-1])
    for place in ("#plot-jf", "#plot-speed", "#table", "#legend"):
        hollow = page.evaluate(f"[...document.querySelectorAll('{place} .mark')].map(m => m.matches('.hollow'))")
        assert hollow == [False] * 3 + [True], place
    style = "([selector, name]) => getComputedStyle(document.querySelector(selector))[name]"
    panel = page.evaluate(style, ["section", "backgroundColor"])
    assert page.evaluate(style, ["#plot-jf .hollow", "fill"]) == panel
    assert page.evaluate(style, ["#plot-jf .hollow", "stroke"]) != panel
    for place in ("#heat-box", "#compare"):
        assert "histogram" in page.inner_html(place) and ">part<" not in page.inner_html(place)
    assert not problems


PLACES = """selector => [...document.querySelectorAll(selector + ' .point .hit')].map(
    hit => [Number(hit.getAttribute('cx')), Number(hit.getAttribute('cy'))])"""


@pytest.mark.parametrize("width", [390, 1440])
def test_points_of_the_same_figures_are_told_apart(browser: Any, world: Path, tmp_path: Path, width: int) -> None:
    first = runs_of(world)[0]
    names = [f"twin {letter}" for letter in "abcde"]
    page, problems = open_page(browser, write(tmp_path / "page.html", [called(first, name) for name in names]), width)
    for plot in ("#plot-jf", "#plot-speed"):
        places = page.evaluate(PLACES, plot)
        apart = [((x - a) ** 2 + (y - b) ** 2) ** 0.5 for i, (x, y) in enumerate(places) for a, b in places[:i]]
        assert len(apart) == 10 and min(apart) > 12 and max(apart) < 60
        assert sorted(page.locator(f"{plot} text.name").all_text_contents()) == names
        page.evaluate("drawCharts()")
        assert page.evaluate(PLACES, plot) == places
    assert text_problems(page) == []
    # One stop of the Tab key, and arrows between the points.
    page.locator("#plot-jf .point").first.focus()
    for name in names[1:]:
        page.keyboard.press("ArrowRight")
        said = page.inner_text("#plot-jf .readout")
        assert said.startswith(f"{name}: J ") and said.count("twin") == 5 and "at the same place" in said
        assert page.locator("#legend .on").inner_text() == name
    page.keyboard.press("Enter")
    assert page.inner_text("#details-name") == "twin e"
    page.keyboard.press("Escape")
    page.locator("#plot-speed .point").nth(1).hover()
    assert page.inner_text("#plot-speed .readout").startswith("twin b: frames per second")
    page.locator("#legend button").nth(2).focus()
    assert page.locator("#plot-jf .point.on").get_attribute("aria-label").startswith("twin c")
    assert not problems


def test_marks_of_thirty_five_rows_differ_and_neighbours_in_colour_and_shape(browser: Any, world: Path) -> None:
    page, _ = open_page(browser, world / "page.html")
    marks = page.evaluate("[...Array(35).keys()].map(n => [colourClass(n), markOf(n, 0, 0, 6).getAttribute('d')])")
    assert len({tuple(mark) for mark in marks}) == 35
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in pairwise(marks))


def test_a_runs_own_page_is_linked_where_it_is(browser: Any, world: Path) -> None:
    page, problems = open_page(browser, world / "page.html")
    assert page.locator("#table .report").count() == 1
    page.get_by_role("link", name="report of histogram").click()
    assert page.title() == "of the run" and not problems


def test_which_pages_are_linked(world: Path, tmp_path: Path) -> None:
    def links(entry: Run, page: Path | None) -> list[list[str]]:
        data = data_of(to_html(build_tables([entry], published=False), page))
        return [link for table in data["tables"] for row in table["entries"] for link in row["reports"]]

    entry = next(each for each in runs_of(world) if each.model == "histogram")
    runs = world / "runs"
    assert links(entry, runs / "page.html") == [["report", "histogram/report/index.html"]]
    assert links(entry, world / "pages/page.html") == [["report", "../runs/histogram/report/index.html"]]
    assert links(entry, world / "far/away/page.html") == [] == links(entry, None)
    assert links(called(entry, "x"), tmp_path / "elsewhere" / "page.html") == []
    assert links(next(each for each in runs_of(world) if each.model == "full"), runs / "page.html") == []
    # A record has the page of its run folder, and a name of a folder is no address.
    odd = tmp_path / "deeper" / "javascript:alert(1) & <b>#?"
    (odd / "report").mkdir(parents=True)
    (odd / "report/index.html").touch()
    record = replace(entry, where=tmp_path / "record.json", folder=odd)
    address = "javascript%3Aalert%281%29%20%26%20%3Cb%3E%23%3F/report/index.html"
    assert links(record, tmp_path / "deeper/page.html") == [["report", address]]
    both = Trainings(entry.run, entry.result, entry.records, entry.checked, entry.where, (entry, record))
    (table,) = build_tables([entry], published=False)
    data = data_of(to_html([replace(table, entries=(both,))], tmp_path / "deeper/page.html"))
    assert data["tables"][0]["entries"][0]["reports"] == [["report 2", address]]


def test_a_run_that_stands_on_the_board_keeps_its_page(world: Path, tmp_path: Path) -> None:
    board, page = tmp_path / "board", world / "board.html"
    benchmark = world / "world/benchmarks/demo"
    assert icvos("leaderboard", "add", world / "runs/histogram", "--board", board, "--benchmark", benchmark) == 0
    assert icvos("leaderboard", "render", page, "--board", board, "--runs", world / "runs", "--no-published") == 0
    rows = [row for table in data_of(page.read_text())["tables"] for row in table["entries"]]
    assert [row["reports"] for row in rows if row["label"] == "histogram"] == [
        [["report", "runs/histogram/report/index.html"]]
    ]
    assert len(rows) == 3


def test_the_best_of_what_is_better_lower_is_the_lowest() -> None:
    columns = (Column("rank", False), Column("model", False), Column("J&F"), Column("FPR", higher_is_better=False))
    rows = (("1", "a", 60.0, 9.0), ("2", "b", 50.0, 4.0), ("-", "part", 99.0, 0.0))
    assert best_cells(Table("t", "measured", columns, rows)) == {(0, 2), (1, 3)}


def test_a_long_table_holds_the_rows_in_view_and_sorts_filters_and_prints_them_all(
    browser: Any, world: Path, tmp_path: Path
) -> None:
    entry = replace(runs_of(world)[0], records=())
    entries = [called(entry, f"method {n:03d}", J=90 - n / 5, F=90 - n / 5) for n in range(300)]
    page, problems = open_page(browser, write(tmp_path / "page.html", entries, intervals=False))
    rows = page.locator("#table tbody tr:not(.gap)")
    assert page.inner_text("#count") == "300 rows" and rows.count() < 200
    assert page.get_attribute("#table", "aria-rowcount") == "301"
    box = page.locator("#table").locator("..")
    seen = set()
    for place in range(0, box.evaluate("box => box.scrollHeight"), 400):
        box.evaluate("(box, place) => { box.scrollTop = place }", place)
        page.wait_for_timeout(30)
        seen |= set(rows.evaluate_all("rows => rows.map(row => row.getAttribute('aria-rowindex'))"))
    assert seen == {str(index) for index in range(2, 302)}
    page.locator("#table th button", has_text="model").click()
    page.locator("#table th button", has_text="model").click()
    assert rows.first.locator(".name").inner_text() == "method 299"
    page.fill("#filter", "method 017")
    assert page.inner_text("#count") == "1 of 300 rows" and column(page, "model") == ["method 017"]
    page.fill("#filter", "")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert rows.count() == 300
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert rows.count() < 200
    assert not problems
