"""icvos build-data vos: semi-supervised VOS, an object an episode, from one raw data set."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from icvos.sources import SOURCES
from icvos.terminal import echo


def _source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name in ("lvos", "mose2", "mose", "davis"):
        folder = click.Path(path_type=Path, file_okay=False)
        function = click.option(f"--{name}", type=folder, metavar="DIR", help=SOURCES[name].help)(function)
    return function


@click.command()
@_source_options
@click.option("--split", default="", help="val, train or all; default val of DAVIS and LVOS, train of MOSE.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The benchmark's folder, to be made.")
@click.option(
    "--name", default="", help="A name of one's own; default vos-davis17-val, … of a whole split, or custom:HASH."
)
@click.option(
    "--max-frames", default=0, show_default=True, type=click.IntRange(0), help="First frames of a video; 0 for all."
)
@click.option("--link", is_flag=True, help="Hard-link images instead of copying (copies across file systems).")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option(
    "--left-out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what is left out, and why, line by line, all of it.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be built, with disk, memory and hours, and stop.")
def command(
    split: str,
    out: Path,
    name: str,
    max_frames: int,
    link: bool,
    workers: int,
    left_out: Path | None,
    dry_run: bool,
    **folders: Path | None,
) -> None:
    """Build a benchmark of semi-supervised VOS: an object is an episode, and its mask on frame 0 is told.

    Of DAVIS the objects of the first frame count, and davis-2017 is the protocol. In MOSE and LVOS an object that comes
    later begins a video of its own on the frame where it is first seen.

    \b
    icvos build-data vos --davis DAVIS --out B
    icvos build-data vos --lvos LVOS --split val --link --workers 8 --out B
    """
    from icvos.builders.ic_vos.build import estimate, try_build
    from icvos.builders.vos.build import build_vos, prepare_vos
    from icvos.commands.builders.ic_vos import nothing_left, say_left_out, say_unnamed
    from icvos.commands.builders.raw_options import open_sources, tell_sources
    from icvos.costs import in_bytes, print_costs
    from icvos.errors import UsageError
    from icvos.progress import shown

    sources = open_sources(folders)
    if len(sources) != 1:
        raise UsageError(f"{len(sources)} data sets are given", expected="one: --davis, --mose, --mose2 or --lvos DIR")
    tell_sources(sources)
    with nothing_left(left_out), shown("vos") as progress:
        prepared = prepare_vos(sources[0], split=split, max_frames=max_frames, workers=workers, progress=progress)
        need = estimate(prepared, link=link, progress=progress)
    linked = f", {in_bytes(need.linked_bytes)} linked" if link else ""
    echo(
        f"to build: {need.videos:,} videos, {need.pairs:,} objects, {need.frames:,} frames, {need.files:,} files, "
        f"about {in_bytes(need.new_bytes)}{linked}"
    )
    if dry_run:
        trial = try_build(prepared, out, need, link=link, workers=workers)
        print_costs("nothing is built", trial.costs())
        say_unnamed(prepared.differences(prepared.plan.videos, frames=need.frames, objects=need.pairs))
        say_left_out([*prepared.plan.left_out, *need.too_short], left_out)
        return
    with nothing_left(left_out), shown("vos") as progress:
        report = build_vos(prepared, out, name=name, link=link, workers=workers, progress=progress)
    say_left_out(report.left_out, left_out)
    echo(f"built {out}: {report.videos:,} videos, {report.frames:,} frames, {report.episodes:,} objects")
    echo(f"manifest {report.manifest_sha256}")
    echo(f"name {report.name}")
    say_unnamed(report.differs)
    echo(f"next: icvos evaluate --model sam2-tracker --weights sam2=FILE --benchmark {shlex.quote(str(out))}")
