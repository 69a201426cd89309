"""Options of the few-shot image benchmarks, shared by ``coco-20i`` and ``pascal-5i``, and what both print."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.builders.fewshot.build import FewShotPlan, FewShotRules
    from icvos.progress import Progress

__all__ = ["build_and_print", "fewshot_options", "rules_of"]


def fewshot_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that both few-shot benchmarks take."""
    folder = click.Path(path_type=Path, file_okay=False)
    options = [
        click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to be made."),
        click.option("--fold", "folds", type=int, multiple=True, help="0 to 3; repeatable; all by default."),
        click.option("--shots", type=int, help="Distinct supports of an episode.  [default: 5; authors: 1]"),
        click.option("--seed", default=0, show_default=True, help="Of the draws."),
        click.option("--min-area", default=2048, show_default=True, help="Pixels of the category, at least."),
        click.option("--paper-episodes", default=1000, show_default=True, help="Episodes of a fold in fss-paper."),
        click.option(
            "--episodes",
            type=click.Choice(["frozen", "authors"]),
            default="frozen",
            show_default=True,
            help="'authors': their own fss-paper episodes, drawn again from --lists (1 shot).",
        ),
        click.option("--lists", type=folder, metavar="DIR", help="The authors' list files: candidates from them."),
        click.option(
            "--novel-in-train",
            type=click.Choice(["background", "drop", "ignore"]),
            default="background",
            show_default=True,
            help="What becomes of a fold's test categories in its training images (recorded).",
        ),
        click.option("--link", is_flag=True, help="Hard-link images instead of copying (copies across file systems)."),
        click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes."),
        click.option("--dry-run", is_flag=True, help="Say what would be built, with disk, memory and hours, and stop."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def rules_of(benchmark: str, options: dict[str, Any]) -> FewShotRules:
    """Return the rules that the options ask for."""
    from icvos.builders.fewshot.build import FewShotRules
    from icvos.data.folds import FOLDS

    shots = options["shots"] if options["shots"] is not None else (1 if options["episodes"] == "authors" else 5)
    return FewShotRules(
        benchmark,
        tuple(options["folds"]) or tuple(range(FOLDS)),
        shots,
        options["seed"],
        options["min_area"],
        options["paper_episodes"],
        options["episodes"],
        options["novel_in_train"],
    )


def build_and_print(plan: FewShotPlan, options: dict[str, Any], progress: Progress) -> None:
    """Say what will be built, build it, and say what was built."""
    from icvos.builders.fewshot.build import build_fewshot, try_fewshot
    from icvos.costs import print_costs

    size = plan.image_bytes / 1e6
    for note in plan.notes:
        echo(f"note: {note}")
    echo(
        f"to build: {len(plan.episodes):,} episodes of {len(plan.folds)} folds, {plan.files:,} files, about "
        f"{size + plan.files * 0.0015:.1f} MB{' (images linked)' if options['link'] else ''}"
    )
    if options["dry_run"]:
        trial = try_fewshot(plan, options["out"], link=options["link"], workers=options["workers"])
        print_costs("nothing is built", trial.costs())
        return
    report = build_fewshot(plan, options["out"], link=options["link"], workers=options["workers"], progress=progress)
    counts = ", ".join(f"{count:,} {protocol}" for protocol, count in report.episodes.items())
    echo(
        f"built {options['out']}: {report.queries:,} query images, {report.supports:,} support images, "
        f"episodes: {counts}"
    )
    echo(f"manifest {report.manifest_sha256}")
    first = next(iter(report.episodes))
    protocol = "" if first == "fss-native" else f" --protocol {first}"
    echo(f"next: icvos evaluate --model histogram --benchmark {shlex.quote(str(options['out']))}{protocol}")
