"""A page with a table of episodes and a player, whole in itself where it is small; else with its videos beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from icvos.clips import LARGEST, chunk_element, script_json, tidy_scripts
from icvos.files import atomic_write, page_asset, read_text
from icvos.report.chunks import Chunk

__all__ = ["DATA", "Column", "write_page"]

DATA = "data"
"""The folder of the videos' scripts, beside the page."""

Column = tuple[str, str, bool]
"""Of the table of episodes: the key in a row, the heading, whether it is a number."""

_LAYERS = (
    ("prediction", (("prediction", "#56b4e9"),)),
    ("errors", (("missed", "#f0e442"), ("false alarm", "#d55e00"))),
    ("truth", (("ground truth's outline", "#ffffff"),)),
)


def write_page(
    path: Path,
    *,
    title: str,
    runs: Sequence[str],
    parts: Sequence[str],
    head: Sequence[str],
    columns: Sequence[Column],
    episodes: Sequence[Mapping[str, Any]],
    chunks: Sequence[Chunk],
    tail: Sequence[str] = (),
) -> None:
    """Write the page; chunks go into it and their folder goes, where they are ``LARGEST`` bytes together at most.

    Args:
        path: The page.
        title: Its heading.
        runs: What the runs are called: one, or two side by side.
        parts: What is measured of a frame, J and F say.
        head, tail: Sections of HTML before the player and after the table.
        columns: Of the table.
        episodes: A row each: ``id``, ``video``, ``category``, ``category_number``, ``score``, ``frames``, the columns,
            and ``error`` where it failed.
        chunks: Scripts of the videos that can be played, in ``DATA`` beside the page; other scripts of videos go.
    """
    inside = sum(chunk.path.stat().st_size for chunk in chunks) <= LARGEST
    played = {name for chunk in chunks for name in chunk.ids}
    index = {
        "runs": list(runs),
        "columns": [{"key": key, "number": number} for key, _, number in columns],
        "episodes": [{**row, "played": row["id"] in played} for row in episodes],
        "chunks": {c.video: "" if inside else c.path.relative_to(path.parent).as_posix() for c in chunks},
    }
    with atomic_write(path, "w") as stream:
        stream.write(
            "<!doctype html><html lang=en><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width,initial-scale=1'>"
            f"<title>{escape(title)}</title><style>\n{page_asset('icvos.report', 'report.css')}</style>"
            f"<main><h1>{escape(title)}</h1>\n"
        )
        stream.write("\n".join(head))
        if chunks:
            stream.write(_player(runs, parts))
        stream.write(_table(columns, episodes))
        stream.write("\n".join(tail) + "</main>\n")
        stream.write(f"<script type='application/json' id=index>{script_json(index)}</script>\n")
        if inside:
            for chunk in chunks:
                stream.write(chunk_element(chunk.video, read_text(chunk.path).partition("\n")[2]))
        for package, name in (("icvos", "clips.js"), ("icvos.report", "player.js")):
            stream.write(f"<script>\n{page_asset(package, name)}</script>\n")
        stream.write("</html>\n")
    tidy_scripts(path.parent / DATA, () if inside else [chunk.path for chunk in chunks])


def _player(runs: Sequence[str], parts: Sequence[str]) -> str:
    both = len(runs) > 1
    screens = "".join(
        f"<figure><canvas role=img></canvas>{f'<figcaption>{escape(run)}</figcaption>' if both else ''}</figure>"
        for run in runs
    )
    layers = []
    for number, (name, keys) in enumerate(_LAYERS, 1):
        swatches = ", ".join(f"<span><i class=swatch style='background:{c}'></i> {escape(w)}</span>" for w, c in keys)
        box = f"<input type=checkbox id=layer-{name} checked>"
        layers.append(f"<label>{box}<span>{swatches}</span><kbd>{number}</kbd></label>")
    speeds = "".join(
        f"<option value={rate}{' selected' * (rate == 10)}>{rate} a second</option>" for rate in (2, 5, 10, 25)
    )
    lines = []
    for run, word in enumerate(runs):
        for part, name in enumerate(parts):
            classes = " two" * ((run if both else part) == 1) + " dash" * (part > 0)
            lines.append(f"<span><i class='{classes}'></i>{escape(f'{word}, {name}' if both else name)}</span>")
    lines.append("<span><i class=box></i>not there</span>")
    return f"""
<section id=player hidden aria-label=Player><h2 id=player-title></h2><div id=stage style="--runs:{len(runs)}">
<div><div id=screens>{screens}</div>
<div id=curve><svg id=lines viewBox="0 0 1000 100" preserveAspectRatio=none aria-hidden=true></svg>
<input type=range id=scrubber min=0 value=0 step=1 aria-label="frame">
<div class=legend>{"".join(lines)}</div></div></div>
<div class=side><div class=hand><div><div id=frame></div><div id=values></div></div>
<div id=transport><button id=play>Play</button><button id=back aria-label="frame before">&#8592;</button>
<button id=on aria-label="next frame">&#8594;</button>
<select id=speed aria-label="speed">{speeds}</select></div>
<fieldset id=layers aria-label=layers>{"".join(layers)}</fieldset>
<div class=between><button id=previous>Previous episode</button><button id=next>Next episode</button></div></div>
<div class=shown><div><div class=note>support</div><div id=supports></div></div>
<p class=note>Space plays, arrows step, Home and End, comma and full stop change the episode, 1 to 3 the layers.</p>
<p class=note id=player-note role=status></p></div></div></div></section>
"""


def _table(columns: Sequence[Column], episodes: Sequence[Mapping[str, Any]]) -> str:
    heads = "".join(
        f"<th data-key='{escape(key, quote=True)}'{' class=n' if number else ''}><button>{escape(words)}</button>"
        for key, words, number in columns
    )
    selects = []
    for key in ("category", "source", "draw"):
        values = sorted({row[key] for row in episodes if row.get(key) is not None}, key=lambda v: (str(type(v)), v))
        if len(values) > 1:
            texts = [escape(str(value), quote=True) for value in values]
            options = "".join(f"<option value='{text}'>{text}</option>" for text in texts)
            selects.append(f"<label>{key}<select id=by-{key}><option value=''>all</option>{options}</select></label>")
    return f"""
<section><h2>Episodes</h2><div id=filters><label>find<input type=search id=find></label>{"".join(selects)}
<label>score from<input type=number id=least></label><label>to<input type=number id=most></label>
<button id=reset>Show all</button></div><p class=note id=count role=status></p>
<div id=episodes tabindex=0 role=region aria-label=Episodes><table><thead><tr>{heads}</thead><tbody id=rows></tbody>
</table></div>
<p><button id=all hidden>Show the rest</button></p></section>
"""
