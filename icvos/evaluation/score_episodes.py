"""Scoring masks made anywhere: against a built benchmark, or against folders of label maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icvos.benchmark import Benchmark, Episode
from icvos.errors import PredictionError
from icvos.evaluation.predictions import Predictions, Record, Scored, _fit, _named, _same_names
from icvos.images import nearest_resize
from icvos.manifest import verify_masks, verify_query
from icvos.metrics import VideoScore, fss_counts, jf
from icvos.protocols import Protocol

__all__ = ["check_benchmark_masks", "score_episodes"]


# --------------------------------------------------------------------------------------------------- label maps


# ----------------------------------------------------------------------------------------------------- episodes


def _episode_frames(benchmark: Benchmark, episode: Episode, rule: Protocol) -> int:
    if benchmark.kind == "image":
        return 1
    return len(rule.frames(benchmark.videos[episode.video].frames))


def _own_size(benchmark: Benchmark, episode: Episode) -> tuple[int, int] | None:
    """Return (H, W) of an episode's ground truth, or None where only reading it tells."""
    if benchmark.kind == "image":
        return benchmark.query_size(episode)
    record = benchmark.videos[episode.video]
    return record.height, record.width


def check_benchmark_masks(
    benchmark: Benchmark, predictions: Predictions, rule: Protocol, episodes: Sequence[Episode]
) -> bool:
    """Compare what is predicted with the benchmark's episodes before anything is scored.

    Returns:
        Whether masks come at the ground truth's own size and are resized to the protocol's.

    Raises:
        PredictionError: Episodes or frames are missing or unknown, sizes do not fit, or a mask is seen to be none.
    """
    _same_names([episode.id for episode in episodes], predictions, "episode")
    resized = False
    for episode in episodes:
        wanted = [f"{index:05d}" for index in range(_episode_frames(benchmark, episode, rule))]
        given = predictions.frames(episode.id)
        missing = sorted(set(wanted) - set(given))
        if missing:
            raise PredictionError(
                f"{len(missing)} of {len(wanted)} frames are missing: {_named(missing)}",
                where=f"{predictions.where}/{episode.id}",
            )
        # Frames beyond the protocol's length may be there: they are not scored.
        most = benchmark.videos[episode.video].frames if benchmark.kind == "video" else 1
        unknown = [frame for frame in given if not (frame.isdigit() and len(frame) == 5 and int(frame) < most)]
        if unknown:
            raise PredictionError(
                f"{len(unknown)} frames are unknown: {_named(unknown)}",
                where=f"{predictions.where}/{episode.id}",
                expected=f"00000 to {most - 1:05d}",
            )
        own = _own_size(benchmark, episode)
        for frame in wanted:
            size = predictions.size(episode.id, frame)
            if size is None or own is None or size == rule.size:
                continue
            if size != own:
                raise PredictionError(
                    f"mask is {size[0]}x{size[1]} (HxW)",
                    where=predictions.place(episode.id, frame),
                    expected=f"{own[0]}x{own[1]}" + (f" or {rule.size[0]}x{rule.size[1]}" if rule.size else ""),
                )
            resized = resized or rule.size is not None
    return resized


def _binary(labels: np.ndarray, place: str) -> np.ndarray:
    top = int(labels.max(initial=0))
    if top <= 1 or (top == 255 and np.isin(labels, (0, 255)).all()):
        return labels != 0
    raise PredictionError(f"mask holds the value {top}", where=place, expected="0 and 1 (or 0 and 255)")


def score_episodes(
    benchmark: Benchmark, predictions: Predictions, rule: Protocol, episodes: Sequence[Episode]
) -> Scored:
    """Score episodes of one video (or one image episode) of a benchmark."""
    if benchmark.kind == "image":
        return [(_score_image(benchmark, predictions, rule, episode), None) for episode in episodes]
    out: Scored = []
    for category in sorted({episode.category for episode in episodes}):
        mine = [episode for episode in episodes if episode.category == category]
        scores = [VideoScore() for _ in mine]
        frames = _episode_frames(benchmark, mine[0], rule)
        verify_masks(benchmark, mine[0].video, category, frames)
        for index in range(frames):
            # The ground truth is read once for all draws.
            truth = benchmark.annotation(mine[0].video, category, index)
            shape = truth.shape
            if rule.size is not None:
                truth = nearest_resize(truth, rule.size)
            visible = bool(truth.any())
            for episode, score in zip(mine, scores):
                place = predictions.place(episode.id, f"{index:05d}")
                mask = _binary(predictions.load(episode.id, f"{index:05d}"), place)
                if rule.size is not None and mask.shape == shape:
                    mask = nearest_resize(mask, rule.size)
                mask = _fit(mask, truth.shape, place).astype(bool, copy=False)
                score.add(*jf(mask, truth), visible=visible, absent_correct=None if visible else not mask.any())
        for episode, score in zip(mine, scores):
            j, f = score.values()
            record = {
                "id": episode.id,
                "video": episode.video,
                "source": benchmark.videos[episode.video].source,
                "category": category,
                "category_name": episode.category_name,
                "draw": episode.draw,
                "frames": len(score),
                "visible_frames": len(score) - score.absent_frames,
                **score.summary(),
            }
            out.append((record, {"J": j, "F": f}))
    return out


def _score_image(benchmark: Benchmark, predictions: Predictions, rule: Protocol, episode: Episode) -> Record:
    verify_query(benchmark, episode.category, episode.video)
    _, truth, ignore = benchmark.query(episode)
    place = predictions.place(episode.id, "00000")
    mask = _binary(predictions.load(episode.id, "00000"), place)
    if rule.size is not None:
        mask = nearest_resize(mask, rule.size) if mask.shape == truth.shape else mask
        truth, ignore = nearest_resize(truth, rule.size), nearest_resize(ignore, rule.size)
    mask = _fit(mask, truth.shape, place).astype(bool, copy=False)
    counts = dict(zip(("inter_fg", "union_fg", "inter_bg", "union_bg"), fss_counts(mask, truth, ignore=ignore)))
    return {
        "id": episode.id,
        "fold": episode.fold,
        "category": episode.category,
        "query": episode.video,
        "supports": list(episode.supports),
        **counts,
    }


# ------------------------------------------------------------------------------------------------------ workers
