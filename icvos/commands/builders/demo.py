"""icvos build-data demo: the drawn world as raw data, and the benchmarks that the ordinary builders make of it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from icvos.errors import counted
from icvos.terminal import echo


@click.command()
@click.option(
    "--size",
    type=click.Choice(["tiny", "default", "large", "sealed"]),
    default="default",
    show_default=True,
    help="How many videos and images, and how large they are; sealed: twelve other held-out shapes, for claims: not "
    "for choosing anything.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Another seed, another world."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for 'raw' and 'benchmarks'; default: under ICVOS_HOME, where evaluate looks.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Build demo/youtube-fsvos, demo/fss-1000 and demo/lvis-92i too, which are else built when they are asked for.",
)
@click.option("--raw-only", is_flag=True, help="Write the raw data only.")
@click.option(
    "--layout",
    type=click.Choice(["ytvis", "fss-1000", "lvis", "saco"]),
    multiple=True,
    help="Write the world only, in the layout of a further data set; repeatable.",
)
@click.option(
    "--sheet", type=click.Path(dir_okay=False, path_type=Path), help="Also write a contact sheet of scenes, a PNG."
)
def command(
    size: str,
    seed: int,
    out: Path | None,
    everything: bool,
    raw_only: bool,
    layout: tuple[str, ...],
    sheet: Path | None,
) -> None:
    """Build the demo: a small drawn world in the layouts of the real data sets, and benchmarks from it.

    Its twelve COCO categories are told apart by outline alone. All of it is a pure function of size, seed, the
    generator's version and OpenCV's (4 and 5 draw other pixels); what is there already is not built again.

    \b
    icvos build-data demo
    icvos build-data demo --all
    icvos build-data demo --size tiny --out world
    icvos build-data demo --size tiny --layout ytvis --out world
    """
    from icvos.demo.benchmarks import (
        DEMO_NAMES,
        USUAL_NAMES,
        build_demo,
        demo_folder,
        demo_layout,
        ensure_raw,
        is_ready,
    )
    from icvos.demo.world.version import GENERATOR_VERSION
    from icvos.errors import UsageError
    from icvos.files import absolute_path
    from icvos.progress import shown

    if everything and (layout or raw_only):
        raise UsageError("--all builds benchmarks, --layout and --raw-only write raw data alone", fix="leave --all out")
    root = absolute_path(out) if out else demo_folder(size, seed)
    start = time.perf_counter()
    if sheet:
        from icvos.demo.world.sheet import contact_sheet

        contact_sheet(sheet, size, seed)
        echo(f"contact sheet: {sheet}")
    for name in layout:
        with shown(name) as show:
            echo(f"raw data in {demo_layout(name, size, seed, root, progress=show)}")
    if layout and not raw_only:
        return
    if raw_only:
        with shown("demo") as show:
            echo(f"raw data in {ensure_raw(size, seed, root, progress=show)}")
        return
    for name in DEMO_NAMES if everything else USUAL_NAMES:
        known = is_ready(root / "benchmarks" / name.removeprefix("demo/"))
        with shown(name) as show:
            path = build_demo(name, size, seed, root, progress=show)
        echo(f"{name}: {_counts(path)}, {'there already' if known else 'built'}: {path}")
    echo(f"demo world {size}, seed {seed}, generator {GENERATOR_VERSION}, {time.perf_counter() - start:.1f} s")
    where = "" if out is None and size == "default" and seed == 0 else f" --benchmark {root / 'benchmarks' / 'demo'}"
    echo(f"next: icvos evaluate --model histogram{where}")


def _counts(path: Path) -> str:
    from icvos.benchmark import load_benchmark

    benchmark = load_benchmark(path)
    categories = len({episode.category for episode in benchmark.episodes})
    scenes = len({episode.video for episode in benchmark.episodes})
    what = "images" if benchmark.kind == "image" else "videos"
    return f"{scenes} {what}, {counted(categories, 'categories')}, {counted(len(benchmark.episodes), 'episodes')}"
