"""Tables, plots and details as one self-contained HTML page."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from icvos.errors import LONGEST, printable
from icvos.files import page_asset
from icvos.leaderboard.beside import is_demo, printed_name
from icvos.leaderboard.marks import MARKS, marks, seen_split
from icvos.leaderboard.ranks import samples_of
from icvos.leaderboard.statistics import category_interval, difference, draw_spread, interval
from icvos.leaderboard.summaries import seen_summary, track_20i
from icvos.leaderboard.table import Table, best_cells, figure, shown_columns
from icvos.leaderboard.trainings import Trainings, training_text
from icvos.protocols import PROTOCOLS
from icvos.runs.run import Run

__all__ = ["to_html"]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data:">
<title>icvos leaderboards</title><style>{style}</style></head><body>
<header><h1>icvos leaderboards</h1><button id="theme" type="button">Dark</button>
<p>In-context segmentation: one support image with a mask; segment that kind of thing in another scene.</p></header>
<main><noscript>This page draws its tables with JavaScript; icvos leaderboard render also writes Markdown and
CSV.</noscript>
<nav><button id="picker" type="button" aria-haspopup="dialog">Boards</button>
<input id="filter" type="search" placeholder="Filter rows" aria-label="Filter rows"></nav>
<section><h2 id="title"></h2><p class="soft" id="count" aria-live="polite"></p>
<div id="apart"></div><div class="scroll"><table id="table"></table></div><ul class="note" id="notes"></ul>
<div id="related"></div></section>
<div id="plots"><div class="pair"><section><h3 id="title-jf"></h3><div id="plot-jf"></div></section>
<section><h3 id="title-speed"></h3><div id="plot-speed"></div></section></div>
<section><h3>Methods</h3><ul id="legend"></ul><p class="soft" id="legend-some"></p></section></div>
<section id="heat-box"><h3>By category</h3><p class="soft">Percent; * the method declares to have trained on it.<span \
id="heat-some"></span></p>
<div class="scroll"><table id="heat" class="heat"></table></div></section>
<section id="compare"><h3>Two methods, video by video</h3><div class="choose">
<select id="first" aria-label="First method"></select><select id="second" aria-label="Second method"></select></div>
<p class="soft" id="compare-text"></p><div class="pair"><div id="compare-plot"></div><div id="compare-bars"></div></div>
</section></main>
<dialog id="boards" aria-label="Boards"><div class="top">
<input id="search" type="search" placeholder="Board or method" aria-label="Search boards and methods">
<button id="boards-close" type="button">Close</button></div><div id="boards-list"></div>
<p class="soft" id="boards-none" hidden>No board is called so, and none has such a method.</p></dialog>
<dialog id="details" aria-labelledby="details-name"><div class="top"><h2 id="details-name"></h2>
<button id="close" type="button">Close</button></div><div id="details-body"></div></dialog>
<footer>Made by icvos leaderboard render. Measured and printed figures are never in one table.</footer>
<script type="application/json" id="data">{data}</script><script>{script}</script></body></html>
"""

GROUPS = ("Measured here", "Demo", "Printed in papers, not measured here")
# What a row says of itself before its figures.
_LABELS = ("rank", "model", "method", "encoder", "shots")


def to_html(tables: Sequence[Table], page: Path | None = None) -> str:
    """Return the page; it loads nothing, and its policy forbids to.

    Args:
        tables: One is seen at a time: first the one of the most whole runs, of the user's own boards if there are any.
        page: Where it will be written. Runs' own pages (``RUN/report/index.html``) are linked from there; None links
            none.
    """
    texts = _Texts()
    shown = [_table(table, texts, page) for table in tables]
    _set_ids(shown)
    _relate(tables, shown)
    content = {
        "tables": shown,
        "texts": list(texts.indices),
        "groups": GROUPS,
        "start": min(range(len(tables)), key=lambda index: _place(tables[index]), default=0),
    }
    data = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # "<" never ends the script element early, whatever a model is called.
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    style = page_asset("icvos.leaderboard", "page.css")
    script = "\n".join(page_asset("icvos.leaderboard", name) for name in ("plot.js", "boards.js", "page.js"))
    return PAGE.replace("{style}", "\n" + style).replace("{script}", "\n" + script).replace("{data}", data)


def _group(table: Table) -> int:
    """Return the index in ``GROUPS``."""
    return 2 if table.kind == "published" else int(is_demo(table.benchmark))


def _place(table: Table) -> tuple[int, int]:
    return _group(table), -sum(not entry.limited for entry in table.entries)


def _set_ids(contents: Sequence[dict[str, Any]]) -> None:
    """Give each table an id for the address, of letters and digits of its title; a second one of it has a number."""
    used = set[str]()
    for content in contents:
        words = re.sub(r"[^a-z0-9]+", "-", content["title"].lower()).strip("-")
        numbers = ("", *(f"-{number}" for number in range(2, len(contents) + 1)))
        content["id"] = next(words + number for number in numbers if words + number not in used)
        used.add(content["id"])


def _relate(tables: Sequence[Table], contents: Sequence[dict[str, Any]]) -> None:
    """Name in each table those of the same name on the other side: measured of printed figures, printed of measured."""
    for index, table in enumerate(tables):
        name = table.benchmark if table.kind == "published" else printed_name(table.benchmark)
        contents[index]["related"] = [
            number
            for number, other in enumerate(tables)
            if name is not None
            and other.kind != table.kind
            and name == (other.benchmark if other.kind == "published" else printed_name(other.benchmark))
        ]


def _column_orders(table: Table) -> tuple[list[int], list[int]]:
    """Return the columns in order: labels, the ranking figure, the others; and on a phone, name and figure first."""
    shown = shown_columns(table)
    labels = [index for index in shown if table.columns[index].head in _LABELS]
    score = [index for index in (table.ranked_by,) if index in shown and index not in labels]
    wide = [*labels, *score, *(index for index in shown if index not in (*labels, *score))]
    name = [index for index in labels if table.columns[index].head in ("model", "method")]
    return wide, [*name, *score, *(index for index in wide if index not in (*name, *score))]


def _report_links(entry: Run, page: Path | None) -> list[tuple[str, str]]:
    """Return a name and a relative address of each of a row's pages that are there; empty if none can be linked."""
    runs = entry.runs if isinstance(entry, Trainings) else (entry,)
    names = [f"report {number}" for number in range(1, len(runs) + 1)] if len(runs) > 1 else ["report"]
    links = ((name, _report_link(run.folder or run.where, page)) for name, run in zip(names, runs))
    return [(name, link) for name, link in links if link is not None]


def _report_link(folder: Path, page: Path | None) -> str | None:
    report = folder / "report" / "index.html"
    # A relative address leads there as long as both lie in one tree, which may be moved; ValueError: on another drive.
    with suppress(OSError, ValueError):
        if page is not None and report.is_file():
            parts = PurePath(os.path.relpath(report, page.parent)).parts
            if parts.count("..") < 2:
                return "/".join(quote(os.fsencode(part), safe="") for part in parts)
    return None


class _Texts:
    """The texts of all rows' details, each once: most rows say the same of most."""

    def __init__(self) -> None:
        self.indices: dict[str, int] = {}

    def index(self, text: object) -> int:
        return self.indices.setdefault(str(text), len(self.indices))


def _table(table: Table, texts: _Texts, page: Path | None) -> dict[str, Any]:
    rules = table.entries[0].rules if table.entries else PROTOCOLS["native"]
    names = [str(row[1]) for row in table.rows]
    units = {
        part: sorted({name for e in table.entries for name in e.result[part]}) for part in ("per_category", "per_video")
    }
    wide, narrow = _column_orders(table)
    return {
        "title": table.title,
        "benchmark": table.benchmark,
        "kind": table.kind,
        "group": _group(table),
        "metric": rules.score,
        "axes": [metric.heading or metric.label for metric in rules.metrics_in("board")[:2]],
        "columns": [{"head": c.head, "numeric": c.numeric, "digits": c.digits} for c in table.columns],
        "name": next(i for i, column in enumerate(table.columns) if column.head in ("model", "method")),
        "ranked_by": table.ranked_by,
        "wide": wide,
        "narrow": narrow,
        "best": sorted(best_cells(table)),
        "rows": [[_number(value) if isinstance(value, float) else value for value in row] for row in table.rows],
        "apart": list(table.apart),
        "notes": list(table.notes),
        "categories": units["per_category"],
        "videos": units["per_video"],
        "entries": [
            _entry(e, s.interval, n, units, texts, page) for e, s, n in zip(table.entries, table.standings, names)
        ],
        "differences": _differences(table, names),
    }


def _number(value: float | None, digits: int = 4) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def _main(row: dict[str, Any], score: str, digits: int = 4) -> float | None:
    return _number(row.get(score), digits)


def _entry(
    entry: Run,
    ends: tuple[float, float] | None,
    name: str,
    units: Mapping[str, Sequence[str]],
    texts: _Texts,
    page: Path | None,
) -> dict[str, Any]:
    """Return a row's data; figures by category and by video stand in the order of the table's names of these."""
    rules, result = entry.rules, entry.result
    parts = {
        part: [_main(result[part].get(one) or {}, rules.score, 2) for one in names] for part, names in units.items()
    }
    first, second = rules.metrics_in("board")[:2]
    return {
        "key": name,
        "label": name,
        "score": _number(entry.score),
        "a": _number(figure(entry, first.name)),
        "b": _number(figure(entry, second.name)),
        "low": ends[0] if ends else None,
        "high": ends[1] if ends else None,
        "fps": entry.fps,
        "limited": entry.limited,
        "reports": _report_links(entry, page),
        "categories": parts["per_category"],
        "videos": parts["per_video"],
        "seen": seen_split(entry)[0],
        "details": [(texts.index(name), texts.index(value)) for name, value in _details(entry)],
        "tables": [
            (texts.index(title), [(texts.index(row[0]), *row[1:]) for row in rows]) for title, rows in _tables(entry)
        ],
    }


def _details(entry: Run) -> list[tuple[str, str]]:
    run, model = entry.run, entry.run["model"]
    environment = run.get("environment") or {}
    spread = draw_spread({draw: row.get(entry.rules.score) for draw, row in entry.result["per_draw"].items()})
    rows = [
        ("checked", entry.checked),
        ("marks", "; ".join(MARKS[mark] for mark in marks(entry)) or "none"),
        ("not ranked", ", ".join(entry.not_ranked)),
        ("paper", model.get("paper")),
        ("licence", model.get("licence")),
        ("reads frames", model.get("access")),
        ("is told", ", ".join(map(str, model.get("uses") or ()))),
        ("precision", " under autocast ".join(str(model[n]) for n in ("dtype", "autocast") if model.get(n))),
        ("backend", model.get("backend")),
        ("trained on", ", ".join(map(str, model.get("training_data") or ())) or "nothing declared"),
        ("options", json.dumps(model.get("options") or {}, ensure_ascii=False)),
        ("weights", "; ".join(f"{k}: {str(v)[:16]}…" for k, v in (model.get("weights") or {}).items()) or "none"),
        ("trainings", entry.text if isinstance(entry, Trainings) else training_text(entry)),
        ("source", str(model.get("source_sha256") or "")[:16]),
        (
            "benchmark",
            f"{entry.benchmark_name} {run['benchmark'].get('version') or ''}, manifest {entry.group[2][:16]}",
        ),
        ("protocol", f"{entry.protocol}, {entry.shown}, seed {entry.result['protocol'].get('seed')}"),
        ("oracle", "" if entry.vos else entry.oracle),
        ("episodes", f"{entry.summary['episodes']}, {entry.summary['failed']} failed"),
        ("draws", f"{spread[0]:.2f} to {spread[1]:.2f}, deviation {spread[2]:.2f}" if spread else ""),
        ("device", f"{environment.get('gpu') or environment.get('device') or ''} {environment.get('platform') or ''}"),
        (
            "software",
            ", ".join(
                f"{k} {environment[k]}" for k in ("python", "torch", "sam2", "transformers") if environment.get(k)
            ),
        ),
        ("icvos", f"{run.get('icvos')} {str(run.get('commit') or '')[:12]}"),
        ("run", f"{run.get('start')} to {run.get('end')}"),
    ]
    return [(name, printable(str(value).strip(), cut=LONGEST)) for name, value in rows if value]


def _tables(entry: Run) -> list[tuple[str, list[list[Any]]]]:
    rules, result = entry.rules, entry.result
    summary = [
        [name.replace("_", " "), _number(value)]
        for name, value in entry.summary.items()
        if value is not None and name not in ("episodes", "failed")
    ]
    seen = [[name, pairs, _number(value)] for name, pairs, value in seen_summary(entry)]
    out = [("All figures", summary), ("Seen in training, and not", seen)]
    for title, part in (("By source", "per_source"), ("By draw", "per_draw"), ("By fold", "per_fold")):
        rows = result.get(part) or {}
        out.append((title, [[str(key), _main(row, rules.score)] for key, row in rows.items()]))
    out.append(("Track ic-vos-20i", [[f"fold {fold}", pairs, _number(v)] for fold, pairs, v in track_20i(entry)]))
    return out


def _differences(table: Table, names: Sequence[str]) -> list[dict[str, Any]]:
    """Paired differences of the first rows; of more than twelve, those of the best twelve."""
    known = [(n, samples_of(e)) for e, n in zip(table.entries[:12], names) if e.records and not e.not_ranked]
    out = []
    for (a, one), (b, other) in combinations(known, 2):
        if one.units == other.units:
            less = difference(one, other)
            ends = {"interval": interval(less), "categories": category_interval(less)}
            out.append({"a": a, "b": b, "value": less.value, **ends})
    return out
