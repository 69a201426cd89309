"""icvos build-data fss-1000: few-shot episodes on images, from FSS-1000."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.commands.builders.fewshot_options import build_and_print, fewshot_options, rules_of
from icvos.commands.builders.raw_options import tell_found


@click.command()
@click.option(
    "--fss",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="FSS-1000: data/CLASS/N.jpg and N.png, splits/test.txt.",
)
@fewshot_options("fss-1000", "matcher", folds=1, shots="5; matcher: 1", min_area=1, trains=False)
def command(fss: Path, **options: Any) -> None:
    """Build FSS-1000's test split: each picture of its 240 classes once as query, in one fold.

    Frozen episodes are of fss-native: distinct supports, full size. With --episodes matcher they are Matcher's, of
    fss-matcher: every class needs 1.jpg to 10.jpg, supports may repeat, and what is scored is 518x518.

    \b
    icvos build-data fss-1000 --fss FSS-1000 --out B
    icvos build-data fss-1000 --fss FSS-1000 --episodes matcher --out B
    """
    from icvos.builders.fewshot.plan import plan_fss1000
    from icvos.progress import shown
    from icvos.sources.census import count_fss

    rules = rules_of("fss-1000", options)
    tell_found("fss", lambda: [count_fss(fss, "test")])
    with shown("fss-1000") as progress:
        plan = plan_fss1000(fss, rules, workers=options["workers"], progress=progress)
        build_and_print(plan, options, progress)
