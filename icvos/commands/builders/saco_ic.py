"""icvos build-data saco-ic: an in-context video benchmark with verified absences, from SA-Co/VEval."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

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
    help="Of its videos.",
)
@click.option("--split", type=click.Choice(["val", "test"]), default="test", show_default=True, help="Of the domain.")
@click.option("--allow-shifted", is_flag=True, help="Build yt1b too, whose authors warn of shifted frames.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The benchmark's folder, to be made.")
@click.option(
    "--name",
    default="",
    help="A name of one's own; default saco-ic-smartglasses-test, …, or custom:HASH.",
)
@click.option(
    "--support-min-share",
    default=0.5,
    show_default=True,
    help="Percent of the picture that the things cover on a support, at least.",
)
@click.option("--draws", default=5, show_default=True, help="Lists of supports for each video and phrase.")
@click.option("--shots", default=5, show_default=True, help="Supports in each list.")
@click.option("--seed", default=0, show_default=True, help="Of the draws.")
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
    from icvos.builders.ic_vos.build import estimate, try_build
    from icvos.builders.saco_ic.build import build_saco, prepare_saco
    from icvos.builders.saco_ic.plan import SacoRules
    from icvos.commands.builders.ic_vos import nothing_left, say_left_out, say_unnamed
    from icvos.commands.builders.raw_options import tell_sources
    from icvos.costs import in_bytes, print_costs
    from icvos.progress import shown
    from icvos.sources.saco import SacoVeval

    source = SacoVeval(saco, domain=domain, split=split)
    tell_sources([source])
    rules = SacoRules(seed, draws, shots, support_min_share)
    with nothing_left(left_out), shown("saco-ic") as progress:
        prepared = prepare_saco(source, rules=rules, allow_shifted=allow_shifted, workers=workers, progress=progress)
        need = estimate(prepared, link=link, progress=progress)
    for line in prepared.plan.census.lines(draws):
        echo(line)
    for note in prepared.plan.notes:
        echo(f"note: {note}")
    linked = f", {in_bytes(need.linked_bytes)} linked" if link else ""
    echo(
        f"to build: {need.videos:,} videos, {need.pairs:,} pairs, {need.frames:,} frames, {need.files:,} files, "
        f"about {in_bytes(need.new_bytes)}{linked}, and {need.supports:,} supports, about "
        f"{in_bytes(need.support_bytes)}"
    )
    if dry_run:
        trial = try_build(prepared, out, need, link=link, workers=workers)
        print_costs("nothing is built", trial.costs())
        say_unnamed(prepared.differs)
        say_left_out(prepared.plan.left_out, left_out)
        return
    with shown("saco-ic") as progress:
        report = build_saco(prepared, out, name=name, link=link, workers=workers, progress=progress)
    say_left_out(report.left_out, left_out)
    echo(
        f"built {out}: {report.videos:,} videos, {report.frames:,} frames, {report.positive:,} positive and "
        f"{report.negative:,} negative pairs, {report.episodes:,} episodes, {report.supports:,} supports"
    )
    echo(f"manifest {report.manifest_sha256}")
    echo(f"name {report.name}")
    if report.name.startswith("custom:"):
        say_unnamed(report.differs)
    echo(f"next: icvos evaluate --model prototype --benchmark {shlex.quote(str(out))}")
