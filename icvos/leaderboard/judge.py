"""Judging a run or a submission before it may stand on a board: all that can be checked without the method itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark, Episode
from icvos.errors import IcvosError, RunError, UsageError
from icvos.evaluation.predictions import open_predictions
from icvos.evaluation.score import score_all
from icvos.evaluation.score_episodes import check_benchmark_masks
from icvos.files import work_folder
from icvos.leaderboard.archive import unpack
from icvos.leaderboard.benchmarks import find_benchmark, known_benchmarks
from icvos.leaderboard.consistency import check_against, check_name, check_values, recompute, same_result
from icvos.leaderboard.record import record_path
from icvos.leaderboard.rewritten import rewritten
from icvos.metrics.table import episode_metrics
from icvos.progress import Progress, Update, silent
from icvos.runs.episodes import RunOptions, get_run_protocol, select_episodes
from icvos.runs.run import Run
from icvos.view import View

__all__ = ["Judgement", "Sent", "judge", "opened_run", "partial", "reproduces"]

# Two runs of one method on other machines: kernels differ in the last bits, masks in some pixels of their borders.
EPISODE_TOLERANCE, SUMMARY_TOLERANCE = 1.0, 0.1


@dataclass(frozen=True)
class Judgement:
    """What was found.

    Attributes:
        entry: The run as a board may write it: all figures computed here.
        checked: ``self-reported`` or ``masks re-scored``.
        checks: What was checked, one line each.
        benchmark: What it was compared with.
    """

    entry: Run
    checked: str
    checks: tuple[str, ...]
    benchmark: Benchmark


@dataclass(frozen=True)
class Sent:
    """What is judged.

    Attributes:
        folder: A run folder.
        sha256: Of the submission's archive that it was unpacked from; None of a run folder.
        submitter: Who sent that, as it says.
    """

    folder: Path
    sha256: str | None = None
    submitter: str | None = None


@contextmanager
def opened_run(path: Path) -> Iterator[Sent]:
    """Give a run folder: itself, or a submission's archive unpacked for a while.

    Raises:
        InputError: The archive is hostile or damaged.
    """
    if path.is_dir():
        yield Sent(path)
        return
    with work_folder("icvos-submission") as folder:
        yield Sent(folder, *unpack(path, folder))


def _refuse(what: str, where: Path) -> RunError:
    return RunError(f"refused: {what}", where=where)


def judge(
    folder: Path,
    benchmark: str | Path | None = None,
    *,
    known: Mapping[str, Path] | None = None,
    workers: int = 1,
    progress: Progress = silent,
    name: Path | None = None,
) -> Judgement:
    """Check a run folder; nothing of it is believed that can be computed, and where it lies is not asked of it.

    Args:
        folder: The run.
        benchmark: A built benchmark's folder or a demo's name; by default the one of its manifest among those known.
        known: Benchmarks' folders by their manifests' SHA-256, as ``known_benchmarks`` has them; default the demos.
        workers: Processes that score masks.
        progress: Is told how far it is.
        name: What errors call it; default the folder.

    Raises:
        RunError: The run is partial, contradicts itself, the benchmark or its masks; the reason is said.
    """
    name = name or folder
    try:
        entry = replace(Run.open(folder), where=name)
    except RunError as error:
        raise _refuse(error.what, name) from None
    for problems in (check_values(entry), check_name(entry.run["benchmark"]), partial(entry)):
        if problems:
            raise _refuse(problems[0], name)
    sha256 = str(entry.result["benchmark"].get("manifest_sha256"))
    known = known_benchmarks(None) if known is None and benchmark is None else known or {}
    opened = find_benchmark(entry.benchmark_name, sha256, name, given=benchmark, known=known)
    try:
        problems = check_name(opened.header) or check_against(entry, opened) or recompute(entry)
    except UsageError as error:
        raise _refuse(error.what, name) from None
    if problems:
        raise _refuse(problems[0], name)
    checks = [
        f"benchmark {opened.name} {opened.version}, manifest {opened.manifest_sha256[:16]}",
        f"all {len(entry.records)} episodes are there, their figures in range",
        "the result follows from the episodes",
    ]
    scored = None
    if (folder / "masks").is_dir():
        scored = _rescore(entry, folder / "masks", opened, workers, progress, name)
    ours = rewritten(entry, opened, scored)
    problems = same_result(entry.result, ours.result) or check_values(ours) or partial(ours)
    if problems:
        raise _refuse(problems[0], name)
    record_path(Path(), ours)  # a name that no file may have is refused here
    if scored is None:
        return Judgement(ours, "self-reported", (*checks, "no masks: J and F are as reported"), opened)
    checks.append(f"the masks of {len(scored)} episodes give the J and F reported")
    return Judgement(ours, "masks re-scored", tuple(checks), opened)


def partial(entry: Run) -> list[str]:
    """Return why a run may not stand on a board, a line each; empty if it may."""
    key = entry.run["key"]
    part = any(key.get(name) is not None for name in ("limit_episodes", "limit_frames", "chosen_episodes", "shard"))
    reasons = dict.fromkeys((*entry.not_ranked, *(["a part of its benchmark"] if part else [])))
    return [f"a run that is {reason} takes no rank" for reason in reasons]


def _rescore(
    entry: Run, masks: Path, benchmark: Benchmark, workers: int, progress: Progress, name: Path
) -> dict[str, dict[str, Any]]:
    """Return the records that masks give, by id."""
    protocol = get_run_protocol(benchmark, entry.protocol, unseen=entry.unseen)
    episodes = select_episodes(benchmark, protocol, RunOptions(protocol.name))
    try:
        resized = check_benchmark_masks(View(benchmark, protocol), open_predictions(masks), episodes)
        if resized and not entry.result["protocol"].get("resized_masks"):
            raise _refuse("its masks are resized to the protocol's size, and its record does not say so", name)
        groups: dict[str, list[Episode]] = {}
        for episode in episodes:
            groups.setdefault(episode.video if benchmark.kind == "video" else episode.id, []).append(episode)
        rescored: dict[str, dict[str, Any]] = {}
        for scored in score_all("benchmark", benchmark.root, masks, protocol, list(groups.values()), workers=workers):
            for row, _ in scored:
                _compare(entry.by_id[row["id"]], row, name)
                rescored[row["id"]] = row
                progress(Update("episodes", len(rescored), len(episodes)))
    except RunError:
        raise
    except IcvosError as error:
        raise _refuse(f"its masks: {error.what}", name) from None
    return rescored


def _compare(stated: Mapping[str, Any], again: Mapping[str, Any], name: Path) -> None:
    # A metric that came after the run was made is in what its masks give alone.
    later = {metric.name for metric in episode_metrics() if not metric.required and metric.name not in stated}
    for figure, computed in again.items():
        said = stated.get(figure)
        if isinstance(computed, (int, float)) and isinstance(said, (int, float)):
            same = abs(said - computed) <= 1e-9
        else:
            # Of images a run says no name of a category, and those supports that it showed.
            same = said == computed or figure in later or figure in ("category_name", "supports")
        if not same:
            raise _refuse(f"episode {stated['id']} reports {figure} {said}, and its masks give {computed}", name)


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
        for metric in entry.rules.parts:
            if metric in row and abs(row[metric] - mine.get(row["id"], {}).get(metric, -100)) > EPISODE_TOLERANCE:
                return [f"{metric} of episode {row['id']} is more than {EPISODE_TOLERANCE} apart in the two runs"]
    return []
