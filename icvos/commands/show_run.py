"""icvos show: a finished run, or a board's record of one, on the terminal or as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.commands.show import number
from icvos.errors import counted
from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.runs.run import Run

Rows = Mapping[str, Mapping[str, Any]]


@click.command()
@click.argument("paths", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--by", help="Figures by episode, video, category, source or draw; by episode, category or fold of images."
)
@click.option(
    "--sort", type=click.Choice(["score", "name"]), default="score", show_default=True, help="Of the rows of --by."
)
@click.option("--worst", type=click.IntRange(1), metavar="N", help="Only the N rows with the lowest scores.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV at full precision in place of the text.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The CSV's file; default standard output.")
def command(
    paths: tuple[Path, ...], by: str | None, sort: str, worst: int | None, as_csv: bool, out: Path | None
) -> None:
    """Print RUN, the folder of a finished run or a board's record (.json): what ran, on what, and its figures.

    Of several runs of one method, on a fold or a group of categories each, their figures and the mean of them.

    \b
    Examples:
      icvos show runs/demo/histogram --by video --worst 5
      icvos show runs/demo/histogram --by episode --csv --out episodes.csv
      icvos show FOLD0 FOLD1 FOLD2 FOLD3
    """
    from icvos.errors import UsageError
    from icvos.files import atomic_write
    from icvos.leaderboard.record import open_run

    if worst is not None and by is None:
        raise UsageError("--worst needs --by", fix="give --by episode, say")
    if out is not None and not as_csv:
        raise UsageError("--out needs --csv", fix="give --csv too")
    if len(paths) > 1:
        if by is not None or as_csv:
            raise UsageError("--by and --csv are of one run", fix="leave them out, or give one RUN")
        _print_mean([open_run(path) for path in paths])
        return
    run = open_run(paths[0])
    rows = {} if by is None else _ordered(run.rows(by), run.score_name(by), sort, worst)
    if as_csv:
        if by == "episode":
            rows = {name: {**row, "error": run.error_of(name) or None} for name, row in rows.items()}
        text = _to_csv("model", {run.model: _summary_row(run)}) if by is None else _to_csv(by, rows)
        if out is None:
            echo(text, nl=False)
            return
        with atomic_write(out, "w") as stream:
            stream.write(text)
        echo(f"csv: {out}")
        return
    echo(f"{run.label}{f' ({run.name})' if run.name else ''} on {run.benchmark_name}, protocol {run.protocol}")
    for what, value in _facts(run):
        if value:
            echo(f"  {what:11}{value}")
    for note in run.notes:
        echo(note)
    _print_summary(run)
    if by is not None:
        _print_rows(run, by, rows, "by name" if sort == "name" else "worst first" if worst else "best first")
    _print_failed(run, list(rows) if by == "episode" else None)


def _print_mean(runs: Sequence[Run]) -> None:
    """Print the figures of runs on parts of a benchmark, a line each, and their mean."""
    from icvos.leaderboard.summaries import mean_of_parts, parts_of

    mean, first = mean_of_parts(runs), runs[0]
    shown = {metric.name: metric.brief or metric.label for metric in first.rules.metrics_in("summary") if metric.stored}
    rows = []
    for run in runs:
        what, parts = parts_of(run)
        part = f"{what} {', '.join(parts)}" if what == "fold" else run.benchmark_name
        rows.append([str(run.where), part, *(number(run.summary.get(name)) for name in shown)])
    rows.append(["mean", "", *(number(mean[name]) for name in shown)])
    echo(f"{first.label}, protocol {first.protocol}, {first.shown}, percent")
    _print_table(("run", "part", *shown.values()), rows, 2)
    for run in runs:
        if run.not_ranked:
            echo(f"{run.where}: {', '.join(run.not_ranked)}")
        for note in run.notes:
            echo(f"{run.where}: {note}")


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    """What ran, when, on what, and what became of it; an empty text is of nothing."""
    from icvos.runs.run import CHECKED

    model, benchmark, protocol, key = run.run["model"], run.result["benchmark"], run.result["protocol"], run.run["key"]
    yield "run", str(run.where)
    yield "options", _text(model.get("options") or {})
    yield "weights", ", ".join(f"{name} {str(digest)[:12]}" for name, digest in (model.get("weights") or {}).items())
    told = (f"{name} {_text(training)}" for name, training in run.trainings.items() if training)
    yield "training", "; ".join(told)
    yield "trained on", _text(model.get("training_data") or [])
    yield "access", _text(model.get("access") or "")
    manifest = str(benchmark.get("manifest_sha256") or "")[:12]
    version = f" {benchmark['version']}" if benchmark.get("version") else ""
    yield "benchmark", f"{run.benchmark_name}{version}" + (f", manifest {manifest}" if manifest else "")
    limits = {"limit_episodes": ("episodes", ""), "limit_frames": ("frames", " of each video")}
    limited = " and ".join(
        f"{counted(protocol[name], what)}{of}" for name, (what, of) in limits.items() if protocol.get(name)
    )
    parts = [run.protocol, run.shown if protocol.get("shots") else ""]
    parts += [f"seed {protocol['seed']}" if protocol.get("seed") is not None else ""]
    parts += [f"limited to {limited}" if limited else "", f"oracle {run.oracle}" if run.oracle and not run.vos else ""]
    parts += [f"shard {key['shard']}" if key.get("shard") else ""]
    parts += [f"objects: {key['objects']}" if key.get("objects") else ""]
    parts += [f"{len(run.unseen)} names unseen" if run.unseen else ""]
    parts += ["masks resized to the protocol's size" if protocol.get("resized_masks") else ""]
    yield "protocol", ", ".join(filter(None, parts))
    commit = str(run.run.get("commit") or "")
    source = f" ({commit[:12]}{'+' * commit.endswith('+')})" if commit else ""
    yield "ran", f"{run.run.get('start')} to {run.run.get('end')}, icvos {run.run.get('icvos')}{source}"
    environment = run.run.get("environment") or {}
    where = [str(environment.get("gpu") or environment.get("device") or "")]
    where += [f"{name} {environment[name]}" for name in ("python", "torch", "cuda", "numpy") if environment.get(name)]
    yield "on", ", ".join(filter(None, [*where, str(environment.get("platform") or "")]))
    yield "speed", ", ".join(_speeds(run))
    yield "status", str(run.run.get("status")) + ("" if run.checked == CHECKED[0] else f", on a board: {run.checked}")
    yield "not ranked", ", ".join(run.not_ranked)


def _speeds(run: Run) -> Iterator[str]:
    for value, what in ((run.fps, "fps"), (run.fps_amortised, "fps amortised over the episodes of a video")):
        if value is not None:
            yield f"{number(value, 0 if value >= 100 else 1)} {what}"
    peak = run.run.get("peak_memory")
    if isinstance(peak, int):
        yield f"peak memory {peak / 1e9:.2f} GB"


def _text(value: Any) -> str:
    """Return a value of run.json as ``--set`` takes it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _summary_row(run: Run) -> dict[str, Any]:
    from icvos.metrics.table import METRICS

    figures = {name: run.summary[name] for name, metric in METRICS.items() if run.rules.has(metric) and metric.stored}
    row = {"version": run.version, "benchmark": run.benchmark_name, "protocol": run.protocol, **figures}
    counts = {"episodes": run.summary["episodes"], "failed": run.summary["failed"]}
    return row | counts | {"fps": run.fps, "fps_amortised": run.fps_amortised}


def _print_summary(run: Run) -> None:
    from icvos.metrics.table import METRICS

    rows = [
        (metric.label, number(run.summary[name]))
        for name, metric in METRICS.items()
        if run.rules.has(metric) and metric.stored and run.summary[name] is not None
    ]
    counts = [(name, str(run.summary[name])) for name in ("episodes", "failed")]
    _print_table(("figure, percent", ""), [*rows, *_intervals(run), *counts])


def _intervals(run: Run) -> Iterator[tuple[str, str]]:
    """The score's intervals, where there are enough videos and categories."""
    from icvos.leaderboard.ranks import standings
    from icvos.leaderboard.table import interval_text

    (place,) = standings([run])
    score, short = run.score_name("category"), "queries" if run.image else "videos"
    for over, ends in ((short, place.interval), ("categories", place.categories)):
        if ends is not None:
            yield f"{score}, 95 % over {over}", str(interval_text(ends))


def _print_rows(run: Run, by: str, rows: Rows, order: str) -> None:
    heads = {metric.name: metric.brief or metric.label for metric in run.rules.metrics_in("summary")}
    heads |= {run.score_name(by): run.score_name(by)}
    shown = [name for name in heads if any(row.get(name) is not None for row in rows.values())]
    counts = [name for name in ("fold", "frames", "episodes", "objects") if any(name in row for row in rows.values())]
    named = any("category_name" in row for row in rows.values())
    cells = []
    for name, row in rows.items():
        texts = [name, *([str(row.get("category_name"))] if named else [])]
        figures = [number(row.get(key)) for key in shown]
        cells.append([*texts, *figures, *("-" if row.get(key) is None else str(row[key]) for key in counts)])
    echo(f"by {by}, {order}, percent")
    _print_table((by, *(["category"] if named else []), *(heads[name] for name in shown), *counts), cells, 1 + named)


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> None:
    """Print a table whose first columns are texts, folded where the terminal is narrow; figures are never cut."""
    from icvos.terminal import Column, print_table

    print_table([*map(Column.of_names, heads[:texts]), *map(Column, heads[texts:])], rows)


def _print_failed(run: Run, ids: Sequence[str] | None, most: int = 5) -> None:
    """Print the first line of the error of each failed episode: of those shown, else of the first few."""
    failed = [name for name in (run.by_id if ids is None else ids) if run.error_of(name)]
    if failed:
        echo("failed, and counted as 0:")
    for name in failed if ids is not None else failed[:most]:
        echo(f"  {name}: {run.error_of(name)}")
    if ids is None and len(failed) > most:
        echo(f"  and {len(failed) - most} more; --by episode shows all")


def _ordered(rows: Rows, score: str, sort: str, worst: int | None) -> dict[str, Mapping[str, Any]]:
    """Return rows best first, or the worst ones from the worst on; or by name. What has no score comes last."""
    from icvos.listing import natural

    names = sorted(rows, key=natural)
    scores = {name: rows[name].get(score) for name in names}
    ordered = sorted(names, key=lambda name: (scores[name] is None, (scores[name] or 0.0) * (1 if worst else -1)))
    chosen = set(ordered[:worst])
    return {name: rows[name] for name in (names if sort == "name" else ordered) if name in chosen}


def _to_csv(head: str, rows: Rows) -> str:
    import csv
    import io

    from icvos.files import spreadsheet_safe

    columns = [name for name in dict.fromkeys(name for row in rows.values() for name in row) if name != "traceback"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((head, *columns))
    for name, row in rows.items():
        values = [name, *(row.get(column) for column in columns)]
        values = [" ".join(map(str, value)) if isinstance(value, list) else value for value in values]
        writer.writerow([spreadsheet_safe(value) if isinstance(value, str) else value for value in values])
    return stream.getvalue()
