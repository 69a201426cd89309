"""The documentation: its site builds strictly, and every public name, table and metric has its entry there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import docs_pages
import pytest
from docs_pages import FOR_CONTRIBUTORS, outside_blocks

import icvos
from icvos import cli
from icvos.metrics.table import METRICS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
pytest.importorskip("mkdocs")
slugify = pytest.importorskip("markdown.extensions.toc").slugify


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder), *options]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_build_is_strict(tmp_path: Path) -> None:
    """A link that leads nowhere fails it: with ``--quiet`` it would not."""
    shutil.copytree(DOCS, tmp_path / "docs")
    with (tmp_path / "docs/gallery.md").open("a") as page:
        page.write("\n[nowhere](index.md#nowhere)\n")
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    text = text.replace("docs_dir: docs", f"docs_dir: {tmp_path}/docs").replace(
        "tools/site.py", f"{ROOT}/tools/site.py"
    )
    (tmp_path / "mkdocs.yml").write_text(text.replace("paths: [.]", f"paths: [{ROOT}]"), encoding="utf-8")
    done = build(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))
    assert done.returncode == 1 and "does not contain an anchor '#nowhere'" in done.stderr


@pytest.mark.parametrize("page", [page for page in (*docs_pages.PAGES, *FOR_CONTRIBUTORS) if DOCS not in page.parents])
def test_links_of_pages_beside_the_site_lead_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", outside_blocks(page)):
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            heads = re.findall(r"^#+ (.+)$", outside_blocks(target), re.MULTILINE)
            assert anchor in {slugify(head, "-") for head in heads}, f"{path}#{anchor}"


def test_the_site_needs_no_network(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # and the one of what is not found
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]+)"', text)
        assert not loaded, page


@pytest.mark.parametrize(("width", "scheme"), [pytest.param(1300, "light", marks=pytest.mark.slow), (390, "dark")])
def test_pages_open_from_a_folder(site: Path, browser: Any, width: int, scheme: str) -> None:
    """Nothing is missing or asked of a network, nothing is wider than the screen, and no picture is distorted."""
    page = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme).new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    # The next page may be asked for before the last one's icon has come: that is no failure.
    page.on("requestfailed", lambda asked: problems.append(asked.url) if asked.failure != "net::ERR_ABORTED" else None)
    page.on("request", lambda asked: problems.append(asked.url) if asked.url.startswith("http") else None)
    for name in PAGES:
        page.goto((site / name).with_suffix(".html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        shapes = page.evaluate("[...document.images].map(i => i.width / i.height / (i.naturalWidth / i.naturalHeight))")
        assert shapes == pytest.approx([1] * len(shapes), rel=0.02), name
        assert not problems, name
    page.context.close()


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("J&F", "reference/metrics.html"),
        ("--shard", "how-to/cluster.html"),
        ("--support-min-ar", "reference/commands.html"),
        ("support-min-area", "reference/commands.html"),
        ("Q10", "explanation/reference-code.html"),
        ("write a method", "how-to/write-a-method.html"),
        ("ICVOS_HOME", "reference/files.html"),
    ],
)
def test_the_search_finds_what_is_typed(site: Path, browser: Any, words: str, first: str) -> None:
    page = browser.new_page()
    page.goto((site / "index.html").as_uri())
    page.fill("input.md-search__input", words)
    page.keyboard.press("End")  # one query: typed letter by letter, each result comes and goes
    page.wait_for_function("/^[0-9]+ matching/.test(document.querySelector('.md-search-result__meta').innerText)")
    found = page.locator(".md-search-result__link").first.get_attribute("href")
    page.close()
    assert found.partition("?")[0] == (site / first).as_uri()


def test_every_table_stands_on_one_page() -> None:
    from tools.site import MARKER, TABLES

    used = [name for text in PAGES.values() for name in MARKER.findall(text)]
    assert sorted(used) == sorted(TABLES)


def test_every_public_name_has_its_entry(site: Path) -> None:
    listed = re.findall(r"^::: icvos\.(\w+)$", PAGES["reference/api.md"], flags=re.MULTILINE)
    assert sorted(listed) == sorted(set(icvos.__all__) - {"__version__"})
    shown = (site / "reference/api.html").read_text(encoding="utf-8")
    assert all(f'id="icvos.{name}"' in shown for name in listed)


def test_every_command_and_option_has_its_entry(site: Path) -> None:
    from tools.site import command_words

    shown = (site / "reference/commands.html").read_text(encoding="utf-8")
    for words, command in command_words(cli.icvos, "icvos"):
        section = shown.partition(f'id="{"-".join(words)}"')[2].partition("<h")[0]
        assert section, words
        options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
        for option in options:
            assert option.help and f"<code>{option.opts[0]}" in section, (words, option.opts)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_its_definition(name: str) -> None:
    assert f"\n### `{name}`\n" in PAGES["reference/metrics.md"]


def test_every_page_is_linked_and_begins_with_its_title() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for name, text in PAGES.items():
        assert f"- {name}\n" in nav, name
        assert re.match(r"(<!--.*?-->\s*)?# \S", text, flags=re.DOTALL), name
