"""The scoring program of a competition: ``icvos score`` of what a participant sent, in Codabench's folders.

What is sent is a stranger's. Codabench has unpacked it already; links, pipes, too many or too large files are refused
before a mask is read, and nothing outside its folder is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from icvos.benchmark import load_benchmark
from icvos.errors import BenchmarkError, IcvosError, PredictionError, in_one_line, in_words, one_line
from icvos.evaluation.predictions import MAX_PNG
from icvos.evaluation.score import score
from icvos.files import atomic_write, read_json, work_folder, write_json
from icvos.runs.result import RunResult
from icvos.terminal import echo

__all__ = ["check_sent", "main", "score_submission"]

SCORES, DETAILS = "scores.json", "detailed_results.html"

# Files and folders beside those of the masks that a submission may hold, and how deep its folders may be.
MORE_FILES, DEEPEST = 10_000, 8
# So many masks are scored by one process faster than several start.
FEW_MASKS = 2000


def main(folder: Path, out: Path, settings: Path) -> None:
    """Score as ``score_submission`` does; what is wrong is one line on standard error, and the status is not 0."""
    with one_line():
        try:
            result = score_submission(folder, out, settings)
        except (IcvosError, OSError):
            raise
        except Exception as error:
            # Participants read the log: one line, whatever it is.
            raise IcvosError(f"unexpected {type(error).__name__}: {in_one_line(str(error))}") from None
    for key, value in result.items():
        echo(f"{key}: {value}")


def score_submission(folder: Path, out: Path, settings: Path) -> dict[str, float]:
    """Score the masks in ``folder/res`` by the ground truth in ``folder/ref``, exactly as ``icvos score`` does.

    Args:
        folder: Codabench's ``input``.
        out: Its ``output``: ``scores.json`` and ``detailed_results.html`` are written there where all is well.
        settings: ``settings.json`` of the scoring program.

    Returns:
        What ``scores.json`` says: figures in percent at full precision, by the leaderboard's keys; those that do not
        apply are left out.

    Raises:
        PredictionError: The masks are not what is wanted.
        BenchmarkError: The ground truth is another one, or damaged.
    """
    for name in (SCORES, DETAILS):
        (out / name).unlink(missing_ok=True)  # a failed submission has none
    told = read_json(settings)
    sent, truth = folder / "res", folder / "ref"
    check_sent(sent, 2 * told["masks"] + MORE_FILES)
    benchmark = load_benchmark(truth)
    if benchmark.manifest_sha256 != told["manifest_sha256"]:
        raise BenchmarkError("the ground truth is of another benchmark", where=truth, expected=told["benchmark"])
    with work_folder("icvos-codabench") as work:
        result = score(
            sent,
            benchmark=benchmark,
            protocol=told["protocol"],
            shots=told["shots"],
            out=work / "run",
            model="submission",
            workers=1 if told["masks"] < FEW_MASKS else len(os.sched_getaffinity(0)),
        )
    figures = {key: result["summary"].get(name) for key, name in told["columns"].items()}
    scores = {key: float(value) for key, value in figures.items() if value is not None}
    with atomic_write(out / DETAILS, "w") as stream:
        stream.write(_details(result, told["columns"]))
    write_json(out / SCORES, scores)
    return scores


def check_sent(folder: Path, most: int) -> None:
    """Refuse what no submission of masks holds, by the names and sizes of its files alone.

    Args:
        folder: What was sent, unpacked.
        most: So many files and folders it may hold.

    Raises:
        PredictionError: It is empty, or holds a link, what is no plain file, a file larger than any mask, too many
            files, or folders too deep.
    """
    count, empty, folders = 0, True, [(folder, 0)] if folder.is_dir() else []
    while folders:
        inner, depth = folders.pop()
        with os.scandir(inner) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                count += 1
                if count > most:
                    raise PredictionError(f"more than {most:,} files and folders", expected="a mask for each frame")
                if stat.S_ISDIR(status.st_mode) and depth < DEEPEST:
                    folders.append((Path(entry.path), depth + 1))
                    continue
                if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_PNG:
                    name = in_words(os.path.relpath(entry.path, folder))
                    if stat.S_ISDIR(status.st_mode):
                        raise PredictionError(f"folders lie {depth} deep: {name}", expected="ID/00000.png")
                    if not stat.S_ISREG(status.st_mode):
                        raise PredictionError(f"{name} is a link or no plain file", expected="plain files")
                    raise PredictionError(f"{name} is larger than {MAX_PNG >> 20} MiB", expected="a mask")
                empty = False
    if empty:
        raise PredictionError("nothing was sent", expected="a folder for each episode, with ID/00000.png")


def _details(result: RunResult, columns: Mapping[str, str]) -> str:
    """Return a page with the figures of the whole and of each category."""
    rows: list[tuple[str, Mapping[str, Any]]] = [("all", result["summary"]), *result["per_category"].items()]
    heads = "".join(f"<th>{escape(name)}</th>" for name in columns.values())
    lines = []
    for label, figures in rows:
        values = (figures.get(name) for name in columns.values())
        cells = "".join(f"<td>{'' if value is None else f'{value:.2f}'}</td>" for value in values)
        lines.append(f"<tr><th>{escape(label)}</th>{cells}</tr>\n")
    title = f"{result['benchmark']['name']}, protocol {result['protocol']['name']}, percent"
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<p>{escape(title)}</p>\n<table>\n<tr><th></th>{heads}</tr>\n{''.join(lines)}</table>\n</html>\n"
    )
