"""Joining the shards of a run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark
from icvos.demo.benchmarks import open_benchmark
from icvos.errors import RunError, are, counted
from icvos.manifest import verify_tables
from icvos.protocols import Protocol
from icvos.runs.environment import now
from icvos.runs.episodes import RunOptions, benchmark_result, get_run_protocol, select_episodes, speed
from icvos.runs.records import RunFolder, read_frames, read_run
from icvos.runs.times import join_times

__all__ = ["merge_runs"]


def _shards(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """Read the shards' ``run.json`` and check that they are all parts of one run.

    Raises:
        RunError: They differ, overlap, or one is missing.
    """
    described = [read_run(path) for path in runs]
    seen: dict[str, Path] = {}
    for path, run in zip(runs, described):
        shard = run["key"].get("shard")
        if not isinstance(shard, str) or not re.fullmatch(r"[1-9][0-9]{0,5}/[1-9][0-9]{0,5}", shard):
            raise RunError("the run is no shard", where=path, expected="one made with --shard I/N")
        if shard in seen:
            raise RunError(f"shard {shard} is given twice: {seen[shard]} and {path}", fix="give each shard once")
        seen[shard] = path
        for name in sorted({*described[0]["key"], *run["key"]}):
            value = described[0]["key"].get(name)
            if name == "shard_by" and run["key"].get(name) != value:
                raise RunError(
                    f"the videos were divided otherwise than in {runs[0]}",
                    where=path,
                    expected="shards of one version of the toolkit",
                    fix="run the shards of the older version again, in new folders",
                )
            if name != "shard" and run["key"].get(name) != value:
                mine = str(run["key"].get(name))[:60]
                raise RunError(
                    f"the runs differ: {name} is {mine} here and {str(value)[:60]} in {runs[0]}",
                    where=path,
                    fix="merge shards of one run",
                )
    counts = sorted({int(shard.partition("/")[2]) for shard in seen})
    if len(counts) > 1:
        raise RunError(f"shards of different numbers: of {counts[0]} and of {counts[1]}", fix="merge shards of one run")
    missing = [f"{index}/{counts[0]}" for index in range(1, counts[0] + 1) if f"{index}/{counts[0]}" not in seen]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise RunError(
            f"shard {', '.join(missing[:3])}{more} is missing", where=runs[0], expected=f"all {counts[0]} shards"
        )
    return described


def merge_runs(runs: Sequence[Path], out: Path, benchmark: str | None = None) -> dict[str, Any]:
    """Join shards into one run folder.

    Args:
        runs: Folders made with ``--shard 1/N`` … ``N/N``.
        out: The whole run's folder.
        benchmark: The benchmark's folder or demo name; by default where the shards read it.

    Returns:
        The whole run's result, the same as that of one run.

    Raises:
        RunError: Shards differ, overlap or are missing, or one is not finished.
    """
    described = _shards(runs)
    root = benchmark or described[0].get("environment", {}).get("benchmark_folder")
    if not isinstance(root, str):
        raise RunError("the runs do not say where their benchmark is", where=runs[0], fix="give it with --benchmark")
    opened, _ = open_benchmark(root)
    verify_tables(opened)
    if opened.manifest_sha256 != described[0]["key"].get("benchmark"):
        raise RunError("the shards were run on another benchmark", where=opened.root, fix="give it with --benchmark")
    key = {**described[0]["key"], "shard": None}
    key.pop("shard_by", None)
    protocol = get_run_protocol(opened, str(key.get("protocol")), unseen=key.get("unseen") or ())
    first, frames = (
        limit if type(limit) is int else None for limit in (key.get("limit_episodes"), key.get("limit_frames"))
    )
    options = RunOptions(protocol.name, limit_episodes=first, limit_frames=frames)
    episodes = select_episodes(opened, protocol, options)
    start = min(str(shard.get("start")) for shard in described)
    run = {**described[0], "key": key, "start": start, "status": "running"}
    with RunFolder.open(out, run, set_aside=False) as folder:
        done = folder.done([episode.id for episode in episodes])
        for path, said in zip(runs, described):
            shard = RunFolder(Path(path), said)
            for identity, record in shard.records().items():
                if identity not in done:
                    _copy_masks(shard.root, folder.root, identity)
                    folder.add(record, read_frames(shard.root, identity))
        records = folder.records()
        missing = [episode.id for episode in episodes if episode.id not in records]
        if missing:
            torn = runs[_place(missing[0], [run["key"]["shard"] for run in described], opened, protocol, options)]
            raise RunError(
                f"{counted(len(missing), 'episodes')} {are(len(missing))} in no shard, {missing[0]} first",
                where=torn,
                fix="finish every shard",
            )
        result = benchmark_result(folder.run, opened, protocol, episodes, records)
        folder.write_result(result)
        ids = [episode.id for episode in episodes]
        status = "failed" if result["summary"]["failed"] else "complete"
        times = join_times([shard.get("times") for shard in described])
        folder.write_run(status=status, end=now(), **speed(records, ids), times=times)
    return result


def _place(identity: str, shards: Sequence[str], benchmark: Benchmark, protocol: Protocol, options: RunOptions) -> int:
    """Return the place of the shard that an episode belongs to."""
    for place, shard in enumerate(shards):
        index, count = map(int, shard.split("/"))
        share = select_episodes(benchmark, protocol, replace(options, shard=(index, count)))
        if any(episode.id == identity for episode in share):
            return place
    raise RunError(f"no shard has episode '{identity}'", where=benchmark.root)


def _copy_masks(source: Path, out: Path, identity: str) -> None:
    masks = source / "masks" / identity
    if masks.is_dir():
        partial = out / "masks" / f"{identity}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(masks, partial)
        shutil.rmtree(out / "masks" / identity, ignore_errors=True)
        partial.rename(out / "masks" / identity)
