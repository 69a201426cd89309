"""A tiny demo benchmark and runs on it, and a board's records changed by hand, for the tests of leaderboards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import write_image_benchmark, write_video_benchmark

from icvos import cli, evaluate
from icvos.files import to_json

Content = dict[str, Any]


def icvos(*words: Any) -> int:
    """Run a command in this process and return its exit status."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


def build(root: Path) -> Path:
    """Build the tiny demo and return the folder of its benchmarks."""
    assert icvos("build-data", "demo", "--size", "tiny", "--out", root / "world") == 0
    return root / "world" / "benchmarks"


def run(benchmark: Path, out: Path, model: str = "histogram", *more: Any) -> Path:
    """Evaluate a method and return the run's folder."""
    assert icvos("evaluate", "--model", model, "--benchmark", benchmark, "--out", out, *more) == 0
    return out


def verify(board: Path, *words: Any) -> int:
    return icvos("leaderboard", "verify", board, *words)


def video_record(board: Path) -> Path:
    return board / "tiny/native/histogram@1.json"


def rewrite(path: Path, change: Callable[[Content], Any], *, sign: bool = True) -> None:
    """Change a record by hand; ``sign`` gives it a hash that fits, as a careful forger would."""
    content = json.loads(path.read_text())
    change(content)
    if sign:
        del content["sha256"]
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(to_json(content))


def raise_everything(content: Content) -> None:
    """All J raised, and the result made to fit: only the masks tell."""
    from icvos.benchmark import Episode
    from icvos.protocols import get_protocol
    from icvos.runs.result import video_result

    rows = content["episodes"]
    for row in rows:
        row["J"] = 99.0
    episodes = [Episode(r["id"], r["video"], r["category"], r["category_name"], r["draw"], ()) for r in rows]
    by_id, sources = {r["id"]: r for r in rows}, {r["video"]: r["source"] for r in rows}
    content["result"] = video_result(content["run"], get_protocol("native"), episodes, by_id, sources)


def packed_runs(root: Path) -> Path:
    """Write two benchmarks below a folder, ``video`` and ``image``, a run on each, and their submissions; return it."""
    for kind, write in (("video", write_video_benchmark), ("image", write_image_benchmark)):
        write(root / kind)
        evaluate("histogram", root / kind, out=root / f"run-{kind}", save_masks=True, verify=False)
        words = ("--submitter", "Ada", "--out", root / "archives" / f"{kind}.zip")
        assert icvos("submit", "pack", root / f"run-{kind}", *words) == 0
    return root
