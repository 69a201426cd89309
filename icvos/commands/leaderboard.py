"""icvos leaderboard: show, add to, render and verify the leaderboards."""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.errors import counted
from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.leaderboard.board import Board

# That an add waits for another, which writes a record in less than one.
LOCK_SECONDS = 20.0

# Format: (suffixes of its files, module:function that makes its text of tables).
FORMATS: dict[str, tuple[tuple[str, ...], str]] = {
    "markdown": ((".md",), "icvos.leaderboard.render_text:to_markdown"),
    "csv": ((".csv",), "icvos.leaderboard.render_text:to_csv"),
    "latex": ((".tex",), "icvos.leaderboard.render_text:to_latex"),
    "html": ((".html", ".htm"), "icvos.leaderboard.render_html:to_html"),
}


def _sources(function: Any) -> Any:
    for option in (
        click.option("--published/--no-published", default=None, help="Printed figures too, in tables of their own."),
        click.option("--protocol", help="Only this protocol's measured rows."),
        click.option("--benchmark", help="Only this benchmark: demo, demo/coco-20i, ic-vos, coco-20i, …"),
        click.option(
            "--board",
            help="Folder of records, or a git repository of them: URL, URL#BRANCH, URL#BRANCH:FOLDER; "
            "default leaderboards/ in a checkout of icvos, else under ICVOS_HOME.",
        ),
        click.option(
            "--runs",
            type=click.Path(path_type=Path),
            help="Folder of runs, shown as not added; default runs/ where it is there.",
        ),
    ):
        function = option(function)
    return function


@contextmanager
def _opened(board: str | None) -> Iterator[Board]:
    """Give the board that was asked for, or the default one; say of a git repository which commit was read."""
    from icvos.leaderboard.board import default_board, opened_board, record_files

    with opened_board(board or default_board()) as opened:
        yield opened
        if opened.stale:
            echo(f"the repository was not reached, and what was fetched last is read: {opened.stale}", err=True)
        if opened.commit:
            echo(f"board: {opened.name} at commit {opened.commit}", err=True)
            if not record_files(opened.folder):
                echo("no record is in it; a board that lies in a folder is named behind: URL#BRANCH:FOLDER", err=True)


def _tables(
    board: Board,
    *,
    must_exist: bool,
    runs: Path | None,
    benchmark: str | None,
    protocol: str | None,
    published: bool | None,
) -> list[Any]:
    from dataclasses import replace

    from icvos.leaderboard.beside import is_demo
    from icvos.leaderboard.board import read_board
    from icvos.leaderboard.table import build_tables
    from icvos.protocols import get_protocol
    from icvos.runs.run import find_runs

    entries, broken = read_board(board, must_exist=must_exist)
    for line in broken:
        echo(f"left out: {line}", err=True)
    if runs is not None or Path("runs").is_dir():
        runs_there, problems = find_runs(runs or Path("runs"))
        # A run that was added stands on the board once, and its own page is linked from there.
        folders = {_same_as(entry): entry.where for entry in runs_there}
        entries = [replace(entry, folder=folders.get(_same_as(entry))) for entry in entries]
        known = {_same_as(entry) for entry in entries}
        entries += [entry for entry in runs_there if _same_as(entry) not in known]
        for line in problems:
            echo(f"left out: {line}", err=True)
    benchmark, version = _benchmark_name(benchmark, [entry.benchmark_name for entry in entries])
    entries = [entry for entry in entries if version in (None, entry.result["benchmark"].get("manifest_sha256"))]
    if protocol is not None and all(protocol != entry.protocol for entry in entries):
        get_protocol(protocol)
    entries = [entry for entry in entries if protocol in (None, entry.protocol)]
    show = published if published is not None else benchmark is None or not is_demo(benchmark)
    return build_tables(entries, benchmark=benchmark, published=show)


def _same_as(entry: Any) -> str:
    """Return what a run and its record share, whose tables may hold figures that came later."""
    return json.dumps([entry.run["key"], entry.run.get("start"), f"{entry.score:.6f}"], sort_keys=True)


def _benchmark_name(name: str | None, measured: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the name of a benchmark that is given by name or folder, and of a folder its manifest's hash.

    Raises:
        UsageError: No run, paper or demo has a benchmark of that name.
    """
    from icvos.benchmark import load_benchmark
    from icvos.errors import UsageError, did_you_mean
    from icvos.leaderboard.benchmarks import DEMOS
    from icvos.leaderboard.published import BENCHMARKS

    known = {*measured, *BENCHMARKS, *DEMOS}
    if name is None or name in known:
        return name, None
    if (Path(name) / "benchmark.json").is_file():
        opened = load_benchmark(name)
        return opened.name, opened.manifest_sha256
    if name in DEMOS.values():
        return name.replace("/", "-"), None
    fix = did_you_mean(name, known)
    raise UsageError(f"no benchmark '{name}'", expected="a name, or a benchmark's folder", fix=fix)


@click.group()
def command() -> None:
    """Show, add to and render the leaderboards: what was measured, and apart from it what papers printed.

    \b
    icvos leaderboard show --benchmark demo
    """


@command.command(short_help="Print the tables.")
@_sources
def show(board: str | None, **chosen: Any) -> None:
    """Print the tables: without --published or --benchmark, those of measured rows alone.

    \b
    icvos leaderboard show
    icvos leaderboard show --benchmark demo
    icvos leaderboard show --benchmark ic-vos --published
    icvos leaderboard show --board https://HOST/GROUP/boards.git#main:board
    """
    from icvos.leaderboard.published import BENCHMARKS
    from icvos.leaderboard.render_text import to_terminal

    measured_alone = chosen["benchmark"] is None and chosen["published"] is None
    with _opened(board) as opened:
        options = {**chosen, "published": False} if measured_alone else chosen
        tables = _tables(opened, must_exist=board is not None, **options)
        if not any(table.kind == "measured" for table in tables):
            name = chosen["benchmark"]
            what = f" on {name}" if name else ""
            remedy = f"{_first_run(name)} makes a first run; --runs DIR shows those that lie elsewhere"
            where = f"in {chosen['runs'] or 'runs'} or on the board {opened.name}"
            echo(f"nothing is measured{what} yet {where}; {remedy}", err=True)
        to_terminal(tables)
        if measured_alone:
            echo(f"printed figures: --published for all, --benchmark NAME for one of {', '.join(BENCHMARKS)}")


def _first_run(name: str | None) -> str:
    """Return the commands that make a run on a benchmark: one that is known by its name alone is built first."""
    from icvos.leaderboard.benchmarks import DEMOS
    from icvos.leaderboard.published import BUILD

    if name is None:
        return "icvos evaluate --model histogram"
    if name in DEMOS or name in DEMOS.values() or (Path(name) / "benchmark.json").is_file():
        return f"icvos evaluate --model histogram --benchmark {shlex.quote(DEMOS.get(name, name))}"
    build, method = BUILD.get(name, ("", "histogram"))
    first = f"icvos build-data {build} --out DIR, then " if build else ""
    return f"{first}icvos evaluate --model {method} --benchmark DIR"


@command.command(short_help="Check a run or a submission and add it.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--board", "name", help="Folder of records; default as in show.")
@click.option("--benchmark", help="The benchmark's folder, which the board keeps in mind, or demo….")
@click.option("--reproduced", type=click.Path(path_type=Path), help="A maintainer's own run of the same method.")
@click.option("--replace", is_flag=True, help="Replace the record of the same model, version and submitter.")
@click.option("--force", is_flag=True, help="With --replace: also one of another submitter, or one checked further.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that score masks.")
def add(
    run: Path,
    name: str | None,
    benchmark: str | None,
    reproduced: Path | None,
    replace: bool,
    force: bool,
    workers: int,
) -> None:
    """Check RUN, a run folder or a packed submission, and add it to the board.

    The row says how far it was checked: self-reported; masks re-scored, if it holds its masks; reproduced by
    maintainer, with --reproduced. Partial runs, and whatever contradicts itself or the benchmark, are refused. The
    benchmark is the one of --benchmark, or the one of the same manifest that the board was told of before, or a demo.

    \b
    icvos leaderboard add runs/demo/histogram --benchmark demo
    """
    from icvos.errors import RunError, UsageError, in_words
    from icvos.files import lock_folder
    from icvos.leaderboard.benchmarks import LIST, add_benchmark, known_benchmarks
    from icvos.leaderboard.board import default_board
    from icvos.leaderboard.judge import judge, opened_run, reproduces
    from icvos.leaderboard.record import record_path, write_record
    from icvos.leaderboard.repository import get_repository
    from icvos.progress import shown

    if force and not replace:
        raise UsageError("--force goes with --replace")
    if name is not None and get_repository(name) is not None:
        fix = "clone it, add to the clone's folder, and open a pull request"
        raise UsageError(f"nothing is added to a git repository, as {in_words(name)} is", fix=fix)
    board = Path(name) if name is not None else default_board()
    known = known_benchmarks(board)
    with opened_run(run) as sent, shown("re-scoring") as advance:
        judgement = judge(sent.folder, benchmark, known=known, workers=workers, progress=advance, name=run)
    checked, checks = judgement.checked, judgement.checks
    if reproduced is not None:
        problems = reproduces(judgement.entry, judge(reproduced, judgement.benchmark.root, workers=workers).entry)
        if problems:
            raise RunError(f"not reproduced: {problems[0]}", where=run)
        checked, checks = "reproduced by maintainer", (*checks, "a maintainer's own run agrees")
    # Two that come at once look for what is there, and write, one after the other.
    with lock_folder(board / LIST, remedy="choose another --board", wait=LOCK_SECONDS):
        path = record_path(board, judgement.entry)
        _look_at_place(path, judgement.entry, checked, sent.submitter, replace=replace, force=force)
        if benchmark is not None and judgement.benchmark.manifest_sha256 not in known_benchmarks(None):
            add_benchmark(board, judgement.benchmark)
        write_record(board, judgement.entry, checked, checks, submitter=sent.submitter, submission_sha256=sent.sha256)
    for line in checks:
        echo(f"ok: {line}")
    echo(f"added, {checked}: {path}")
    if checked == "self-reported":
        masks = "evaluate --save-masks; after score, submit pack --predictions"
        echo(f"it stands in a table of its own; with its masks ({masks}) they are re-scored")


def _look_at_place(path: Path, entry: Any, checked: str, submitter: str | None, *, replace: bool, force: bool) -> None:
    """Refuse what may not be written at a record's place."""
    from icvos.errors import RunError
    from icvos.leaderboard.record import may_replace

    named = [each for each in path.parent.glob("*.json") if each.name.lower() == path.name.lower()]
    for alike in named if path not in named else ():
        raise RunError(
            f"its name differs from that of {alike.name} in capitals alone, which some file systems take for one file",
            where=alike,
            fix="choose another name",
        )
    if path.exists() and not replace:
        raise RunError(
            "this model and version stand on the board already",
            where=path,
            fix="give --replace; runs of other options stand beside it if they have a name (evaluate --name)",
        )
    if path.exists():
        may_replace(path, entry, checked, submitter, force=force)


@command.command(short_help="Check every record of a board again.")
@click.argument("board", required=False)
@click.option("--board", "named", metavar="BOARD", help="The same as BOARD, as in show.")
@click.option("--archives", type=click.Path(path_type=Path), help="Folder of every record's submission.")
@click.option("--benchmark", "benchmarks", multiple=True, help="A benchmark's folder, beside those the board knows.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that score masks.")
def verify(
    board: str | None, named: str | None, archives: Path | None, benchmarks: tuple[str, ...], workers: int
) -> None:
    """Check every record of BOARD, a folder or a git repository as in show, again; exit 1 if any was changed by hand.

    Of each: its schema, bytes, hash and place, and whether its result follows from its episodes; where its benchmark
    is at hand, its episodes against that. With --archives each is judged again from its submission, and one whose
    submission is not there is bad.

    \b
    icvos leaderboard verify BOARD
    icvos leaderboard verify BOARD --archives DIR --benchmark BENCHMARK
    """
    from icvos.leaderboard.verify import verify_board
    from icvos.progress import shown

    findings = []
    with _opened(board or named) as opened, shown("re-scoring") as advance:
        for each in verify_board(opened, archives=archives, benchmarks=benchmarks, workers=workers, progress=advance):
            done = ", ".join((*each.done, *([] if each.hashed else ["of an earlier icvos: without a hash"])))
            echo(f"bad: {each.path}: {each.problem}" if each.problem else f"ok: {each.path}: {done}")
            findings.append(each)
    bad = sum(bool(each.problem) for each in findings)
    old = sum(not each.hashed for each in findings)
    against = sum(any(done.startswith("episodes against") for done in each.done) for each in findings)
    again = sum(any(done.startswith("judged again") for done in each.done) for each in findings)
    line = f"{counted(len(findings), 'records')}, {bad} bad; {against} against their benchmarks, {again} judged again"
    echo(f"{opened.name}: {line}" + (f"; {old} of an earlier icvos without a hash" if old else ""))
    if bad:
        raise SystemExit(1)


@command.command(short_help="Write the tables to a file.")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The same as PATH.")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), help="Default: by the suffix, else markdown.")
@_sources
def render(path: Path | None, out: Path | None, form: str | None, board: str | None, **chosen: Any) -> None:
    """Write the tables to PATH (.md, .csv, .tex or .html), or to standard output.

    A row of a page links the run's own page, where icvos report has made one in RUN/report and the run lies below the
    page's folder, or below the folder above it.

    \b
    icvos leaderboard render page.html
    icvos leaderboard render --format markdown --benchmark demo
    """
    from icvos.errors import UsageError
    from icvos.files import atomic_write

    path = path or out
    by_suffix = {suffix: name for name, (suffixes, _) in FORMATS.items() for suffix in suffixes}
    if form is None:
        form = "markdown" if path is None else by_suffix.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"'{path}' has no known suffix", expected=", ".join(by_suffix), fix="or give --format")
    with _opened(board) as opened:
        text = _render(form, _tables(opened, must_exist=board is not None, **chosen), path)
        if path is None:
            echo(text, nl=False)
            return
        with atomic_write(path, "w") as stream:
            stream.write(text)
        echo(f"{form}: {path}")


def _render(form: str, tables: list[Any], path: Path | None) -> str:
    module, _, name = FORMATS[form][1].partition(":")
    function = getattr(importlib.import_module(module), name)
    return str(function(tables, path) if form == "html" else function(tables))
