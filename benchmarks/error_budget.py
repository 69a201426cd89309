"""Where a method's points go: what is missing to 100 J&F, shared out among causes.

    python benchmarks/error_budget.py RUN                    # a finished run with its masks, on any video benchmark
    python benchmarks/error_budget.py BEFORE AFTER           # both side by side, and the difference
    python benchmarks/error_budget.py --model dcsam --out RUN --oracles      # runs it first, as icvos evaluate does
    python benchmarks/error_budget.py --training-shapes OUT  # builds a benchmark of training shapes, to choose rules on

Every wrong frame has exactly one cause, the first in ``CAUSES`` that applies (``--help`` prints them). "Found" is an
overlap J of ``--found`` or more, "in sight" a ground truth that is not empty, frame 0 the first frame that is scored. The
root cause counts: a video that begins on the wrong thing does not drift.

An oracle then repairs one cause: on its frames the ground truth stands in place of the prediction (J = F = 1), and the
benchmark is scored again. What that gains are the cause's points. A score is a mean of scores of single frames, so that
the points of all causes add up to 100 less J&F; those of TIDE (Bolya et al. 2020), which does so for detection, need
not. From 20 videos on, points have a 95 % interval by the leaderboards' bootstrap over videos.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from icvos import cli
from icvos.benchmark import Episode
from icvos.demo.benchmarks import benchmark_folder, build_demo
from icvos.errors import RunError, UsageError, one_line
from icvos.evaluation.predictions import Predictions
from icvos.evaluation.score_episodes import frame_stems, load_mask
from icvos.files import write_json
from icvos.leaderboard.statistics import Samples, difference, interval, video_samples
from icvos.metrics.formulas import mean, percent
from icvos.metrics.table import ranked_parts
from icvos.protocols import get_protocol
from icvos.report.run import ReportRun, open_run
from icvos.runs.records import read_frames
from icvos.terminal import Column, echo, print_table
from icvos.view import View

FOUND = 0.5
WRONG_THING = 0.1
"""Least share of frame 0's prediction that is on the target, where it is not another thing."""
HIDDEN = 1 / 3
"""Under this share of its median area in the video the target is partly hidden."""

CAUSES = {
    "failed": "the episode failed: it has no masks",
    "ghost before": "something is predicted, and the target is not in sight and has not been yet",
    "ghost after": "something is predicted, and the target is not in sight any more",
    "boundary": "the target is found, but not to the pixel",
    "absent on frame 0": "not found; on frame 0 the target was not in sight",
    "missed": "not found; on frame 0 the target was in sight, and nothing was predicted",
    "wrong thing": "not found, nor on frame 0: under 10 % of that prediction is on the target",
    "ragged": "not found, nor on frame 0: that prediction is partly on the target",
    "not found again": "found on frame 0, out of sight since then, in sight again; nothing is predicted",
    "wrong re-appearance": "the same, and something else is predicted",
    "lost after occlusion": "found on frame 0; then its visible area fell under a third of its median in the video",
    "lost": "found on frame 0; nothing is predicted now",
    "drift": "found on frame 0; something else is predicted now",
}
"""In words, in the order in which they are tried."""

SHARES = ("target in sight", "target absent")
SHAPES_SEED = 11


@dataclass(frozen=True, eq=False)
class Frames:
    """What is known of the T scored frames of an episode.

    Attributes:
        j, f: (T,) float64 in 0..1.
        area: (T,) pixels of the ground truth.
        predicted: (T,) pixels of the prediction.
        common: (T,) pixels of both.
        failed: Whether there is no prediction; then all but ``area`` are 0.
    """

    j: np.ndarray
    f: np.ndarray
    area: np.ndarray
    predicted: np.ndarray
    common: np.ndarray
    failed: bool = False

    @property
    def visible(self) -> np.ndarray:
        """(T,) bool: the target is in sight."""
        return self.area > 0

    def causes(self, found: float = FOUND) -> np.ndarray:
        """Return (T,) text: the cause of each wrong frame, "" of one that is exact.

        Args:
            found: Least J of a frame on which the target is found.
        """
        return np.array([self._cause(index, found) for index in range(len(self.j))], dtype=object)

    @cached_property
    def _hidden(self) -> np.ndarray:
        median = np.median(self.area[self.visible]) if self.visible.any() else 0
        return self.area < HIDDEN * median

    def _cause(self, now: int, found: float) -> str:
        if self.failed:
            return "failed"
        if self.j[now] == self.f[now] == 1:
            return ""
        if not self.visible[now]:
            return "ghost after" if self.visible[:now].any() else "ghost before"
        if self.j[now] >= found:
            return "boundary"
        if not self.visible[0]:
            return "absent on frame 0"
        if self.j[0] < found:
            if self.predicted[0] == 0:
                return "missed"
            return "wrong thing" if self.common[0] < WRONG_THING * self.predicted[0] else "ragged"
        empty = self.predicted[now] == 0
        if not self.visible[1:now].all():
            return "not found again" if empty else "wrong re-appearance"
        if self._hidden[1 : now + 1].any():
            return "lost after occlusion"
        return "lost" if empty else "drift"


def read_episode(
    view: View, masks: Predictions, episode: Episode, values: dict[str, np.ndarray] | None, *, failed: bool
) -> Frames:
    """Read what a run predicted of an episode, and the ground truth.

    Args:
        view: The benchmark, as the run's protocol sees it.
        masks: The run's.
        episode: One of the run.
        values: J and F of its frames, as the run holds them.
        failed: Whether the run has no masks of it.

    Raises:
        RunError: The values are gone, or are not those of the masks.
        IcvosError: A mask is missing or broken.
    """
    truths = view.truth(episode.video, episode.category)
    scored = view.scored_frames(episode)
    area, predicted, common = np.zeros((3, len(scored)), np.int64)
    stems = [""] * len(scored) if failed else frame_stems(view, masks, episode)
    for row, (index, stem) in enumerate(zip(scored, stems, strict=True)):
        truth = truths[index]
        area[row] = np.count_nonzero(truth)
        if not failed:
            mask = load_mask(view, masks, episode, stem, truths.size)
            predicted[row], common[row] = np.count_nonzero(mask), np.count_nonzero(mask & truth)
    if failed:
        nothing = np.zeros(len(scored))
        return Frames(nothing, nothing, area, predicted, common, failed=True)
    where = f"{masks.where}/{episode.id}"
    if values is None:
        raise RunError("the values of its frames are gone", where=where, fix="evaluate again into another --out")
    union = area + predicted - common
    j = np.where(union > 0, common / np.maximum(union, 1), 1.0)
    if len(values["J"]) != len(j) or not np.allclose(values["J"], j, rtol=0, atol=1e-9):
        raise RunError("these are not the masks that were scored", where=where, fix="evaluate again into another --out")
    return Frames(values["J"], values["F"], area, predicted, common)


@dataclass(frozen=True, eq=False)
class Part:
    """What one cause costs.

    Attributes:
        gain: What repairing it gains, J&F points, with its replicates.
        frames: How many wrong frames it has.
        episodes: How many episodes have such a frame.
    """

    gain: Samples
    frames: int
    episodes: int


@dataclass(frozen=True, eq=False)
class Budget:
    """What is missing to 100 J&F.

    Attributes:
        records: Of each episode its video, source, category_name and draw.
        frames: Of each episode.
        found: Least J of a frame on which the target is found.
        clustered: Whether categories mean the same in all videos.
    """

    records: Sequence[dict[str, Any]]
    frames: Sequence[Frames]
    found: float = FOUND
    clustered: bool = True

    @cached_property
    def _causes(self) -> list[np.ndarray]:
        return [frames.causes(self.found) for frames in self.frames]

    def _score(self, repaired: Sequence[np.ndarray] | None = None) -> Samples:
        """Return J&F, percent, with the frames (T,) bool of each episode repaired."""
        rows = []
        for index, (record, frames) in enumerate(zip(self.records, self.frames)):
            exact = np.zeros(len(frames.j), bool) if repaired is None else repaired[index]
            scores = (np.where(exact, 1.0, values) for values in (frames.j, frames.f))
            rows.append({**record, **{name: percent(mean(each)) for name, each in zip(ranked_parts(), scores)}})
        return video_samples(rows, ranked_parts(), clustered=self.clustered)

    @cached_property
    def score(self) -> Samples:
        """J&F of the run, percent."""
        return self._score()

    def _part(self, frames: Sequence[np.ndarray]) -> Part:
        gain = difference(self._score(frames), self.score)
        return Part(gain, sum(int(each.sum()) for each in frames), sum(bool(each.any()) for each in frames))

    @cached_property
    def parts(self) -> dict[str, Part]:
        """What each cause costs."""
        return {name: self._part([causes == name for causes in self._causes]) for name in CAUSES}

    @cached_property
    def shares(self) -> dict[str, Part]:
        """What all causes cost on frames with the target in sight, and on the others."""
        wrong = [(causes != "", frames.visible) for causes, frames in zip(self._causes, self.frames)]
        halves = ([each & visible for each, visible in wrong], [each & ~visible for each, visible in wrong])
        return {name: self._part(half) for name, half in zip(SHARES, halves)}

    @property
    def counts(self) -> tuple[int, int]:
        """Scored frames, and those with the target in sight."""
        return sum(len(each.j) for each in self.frames), sum(int(each.visible.sum()) for each in self.frames)


def open_finished(folder: Path, benchmark: Path | None, masks: Path | None) -> ReportRun:
    """Open a run with its benchmark and masks.

    Raises:
        IcvosError: It is not finished, is of images, or has no masks.
    """
    run = open_run(folder, benchmark=benchmark, masks=masks)
    if run.image:
        raise RunError("the run is of few-shot images, which have no frames", where=folder, expected="one of videos")
    if run.benchmark is None or run.masks is None:
        raise RunError(run.missing, where=folder)
    return run


def budget_of(run: ReportRun, found: float = FOUND) -> Budget:
    """Read a run's episodes.

    Args:
        run: As ``open_finished`` returns it.
        found: Least J of a frame on which the target is found.

    Raises:
        IcvosError: Masks or values are missing, broken, or not of one another.
    """
    benchmark, masks = run.benchmark, run.masks
    assert benchmark is not None and masks is not None
    view = View(benchmark, get_protocol(run.protocol), limit_frames=run.result["protocol"].get("limit_frames"))
    records, frames = [], []
    for episode in benchmark.episodes:
        record = run.by_id.get(episode.id)
        if record is None:
            continue
        source = benchmark.videos[episode.video].source
        names = {"video": episode.video, "source": source, "category_name": episode.category_name}
        records.append({**names, "draw": episode.draw})
        failed = bool(record.get("error"))
        values = None if failed else read_frames(run.where, episode.id)
        frames.append(read_episode(view, masks, episode, values, failed=failed))
    return Budget(records, frames, found, clustered=not run.vos)


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
    letters = [f" {letter}" for letter in _letters(budgets)]
    heads = {name: [f"{name}{letter}".strip() for letter in letters] for name in ("points", "frames", "episodes")}
    two = len(budgets) == 2
    between = ["B less A"] if two else []
    columns = [
        *heads["points"],
        *between,
        *(["95 %"] if len(budgets) < 3 else []),
        *heads["frames"],
        *heads["episodes"],
    ]

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
        echo(
            f"J&F{letter}: {score:.2f}".replace(" :", ":") + f"; with the points of all causes {score + sum(gains):.2f}"
        )


def _letters(runs: Sequence[Any]) -> list[str]:
    return [chr(ord("A") + number) for number in range(len(runs))] if len(runs) > 1 else [""]


def _interval(samples: Samples, *, signed: bool) -> str:
    bounds = interval(samples)
    sign = "+" if signed else ""
    return "-" if bounds is None else " to ".join(f"{round(bound, 2) + 0.0:{sign}.2f}" for bound in bounds)


def as_json(runs: Sequence[ReportRun], budgets: Sequence[Budget]) -> dict[str, Any]:
    """Return what the tables say, unrounded."""

    def said(part: Part) -> dict[str, Any]:
        return {**_figures(part.gain), "frames": part.frames, "episodes": part.episodes}

    content: dict[str, Any] = {"found": budgets[0].found, "rules": CAUSES, "runs": []}
    for run, budget in zip(runs, budgets):
        frames, visible = budget.counts
        parts = {name: said(part) for name, part in budget.parts.items()}
        shares = {name: said(part) for name, part in budget.shares.items()}
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
        description=f"{__doc__}\nThe first of these that applies is a wrong frame's cause:\n{rules}",
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
        folder = build_demo("demo", "training", SHAPES_SEED, values.training_shapes)
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
    runs = [open_finished(folder, benchmark, values.masks) for folder in folders]
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
    told = values.out.with_name(f"{values.out.name}-oracle-first-frame")
    try:
        evaluate([*words, "--oracle", "first-frame"], told)
    except SystemExit as end:
        if end.code != 2:
            raise
        return [values.out]
    return [values.out, told]


if __name__ == "__main__":
    with one_line():
        main()
