"""The labels page: one HTML file without any other, that works from disk.

It shows an object at a time (frames with its outline, a crop, the categories) and, for each category of a video, whole
frames with the question whether every instance is outlined. What is said is kept in the browser, exported as the two
CSV files of the recipe, and read back in.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

from icvos.files import page_asset

__all__ = ["page_end", "page_head", "page_video"]


BODY = """
<header><h1 id="title"></h1><progress id="bar" value="0" max="1"></progress><span id="count"></span>
<div class="right"><input id="who" type="text" placeholder="your name" size="12" autocomplete="off"
title="Each name has answers of its own in this browser; exports are named by it.">
<button id="save-objects">Export objects.csv</button>
<button id="save-complete">Export complete.csv</button>
<button id="load">Read CSV in</button><input id="file" type="file" accept=".csv" multiple hidden></div></header>
<main><div id="item"></div><div id="strip"></div></main>
"""


def page_head(name: str, title: str, words: Sequence[str]) -> str:
    """Return the page up to the first video.

    Args:
        name: Of the page, which its files are named by.
        title: Of the data set.
        words: Names of the categories.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    style = page_asset("icvos.builders.labels", "labels.css")
    data = _script_json(json.dumps({"name": name, "title": title, "words": list(words)}))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)} labels</title>\n'
        f'<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>\n{style}</style></head><body>{BODY}\n'
        f"<script>const PAGE = {data}, VIDEOS = [];</script>\n"
    )


def page_video(data: str) -> str:
    """Return one video's part of the page; ``data`` is its JSON."""
    return f"<script>VIDEOS.push({_script_json(data)});</script>\n"


def page_end() -> str:
    """Return the page's end, with what makes it work."""
    script = page_asset("icvos.builders.labels", "labels.js")
    return f"<script>\n{script}</script></body></html>\n"


def _script_json(text: str) -> str:
    # JSON inside a script must not end it.
    return text.replace("<", "\\u003c")
