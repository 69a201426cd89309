"""From episodes' records to ``result.json``: a pure function, independent of order and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from icvos.benchmark import RUN_COLUMN, VOS, Episode
from icvos.metrics import FewShotScore
from icvos.metrics.formulas import FOLD_COUNTS, average, half_sum
from icvos.metrics.summaries import Row
from icvos.metrics.table import METRICS, fold_metrics, ranked_metric, summary_names
from icvos.protocols import PROTOCOLS, Protocol
from icvos.runs.schema import RESULT_SCHEMA

__all__ = ["RunResult", "image_result", "oracle_result", "score_row", "sequence_result", "video_result", "video_score"]

Record = Mapping[str, Any]


class RunResult(dict[str, Any]):
    """What ``result.json`` of a run holds.

    Attributes:
        folder: The run's folder.
    """

    def __init__(self, result: Mapping[str, Any], folder: Path) -> None:
        super().__init__(result)
        self.folder = folder


def score_row(record: Record, protocol: Protocol, **known: Any) -> Row:
    """Return what a summary needs of an episode's record; the score of one that failed is 0.

    Args:
        record: The episode's.
        protocol: Of the run.
        known: As ``Row.of`` takes it; the record's run or draw if it says none.
    """
    repetition = record.get(RUN_COLUMN, record.get("draw")) or 0
    return Row.of(_scored(record, protocol), protocol.numbers, **{"draw": repetition, **known})


def _means(rows: Sequence[Row], protocol: Protocol) -> dict[str, float | None]:
    """Return the figures of some episodes, by the protocol's rule."""
    return _with_halves(protocol.summary(rows, protocol.figures))


def video_score(records: Sequence[Record], protocol: Protocol = PROTOCOLS["native"]) -> float | None:
    """Return the score of some episodes, percent, as of a whole benchmark: a failed one counts 0; None of none."""
    rows = [score_row(record, protocol) for record in records]
    return _means(rows, protocol).get(protocol.score)


def _scored(record: Record, protocol: Protocol) -> Record:
    """Return a record whose figures count: of one that failed, its score's parts as 0 and what tells it apart."""
    if not record.get("error"):
        return record
    return {**dict.fromkeys(protocol.parts, 0.0), **{name: record.get(name) for name in protocol.fields}}


def _with_halves(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return figures with those that are the mean of two of them (J&F) after them."""
    pairs = {metric.name: metric.halves for metric in METRICS.values() if metric.halves and metric.stored}
    halves = {name: half_sum(figures[a], figures[b]) for name, (a, b) in pairs.items() if {a, b} <= figures.keys()}
    return {**figures, **halves}


def _table(rows: Sequence[Row], protocol: Protocol, key: Callable[[Row], str]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return {name: {**_means(groups[name], protocol), "episodes": len(groups[name])} for name in sorted(groups)}


def _result(
    run: Mapping[str, Any], protocol: Protocol, summary: Mapping[str, Any], tables: Mapping[str, Any]
) -> dict[str, Any]:
    model, benchmark, key = run["model"], run["benchmark"], run["key"]
    return {
        "schema": RESULT_SCHEMA,
        "model": {name: model.get(name) for name in ("name", "version", "options", "source_sha256", "weights")},
        "benchmark": {name: benchmark.get(name) for name in ("name", "version", "manifest_sha256")},
        "protocol": {
            "name": protocol.name,
            **{name: key.get(name) for name in ("shots", "seed", "limit_episodes", "limit_frames", "resized_masks")},
            "oracle": key.get("oracle"),
        },
        "summary": {name: summary.get(name) for name in summary_names(protocol.name)},
        **tables,
    }


def video_result(
    run: Mapping[str, Any],
    protocol: Protocol,
    episodes: Sequence[Episode],
    records: Mapping[str, Record],
    sources: Mapping[str, str],
) -> dict[str, Any]:
    """Return the result of a run on a video benchmark.

    Args:
        run: ``run.json``.
        protocol: Of the run.
        episodes: All that the run should hold, in the benchmark's order.
        records: By id; an episode without a record, or with an error, scores 0 and counts as failed.
        sources: Source of each video.
    """
    rows, failed = [], 0
    for episode in episodes:
        record = records.get(episode.id)
        if record is None:
            record = {"error": "missing", **protocol.marks(episode.video, episode.category_name, episode.asked)}
        failed += bool(record.get("error"))
        known = {"video": episode.video, "category_name": episode.category_name, "source": sources[episode.video]}
        rows.append(score_row(record, protocol, draw=episode.repetition, **known))
    summary: dict[str, Any] = _means(rows, protocol)
    # A number of an object is no category: object 1 of one video and of another have nothing in common.
    by_category = run["benchmark"].get("task") != VOS
    per_category = _table(rows, protocol, lambda row: row.category_name) if by_category else {}
    summary["J&F_by_category"] = average(row.get(ranked_metric("video").name) for row in per_category.values())
    summary |= {"episodes": len(rows), "failed": failed}
    tables = {
        "per_category": per_category,
        "per_source": _table(rows, protocol, lambda row: row.source),
        "per_video": _table(rows, protocol, lambda row: row.video),
        "per_draw": _table(rows, protocol, lambda row: str(row.draw)),
    }
    tables |= oracle_result(run["key"], [episode.id for episode in episodes], records)
    return _result(run, protocol, summary, tables)


def sequence_result(
    run: Mapping[str, Any], protocol: Protocol, ids: Sequence[str], records: Mapping[str, Record]
) -> dict[str, Any]:
    """Return the result of scoring label maps: figures over all objects of all sequences, by the protocol's rule."""
    rows = []
    failed = 0
    for name in ids:
        record = records.get(name) or {"video": name, "error": "missing", **protocol.marks(name)}
        failed += bool(record.get("error"))
        rows.append(score_row(record, protocol, video=record["video"]))
    per_video: dict[str, Any] = {}
    for video in sorted({row.video for row in rows}):
        mine = [row for row in rows if row.video == video]
        figures = _means(mine, protocol)
        per_video[video] = {
            **{name: figures[name] for name in (*protocol.parts, protocol.score) if name in figures},
            "objects": len(mine),
        }
    summary = {**_means(rows, protocol), "episodes": len(rows), "failed": failed}
    return _result(
        run, protocol, summary, {"per_category": {}, "per_source": {}, "per_video": per_video, "per_draw": {}}
    )


def image_result(
    run: Mapping[str, Any],
    protocol: Protocol,
    episodes: Sequence[Episode],
    records: Mapping[str, Record],
    folds: Mapping[int, Sequence[int]],
) -> dict[str, Any]:
    """Return the result of a run on a few-shot image benchmark: the mean over folds of each fold's figures.

    Args:
        folds: Categories of each fold. Those that no episode drew are listed; the protocol says whether ``mIoU`` counts
            them as 0.
    """
    names = {episode.category: episode.category_name for episode in episodes}
    per_fold: dict[str, Any] = {}
    per_category: dict[str, Any] = {}
    score_name = ranked_metric("image").name
    ious: list[float] = []
    failed = 0
    for fold in sorted({episode.fold for episode in episodes if episode.fold is not None}):
        score = FewShotScore()
        for episode in episodes:
            if episode.fold != fold:
                continue
            record = records.get(episode.id)
            if record is None or record.get("error"):
                failed += 1
                # Nothing found; the unions are what the record of the failure says there was.
                record = {"inter_fg": 0, "union_fg": 1, "inter_bg": 0, "union_bg": 1, **(record or {})}
            counts = [record[name] for name in FOLD_COUNTS]
            score.add(episode.category, *counts)
            ious.append(100.0 * counts[0] / counts[1] if counts[1] else 100.0)
        summary = score.summary(folds.get(fold), undrawn_as_zero=protocol.undrawn_as_zero)
        per_category |= {names[c]: {score_name: iou, "fold": fold} for c, iou in summary.pop("per_category").items()}
        per_fold[str(fold)] = summary
    total = {
        **{metric.name: average(row[metric.name] for row in per_fold.values()) for metric in fold_metrics()},
        "mean_IoU": average(ious),  # over all episodes, whatever their fold
        "episodes": len(episodes),
        "failed": failed,
    }
    tables = {"per_category": dict(sorted(per_category.items())), "per_source": {}, "per_video": {}, "per_draw": {}}
    return _result(run, protocol, total, {**tables, "per_fold": per_fold})


def oracle_result(
    key: Mapping[str, Any], ids: Sequence[str], records: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what ``result.json`` says of an oracle, which gave the model frame 0's ground truth.

    It is {} without one, and where the method was told elsewhere: how, and on which frames, only its makers know.

    Args:
        key: The key of ``run.json``.
        ids: The run's episodes.
        records: Their records, by id; an episode without one does not count as absent.
    """
    if key.get("oracle_as") is None:
        return {}
    absent = sum(bool(records.get(episode_id, {}).get("absent_on_frame_0")) for episode_id in ids)
    return {"oracle": {"name": key["oracle"], "given_as": key.get("oracle_as"), "absent_on_frame_0": absent}}
