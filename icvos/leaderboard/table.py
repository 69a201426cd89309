"""From entries to tables: columns, order, ranks, marks, notes; what every rendering shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from icvos.leaderboard.beside import printed_name, what_differs
from icvos.leaderboard.marks import legend, marks
from icvos.leaderboard.published import BENCHMARKS, PublishedRow, is_of, published_for
from icvos.leaderboard.ranks import Standing, standings
from icvos.leaderboard.trainings import Trainings, joined, training_text
from icvos.metrics.formulas import half_sum
from icvos.metrics.table import METRICS, ranked_metric
from icvos.runs.run import Run

__all__ = ["Column", "Table", "best_cells", "build_tables", "shown_columns"]


@dataclass(frozen=True)
class Column:
    """A column: its head, whether it holds figures, digits after the point, and whether its largest figure is best."""

    head: str
    numeric: bool = True
    digits: int = 2
    higher_is_better: bool = True


@dataclass(frozen=True)
class Table:
    """A table of one benchmark and protocol, measured or published, never both.

    Attributes:
        title: One line.
        kind: ``measured`` or ``published``.
        columns, rows: Cells are str, float, int or None (does not apply).
        notes: Lines under the table.
        entries: The measured rows' entries, in order of the rows.
        standings: Their ranks and intervals.
        ranked_by: Index of the column that the rows are ordered by.
        apart: Of printed figures, what tells them from each measured table of the same name, a line each.
    """

    title: str
    kind: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]
    notes: tuple[str, ...] = ()
    entries: tuple[Run, ...] = ()
    standings: tuple[Standing, ...] = ()
    benchmark: str = ""
    protocol: str = ""
    ranked_by: int = 0
    apart: tuple[str, ...] = ()


def grouped(entries: Sequence[Run]) -> dict[tuple[str, str, str, str, int, bool, str], list[Run]]:
    """Return runs by the table they stand in, tables sorted."""
    out: dict[tuple[str, str, str, str, int, bool, str], list[Run]] = {}
    for entry in entries:
        out.setdefault(entry.group, []).append(entry)
    return dict(sorted(out.items()))


def figure(entry: Run, name: str) -> float | None:
    """Return a figure of the summary, percent."""
    metric = METRICS[name]
    if metric.halves is not None and not metric.stored:
        return half_sum(*(entry.summary.get(half) for half in metric.halves))
    value = entry.summary.get(name)
    return None if value is None else float(value)


def build_tables(
    entries: Sequence[Run], *, benchmark: str | None = None, published: bool = True, intervals: bool = True
) -> list[Table]:
    """Return the tables of measured entries, then those of printed figures.

    Args:
        benchmark: Only this one; of a printed one, what is built of it (each group of YouTube-FSVOS).
        published: Whether to give printed figures of the same benchmarks (all, if ``benchmark`` is None).
        intervals: Whether to bootstrap.
    """
    chosen = [entry for entry in entries if benchmark is None or is_of(entry.benchmark_name, benchmark)]
    groups = grouped(chosen)
    out = [_measured(group, intervals) for group in groups.values()]
    # Builds of one name and version may be of other data.
    titles = Counter(table.title for table in out)
    out = [
        replace(table, title=f"{table.title}, manifest {key[2][:8]}") if titles[table.title] > 1 else table
        for key, table in zip(groups, out)
    ]
    if published:
        names = [benchmark] if benchmark else BENCHMARKS
        out += [_told_apart(table, out) for name in names for table in _published(name)]
    return out


def _told_apart(printed: Table, tables: Sequence[Table]) -> Table:
    """Return printed figures with a line for each measured table of the same name: what differs."""
    name, protocol = printed.benchmark, printed.protocol
    apart = (
        f"not what is measured here as {table.title}: {what_differs(name, protocol, table.entries)}"
        for table in tables
        if table.entries and printed_name(table.benchmark) == name
    )
    return replace(printed, apart=tuple(apart))


def shown_columns(table: Table) -> list[int]:
    """Return the columns that say something: not those that are dashes, or the same word, all the way down."""
    out = []
    for index, column in enumerate(table.columns):
        cells = {row[index] for row in table.rows}
        dull = cells <= {None, "-"} or (column.head == "checked" and cells <= {None, "-", "not added"})
        if not dull or column.head in ("model", "method"):
            out.append(index)
    return out


def best_cells(table: Table) -> set[tuple[int, int]]:
    """Return the (row, column) of the best figures, ties too; rows that are not ranked aside."""
    out = set()
    for index, column in enumerate(table.columns):
        if not column.numeric or column.head in ("n", "fps", "shots"):
            continue
        values = {
            number: value
            for number, row in enumerate(table.rows)
            if isinstance(value := row[index], float) and (table.kind == "published" or row[0] != "-")
        }
        if len(values) > 1:
            best = (max if column.higher_is_better else min)(values.values())
            out |= {(number, index) for number, value in values.items() if value == best}
    return out


def _measured(entries: Sequence[Run], intervals: bool) -> Table:
    entries = joined(entries)
    places = standings(entries, intervals=intervals)
    order = sorted(range(len(entries)), key=lambda i: _order(entries[i], places[i]))
    image = entries[0].image
    rules = entries[0].rules
    metrics = [(metric.heading or metric.label, metric.name) for metric in rules.metrics_in("board")]
    undrawn = [each for each in (entry.undrawn for entry in entries) if each is not None and each.count]
    if undrawn:
        metrics.insert(1, (undrawn[0].heading, undrawn[0].beside))
    over = {f"95 % over {'queries' if image else 'videos'}": [rank.interval for rank in places]}
    over["95 % over categories"] = [rank.categories for rank in places]
    over = {head: intervals for head, intervals in over.items() if any(intervals)}
    columns = [Column("rank", False), Column("model", False)]
    ranked_by = next((i for i, (_, name) in enumerate(metrics, len(columns)) if name == rules.score), 0)
    columns += [Column(head, higher_is_better=METRICS[name].higher_is_better) for head, name in metrics]
    columns += [Column(head, False) for head in over]
    trainings = [training_text(entry) for entry in entries]
    columns += [Column("trainings", False)] * any(trainings)
    columns += [Column("fps", digits=1), Column("n", digits=0), Column("checked", False), Column("mark", False)]
    rows: list[tuple[str | float | int | None, ...]] = []
    used: list[str] = []
    for i in order:
        entry, rank = entries[i], places[i]
        mine = marks(entry)
        used += [mark for mark in mine if mark not in used]
        text = " ".join((*mine, *entry.not_ranked)) or "-"
        rows.append(
            (
                rank.text,
                _name(entry, entries),
                *(figure(entry, name) for _, name in metrics),
                *(interval_text(intervals[i]) for intervals in over.values()),
                *([trainings[i]] if any(trainings) else []),
                entry.fps,
                entry.summary["episodes"],
                entry.checked,
                text,
            )
        )
    name, version, _, protocol, _, reported, oracle = entries[0].group
    title = f"{name} {version}, protocol {protocol}, {entries[0].shown}".replace(" None,", ",")
    title += ", as reported by the authors: not re-scored" if reported else ""
    title += f", oracle {oracle}: told its ground truth, never ranked" if oracle and not entries[0].vos else ""
    notes = (
        *_rank_notes(places, image),
        *_training_notes([entries[i] for i in order]),
        *dict.fromkeys(each.rule for each in undrawn),
        *dict.fromkeys(note for entry in entries for note in entry.notes_on_supports),
        *_backend_notes(entries),
        *_speed_notes(entries),
        *legend(used),
    )
    return Table(
        title,
        "measured",
        tuple(columns),
        tuple(rows),
        notes,
        tuple(entries[i] for i in order),
        tuple(places[i] for i in order),
        name,
        protocol,
        ranked_by,
    )


def interval_text(ends: tuple[float, float] | None) -> str | None:
    """Return an interval as tables show it: ``41.3–55.9``."""
    return f"{ends[0]:.1f}–{ends[1]:.1f}" if ends else None


def _name(entry: Run, entries: Sequence[Run]) -> str:
    """The model's name, with what tells it from others of that name in the table, and no more."""
    same = [other for other in entries if other.full_name == entry.full_name]
    name = entry.label if any(other.version != entry.version for other in same) else entry.model
    if entry.name:
        name = f"{name} ({entry.name})"
    alike = [other for other in same if other.version == entry.version]
    if len(alike) == 1:
        return name
    mine = _options(entry)
    words = [
        f"{key}={value}"
        for key, value in mine.items()
        if any(key not in _options(other) or _options(other)[key] != value for other in alike)
    ]
    # Where the options agree the seed may tell; where it does not either, the folder.
    alike = [other for other in alike if _options(other) == mine]
    seed = entry.run["key"].get("seed")
    if any(other.run["key"].get("seed") != seed for other in alike):
        words.append(f"seed={seed}")
    if sum(other.run["key"].get("seed") == seed for other in alike) > 1:
        # The file of a board's record begins with the name and the version, which are said once.
        if entry.where.name.startswith(f"{entry.model}@"):
            name = entry.where.name
        else:
            words.append(entry.where.name)
    return f"{name} {', '.join(words)}".rstrip()


def _options(entry: Run) -> Mapping[str, Any]:
    return entry.run["model"].get("options") or {}


def _order(entry: Run, rank: Standing) -> tuple[bool, bool, float, float, str]:
    score = entry.score
    return entry.limited, rank.rank is None, -(score if not math.isnan(score) else -1.0), rank.rank or 0, entry.label


def _rank_notes(places: Sequence[Standing], image: bool) -> list[str]:
    units = max((rank.units for rank in places), default=0)
    what = "query images" if image else "source videos"
    if not any(rank.interval for rank in places):
        ranked = sum(rank.rank is not None for rank in places)
        return [f"{units} {what}: under 20 no interval is given, and the order may be chance"] if ranked > 1 else []
    short, clusters = "queries" if image else "videos", max(rank.clusters for rank in places)
    clustered = any(rank.clustered for rank in places)
    notes = [f"95 % over {short}: of {units} {what}, for these categories and supports; trainings vary beyond it"]
    if any(rank.categories for rank in places):
        notes.append(
            f"95 % over categories: for others like these {clusters}, with other {short}; quote it of a method"
        )
    basis = "categories" if clustered else short
    return [*notes, f"rank a-b: from a to b, for all rows at once with 95 % over {basis}; equal ranks are ties"]


def _training_notes(entries: Sequence[Run]) -> list[str]:
    """The single trainings of a row of several, and which rows are of one."""
    several = [entry.text for entry in entries if isinstance(entry, Trainings)]
    one = dict.fromkeys(entry.full_name for entry in entries if training_text(entry) == "1")
    return [*several, *([f"1 training: {', '.join(one)}"] if one else [])]


def _backend_notes(entries: Sequence[Run]) -> list[str]:
    """What the rows were computed with, where it is not the same for all."""
    backends = Counter(str(entry.run["model"].get("backend") or "unknown") for entry in entries)
    rows = ", ".join(
        f"{name} ({count} rows)" if count > 1 else f"{name} (1 row)" for name, count in sorted(backends.items())
    )
    return [f"computed with {rows}"] if len(backends) > 1 else []


def _speed_notes(entries: Sequence[Run]) -> list[str]:
    """How many rows were timed while other methods ran on the same machine."""
    beside = sum(bool((entry.run.get("environment") or {}).get("neighbours")) for entry in entries)
    rows = "all rows" if beside == len(entries) else "1 row" if beside == 1 else f"{beside} rows"
    return [f"fps of {rows}: on one thread, while other methods ran on the other cores"] if beside else []


def _published(benchmark: str) -> list[Table]:
    rows = published_for(benchmark)
    out = []
    for protocol, table, kind in sorted({(r.protocol, r.table, r.kind) for r in rows}):
        mine = [r for r in rows if (r.protocol, r.table, r.kind) == (protocol, table, kind)]
        out.append(_published_table(benchmark, protocol, table, mine))
    return out


def _published_table(benchmark: str, protocol: str, table: str, rows: Sequence[PublishedRow]) -> Table:
    keys = list(dict.fromkeys(key for row in rows for key in row.values))
    columns = [Column("method", False), Column("encoder", False), Column("shots", digits=0)]
    kind = METRICS[keys[0][0]].kind
    decimals = 1 if kind == "image" else 2
    for metric, part in keys:
        columns.append(Column(metric if part in ("all", "mean") else part, digits=decimals))
    cells, notes = [], list[str]()
    score = ranked_metric(kind).name
    by = score if any(row.value(score) is not None for row in rows) else keys[0][0]
    for row in sorted(rows, key=lambda row: -(row.value(by) or 0)):
        notes += [note for note in row.notes if note not in notes]
        marked = "".join(f" [{notes.index(note) + 1}]" for note in row.notes)
        method = row.method + marked
        cells.append((method, row.encoder or None, row.shots or None, *(row.values.get(k) for k in keys)))
    what = "reference figures" if rows[0].kind == "reference" else "published"
    title = f"{benchmark}, {what}: printed in {rows[0].source}, Table {table}; not measured here"
    lines = tuple(f"[{i}] {note}" for i, note in enumerate(notes, 1))
    ranked_by = 3 + next((i for i, (metric, part) in enumerate(keys) if metric == by and part in ("all", "mean")), 0)
    return Table(
        title,
        "published",
        tuple(columns),
        tuple(cells),
        lines,
        benchmark=benchmark,
        protocol=protocol,
        ranked_by=ranked_by,
    )
