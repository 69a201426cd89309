"""icvos build-data: a lazy group; a builder is a file in ``icvos/commands/builders/``, imported when it is called."""

from __future__ import annotations

import importlib

import click

from icvos.commands.options import follow_parents
from icvos.errors import did_you_mean

# Word: (module in icvos.commands.builders, what it does in one line). The module holds a click command, ``command``.
BUILDERS = {
    "check": ("check", "Check every hash, size, mask value, episode and orphan of a built benchmark."),
    "coco-20i": ("coco_20i", "Build COCO-20i, few-shot episodes on images."),
    "demo": ("demo", "Build everything on the generated demo world (what no word at all does)."),
    "fss-1000": ("fss_1000", "Build FSS-1000, few-shot episodes on images of a thousand classes."),
    "ic-vos": ("ic_vos", "Build IC-VOS from raw video data sets and COCO, or from the authors' folder."),
    "labels": ("labels", "Make the pages and CSV files in which people say what the objects are; merge two people's."),
    "lvis-92i": ("lvis_92i", "Build LVIS-92i, few-shot episodes on images, by the number of shots."),
    "mask-tubes": ("mask_tubes", "Build mask tubes: pseudo-videos from COCO images."),
    "pascal-5i": ("pascal_5i", "Build PASCAL-5i, few-shot episodes on images."),
    "saco-ic": ("saco_ic", "Build an in-context video benchmark with verified absences from SA-Co/VEval."),
    "source": ("source", "Say which data set a folder is, and whether it is whole."),
    "stats": ("stats", "Count a built benchmark, in the form of the paper's Table I."),
    "vos": ("vos", "Build semi-supervised VOS, an object an episode, from DAVIS, MOSE or LVOS."),
    "youtube-fsvos": ("youtube_fsvos", "Build YouTube-FSVOS, few-shot VOS: a group of categories of YouTube-VIS."),
}


class BuildGroup(click.Group):
    """A group whose commands are imported when they are called; without a word it runs ``demo``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(BUILDERS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in BUILDERS:
            return None
        return follow_parents(importlib.import_module(f"icvos.commands.builders.{BUILDERS[cmd_name][0]}").command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in BUILDERS and not args[0].startswith("-"):
            raise click.UsageError(f"no builder '{args[0]}'; {did_you_mean(args[0], BUILDERS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, BUILDERS[name][1]) for name in sorted(BUILDERS)])


@click.group(cls=BuildGroup, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Build benchmarks and data sets from raw data; with no word at all, the demo world.

    \b
    icvos build-data
    icvos build-data ic-vos --davis DAVIS --coco COCO --out B
    """
    if ctx.invoked_subcommand is None:
        demo = command.get_command(ctx, "demo")
        assert demo is not None
        with demo.make_context("demo", [], parent=ctx) as inner:
            demo.invoke(inner)
