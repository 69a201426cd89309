"""The runner: a model on a benchmark, resumable, sharded, in this process or in workers, into a run folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark, Episode, load_benchmark
from icvos.errors import ModelError, UsageError
from icvos.evaluation.aggregate import image_result, video_result
from icvos.evaluation.environment import describe_benchmark, describe_model, describe_run, now, safe_name
from icvos.evaluation.episode import EpisodeResult, Job, run_image_episode, run_video_episodes
from icvos.evaluation.protocols import Protocol, protocol
from icvos.evaluation.records import RunFolder, read_result
from icvos.evaluation.workers import ModelSpec, lost_episode, run_in_workers
from icvos.models.interface import ImageModel, Model
from icvos.models.registry import as_video_model, create

__all__ = ["RunOptions", "benchmark_result", "evaluate", "open_benchmark", "run_model", "select_episodes", "speed"]

DEMO_NAMES = ("demo", "demo/coco-20i", "demo/pascal-5i")


@dataclass(frozen=True)
class RunOptions:
    """What ``icvos evaluate`` takes beside the model and the benchmark.

    Attributes:
        protocol: Its name, or "" for the benchmark's default (``native``, ``fss-native``).
        shots: Supports shown of each episode.
        seed: Of what the models draw.
        shard: (i, N): only every N-th group of episodes, from the i-th (1..N); None for all.
        workers: Processes; 1 is this one, unless there is a timeout.
        timeout: Seconds an episode may take, or None.
        save_masks: Keep the predicted masks.
        limit_episodes, limit_frames: For quick turns; such a run is never ranked.
    """

    protocol: str = ""
    shots: int = 1
    seed: int = 0
    shard: tuple[int, int] | None = None
    workers: int = 1
    timeout: float | None = None
    save_masks: bool = False
    limit_episodes: int | None = None
    limit_frames: int | None = None

    def __post_init__(self) -> None:
        for name in ("shots", "workers"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", expected="at least 1")
        for name in ("timeout", "limit_episodes", "limit_frames"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"{name} is {value}", expected="more than 0")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise UsageError(f"shard {self.shard[0]}/{self.shard[1]}", expected="i/N with i from 1 to N")


def select_episodes(benchmark: Benchmark, rule: Protocol, options: RunOptions) -> list[Episode]:
    """Return the episodes of a run, in the benchmark's order: of its protocol, limited, its shard.

    A shard takes whole videos, so that each video's frames are encoded by one of them.
    """
    episodes = [e for e in benchmark.episodes if benchmark.kind == "video" or e.protocol == rule.name]
    if not episodes:
        raise UsageError(f"the benchmark has no episodes of protocol '{rule.name}'", where=benchmark.root)
    if options.limit_episodes is not None:
        episodes = episodes[: options.limit_episodes]
    if options.shard is not None:
        index, count = options.shard
        places = {name: place for place, name in enumerate(dict.fromkeys(e.video for e in episodes))}
        episodes = [e for e in episodes if places[e.video] % count == index - 1]
    return episodes


def _groups(episodes: Sequence[Episode], benchmark: Benchmark) -> list[list[Episode]]:
    if benchmark.kind == "image":
        return [[episode] for episode in episodes]
    groups: dict[str, list[Episode]] = {}
    for episode in episodes:
        groups.setdefault(episode.video, []).append(episode)
    return list(groups.values())


def benchmark_result(
    run: Mapping[str, Any], benchmark: Benchmark, rule: Protocol, episodes: Sequence[Episode],
    records: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Return ``result.json`` of a run on a built benchmark, video or image."""
    if benchmark.kind == "video":
        sources = {name: video.source for name, video in benchmark.videos.items()}
        return video_result(run, rule, episodes, records, sources)
    folds: dict[int, set[int]] = {}
    for episode in benchmark.episodes:
        if episode.fold is not None:
            folds.setdefault(episode.fold, set()).add(episode.category)
    given = benchmark.header.get("folds")
    if isinstance(given, dict):
        folds = {int(fold): set(numbers) for fold, numbers in given.items()}
    return image_result(run, rule, episodes, records, {fold: sorted(numbers) for fold, numbers in folds.items()})


def _protocol_of(benchmark: Benchmark, options: RunOptions) -> Protocol:
    default = "native" if benchmark.kind == "video" else "fss-native"
    return protocol(options.protocol or default, benchmark.kind)


def _check_kind(model: Model, benchmark: Benchmark) -> None:
    if benchmark.kind == "image" and not isinstance(model, ImageModel):
        raise UsageError(
            f"'{type(model).info.name}' is a video model, '{benchmark.name}' a few-shot image benchmark",
            fix="choose an image model: icvos models list",
        )


@dataclass
class _Run:
    """All that evaluating needs, worked out once."""

    model: Model
    benchmark: Benchmark
    rule: Protocol
    options: RunOptions
    episodes: list[Episode]
    out: Path
    spec: ModelSpec | None
    describe: dict[str, Any]


def _prepare(
    model: Model,
    benchmark: Benchmark,
    options: RunOptions,
    out: Path | None,
    settings: Mapping[str, Any],
    spec: ModelSpec | None,
) -> _Run:
    _check_kind(model, benchmark)
    rule = _protocol_of(benchmark, options)
    episodes = select_episodes(benchmark, rule, options)
    described = describe_model(model, settings)
    shard = None if options.shard is None else f"{options.shard[0]}/{options.shard[1]}"
    run = describe_run(
        described, describe_benchmark(benchmark), rule, model.device, shots=options.shots, seed=options.seed,
        limit_episodes=options.limit_episodes, limit_frames=options.limit_frames, shard=shard,
    )  # fmt: skip
    run["environment"]["benchmark_folder"] = str(benchmark.root.resolve())
    place = out or Path("runs") / safe_name(benchmark.name) / safe_name(described["name"])
    return _Run(model, benchmark, rule, options, episodes, place, spec, run)


def run_model(
    model: Model,
    benchmark: Benchmark,
    options: RunOptions,
    *,
    out: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    spec: ModelSpec | None = None,
    progress: Callable[[int, int, Mapping[str, Any] | None], None] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Evaluate a built model; continue the folder's run if it is the same.

    Args:
        model: Built; an image model runs frame by frame on videos.
        benchmark: Opened.
        options: How.
        out: The run's folder; ``runs/<benchmark>/<model>`` by default.
        settings: The model's options, for the record.
        spec: How workers build the model; needed for ``workers`` > 1 and ``timeout``.
        progress: Called with (done, all, the last record) as episodes end.

    Returns:
        The run's folder and its result (see DESIGN, "A run").
    """
    plan = _prepare(model, benchmark, options, out, settings or {}, spec)
    with RunFolder.open(plan.out, plan.describe) as folder:
        ids = [episode.id for episode in plan.episodes]
        done = folder.done(ids)
        todo = [episode for episode in plan.episodes if episode.id not in done]
        if progress is not None:
            progress(len(done), len(ids), None)
        status = "interrupted"
        try:
            for number, result in enumerate(_results(plan, todo), len(done) + 1):
                folder.add(result.record, result.frames)
                if progress is not None:
                    progress(number, len(ids), result.record)
            status = "complete"
        finally:
            records = folder.records()
            if status == "complete":
                folder.write_result(benchmark_result(folder.run, benchmark, plan.rule, plan.episodes, records))
                status = "failed" if any(records.get(i, {}).get("error") for i in ids) else "complete"
            with contextlib.suppress(OSError):
                folder.write_run(status=status, end=now(), **speed(records, ids))
    return plan.out, read_result(plan.out)


def speed(records: Mapping[str, Mapping[str, Any]], ids: Sequence[str]) -> dict[str, Any]:
    """Return fps, seconds and peak memory over the good records, for ``run.json``."""
    good = [records[i] for i in ids if i in records and not records[i].get("error")]
    seconds = sum(record.get("seconds") or 0.0 for record in good)
    frames = sum(record.get("frames", 1) for record in good)
    peaks = [record["peak_memory"] for record in good if record.get("peak_memory")]
    return {"fps": frames / seconds if seconds else None, "seconds": seconds, "peak_memory": max(peaks, default=None)}


def _results(plan: _Run, todo: Sequence[Episode]) -> Iterator[EpisodeResult]:
    options = plan.options
    masks = plan.out / "masks" if options.save_masks else None
    job = Job(plan.rule, options.shots, options.seed, options.limit_frames, masks)
    groups = _groups(todo, plan.benchmark)
    image = plan.benchmark.kind == "image"
    if not groups:
        return
    if options.workers > 1 or options.timeout is not None:
        if plan.spec is None:
            raise UsageError("workers and timeouts need a model by name", fix="pass a spec, as 'my_method.py:MyMethod'")
        yield from run_in_workers(
            plan.spec, plan.benchmark.root, job, groups, workers=options.workers, timeout=options.timeout,
            fail=lambda episode, why: lost_episode(episode, why, image=image),
        )  # fmt: skip
        return
    if image:
        if not isinstance(plan.model, ImageModel):
            raise ModelError("a video model on an image benchmark")
        for (episode,) in groups:
            yield run_image_episode(plan.model, plan.benchmark, episode, job)
        return
    video_model = as_video_model(plan.model)
    with ThreadPoolExecutor(3) as pool:
        for group in groups:
            yield from run_video_episodes(video_model, plan.benchmark, group, job, pool)


def open_benchmark(benchmark: Benchmark | str | Path) -> tuple[Benchmark, bool]:
    """Return a benchmark by folder or demo name, and whether it is a demo."""
    if isinstance(benchmark, Benchmark):
        return benchmark, bool(benchmark.header.get("demo"))
    if str(benchmark) in DEMO_NAMES and not Path(benchmark).is_dir():
        from icvos.build.demo import ensure_demo

        return load_benchmark(ensure_demo(str(benchmark))), True
    opened = load_benchmark(benchmark)
    return opened, bool(opened.header.get("demo"))


def evaluate(
    model: Model | type[Model] | str,
    benchmark: Benchmark | str | Path,
    *,
    out: str | Path | None = None,
    protocol: str = "",
    shots: int = 1,
    seed: int = 0,
    device: str = "cpu",
    weights: Mapping[str, str | Path] | None = None,
    options: Mapping[str, Any] | None = None,
    workers: int = 1,
    timeout: float | None = None,
    save_masks: bool = False,
    limit_episodes: int | None = None,
    limit_frames: int | None = None,
) -> dict[str, Any]:
    """Evaluate a model on a benchmark, as ``icvos evaluate`` does.

    Args:
        model: A built model, a class, or a spec (a name, ``package.module:Class``, ``file.py:Class``).
        benchmark: An opened benchmark, its folder, or ``demo``, ``demo/coco-20i``, ``demo/pascal-5i``.
        out: The run's folder, which may hold the same run to be continued; ``runs/<benchmark>/<model>`` by default.
        protocol: ``native``, ``paper``, ``fss-native`` or ``fss-paper``; the benchmark's default if empty.
        shots: Supports shown of each episode.
        seed: Of what the model draws.
        device, weights, options: To build the model, where it is not built yet.
        workers, timeout: Need a spec.
        save_masks, limit_episodes, limit_frames: As on the command line.

    Returns:
        ``result.json``: ``result["summary"]["J&F"]``, ``["per_category"]``, …; percent, unrounded.

    Raises:
        IcvosError: Bad input or usage. An episode that fails raises nothing: ``summary["failed"]`` counts it.
    """
    opened, demo = open_benchmark(benchmark)
    settings = RunOptions(
        protocol, shots, seed, None, workers, timeout, save_masks, limit_episodes, limit_frames
    )  # fmt: skip
    spec = None
    if isinstance(model, str):
        files = {name: str(path) for name, path in (weights or {}).items()}
        spec = ModelSpec(model, device, files, dict(options or {}), demo)
        built = create(model, device=device, weights=weights, options=options, demo=demo)
    elif isinstance(model, type):
        given = weights or (model.demo_weights() if demo else {})
        built = model(device=device, weights={k: Path(v) for k, v in given.items()}, **(options or {}))
    else:
        built = model
    place = None if out is None else Path(out)
    return run_model(built, opened, settings, out=place, settings=options, spec=spec)[1]
