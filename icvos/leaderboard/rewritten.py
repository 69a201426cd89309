"""A run as a board writes it: fields that are known, and every figure computed from the benchmark and the episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icvos.benchmark import Benchmark, Episode
from icvos.metrics.formulas import FOLD_COUNTS
from icvos.protocols import Protocol
from icvos.runs.environment import describe_benchmark
from icvos.runs.episodes import RunOptions, benchmark_result, get_run_protocol, select_episodes, speed
from icvos.runs.run import Run
from icvos.runs.schema import TIMES, validate
from icvos.runs.times import PARTS

__all__ = ["known_fields", "rewritten"]

# What is kept of run.json. None is a plain value or a list of such; the key "*" any key.
_ANY = {"*": None}
_ASKED = dict.fromkeys(("requirements", "requires_python"))
_SPENT = dict.fromkeys(("wall", *PARTS))
_SPEED = ("fps", "fps_amortised", "seconds", "peak_memory")
RUN: dict[str, Any] = {
    **dict.fromkeys(("schema", "icvos", "commit", "name")),
    "key": {
        **dict.fromkeys(("icvos", "model", "model_version")),
        "options": _ANY,
        "source": None,
        "asked": _ASKED,
        "weights": _ANY,
        **dict.fromkeys(("dtype", "device", "benchmark", "protocol", "shots", "seed", "limit_episodes")),
        **dict.fromkeys(("limit_frames", "shard", "oracle", "oracle_as", "masks", "resized_masks", "access", "uses")),
        "unseen": None,
    },
    "model": {
        **dict.fromkeys(("name", "version", "kind", "paper", "licence", "access", "uses", "training_data")),
        "training_categories": None,
        "options": _ANY,
        "source_sha256": None,
        "weights": _ANY,
        "trainings": {"*": dict.fromkeys(("settings", "seed", "data_seed", "kept"))},
        **dict.fromkeys(("dtype", "autocast", "backend")),
    },
    "environment": {
        **dict.fromkeys(
            ("device", "python", "platform", "cpus", "neighbours", "torch", "sam2", "transformers", "numpy", "opencv")
        ),
        **dict.fromkeys(("gpu", "cuda", "driver", "gpu_memory", "tf32")),
        "method": {
            **dict.fromkeys(("python", "platform", "packages")),
            "asked": _ASKED,
        },
    },
    **dict.fromkeys(("start", "end", "status", *_SPEED)),
    "verified": dict.fromkeys(("video", "episodes", "same", "largest_difference")),
    "times": {"episodes": None, "total": _SPENT, "workers": [_SPENT]},
}


def rewritten(entry: Run, benchmark: Benchmark, scored: Mapping[str, Mapping[str, Any]] | None = None) -> Run:
    """Return a run that was checked against a benchmark as a record holds it; nothing computable is copied.

    Args:
        entry: The run, whole.
        benchmark: The one that it is of.
        scored: What its masks give, by id; without, the episodes' own figures are taken.

    Raises:
        RunError: A number that was computed is none.
    """
    protocol = get_run_protocol(benchmark, entry.protocol, unseen=entry.unseen)
    episodes = select_episodes(benchmark, protocol, RunOptions(protocol.name))
    rows = {e.id: _row(entry.by_id[e.id], e, benchmark, (scored or {}).get(e.id, {}), protocol) for e in episodes}
    run = known_fields(entry.run)
    run["benchmark"] = describe_benchmark(benchmark, episodes, shots=entry.shots)
    if any(name in run for name in _SPEED):
        run |= speed(rows, list(rows))
    result = benchmark_result(run, benchmark, protocol, episodes, rows)
    validate(run, result, rows.values(), entry.where)
    return Run(run, result, tuple(rows[name] for name in sorted(rows)), entry.checked, entry.where)


def known_fields(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record keeps of ``run.json``; what it says of the benchmark is not among it."""
    kept: dict[str, Any] = _kept(run, RUN)
    return kept


def _row(
    stated: Mapping[str, Any],
    episode: Episode,
    benchmark: Benchmark,
    scored: Mapping[str, Any],
    protocol: Protocol,
) -> dict[str, Any]:
    known: dict[str, Any] = {"id": episode.id}
    if benchmark.kind == "image":
        known |= {"fold": episode.fold, "category": episode.category, "category_name": episode.category_name}
        known |= {"query": episode.video}
        figures: tuple[str, ...] = ("supports", *FOLD_COUNTS, "support_seconds", "seconds")
        scored = {name: value for name, value in scored.items() if name != "supports"}
    else:
        known |= {"video": episode.video, "source": benchmark.videos[episode.video].source}
        known |= episode.about
        known |= protocol.marks(episode.video, episode.category_name, episode.asked)
        figures = ("frames", "visible_frames", *protocol.numbers, *TIMES, "peak_memory")
        if type(stated.get("absent_on_frame_0")) is bool:
            figures = (*figures, "absent_on_frame_0")
    values = {**stated, **scored}
    return known | {name: values[name] for name in figures if name in values}


def _kept(value: Any, form: Any) -> Any:
    """Return what is known of a value, which is of a form's kind."""
    if value is None:
        return None
    if isinstance(form, dict):
        forms = dict.fromkeys(value, form["*"]) if "*" in form else form
        return {
            name: _kept(value[name], inner) for name, inner in forms.items() if _fits(value.get(name, _ABSENT), inner)
        }
    if isinstance(form, list):
        return [_kept(each, form[0]) for each in value if _fits(each, form[0])]
    return value


_ABSENT: Any = object()


def _fits(value: Any, form: Any) -> bool:
    if form is None and isinstance(value, list):
        return all(isinstance(each, (str, int, float)) for each in value)
    return value is None or isinstance(value, (str, int, float) if form is None else type(form))
