"""icvos build-data labels merge: two people's labels, their agreement, and the conflicts to settle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icvos.commands.builders.raw_options import open_sources, source_options
from icvos.files import real_path
from icvos.terminal import echo

if TYPE_CHECKING:
    from icvos.builders.labels.merge import Conflict, KindMerge
    from icvos.runs.by_labels import LabelScore, LabelScores
    from icvos.sources.base import VideoSource

LISTED = 10  # pairs of categories, and conflicts, on a terminal

CSV_OR_FOLDER = click.Path(path_type=Path)


@click.command("merge")
@click.argument("a", type=CSV_OR_FOLDER)
@click.argument("b", type=CSV_OR_FOLDER)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The merged recipe: a .csv, or a folder of two."
)
@click.option(
    "--conflicts", type=click.Path(path_type=Path), help="Write the conflicts to fill in: a .csv, or a folder of two."
)
@click.option("--settled", type=CSV_OR_FOLDER, multiple=True, help="The conflicts, filled in; repeatable.")
@click.option(
    "--names",
    nargs=2,
    metavar="A B",
    help="Of the two people; default what the page was told, else the names of files or folders.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write pages on which a third person settles the conflicts; needs the data sets' folders.",
)
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    metavar="RECIPE",
    help="Masks made in another tool, for the pages: a folder with extra-objects.csv; repeatable.",
)
@source_options
@click.option(
    "--run",
    "run_path",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="A run on a benchmark of either's labels: how far its J&F moves.",
)
def command(
    a: Path,
    b: Path,
    out: Path,
    conflicts: Path | None,
    settled: tuple[Path, ...],
    names: tuple[str, str] | None,
    page: Path | None,
    recipes: tuple[str, ...],
    run_path: Path | None,
    **folders: Any,
) -> None:
    """Merge the labels that two people gave the same things; exit 1 while a conflict is open.

    A and B are each a CSV file of the labels page, or a folder with all those of a person. What both say is merged;
    what they differ in, or one alone answered, is a conflict. Fill in the conflicts' empty column and give the file as
    --settled.

    \b
    icvos build-data labels merge ANNA BEN --out MERGED --conflicts CONFLICTS
    icvos build-data labels merge ANNA BEN --out MERGED --settled CONFLICTS
    icvos build-data labels merge ANNA BEN --out MERGED --page SETTLE --mose MOSE
    """
    from icvos.builders.labels.labeller import Labeller, read_labellers
    from icvos.builders.labels.merge import merge_labels
    from icvos.errors import UsageError

    first, second = read_labellers(a, b, names=names)
    third = [Labeller.read(path, "settled") for path in settled]
    merges = merge_labels(first, second, third)
    used = {real_path(file) for person in (first, second, *third) for file in person.files}
    people = {real_path(path) for path in (a, b) if path.is_dir()}
    merged_files = _files(out, merges, {*used, *people, *(real_path(path) for path in settled)}, "--out")
    conflict_files = {} if conflicts is None else _files(conflicts, merges, people, "--conflicts")
    filled_in = {real_path(file) for person in third for file in person.files}
    for path in conflict_files.values():
        if path in merged_files.values() or (path.exists() and real_path(path) not in filled_in):
            raise UsageError(
                "--conflicts would replace this file", where=path, fix="give it as --settled too, or choose another"
            )
    sources = open_sources(folders)
    if bool(sources) != (page is not None):
        raise UsageError("--page and the folders of data sets go together", expected="--page DIR --mose MOSE, say")
    scores = None
    if run_path is not None:
        from icvos.leaderboard.record import open_run
        from icvos.runs.by_labels import score_labels

        scores = score_labels(open_run(run_path), first, second, [c for merge in merges for c in merge.conflicts])
    both = (first.name, second.name)
    for merge in merges:
        merge.write_rows(merged_files[merge.kind.name])
        if conflict_files:
            merge.write_conflicts(conflict_files[merge.kind.name], both, changes=scores.changes if scores else None)
        _print_agreement(merge, both)
    if scores is not None:
        _print_scores(scores, both)
    still_open = [conflict for merge in merges for conflict in merge.open]
    _print_open(still_open, both, scores)
    for merge in merges:
        echo(f"merged: {len(merge.rows):,} rows, {merged_files[merge.kind.name]}")
    for path in conflict_files.values():
        echo(f"conflicts: {path}")
    if page is not None:
        for path in _write_pages(page, sources, merges, both, (a, b), recipes):
            echo(f"page: {path}")
    if still_open:
        remedy = "--conflicts PATH writes them"
        if conflict_files or page is not None:
            remedy = f"{'fill them in' if conflict_files else 'settle them on the page'} and give them as --settled"
        echo(f"open conflicts: {len(still_open):,}; {remedy}")
        raise SystemExit(1)
    echo("open conflicts: 0")


def _write_pages(
    out: Path,
    sources: Sequence[VideoSource],
    merges: Sequence[KindMerge],
    names: tuple[str, str],
    paths: tuple[Path, Path],
    recipes: Sequence[str],
) -> list[Path]:
    from icvos.builders.labels.write import write_settling
    from icvos.builders.published import open_recipes
    from icvos.categories import COCO80
    from icvos.clips import page_folder
    from icvos.progress import shown

    recipe, _ = open_recipes(recipes, COCO80)
    with page_folder(out), shown("labels") as progress:
        called = (paths[0].name, paths[1].name)
        return write_settling(sources, out, merges, people=names, paths=called, recipe=recipe, progress=progress)


def _files(path: Path, merges: Sequence[KindMerge], taken: set[Path], option: str) -> dict[str, Path]:
    """Return the file of each kind: ``path`` itself where it is a .csv, else one in this folder; none in ``taken``."""
    from icvos.errors import UsageError

    if path.suffix.lower() == ".csv" and not path.is_dir():
        if len(merges) > 1:
            raise UsageError(f"{option} is one file", where=path, expected="a folder, for objects and completeness")
        files = {merges[0].kind.name: path}
    else:
        files = {merge.kind.name: path / f"{merge.kind.name}.csv" for merge in merges}
    for file in files.values():
        if real_path(file) in taken:
            raise UsageError(f"{option} would replace a file that is used here", where=file, fix="choose another")
        # All CSV files of a folder are read, so that the next merge would take these for a person's labels.
        if real_path(file).parent in taken:
            raise UsageError(f"{option} lies in a folder of labels that is given", where=file, fix="choose another")
    return files


def _number(value: float | None, form: str, none: str) -> str:
    return none if value is None else format(value, form)


def _print_agreement(merge: KindMerge, names: tuple[str, str]) -> None:
    from icvos.terminal import Column, print_table

    a, b = names
    echo(
        f"{merge.kind.name}: {merge.both:,} labelled by both, {merge.only_a:,} by {a} alone, "
        f"{merge.only_b:,} by {b} alone, {merge.neither:,} by neither"
    )
    if not merge.both:
        echo("  nothing is labelled by both: no agreement, no kappa")
        return
    kappa = _number(merge.kappa, ".4f", "undefined (both always say the same one thing)")
    echo(f"  agreement {100 * merge.same / merge.both:.2f} % ({merge.same:,}), Cohen's kappa {kappa}")
    if merge.differ_in_keep or merge.differ_in_clip:
        echo(f"  {merge.differ_in_keep:,} differ in keep, {merge.differ_in_clip:,} in start or end")
    if merge.confused:
        shown, rest = merge.confused[:LISTED], len(merge.confused) - LISTED
        rows = [(x, y, str(count)) for x, y, count in shown]
        notes = [f"and {rest} more pairs"] if rest > 0 else []
        print_table([Column.of_names("one says"), Column.of_names("the other"), Column("times")], rows, notes=notes)


def _print_scores(scores: LabelScores, names: tuple[str, str]) -> None:
    from icvos.terminal import Column, print_table

    rows: list[tuple[str, LabelScore]] = [
        ("the run", scores.run),
        ("pairs that both agree on", scores.agreed),
        *((f"with the labels of {name}", score) for name, score in zip(names, (scores.a, scores.b))),
    ]
    cells = [
        (
            title,
            _number(score.score, ".4f", "–"),
            "–" if score.score is None or scores.run.score is None else f"{score.score - scores.run.score:+.4f}",
            str(score.pairs),
            str(score.missing),
        )
        for title, score in rows
    ]
    columns = [Column.words("J&F over"), *(Column(head) for head in ("J&F", "less the run", "pairs", "not in the run"))]
    notes = (
        [f"{scores.unlabelled} pairs in videos that neither labelled are in every line"] if scores.unlabelled else []
    )
    print_table(columns, cells, notes=notes)


def _print_open(conflicts: Sequence[Conflict], names: tuple[str, str], scores: LabelScores | None) -> None:
    for conflict in conflicts[:LISTED]:
        said = zip(names, (conflict.a, conflict.b), (conflict.note_a, conflict.note_b))
        parts = [
            f"{name} {conflict.says(answer) or 'nothing'}{f' ({note})' if note else ''}" for name, answer, note in said
        ]
        line = f"{','.join(conflict.key)}: {' | '.join(parts)}"
        if scores is not None:
            line += f"; J&F without its pairs {_number(scores.changes[conflict], '+.4f', '– (none in the run)')}"
        echo(line)
    if len(conflicts) > LISTED:
        echo(f"and {len(conflicts) - LISTED:,} more conflicts")
