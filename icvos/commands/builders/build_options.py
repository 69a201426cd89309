"""Options of the builders of video benchmarks, and what they say of a build before and after it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.errors import counted, counts
from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.builders.ic_vos.build import BuildReport, Estimate, Prepared

__all__ = [
    "build_options",
    "name_option",
    "nothing_left",
    "out_option",
    "say_built",
    "say_left_out",
    "say_name",
    "say_need",
    "say_unnamed",
    "try_out",
]


def out_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option for the folder of a benchmark."""
    help = "The benchmark's folder, to be made."
    return click.option("--out", type=click.Path(path_type=Path), required=True, help=help)(function)


def name_option(published: str, *, of: str = "whole data") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds the option for a benchmark's name.

    Args:
        published: What it is called by default.
        of: What is called so.
    """
    text = f"A name of one's own; default {published} of {of}, or custom:HASH."
    return click.option("--name", default="", callback=_own_name, help=text)


def _own_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if value:
        from icvos.builders.published import check_own_name

        check_own_name(value)
    return value


def build_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a build is done, and not of what."""
    left_out = click.Path(path_type=Path, dir_okay=False)
    dry_run = "Say what would be built, with disk, memory and hours, and stop."
    for option in (
        click.option("--dry-run", is_flag=True, help=dry_run),
        click.option(
            "--left-out",
            type=left_out,
            metavar="FILE",
            help="Write what is left out, and why, line by line, all of it.",
        ),
        click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes."),
        click.option("--link", is_flag=True, help="Hard-link images instead of copying (copies across file systems)."),
    ):
        function = option(function)
    return function


def say_need(need: Estimate, *, link: bool, pairs: str = "pairs", episodes: int | None = None) -> None:
    """Say how much would be built.

    Args:
        need: What ``estimate`` counted.
        link: Whether images are linked.
        pairs: What pairs are called.
        episodes: Their number, where it is not so many for each pair.
    """
    from icvos.costs import in_bytes

    listed = "" if episodes is None else f"{counted(episodes, 'episodes')} of "
    linked = f", {in_bytes(need.linked_bytes)} linked" if link else ""
    supports = (
        f", and {counted(need.supports, 'supports')}, about {in_bytes(need.support_bytes)}" if need.supports else ""
    )
    echo(
        f"to build: {listed}{counts(**{'videos': need.videos, pairs: need.pairs, 'frames': need.frames})}, "
        f"{counted(need.files, 'files')}, about {in_bytes(need.new_bytes)}{linked}{supports}"
    )


def try_out(
    prepared: Prepared,
    out: Path,
    need: Estimate,
    differs: Sequence[str],
    *,
    link: bool,
    workers: int,
    left_out: Path | None,
) -> None:
    """Build a little of it elsewhere, and say what all of it would cost: ``--dry-run``.

    Args:
        prepared, out, need, link, workers: As for ``try_build``.
        differs: Why it would carry no published name.
        left_out: A file for what is left out.
    """
    from icvos.builders.ic_vos.build import try_build
    from icvos.costs import print_costs

    trial = try_build(prepared, out, need, link=link, workers=workers)
    print_costs("nothing is built", trial.costs())
    say_unnamed(differs)
    say_left_out([*prepared.plan.left_out, *need.too_short], left_out)


def say_built(report: BuildReport, out: Path, content: str, *, model: str, left_out: Path | None) -> None:
    """Say what was built and left out, what it is called, and how it is used.

    Args:
        report: Of the build.
        out: The benchmark's folder, as it was given.
        content: What was built, in words.
        model: Options of ``icvos evaluate`` that name a method that runs on it.
        left_out: A file for what is left out.
    """
    say_left_out(report.left_out, left_out)
    echo(f"built {out}: {content}")
    echo(f"manifest {report.manifest_sha256}")
    say_name(report.name, report.differs)
    echo(f"next: icvos evaluate --model {model} --benchmark {shlex.quote(str(out))}")


def say_name(name: str, differs: Sequence[str]) -> None:
    """Say what a benchmark is called, and of one that carries no published name why."""
    echo(f"name {name}")
    if name.startswith("custom:"):
        say_unnamed(differs)


def say_unnamed(lines: Sequence[str], most: int = 5) -> None:
    """Say why a build carries no published name."""
    for line in lines[:most]:
        echo(f"no published name: {line}")
    if len(lines) > most:
        echo(f"no published name: … and {len(lines) - most:,} more reasons")


@contextmanager
def nothing_left(file: Path | None, out: Path) -> Iterator[None]:
    """Write what was left out to a file where that is all.

    Args:
        file: For what is left out, or None.
        out: The benchmark's folder.

    Raises:
        UsageError: The file would lie in the benchmark, of which it is no part.
    """
    from icvos.builders.ic_vos.plan import NothingLeft
    from icvos.builders.writer import is_within
    from icvos.errors import UsageError

    if file is not None and is_within(file, out):
        raise UsageError("--left-out names a file in the benchmark", where=file, expected="a place outside of --out")
    try:
        yield
    except NothingLeft as error:
        if file is not None:
            say_left_out(error.left_out, file)
        raise


def say_left_out(lines: list[str], file: Path | None, most: int = 20) -> None:
    """Say what was left out: all of it in a file, or the first lines."""
    from icvos.files import atomic_write

    if file is not None:
        with atomic_write(file, "w") as stream:
            stream.writelines(f"{line}\n" for line in lines)
        echo(f"left out: {len(lines):,} things, listed in {file}")
        return
    for line in lines[:most]:
        echo(f"left out: {line}")
    if len(lines) > most:
        echo(f"left out: … and {len(lines) - most:,} more; --left-out FILE lists them all")
