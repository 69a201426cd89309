"""Where a method's points go: what is missing to 100 J&F, shared out among causes (icvos/report/budget.py).

    python benchmarks/error_budget.py RUN                    # a finished run with its masks, on any video benchmark
    python benchmarks/error_budget.py BEFORE AFTER           # both side by side, and the difference
    python benchmarks/error_budget.py --model dcsam --out RUN --oracles      # runs it first, as icvos evaluate does
    python benchmarks/error_budget.py --training-shapes OUT  # builds a benchmark of training shapes, to choose rules on

Each wrong frame has one cause. A cause's points are what J&F gains where the ground truth stands on its frames; those
of all causes add up to 100 less J&F. From 20 videos on, points have a 95 % interval by the leaderboards' bootstrap over
videos. "Found" is an overlap J of ``--found`` or more, "in sight" a ground truth that is not empty, frame 0 the first
frame that is scored.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icvos import cli
from icvos.demo.benchmarks import benchmark_folder, build_training_shapes
from icvos.errors import UsageError, one_line
from icvos.files import write_json
from icvos.leaderboard.statistics import Samples, difference, interval
from icvos.report.budget import CAUSES, FOUND, SHARES, Budget, Part, budget_of
from icvos.report.run import ReportRun, open_run
from icvos.terminal import Column, echo, print_table


def check_same(runs: Sequence[ReportRun]) -> None:
    """Refuse runs that cannot stand side by side.

    Raises:
        UsageError: They are of other benchmarks, protocols or episodes.
    """
    first = runs[0]
    for run in runs[1:]:
        same = [each.result["benchmark"]["manifest_sha256"] for each in (first, run)]
        if len(set(same)) > 1 or run.protocol != first.protocol or set(run.by_id) != set(first.by_id):
            raise UsageError(
                "the runs are not of the same episodes", where=run.where, expected=f"benchmark and protocol of {first}"
            )


def print_budgets(budgets: Sequence[Budget]) -> None:
    """Print a table: of one run, or of several side by side; of two the difference too."""
    letters = [f" {letter}" if letter else "" for letter in _letters(budgets)]
    heads = {name: [f"{name}{letter}" for letter in letters] for name in ("points", "frames", "episodes")}
    two = len(budgets) == 2
    between = ["B less A", "95 %"] if two else ["95 %"] if len(budgets) == 1 else []
    columns = [*heads["points"], *between, *heads["frames"], *heads["episodes"]]

    def row(name: str, parts: Sequence[Part]) -> list[str]:
        gains = [part.gain for part in parts]
        cells = [f"{gain.value:.2f}" for gain in gains]
        last = difference(gains[1], gains[0]) if two else gains[0]
        cells += [f"{round(last.value, 2) + 0.0:+.2f}"] if two else []
        cells += [_interval(last, signed=two)] if len(budgets) < 3 else []
        shares = [100 * part.frames / max(budget.counts[0], 1) for part, budget in zip(parts, budgets)]
        return [name, *cells, *(f"{share:.1f} %" for share in shares), *(f"{part.episodes}" for part in parts)]

    rows = [row(name, [budget.parts[name] for budget in budgets]) for name in CAUSES]
    rows = [cells for name, cells in zip(CAUSES, rows) if any(budget.parts[name].frames for budget in budgets)]
    rows += [row(f"all: {name}", [budget.shares[name] for budget in budgets]) for name in SHARES]
    print_table([Column.words("cause"), *map(Column, columns)], rows, leave_out=heads["episodes"])
    frames, visible = budgets[0].counts
    echo(f"{len(budgets[0].frames)} episodes, {frames:,} frames, the target in sight on {visible:,} of them")
    for letter, budget in zip(letters, budgets):
        score, gains = budget.score.value, [part.gain.value for part in budget.parts.values()]
        echo(f"J&F{letter}: {score:.2f}; with the points of all causes {score + sum(gains):.2f}")


def _letters(runs: Sequence[Any]) -> list[str]:
    return [chr(ord("A") + number) for number in range(len(runs))] if len(runs) > 1 else [""]


def _interval(samples: Samples, *, signed: bool) -> str:
    bounds = interval(samples)
    sign = "+" if signed else ""
    return "-" if bounds is None else " to ".join(f"{round(bound, 2) + 0.0:{sign}.2f}" for bound in bounds)


def as_json(runs: Sequence[ReportRun], budgets: Sequence[Budget]) -> dict[str, Any]:
    """Return what the tables say, unrounded."""

    def cost(part: Part) -> dict[str, Any]:
        return {**_figures(part.gain), "frames": part.frames, "episodes": part.episodes}

    content: dict[str, Any] = {"found": budgets[0].found, "rules": CAUSES, "runs": []}
    for run, budget in zip(runs, budgets):
        frames, visible = budget.counts
        parts = {name: cost(part) for name, part in budget.parts.items()}
        shares = {name: cost(part) for name, part in budget.shares.items()}
        counts = {"episodes": len(budget.frames), "frames": frames, "visible_frames": visible}
        head = {"run": str(run.where), "title": run.title, "J&F": budget.score.value}
        content["runs"].append({**head, **counts, "causes": parts, "shares": shares})
    if len(budgets) == 2:
        a, b = (budget.parts | budget.shares for budget in budgets)
        content["B less A"] = {name: _figures(difference(b[name].gain, a[name].gain)) for name in a}
    return content


def _figures(gain: Samples) -> dict[str, Any]:
    return {"points": gain.value, "interval": interval(gain)}


def evaluate(words: Sequence[str], out: Path) -> None:
    """Run ``icvos evaluate`` with its words and keep the masks; episodes may fail.

    Raises:
        SystemExit: It ended otherwise; the command has said why.
    """
    try:
        cli.main(["evaluate", *words, "--out", str(out), "--save-masks"])
    except SystemExit as end:
        if end.code not in (None, 0, 1) or not (out / "result.json").is_file():
            raise


def _parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    rules = "".join(f"\n    {name:21} {rule}" for name, rule in CAUSES.items())
    parser = argparse.ArgumentParser(
        usage="%(prog)s RUN [RUN …] | --model NAME --out RUN [options of icvos evaluate] | --training-shapes OUT",
        description=f"{__doc__}\nA wrong frame's cause is the first of these that applies:\n{rules}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, help="with --model: the run's folder")
    parser.add_argument("--benchmark", help="a folder, or demo; default: where the runs say")
    parser.add_argument("--masks", type=Path, help="of RUN, where it did not keep them: a folder, zip or JSON")
    parser.add_argument("--found", type=float, default=FOUND, help="least J of a found target; default %(default)s")
    parser.add_argument("--oracles", action="store_true", help="with --model: beside it a run told frame 0's truth")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, unrounded")
    parser.add_argument("--training-shapes", type=Path, metavar="OUT", help="build such a benchmark, and no more")
    return parser.parse_known_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is to be run, and print the budgets."""
    values, rest = _parse(arguments)
    if values.training_shapes is not None:
        folder = build_training_shapes(values.training_shapes)
        echo(f"training shapes: {folder}\nnext: icvos evaluate --model dcsam --benchmark {folder} --save-masks")
        return
    if not 0 < values.found <= 1:
        raise UsageError(f"--found is {values.found}", expected="more than 0, at most 1")
    folders = [Path(word) for word in rest]
    if any(word.partition("=")[0] == "--model" for word in rest):
        folders = _evaluated(values, rest)
    elif values.out is not None or values.oracles:
        raise UsageError("--out and --oracles are of a method that is run", fix="add --model NAME")
    elif any(word.startswith("-") for word in rest):
        odd = next(word for word in rest if word.startswith("-"))
        raise UsageError(f"unknown option {odd}", fix="add --model NAME for the options of icvos evaluate")
    if not folders:
        raise UsageError("no run is named", expected="the folder of a run with masks, or --model NAME --out RUN")
    if values.masks is not None and len(folders) > 1:
        raise UsageError(
            "--masks are those of one run", fix="name one run, or keep them with icvos evaluate --save-masks"
        )
    benchmark = None if values.benchmark is None else benchmark_folder(values.benchmark)
    runs = [open_run(folder, benchmark=benchmark, masks=values.masks) for folder in folders]
    check_same(runs)
    budgets = [budget_of(run, values.found) for run in runs]
    for letter, run in zip(_letters(runs), runs):
        echo(f"{letter}: {run.title}" if letter else run.title)
    print_budgets(budgets)
    if values.json is not None:
        write_json(values.json, as_json(runs, budgets))


def _evaluated(values: argparse.Namespace, words: Sequence[str]) -> list[Path]:
    """Run the method, and with ``--oracles`` once more, where it can be told frame 0's truth."""
    if values.out is None:
        raise UsageError("--model is given without --out", fix="add --out RUN, the folder of its run")
    words = [*words, *([] if values.benchmark is None else ["--benchmark", values.benchmark])]
    evaluate(words, values.out)
    if not values.oracles:
        return [values.out]
    oracle = values.out.with_name(f"{values.out.name}-oracle-first-frame")
    try:
        evaluate([*words, "--oracle", "first-frame"], oracle)
    except SystemExit as end:
        if end.code != 2:
            raise
        return [values.out]
    return [values.out, oracle]


if __name__ == "__main__":
    with one_line():
        main()
