"""Options of the few-shot image benchmarks, shared by their commands, and what these print."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.commands.builders.build_options import name_option, say_name, say_unnamed
from icvos.errors import counted
from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.builders.fewshot.build import FewShotPlan, FewShotRules
    from icvos.progress import Progress

__all__ = ["EPISODES", "build_and_print", "fewshot_options", "rules_of"]


EPISODES = {
    "authors": "'authors': their own fss-paper episodes, drawn again from --lists (1 shot).",
    "matcher": "'matcher': those of Matcher's code, fss-matcher.",
}


def fewshot_options(
    name: str,
    *episodes: str,
    folds: int = 4,
    shots: str = "5; authors, matcher: 1",
    min_area: int = 2048,
    trains: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds the options of a few-shot benchmark to a command.

    Args:
        name: What a benchmark of whole data is called.
        episodes: Of ``EPISODES``, which it takes beside its frozen ones.
        folds: How many it has; with one there is no ``--fold``.
        shots: The default, in words.
        min_area: The default.
        trains: Whether methods train on its folds, and papers draw episodes of their own from it.
    """
    option = click.option
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        option("--out", type=click.Path(path_type=Path), required=True, help="The folder to be made."),
        name_option(name),
    ]
    if folds > 1:
        text = f"0 to {folds - 1}; repeatable; all by default."
        options.append(option("--fold", "folds", type=int, multiple=True, help=text))
    options += [
        option("--shots", type=int, help=f"Supports of an episode, distinct in frozen ones.  [default: {shots}]"),
        option("--seed", default=0, show_default=True, help="Of the draws."),
        option("--min-area", default=min_area, show_default=True, help="Pixels of the category, at least."),
        option(
            "--episodes",
            type=click.Choice(["frozen", *episodes]),
            default="frozen",
            show_default=True,
            help=" ".join(EPISODES[name] for name in episodes),
        ),
    ]
    if trains:
        options += [
            option("--paper-episodes", default=1000, show_default=True, help="Episodes of a fold in fss-paper."),
            option(
                "--lists",
                type=click.Path(path_type=Path, file_okay=False),
                metavar="DIR",
                help="The authors' list files: candidates from them.",
            ),
            option(
                "--novel-in-train",
                type=click.Choice(["background", "drop", "ignore"]),
                default="background",
                show_default=True,
                help="What becomes of a fold's test categories in its training images (recorded).",
            ),
        ]
    options += [
        option("--link", is_flag=True, help="Hard-link images instead of copying (copies across file systems)."),
        option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes."),
        option("--dry-run", is_flag=True, help="Say what would be built, with disk, memory and hours, and stop."),
    ]

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for each in reversed(options):
            function = each(function)
        return function

    return add


def rules_of(benchmark: str, options: dict[str, Any], *, shots: int = 5) -> FewShotRules:
    """Return the rules that the options ask for.

    Args:
        benchmark: Its name.
        options: As they were given.
        shots: Of frozen episodes, where none are given; others have 1.
    """
    from icvos.builders.fewshot.build import FewShotRules
    from icvos.data.folds import fold_count

    usual = shots if options["episodes"] == "frozen" else 1
    given = {
        field: options[name]
        for field, name in (("paper_count", "paper_episodes"), ("novel_in_train", "novel_in_train"))
        if name in options
    }
    return FewShotRules(
        benchmark,
        tuple(options.get("folds", ())) or tuple(range(fold_count(benchmark))),
        usual if options["shots"] is None else options["shots"],
        options["seed"],
        options["min_area"],
        episodes=options["episodes"],
        **given,
    )


def build_and_print(plan: FewShotPlan, options: dict[str, Any], progress: Progress) -> None:
    """Say what will be built, build it, and say what was built."""
    from icvos.builders.fewshot.build import build_fewshot, try_fewshot
    from icvos.costs import print_costs

    size = plan.image_bytes / 1e6
    for note in plan.notes:
        echo(f"note: {note}")
    echo(
        f"to build: {counted(len(plan.episodes), 'episodes')} of {counted(len(plan.folds), 'folds')}, "
        f"{counted(plan.files, 'files')}, about "
        f"{size + plan.files * 0.0015:.1f} MB{' (images linked)' if options['link'] else ''}"
    )
    if options["dry_run"]:
        trial = try_fewshot(plan, options["out"], link=options["link"], workers=options["workers"])
        print_costs("nothing is built", trial.costs())
        say_unnamed([] if options["name"] else plan.differs)
        return
    report = build_fewshot(
        plan,
        options["out"],
        name=options["name"],
        link=options["link"],
        workers=options["workers"],
        progress=progress,
    )
    counts = ", ".join(f"{count:,} {protocol}" for protocol, count in report.episodes.items())
    echo(
        f"built {options['out']}: {report.queries:,} query images, {report.supports:,} support images, "
        f"episodes: {counts}"
    )
    echo(f"manifest {report.manifest_sha256}")
    say_name(report.name, report.differs)
    first = next(iter(report.episodes))
    more = f" --protocol {first}" if first == "fss-paper" else ""
    if plan.verbatim and plan.rules.shots > 1:
        more = f" --shots {plan.rules.shots}"
    echo(f"next: icvos evaluate --model histogram --benchmark {shlex.quote(str(options['out']))}{more}")
