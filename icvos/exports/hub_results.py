"""A run as the Hugging Face Hub takes results: ``.eval_results/<task>.yaml`` of a model's repository.

The form: https://huggingface.co/docs/hub/eval-results; it is read by ``huggingface_hub.parse_eval_result_entries``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from icvos.errors import InputError, RunError, UsageError, in_words, printable
from icvos.exports.folder import ExportFolder, read_content
from icvos.exports.formats import ExportOptions
from icvos.exports.tasks import task_id
from icvos.exports.texts import check_address, yaml_scalar
from icvos.files import escape_id, read_text
from icvos.leaderboard.consistency import check_values, recompute
from icvos.leaderboard.marks import legend, marks
from icvos.progress import Progress
from icvos.runs.run import CHECKED, Run

__all__ = ["FOLDER", "check", "problems", "write"]

FOLDER = ".eval_results"

_DATASET = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95})(?:@([0-9a-f]{40}))?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[!-~]+)?")
_TEXT = '(".+")'
_ENTRY = re.compile(
    f"- dataset:\n    id: {_TEXT}\n    task_id: {_TEXT}\n(?:    revision: {_TEXT}\n)?"
    f"  value: (-?[0-9]+[.][0-9]+)\n  date: {_TEXT}\n(?:  source:\n    url: {_TEXT}\n)?  notes: {_TEXT}\n"
)


def check(subject: Run, options: ExportOptions) -> None:
    """Refuse what may not stand on a leaderboard, and options that the Hub would not read.

    Raises:
        RunError: The run has no rank anywhere: it is limited, failed, a shard, or was told ground truth; or its result
            does not follow from its episodes.
        UsageError: An option is of another form.
    """
    if subject.not_ranked:
        what = f"a run without a rank is no result for a leaderboard: {', '.join(subject.not_ranked)}"
        raise RunError(what, where=subject.where, fix="evaluate the whole benchmark")
    contradictions = check_values(subject) or recompute(subject)
    if contradictions:
        raise RunError(contradictions[0], where=subject.where, fix="evaluate again into another --out")
    if not _DATASET.fullmatch(options.dataset):
        raise UsageError(
            f"--dataset {in_words(options.dataset)} is no data set of the Hub",
            expected="OWNER/NAME, with @ and the 40 digits of a commit where it is one revision's",
        )
    if options.source:
        check_address("--source", options.source, "the record's address, https://…")
    _date(subject, options)


def write(subject: Run, folder: ExportFolder, options: ExportOptions, progress: Progress) -> None:
    """Write the one entry of a run: its value is what boards rank it by, in percent at full precision."""
    del progress
    name = "_".join((_task(subject), *((escape_id(subject.name),) if subject.name else ())))
    folder.write(f"{FOLDER}/{name}.yaml", lambda: _entry(subject, options).encode())


def problems(root: Path) -> Sequence[str]:
    """Return what is wrong: no file or several, none of this form, or one of another task, data set, source or day."""
    paths = sorted((root / FOLDER).glob("*"))
    if len(paths) != 1 or paths[0].suffix != ".yaml":
        return [f"{FOLDER}: {len(paths)} files, and an export has one, .yaml"]
    where = f"{FOLDER}/{paths[0].name}"
    try:
        found = _ENTRY.fullmatch(read_text(paths[0], "result"))
        texts = [str(json.loads(text)) if text else "" for text in found.groups()] if found else []
        options = read_content(root)["options"]
        told = ExportOptions(**options) if isinstance(options, Mapping) else ExportOptions()
    except (InputError, ValueError, KeyError, TypeError):
        texts = []
    if not texts:
        return [f"{where}: it is no result as icvos writes it"]
    dataset, task, revision, value, day, source, _ = texts
    lines = []
    if _at(dataset, revision) != told.dataset or not _DATASET.fullmatch(told.dataset):
        lines.append(f"{where}: it is of the data set {in_words(_at(dataset, revision))}")
    if not paths[0].stem.startswith(task):
        lines.append(f"{where}: it is of the task {in_words(task)}")
    if not -100.0 <= float(value) <= 100.0:
        lines.append(f"{where}: its value is {value}, and not in percent")
    if not _is_date(day) or (told.date and day != told.date):
        lines.append(f"{where}: its date is {in_words(day)}")
    if source != told.source:
        lines.append(f"{where}: its source is {in_words(source)}")
    return lines


def _at(dataset: str, revision: str) -> str:
    return f"{dataset}@{revision}" if revision else dataset


def _entry(run: Run, options: ExportOptions) -> str:
    """Return the file's text. JSON's texts are YAML's too; a number with a point is one in every version of YAML."""
    dataset = _DATASET.fullmatch(options.dataset)
    assert dataset is not None
    lines = [
        "- dataset:",
        f"    id: {yaml_scalar(dataset[1])}",
        f"    task_id: {yaml_scalar(_task(run))}",
        *([f"    revision: {yaml_scalar(dataset[2])}"] if dataset[2] else []),
        f"  value: {Decimal(repr(run.score)):f}",
        f"  date: {yaml_scalar(_date(run, options))}",
        *(["  source:", f"    url: {yaml_scalar(options.source)}"] if options.source else []),
        f"  notes: {yaml_scalar(_notes(run))}",
    ]
    return "\n".join(lines) + "\n"


def _task(run: Run) -> str:
    unseen = run.group[3].partition(", unseen ")[2]
    return task_id(run.benchmark_name, run.protocol, None if run.vos else run.shots, unseen)


def _notes(run: Run) -> str:
    """Return what a reader should know of the value: how it came about, how far it was checked, what it leaves out."""
    benchmark, protocol = run.result["benchmark"], run.result["protocol"]
    checked = "checked by nobody but its author" if run.checked == CHECKED[0] else run.checked
    declared = legend([mark for mark in marks(run) if mark != "S"])
    parts = (
        f"{run.rules.score} in percent",
        f"protocol {run.protocol}",
        run.shown,
        f"seed {protocol.get('seed')}",
        f"all {run.summary['episodes']} episodes",
        f"{run.label}{f' ({run.name})' if run.name else ''}",
        f"benchmark {run.benchmark_name} {benchmark.get('version')}, manifest {str(benchmark['manifest_sha256'])[:16]}",
        f"icvos {run.run.get('icvos')}",
        checked,
        *(line.partition(": ")[2] for line in declared),
        *(note for note in run.notes if note not in run.notes_on_supports),
    )
    return printable("; ".join(parts))


def _date(run: Run, options: ExportOptions) -> str:
    """Return the day of ``--date``, else the one on which the run began."""
    if options.date:
        if not _is_date(options.date):
            raise UsageError(f"--date {in_words(options.date)} is no date", expected="2026-11-28, say")
        return options.date
    day = str(run.run.get("start"))[:10]
    if not _is_date(day):
        raise UsageError("the run does not say when it began", where=run.where, fix="give --date, as 2026-11-28")
    return day


def _is_date(text: str) -> bool:
    """Whether a text is a date, or a date and a time, as ISO 8601 has them and as the Hub takes them."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return bool(_DATE.fullmatch(text))
