"""The HTML page, opened in a headless browser: sorted, filtered, compared, at desktop and phone width."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from board_runs import build, run

from icvos.leaderboard.render_html import to_html
from icvos.leaderboard.table import build_tables
from icvos.runs.run import Run, find_runs

EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    patch = pytest.MonkeyPatch()
    patch.setenv("ICVOS_HOME", str(root / "home"))
    benchmark = build(root) / "demo"
    for model in ("empty", "full", "histogram"):
        run(benchmark, root / "runs" / model, model)
    patch.undo()
    entries, _ = find_runs(root / "runs")
    entry = entries[0]
    result = {**entry.result, "model": {**entry.result["model"], "name": EVIL}}
    evil = Run(entry.run, result, entry.records, entry.checked, entry.where)
    (root / "page.html").write_text(to_html(build_tables([*entries, evil])), encoding="utf-8")
    return root / "page.html"


def open_page(browser: Any, file: Path, width: int = 1280, scheme: str = "light") -> tuple[Any, list[str]]:
    page = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme).new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda asked: problems.append(asked.url) if not asked.url.startswith("file:") else None)
    page.on("dialog", lambda dialog: (problems.append("a dialog opened"), dialog.dismiss()))
    page.goto(file.as_uri())
    return page, problems


def column(page: Any, head: str) -> list[str]:
    heads = page.locator("#table th button").all_inner_texts()
    place = [text.split(" \u25b2")[0].split(" \u25bc")[0].strip() for text in heads].index(head)
    return [row.locator("td").nth(place).inner_text() for row in page.locator("#table tbody tr").all()]


def test_page_is_self_contained(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)|@import|url\(""", text.replace(EVIL, ""))
    assert "</script><img" not in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))  # type: ignore[union-attr]
    assert {table["kind"] for table in data["tables"]} == {"measured", "published"}


def test_sorting_and_filtering(browser: Any, page_file: Path) -> None:
    page, problems = open_page(browser, page_file)
    page.locator("#table th button", has_text=re.compile("^J&F$")).click()
    figures = [float(text) for text in column(page, "J&F")]
    assert figures == sorted(figures, reverse=True) and len(set(figures)) > 1
    page.locator("#table th button", has_text=re.compile("^J&F$")).click()
    assert [float(text) for text in column(page, "J&F")] == figures[::-1]
    page.fill("#filter", "histogram")
    assert column(page, "model") == ["histogram"]
    page.fill("#filter", "nothing like it")
    assert column(page, "model") == [] and "0 of 4" in page.inner_text("#count")
    assert not problems


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_the_screen(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    page, problems = open_page(browser, page_file, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    for place in ("#plot-jf svg circle", "#plot-speed svg circle", "#heat tbody tr", "#compare-plot svg circle"):
        assert page.locator(place).count() > 0, place
    assert not problems


def test_names_of_strangers_are_text(browser: Any, page_file: Path) -> None:
    page, problems = open_page(browser, page_file)
    page.get_by_role("button", name=EVIL).click()
    assert EVIL in page.inner_text("#details") and page.locator("img").count() == 0
    page.click("#close")
    assert not page.locator("#details").is_visible() and not problems


def test_printed_tables_and_their_marks(browser: Any, page_file: Path) -> None:
    page, problems = open_page(browser, page_file, 390)
    titles = page.locator("#picker option").all_inner_texts()
    page.select_option("#picker", label=next(title for title in titles if "Table IV" in title))
    assert page.inner_text("#title .kind") == "published" and "20.44" in page.inner_text("#notes")
    assert not page.locator("#plots").is_visible() and not page.locator("#compare").is_visible()
    assert column(page, "J&F")[0] == "71.52"
    page.reload()
    assert page.inner_text("#title .kind") == "published"
    assert not problems


def test_two_methods_compared(browser: Any, page_file: Path) -> None:
    page, problems = open_page(browser, page_file)
    before = page.inner_text("#compare-text")
    page.select_option("#second", label="full")
    assert page.inner_text("#compare-text") != before and "full" in page.inner_text("#compare-text")
    assert not problems


def test_a_part_of_a_benchmark_is_in_no_plot_and_below_whole_runs(
    browser: Any, page_file: Path, tmp_path: Path
) -> None:
    entries, _ = find_runs(page_file.parent / "runs")
    best = max(entries, key=lambda entry: entry.score)
    protocol = {**best.result["protocol"], "limit_episodes": 2}
    result = {**best.result, "protocol": protocol, "model": {**best.result["model"], "name": "part"}}
    part = Run(best.run, result, best.records, best.checked, best.where)
    (tmp_path / "page.html").write_text(to_html(build_tables([part, *entries], published=False)), encoding="utf-8")
    page, problems = open_page(browser, tmp_path / "page.html")
    assert len(column(page, "model")) == 4 and column(page, "model")[-1] == "part"
    for _ in ("down", "up"):
        page.locator("#table th button", has_text=re.compile("^J&F$")).click()
        assert column(page, "model")[-1] == "part"
    assert page.locator("#plot-jf svg circle").count() == 3
    for place in ("#plots", "#heat-box", "#compare"):
        assert "histogram" in page.inner_html(place) and ">part<" not in page.inner_html(place)
    assert not problems


def test_a_long_table_holds_the_rows_in_view_and_sorts_filters_and_prints_them_all(
    browser: Any, page_file: Path, tmp_path: Path
) -> None:
    entry = find_runs(page_file.parent / "runs")[0][0]
    entries = []
    for number in range(300):
        model = {**entry.result["model"], "name": f"method {number:03d}"}
        summary = {**entry.result["summary"], "J": 90 - number / 5, "F": 90 - number / 5}
        result = {**entry.result, "model": model, "summary": summary}
        entries.append(Run(entry.run, result, (), entry.checked, entry.where))
    tables = build_tables(entries, published=False, intervals=False)
    (tmp_path / "page.html").write_text(to_html(tables), encoding="utf-8")
    page, problems = open_page(browser, tmp_path / "page.html")
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
