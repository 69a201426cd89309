"""Scoring masks made anywhere: against a built benchmark, or against folders of label maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icvos.benchmark import Episode
from icvos.errors import PredictionError, are, counted
from icvos.evaluation.predictions import Predictions, Record, Scored, check_names, fit_size, name_some, other_numbers
from icvos.listing import match_stems, natural
from icvos.masks import thing_of
from icvos.metrics import VideoScore, fss_counts
from icvos.view import View

__all__ = ["check_benchmark_masks", "frame_stems", "load_mask", "score_episodes"]

_ONE_OBJECT = "each pixel in the mask of one object, as in a label map"


def check_benchmark_masks(view: View, predictions: Predictions, episodes: Sequence[Episode]) -> bool:
    """Compare what is predicted with the benchmark's episodes before anything is scored.

    Returns:
        Whether masks come at the ground truth's own size and are resized to the protocol's.

    Raises:
        PredictionError: Episodes or frames are missing or unknown, sizes do not fit, or a mask is seen to be none.
    """
    check_names([episode.id for episode in episodes], predictions, "episode")
    resized = False
    for episode in episodes:
        stored = view.stored_size(episode)
        for stem in frame_stems(view, predictions, episode):
            size = predictions.size(episode.id, stem)
            if size is None or stored is None or size == view.size:
                continue
            if size != stored:
                raise PredictionError(
                    f"mask is {size[0]}x{size[1]} (HxW)",
                    where=predictions.path(episode.id, stem),
                    expected=f"{stored[0]}x{stored[1]}" + (f" or {view.size[0]}x{view.size[1]}" if view.size else ""),
                )
            resized = resized or view.size is not None
    return resized


def frame_stems(view: View, predictions: Predictions, episode: Episode) -> list[str]:
    """Return the stem of each scored frame in the predictions: ``00007`` or, where that is not there, ``7``.

    Frames that the protocol drops, or that are beyond its length, may be there: they are not scored.

    Raises:
        PredictionError: Frames are missing or unknown.
    """
    scored = view.scored_frames(episode)
    count = len(scored)
    most = view.benchmark.videos[episode.video].frames if view.benchmark.kind == "video" else 1
    frames = [f"{index:05d}" for index in range(most)]
    predicted = predictions.frames(episode.id)
    pairs = match_stems(frames, predicted)
    missing = [frames[index] for index in scored if frames[index] not in pairs]
    unknown = sorted(set(predicted) - set(pairs.values()), key=natural)
    where = f"{predictions.where}/{episode.id}"
    expected = f"{frames[0]} to {frames[-1]}"
    if missing and unknown and len(predicted) in (count, most) and all(map(str.isdigit, unknown)):
        raise other_numbers(unknown, where, expected)
    if missing:
        raise PredictionError(
            f"{len(missing)} of {count} frames are missing: {name_some(missing)}",
            where=where,
            expected=None if predicted else ".png files",
        )
    if unknown:
        raise PredictionError(
            f"{counted(len(unknown), 'frames')} {are(len(unknown))} unknown: {name_some(unknown)}",
            where=where,
            expected=expected,
        )
    return [pairs[frames[index]] for index in scored]


def load_mask(view: View, predictions: Predictions, episode: Episode, stem: str, size: tuple[int, int]) -> np.ndarray:
    """Return the predicted mask of a frame, (H, W) bool at the size that the ground truth has in the view."""
    path = predictions.path(episode.id, stem)
    mask = thing_of(predictions.load(episode.id, stem), where=path)
    if mask.shape == view.stored_size(episode):
        mask = view.resize_mask(mask)
    return fit_size(mask, size, path).astype(bool, copy=False)


def score_episodes(view: View, predictions: Predictions, episodes: Sequence[Episode]) -> Scored:
    """Score episodes of one video (or one image episode) of a benchmark."""
    if view.benchmark.kind == "image":
        return [(_score_image(view, predictions, episode), None) for episode in episodes]
    episodes = sorted(episodes, key=lambda episode: episode.category)  # in one category they keep their order
    protocol = view.protocol
    scores = [VideoScore(protocol.measure.columns) for _ in episodes]
    stems = [frame_stems(view, predictions, episode) for episode in episodes]
    truths = {e.category: view.truth(e.video, e.category) for e in episodes}
    for position, index in enumerate(view.scored_frames(episodes[0])):
        # The ground truth is read once for all draws.
        truth = {category: frames[index] for category, frames in truths.items()}
        taken: np.ndarray | None = None
        for episode, score, predicted in zip(episodes, scores, stems):
            there, stem = truth[episode.category], predicted[position]
            mask = load_mask(view, predictions, episode, stem, (there.shape[0], there.shape[1]))
            visible = bool(there.any())
            score.add(
                *protocol.measure(mask, there), visible=visible, absent_correct=None if visible else not mask.any()
            )
            if not view.benchmark.vos:
                continue
            if taken is not None and (taken & mask).any():
                raise PredictionError(
                    "mask overlaps another object's", where=predictions.path(episode.id, stem), expected=_ONE_OBJECT
                )
            taken = mask if taken is None else taken | mask
    out: Scored = []
    for episode, score in zip(episodes, scores):
        record = {
            "id": episode.id,
            "video": episode.video,
            "source": view.benchmark.videos[episode.video].source,
            **episode.about,
            "frames": len(score),
            "visible_frames": len(score) - score.absent_frames,
            **protocol.marks(episode.video, episode.category_name, episode.asked),
            **protocol.episode(score.frames()),
        }
        out.append((record, score.columns()))
    return out


def _score_image(view: View, predictions: Predictions, episode: Episode) -> Record:
    truth, ignore = view.query_truth(episode)
    stem = frame_stems(view, predictions, episode)[0]
    mask = load_mask(view, predictions, episode, stem, (truth.shape[0], truth.shape[1]))
    counts = dict(zip(("inter_fg", "union_fg", "inter_bg", "union_bg"), fss_counts(mask, truth, ignore=ignore)))
    return {
        "id": episode.id,
        "fold": episode.fold,
        "category": episode.category,
        "query": episode.video,
        "supports": list(episode.supports),
        **counts,
    }
