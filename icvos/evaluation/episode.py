"""One group of episodes on one video, or one image episode: run the model, check what it yields, score it."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from icvos.benchmark import Benchmark, Episode
from icvos.errors import InputError, ModelError, UsageError, printable
from icvos.evaluation.frame_scorer import FrameScorer
from icvos.evaluation.frames import Ahead, StreamedVideo
from icvos.evaluation.oracle import oracle_supports
from icvos.evaluation.stream import Clock, Failed, model_at_work, predictions
from icvos.evaluation.torch_state import (
    episode_seed,
    forget,
    peak_memory,
    reset_peak,
    restore_modes,
    synchronise,
    torch_modes,
)
from icvos.masks import write_mask
from icvos.metrics import fss_counts
from icvos.models.interface import ImageModel, VideoModel
from icvos.models.objects import overlap
from icvos.models.seeds import seed_all
from icvos.plugins import ends_command, plugin_at_work, said
from icvos.protocols import PROTOCOLS, Protocol
from icvos.runs.episodes import RunOptions
from icvos.runs.times import Stopwatch
from icvos.types import Prediction, Support
from icvos.view import View

__all__ = [
    "ALONE",
    "EpisodeResult",
    "Job",
    "episode_seed",
    "failure",
    "image_failure",
    "run_image_episode",
    "run_video_episodes",
    "runs_together",
]

T = TypeVar("T")

_NO_OVERLAP = "segment_objects gives each pixel to one object"

# Where a line of a traceback is not the model's: icvos, and the standard library.
_NOT_ITS_OWN = {Path(__file__).parents[1], Path(traceback.__file__).parent}

ALONE = ("fps", "first_mask_seconds", "frame_seconds_p50", "frame_seconds_p95")
"""What an episode's record says of its speed only where it ran by itself, not in one pass with others of its video."""


@dataclass(frozen=True)
class Job:
    """How episodes are run.

    Attributes:
        protocol: What is scored, at what size.
        options: Of the run.
        masks: Folder for the predicted masks, or None.
        oracle_as: How the model is told what the oracle says: as its ``support``, or as the ``prompt`` of its tracker;
            None without an oracle.
        log: A file for what a method in an interpreter of its own prints, or None.
    """

    protocol: Protocol
    options: RunOptions
    masks: Path | None = None
    oracle_as: str | None = None
    log: Path | None = None

    def view(self, benchmark: Benchmark) -> View:
        """Return the benchmark as these episodes see it."""
        return View(benchmark, self.protocol, limit_frames=self.options.limit_frames)


@dataclass(frozen=True)
class EpisodeResult:
    """A record for ``episodes.jsonl``, and what is measured of every frame: J and F.

    Attributes:
        timing: Whether the episode was run once more, by itself, for its speed: only that is news.
    """

    record: dict[str, Any]
    frames: dict[str, np.ndarray] | None = None
    timing: bool = False


def runs_together(model: VideoModel) -> bool:
    """Whether the model takes several episodes of a video in one pass."""
    return type(model).segment_many is not VideoModel.segment_many


def run_video_episodes(
    model: VideoModel,
    benchmark: Benchmark,
    episodes: Sequence[Episode],
    job: Job,
    pool: ThreadPoolExecutor,
    wanted: frozenset[str] | None = None,
    *,
    timing: bool = False,
    advance: Callable[[int], None] = lambda frames: None,
    watch: Stopwatch | None = None,
) -> Iterator[EpisodeResult]:
    """Run episodes of one video and yield a result for each.

    A model that overrides ``segment_many`` gets all at once; if that fails, each is run by itself, so that only what is
    broken fails. The objects of a video of semi-supervised VOS are one pass, and fail together. An episode that fails
    has a record with its error, J = 0 and F = 0.

    Args:
        wanted: Ids whose results are missing; None for all. A model that takes all at once still gets all, so that a
            resumed run computes exactly what an uninterrupted one does.
        timing: Run them for their speed alone: no masks are kept.
        advance: Is told after each frame of a pass how many it has done by then, for all that are wanted of it.
        watch: Divides the time.
    """
    watch = watch or Stopwatch()
    if timing:
        # Whatever goes wrong is none of the run's, which is done.
        with contextlib.suppress(InputError, UsageError):
            for result in run_video_episodes(
                model, benchmark, episodes, replace(job, masks=None), pool, wanted, advance=advance, watch=watch
            ):
                yield replace(result, timing=True)
        return
    todo = [episode for episode in episodes if wanted is None or episode.id in wanted]
    together = runs_together(model) and job.oracle_as != "prompt" and len(episodes) > 1
    if (together or benchmark.vos) and todo:
        try:
            advance_all = _for_each(len(todo), advance)
            yield from _run(model, benchmark, episodes, job, pool, advance_all, {episode.id for episode in todo}, watch)
            return
        except Failed as failed:
            for episode in todo if benchmark.vos else ():
                yield EpisodeResult(failure(episode, failed.error, job.protocol))
            forget(failed.error)
            if benchmark.vos:
                return
    for alike in _alike(todo, job):
        try:
            ids = {episode.id for episode in alike}
            yield from _run(model, benchmark, alike, job, pool, _for_each(len(alike), advance), ids, watch)
        except Failed as failed:
            for episode in alike:
                yield EpisodeResult(failure(episode, failed.error, job.protocol))
            forget(failed.error)


def _for_each(episodes: int, advance: Callable[[int], None]) -> Callable[[int], None]:
    """Return what is told the frames of one pass, and tells those of all episodes that it is for."""
    return lambda frames: advance(frames * episodes)


def _alike(episodes: Sequence[Episode], job: Job) -> list[list[Episode]]:
    """Return the episodes of a video, each by itself; with an oracle the draws of a category are one and the same."""
    groups: dict[str | int, list[Episode]] = {}
    for episode in episodes:
        groups.setdefault(episode.id if job.options.oracle is None else episode.category, []).append(episode)
    return list(groups.values())


def _text(error: BaseException | str) -> dict[str, str]:
    if isinstance(error, str):
        return {"error": error[:2000]}
    try:
        with plugin_at_work():
            lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except BaseException as problem:
        if ends_command(problem):
            raise
        lines = "".join(traceback.format_tb(error.__traceback__))
    return {"error": said(error, 1800) + _line_of(error), "traceback": printable(lines[-4000:], "\n\t")}


def _line_of(error: BaseException) -> str:
    """Return `` (FILE:LINE)`` of the last line of the model's own that an error came through, or nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and _NOT_ITS_OWN.isdisjoint(Path(f.filename).parents)]
    return printable(f" ({Path(own[-1].filename).name[:100]}:{own[-1].lineno})") if own else ""


def failure(episode: Episode, error: BaseException | str, protocol: Protocol = PROTOCOLS["native"]) -> dict[str, Any]:
    """Return the record of a video episode that failed."""
    return {
        "id": episode.id,
        "video": episode.video,
        **episode.about,
        **protocol.marks(episode.video, episode.category_name, episode.asked),
        **dict.fromkeys(protocol.parts, 0.0),
        **_text(error),
    }


class _Pass:
    """One pass of a model over a video, for one episode or several at once.

    Attributes:
        sets, seeds: What the model is given: sets of supports, and the seed of each.
        vos: Whether the sets are objects of one video.
        follows: For each episode the set whose masks are its own; None for a prediction that is empty throughout.
        clock: What it takes.
    """

    def __init__(
        self,
        model: VideoModel,
        benchmark: Benchmark,
        episodes: Sequence[Episode],
        job: Job,
        pool: ThreadPoolExecutor,
        wanted: Set[str],
        watch: Stopwatch,
    ) -> None:
        name = episodes[0].video
        self.watch = watch
        self.model, self.episodes, self.job, self.vos = model, episodes, job, benchmark.vos
        view = job.view(benchmark)
        self.video = StreamedVideo(view.video(name), pool, watch)
        # The ground truth is decoded once for all draws of a category.
        self.truths: dict[int, Ahead[np.ndarray]] = {
            category: Ahead(view.truth(name, category).__getitem__, len(self.video), pool)
            for category in sorted({episode.category for episode in episodes})
        }
        self.clock = Clock(self.video, model.device)
        self.follows: list[int | None]
        with watch.part("decoding"):
            if job.options.oracle is None:
                self.sets = [view.supports(episode, job.options.shots) for episode in episodes]
                self.seeds = [episode_seed(job.options.seed, episode.id) for episode in episodes]
                self.follows = list(range(len(episodes)))
            else:
                seed = job.options.seed
                self.sets, self.seeds, self.follows = oracle_supports(self.video, self.truths, episodes, seed)
        self.scorers = [
            FrameScorer(self.video.size, masks, pool, watch, job.protocol.measure)
            for masks in (job.masks / each.id if job.masks and each.id in wanted else None for each in episodes)
        ]

    def _begin(self) -> Iterator[Sequence[Any]]:
        if not self.sets:
            return (() for _ in range(len(self.video)))
        seed_all(self.seeds[0])
        if self.vos:
            masks = [support.mask for (support,) in self.sets]
            return iter(self.model.segment_objects(masks, self.video, seed=self.seeds[0]))
        if self.job.oracle_as == "prompt":
            (support,) = self.sets[0]
            tracked = self.model.segment_from_mask(support.mask, self.video, seed=self.seeds[0])
            return ((item,) for item in tracked)
        if len(self.sets) > 1:
            return iter(self.model.segment_many(self.sets, self.video, seeds=self.seeds))
        return ((item,) for item in self.model.segment(self.sets[0], self.video, seed=self.seeds[0]))

    def drive(self, advance: Callable[[int], None]) -> None:
        """Take every mask from the model, and score it; tell how many frames that are."""
        nothing = Prediction(np.zeros(self.video.size, bool))
        scored = self.job.protocol.frames(len(self.video))
        with contextlib.closing(predictions(self._begin, self.clock, sets=len(self.sets))) as stream:
            for number, predicted in enumerate(stream):
                if self.vos and overlap(predicted):
                    raise Failed(ModelError(f"frame {number}: two objects overlap", fix=_NO_OVERLAP))
                with self.watch.part("decoding"):
                    truths = {category: truth.get(number) for category, truth in self.truths.items()}
                with self.watch.part("scoring"):
                    for episode, scorer, index in zip(self.episodes, self.scorers, self.follows):
                        prediction = nothing if index is None else predicted[index]
                        scorer.add(prediction, truths[episode.category], scored=number in scored)
                advance(number + 1)

    def close(self) -> None:
        self.video.close()
        for truth in self.truths.values():
            truth.close()
        for scorer in self.scorers:
            scorer.abandon()


def _run(
    model: VideoModel,
    benchmark: Benchmark,
    episodes: Sequence[Episode],
    job: Job,
    pool: ThreadPoolExecutor,
    advance: Callable[[int], None],
    wanted: Set[str],
    watch: Stopwatch,
) -> Iterator[EpisodeResult]:
    """Run episodes in one pass, and yield the results of those that are wanted."""
    reset_peak(model.device)
    work = _Pass(model, benchmark, episodes, job, pool, wanted, watch)
    try:
        work.drive(advance)
        with watch.part("scoring"):
            for scorer in work.scorers:
                scorer.finish()
    except MemoryError as error:
        raise Failed(error) from None
    finally:
        work.close()
    source = benchmark.videos[episodes[0].video].source
    for episode, scorer, index in zip(episodes, work.scorers, work.follows):
        if episode.id not in wanted:
            continue
        times = work.clock.record(scorer.count, len(work.sets), sum(follow is not None for follow in work.follows))
        if index is None:  # nothing was asked of the model
            times = dict.fromkeys(times)
        absence = {} if job.options.oracle is None else {"absent_on_frame_0": index is None}
        record = {
            "id": episode.id,
            "video": episode.video,
            "source": source,
            **episode.about,
            "frames": len(scorer.score),
            "visible_frames": scorer.visible,
            **job.protocol.marks(episode.video, episode.category_name, episode.asked),
            **job.protocol.episode(scorer.score.frames()),
            **times,
            "peak_memory": peak_memory(model.device),
            **absence,
        }
        yield EpisodeResult(record, scorer.score.columns())


def _image_record(episode: Episode, job: Job) -> dict[str, Any]:
    return {
        "id": episode.id,
        "fold": episode.fold,
        "category": episode.category,
        "query": episode.video,
        "supports": list(episode.supports[: job.options.shots]),
    }


def image_failure(benchmark: Benchmark, episode: Episode, job: Job, error: BaseException | str) -> dict[str, Any]:
    """Return the record of an image episode that failed: nothing intersects, and the unions are all there was."""
    _, truth, ignore = job.view(benchmark).query(episode)
    known = int(np.count_nonzero(~ignore))
    counts = {
        "inter_fg": 0,
        "union_fg": max(int(np.count_nonzero(truth & ~ignore)), 1),
        "inter_bg": 0,
        "union_bg": known,
    }
    return {**_image_record(episode, job), **counts, **_text(error)}


def run_image_episode(
    model: ImageModel, benchmark: Benchmark, episode: Episode, job: Job, watch: Stopwatch | None = None
) -> EpisodeResult:
    """Run one few-shot image episode, and divide its time; a failure becomes a record with its error."""
    watch = watch or Stopwatch()
    view = job.view(benchmark)
    with watch.part("decoding"):
        image, truth, ignore = view.query(episode)
        supports = view.supports(episode, job.options.shots)
    try:
        with watch.part("model"):
            mask, times = _predict(model, supports, image, episode_seed(job.options.seed, episode.id))
    except Failed as failed:
        record = image_failure(benchmark, episode, job, failed.error)
        forget(failed.error)
        return EpisodeResult(record)
    if job.masks is not None:
        with watch.part("writing"):
            write_mask(job.masks / episode.id / "00000.png", mask)
    with watch.part("scoring"):
        counts = fss_counts(mask, truth, ignore=ignore)
    named = dict(zip(("inter_fg", "union_fg", "inter_bg", "union_bg"), counts))
    record = {**_image_record(episode, job), **named, "support_seconds": times[0], "seconds": times[1]}
    return EpisodeResult(record)


def _predict(
    model: ImageModel, supports: list[Support], image: np.ndarray, seed: int
) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the mask, and the seconds of ``fit`` and of ``predict``."""
    modes, had_torch = torch_modes(), "torch" in sys.modules
    try:
        with model_at_work():
            seed_all(seed)
            begin = time.perf_counter()
            fitted = model.fit(supports, seed=seed)
            synchronise(model.device)
            middle = time.perf_counter()
            item = model.predict(fitted, image)
            synchronise(model.device)
            prediction = Prediction.of(item, (image.shape[0], image.shape[1]))
            end = time.perf_counter()
            if not had_torch and "torch" in sys.modules:
                # The model imported torch only now, unseeded: once more, as every later episode will run.
                return _predict(model, supports, image, seed)
            if modes is not None and torch_modes() != modes:
                raise ModelError("grad mode, inference mode or autocast leaks out of it", fix="icvos models check")
            return prediction.to_numpy(), (middle - begin, end - middle)
    finally:
        restore_modes(modes)
