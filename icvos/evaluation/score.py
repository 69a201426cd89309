"""icvos score: predictions made anywhere, scored into a run folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark, load_benchmark
from icvos.categories import COCO80, VOC20
from icvos.demo.benchmarks import open_benchmark
from icvos.errors import ModelError, UsageError, did_you_mean
from icvos.evaluation.predictions import Predictions, Scored, open_predictions
from icvos.evaluation.score_episodes import check_benchmark_masks, score_episodes
from icvos.evaluation.score_sequences import (
    Sequences,
    check_sequences,
    choose_sequences,
    score_sequences,
)
from icvos.files import real_path
from icvos.listing import is_stray, names_of
from icvos.processes import in_order
from icvos.progress import Progress, Update, shown
from icvos.protocols import PROTOCOLS, Objects, Protocol, check_division, check_oracle, get_protocol
from icvos.runs.environment import default_folder, describe_benchmark, describe_run, now
from icvos.runs.episodes import RunOptions, ScoreSoFar, benchmark_result, get_run_protocol, select_episodes
from icvos.runs.records import RunFolder, read_result
from icvos.runs.result import RunResult, sequence_result
from icvos.types import ModelInfo
from icvos.view import View

__all__ = ["score", "score_all"]


@dataclass(frozen=True)
class _Scorer:
    """Scores a sequence or a group of episodes; what it reads is opened once in each process."""

    kind: str
    truth: Path
    predictions: Path
    protocol: Protocol

    @cached_property
    def _truth(self) -> Sequences | View:
        if self.kind == "sequence":
            return Sequences.open(self.truth)
        return View(load_benchmark(self.truth), self.protocol)

    @cached_property
    def _predictions(self) -> Predictions:
        return open_predictions(self.predictions)

    def __call__(self, item: Any) -> Scored:
        if isinstance(self._truth, Sequences):
            return score_sequences(self._truth, self._predictions, item, self.protocol)
        return score_episodes(self._truth, self._predictions, item)


def score_all(
    kind: str, truth: Path, predictions: Path, protocol: Protocol, items: Sequence[Any], *, workers: int
) -> Iterator[Scored]:
    """Score sequences or groups of episodes, in this process or in several; results come in the order of ``items``.

    Raises:
        IcvosError: A mask is bad, or a process died.
    """
    scorer = _Scorer(kind, truth, predictions, protocol)
    workers = min(workers, len(items))
    try:
        # Scoring needs no OpenCV, and may run in a notebook, whose allocator is left alone.
        yield from in_order(scorer, items, workers) if workers > 1 else map(scorer, items)
    except BrokenProcessPool:
        raise ModelError("a scoring process died", fix="run it again with --workers 1") from None


def _declared(
    model: str, version: str, *, access: str | None, uses: Sequence[str], trained_on: Sequence[str]
) -> dict[str, Any]:
    """Return what ``run.json`` says of a method that made its masks elsewhere: what is declared, and nothing else.

    Raises:
        UsageError: An unknown access, use or category.
    """
    data = tuple(name for name in trained_on if ":" in name)
    odd = next((name for name in data if not all(part.strip() for part in name.split(":"))), None)
    if odd is not None:
        raise UsageError(f"'{odd}' is no data set", expected="its name and its split, as coco2014:train")
    info = ModelInfo(model, version, access=access or "online", uses=tuple(dict.fromkeys(uses)), training_data=data)
    return {
        "name": info.name,
        "version": info.version,
        "kind": "masks",
        "access": access,
        "uses": list(info.uses),
        "options": {},
        "weights": {},
        "dtype": None,
        "source_sha256": None,
        "training_data": list(info.training_data),
        "training_categories": [_category(name) for name in trained_on if name not in data],
    }


def _category(name: str) -> str:
    """Return a category's name as COCO or VOC has it.

    Raises:
        UsageError: Neither has it.
    """
    for words in (COCO80, VOC20):
        if (number := words.find(name)) is not None:
            return words.label(number)
    raise UsageError(
        f"'{name}' is no category of COCO or VOC",
        expected=f"a category, or a data set with its split: {name}:train",
        fix=did_you_mean(name, COCO80.names),
    )


def _describe(
    model: dict[str, Any], predictions: Path, benchmark: dict[str, Any], protocol: Protocol, **key: Any
) -> dict[str, Any]:
    # What a method saw while it made its masks changes what they mean; a run of before says nothing of it.
    said = {name: model[name] for name in ("access", "uses") if model[name]}
    return describe_run(model, benchmark, protocol, "cpu", masks=_fingerprint(predictions), **key, **said)


def _sha256(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _fingerprint(predictions: Path) -> str:
    """Return a hash of names, sizes and times of the masks: other masks are scored anew."""
    digest = hashlib.sha256()
    if predictions.is_file():
        status = predictions.stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    seen: set[str] = set()
    for folder, folders, files in os.walk(predictions, followlinks=True):
        seen.add(os.path.realpath(folder))
        paths = {name: os.path.join(folder, name) for name in sorted(folders) if not is_stray(name)}  # noqa: PTH118
        folders[:] = [name for name, path in paths.items() if os.path.realpath(path) not in seen]
        for file in sorted(name for name in files if not is_stray(name)):
            status = os.stat(os.path.join(folder, file), follow_symlinks=False)  # noqa: PTH116, PTH118
            digest.update(
                f"{os.path.relpath(folder, predictions)}/{file} {status.st_size} {status.st_mtime_ns}\n".encode(
                    errors="surrogateescape"
                )
            )
    return digest.hexdigest()


def score(
    predictions: str | Path,
    *,
    benchmark: Benchmark | str | Path | None = None,
    ground_truth: str | Path | None = None,
    protocol: str = "",
    unseen: str | Path | Sequence[str] = (),
    out: str | Path | None = None,
    model: str | None = None,
    version: str = "1",
    shots: int = 1,
    access: str | None = None,
    uses: Sequence[str] = (),
    oracle: str | None = None,
    trained_on: Sequence[str] = (),
    sequences: str | None = None,
    split: str | None = None,
    objects: Objects | None = None,
    workers: int = 1,
    progress: Progress | bool | Any = None,
    notify: Callable[[str], None] | None = None,
) -> RunResult:
    """Score masks made anywhere, as ``icvos score`` does.

    Args:
        predictions: A folder or .zip of NAME/00000.png, or COCO run lengths in a .json. NAME is an episode's id with
            ``benchmark``, a sequence with ``ground_truth``.
        benchmark: An opened benchmark, its folder, or a demo's name (``demo``, ``demo/coco-20i``, …).
        ground_truth: A folder of SEQUENCE/FRAME.png label maps, in place of a benchmark.
        protocol: Its name; the benchmark's default, or ``davis-2017`` with ``ground_truth``, if empty.
        unseen: With ``lvos-v2``, the videos or categories that are unseen: their names, or a file with one a line.
        out: The run's folder, which may hold the same run to be continued; ``runs/<benchmark>/<predictions>`` by
            default.
        model: What the method is called in tables; the predictions' name by default.
        version: The method's.
        shots: Supports that the method was shown, for the record.
        access: Which frames it read for a mask, as ``ModelInfo.access``; None if nobody says.
        uses: What else it was told, as ``ModelInfo.uses``.
        oracle: ``first-frame``: it was told frame 0's ground truth. The run stands apart, and is never ranked; on a
            benchmark of semi-supervised VOS all are.
        trained_on: What it and its tracker were trained on: with a colon a data set (``coco2014:train``), without one
            a category (``dog``).
        sequences: With ``ground_truth``, which ones: a file with a name a line, or names with commas between.
        split: With ``ground_truth``, those of a list of the data set (``val``: ``ImageSets/2017/val.txt``).
        objects: With ``ground_truth``, ids of the ``first-frame`` (``davis-2017``'s rule), all numbers
            ``up-to-largest`` of the first frame (``vost``'s) or ``all`` (the others').
        workers: Processes.
        progress: True shows a bar (without a terminal a line a minute); or a callable, which is told each
            ``icvos.progress.Update``, or a bar as tqdm's.
        notify: Called with each line that a user should see.

    Raises:
        IcvosError: Bad input or usage.
    """
    predictions = Path(predictions)
    check_oracle(oracle, 1)
    if (benchmark is None) == (ground_truth is None):
        raise UsageError("give one of --benchmark and --ground-truth", fix="see icvos score --help")
    if ground_truth is None and (sequences, split, objects) != (None, None, None):
        raise UsageError("--sequences, --split and --objects need --ground-truth")
    opened = None if benchmark is None else open_benchmark(benchmark)[0]
    if opened is not None and opened.vos:
        oracle = "first-frame"
    uses = (*uses, *([oracle] if oracle else ()))
    name = model or real_path(predictions).stem
    declared = _declared(name, version, access=access, uses=uses, trained_on=trained_on)
    names = names_of(unseen) if isinstance(unseen, (str, Path)) else list(unseen)
    if ground_truth is not None:
        rule = get_protocol(protocol or "davis-2017", unseen=names)
        chosen: Objects = objects or rule.objects
        choice = _Choice(sequences, split, chosen)
        plan = _of_sequences(
            predictions, Path(ground_truth), rule, declared, workers, choice, notify or (lambda _: None)
        )
    else:
        assert opened is not None
        rule = get_run_protocol(opened, protocol, unseen=names)
        plan = _of_benchmark(predictions, opened, rule, declared, shots, workers)
    usual = "davis-2017" if opened is None else get_run_protocol(opened, "").name
    part = split or ("" if sequences is None else f"chosen-{_sha256([sequences])[:12]}")
    folder = Path(out) if out is not None else default_folder(plan.run, protocol=usual, part=part)
    with shown(name, progress) as told:
        return RunResult(_carry_out(plan, folder, told), folder)


@dataclass(frozen=True)
class _Plan:
    """What is scored into one run.

    Attributes:
        name: Of the benchmark or the ground truth.
        protocol: By which it is scored.
        run: The run as ``run.json`` describes it.
        ids: Of all episodes.
        what: They are: ``episodes``, or ``objects``.
        score: Scores what is not among the ids that are done.
        result: Makes ``result.json`` of the run and its records.
    """

    name: str
    protocol: Protocol
    run: dict[str, Any]
    ids: list[str]
    what: str
    score: Callable[[set[str]], Iterator[Scored]]
    result: Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]]


def _carry_out(plan: _Plan, folder: Path, progress: Progress) -> dict[str, Any]:
    """Score what is not scored yet into the run's folder; return its result."""
    with RunFolder.open(folder, plan.run) as opened:
        count = len(opened.done(plan.ids))
        score_so_far = ScoreSoFar(plan.protocol)
        progress(Update(plan.what, count, len(plan.ids)))
        try:
            for scored in plan.score(opened.done(plan.ids)):
                for record, frames in scored:
                    opened.add(record, frames)
                    count += 1
                    score_so_far.add(record)
                    done = min(count, len(plan.ids))
                    progress(Update(plan.what, done, len(plan.ids), score_so_far.text, record))
        except (KeyboardInterrupt, SystemExit) as stop:
            stop.add_note(f"{count} of {len(plan.ids)} {plan.what} are kept in {folder}; the same command goes on")
            raise
        opened.write_result(plan.result(opened.run, opened.records()))
        opened.write_run(status="complete", end=now())
    return read_result(folder)


@dataclass(frozen=True)
class _Choice:
    """Which sequences and objects of a ground truth are scored; as ``score`` takes them."""

    sequences: str | None
    split: str | None
    objects: Objects


def _of_sequences(
    predictions: Path,
    truth: Path,
    protocol: Protocol,
    model: dict[str, Any],
    workers: int,
    choice: _Choice,
    notify: Callable[[str], None],
) -> _Plan:
    if not protocol.of_label_maps:
        fits = ", ".join(p.name for p in PROTOCOLS.values() if p.of_label_maps)
        raise UsageError(f"protocol '{protocol.name}' needs --benchmark", expected=f"one of {fits} with --ground-truth")
    every, masks = Sequences.open(truth), open_predictions(predictions)
    sequences = choose_sequences(every, truth, choice.sequences, choice.split)
    tasks, notes = check_sequences(sequences, masks, protocol, objects=choice.objects, chosen=sequences is not every)
    check_division(protocol, ((task.name, "") for task in tasks))
    for note in notes:
        notify(note)
    ids = [identity for task in tasks for identity in task.ids]
    name = real_path(truth).name
    label: dict[str, Any] = {"name": name, "version": None, "manifest_sha256": _fingerprint(truth)}
    if sequences is not every:
        # Others than those of all sequences, or of another choice: they share no table.
        label["version"] = choice.split or f"{len(sequences.names)} of {len(every.names)} sequences"
        label["manifest_sha256"] = _sha256([label["manifest_sha256"], *sequences.names])

    def score_missing(done: set[str]) -> Iterator[Scored]:
        todo = [task for task in tasks if not done.issuperset(task.ids)]
        return score_all("sequence", truth, predictions, protocol, todo, workers=workers)

    return _Plan(
        name,
        protocol,
        _describe(model, predictions, label, protocol, objects=choice.objects, ids=_sha256(ids)),
        ids,
        "objects",
        score_missing,
        lambda run, records: sequence_result(run, protocol, ids, records),
    )


def _of_benchmark(
    predictions: Path, benchmark: Benchmark, protocol: Protocol, model: dict[str, Any], shots: int, workers: int
) -> _Plan:
    view = View(benchmark, protocol)
    episodes = select_episodes(benchmark, protocol, RunOptions(protocol.name))
    benchmark.check_shots(episodes, shots)
    resized = check_benchmark_masks(view, open_predictions(predictions), episodes)
    settings = {"shots": shots, "seed": None, "limit_episodes": None, "limit_frames": None, "shard": None}
    label = describe_benchmark(benchmark, episodes, shots=shots)
    run = _describe(model, predictions, label, protocol, resized_masks=resized or None, **settings)
    run["environment"]["benchmark_folder"] = str(benchmark.root.resolve())

    def score_missing(done: set[str]) -> Iterator[Scored]:
        groups: dict[str, list[Any]] = {}
        for episode in episodes:
            if episode.id not in done:
                groups.setdefault(episode.video if benchmark.kind == "video" else episode.id, []).append(episode)
        return score_all("benchmark", benchmark.root, predictions, protocol, list(groups.values()), workers=workers)

    return _Plan(
        benchmark.name,
        protocol,
        run,
        [episode.id for episode in episodes],
        "episodes",
        score_missing,
        lambda run, records: benchmark_result(run, benchmark, protocol, episodes, records),
    )
