"""Whether a run agrees with itself: ranges, completeness, and a result that follows from its episodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from icvos.benchmark import RUN_COLUMN, Benchmark, Episode
from icvos.builders.published import PAPER_COUNTS, WHOLE_PREFIXES, load_recipe, published_names
from icvos.errors import IcvosError, are, counted, in_words
from icvos.metrics.formulas import FOLD_COUNTS
from icvos.metrics.table import METRICS, episode_metrics, ranked_metric
from icvos.protocols import Protocol, get_protocol
from icvos.runs.episodes import RunOptions, benchmark_result, get_run_protocol, select_episodes
from icvos.runs.result import image_result, sequence_result, video_result
from icvos.runs.run import Run
from icvos.runs.schema import TIMES

__all__ = ["check_against", "check_name", "check_values", "differs", "recompute", "same_result"]

COMPARED = ("summary", "per_category", "per_source", "per_video", "per_draw", "per_fold")
TOLERANCE = 1e-9
_NOTHING = object()


def check_values(entry: Run) -> list[str]:
    """Return what is out of range or contradictory in a run's episodes and its two files; empty if nothing is."""
    out = []
    seen: set[str] = set()
    for row in entry.records:
        name = row["id"]
        if name in seen:
            out.append(f"episode {name} stands twice")
        seen.add(name)
        for metric in episode_metrics():
            value = row.get(metric.name)
            if value is not None and not metric.low <= value <= 100:
                out.append(f"{metric.name} of episode {name} is {value}, which is no percentage")
        out += [f"{time} of episode {name} is {row[time]}" for time in TIMES if (row.get(time) or 0) < 0]
        pairs = (FOLD_COUNTS[:2], FOLD_COUNTS[2:]) if all(row.get(count) is not None for count in FOLD_COUNTS) else ()
        if any(not 0 <= row[inter] <= row[union] for inter, union in pairs):
            out.append(f"episode {name} has an intersection larger than its union")
    for name, value in entry.summary.items():
        bad = value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)))
        if bad or (value is not None and not math.isfinite(value)):
            out.append(f"{name} of the result is {value}, which is no number")
    return out + _two_files(entry.run, entry.result)


def _two_files(run: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    """What ``run.json`` says in several places, and ``result.json`` again, must be the same."""
    model, key = run["model"], run["key"]
    pairs = [
        ("model's name", model.get("name"), result["model"].get("name"), key.get("model")),
        ("model's version", model.get("version"), result["model"].get("version"), key.get("model_version")),
        ("options", model.get("options"), result["model"].get("options"), key.get("options")),
        ("source's hash", model.get("source_sha256"), result["model"].get("source_sha256"), key.get("source")),
        ("weights' hashes", model.get("weights"), result["model"].get("weights"), key.get("weights")),
        (
            "benchmark's hash",
            run["benchmark"].get("manifest_sha256"),
            result["benchmark"].get("manifest_sha256"),
            key.get("benchmark"),
        ),
        ("benchmark's name", run["benchmark"].get("name"), result["benchmark"].get("name")),
        ("protocol", result["protocol"].get("name"), key.get("protocol")),
        *(
            (name.replace("_", " "), result["protocol"].get(name), key.get(name))
            for name in ("shots", "seed", "limit_episodes", "limit_frames", "oracle")
        ),
    ]
    return [
        f"the {what} is said in several places, and not the same in all"
        for what, first, *others in pairs
        if any(other != first for other in others)
    ]


def check_name(benchmark: Mapping[str, Any]) -> list[str]:
    """Return why a benchmark's name may not stand on a board, a line each; empty if it may.

    Args:
        benchmark: What ``run.json`` says of it, or its own header: ``name``, and ``recipe`` if it has one.
    """
    name, recipe = str(benchmark.get("name")), benchmark.get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    if name.startswith("custom:"):
        differs = recipe.get("differs")
        why = str(differs[0]) if isinstance(differs, list) and differs else "it does not say why"
        return [
            f"'{name}' is no published benchmark, as {why}; build it as the recipe says, "
            "or give it a name of its own with build-data's --name"
        ]
    counts = benchmark.get("counts")
    if name == "ic-vos" and isinstance(counts, dict) and any(counts.get(x) != n for x, n in PAPER_COUNTS.items()):
        found, paper = (" and ".join(f"{c.get(x)} {x}" for x in PAPER_COUNTS) for c in (counts, PAPER_COUNTS))
        return [f"it is called '{name}' and has {found}, and the paper's benchmark {paper}; build it again"]
    if name.startswith(tuple(WHOLE_PREFIXES)) and (recipe.get("matches") is not True or recipe.get("name") != name):
        return [f"it is called '{name}' and does not say that it is the whole split; build it again"]
    for published in published_names():
        if name == published or name.startswith(f"{published}-"):
            packaged = load_recipe(published)
            hashes = {packaged.benchmark_name([s]): packaged.sha256_of([s]) for s in packaged.closed}
            hashes[packaged.benchmark_name(packaged.closed)] = packaged.sha256
            expected = hashes.get(name.removesuffix("-dev").removesuffix("-test"))
            said = str(recipe.get("sha256"))
            if recipe.get("matches") is not True or recipe.get("name") != name or said != expected:
                return [
                    f"it is called '{name}' and was not built from that recipe as it is published "
                    f"(hash {said[:8]}, expected {str(expected)[:8]}); build it again with --recipe {published}"
                ]
    return []


def recompute(entry: Run) -> list[str]:
    """Return where the result does not follow from the episodes; no benchmark is needed.

    An episode's category, video, draw and source are taken from its record, and the categories of a fold that no
    episode drew from the result, as ``check_against`` compares them.
    """
    try:
        protocol = get_protocol(entry.protocol)
        stated, again = entry.result, _again(entry, protocol)
        if protocol.kind == "image" and not all("category_name" in row for row in entry.records):
            stated, again = _nameless(stated), _nameless(again)
    except (IcvosError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as problem:
        return [f"the result cannot be recomputed ({type(problem).__name__}: {problem})"]
    return same_result(stated, again)


def _again(entry: Run, protocol: Protocol) -> dict[str, Any]:
    records = {row["id"]: row for row in entry.records}
    if protocol.kind == "image":
        episodes = [Episode(r["id"], r["query"], r["category"], _name(r), 0, (), r["fold"]) for r in entry.records]
        folds: dict[int, set[int]] = {}
        for episode in episodes:
            folds.setdefault(int(episode.fold or 0), set()).add(episode.category)
        for fold, categories in folds.items():
            categories.update(entry.result["per_fold"][str(fold)]["undrawn"])
        return image_result(entry.run, protocol, episodes, records, {f: sorted(c) for f, c in folds.items()})
    if any("category" not in row for row in entry.records):
        return sequence_result(entry.run, protocol, sorted(records), records)
    episodes = [
        Episode(r["id"], r["video"], r["category"], r["category_name"], r["draw"], (), run=r.get(RUN_COLUMN))
        for r in entry.records
    ]
    return video_result(entry.run, protocol, episodes, records, {r["video"]: r["source"] for r in entry.records})


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("category_name") or row["category"])


def _nameless(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return an image result whose categories are told apart by their figures alone."""
    rows = sorted(result["per_category"].values(), key=lambda row: (row["fold"], row[ranked_metric("image").name]))
    return {**result, "per_category": {str(number): row for number, row in enumerate(rows)}}


def same_result(stated: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Return the first figure, key or table in which two results differ, by more than the order of a sum can explain.

    A figure that came after the stated result was made (``Metric.required``) may be missing in that.
    """
    for part in dict.fromkeys((*COMPARED, *again, *stated)):
        if part != "schema":
            figures = part == "summary" or part.startswith("per_")
            says = ("the result says", "its episodes give") if figures else ("result.json says", "run.json")
            difference = differs(stated.get(part), again.get(part), part, says)
            if difference:
                return [difference]
    return []


def differs(one: Any, other: Any, where: str, says: tuple[str, str]) -> str | None:
    """Return the first difference between two values as a line; None if there is none.

    Args:
        one, other: JSON; numbers may differ by what the order of a sum explains.
        where: What they are.
        says: Words before each in the line.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        # Within tables a key is there or not; elsewhere None is the same as nothing.
        nothing = _NOTHING if where.startswith("per_") else None
        for name in sorted({*one, *other}):
            if one.get(name) is None and name in METRICS and not METRICS[name].required:
                continue
            difference = differs(one.get(name, nothing), other.get(name, nothing), f"{where}, {name}", says)
            if difference:
                return difference
        return None
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (one, other))
    same = abs(one - other) <= TOLERANCE * max(1.0, abs(other)) if numbers else one == other
    return None if same else f"{says[0]} {_said(one)} for {where}, and {says[1]} {_said(other)}"


def _said(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    return "a table" if isinstance(value, dict) else in_words(value)[:80]


def check_against(entry: Run, benchmark: Benchmark) -> list[str]:
    """Return where a run contradicts a benchmark: its hash, the set of episodes, their videos, draws, frames."""
    if entry.result["benchmark"].get("manifest_sha256") != benchmark.manifest_sha256:
        mine = str(entry.result["benchmark"].get("manifest_sha256"))[:16]
        other = f"that of {benchmark.root} is {benchmark.manifest_sha256[:16]}"
        return [f"another benchmark, or another build of it: its manifest is {mine}, and {other}"]
    for what in ("name", "version"):
        mine, other = entry.result["benchmark"].get(what), getattr(benchmark, what)
        if mine != other:
            called = "is called" if what == "name" else "has the version"
            return [f"the benchmark {called} {in_words(mine)}, and that of {benchmark.root} {in_words(other)}"]
    if entry.vos != benchmark.vos:
        return [
            f"the run says that its task is {'' if entry.vos else 'not '}semi-supervised VOS; its benchmark does not"
        ]
    protocol = get_run_protocol(benchmark, entry.protocol, unseen=entry.unseen)
    episodes = select_episodes(benchmark, protocol, RunOptions(protocol.name))
    if type(entry.shots) is not int or entry.shots < 1:
        return [f"the run says {in_words(entry.shots)} shots"]
    benchmark.check_shots(episodes, entry.shots)
    records = {row["id"]: row for row in entry.records}
    missing = [e.id for e in episodes if e.id not in records]
    unknown = sorted(set(records) - {e.id for e in episodes})
    if missing:
        return [f"{len(missing)} of {len(episodes)} episodes are missing: {missing[0]}"]
    if unknown:
        return [f"{counted(len(unknown), 'episodes')} {are(len(unknown))} not of the benchmark: {unknown[0]}"]
    for episode in episodes:
        problem = _episode(records[episode.id], episode, benchmark, protocol, entry.shots)
        if problem:
            return [problem]
    return same_result(entry.result, benchmark_result(entry.run, benchmark, protocol, episodes, records))


def _episode(
    row: Mapping[str, Any], episode: Episode, benchmark: Benchmark, protocol: Protocol, shots: int
) -> str | None:
    if row.get("error"):
        return None  # its run takes no rank, and is refused
    wanted: dict[str, Any] = {"category": episode.category}
    if benchmark.kind == "image":
        wanted |= {"query": episode.video, "fold": episode.fold}
        needed: tuple[str, ...] = FOLD_COUNTS
        # icvos score says all that there are.
        allowed = [list(episode.supports[:shots]), list(episode.supports)]
        if row.get("supports") not in allowed:
            return f"episode {episode.id} says other supports than the benchmark's"
    else:
        needed = protocol.parts
        video = benchmark.videos[episode.video]
        frames = len(protocol.frames(video.frames))
        wanted |= {"video": episode.video, RUN_COLUMN: episode.run, **episode.about}
        wanted |= {"source": video.source, "frames": frames}
        wanted |= protocol.marks(episode.video, episode.category_name, episode.asked)
        if not 0 <= (row.get("visible_frames") or 0) <= frames:
            return f"episode {episode.id} says {row.get('visible_frames')} visible frames of {frames}"
    lacks = next((name for name in needed if row.get(name) is None), None)
    if lacks is not None:
        return f"episode {episode.id} says no {lacks}"
    for name, value in wanted.items():
        if row.get(name) != value:
            return f"episode {episode.id} says {name} {in_words(row.get(name))}, and the benchmark {in_words(value)}"
    return None
