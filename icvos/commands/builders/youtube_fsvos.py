"""icvos build-data youtube-fsvos: few-shot VOS, from YouTube-VIS 2019."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from icvos.terminal import echo


@click.command()
@click.option(
    "--ytvis",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="YouTube-VIS 2019: train.json, or train/train.json, and JPEGImages beside it.",
)
@click.option("--group", type=click.IntRange(1, 4), required=True, help="Whose categories are tested.")
@click.option(
    "--episodes",
    type=click.Choice(["frozen", "danet", "tti-v1", "tti-v2"]),
    default="frozen",
    show_default=True,
    help="Ours: every video a query, all its frames. Or a list as DANet's or TTI's code draws it.",
)
@click.option("--seed", type=click.IntRange(0), help="Of the draws.  [default: 0; tti: 2020, as the code has it]")
@click.option("--shots", type=click.IntRange(1), default=5, show_default=True, help="Supports, of distinct videos.")
@click.option("--draws", type=click.IntRange(1), default=5, show_default=True, help="Of a frozen pair.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The benchmark's folder, to be made.")
@click.option(
    "--name", default="", help="A name of one's own; default youtube-fsvos-1, … of whole data, or custom:HASH."
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
    ytvis: Path,
    group: int,
    episodes: str,
    seed: int | None,
    shots: int,
    draws: int,
    out: Path,
    name: str,
    link: bool,
    workers: int,
    left_out: Path | None,
    dry_run: bool,
) -> None:
    """Build YouTube-FSVOS: frames of other videos support a category, which is found in every frame of a video.

    A published list is drawn by its code's own rule and stored; the benchmark names the protocol that goes with it.

    \b
    icvos build-data youtube-fsvos --ytvis YTVIS --group 1 --out B
    icvos build-data youtube-fsvos --ytvis YTVIS --group 1 --episodes danet --seed 42 --out B
    """
    from icvos.builders.fsvos.build import build_fsvos, prepare_fsvos
    from icvos.builders.fsvos.plan import FsvosRules
    from icvos.builders.ic_vos.build import estimate, try_build
    from icvos.commands.builders.ic_vos import nothing_left, say_left_out, say_unnamed
    from icvos.commands.builders.raw_options import tell_sources
    from icvos.costs import in_bytes, print_costs
    from icvos.progress import shown
    from icvos.sources import open_source
    from icvos.sources.ytvis import YouTubeVis

    rules = FsvosRules(group, episodes, seed, shots, draws)
    source = open_source("ytvis", ytvis, crowds=True)
    assert isinstance(source, YouTubeVis)
    tell_sources([source])
    with nothing_left(left_out), shown("youtube-fsvos") as progress:
        prepared = prepare_fsvos(source, rules, progress=progress)
        need = estimate(prepared, link=link, progress=progress)
    for note in prepared.plan.notes:
        echo(f"note: {note}")
    linked = f", {in_bytes(need.linked_bytes)} linked" if link else ""
    echo(
        f"to build: {len(prepared.listing.episodes):,} episodes of {need.videos:,} videos, {need.frames:,} frames, "
        f"{need.files:,} files, about {in_bytes(need.new_bytes)}{linked}, and {need.supports:,} supports, about "
        f"{in_bytes(need.support_bytes)}"
    )
    if dry_run:
        trial = try_build(prepared, out, need, link=link, workers=workers)
        print_costs("nothing is built", trial.costs())
        say_unnamed(prepared.differs)
        say_left_out(prepared.plan.left_out, left_out)
        return
    with shown("youtube-fsvos") as progress:
        report = build_fsvos(prepared, out, name=name, link=link, workers=workers, progress=progress)
    say_left_out(report.left_out, left_out)
    echo(
        f"built {out}: {report.videos:,} videos, {report.frames:,} frames, {report.pairs:,} pairs, "
        f"{report.episodes:,} episodes, {report.supports:,} support images"
    )
    echo(f"manifest {report.manifest_sha256}")
    echo(f"name {report.name}")
    say_unnamed(report.differs)
    echo(f"next: icvos evaluate --model histogram --shots {shots} --benchmark {shlex.quote(str(out))}")
