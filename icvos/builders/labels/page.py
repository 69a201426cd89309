"""The labels page: an HTML file that works from disk, its videos within it, or beside it where they are many.

It shows an object at a time and, for each category of a video, asks whether every instance is outlined; every frame can
be looked at. What is said is kept in the browser, exported as the CSV files of the recipe, and read back in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from icvos.clips import LARGEST, chunk_element, script_json, tidy_scripts
from icvos.files import atomic_write, escape_id, page_asset, read_text

__all__ = ["Page", "write_page"]

# Videos beside the page are scripts: of its own folder, or of its own server.
_POLICY = (
    "default-src 'none'; img-src data: blob:; media-src blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' 'self' file:"
)

_BODY = """
<header><h1 id=title></h1><div id=progress><progress id=bar value=0 max=1 aria-label="answered"></progress>
<span id=count role=status></span></div>
<div class=right><input id=who type=text placeholder="your name" aria-label="your name" size=12 autocomplete=off
title="Each name has answers of its own in this browser; exports are named by it.">
<button id=finish>What is next</button></div></header>
<main><div id=work><div id=question></div>
<section id=stage aria-label=Frames hidden><div id=screen><canvas id=picture role=img></canvas><canvas id=outlines
aria-hidden=true></canvas></div>
<div id=timeline><svg id=presence viewBox="0 0 1 1" preserveAspectRatio=none aria-hidden=true></svg>
<input type=range id=scrubber min=0 value=0 step=1 aria-label=frame></div>
<div id=transport><button id=play>Play</button><button id=back aria-label="frame before">&#8592;</button>
<button id=on aria-label="next frame">&#8594;</button><span id=frame></span>
<button id=enlarge aria-pressed=false>Enlarge <kbd>+</kbd></button>
<label><input type=checkbox id=show-outlines checked>outlines <kbd>/</kbd></label></div>
<div id=legend></div><p class=note id=stage-note role=status></p></section><div id=film></div>
<div id=answers></div><div id=words class=words></div></div>
<p class=note id=help></p>
<nav id=strip aria-label="all questions"></nav>
<section id=files><h2>Files</h2><div class=row><button id=save-objects>Export objects.csv</button>
<button id=save-complete>Export complete.csv</button>
<button id=save-masks>Export masks.csv</button>
<button id=load>Read CSV in</button><input id=file type=file accept=.csv multiple hidden></div>
<p class=note>Answers are kept in this browser; the files share them.<span id=about-masks> masks.csv lists the frames
that need a mask.</span></p></section></main>
"""


@dataclass(frozen=True)
class Page:
    """What a page is.

    Attributes:
        name: Its files are named by it.
        title: Its heading.
        words: Names of the categories.
        steps: What to do at the end, and the command for it.
        pages: The names of all pages of the data set.
        people: Two whose conflicts are to be settled, or none.
        again: The command that makes such a page.
    """

    name: str
    title: str
    words: Sequence[str]
    steps: Sequence[tuple[str, str]]
    pages: Sequence[str] = ()
    people: Sequence[str] = ()
    again: str = ""


def write_page(out: Path, page: Page, videos: Sequence[Mapping[str, Any]]) -> Path:
    """Write ``<name>.html``; the videos' scripts go into it and their folder goes, where they are small together.

    Args:
        out: The folder, with the scripts in ``<name>-videos/``.
        page: What it is.
        videos: What the page has to know of each at once; ``video`` is its name.

    Returns:
        The page.
    """
    folder = out / f"{page.name}-videos"
    scripts = {video["video"]: folder / f"{escape_id(video['video'])}.js" for video in videos}
    inside = sum(path.stat().st_size for path in scripts.values()) <= LARGEST
    about = {
        "name": page.name,
        "title": page.title,
        "words": list(page.words),
        "steps": list(page.steps),
        "pages": list(page.pages),
        "people": list(page.people),
        "again": page.again,
        "scripts": {} if inside else {name: f"{folder.name}/{path.name}" for name, path in scripts.items()},
    }
    with atomic_write(out / f"{page.name}.html", "w") as stream:
        stream.write(
            f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{escape(page.title)}</title>\n"
            "<meta name=viewport content='width=device-width,initial-scale=1'>\n"
            f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">\n'
            f"<style>\n{page_asset('icvos.builders.labels', 'labels.css')}</style></head><body>{_BODY}"
            f"<script>const PAGE = {script_json(about)}, VIDEOS = [];</script>\n"
        )
        for video in videos:
            stream.write(f"<script>VIDEOS.push({script_json(video)});</script>\n")
        if inside:
            for name, path in scripts.items():
                stream.write(chunk_element(name, read_text(path)))
        for package, name in (
            ("icvos", "clips.js"),
            ("icvos.builders.labels", "stage.js"),
            ("icvos.builders.labels", "answers.js"),
            ("icvos.builders.labels", "labels.js"),
        ):
            stream.write(f"<script>\n{page_asset(package, name)}</script>\n")
        stream.write("</body></html>\n")
    tidy_scripts(folder, () if inside else list(scripts.values()))
    return out / f"{page.name}.html"
