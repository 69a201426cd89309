"""Every command that writes, on tiny data, and what its output says: for tests of kills, full disks and limits."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from board_runs import icvos
from programs import BRIGHT, write_program
from raw_trees import coco, davis, recipe
from run_models import RED, write_model
from tiny import write_video_benchmark

from icvos.demo.benchmarks import LAYOUTS, demo_layout

CHECKPOINT = bytes(range(256)) * 20_000

# Command: its words, given the world and the folder for its output.
COMMANDS: dict[str, Callable[[Path, Path], list[Any]]] = {
    "build-data demo": lambda w, out: ["build-data", "demo", "--size", "tiny", "--out", out / "a"],
    "build-data vos": lambda w, out: ["build-data", "vos", "--davis", w / "davis", "--out", out / "a"],
    "build-data ic-vos": lambda w, out: [
        *("build-data", "ic-vos", "--davis", w / "davis", "--coco", w / "coco", "--out", out / "a"),
        *("--recipe", w / "recipe/objects.csv", "--recipe", w / "recipe/complete.csv"),
    ],
    "build-data coco-20i": lambda w, out: [
        *("build-data", "coco-20i", "--coco", w / "coco", "--train-split", "val2014", "--out", out / "a"),
        *("--shots", 1, "--min-area", 1, "--paper-episodes", 2, "--fold", 0),
    ],
    "build-data youtube-fsvos": lambda w, out: [
        *("build-data", "youtube-fsvos", "--ytvis", w / "layouts/ytvis", "--group", 1, "--draws", 1, "--shots", 1),
        *("--out", out / "a"),
    ],
    "build-data saco-ic": lambda w, out: [
        *("build-data", "saco-ic", "--saco", w / "layouts/saco", "--draws", 1, "--shots", 1, "--out", out / "a")
    ],
    "build-data fss-1000": lambda w, out: [
        *("build-data", "fss-1000", "--fss", w / "layouts/fss-1000", "--shots", 1, "--out", out / "a")
    ],
    "build-data lvis-92i": lambda w, out: [
        *("build-data", "lvis-92i", "--lvis", w / "layouts/lvis", "--fold", 0, "--fold", 1, "--out", out / "a")
    ],
    "build-data mask-tubes": lambda w, out: [
        *("build-data", "mask-tubes", "--coco", w / "coco", "--split", "val2014", "--out", out / "a"),
        *("--min-area", 1, "--limit", 4),
    ],
    "build-data labels": lambda w, out: ["build-data", "labels", "--davis", w / "davis", "--out", out / "a"],
    "evaluate": lambda w, out: [*evaluation(w), "--save-masks", "--out", out / "a"],
    "evaluate workers": lambda w, out: [*evaluation(w), "--save-masks", "--workers", 2, "--out", out / "a"],
    "evaluate program": lambda w, out: [
        *("evaluate", "--model", f"exec:{w}/bright.sh", "--set", "frames=ppm", "--benchmark", w / "bench"),
        *("--save-masks", "--out", out / "a"),
    ],
    "export-episodes": lambda w, out: ["export-episodes", "--benchmark", w / "bench", "--out", out / "a"],
    "export csv": lambda w, out: ["export", w / "run", "--to", "csv", "--out", out / "a"],
    "export ytvis": lambda w, out: ["export", w / "bench", "--to", "ytvis", "--with-frames", "--out", out / "a"],
    "export ytvis of a run": lambda w, out: ["export", w / "run", "--to", "ytvis", "--out", out / "a"],
    "export coco": lambda w, out: ["export", w / "bench", "--to", "coco", "--with-frames", "--out", out / "a"],
    "export davis": lambda w, out: ["export", w / "apart", "--to", "davis", "--out", out / "a"],
    "export hub": lambda w, out: ["export", w / "bench", "--to", "hub", "--with-frames", "--out", out / "a"],
    "export codabench": lambda w, out: [
        "export",
        w / "bench",
        "--to",
        "codabench",
        "--with-frames",
        "--out",
        out / "a",
    ],
    "score": lambda w, out: ["score", w / "run/masks", "--benchmark", w / "bench", "--out", out / "a"],
    "merge": lambda w, out: ["merge", w / "s1", w / "s2", "--out", out / "a"],
    "report": lambda w, out: ["report", w / "run", "--out", out / "a"],
    "compare": lambda w, out: ["compare", w / "run", w / "other", "--out", out / "a"],
    "show": lambda w, out: ["show", w / "run", "--by", "episode", "--csv", "--out", out / "a.csv"],
    "submit pack": lambda w, out: ["submit", "pack", w / "run", "--out", out / "a.zip"],
    "leaderboard add": lambda w, out: [
        *("leaderboard", "add", w / "run", "--benchmark", w / "bench", "--board", out / "board", "--replace")
    ],
    "leaderboard render": lambda w, out: ["leaderboard", "render", out / "a.html", "--board", w / "board"],
    "segment": lambda w, out: [
        *("segment", "--support", w / "photo.jpg", w / "photo.png", "--video", w / "frames"),
        *("--model", "histogram", "--out", out / "a"),
    ],
    "show-episode": lambda w, out: [
        *("show-episode", "--model", "histogram", "--benchmark", w / "bench", "--out", out / "a.png")
    ],
    "train": lambda w, out: [
        *("train", "toy_training:ToyTask", "--device", "cpu", "--epochs", 3, "--batch", 2, "--save-every", 2),
        *("--out", out / "a"),
    ],
    "weights fetch": lambda w, out: [
        *("weights", "fetch", "thing", "--mirror", (w / "mirror").read_text(), "--to", out / "a")
    ],
}
"""``launch``, ``reproduce run`` and ``demo`` write by these commands alone."""

# What the clock says, and where a thing lies. A run that is killed before it is verified is not verified afterwards.
MEASURED = re.compile(
    r"verified|start|end|times|seconds|fps|.*memory.*|.*seconds|.*_fps|commit|platform|where|made|created|out|first_mask.*"
    r"|elapsed|frame_seconds.*|examples_per_second|.*_share|host.*"
)
GROWING = (
    "episodes.jsonl",
    "run.json",
    "benchmarks.json",
    "log.csv",
    "curves.png",
    "checkpoint.pt",
    "best.safetensors",
)

# The command line with one more checkpoint in its list, which the local server has.
ENTRY = """
import hashlib, sys
sys.path[:0] = {path!r}
from icvos import cli
from icvos.foundation.checkpoints import CHECKPOINTS, Checkpoint
CHECKPOINTS["thing"] = Checkpoint("thing", "thing.pt", "http://x/thing.pt", {size}, {sha256!r}, "B", "MIT", "page")
if __name__ == "__main__":
    cli.main(sys.argv[1:])
"""


def evaluation(world: Path) -> list[Any]:
    """Return the words that evaluate the world's method on its benchmark."""
    return ["evaluate", "--model", f"{world}/my_method.py", "--benchmark", world / "bench"]


def write_world(root: Path) -> None:
    """Write what the commands read: a benchmark, raw data, runs, a board, a photograph."""
    write_video_benchmark(root / "bench", videos=3, frames=4, draws=1, size=(40, 48))
    write_video_benchmark(root / "apart", videos=2, frames=3, draws=1, size=(40, 48), apart=20)
    write_model(root, RED)
    write_program(root, BRIGHT, "bright.sh")
    assert icvos(*evaluation(root), "--save-masks", "--out", root / "run") == 0
    assert icvos("evaluate", "--model", "histogram", "--benchmark", root / "bench", "--out", root / "other") == 0
    for index in (1, 2):
        assert icvos(*evaluation(root), "--shard", f"{index}/2", "--out", root / f"s{index}") == 0
    assert icvos("leaderboard", "add", root / "run", "--benchmark", root / "bench", "--board", root / "board") == 0
    coco(root / "coco")
    davis(root / "davis")
    recipe(root / "recipe")
    for name in LAYOUTS:
        demo_layout(name, "tiny", 0, root)
    video = next(path for path in (root / "bench").rglob("00000.jpg"))
    shutil.copytree(video.parent, root / "frames")
    shutil.copy(video, root / "photo.jpg")
    shutil.copy(next((root / "bench").rglob("00000.png")), root / "photo.png")
    helpers, sha256 = str(Path(__file__).parent), hashlib.sha256(CHECKPOINT).hexdigest()
    (root / "entry.py").write_text(ENTRY.format(path=[helpers], size=len(CHECKPOINT), sha256=sha256))


@contextlib.contextmanager
def written_world(root: Path) -> Iterator[Path]:
    """Write what the commands read, and serve the checkpoint, at some MB a second, to the command that fetches it."""
    write_world(root)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(CHECKPOINT) - 1}/{len(CHECKPOINT)}")
            self.send_header("Content-Length", str(len(CHECKPOINT) - start))
            self.end_headers()
            wait = threading.Event()
            for at in range(start, len(CHECKPOINT), 1 << 18):
                self.wfile.write(CHECKPOINT[at : at + (1 << 18)])
                wait.wait(0.02)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that is killed hangs up
    threading.Thread(target=service.serve_forever, args=(0.02,), daemon=True).start()
    (root / "mirror").write_text(f"http://127.0.0.1:{service.server_address[1]}")
    yield root
    service.shutdown()


def content(path: Path) -> Any:
    """What a file says, without what the clock says."""
    if path.suffix == ".json":
        return _steady(json.loads(path.read_bytes()))
    if path.suffix == ".jsonl":
        return sorted(json.dumps(_steady(json.loads(line)), sort_keys=True) for line in path.read_text().splitlines())
    if path.suffix in (".webm", ".mp4", ".html"):
        return path.stat().st_size > 0
    return path.read_bytes()


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(each) for key, each in value.items() if not MEASURED.fullmatch(key)}
    return [_steady(each) for each in value] if isinstance(value, list) else value


def files(root: Path) -> dict[str, Path]:
    """Files by their places; not what is hidden, partial, printed by a method, or named by the clock or its input."""
    found = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    others = {"cache", "tensorboard", "method.log"}
    passed = {k for k in found if any(p in others or p.startswith(".") or ".part" in p for p in k.parts)}
    return {key.as_posix(): path for key, path in found.items() if key not in passed}


def start(
    world: Path, words: list[Any], home: Path, *, limit: tuple[int, int] | None = None, **environment: str
) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own; what it prints goes to ``home/printed``.

    Args:
        world: As ``write_world`` made it.
        words: The command.
        home: ``ICVOS_HOME``.
        limit: A resource of the process, and how much of it there is.
        environment: Variables beside those of this process.
    """
    with (home / "printed").open("wb") as printed:
        return subprocess.Popen(
            [sys.executable, str(world / "entry.py"), *map(str, words)],
            env={**os.environ, "ICVOS_HOME": str(home), "OMP_NUM_THREADS": "1", **environment},
            stdout=printed,
            stderr=printed,
            preexec_fn=limit and functools.partial(resource.setrlimit, limit[0], (limit[1], limit[1])),
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], home: Path) -> None:
    """Wait for a command that must do its work."""
    assert process.wait(300) == 0, (home / "printed").read_text()[-2000:]


def judge_unfinished(out: Path, expected: Mapping[str, Any], what: str) -> None:
    """Assert that whatever a command that did not end left under a final name is whole."""
    for key, path in files(out).items():
        if path.name not in GROWING:
            assert key in expected and content(path) == expected[key], f"{what}: {key} is half-written"


def judge_finished(out: Path, expected: Mapping[str, Any], what: str) -> None:
    """Assert that an output is as expected, with nothing beside it."""
    written = files(out)
    assert sorted(written) == sorted(expected), what
    for key, path in written.items():
        assert content(path) == expected[key], f"{what}: {key} differs"
    left = [path for path in out.rglob("*") if path.name.endswith((".tmp", ".partial", ".part"))]
    assert not left, f"{what}: left {left}"


@functools.cache
def expected_of(world: Path, name: str, folder: Path) -> dict[str, Any]:
    """Return what a command writes where nothing happens, by its files' places."""
    (folder / "home").mkdir(parents=True)
    (folder / "out").mkdir()
    end(start(world, COMMANDS[name](world, folder / "out"), folder / "home"), folder / "home")
    expected = {key: content(path) for key, path in files(folder / "out").items()}
    assert expected
    return expected
