"""One group of episodes on one video: run the model, check what it yields, score it frame by frame."""

from __future__ import annotations

import hashlib
import random
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icvos.benchmark import Benchmark, Episode
from icvos.errors import InputError, ModelError, UsageError
from icvos.evaluation.frames import GroundTruth, StreamedVideo
from icvos.evaluation.protocols import Protocol, nearest_resize, resize_image
from icvos.files import write_mask
from icvos.metrics import VideoScore, fss_counts, jf
from icvos.models.check import mask_problem
from icvos.models.interface import ImageModel, VideoModel
from icvos.types import Prediction, Support

__all__ = ["EpisodeResult", "Job", "episode_seed", "run_image_episode", "run_video_episodes"]

# Frames of a GPU model that are scored together: fewer host round trips, and still a flat memory.
GPU_BATCH = 16


@dataclass(frozen=True)
class Job:
    """How episodes are run.

    Attributes:
        protocol: What is scored, at what size.
        shots: Supports shown.
        seed: Of the run.
        limit_frames: Only so many frames, or None.
        masks: Folder for the predicted masks, or None.
    """

    protocol: Protocol
    shots: int = 1
    seed: int = 0
    limit_frames: int | None = None
    masks: Path | None = None


@dataclass(frozen=True)
class EpisodeResult:
    """A record for ``episodes.jsonl``, and J and F of every frame."""

    record: dict[str, Any]
    frames: dict[str, np.ndarray] | None = None


def episode_seed(seed: int, episode: str) -> int:
    """Return the seed that an episode's model gets, 0..2^31 - 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{episode}".encode()).digest()[:4], "big") >> 1


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - a model may use the global stream
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        sys.modules["torch"].cuda.synchronize()


def _peak_memory(device: str) -> int:
    """Return the peak bytes of this process so far: of its GPU, or its resident set."""
    if device.startswith("cuda"):
        return int(sys.modules["torch"].cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _torch_modes() -> tuple | None:
    torch = sys.modules.get("torch")
    return (
        None
        if torch is None
        else (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled())
    )


class _Scorer:
    """Scores one episode's predictions as they come."""

    def __init__(self, episode: Episode, truth: GroundTruth, job: Job, size: tuple[int, int]) -> None:
        self.episode, self.truth, self.job, self.size = episode, truth, job, size
        self.score = VideoScore()
        self.visible = 0
        self._pending: list[tuple[Any, np.ndarray]] = []
        self.count = 0

    def add(self, item: Any) -> None:
        """Score the next frame's prediction."""
        problem = mask_problem(item, self.size)
        if problem:
            raise ModelError(f"frame {self.count}: {problem}")
        mask = item.mask if isinstance(item, Prediction) else item
        truth = self.truth[self.count]
        if self.job.masks is not None:
            array = mask.detach().cpu().numpy() if hasattr(mask, "detach") else mask
            write_mask(self.job.masks / f"{self.episode.id}.partial" / f"{self.count:05d}.png", array)
        self.count += 1
        if hasattr(mask, "detach"):
            mask = mask.detach()
            if mask.device.type != "cpu":
                self._pending.append((mask != 0, truth))
                if len(self._pending) == GPU_BATCH:
                    self.flush()
                return
            mask = mask.numpy()
        self._keep(mask.astype(bool, copy=False), truth)

    def _keep(self, mask: np.ndarray, truth: np.ndarray) -> None:
        self._note(*jf(mask, truth), bool(truth.any()), not mask.any())

    def _note(self, j: float, f: float, visible: bool, empty: bool) -> None:
        self.visible += visible
        self.score.add(j, f, visible=visible, absent_correct=None if visible else empty)

    def flush(self) -> None:
        """Score the frames that wait on the GPU: one host round trip for all of them."""
        if not self._pending:
            return
        import torch

        masks = torch.stack([mask for mask, _ in self._pending])
        truths = torch.from_numpy(np.stack([truth for _, truth in self._pending])).to(masks.device)
        j, f = jf(masks, truths)
        rows = torch.stack([j, f, truths.flatten(1).any(1).double(), (~masks.flatten(1).any(1)).double()], 1).tolist()
        self._pending.clear()
        for row in rows:
            self._note(row[0], row[1], bool(row[2]), bool(row[3]))

    def finish(self) -> None:
        """Score what waits, and put the masks in their place."""
        self.flush()
        self.truth.close()
        if self.job.masks is not None:
            import shutil

            place = self.job.masks / self.episode.id
            shutil.rmtree(place, ignore_errors=True)
            (self.job.masks / f"{self.episode.id}.partial").rename(place)


def _supports(benchmark: Benchmark, episode: Episode, job: Job, cache: dict[tuple[int, str], Support]) -> list[Support]:
    out = []
    for name in episode.supports[: job.shots]:
        key = (episode.category, name)
        if key not in cache:
            found = benchmark.support(*key)
            if job.protocol.size is not None:
                found = _resized(found, job.protocol.size)
            cache[key] = found
        out.append(cache[key])
    return out


def _resized(support: Support, size: tuple[int, int]) -> Support:
    ignore = None if support.ignore is None else nearest_resize(support.ignore, size)
    return Support(resize_image(support.image, size), nearest_resize(support.mask, size), ignore)


def _stream(
    model: VideoModel, sets: list[list[Support]], video: StreamedVideo, seeds: list[int]
) -> Iterator[Sequence[Any]]:
    if len(sets) > 1:
        yield from model.segment_many(sets, video, seeds=seeds)
    else:
        for item in model.segment(sets[0], video, seed=seeds[0]):
            yield (item,)


def run_video_episodes(
    model: VideoModel, benchmark: Benchmark, episodes: Sequence[Episode], job: Job, pool: ThreadPoolExecutor
) -> Iterator[EpisodeResult]:
    """Run episodes of one video and yield a result for each.

    A model that overrides ``segment_many`` gets all at once; if that fails, each is run by itself, so that only what is
    broken fails. An episode that fails has a record with its error, J = 0 and F = 0.
    """
    together = type(model).segment_many is not VideoModel.segment_many and len(episodes) > 1
    if together:
        try:
            yield from _run(model, benchmark, episodes, job, pool)
            return
        except (InputError, UsageError):
            raise
        except Exception as error:
            _forget(error)
    for episode in episodes:
        try:
            yield from _run(model, benchmark, [episode], job, pool)
        except (InputError, UsageError):
            # The benchmark is broken, or the model refuses what was asked: its one line goes to the user.
            raise
        except Exception as error:
            yield EpisodeResult(failure(episode, error))
            _forget(error)


def _forget(error: BaseException) -> None:
    """Let go of what an exception holds (frames' locals), and of cached GPU memory after it ran out."""
    error.__traceback__ = None
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def failure(episode: Episode, error: BaseException | str) -> dict[str, Any]:
    """Return the record of an episode that failed."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {' '.join(str(error).split())}"
    record: dict[str, Any] = {
        "id": episode.id, "video": episode.video, "category": episode.category,
        "category_name": episode.category_name, "draw": episode.draw, "J": 0.0, "F": 0.0, "error": text[:2000],
    }  # fmt: skip
    if isinstance(error, BaseException):
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        record["traceback"] = "".join(lines)[-4000:]
    return record


def _run(
    model: VideoModel, benchmark: Benchmark, episodes: Sequence[Episode], job: Job, pool: ThreadPoolExecutor
) -> Iterator[EpisodeResult]:
    name = episodes[0].video
    video = StreamedVideo(benchmark, name, job.protocol, pool, job.limit_frames)
    cache: dict[tuple[int, str], Support] = {}
    begin = time.perf_counter()
    sets = [_supports(benchmark, episode, job, cache) for episode in episodes]
    support_seconds = time.perf_counter() - begin
    seeds = [episode_seed(job.seed, episode.id) for episode in episodes]
    scorers = [
        _Scorer(e, GroundTruth(benchmark, name, e.category, job.protocol, pool, len(video)), job, video.size)
        for e in episodes
    ]
    _seed_all(seeds[0])
    modes = _torch_modes()
    try:
        seconds = _drive(_stream(model, sets, video, seeds), scorers, video, model.device, modes)
        for scorer in scorers:
            scorer.finish()
    finally:
        video.close()
        for scorer in scorers:
            scorer.truth.close()
    source = benchmark.videos[name].source
    for scorer in scorers:
        # Time is shared out: what one pass over the video costs each of its episodes.
        share = seconds / len(scorers)
        j, f = scorer.score.values()
        record = {
            "id": scorer.episode.id, "video": name, "source": source, "category": scorer.episode.category,
            "category_name": scorer.episode.category_name, "draw": scorer.episode.draw, "frames": len(video),
            "visible_frames": scorer.visible, **scorer.score.summary(), "seconds": share,
            "support_seconds": support_seconds / len(scorers), "fps": len(video) / share if share > 0 else None,
            "peak_memory": _peak_memory(model.device),
        }  # fmt: skip
        yield EpisodeResult(record, {"J": j, "F": f})


def _drive(
    stream: Iterator[Sequence[Any]], scorers: list[_Scorer], video: StreamedVideo, device: str, modes: tuple | None
) -> float:
    """Take every item from the model and score it; returns the model's own seconds, decoding not counted."""
    seconds = 0.0
    count = 0
    while True:
        begin, waited = time.perf_counter(), video.waited
        items = next(stream, None)
        _synchronise(device)
        seconds += time.perf_counter() - begin - (video.waited - waited)
        if items is None:
            break
        if count == len(video):
            raise ModelError(f"it yields more masks than the video's {len(video)} frames")
        if len(items) != len(scorers):
            raise ModelError(f"segment_many yields {len(items)} masks for {len(scorers)} episodes")
        if modes is not None and _torch_modes() != modes:
            raise ModelError(
                "grad mode, inference mode or autocast leaks out of the generator", fix="icvos models check"
            )
        for scorer, item in zip(scorers, items):
            scorer.add(item)
        count += 1
    if count < len(video):
        raise ModelError(f"it yields {count} masks for {len(video)} frames")
    return seconds


def run_image_episode(model: ImageModel, benchmark: Benchmark, episode: Episode, job: Job) -> EpisodeResult:
    """Run one few-shot image episode; a failure becomes a record with its error."""
    record: dict[str, Any] = {
        "id": episode.id, "fold": episode.fold, "category": episode.category, "query": episode.video,
        "supports": list(episode.supports[: job.shots]),
    }  # fmt: skip
    image, truth, ignore = benchmark.query(episode)
    if job.protocol.size is not None:
        image = resize_image(image, job.protocol.size)
        truth, ignore = nearest_resize(truth, job.protocol.size), nearest_resize(ignore, job.protocol.size)
    try:
        supports = _supports(benchmark, episode, job, {})
        seed = episode_seed(job.seed, episode.id)
        _seed_all(seed)
        begin = time.perf_counter()
        fitted = model.fit(supports, seed=seed)
        _synchronise(model.device)
        support_seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        item = model.predict(fitted, image)
        _synchronise(model.device)
        seconds = time.perf_counter() - begin
        problem = mask_problem(item, (image.shape[0], image.shape[1]))
        if problem:
            raise ModelError(problem)
    except (InputError, UsageError):
        raise
    except Exception as error:
        done = EpisodeResult({**record, **_image_failure(error), "truth": int(np.count_nonzero(truth & ~ignore))})
        _forget(error)
        return done
    mask = item.mask if isinstance(item, Prediction) else item
    mask = mask.detach().cpu().numpy() if hasattr(mask, "detach") else mask
    mask = mask.astype(bool, copy=False)
    if job.masks is not None:
        write_mask(job.masks / episode.id / "00000.png", mask)
    counts = fss_counts(mask, truth, ignore=ignore)
    named = dict(zip(("inter_fg", "union_fg", "inter_bg", "union_bg"), counts))
    return EpisodeResult({**record, **named, "seconds": seconds, "support_seconds": support_seconds})


def _image_failure(error: BaseException) -> dict[str, Any]:
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return {
        "error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:2000],
        "traceback": "".join(lines)[-4000:],
    }
