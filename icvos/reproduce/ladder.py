"""Climbing: a rung's commands run one after another, what they left is measured and held against what is printed.

Under one folder, that of all rungs: ``benchmarks/`` (built once, for every rung that evaluates on them), ``steps/`` (of
each thing that a command left, a record: which command, what it read and what it left) and, for each rung, its runs and
trainings and in the end its ``result.json``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from icvos.errors import RunError, UsageError, did_you_mean, name_some
from icvos.files import file_sha256, lock_folder, read_json, write_json
from icvos.foundation.checkpoints import Checkpoint, checkpoint, verify_file, weights_folder
from icvos.metrics.formulas import total
from icvos.models.needs import missing_packages
from icvos.reproduce.rung import Figure, Rung, Step, fill_in
from icvos.reproduce.rungs import RUNGS
from icvos.runs.environment import commit, describe_device, now
from icvos.runs.run import Run
from icvos.version import __version__

__all__ = [
    "SCHEMA",
    "Call",
    "check_inputs",
    "climb",
    "measure",
    "missing",
    "missing_extra",
    "no_gpu",
    "read_results",
    "weights_path",
]

SCHEMA = "icvos-reproduce/1"

Call = Callable[[list[str]], int]
"""Runs what follows ``icvos`` and returns its exit status."""


def weights_path(known: Checkpoint, given: Mapping[str, Path]) -> Path:
    """Return where a checkpoint lies: as it is given, else in the weights folder."""
    return given.get(known.name, weights_folder() / known.file)


def missing(rung: Rung, data: Mapping[str, Path], weights: Mapping[str, Path]) -> list[str]:
    """Return what of a rung's inputs is not here, each with what to do; a GPU is not among them.

    Args:
        rung: The rung.
        data: Folders of data sets, by their names.
        weights: Files of checkpoints that lie elsewhere than in the weights folder, by their names.
    """
    lines = []
    for name in rung.data:
        folder = data.get(name)
        if folder is None:
            lines.append(f"--{name} DIR")
        elif not folder.is_dir():
            lines.append(f"--{name}, which is no folder: {folder}")
    for name in rung.weights:
        known = checkpoint(name)
        if not weights_path(known, weights).is_file():
            how = f"icvos weights fetch {name}" if known.url else "by hand"
            lines.append(f"{known.file} ({how})")
    return [*lines, *missing_extra(rung)]


def missing_extra(rung: Rung) -> list[str]:
    """Return the packages that a rung needs and that are not installed."""
    return [f"the package {package} (extra {rung.extra})" for package in missing_packages(rung.extra)]


def no_gpu() -> list[str]:
    """Return that there is no CUDA device, where there is none."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return []
    return ["a GPU"]


def check_inputs(rung: Rung, data: Mapping[str, Path], weights: Mapping[str, Path]) -> dict[str, Any]:
    """Ask whether all inputs are here and every checkpoint is the published one.

    Returns:
        What ``result.json`` says of them: ``data``, the folders, and ``weights``, the files with their SHA-256.

    Raises:
        UsageError: Something is missing, or a checkpoint is given that the rung does not take.
        WeightsError: A file has another size or hash than the published one.
    """
    for name in weights:
        if name not in rung.weights:
            fix = did_you_mean(name, rung.weights)
            raise UsageError(f"rung {rung.name} takes no checkpoint '{name}'", fix=fix)
    lacking = missing(rung, data, weights)
    if lacking:
        fix = f"'icvos reproduce show {rung.name}' says where all of it comes from"
        raise UsageError(f"rung {rung.name} lacks {name_some(lacking)}", fix=fix)
    files = {}
    for known in map(checkpoint, rung.weights):
        path = weights_path(known, weights)
        files[known.name] = {"file": str(path), "sha256": verify_file(path, known)}
    return {"data": {name: str(data[name]) for name in rung.data}, "weights": files}


def climb(
    rung: Rung,
    values: Mapping[str, str],
    out: Path,
    call: Call,
    *,
    device: str = "cpu",
    describe: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
    adapt: Callable[[list[str]], list[str]] = list,
) -> dict[str, Any]:
    """Run a rung's commands, those that are done already left out, and write what it measured.

    Args:
        rung: The rung.
        values: What the placeholders of its commands stand for, but ``out``.
        out: The folder of all rungs; made if missing.
        call: Runs a command.
        device: Of the runs, for the record.
        describe: What the record says of the inputs, from ``check_inputs``.
        say: Is told each command.
        adapt: Changes the words of a command before it runs; a dry run makes it short so.

    Returns:
        What ``result.json`` holds.

    Raises:
        RunError: A command failed, or left no figure.
        LockedError: Another process climbs this rung.
    """
    start = now()
    commands: list[dict[str, Any]] = []
    files = {each["file"]: each["sha256"] for each in (describe or {}).get("weights", {}).values()}
    with lock_folder(out / rung.name):
        for number, step in enumerate(rung.steps, 1):
            words = adapt(fill_in(step.words, {**values, "out": str(out)}))
            say(f"{number} of {len(rung.steps)}: {step.what}\n$ icvos {shlex.join(words)}")
            try:
                commands.append(_take(step, words, out, call, say, _read_by(words, files)))
            except StepFailed as stop:
                error = RunError(
                    f"command {number} of {len(rung.steps)} of rung {rung.name} ended with status {stop.status}",
                    where=out,
                    fix="mend what it says above and give the same command again: it goes on from there",
                )
                error.exit_status = 1
                raise error from None
            except (KeyboardInterrupt, SystemExit) as stop:
                done = f"{number - 1} of {len(rung.steps)} commands of rung {rung.name} are done"
                stop.add_note(f"{done}; the same command goes on from there")
                raise
            files[str(out / step.leaves)] = commands[-1]["sha256"]
        result = {
            "schema": SCHEMA,
            "rung": rung.name,
            "title": rung.title,
            "source": rung.source,
            **measure(rung, out),
            "reason": rung.reason,
            "commands": commands,
            **(describe or {}),
            "environment": {"icvos": __version__, "commit": commit(), **describe_device(device)},
            "start": min([start, *(command["start"] for command in commands)]),
            "end": now(),
        }
        write_json(out / rung.name / "result.json", result)
    return result


class StepFailed(Exception):
    """A command ended with another status than 0."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _take(
    step: Step, words: list[str], out: Path, call: Call, say: Callable[[str], None], inputs: Mapping[str, str]
) -> dict[str, Any]:
    """Run a step's command unless it is done, and return its record.

    It is done if the last command that left this was the same, of the same inputs, and what it left is as it was.

    Args:
        step, words, out, call, say: As in ``climb``.
        inputs: SHA-256 of the files that the command reads, by their paths.
    """
    path = out / "steps" / f"{hashlib.sha256(step.leaves.encode()).hexdigest()[:16]}.json"
    leaves = out / step.leaves
    record = _begun(path)
    there = leaves.is_file()
    if there and _sameness(record.get("command", [])) == _sameness(words) and record.get("inputs") == inputs:
        # A benchmark appears whole or not at all: one that was ended behind a killed climb is done.
        if "end" not in record and words[0] == "build-data":
            record = _end(record, path, leaves)
        if record.get("sha256") == file_sha256(leaves):
            say("done before")
            return record
    clock = time.monotonic()
    record = {
        "what": step.what,
        "leaves": step.leaves,
        "command": words,
        "inputs": dict(inputs),
        "start": now(),
        "icvos": __version__,
        "commit": commit(),
    }
    if words[0] != "build-data" or not there:
        write_json(path, record)
    status = call(words)
    if status == 0 and not leaves.is_file():
        raise RunError(f"the command left no {step.leaves}", where=out)
    if status:
        raise StepFailed(status)
    return _end(record, path, leaves, seconds=round(time.monotonic() - clock, 1))


def _begun(path: Path) -> dict[str, Any]:
    """Return what a step's record says; nothing if there is none, or none that can be used."""
    try:
        record = read_json(path, RunError)
    except RunError:
        return {}
    return record if isinstance(record, dict) and record.get("start") else {}


def _end(record: Mapping[str, Any], path: Path, leaves: Path, *, seconds: float | None = None) -> dict[str, Any]:
    """Write that a step is done, and with what it left; ``seconds`` is None where nobody saw its end."""
    ended = {**record, "end": now(), "seconds": seconds, "sha256": file_sha256(leaves)}
    write_json(path, ended)
    return ended


def _sameness(words: Sequence[str]) -> list[str]:
    """Return a command without its number of processes, which changes nothing of what it leaves."""
    return [word for word, before in zip(words, ["", *words]) if "--workers" not in (word, before)]


def _read_by(words: Sequence[str], files: Mapping[str, str]) -> dict[str, str]:
    """Return those files, by path, which a command names: themselves, their folder, or another file in it."""
    named = [Path(text) for word in words for text in (word, word.partition("=")[2]) if "/" in text]
    around = {*named, *(path.parent for path in named)}
    return {path: digest for path, digest in files.items() if around & {Path(path), Path(path).parent}}


def measure(rung: Rung, out: Path) -> dict[str, Any]:
    """Return a rung's figures with their verdicts, and what its runs say of themselves.

    Where a benchmark has other counts than the rung's, no figure is compared: its data is not whole.

    Raises:
        RunError: A run is missing, unfinished or of another kind.
    """
    runs = {name: Run.open(out / name) for figure in rung.figures for name in figure.runs}
    figures = [_figure(figure, runs) for figure in rung.figures]
    differs = _other_counts(rung, out)
    if differs:
        figures = [{**figure, "verdict": f"not compared: {differs}"} for figure in figures]
    return {
        "verdict": figures[0]["verdict"],
        "figures": figures,
        "runs": {
            name: {
                "model": run.label,
                "weights": run.run["model"].get("weights"),
                "options": run.run["model"].get("options"),
                "benchmark": run.benchmark_name,
                "manifest_sha256": run.result["benchmark"].get("manifest_sha256"),
                "protocol": run.protocol,
                "episodes": run.summary["episodes"],
                "failed": run.summary["failed"],
            }
            for name, run in runs.items()
        },
    }


def _other_counts(rung: Rung, out: Path) -> str:
    """Return where a benchmark of a rung first has another count than it has of the whole data, or nothing."""
    for step in rung.steps:
        header = (out / step.leaves).with_name("benchmark.json")
        if step.words[0] != "build-data" or not rung.counts:
            continue
        found = read_json(header, RunError)["counts"]
        for name, count in rung.counts.items():
            if found.get(name) != count:
                which = f"{header.parent.name} has {found.get(name, 0):,} {name} and not {count:,}"
                return f"{which}, its data is not whole; once it is, give another --out"
    return ""


def _figure(figure: Figure, runs: Mapping[str, Run]) -> dict[str, Any]:
    values = []
    for name in figure.runs:
        run = runs[name]
        row = run.summary if figure.fold is None else run.rows("fold").get(str(figure.fold), {})
        value = row.get(figure.metric)
        if value is None:
            raise RunError(f"the run has no {figure.name}", where=run.where)
        values.append(float(value))
    measured = total(values) / len(values)
    return {
        "name": figure.name,
        "measured": measured,
        "printed": figure.printed,
        "tolerance": figure.tolerance,
        "verdict": figure.verdict(measured),
    }


def read_results(out: Path | None) -> dict[str, dict[str, Any]]:
    """Return what the rungs of a folder measured, by their names; a rung that has no ``result.json`` is not among them.

    Raises:
        RunError: There is no such folder, or a file is damaged, or holds no result of its rung.
    """
    if out is not None and not out.is_dir():
        raise RunError("folder not found", where=out, expected="the --out of 'icvos reproduce run'")
    results = {}
    for name in RUNGS if out is not None else ():
        assert out is not None
        path = out / name / "result.json"
        if not path.is_file():
            continue
        result = read_json(path, RunError)
        if not _is_result(result, name):
            raise RunError("no result of a rung", where=path, expected=f"{SCHEMA} of {name}")
        results[name] = result
    return results


def _is_result(result: Any, name: str) -> bool:
    """Whether a file's content is a rung's result as far as it is shown."""
    if not isinstance(result, dict) or result.get("schema") != SCHEMA or result.get("rung") != name:
        return False
    figures = result.get("figures")
    return (
        isinstance(result.get("verdict"), str)
        and isinstance(figures, list)
        and bool(figures)
        and all(
            isinstance(row, dict) and isinstance(row.get("name"), str) and isinstance(row.get("measured"), (int, float))
            for row in figures
        )
    )
