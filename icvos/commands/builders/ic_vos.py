"""icvos build-data ic-vos: the benchmark from raw data sets, or from the authors' folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.commands.builders.build_options import (
    build_options,
    nothing_left,
    out_option,
    say_built,
    say_need,
    try_out,
)
from icvos.commands.builders.raw_options import open_sources, source_options, tell_found, tell_sources
from icvos.errors import counts
from icvos.terminal import echo

if TYPE_CHECKING:
    pass


@click.command()
@source_options
@click.option(
    "--from-release",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The authors' released folder: VIDEO/JPEGImages, VIDEO/Annotations/CLASS; instead of raw data.",
)
@click.option(
    "--coco",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    required=True,
    help="COCO 2014 or 2017: annotations, and any one split; supports come from it.",
)
@out_option
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    metavar="RECIPE",
    help="A published recipe (ic-vos-r1, or a folder), or CSV files of labels, or a folder of them; repeatable.",
)
@click.option(
    "--split",
    type=click.Choice(["all", "dev", "test"]),
    default="all",
    show_default=True,
    help="The part of a published recipe.",
)
@click.option("--categories", metavar="NAMES", help="Only these, by comma.")
@click.option("--exclude", metavar="NAMES", help="All but these, by comma.")
@click.option("--min-visible-frames", default=1, show_default=True, help="Frames that a category is seen in, at least.")
@click.option("--min-area", default=1, show_default=True, help="Pixels that it covers in one of them, at least.")
@click.option("--min-frames", default=2, show_default=True, help="Frames of a video, at least.")
@click.option("--max-frames", default=0, show_default=True, help="First frames of a video that are used; 0 for all.")
@click.option(
    "--first-frame",
    type=click.Choice(["any", "visible"]),
    default="any",
    show_default=True,
    help="'visible' keeps only what is seen in a video's first frame.",
)
@click.option(
    "--allow-incomplete",
    is_flag=True,
    help="Keep categories of which not every instance is known to be annotated, marked.",
)
@click.option("--support-pool", metavar="SPLIT", help="val2014, train2014, val2017, …; default: the one there is.")
@click.option(
    "--support-min-area",
    default=2048,
    show_default=True,
    help="Pixels of the thing in a support, at least, by the areas in COCO's JSON.",
)
@click.option(
    "--without-support",
    type=click.Choice(["refuse", "leave-out"]),
    default="refuse",
    show_default=True,
    help="What becomes of categories of which no image is a support.",
)
@click.option("--draws", default=5, show_default=True, help="Lists of supports for each video and category.")
@click.option("--shots", default=5, show_default=True, help="Supports in each list.")
@click.option("--seed", default=0, show_default=True, help="Of the draws.")
@click.option("--subset", type=click.Choice(["mini"]), help="A frozen choice of 30 pairs, for quick turns.")
@click.option("--name", help="A name of one's own; default the recipe's if all matches it, --folder's, or custom:HASH.")
@build_options
def command(coco: Path, out: Path, from_release: Path | None, **options: Any) -> None:
    """Build IC-VOS: class-level masks of video objects, each with supports drawn from COCO.

    \b
    icvos build-data ic-vos --davis DAVIS --coco COCO --out B          # from raw data
    icvos build-data ic-vos --from-release ICVOS --coco COCO --out B   # from the authors' folder
    """
    from icvos.builders.ic_vos.build import build_icvos, estimate, prepare
    from icvos.builders.ic_vos.rules import BuildRules
    from icvos.builders.published import check_own_name, open_recipes
    from icvos.categories import COCO80
    from icvos.errors import UsageError
    from icvos.files import escape_id, real_path
    from icvos.progress import shown
    from icvos.sources.census import count_coco
    from icvos.sources.coco import open_coco

    sources = open_sources(options)
    if from_release is not None:
        if sources:
            raise UsageError("--from-release stands alone: its videos come as they are")
        from icvos.sources.release import Release

        sources = [Release(from_release)]
        # Its frames and classes are taken as they are, those that show nothing too.
        options.update(min_visible_frames=0, min_area=0, min_frames=0)
    rules = BuildRules(
        categories=_categories(options["categories"], options["exclude"]),
        subset=options["subset"] or "",
        **{
            key: options[key]
            for key in (
                "seed",
                "draws",
                "shots",
                "min_visible_frames",
                "min_area",
                "min_frames",
                "max_frames",
                "first_frame",
                "allow_incomplete",
                "support_min_area",
            )
        },
    )
    own = options["folder"]
    recipe, published = open_recipes(options["recipes"], COCO80)
    name = options["name"]
    if name is None and own is not None and published is None:
        name = escape_id(real_path(own).name)
    if name is not None:
        check_own_name(name)
    tell_sources(sources)
    pool = open_coco(coco, options["support_pool"])
    tell_found("coco", lambda: [count_coco(coco, pool.split, coco=pool)])
    with nothing_left(options["left_out"], out):
        prepared = prepare(
            sources,
            pool,
            recipe=recipe,
            rules=rules,
            without_support=options["without_support"],
            published=published,
            part=options["split"],
        )
    for note in prepared.plan.notes:
        echo(f"note: {note}")
    with shown("ic-vos") as progress:
        need = estimate(prepared, link=options["link"], progress=progress)
    link, workers, left_out = options["link"], options["workers"], options["left_out"]
    say_need(need, link=link)
    if options["dry_run"]:
        try_out(prepared, out, need, prepared.differs, link=link, workers=workers, left_out=left_out)
        return
    with nothing_left(left_out, out), shown("ic-vos") as progress:
        report = build_icvos(prepared, out, name=name, link=link, workers=workers, progress=progress)
    content = (
        counts(videos=report.videos, frames=report.frames, pairs=report.pairs, episodes=report.episodes)
        + f", {report.supports:,} support images"
    )
    say_built(report, out, content, model="histogram", left_out=left_out)


def _categories(only: str | None, exclude: str | None) -> tuple[int, ...]:
    """Return the numbers of the categories that are asked for; none for all of them.

    Raises:
        UsageError: A name is unknown, or all are excluded.
    """
    from icvos.categories import COCO80
    from icvos.errors import UsageError

    wanted, others = (
        {COCO80.number(name) for name in (text or "").split(",") if name.strip()} for text in (only, exclude)
    )
    if not others:
        return tuple(sorted(wanted))
    kept = (wanted or set(range(1, len(COCO80) + 1))) - others
    if not kept:
        raise UsageError("--exclude leaves no category of those that are asked for")
    return tuple(sorted(kept))
