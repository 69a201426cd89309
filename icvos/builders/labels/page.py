"""The labels page: one HTML file without any other, that works from disk.

It shows an object at a time (frames with its outline, a crop, the categories) and, for each category of a video, whole
frames with the question whether every instance is outlined. What is said is kept in the browser, exported as the two
CSV files of the recipe, and read back in.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

from icvos.builders.labels.script import SCRIPT

__all__ = ["page_end", "page_head", "page_video"]

STYLE = """
:root { color-scheme: light dark; --line: #8884; --accent: #0a7; --soft: #8881; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.4 system-ui, sans-serif; }
header { position: sticky; top: 0; z-index: 2; display: flex; gap: 12px; align-items: center; padding: 8px 16px;
  background: Canvas; border-bottom: 1px solid var(--line); flex-wrap: wrap; }
header h1 { font-size: 16px; margin: 0; }
header progress { width: 160px; accent-color: var(--accent); }
header .right { margin-left: auto; display: flex; gap: 8px; align-items: center; }
main { padding: 12px 16px; max-width: 1500px; margin: auto; }
h2 { font-size: 18px; margin: 4px 0 10px; font-weight: 600; }
h2 small { font-weight: 400; opacity: .7; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 8px; }
figure { margin: 0; background: var(--soft); border-radius: 6px; overflow: hidden; }
figure svg, figure img { display: block; width: 100%; height: auto; }
figure.crop img { object-fit: contain; max-height: 230px; }
figcaption { font-size: 12px; padding: 2px 8px; opacity: .75; }
path { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
path.under { stroke: #000b; stroke-width: 4; }
path.it { stroke: #ff3; fill: #ff31; }
path.other { stroke: #3cf8; stroke-width: 1; }
.ask { margin: 8px 0 12px; display: flex; gap: 10px; align-items: center; flex-wrap: wrap; }
input[type=text] { font: inherit; padding: 6px 10px; border: 1px solid var(--line); border-radius: 6px; }
#search { width: 260px; font-size: 17px; }
button { font: inherit; padding: 4px 10px; border: 1px solid var(--line); border-radius: 6px; background: var(--soft);
  color: inherit; cursor: pointer; }
button:hover { border-color: var(--accent); }
button.on { background: var(--accent); color: #fff; border-color: var(--accent); }
button.top { outline: 2px solid var(--accent); }
button.big { font-size: 17px; padding: 8px 22px; }
kbd { font: 11px ui-monospace, monospace; border: 1px solid var(--line); border-radius: 3px; padding: 0 4px;
  opacity: .8; }
.words { display: flex; flex-wrap: wrap; gap: 5px; }
#words { margin-top: 12px; }
.help { font-size: 13px; opacity: .75; margin-top: 14px; }
#strip { display: flex; flex-wrap: wrap; gap: 3px; margin-top: 14px; }
#strip button { padding: 0 5px; font-size: 12px; min-width: 26px; }
#strip button.done { background: #0a73; }
#strip button.now { outline: 2px solid currentColor; }
#strip span { font-size: 12px; opacity: .7; padding: 1px 6px 0 10px; }
"""

BODY = """
<header><h1 id="title"></h1><progress id="bar" value="0" max="1"></progress><span id="count"></span>
<div class="right"><button id="save-objects">Export objects.csv</button>
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
    data = _script_json(json.dumps({"name": name, "title": title, "words": list(words)}))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)} labels</title>\n'
        f'<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{STYLE}</style></head><body>{BODY}\n'
        f"<script>const PAGE = {data}, VIDEOS = [];</script>\n"
    )


def page_video(data: str) -> str:
    """Return one video's part of the page; ``data`` is its JSON."""
    return f"<script>VIDEOS.push({_script_json(data)});</script>\n"


def page_end() -> str:
    """Return the page's end, with what makes it work."""
    return f"<script>{SCRIPT}</script></body></html>\n"


def _script_json(text: str) -> str:
    # JSON inside a script must not end it.
    return text.replace("<", "\\u003c")
