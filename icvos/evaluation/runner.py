"""The runner: a model on a benchmark, resumable, sharded, in this process or in workers, into a run folder."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark, Episode
from icvos.demo.benchmarks import open_benchmark
from icvos.errors import RunError, UsageError
from icvos.evaluation.crew import Group, Listener, ModelSpec, Pool
from icvos.evaluation.episode import (
    ALONE,
    EpisodeResult,
    Job,
    failure,
    image_failure,
    run_image_episode,
    run_video_episodes,
    runs_together,
)
from icvos.evaluation.oracle import oracle_key
from icvos.evaluation.torch_state import kept_outside
from icvos.evaluation.verify import can_verify, verify_run
from icvos.evaluation.workers import run_in_workers, worker_device
from icvos.files import remove_partial_files
from icvos.listing import names_of
from icvos.manifest import verify_tables
from icvos.models.interface import ImageModel, Model
from icvos.models.interpreter import keep_output
from icvos.models.options import option_types, options_of
from icvos.models.registry import as_video_model, build
from icvos.models.remote import environment_of
from icvos.models.specs import placed
from icvos.processes import check_main_guard
from icvos.progress import Progress, Update, shown, silent, verbosity
from icvos.protocols import Protocol
from icvos.runs.environment import default_folder, describe_benchmark, describe_model, describe_run, now
from icvos.runs.episodes import RunOptions, ScoreSoFar, benchmark_result, get_run_protocol, select_episodes, speed
from icvos.runs.records import RunFolder, read_result, read_run
from icvos.runs.result import RunResult
from icvos.runs.shards import DIVISION
from icvos.runs.times import Stopwatch, add_times, run_times
from icvos.terminal import echo
from icvos.view import View

__all__ = [
    "RunPlan",
    "check_workers",
    "done_episodes",
    "evaluate",
    "group_episodes",
    "on_other_gpus",
    "open_run",
    "run_model",
]


# Failures that are said as they come.
MAX_FAILURES = 3
# Episodes of a video that a model with segment_many gets in one pass: two categories' standard draws.
MAX_TOGETHER = 10


def group_episodes(episodes: Sequence[Episode], missing: Sequence[Episode], benchmark: Benchmark) -> list[Group]:
    """Return groups of episodes of one video, with the ids of those whose results are missing; whole ones are left out.

    Groups are cut from all episodes of the run, not from the missing ones: a resumed run computes what another does.
    Objects compete for pixels, so that all of a video are a group, whichever of them the run is of.
    """
    wanted = {episode.id for episode in missing}
    by_video: dict[str, list[Episode]] = {episode.video: [] for episode in episodes}
    for episode in benchmark.episodes if benchmark.vos else episodes:
        by_video.get(episode.video, []).append(episode)
    most = max(map(len, by_video.values()), default=1)
    size = most if benchmark.vos else MAX_TOGETHER if benchmark.kind == "video" else 1
    cut = [some[start : start + size] for some in by_video.values() for start in range(0, len(some), size)]
    groups = [Group(group, frozenset(e.id for e in group if e.id in wanted), whole=benchmark.vos) for group in cut]
    return [group for group in groups if group.wanted]


def _check_kind(model: Model, benchmark: Benchmark) -> None:
    if benchmark.kind == "image" and not isinstance(model, ImageModel):
        raise UsageError(
            f"'{type(model).info.name}' is a video model, '{benchmark.name}' a few-shot image benchmark",
            fix="choose an image model: icvos models list",
        )


@dataclass
class RunPlan:
    """All that evaluating needs, worked out once."""

    model: Model
    benchmark: Benchmark
    protocol: Protocol
    options: RunOptions
    episodes: list[Episode]
    out: Path
    spec: ModelSpec | None
    describe: dict[str, Any]

    @property
    def job(self) -> Job:
        masks = self.out / "masks" if self.options.save_masks else None
        return Job(self.protocol, self.options, masks, self.describe["key"].get("oracle_as"), self.out / "method.log")


def on_other_gpus(options: RunOptions, device: str) -> bool:
    """Whether a run is on the GPUs of other machines: the model that is built on this one is then on its CPU."""
    return options.engine == "ray" and device == "cuda"


def _prepare(
    model: Model,
    benchmark: Benchmark,
    options: RunOptions,
    out: Path | None,
    settings: Mapping[str, Any],
    spec: ModelSpec | None,
) -> RunPlan:
    _check_kind(model, benchmark)
    verify_tables(benchmark)
    if benchmark.vos:
        options = replace(options, oracle="first-frame")
    protocol = get_run_protocol(benchmark, options.protocol, unseen=options.unseen)
    episodes = select_episodes(benchmark, protocol, options)
    if options.oracle is None or benchmark.vos:
        benchmark.check_shots(episodes, options.shots)
    device, environment = model.device, None
    if spec is not None and on_other_gpus(options, spec.device):
        from icvos.evaluation.ray_pool import describe_on_ray

        device = spec.device
        described, environment = describe_on_ray(spec, options, settings, kind=benchmark.kind)
    else:
        described = describe_model(model, settings, kind=benchmark.kind)
    if spec is not None:
        spec = replace(spec, sha256=described["weights"])
    shard = None if options.shard is None else f"{options.shard[0]}/{options.shard[1]}"
    oracle = oracle_key(options.oracle, model, benchmark)
    run = describe_run(
        described,
        describe_benchmark(
            benchmark, select_episodes(benchmark, protocol, RunOptions(protocol.name)), shots=options.shots
        ),
        protocol,
        device,
        shots=options.shots,
        seed=options.seed,
        limit_episodes=options.limit_episodes,
        limit_frames=options.limit_frames,
        shard=shard,
        **({} if shard is None else {"shard_by": DIVISION}),
        **oracle,
    )
    if options.episodes is not None:
        chosen = hashlib.sha256("\n".join(e.id for e in episodes).encode()).hexdigest()
        run["key"] |= {"limit_episodes": len(episodes), "chosen_episodes": chosen[:16]}
    if environment is not None:
        run["environment"] = environment
    own = environment_of(model)
    if own is not None:
        run["environment"]["method"] = own
        run["key"] |= {"asked": own["asked"]} if "asked" in own else {}
    run["environment"]["benchmark_folder"] = str(benchmark.root.resolve())
    if options.name:
        run["name"] = options.name
    defaults = {name: default for name, (_, default) in option_types(type(model)).items()}
    changed = {name: value for name, value in settings.items() if defaults.get(name) != value}
    folder = out or default_folder(run, protocol=get_run_protocol(benchmark, "").name, options=changed)
    return RunPlan(model, benchmark, protocol, options, episodes, folder, spec, run)


def run_model(
    model: Model,
    benchmark: Benchmark,
    options: RunOptions,
    *,
    out: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    spec: ModelSpec | None = None,
    verify: bool | None = None,
    progress: Progress = silent,
    notify: Callable[[str], None] | None = None,
) -> RunResult:
    """Evaluate a built model; continue the folder's run if it is the same.

    Args:
        model: Built; an image model runs frame by frame on videos.
        benchmark: Opened.
        options: How.
        out: The run's folder; ``runs/<benchmark>/<model>`` by default.
        settings: The model's options, for the record.
        spec: How workers build the model; needed for ``workers`` > 1, ``timeout`` and ``verify``.
        verify: Whether a video is repeated at the end in a fresh process (``icvos.evaluation.verify``); None leaves it
            to what the run is and how long that takes.
        progress: Is told how far it is, in frames (image episodes one by one), and the mean score so far.
        notify: Called with a line that the user should see.

    Returns:
        Its result, which knows its folder.
    """
    watch = Stopwatch()
    with watch.part("starting"):
        plan = _prepare(model, benchmark, options, out, settings or {}, spec)
    return _run_plan(plan, watch, verify=verify, progress=progress, notify=notify)


class _Spent:
    """What the run's time has gone to, in the main process and in its workers; for ``run.json``."""

    def __init__(self, watch: Stopwatch, earlier: Any) -> None:
        self.watch = watch
        self.episodes = 0
        self._earlier = earlier
        self._workers: dict[int, dict[str, float]] = {}
        self._begin = time.monotonic()

    def add(self, worker: int, seconds: Mapping[str, float]) -> None:
        """Take note of seconds by part that a worker process has spent."""
        if worker not in self._workers and "starting" in seconds:
            # All that came before it was ready: the connection to a cluster too.
            seconds = {**seconds, "starting": time.monotonic() - self._begin}
        row = self._workers.setdefault(worker, {})
        for name, value in seconds.items():
            row[name] = row.get(name, 0.0) + value

    def times(self) -> dict[str, Any]:
        """Return all of it so far, with what the folder's run had taken before."""
        return add_times(self._earlier, run_times(self.watch.seconds, self._workers), episodes=self.episodes)


def _other_weights(plan: RunPlan) -> Iterator[str]:
    """Yield a line for each file of weights whose hash is not the one that the method declares; those shipped apart."""
    model, shipped = plan.model, set(plan.model.demo_weights().values())
    for name, sha256 in plan.describe["model"]["weights"].items():
        known = model.info.weights[name].sha256 if name in model.info.weights else None
        if known and known.lower() != sha256 and model.weights.get(name) not in shipped:
            hashes = f"{sha256[:16]}…, not {known[:16]}…"
            yield f"weights '{name}' are another file than {model.info.name} declares: {hashes}"


def _run_plan(
    plan: RunPlan,
    watch: Stopwatch,
    *,
    verify: bool | None,
    progress: Progress,
    notify: Callable[[str], None] | None,
) -> RunResult:
    model, benchmark, spec = plan.model, plan.benchmark, plan.spec
    verified = can_verify(spec, plan.job, benchmark.kind, verify)
    there = None if verify else _complete(plan)
    if there is not None:
        return RunResult(there, plan.out)
    with RunFolder.open(plan.out, plan.describe) as folder:
        if notify is not None:
            if folder.moved is not None:
                notify(f"the method, its weights or the benchmark changed: the earlier run is now {folder.moved}")
            for line in _other_weights(plan):
                notify(line)
        ids = [episode.id for episode in plan.episodes]
        done = done_episodes(plan, folder)
        todo = [episode for episode in plan.episodes if episode.id not in done]
        timed = _untimed(plan, todo, folder)
        tally = _Tally(plan, progress, timed)
        spent = _Spent(watch, folder.run.get("times"))
        records = folder.records()
        for name in done:
            tally.add(records[name])
        tally.tell()
        whole = False
        try:
            with contextlib.closing(_results(plan, todo, timed, tally, spent)) as results:
                for result in results:
                    with watch.part("writing"):
                        if result.timing:
                            _add_times(folder, result.record)
                            continue
                        folder.add(result.record, result.frames)
                    spent.episodes += 1
                    tally.add(result.record)
                    tally.tell(result.record)
                    if result.record.get("error") and notify is not None:
                        _say_failure(result.record, tally.failed, plan.out, notify)
            whole = True
            tally.finish()
        except (KeyboardInterrupt, SystemExit) as stop:
            stop.add_note(f"{tally.ended} of {len(ids)} episodes are kept in {plan.out}; the same command goes on")
            raise
        finally:
            _finish(folder, plan, spent, whole)
        if verified and spec is not None:
            with watch.part("verifying"):
                outcome = verify_run(
                    spec,
                    benchmark.root,
                    plan.job,
                    group_episodes(plan.episodes, plan.episodes, benchmark),
                    folder,
                    together=runs_together(as_video_model(model)),
                    asked=verify,
                    notify=notify,
                )
            if outcome is not None:
                folder.write_run(verified=outcome, times=spent.times())
    return RunResult(read_result(plan.out), plan.out)


def done_episodes(plan: RunPlan, folder: RunFolder) -> set[str]:
    """Return the ids of a run's episodes whose results its folder holds, their masks too where those are wanted."""
    done = folder.done([episode.id for episode in plan.episodes])
    if plan.options.save_masks:
        done = {name for name in done if (folder.root / "masks" / name).is_dir()}
    return done


def _complete(plan: RunPlan) -> dict[str, Any] | None:
    """Return the result of a run that is complete already, without touching it (its folder may be read-only)."""
    try:
        run = read_run(plan.out)
        if run["key"] == plan.describe["key"] and run.get("status") == "complete":
            folder = RunFolder(plan.out, run)
            result = benchmark_result(run, plan.benchmark, plan.protocol, plan.episodes, folder.records())
            whole = not plan.options.save_masks or len(done_episodes(plan, folder)) == len(plan.episodes)
            if whole and result["summary"]["failed"] == 0 and result == read_result(plan.out):
                return result
    except (RunError, OSError):
        pass  # not there, or damaged: what is wrong is said, or mended, when it is opened for writing
    return None


def _finish(folder: RunFolder, plan: RunPlan, spent: _Spent, whole: bool) -> None:
    """Write what the run came to; of one that stops half-way only its status, and only if that works."""
    ids = [episode.id for episode in plan.episodes]
    if whole:
        for left in (folder.root / "masks").glob("*.partial"):  # of processes that were killed
            shutil.rmtree(left, ignore_errors=True)
        records = folder.records()
        result = benchmark_result(folder.run, plan.benchmark, plan.protocol, plan.episodes, records)
        folder.write_result(result)
        status = "failed" if result["summary"]["failed"] else "complete"
        folder.write_run(status=status, end=now(), **speed(records, ids), times=spent.times())
        return
    with contextlib.suppress(OSError, RunError):
        remove_partial_files(folder.root / "frames")  # of workers that were ended as they wrote
        times = spent.times()
        folder.write_run(status="interrupted", end=now(), **speed(folder.records(), ids), times=times)


class _Tally:
    """How far a run is: frames of the episodes that have ended, and of those under way.

    Attributes:
        ended, failed: How many episodes have, of this run and before.
    """

    def __init__(self, plan: RunPlan, progress: Progress, timed: Sequence[Group] = ()) -> None:
        view = View(plan.benchmark, plan.protocol, limit_frames=plan.options.limit_frames)
        self._sizes = {episode.id: view.frame_count(episode) for episode in plan.episodes}
        self._what = "frames" if plan.benchmark.kind == "video" else "episodes"
        self._total = sum(self._sizes.values()) + sum(view.frame_count(e) for group in timed for e in group.episodes)
        self._progress, self._score = progress, ScoreSoFar(plan.protocol)
        self.ended = self.failed = 0
        self._frames = self._most = 0
        self._live: dict[int, int] = {}

    def advance(self, worker: int, frames: int) -> None:
        """Take note of how many frames a worker has done of what it is at."""
        self._live[worker] = frames
        self.tell()

    def add(self, record: Mapping[str, Any]) -> None:
        """Take note of an episode that has ended."""
        self.ended += 1
        self.failed += bool(record.get("error"))
        self._frames += self._sizes[record["id"]]
        self._score.add(record)

    def finish(self) -> None:
        """All is done, the timing too."""
        self._frames = self._total
        self.tell()

    def tell(self, record: Mapping[str, Any] | None = None) -> None:
        """Tell how far the run is."""
        # What failed together and is tried again one by one is no way back.
        self._most = min(max(self._most, self._frames + sum(self._live.values())), self._total)
        self._progress(Update(self._what, self._most, self._total, self._score.text, record))


def _say_failure(record: Mapping[str, Any], count: int, folder: Path, notify: Callable[[str], None]) -> None:
    """Say at once that an episode failed, and where in the method: the first few, then only that there are more."""
    if verbosity.debug and record.get("traceback"):
        notify(record["traceback"].rstrip())
    if count <= MAX_FAILURES:
        where = "" if verbosity.debug else f"; its traceback is in {folder / 'episodes.jsonl'}, or --debug shows it"
        notify(f"{record['id']} failed: {record['error'][:300]}{where}")
    elif count == MAX_FAILURES + 1:
        notify("further failures are only counted")


def _add_times(folder: RunFolder, timed: Mapping[str, Any]) -> None:
    """Add to an episode's record how fast it is by itself; a failure is none of the run's."""
    record = folder.records().get(timed["id"])
    if record is not None and not timed.get("error"):
        folder.add({**record, **{name: timed[name] for name in ALONE}})


def _untimed(plan: RunPlan, todo: Sequence[Episode], folder: RunFolder) -> list[Group]:
    """Return the episode to run by itself, for its speed, where all ran together with others of their video."""
    if (
        plan.benchmark.kind == "image"
        or plan.options.oracle is not None
        or not runs_together(as_video_model(plan.model))
    ):
        return []
    anew = {episode.id for episode in todo}
    if any(record.get("fps") for name, record in folder.records().items() if name not in anew):
        return []
    together = len({episode.video for episode in plan.episodes}) < len(plan.episodes)
    first = plan.episodes[:1] if together else []
    return [Group([episode], frozenset([episode.id]), timing=True) for episode in first]


def check_workers(plan: RunPlan) -> None:
    """Check that processes can run a plan's episodes, where it asks for them.

    Raises:
        UsageError: They cannot build the model, or cannot be started from here.
    """
    if _in_pool(plan.options):
        if plan.spec is None:
            raise UsageError("workers and timeouts need a model by name", fix="pass a spec, as 'my_method.py:MyMethod'")
        if plan.options.engine == "local":
            check_main_guard()


def _in_pool(options: RunOptions) -> bool:
    """Whether other processes than this run the episodes."""
    return options.engine != "local" or options.workers > 1 or options.timeout is not None


def _pool(options: RunOptions) -> Pool:
    """Return what runs groups of episodes in other processes."""
    if options.engine == "ray":
        from icvos.evaluation.ray_pool import run_on_ray

        return run_on_ray
    return run_in_workers


def _results(
    plan: RunPlan, todo: Sequence[Episode], timed: Sequence[Group], tally: _Tally, spent: _Spent
) -> Generator[EpisodeResult, None, None]:
    options, job = plan.options, plan.job
    # At the end, so that the model is warm.
    groups = [*group_episodes(plan.episodes, todo, plan.benchmark), *timed]
    if not groups:
        return
    check_workers(plan)
    if plan.spec is not None and _in_pool(options):
        yield from _pool(options)(
            plan.spec,
            plan.benchmark.root,
            job,
            [*_longest_first(plan, groups[: len(groups) - len(timed)]), *timed],
            Listener(lambda episode, why: _lost_episode(plan.benchmark, episode, job, why), tally.advance, spent.add),
        )
        return
    keep_output(job.log)
    if plan.benchmark.kind == "image":
        assert isinstance(plan.model, ImageModel)  # _check_kind
        for group in groups:
            yield run_image_episode(plan.model, plan.benchmark, group.episodes[0], job, spent.watch)
    else:
        model = as_video_model(plan.model)
        with ThreadPoolExecutor(3) as pool:
            for group in groups:
                for result in run_video_episodes(
                    model,
                    plan.benchmark,
                    group.episodes,
                    job,
                    pool,
                    group.wanted,
                    timing=group.timing,
                    advance=lambda frames: tally.advance(0, frames),
                    watch=spent.watch,
                ):
                    tally.advance(0, 0)
                    yield result


def _longest_first(plan: RunPlan, groups: Sequence[Group]) -> list[Group]:
    """Return groups in the order in which workers take them: at the end nobody waits long for the last one."""
    view = View(plan.benchmark, plan.protocol, limit_frames=plan.options.limit_frames)

    def frames(group: Group) -> int:
        return sum(view.frame_count(episode) for episode in group.episodes if episode.id in group.wanted)

    return sorted(groups, key=frames, reverse=True)


def _lost_episode(benchmark: Benchmark, episode: Episode, job: Job, why: str) -> EpisodeResult:
    if benchmark.kind == "image":
        return EpisodeResult(image_failure(benchmark, episode, job, why))
    return EpisodeResult(failure(episode, why, job.protocol))


def evaluate(
    model: Model | type[Model] | str,
    benchmark: Benchmark | str | Path,
    *,
    out: str | Path | None = None,
    protocol: str = "",
    unseen: str | Path | Sequence[str] = (),
    shots: int = 1,
    seed: int = 0,
    device: str = "cpu",
    weights: Mapping[str, str | Path] | None = None,
    options: Mapping[str, Any] | None = None,
    python: str | Path | None = None,
    isolated: bool = False,
    workers: int = 1,
    timeout: float | None = None,
    save_masks: bool = False,
    episodes: Sequence[str] | None = None,
    limit_episodes: int | None = None,
    limit_frames: int | None = None,
    oracle: str | None = None,
    shard: tuple[int, int] | None = None,
    name: str | None = None,
    verify: bool | None = None,
    engine: str = "local",
    address: str = "auto",
    cpus_per_worker: int = 1,
    gpus_per_worker: float | None = None,
    stage: bool = False,
    progress: Progress | bool | Any = None,
    notify: Callable[[str], None] | None = None,
) -> RunResult:
    """Evaluate a model on a benchmark, as ``icvos evaluate`` does.

    Args:
        model: A built model, a class, or a spec (a name, ``package.module:Class``, ``file.py:Class``).
        benchmark: An opened benchmark, its folder, or a demo's name (``demo``, ``demo/coco-20i``, …).
        out: The run's folder, which may hold the same run to be continued; by default ``runs/<benchmark>/<model>``,
            with what differs from the usual settings behind the model's name.
        protocol: ``native``, ``paper``, ``mosev2``, ``lvos-v2`` or ``vost``; ``fss-native``, ``fss-paper`` or
            ``fss-matcher``; the benchmark's default if empty.
        unseen: With ``lvos-v2``, the videos or categories that are unseen: their names, or a file with one a line.
        shots: Supports shown of each episode.
        seed: Of what the model draws.
        device: ``cpu``, ``cuda``, ``cuda:1``, …, where the model is not built yet.
        weights: Files by the names that the model declares, where it is not built yet.
        options: Of the model, where it is not built yet.
        python: The interpreter that the model runs in, or the folder of its environment; needs a spec.
        isolated: Whether it runs in an environment of its own, made of what its file asks for; needs a spec.
        workers: Processes; more than one needs a spec. With ``device="cuda"`` they share out the GPUs, in turn.
        timeout: Seconds that an episode may take; needs a spec.
        save_masks: Whether the masks are kept in the run's folder.
        episodes: Ids of the episodes to run; all by default.
        limit_episodes: Only the first so many; such a run is never ranked.
        limit_frames: Only the first so many of each video; such a run is never ranked.
        oracle: ``first-frame``: frame 0's ground truth in place of a support; such a run is never ranked.
        shard: (i, N): only the i-th of N shares of the videos; ``icvos merge`` joins the runs.
        name: Of the run, in tables; its folder is then ``runs/<benchmark>/<name>``.
        verify: Whether one video is run again in a fresh process at the end, and held against the records
            (``run.json``, ``verified``); None does so where that takes under a minute. Needs a spec.
        engine: ``local``, or ``ray``: on a Ray cluster (docs/how-to/cluster.md). Needs a spec.
        address: HOST:PORT of the Ray cluster's head, or ``auto``.
        cpus_per_worker: Cores, and threads, of a worker on the cluster.
        gpus_per_worker: GPUs of one; by default 1 with ``device="cuda"``, else 0.
        stage: Whether the benchmark is shipped to the cluster's nodes.
        progress: True shows a bar (without a terminal a line a minute); or a callable, which is told each
            ``icvos.progress.Update``, or a bar as tqdm's.
        notify: Called with each line that a user should see; with ``progress=True`` they are printed by default.

    Returns:
        ``result.json``: ``result["summary"]["J&F"]``, ``["per_category"]``, …; percent, unrounded. ``result.folder`` is
        the run's folder.

    Raises:
        IcvosError: Bad input or usage. An episode that fails raises nothing: ``summary["failed"]`` counts it.
    """
    settings = RunOptions(
        protocol=protocol,
        unseen=tuple(names_of(unseen) if isinstance(unseen, (str, Path)) else unseen),
        shots=shots,
        seed=seed,
        shard=shard,
        workers=workers,
        timeout=timeout,
        save_masks=save_masks,
        limit_episodes=limit_episodes,
        limit_frames=limit_frames,
        episodes=None if episodes is None else tuple(episodes),
        oracle=oracle,
        name=name,
        engine=engine,
        address=address,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        stage=stage,
    )
    watch = Stopwatch()
    if python is not None or isolated:
        if not isinstance(model, str):
            raise UsageError(
                "a model that is a class or built runs in this interpreter", expected="a spec, file.py:Class"
            )
        program = None if python is None else str(python)
        model = placed(model, python=program, isolated=isolated, engine=engine)
    with kept_outside():
        with watch.part("starting"):
            plan = open_run(model, benchmark, settings, out=out, device=device, weights=weights, options=options)
        title = f"{type(plan.model).info.name} on {plan.benchmark.name}"
        if notify is None and progress is True:
            notify = partial(echo, err=True)
        with shown(title, progress) as told:
            return _run_plan(plan, watch, verify=verify, progress=told, notify=notify)


def open_run(
    model: Model | type[Model] | str,
    benchmark: Benchmark | str | Path,
    settings: RunOptions,
    *,
    out: str | Path | None = None,
    device: str = "cpu",
    weights: Mapping[str, str | Path] | None = None,
    options: Mapping[str, Any] | None = None,
) -> RunPlan:
    """Open the benchmark, build the model, and work out the run; nothing is run or written.

    Args:
        model, benchmark, out, device, weights, options: As for ``evaluate``.
        settings: How.

    Raises:
        IcvosError: Bad input or usage.
    """
    if settings.engine == "ray":
        from icvos.evaluation.ray_pool import check_ray

        check_ray(device)
    opened, demo = open_benchmark(benchmark)
    here = "cpu" if on_other_gpus(settings, device) else worker_device(device, 0, 1)
    built = build(model, device=here, weights=weights, options=options, demo=demo)
    spec = None
    if isinstance(model, str):
        # A worker of another machine has another working directory.
        files = {name: str(Path(path).absolute()) for name, path in built.weights.items()}
        spec = ModelSpec(model, device, files, dict(options or {}), demo)
    known = dict(options or {}) if isinstance(model, (str, type)) else options_of(built)
    return _prepare(built, opened, settings, None if out is None else Path(out), known, spec)
