"""Joining the shards of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icvos.errors import RunError
from icvos.evaluation.environment import now
from icvos.evaluation.protocols import protocol
from icvos.evaluation.records import RunFolder, read_run
from icvos.evaluation.runner import RunOptions, benchmark_result, open_benchmark, select_episodes, speed

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
        if not isinstance(shard, str):
            raise RunError("the run is no shard", where=path, expected="one made with --shard I/N")
        if shard in seen:
            raise RunError(f"shard {shard} is given twice: {seen[shard]} and {path}", fix="give each shard once")
        seen[shard] = path
        for name, value in described[0]["key"].items():
            if name != "shard" and run["key"].get(name) != value:
                mine = str(run["key"].get(name))[:60]
                raise RunError(
                    f"the runs differ: {name} is {mine} here and {str(value)[:60]} in {runs[0]}",
                    where=path,
                    fix="merge shards of one run",
                )
    counts = {shard.partition("/")[2] for shard in seen}
    count = int(next(iter(counts)))
    missing = [f"{index}/{count}" for index in range(1, count + 1) if f"{index}/{count}" not in seen]
    if len(counts) > 1 or missing:
        what = f"shard {', '.join(missing[:5])} is missing" if missing else "shards of different numbers"
        raise RunError(what, where=runs[0], expected=f"all of 1/{count} to {count}/{count}")
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
    place = benchmark or described[0]["environment"].get("benchmark_folder")
    opened, _ = open_benchmark(place)
    if opened.manifest_sha256 != described[0]["key"]["benchmark"]:
        raise RunError("the shards were run on another benchmark", where=opened.root, fix="give it with --benchmark")
    key = {**described[0]["key"], "shard": None}
    rule = protocol(key["protocol"], opened.kind)
    options = RunOptions(rule.name, limit_episodes=key.get("limit_episodes"))
    episodes = select_episodes(opened, rule, options)
    run = {**described[0], "key": key, "start": min(shard["start"] for shard in described), "status": "running"}
    with RunFolder.open(out, run, set_aside=False) as folder:
        done = folder.done([episode.id for episode in episodes])
        for path in runs:
            shard = RunFolder(Path(path), {})
            for identity, record in shard.records().items():
                if identity in done:
                    continue
                values = Path(path) / "frames" / f"{identity}.npz"
                frames = None
                if values.is_file():
                    with np.load(values, allow_pickle=False) as stored:
                        frames = {name: stored[name] for name in stored.files}
                folder.add(record, frames)
        records = folder.records()
        missing = [episode.id for episode in episodes if episode.id not in records]
        if missing:
            raise RunError(
                f"{len(missing)} episodes are in no shard, {missing[0]} first", where=runs[0], fix="finish every shard"
            )
        result = benchmark_result(folder.run, opened, rule, episodes, records)
        folder.write_result(result)
        ids = [episode.id for episode in episodes]
        status = "failed" if any(records[i].get("error") for i in ids) else "complete"
        folder.write_run(status=status, end=now(), **speed(records, ids))
    return result
