"""What a run covers: its options and episodes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from icvos.benchmark import Benchmark, Episode
from icvos.errors import UsageError, did_you_mean, in_words
from icvos.names import require_name
from icvos.protocols import PROTOCOLS, Protocol, check_division, check_oracle, get_protocol
from icvos.runs.result import image_result, video_result
from icvos.runs.shards import MAX_SHARDS, divide

__all__ = ["ENGINES", "RunOptions", "ScoreSoFar", "benchmark_result", "get_run_protocol", "select_episodes", "speed"]

ENGINES = ("local", "ray")
"""What runs the episodes: this machine's processes, or a Ray cluster's."""


class ScoreSoFar:
    """The mean score of the episodes that have ended, failed ones as 0: what is shown while a run goes on.

    Args:
        protocol: Of the run.
    """

    def __init__(self, protocol: Protocol = PROTOCOLS["native"]) -> None:
        self._protocol = protocol
        self._sum, self._count = 0.0, 0
        self._name = ""
        self._failed = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Take an episode's record."""
        union = record.get("union_fg")
        self._name = "mean IoU" if union else self._protocol.score_of_episode
        self._sum += 100 * record["inter_fg"] / union if union else self._protocol.score_of(record) or 0.0
        self._count += 1
        self._failed += bool(record.get("error"))

    @property
    def text(self) -> str:
        """As it is shown: ``J&F so far 48.2``; empty before the first."""
        if not self._count:
            return ""
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._name} so far {self._sum / self._count:.1f}{failed}"


@dataclass(frozen=True)
class RunOptions:
    """What ``icvos evaluate`` takes beside the model and the benchmark.

    Attributes:
        protocol: Its name, or "" for the benchmark's default (``native``, ``fss-native``, or what it says of itself).
        unseen: Videos and categories that are unseen, for a protocol that tells them apart.
        shots: Supports shown of each episode.
        seed: Of what the models draw.
        shard: (i, N): only the i-th (1..N) of N shares of the videos, balanced by frames; None for all.
        workers: Processes; 1 is this one, unless there is a timeout.
        timeout: Seconds an episode may take, or None.
        save_masks: Keep the predicted masks.
        limit_episodes, limit_frames: For quick turns; such a run is never ranked.
        episodes: Ids of the episodes to run, or None for all; such a run is never ranked.
        oracle: ``first-frame`` tells the model frame 0's ground truth in place of supports (never ranked), or None.
        name: What the run is called, beside its model.
        engine: ``local`` runs them on this machine, ``ray`` on a Ray cluster, where that has as many workers as it has
            room for.
        address: Of the Ray cluster, HOST:PORT or ``auto``.
        cpus_per_worker, gpus_per_worker: What a worker takes of the cluster; GPUs may be shared (0.5), and None is one
            where the run is on GPUs.
        stage: Ship the benchmark to the cluster's nodes.
    """

    protocol: str = ""
    unseen: tuple[str, ...] = ()
    shots: int = 1
    seed: int = 0
    shard: tuple[int, int] | None = None
    workers: int = 1
    timeout: float | None = None
    save_masks: bool = False
    limit_episodes: int | None = None
    limit_frames: int | None = None
    episodes: tuple[str, ...] | None = None
    oracle: str | None = None
    name: str | None = None
    engine: str = "local"
    address: str = "auto"
    cpus_per_worker: int = 1
    gpus_per_worker: float | None = None
    stage: bool = False

    def __post_init__(self) -> None:
        for name in ("shots", "workers", "cpus_per_worker"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", expected="at least 1")
        for name in ("timeout", "limit_episodes", "limit_frames"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"{name} is {value}", expected="more than 0")
        if self.engine not in ENGINES:
            raise UsageError(f"no engine {in_words(self.engine)}", fix=did_you_mean(self.engine, ENGINES))
        ray = (self.address, self.cpus_per_worker, self.gpus_per_worker, self.stage)
        if self.engine != "ray" and ray != ("auto", 1, None, False):
            raise UsageError("address, CPUs and GPUs per worker and stage are of a Ray cluster", fix="add --engine ray")
        if self.engine == "ray" and self.workers > 1:
            raise UsageError(
                "a Ray cluster has as many workers as it has room for",
                fix="leave --workers out; --cpus-per-worker says what one takes",
            )
        if self.gpus_per_worker is not None and not 0 <= self.gpus_per_worker < math.inf:
            raise UsageError(f"gpus_per_worker is {self.gpus_per_worker}", expected="0 or more")
        if self.name is not None:
            require_name("run", self.name)
        check_oracle(self.oracle, self.shots)
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1] <= MAX_SHARDS:
            raise UsageError(
                f"shard {self.shard[0]}/{self.shard[1]}", expected=f"i/N with i from 1 to N, N at most {MAX_SHARDS:,}"
            )
        if self.episodes is not None and (self.shard is not None or not self.episodes):
            raise UsageError("chosen episodes go without a shard, and at least one is chosen")

    @property
    def local(self) -> RunOptions:
        """The same run on this machine."""
        return replace(self, engine="local", address="auto", cpus_per_worker=1, gpus_per_worker=None, stage=False)


def select_episodes(benchmark: Benchmark, protocol: Protocol, options: RunOptions) -> list[Episode]:
    """Return the episodes of a run, in the benchmark's order: of its protocol, limited, its shard.

    A shard takes whole videos, so that each video's frames are encoded by one of them. A shard may be empty.

    Raises:
        UsageError: The benchmark has no episodes of the protocol, or not one that is asked for, or no frame of a video
            is scored.
    """
    episodes = [e for e in benchmark.episodes if benchmark.kind == "video" or e.protocol == protocol.name]
    if not episodes:
        raise UsageError(f"the benchmark has no episodes of protocol '{protocol.name}'", where=benchmark.root)
    check_division(protocol, ((episode.video, episode.category_name) for episode in episodes))
    if options.episodes is not None:
        known = {episode.id for episode in episodes}
        for name in options.episodes:
            if name not in known:
                raise UsageError(f"no episode '{name}'", where=benchmark.root, fix=did_you_mean(name, known))
        episodes = [episode for episode in episodes if episode.id in options.episodes]
    if protocol.skip_ends:
        limit = options.limit_frames or protocol.max_frames
        for name in dict.fromkeys(episode.video for episode in episodes):
            frames = benchmark.videos[name].frames
            if not protocol.frames(min(frames, limit or frames)):
                raise UsageError(
                    f"protocol '{protocol.name}' drops the first and the last frame, and leaves none of {name}",
                    expected="three frames or more",
                )
    if options.limit_episodes is not None:
        episodes = episodes[: options.limit_episodes]
    if options.shard is not None:
        index, count = options.shard
        share = divide(_frames(benchmark, episodes, options.limit_frames or protocol.max_frames), count)[index - 1]
        episodes = [e for e in episodes if e.video in share]
    return episodes


def _frames(benchmark: Benchmark, episodes: Sequence[Episode], limit: int | None) -> dict[str, int]:
    """Return how many frames are predicted of each video, by the manifest: an episode's once for each episode."""
    frames: dict[str, int] = {}
    for episode in episodes:
        own = benchmark.videos[episode.video].frames if benchmark.kind == "video" else 1
        frames[episode.video] = frames.get(episode.video, 0) + min(own, limit or own)
    return frames


def benchmark_result(
    run: Mapping[str, Any],
    benchmark: Benchmark,
    protocol: Protocol,
    episodes: Sequence[Episode],
    records: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return ``result.json`` of a run on a built benchmark, video or image."""
    if benchmark.kind == "video":
        sources = {name: video.source for name, video in benchmark.videos.items()}
        return video_result(run, protocol, episodes, records, sources)
    folds: dict[int, set[int]] = {}
    for episode in benchmark.episodes:
        if episode.fold is not None:
            folds.setdefault(episode.fold, set()).add(episode.category)
    header_folds = benchmark.header.get("folds")
    if isinstance(header_folds, dict):
        folds = {int(fold): set(numbers) for fold, numbers in header_folds.items()}
    return image_result(run, protocol, episodes, records, {fold: sorted(numbers) for fold, numbers in folds.items()})


def get_run_protocol(benchmark: Benchmark, name: str, *, unseen: Iterable[str] = ()) -> Protocol:
    """Return the protocol of a name, or the benchmark's default if it is empty.

    Args:
        benchmark: Opened.
        name: The protocol's.
        unseen: Videos and categories that are unseen, of a protocol that tells them apart.

    Raises:
        UsageError: It is unknown, or does not fit the benchmark.
    """
    if not benchmark.vos:
        protocol = get_protocol(name or benchmark.usual_protocol, benchmark.kind, unseen=unseen)
        if protocol.asks and not all(episode.asked for episode in benchmark.episodes):
            raise UsageError(
                f"protocol '{protocol.name}' does not fit this benchmark",
                expected="one whose episodes.csv says what was asked (icvos build-data saco-ic)",
            )
        return protocol
    protocol = get_protocol(name or benchmark.usual_protocol, unseen=unseen)
    if not protocol.of_label_maps:
        fits = ", ".join(p.name for p in PROTOCOLS.values() if p.of_label_maps)
        raise UsageError(f"protocol '{protocol.name}' does not fit this benchmark", expected=fits)
    return protocol


def speed(records: Mapping[str, Mapping[str, Any]], ids: Sequence[str]) -> dict[str, Any]:
    """Return speed and peak memory over the good records, for ``run.json``.

    ``fps`` is of episodes that ran by themselves, the first of each video, as a method may keep what it knows of the
    frames for the others; ``fps_amortised`` of those that shared a pass with others of their video. Of image episodes
    it is that of ``predict``.
    """
    alone: dict[Any, tuple[int, float]] = {}
    shared: list[tuple[int, float]] = []
    queries: list[float] = []
    total, peak = 0.0, None
    for name in ids:
        record = records.get(name)
        if record is None or record.get("error"):
            continue
        seconds = record.get("seconds") or 0.0
        total += seconds
        if "query" in record and seconds:
            queries.append(seconds)
        frames = record.get("frames")
        if record.get("fps"):
            alone.setdefault(record.get("video"), (frames or 0, record["fps"]))
        if frames and record.get("fps_amortised"):
            shared.append((frames, record["fps_amortised"]))
        peak = max(filter(None, (peak, record.get("peak_memory"))), default=None)
    return {
        "fps": _rate(list(alone.values())) or (len(queries) / sum(queries) if queries else None),
        "fps_amortised": _rate(shared),
        "seconds": total,
        "peak_memory": peak,
    }


def _rate(timed: Sequence[tuple[int, float]]) -> float | None:
    """Return frames a second of all together, from frames and frames a second of each."""
    seconds = sum(frames / rate for frames, rate in timed)
    return sum(frames for frames, _ in timed) / seconds if seconds else None
