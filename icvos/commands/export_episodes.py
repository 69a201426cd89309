"""icvos export-episodes: episodes as folders for a machine without icvos."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from icvos.commands.options import ProtocolOption
from icvos.errors import counted, counts
from icvos.terminal import echo


@click.command()
@click.option(
    "--benchmark",
    default="demo",
    show_default=True,
    help="A built benchmark's folder, or demo[/coco-20i|…].",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder, which may be begun already.")
@click.option("--protocol", default="", cls=ProtocolOption, help="Default: the benchmark's.")
@click.option("--shots", default=1, show_default=True, type=click.IntRange(1), help="Supports of each episode.")
@click.option("--seed", default=0, show_default=True, help="As that of icvos evaluate.")
@click.option(
    "--frames",
    type=click.Choice(["png", "ppm"]),
    default="png",
    show_default=True,
    help="How images are written; ppm (masks: pgm) is for programs that read no PNG.",
)
@click.option("--limit-episodes", type=click.IntRange(1), help="Only the first so many, to try a program.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, with disk, and stop.")
def command(
    benchmark: str,
    out: Path,
    protocol: str,
    shots: int,
    seed: int,
    frames: str,
    limit_episodes: int | None,
    dry_run: bool,
) -> None:
    """Write episodes as the folders that exec: gives a program; frames of a video are written once.

    A program is called with each of OUT/episodes/ID, and writes OUT/masks/ID/00000.png …, which icvos score takes. The
    same command again goes on where it was stopped.

    \b
    icvos export-episodes --benchmark B --out DIR
    icvos score DIR/masks --benchmark B
    """
    from icvos.costs import disk_cost, in_bytes, print_costs
    from icvos.demo.benchmarks import open_benchmark
    from icvos.exports.episodes import plan_export
    from icvos.progress import shown

    opened, _ = open_benchmark(benchmark)
    export = plan_export(
        opened,
        protocol=protocol,
        shots=shots,
        seed=seed,
        frames="ppm" if frames == "ppm" else "png",
        limit_episodes=limit_episodes,
    )
    need, count = export.estimate(), export.frame_count()
    echo(
        f"to write: {counts(episodes=len(export.episodes), videos=len(export.videos), frames=count)}, "
        f"about {in_bytes(need)}"
    )
    if dry_run:
        how = f"{counted(count, 'frames')} and the supports, by those of three videos"
        print_costs("nothing is written", [disk_cost(need, out, how)])
        return
    with shown("episodes") as progress:
        export.write(out, progress=progress)
    masks = shlex.quote(str(out / "masks"))
    echo(f"written: {out}")
    echo(f'next: for episode in {shlex.quote(str(out))}/episodes/*; do PROGRAM "$episode"; done')
    if limit_episodes is None:
        more = f" --protocol {protocol}" * bool(protocol) + f" --shots {shots}" * (shots > 1)
        echo(f"then: icvos score {masks} --benchmark {shlex.quote(benchmark)}{more}")
