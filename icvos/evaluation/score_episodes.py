"""Scoring masks made anywhere: against a built benchmark, or against folders of label maps."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icvos.benchmark import Benchmark, Episode, load_benchmark
from icvos.errors import ModelError, PredictionError
from icvos.evaluation.integrity import verify_masks, verify_query
from icvos.evaluation.predictions import Predictions, open_predictions
from icvos.files import listing, read_mask
from icvos.metrics import VideoScore, fss_counts, jf, jf_labels
from icvos.png import stored_size
from icvos.protocols import Protocol, nearest_resize

__all__ = ["Sequences", "check_benchmark_masks", "check_sequences", "score_all", "score_episodes", "score_sequences"]

Record = dict[str, Any]
Scored = list[tuple[Record, dict[str, np.ndarray] | None]]


# --------------------------------------------------------------------------------------------------- label maps


@dataclass(frozen=True)
class Sequences:
    """Ground truth as folders of label PNGs: ``<root>/<sequence>/<frame>.png``; DAVIS' own root is seen through.

    Attributes:
        root: The folder of sequences.
        names: Sequences, sorted.
    """

    root: Path
    names: tuple[str, ...]

    @classmethod
    def open(cls, root: Path) -> Sequences:
        """Open a folder.

        Raises:
            PredictionError: Missing or empty.
        """
        root = Path(root)
        if not root.is_dir():
            raise PredictionError("ground truth not found", where=root, expected="a folder of SEQUENCE/FRAME.png")
        for inner in ("Annotations/480p", "Annotations/Full-Resolution", "Annotations"):
            if (root / inner).is_dir():
                root = root / inner
                break
        names = sorted(e.name for e in root.iterdir() if e.is_dir() and not e.name.startswith("."))
        if not names:
            raise PredictionError("ground truth holds no sequence", where=root, expected="SEQUENCE/FRAME.png")
        return cls(root, tuple(names))

    def frames(self, name: str) -> list[str]:
        """Return a sequence's frame stems, sorted."""
        return [path.stem for path in listing(self.root / name, (".png",))]

    def labels(self, name: str, frame: str) -> np.ndarray:
        """Return (H, W) uint8 object ids; void (255) is background, as the official code has it."""
        labels = read_mask(self.root / name / f"{frame}.png")
        return np.where(labels == 255, np.uint8(0), labels) if labels.max(initial=0) == 255 else labels

    def size(self, name: str, frame: str) -> tuple[int, int] | None:
        """Return (H, W) from a frame's header, or None where it has none (reading it says what is wrong)."""
        return stored_size(self.root / name / f"{frame}.png")

    def objects(self, name: str) -> int:
        """Return the number of objects: the largest id of the first frame."""
        frames = self.frames(name)
        if not frames:
            raise PredictionError("a sequence has no frame", where=self.root / name, expected="FRAME.png")
        return int(self.labels(name, frames[0]).max(initial=0))


def _named(missing: Sequence[str]) -> str:
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return ", ".join(missing[:3]) + more


def check_sequences(truth: Sequences, predictions: Predictions, rule: Protocol) -> list[str]:
    """Compare what is predicted with what is asked before anything is scored; returns the ids of all objects.

    Raises:
        PredictionError: Sequences or frames are missing or unknown, or a mask is seen at once to be none.
    """
    _same_names(truth.names, predictions, "sequence")
    ids = []
    for name in truth.names:
        frames = truth.frames(name)
        given = set(predictions.frames(name))
        scored = [frames[i] for i in rule.frames(len(frames))]
        missing = [frame for frame in scored if frame not in given]
        if missing:
            raise PredictionError(
                f"{len(missing)} of {len(scored)} frames are missing: {_named(missing)}",
                where=f"{predictions.where}/{name}",
            )
        unknown = sorted(given - set(frames))
        if unknown:
            raise PredictionError(
                f"{len(unknown)} frames are not in the ground truth: {_named(unknown)}",
                where=f"{predictions.where}/{name}",
            )
        if not scored:
            raise PredictionError(
                f"protocol '{rule.name}' leaves none of {len(frames)} frames",
                where=truth.root / name,
                expected="three frames or more",
            )
        for frame in scored:
            size, own = predictions.size(name, frame), truth.size(name, frame)
            if size is not None and own is not None and size != own:
                raise _other_size(size, own, predictions.place(name, frame))
        objects = truth.objects(name)
        if objects == 0:
            raise PredictionError("the first frame of the ground truth shows no object", where=truth.root / name)
        ids += [f"{name}__{number}" for number in range(1, objects + 1)]
    return ids


def _same_names(wanted: Sequence[str], predictions: Predictions, what: str) -> None:
    given = predictions.names()
    missing = sorted(set(wanted) - set(given))
    if missing:
        raise PredictionError(
            f"{len(missing)} of {len(wanted)} {what}s are not predicted: {_named(missing)}",
            where=predictions.where,
            expected=f"a folder for each {what}",
        )
    unknown = sorted(set(given) - set(wanted))
    if unknown:
        raise PredictionError(
            f"{len(unknown)} {what}s are unknown: {_named(unknown)}", where=predictions.where, fix="take them out"
        )


def score_sequences(truth: Sequences, predictions: Predictions, rule: Protocol, name: str) -> Scored:
    """Score all objects of one sequence, in one scan of each frame."""
    frames = truth.frames(name)
    objects = list(range(1, truth.objects(name) + 1))
    scores = [VideoScore() for _ in objects]
    for index in rule.frames(len(frames)):
        labels = truth.labels(name, frames[index])
        predicted = predictions.load(name, frames[index])
        place = predictions.place(name, frames[index])
        predicted = _fit(predicted, labels.shape, place)
        if predicted.max(initial=0) == 255:
            predicted = np.where(predicted == 255, np.uint8(0), predicted)
        top = int(predicted.max(initial=0))
        if top > len(objects):
            raise PredictionError(f"mask holds the id {top}", where=place, expected=f"0 to {len(objects)}")
        j, f = jf_labels(predicted, labels, objects)
        for place_of, number in enumerate(objects):
            visible = bool((labels == number).any())
            absent = None if visible else not (predicted == number).any()
            scores[place_of].add(float(j[place_of]), float(f[place_of]), visible=visible, absent_correct=absent)
    out: Scored = []
    for number, score in zip(objects, scores):
        j, f = score.values()
        record = {"id": f"{name}__{number}", "video": name, "object": number, "frames": len(score), **score.summary()}
        out.append((record, {"J": j, "F": f}))
    return out


def _fit(predicted: np.ndarray, shape: tuple[int, ...], place: str) -> np.ndarray:
    if predicted.shape == tuple(shape):
        return predicted
    if predicted.size == 0:
        return np.zeros(shape, np.uint8)
    raise _other_size(predicted.shape, shape, place)


def _other_size(size: Sequence[int], wanted: Sequence[int], place: str) -> PredictionError:
    return PredictionError(f"mask is {size[0]}x{size[1]} (HxW)", where=place, expected=f"{wanted[0]}x{wanted[1]}")


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

_STATE: dict[str, Any] = {}


def _start(parent: int, kind: str, truth: Path, predictions: Path, rule: Protocol) -> None:
    """Begin a worker: it dies with its parent, and opens what it reads once."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    except (OSError, AttributeError):
        pass
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _STATE["predictions"] = open_predictions(predictions)
    _STATE["truth"] = Sequences.open(truth) if kind == "sequence" else load_benchmark(truth)
    _STATE["rule"] = rule


def _one(item: Any) -> Scored:
    truth, predictions, rule = _STATE["truth"], _STATE["predictions"], _STATE["rule"]
    if isinstance(truth, Sequences):
        return score_sequences(truth, predictions, rule, item)
    return score_episodes(truth, predictions, rule, item)


def score_all(
    kind: str, truth: Path, predictions: Path, rule: Protocol, items: Sequence[Any], *, workers: int
) -> Iterator[Scored]:
    """Score sequences or groups of episodes, in this process or in several; results come as they are done."""
    if workers <= 1 or len(items) <= 1:
        _start_here(kind, truth, predictions, rule)
        for item in items:
            yield _one(item)
        return
    context = multiprocessing.get_context("spawn")
    arguments = (os.getpid(), kind, truth, predictions, rule)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=arguments) as pool:
        # Few under way at a time: neither the queue nor the results grow with the data set.
        waiting = list(items)
        running: set[Any] = set()
        try:
            while waiting or running:
                while waiting and len(running) < 2 * workers:
                    running.add(pool.submit(_one, waiting.pop(0)))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise ModelError("a scoring process died", fix="run it again with --workers 1") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_here(kind: str, truth: Path, predictions: Path, rule: Protocol) -> None:
    _STATE["predictions"] = open_predictions(predictions)
    _STATE["truth"] = Sequences.open(truth) if kind == "sequence" else load_benchmark(truth)
    _STATE["rule"] = rule
