"""icvos demo: the main job on the demo world, each step shown as the command that does it."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import click

from icvos.progress import Update
from icvos.terminal import echo

# Methods on the demo world, from the floors up; those whose weights or packages are not here are left out.
MODELS = (
    "empty",
    "full",
    "support-mask",
    "histogram",
    "histogram+sam2",
    "persam+sam2",
    "vrp-sam+sam2",
    "prototype+sam2",
    "insid3+sam2",
    "sansa",
    "pfenet+sam2",
    "dcsam",
    "dcsam@redetect",
)
# Those of ``--all`` besides.
MORE = (
    "sam2-memory",
    "persam-f+sam2",
    "pfenet+sam2@dam",
    "pfenet+sam2@samurai",
    "pfenet+sam2@sam3-memory",
    "pfenet+sam2@redetect",
)
# They begin first, so that no core waits for them at the end.
SLOWEST = ("persam-f+sam2", "dcsam@redetect", "pfenet+sam2@redetect", "dcsam")
# What ``--all`` runs on the other benchmarks of the demo world: methods with their options. Of videos the slower ones
# see a few episodes, which shows them at work and ranks nothing.
_ON_IMAGES: dict[str, tuple[str, ...]] = {"histogram": (), "prototype": (), "dcsam": ()}
_ON_VIDEOS = {**_ON_IMAGES, **dict.fromkeys(("prototype", "dcsam"), ("--limit-episodes", "12"))}
OTHERS = {
    "demo/coco-20i": _ON_IMAGES,
    "demo/pascal-5i": _ON_IMAGES,
    "demo/fss-1000": _ON_IMAGES,
    "demo/lvis-92i": _ON_IMAGES,
    "demo/youtube-fsvos": _ON_VIDEOS,
    "demo/saco-ic": _ON_VIDEOS,
}


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Methods that run side by side, on one thread each; default: as many as this process may use cores.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Run also what is ready here and not among the usual, and three methods on each further benchmark of the "
    "demo world: coco-20i, pascal-5i, fss-1000, lvis-92i, youtube-fsvos, saco-ic.",
)
def command(workers: int | None, everything: bool) -> None:
    """Build the demo benchmark, run every method whose needs are met here on it, and show the table.

    Figures do not hang on the number of workers. Speeds are of one thread, while other methods run on the other cores.

    \b
    icvos demo
    icvos demo --workers 1     # one method after another: speeds of one thread, undisturbed
    icvos demo --all           # every method that is ready, and the other benchmarks of the demo world
    """
    start = time.perf_counter()
    models = _ready((*MODELS, *MORE) if everything else MODELS)
    if everything:
        models += [name for name, status, _ in _others(models) if status == "ready"]
    others = OTHERS if everything else {}
    runs: list[tuple[str, ...]] = [("--model", model) for model in models]
    runs += [
        ("--model", model, "--benchmark", benchmark, *methods[model])
        for benchmark, methods in others.items()
        for model in _ready(methods)
    ]
    statuses = [_run(["build-data", "demo", *(["--all"] * everything)])]
    statuses += _evaluate(runs, workers or len(os.sched_getaffinity(0)))
    statuses += [_run(["leaderboard", "show", "--benchmark", benchmark]) for benchmark in ("demo", *others)]
    _show_others(models)
    echo(f"\n{len(statuses)} commands in {time.perf_counter() - start:.0f} s; next: icvos --help, or the README")
    if any(statuses):
        raise SystemExit(1)


def _ready(models: Iterable[str]) -> list[str]:
    """Return the methods whose needs are met here."""
    from icvos.models.needs import needs_of

    return [name for name in models if needs_of(name).status == "ready"]


def _others(run: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the methods that are not among those run, by themselves or lifted: name, status, and what to do."""
    from icvos.models.needs import all_needs

    return [
        (needs.name, needs.status, needs.text)
        for needs in all_needs()
        if not any(name == needs.name or name.startswith(f"{needs.name}+") for name in run)
    ]


def _show_others(run: Sequence[str]) -> None:
    """Show the methods that were not run, and what each needs: no row of the table above is made without weights."""
    from icvos.terminal import Column, print_table

    rows = _others(run)
    if rows:
        echo()
        columns = [Column("model", "left"), Column("status", "left"), Column.words("what to do")]
        print_table(columns, rows, title="Methods that were not run here")


def _say(arguments: Sequence[str]) -> None:
    click.secho(f"\n$ icvos {shlex.join(arguments)}", bold=True)


def _run(arguments: list[str]) -> int:
    """Run a command in this process, and return its status."""
    root = click.get_current_context().find_root().command
    _say(arguments)
    try:
        return int(root.main(arguments, prog_name="icvos", standalone_mode=False) or 0)
    except SystemExit as stop:
        status = int(stop.code or 0)
        if status > 2:  # no status of a command: a signal ends the demo
            raise
        return status


@dataclass(frozen=True)
class _Task:
    """A command for another process.

    Attributes:
        main: Runs a command line and exits.
        arguments: The command line.
        terminals: Whether the parent's standard output and standard error are terminals.
    """

    main: Callable[[list[str]], NoReturn]
    arguments: tuple[str, ...]
    terminals: tuple[bool, bool]


@dataclass(frozen=True)
class _Done:
    """What a command came to: its status, and what it wrote, in order, each text with its stream."""

    status: int
    written: tuple[tuple[Literal["out", "err"], str], ...]


def _evaluate(runs: Sequence[Sequence[str]], workers: int) -> list[int]:
    """Evaluate side by side, show what each run wrote in their order, and return their statuses.

    Args:
        runs: The options of each, ``--model`` and its name first.
        workers: How many run at once.
    """
    from icvos.processes import side_by_side
    from icvos.progress import Several, verbosity

    flags = [*(["-q"] if verbosity.level < 0 else ["-v"] * verbosity.level), *(["--debug"] * verbosity.debug)]
    terminals = sys.stdout.isatty(), sys.stderr.isatty()
    main = click.get_current_context().find_root().obj
    order = sorted(range(len(runs)), key=lambda i: (runs[i][1] not in SLOWEST, i))
    tasks = [_Task(main, (*flags, "evaluate", *runs[i]), terminals) for i in order]
    done: dict[int, _Done] = {}
    shown = 0
    with (
        _noted("the same command goes on"),
        Several(quiet=verbosity.level < 0) as several,
        contextlib.closing(side_by_side(_work, tasks, workers)) as news,
    ):
        for message in news:
            if not message.end:
                several.told(message.task, *message.value)
                continue
            several.ended(message.task)
            index = order[message.task]
            lost = _Done(1, (("err", f"icvos: {runs[index][1]} gave no result: {message.lost}\n"),))
            done[index] = lost if message.lost else message.value
            with several.aside():
                while shown in done:
                    _say(["evaluate", *runs[shown]])
                    for stream, text in done[shown].written:
                        click.echo(text, nl=False, err=stream == "err")
                    shown += 1
    return [done[i].status for i in range(len(runs))]


@contextlib.contextmanager
def _noted(note: str) -> Iterator[None]:
    """Add a note to what interrupts a block."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.add_note(note)
        raise


class _Kept(io.StringIO):
    """A stream in place of a process's own, whose text goes to the parent; it is a terminal where the parent's is."""

    def __init__(self, name: Literal["out", "err"], terminal: bool, written: list[tuple[Any, str]]) -> None:
        super().__init__()
        self._label, self._terminal, self._written = name, terminal, written

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        self._written.append((self._label, text))
        return len(text)


def _work(task: _Task, tell: Callable[[Any], None]) -> _Done:
    """Run a command as its own process would, with what it writes kept and how far it is told."""
    from icvos.progress import verbosity

    faulthandler.enable()
    last = 0.0

    def relay(title: str, update: Update) -> None:
        nonlocal last
        if time.monotonic() - last > 0.1 or update.done == update.total:
            last = time.monotonic()
            tell((title, Update(update.what, update.done, update.total, update.figures)))

    verbosity.relay = relay
    written: list[tuple[Any, str]] = []
    streams = _Kept("out", task.terminals[0], written), _Kept("err", task.terminals[1], written)
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            task.main(list(task.arguments))
        except SystemExit as stop:
            if isinstance(stop.code, int) and stop.code > 2:  # no status of a command: a signal ends the demo
                raise
            return _Done(int(stop.code or 0), tuple(written))
