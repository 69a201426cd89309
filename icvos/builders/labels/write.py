"""Labelling made quick: CSV files to fill, and the pages to fill them with, of all videos or of conflicts alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.builders.extra import ExtraMasks, check_extra
from icvos.builders.ic_vos.plan import own_label
from icvos.builders.labels.labeller import OBJECTS, Answer
from icvos.builders.labels.merge import Conflict, KindMerge
from icvos.builders.labels.page import Page, write_page
from icvos.builders.labels.sample import SampleTask, sample_video
from icvos.builders.recipe import COMPLETE_COLUMNS, OBJECT_COLUMNS, Recipe
from icvos.categories import COCO80, Vocabulary
from icvos.errors import UsageError, did_you_mean
from icvos.files import escape_id, write_csv
from icvos.processes import in_order
from icvos.progress import Progress, Update, silent
from icvos.sources import SOURCES
from icvos.sources.base import SourceVideo, VideoSource

__all__ = ["LabelsReport", "write_labels", "write_settling"]

Step = tuple[str, str]
"""What to do once all is answered, and the command that does it."""


@dataclass
class LabelsReport:
    """What was written: pages, the two CSV files, and how much there is to do."""

    pages: list[Path]
    objects_csv: Path
    complete_csv: Path
    videos: int
    objects: int
    labelled: int


def write_labels(
    sources: Sequence[VideoSource],
    out: Path,
    *,
    recipe: Recipe | None = None,
    words: Vocabulary = COCO80,
    page_size: int = 200,
    workers: int = 1,
    progress: Progress = silent,
) -> LabelsReport:
    """Write ``objects.csv``, ``complete.csv`` and ``<source>.html`` (``<source>-01.html`` … where it is long).

    Args:
        sources: Raw video data sets.
        out: A folder; what is there under these names is replaced.
        recipe: Labels that are known already, and masks made in another tool.
        words: The vocabulary of categories.
        page_size: Videos on one page, so that it stays light and several people can share the work.
        workers: Processes.
        progress: Told how many videos are done.

    Raises:
        UsageError: No source, or one without videos.
        SourceError: Broken raw data.
    """
    recipe = recipe or Recipe()
    if not sources or page_size < 1:
        raise UsageError("no video data set is given", expected="--davis DIR, --mose DIR, …")
    report = LabelsReport([], out / "objects.csv", out / "complete.csv", 0, 0, 0)
    objects: list[dict[str, Any]] = []
    complete: list[dict[str, Any]] = []
    for source in sources:
        videos = source.videos()
        if not videos:
            raise UsageError("no video with all its masks", where=source.root)
        parts = [videos[start : start + page_size] for start in range(0, len(videos), page_size)]
        names = [f"{source.id}-{number:02d}" for number in range(1, len(parts) + 1)] if parts[1:] else [source.id]
        steps = _steps_of_labels(source, mended=any(key[0] == source.id for key in recipe.extra))
        for name, part in zip(names, parts):
            entries = []
            for video, sample in _samples(source, part, recipe, words, out / f"{name}-videos", workers):
                extra = recipe.extra.get((source.id, video.name))
                numbers = [each["id"] for each in sample["objects"] if each["id"] > 0]
                rows, answers = _rows(source, video, numbers, recipe, words)
                entries.append({**sample, "rows": rows, "complete": answers, "extra": _categories(extra, words)})
                objects += rows
                complete += answers
                report.videos += 1
                progress(Update(f"videos of {source.id}", report.videos, 0))
            again = f"icvos build-data labels {_given(source)}"
            page = Page(name, f"Labels: {source.title}", words.names, steps, pages=names, again=again)
            report.pages.append(write_page(out, page, entries))
    write_csv(report.objects_csv, OBJECT_COLUMNS, objects)
    write_csv(report.complete_csv, COMPLETE_COLUMNS, complete)
    report.objects, report.labelled = len(objects), sum(bool(row["category"]) for row in objects)
    return report


def write_settling(
    sources: Sequence[VideoSource],
    out: Path,
    merges: Sequence[KindMerge],
    *,
    people: tuple[str, str],
    paths: tuple[str, str],
    recipe: Recipe | None = None,
    words: Vocabulary = COCO80,
    workers: int = 1,
    progress: Progress = silent,
) -> list[Path]:
    """Write ``settle-<source>.html``: what two people differ in, both answers beside the frames, for a third to decide.

    Args:
        sources: Raw data sets of the videos in conflict.
        out: A folder; what is there under these names is replaced.
        merges: The two people's labels, merged.
        people: What they are called.
        paths: What they gave, as ``labels merge`` takes it.
        recipe: Masks made in another tool.
        words: The vocabulary of categories.
        workers: Processes.
        progress: Told how many videos are done.

    Returns:
        The pages, of sources with a conflict.

    Raises:
        UsageError: A conflict is of a data set or a video that is not here.
        SourceError: Broken raw data.
    """
    conflicts: dict[tuple[str, str], list[Conflict]] = {}
    for conflict in (conflict for merge in merges for conflict in merge.conflicts):
        conflicts.setdefault(conflict.key[:2], []).append(conflict)
    known = _known(merges)
    _refuse_unknown(sources, conflicts)
    pages = []
    for source in sources:
        videos = [video for video in source.videos() if (source.id, video.name) in conflicts]
        if not videos:
            continue
        name = f"settle-{source.id}"
        entries = []
        folder = out / f"{name}-videos"
        for video, sample in _samples(source, videos, recipe or Recipe(), words, folder, workers):
            key = (source.id, video.name)
            extra = (recipe or Recipe()).extra.get(key)
            asked = {"conflicts": [_asked(conflict) for conflict in conflicts[key]], "known": known.get(key, {})}
            entries.append({**sample, "rows": [], "complete": [], **asked, "extra": _categories(extra, words)})
            progress(Update(f"videos of {source.id}", len(entries), len(videos)))
        page = Page(name, f"Conflicts: {source.title}", words.names, _steps_of_settling(source, paths), people=people)
        pages.append(write_page(out, page, entries))
    return pages


def _samples(
    source: VideoSource,
    videos: Sequence[SourceVideo],
    recipe: Recipe,
    words: Vocabulary,
    folder: Path,
    workers: int,
) -> Iterator[tuple[SourceVideo, dict[str, Any]]]:
    """Return each video with what the page has to know of it, once its script is in ``folder``.

    Raises:
        InputError: Masks of another tool do not fit; a build would say the same.
    """
    for video in videos:
        extra = recipe.extra.get((source.id, video.name))
        if extra is not None:
            check_extra(source, video, extra, words)
    tasks = (
        SampleTask(source, video, recipe.extra.get((source.id, video.name)), folder / f"{escape_id(video.name)}.js")
        for video in videos
    )
    return zip(videos, in_order(sample_video, tasks, workers))


def _categories(extra: ExtraMasks | None, words: Vocabulary) -> dict[int, str]:
    """Return the category of each object of another tool, by its number with a minus."""
    return {} if extra is None else {-number: words.label(of) for number, of in sorted(extra.objects.items())}


def _rows(
    source: VideoSource, video: SourceVideo, numbers: Iterable[int], recipe: Recipe, words: Vocabulary
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the CSV rows of a video, filled with what the data set and the recipe say."""
    labels = recipe.objects.get((source.id, video.name), {})
    extra = recipe.extra.get((source.id, video.name))
    rows, categories = [], set(extra.objects.values() if extra else ())
    own = set()
    for number in sorted({*numbers, *video.objects, *labels}):
        said = video.objects.get(number)
        label = labels.get(number) or own_label(source, said, words)
        category = ""
        if label is not None:
            category = "none" if label.category is None else words.label(label.category)
            if label.category is not None and label.keep:
                own.add(label.category)
        elif said:
            category = "none"
        rows.append(
            {
                "source": source.id,
                "video": video.name,
                "object": number,
                "category": category,
                "keep": "yes" if label is None or label.keep else "no",
                "start": "" if label is None or label.start is None else label.start,
                "end": "" if label is None or label.end is None else label.end,
                "note": f"{source.title} says {said}" if said and (label is None or label.category is None) else "",
            }
        )
    answers = [
        {
            "source": source.id,
            "video": video.name,
            "category": words.label(category),
            "complete": recipe.complete.get(
                (source.id, video.name, category), "yes" if video.complete == "yes" and category in own else ""
            ),
        }
        for category in sorted(categories | own)
    ]
    return rows, answers


def _known(merges: Sequence[KindMerge]) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Return the categories that either gives each object of a video, by its number."""
    out: dict[tuple[str, str], dict[str, list[str]]] = {}
    for merge in merges:
        if merge.kind is not OBJECTS:
            continue
        said = [((row["source"], row["video"], row["object"]), [row["category"]]) for row in merge.rows]
        said += [(c.key, [answer[0] for answer in (c.a, c.b, c.settled) if answer]) for c in merge.conflicts]
        for (source, video, number), categories in said:
            of = out.setdefault((source, video), {}).setdefault(number, [])
            of += [category for category in categories if category not in of]
    return out


def _asked(conflict: Conflict) -> dict[str, Any]:
    """Return a conflict as the page takes it."""

    def columns(answer: Answer | None) -> Mapping[str, str] | None:
        return None if answer is None else dict(zip(conflict.kind.answer, answer))

    return {
        "kind": conflict.kind.name,
        "key": dict(zip(conflict.kind.key, conflict.key)),
        "said": [columns(answer) for answer in (conflict.a, conflict.b)],
        "words": [conflict.says(answer) for answer in (conflict.a, conflict.b)],
        "notes": [conflict.note_a, conflict.note_b],
        "start": {**(columns(conflict.to_fill_in) or {}), "note": conflict.note},
    }


def _refuse_unknown(sources: Sequence[VideoSource], conflicts: Mapping[tuple[str, str], object]) -> None:
    ids = {source.id: source for source in sources}
    names = {source.id: [video.name for video in source.videos()] for source in sources}
    for source, video in sorted(conflicts):
        if source not in ids:
            option = _option(source)
            raise UsageError(
                f"conflicts are of {source}, which is not given", expected=f"its folder, {option} {option[2:].upper()}"
            )
        if video not in names[source]:
            raise UsageError(
                f"a conflict is of an unknown video: {source},{video}",
                where=ids[source].root,
                fix=did_you_mean(video, names[source]),
            )


def _option(source: str) -> str:
    """Return the option of ``build-data`` that takes a data set's folder."""
    return "--" + next((name for name, row in SOURCES.items() if row.id == source), source)


def _given(source: VideoSource) -> str:
    option = _option(source.id)
    return f"{option} {option[2:].upper()}"


def _steps_of_labels(source: VideoSource, *, mended: bool) -> list[Step]:
    given, extra = _given(source), " --recipe EXTRA" if mended else ""
    build = f"icvos build-data ic-vos {given} --coco COCO --recipe LABELS{extra} --out BENCH"
    merge = f"icvos build-data labels merge ANNA BEN --out MERGED --conflicts CONFLICTS --page SETTLE {given}"
    return [
        ("Put the exported files into a folder, LABELS, and build a benchmark with it:", build),
        ("Or, where two people label, each with a folder of their own, compare them first:", merge),
    ]


def _steps_of_settling(source: VideoSource, paths: tuple[str, str]) -> list[Step]:
    merge = f"icvos build-data labels merge {' '.join(map(shlex.quote, paths))} --out MERGED --settled SETTLED"
    build = f"icvos build-data ic-vos {_given(source)} --coco COCO --recipe MERGED --out BENCH"
    return [
        ("Put the exported files into a folder, SETTLED, and merge with it:", merge),
        ("Build a benchmark with what is merged:", build),
    ]
