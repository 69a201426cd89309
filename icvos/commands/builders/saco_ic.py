"""icvos build-data saco-ic: an in-context video benchmark with verified absences, from SA-Co/VEval."""

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
    "--saco",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="SA-Co/VEval: annotation/saco_veval_….json, media/saco_sg/JPEGImages_6fps, ….",
)
@click.option(
    "--domain",
    type=click.Choice(["smartglasses", "sav", "yt1b"]),
    default="smartglasses",
    show_default=True,
    help="Where the videos come from. YT-Temporal-1B is refused: its frames are shifted.",
)
@click.option(
    "--split", type=click.Choice(["val", "test"]), default="test", show_default=True, help="Of the domain's videos."
)
@click.option("--allow-shifted", is_flag=True, help="Build yt1b too, whose authors warn of shifted frames.")
@out_option
@name_option("saco-ic-smartglasses-test, …", of="the usual rules")
@click.option(
    "--support-min-share",
    default=0.5,
    show_default=True,
    help="Percent of the picture that the things cover on a support, at least.",
)
@click.option("--draws", default=5, show_default=True, help="Lists of supports for each video and phrase.")
@click.option("--shots", default=5, show_default=True, help="Supports in each list.")
@click.option("--seed", default=0, show_default=True, help="Of the draws.")
@build_options
def command(
    saco: Path,
    domain: str,
    split: str,
    allow_shifted: bool,
    out: Path,
    name: str,
    support_min_share: float,
    draws: int,
    shots: int,
    seed: int,
    link: bool,
    workers: int,
    left_out: Path | None,
    dry_run: bool,
) -> None:
    """Build an in-context video benchmark: frames of one video support a phrase that was asked of another.

    A pair of a video and a phrase is an episode: positive where the video has it, negative where people verified that
    it has not. What was not asked is in none. It is icvos' own benchmark, and its figures are not SA-Co's.

    \b
    icvos build-data saco-ic --saco SACO --domain smartglasses --out B
    icvos build-data saco-ic --saco SACO --domain sav --split val --out B --dry-run
    """
    from icvos.builders.ic_vos.build import estimate
    from icvos.builders.saco_ic.build import build_saco, prepare_saco
    from icvos.builders.saco_ic.plan import SacoRules
    from icvos.commands.builders.raw_options import tell_sources
    from icvos.progress import shown
    from icvos.sources.saco import SacoVeval

    source = SacoVeval(saco, domain=domain, split=split)
    tell_sources([source])
    rules = SacoRules(seed, draws, shots, support_min_share)
    with nothing_left(left_out, out), shown("saco-ic") as progress:
        prepared = prepare_saco(source, rules=rules, allow_shifted=allow_shifted, workers=workers, progress=progress)
        need = estimate(prepared, link=link, progress=progress)
    for line in prepared.plan.census.lines(draws):
        echo(line)
    for note in prepared.plan.notes:
        echo(f"note: {note}")
    say_need(need, link=link)
    if dry_run:
        try_out(prepared, out, need, prepared.differs, link=link, workers=workers, left_out=left_out)
        return
    with shown("saco-ic") as progress:
        report = build_saco(prepared, out, name=name, link=link, workers=workers, progress=progress)
    content = (
        f"{counts(videos=report.videos, frames=report.frames)}, {report.positive:,} positive and {report.negative:,} "
        f"negative pairs, {counts(episodes=report.episodes, supports=report.supports)}"
    )
    say_built(report, out, content, model="prototype", left_out=left_out)
