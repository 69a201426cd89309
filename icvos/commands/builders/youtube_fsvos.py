"""icvos build-data youtube-fsvos: few-shot VOS, from YouTube-VIS 2019."""

from __future__ import annotations

from pathlib import Path

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
from icvos.errors import counts
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
@out_option
@name_option("youtube-fsvos-1, …")
@build_options
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
    from icvos.builders.ic_vos.build import estimate
    from icvos.commands.builders.raw_options import tell_sources
    from icvos.progress import shown
    from icvos.sources import open_source
    from icvos.sources.ytvis import YouTubeVis

    rules = FsvosRules(group, episodes, seed, shots, draws)
    source = open_source("ytvis", ytvis, crowds=True)
    assert isinstance(source, YouTubeVis)
    tell_sources([source])
    with nothing_left(left_out, out), shown("youtube-fsvos") as progress:
        prepared = prepare_fsvos(source, rules, progress=progress)
        need = estimate(prepared, link=link, progress=progress)
    for note in prepared.plan.notes:
        echo(f"note: {note}")
    say_need(need, link=link, episodes=len(prepared.plan.episodes))
    if dry_run:
        try_out(prepared, out, need, prepared.differs, link=link, workers=workers, left_out=left_out)
        return
    with shown("youtube-fsvos") as progress:
        report = build_fsvos(prepared, out, name=name, link=link, workers=workers, progress=progress)
    content = (
        counts(videos=report.videos, frames=report.frames, pairs=report.pairs, episodes=report.episodes)
        + f", {report.supports:,} support images"
    )
    most = max(len(episode.supports) for episode in prepared.plan.episodes)
    say_built(report, out, content, model=f"histogram --shots {min(shots, most)}", left_out=left_out)
