"""Judging a run or a submission before it may stand on a board: all that can be checked without the method itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark, Episode
from icvos.demo.benchmarks import open_benchmark
from icvos.errors import IcvosError, RunError
from icvos.evaluation.predictions import open_predictions
from icvos.evaluation.score import score_all
from icvos.evaluation.score_episodes import check_benchmark_masks
from icvos.files import work_folder
from icvos.leaderboard.archive import unpack
from icvos.leaderboard.consistency import check_against, check_name, check_values, recompute
from icvos.manifest import verify_tables
from icvos.metrics.formulas import FOLD_COUNTS
from icvos.metrics.table import episode_metrics, ranked_parts
from icvos.progress import Progress, Update, silent
from icvos.runs.episodes import RunOptions, get_run_protocol, select_episodes
from icvos.runs.run import Run
from icvos.view import View

__all__ = ["Judgement", "judge", "opened_run", "partial", "reproduces"]

# Two runs of one method on other machines: kernels differ in the last bits, masks in some pixels of their borders.
EPISODE_TOLERANCE, SUMMARY_TOLERANCE = 1.0, 0.1


@dataclass(frozen=True)
class Judgement:
    """What was found.

    Attributes:
        entry: The run.
        checked: ``self-reported`` or ``masks re-scored``.
        checks: What was checked, one line each.
    """

    entry: Run
    checked: str
    checks: tuple[str, ...]


@contextmanager
def opened_run(path: Path) -> Iterator[Path]:
    """Give a run folder: itself, or a submission's archive unpacked for a while.

    Raises:
        InputError: The archive is hostile or damaged.
    """
    if path.is_dir():
        yield path
        return
    with work_folder("icvos-submission") as folder:
        unpack(path, folder)
        yield folder


def _refuse(what: str, where: Path) -> RunError:
    return RunError(f"refused: {what}", where=where)


def _benchmark_of(entry: Run, folder: str | None, where: Path) -> Benchmark:
    """Open the benchmark: as given, the demo by its name, or where the run read it."""
    name = entry.benchmark_name
    demos = {"demo": "demo", "demo-coco-20i": "demo/coco-20i", "demo-pascal-5i": "demo/pascal-5i"}
    root = folder or (entry.run.get("environment") or {}).get("benchmark_folder")
    if not isinstance(root, str) or (folder is None and not Path(root).is_dir()):
        root = demos.get(name)
    if root is None:
        raise RunError(f"the benchmark '{name}' is not at hand", where=where, fix="give its folder with --benchmark")
    opened, _ = open_benchmark(root)
    verify_tables(opened)
    return opened


def judge(
    folder: Path,
    benchmark: str | None = None,
    *,
    workers: int = 1,
    progress: Progress = silent,
    name: Path | None = None,
) -> Judgement:
    """Check a run folder; nothing of it is believed that can be computed.

    Args:
        folder: The run.
        benchmark: A built benchmark's folder or a demo's name; by default where the run read it.
        workers: Processes that score masks.
        progress: Is told how far it is.
        name: What errors call it; default the folder.

    Raises:
        RunError: The run is partial, contradicts itself, the benchmark or its masks; the reason is said.
    """
    name = name or folder
    try:
        entry = Run.open(folder)
    except RunError as error:
        raise _refuse(error.what, name) from None
    for problems in (check_values(entry), check_name(entry.run["benchmark"]), partial(entry)):
        if problems:
            raise _refuse(problems[0], name)
    opened = _benchmark_of(entry, benchmark, name)
    problems = check_name(opened.header) or check_against(entry, opened) or recompute(entry)
    if problems:
        raise _refuse(problems[0], name)
    checks = [
        f"benchmark {opened.name} {opened.version}, manifest {opened.manifest_sha256[:16]}",
        f"all {len(entry.records)} episodes are there, their figures in range",
        "the result follows from the episodes",
    ]
    if not (folder / "masks").is_dir():
        return Judgement(entry, "self-reported", (*checks, "no masks: J and F are as reported"))
    count = _rescore(entry, folder / "masks", opened, workers, progress, name)
    return Judgement(entry, "masks re-scored", (*checks, f"the masks of {count} episodes give the J and F reported"))


def partial(entry: Run) -> list[str]:
    """Return why a run may not stand on a board, a line each; empty if it may."""
    return [f"a run that is {reason} takes no rank" for reason in entry.not_ranked]


def _rescore(entry: Run, masks: Path, benchmark: Benchmark, workers: int, progress: Progress, name: Path) -> int:
    protocol = get_run_protocol(benchmark, entry.protocol)
    episodes = select_episodes(benchmark, protocol, RunOptions(protocol.name))
    try:
        resized = check_benchmark_masks(View(benchmark, protocol), open_predictions(masks), episodes)
        if resized and not entry.result["protocol"].get("resized_masks"):
            raise _refuse("its masks are resized to the protocol's size, and its record does not say so", name)
        groups: dict[str, list[Episode]] = {}
        for episode in episodes:
            groups.setdefault(episode.video if benchmark.kind == "video" else episode.id, []).append(episode)
        stated = {row["id"]: row for row in entry.records}
        done = 0
        for scored in score_all("benchmark", benchmark.root, masks, protocol, list(groups.values()), workers=workers):
            for row, _ in scored:
                _compare(stated[row["id"]], row, name)
                done += 1
                progress(Update("episodes", done, len(episodes)))
    except RunError:
        raise
    except IcvosError as error:
        raise _refuse(f"its masks: {error.what}", name) from None
    return done


def _compare(stated: Mapping[str, Any], again: Mapping[str, Any], name: Path) -> None:
    # A metric that came after the run was made is in what its masks give alone.
    later = {metric.name for metric in episode_metrics() if not metric.required and metric.name not in stated}
    for metric in (*(metric.name for metric in episode_metrics()), *FOLD_COUNTS):
        said, computed = stated.get(metric), again.get(metric)
        same = said == computed if said is None or computed is None else abs(said - computed) <= 1e-9
        if metric in again and metric not in later and not same:
            raise _refuse(f"episode {stated['id']} reports {metric} {said}, and its masks give {computed}", name)


def reproduces(entry: Run, ours: Run) -> list[str]:
    """Return where a maintainer's own run of the same method contradicts a submission; empty if it reproduces it."""
    for what in ("model", "model_version", "options", "source", "weights", "benchmark", "protocol", "shots", "seed"):
        if entry.run["key"].get(what) != ours.run["key"].get(what):
            return [f"the maintainer's run is of another {what.replace('_', ' ')}"]
    if abs(entry.score - ours.score) > SUMMARY_TOLERANCE:
        return [f"the maintainer's run scores {ours.score:.2f}, the submission {entry.score:.2f}"]
    if entry.records == ours.records and entry.run.get("start") == ours.run.get("start"):
        return ["that is the submission itself, not another run"]
    mine = {row["id"]: row for row in ours.records}
    for row in entry.records:
        for metric in ranked_parts():
            if metric in row and abs(row[metric] - mine.get(row["id"], {}).get(metric, -100)) > EPISODE_TOLERANCE:
                return [f"{metric} of episode {row['id']} is more than {EPISODE_TOLERANCE} apart in the two runs"]
    return []
