"""icvos build-data vos: semi-supervised VOS, an object an episode, from one raw data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from icvos.commands.builders.build_options import (
    build_options,
    name_option,
    nothing_left,
    out_option,
    say_built,
    say_need,
    try_out,
)
from icvos.errors import counted
from icvos.sources import SOURCES


def _source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name in ("lvos", "mose2", "mose", "davis"):
        folder = click.Path(path_type=Path, file_okay=False)
        function = click.option(f"--{name}", type=folder, metavar="DIR", help=SOURCES[name].help)(function)
    return function


@click.command()
@_source_options
@click.option("--split", default="", help="val, train or all; default val of DAVIS and LVOS, train of MOSE.")
@out_option
@name_option("vos-davis17-val, …", of="a whole split")
@click.option(
    "--max-frames", default=0, show_default=True, type=click.IntRange(0), help="First frames of a video; 0 for all."
)
@build_options
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
    from icvos.builders.ic_vos.build import estimate
    from icvos.builders.vos.build import build_vos, prepare_vos
    from icvos.commands.builders.raw_options import open_sources, tell_sources
    from icvos.errors import UsageError
    from icvos.progress import shown

    sources = open_sources(folders)
    if len(sources) != 1:
        raise UsageError(f"{len(sources)} data sets are given", expected="one: --davis, --mose, --mose2 or --lvos DIR")
    tell_sources(sources)
    with nothing_left(left_out, out), shown("vos") as progress:
        prepared = prepare_vos(sources[0], split=split, max_frames=max_frames, workers=workers, progress=progress)
        need = estimate(prepared, link=link, progress=progress)
    say_need(need, link=link, pairs="objects")
    if dry_run:
        differs = prepared.differences(prepared.plan.videos, frames=need.frames, objects=need.pairs)
        try_out(prepared, out, need, differs, link=link, workers=workers, left_out=left_out)
        return
    with nothing_left(left_out, out), shown("vos") as progress:
        report = build_vos(prepared, out, name=name, link=link, workers=workers, progress=progress)
    content = (
        f"{counted(report.videos, 'videos')}, {counted(report.frames, 'frames')}, {counted(report.episodes, 'objects')}"
    )
    say_built(report, out, content, model="sam2-tracker --weights sam2=FILE", left_out=left_out)
