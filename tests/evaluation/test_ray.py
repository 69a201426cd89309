"""Evaluating on a Ray cluster of two nodes on the loopback address: what one process gives, whatever is killed."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from interpreters import hosts, numpy_alone
from ray_cluster import ROOT, RayCluster, below, command_line
from run_models import BROKEN, IMAGE, RED, TOGETHER, WEIGHTED, write_model
from tiny import write_image_benchmark, write_video_benchmark

from icvos.errors import BenchmarkError, MissingExtraError, UsageError, WeightsError
from icvos.evaluation import ray_pool, shipping
from icvos.evaluation.crew import ModelSpec
from icvos.evaluation.runner import evaluate
from icvos.files import file_sha256
from icvos.runs.episodes import RunOptions
from icvos.version import __version__

needs_ray = pytest.mark.skipif(
    not any(Path(folder, "ray", "__init__.py").is_file() for folder in sys.path), reason="ray is not installed"
)
SHIPS_AGAIN = "the same command ships it again"
# Of the clock and the memory, which are never twice the same.
MEASURED = ("seconds", "fps", "memory", "first_mask", "traceback")
EATER = """
class Eater(VideoModel):
    info = ModelInfo(name="eater", version="1")

    def segment(self, supports, video, *, seed):
        there = dict(line.split(":") for line in open("/proc/meminfo"))
        for index, frame in enumerate(video):
            if index == 2:
                try:
                    np.empty(int(there["MemAvailable"].split()[0]) * 1024)
                except MemoryError:
                    raise MemoryError("no more") from None
            yield frame[..., 0] > 150
"""

# Says in a file that it is at work on an episode, for as long as that takes; slow where a file asks for it.
MARKED = """
from pathlib import Path

class Marked(VideoModel):
    info = ModelInfo(name="marked", version="1")

    def __init__(self, *, device="cpu", weights=None, marks: str = ""):
        super().__init__(device=device, weights=weights)
        self.marks = Path(marks)

    def segment(self, supports, video, *, seed):
        mark = self.marks / f"{os.getpid()}-{seed}"
        mark.touch()
        generator = np.random.default_rng(seed)
        for frame in video:
            time.sleep(0.2 if (self.marks / "slow").exists() else 0)
            yield (frame[..., 0] > 150) ^ (generator.random(frame.shape[:2]) < 0.1)
        mark.unlink()
"""
# In every video, not in the first alone.
EVERY = """
    def segment(self, supports, video, *, seed):
        for index, frame in enumerate(video):
            good = frame[..., 0] > 150
            yield getattr(self, self.how)(good) if index == 2 and seed % 3 == 0 else good
"""
PRINTS = """
class Prints(VideoModel):
    info = ModelInfo(name="prints", version="1")

    def segment(self, supports, video, *, seed):
        for frame in video:
            for stream in (sys.stdout, sys.stderr):
                stream.write("a word and a bar\\r" * 100_000 + "\\n")
            os.write(1, b"\\xff" * 1_000_000)
            yield frame[..., 0] > 150
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    made = RayCluster(tmp_path_factory.mktemp("home"))
    yield made
    made.end()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video_benchmark(tmp_path_factory.mktemp("video") / "bench", videos=5, frames=4)


@dataclass(frozen=True)
class Watched:
    """A run whose model says when it is at work.

    Attributes:
        words: Of the command.
        here: The same run in one process, with masks.
        marks: Folder of the files that say who is at work.
    """

    model: str
    bench: Path
    here: Path
    marks: Path

    @property
    def words(self) -> list[Any]:
        return ["--set", f"marks={self.marks}", "--save-masks"]

    def slow(self) -> None:
        """Forget who was at work, and let those who come take their time."""
        for path in self.marks.iterdir():
            path.unlink()
        (self.marks / "slow").touch()

    def at_work(self, actors: list[int]) -> dict[int, Path]:
        """The actors whose process is at work on an episode, each with the file that says so."""
        marks = {int(path.name.partition("-")[0]): path for path in self.marks.glob("*-*")}
        return {actor: marks[child] for actor in actors for child in below(actor) if child in marks}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Of 20 videos and 42 episodes."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "marks").mkdir()
    bench = write_video_benchmark(folder / "bench", videos=20, frames=4)
    model = write_model(folder / "a", MARKED)
    options = {"marks": str(folder / "marks")}
    evaluate(model, bench, out=folder / "one", options=options, save_masks=True, verify=False)
    return Watched(model, bench, folder / "one", folder / "marks")


def start(cluster: RayCluster, model: str, bench: Path, out: Path, *more: Any) -> subprocess.Popen[str]:
    """The command on the cluster, in a process group of its own."""
    words = ["--model", model, "--benchmark", bench, "--out", out, "--engine", "ray", "--address", cluster.address]
    words += ["--no-verify", *more]
    return subprocess.Popen(
        [sys.executable, ROOT / "cli.py", "evaluate", *map(str, words)],
        env=cluster.environment,
        cwd=out.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(cluster: RayCluster, model: str, bench: Path, out: Path, *more: Any, status: int = 0) -> str:
    process = start(cluster, model, bench, out, *more)
    text, _ = process.communicate(timeout=200)
    assert process.returncode == status, text
    return text


def lines(folder: Path) -> list[str]:
    """The lines of ``episodes.jsonl``."""
    path = folder / "episodes.jsonl"
    return path.read_text().splitlines() if path.is_file() else []


def records(folder: Path) -> list[dict[str, Any]]:
    """An episode's last record each, sorted by id, without what is measured."""
    last = {record["id"]: record for record in map(json.loads, lines(folder))}
    return [
        {name: value for name, value in last[key].items() if not any(word in name for word in MEASURED)}
        for key in sorted(last)
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_same(one: Path, other: Path) -> None:
    """Both runs have the same result, records and masks, byte for byte."""
    assert (one / "result.json").read_bytes() == (other / "result.json").read_bytes()
    assert records(one) == records(other)
    masks = files(one / "masks")
    assert masks == files(other / "masks") and masks


def actors(cluster: RayCluster) -> list[int]:
    return cluster.processes("ray::_Relay")


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def check_empty(cluster: RayCluster) -> None:
    """No actor is left, no process of one, and none of the masks that were on their way."""
    wait_for(lambda: not actors(cluster) and not cluster.processes("multiprocessing"))
    wait_for(lambda: not list(Path(cluster.folder).glob("icvos-*")))


@needs_ray
def test_a_cluster_gives_what_one_process_gives(cluster, bench, tmp_path):
    red = write_model(tmp_path / "a", RED)
    evaluate(red, bench, out=tmp_path / "one", save_masks=True, verify=False)
    text = run(cluster, red, bench, tmp_path / "ray", "--save-masks")
    check_same(tmp_path / "one", tmp_path / "ray")
    assert re.search(r"^time: .*; [23] workers", text, re.MULTILINE)
    check_empty(cluster)


@pytest.mark.slow
@needs_ray
def test_a_method_in_an_interpreter_of_its_own(cluster, bench, tmp_path):
    python = numpy_alone(tmp_path / "numpy-alone")
    model = write_model(tmp_path / "a", "from beside_there import THRESHOLD\n" + TOGETHER)
    (tmp_path / "a/beside_there.py").write_text("THRESHOLD = 150\n")
    evaluate(model, bench, out=tmp_path / "one", save_masks=True, verify=False)
    run(cluster, "a/my_method.py", bench, tmp_path / "ray", "--save-masks", "--python", python)
    check_same(tmp_path / "one", tmp_path / "ray")
    wait_for(lambda: not hosts(python))


@needs_ray
def test_a_shipped_benchmark_and_one_pass_over_a_video(cluster, bench, tmp_path):
    model = write_model(tmp_path / "a", "from beside import THRESHOLD\n" + TOGETHER)
    (tmp_path / "a/beside.py").write_text("THRESHOLD = 150\n")
    evaluate(model, bench, out=tmp_path / "one", save_masks=True, verify=False)
    run(cluster, model, bench, tmp_path / "ray", "--save-masks", "--stage")
    check_same(tmp_path / "one", tmp_path / "ray")
    home = Path(cluster.environment["ICVOS_HOME"])
    (staged,) = [path for path in (home / "ray").iterdir() if path.is_dir()]
    assert files(staged) == files(bench)


@needs_ray
@pytest.mark.slow
def test_a_shipped_benchmark_that_was_damaged_is_shipped_again_once_it_is_deleted(cluster, bench, tmp_path):
    red = write_model(tmp_path / "a", RED)
    evaluate(red, bench, out=tmp_path / "one", save_masks=True, verify=False)
    run(cluster, red, bench, tmp_path / "first", "--stage")
    home = Path(cluster.environment["ICVOS_HOME"])
    (staged,) = [path for path in (home / "ray").iterdir() if path.is_dir()]
    frame = sorted(staged.glob("videos/*/*/*"))[-1]
    frame.write_bytes(frame.read_bytes() + b"x")
    text = run(cluster, red, bench, tmp_path / "ray", "--save-masks", "--stage", status=2)
    assert f"in {frame}; expected SHA-256" in text and f"; delete {staged} on node {os.uname().nodename}: " in text
    shutil.rmtree(staged)
    run(cluster, red, bench, tmp_path / "ray", "--save-masks", "--stage")
    check_same(tmp_path / "one", tmp_path / "ray")


@pytest.mark.slow
@needs_ray
def test_weights_are_found_from_another_folder(cluster, bench, tmp_path):
    model = write_model(tmp_path / "a", WEIGHTED)
    (tmp_path / "w.txt").write_text("150")
    evaluate(model, bench, out=tmp_path / "one", weights={"w": tmp_path / "w.txt"}, verify=False)
    run(cluster, model, bench, tmp_path / "ray", "--weights", "w=w.txt")
    assert (tmp_path / "one/result.json").read_bytes() == (tmp_path / "ray/result.json").read_bytes()


@pytest.mark.slow
@needs_ray
def test_an_image_benchmark(cluster, tmp_path):
    bench = write_image_benchmark(tmp_path / "bench")
    model = write_model(tmp_path, IMAGE)
    evaluate(model, bench, out=tmp_path / "one", save_masks=True)
    run(cluster, "my_method.py", bench, tmp_path / "ray", "--save-masks")
    check_same(tmp_path / "one", tmp_path / "ray")


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("how", ["hangs", "dies", "killed", "raises", "nan"])
def test_a_model_that_breaks_leaves_the_same_records(cluster, bench, tmp_path, how):
    model = write_model(tmp_path / "a", BROKEN)
    chosen = ["--timeout", 2, "--limit-episodes", 1, "--set", f"how={how}", "--set"]
    run(cluster, model, bench, tmp_path / "ray", *chosen, f"marker={tmp_path / 'm1'}", status=1)
    options = {"how": how, "marker": str(tmp_path / "m2")}
    evaluate(model, bench, out=tmp_path / "here", options=options, timeout=2, limit_episodes=1, verify=False)
    assert records(tmp_path / "ray") == records(tmp_path / "here")
    assert records(tmp_path / "ray")[0]["error"]
    check_empty(cluster)


@pytest.mark.slow
@needs_ray
def test_a_model_that_takes_all_memory_leaves_the_same_records(cluster, bench, tmp_path):
    model = write_model(tmp_path / "a", EATER)
    run(cluster, model, bench, tmp_path / "ray", "--limit-episodes", 2, status=1)
    evaluate(model, bench, out=tmp_path / "here", workers=2, limit_episodes=2, verify=False)
    assert records(tmp_path / "ray") == records(tmp_path / "here")
    assert "MemoryError: no more" in records(tmp_path / "ray")[0]["error"]


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("how", ["hangs", "dies", "nan"])
def test_a_model_that_breaks_in_every_video_leaves_the_same_result(cluster, bench, tmp_path, how):
    model = write_model(tmp_path / "a", BROKEN + EVERY)
    settings = ["--timeout", 2, "--set", f"how={how}", "--save-masks"]
    run(cluster, model, bench, tmp_path / "ray", *settings, status=1)
    more = {"timeout": 2, "options": {"how": how}, "save_masks": True}
    evaluate(model, bench, out=tmp_path / "here", workers=2, verify=False, **more)
    check_same(tmp_path / "here", tmp_path / "ray")
    assert 0 < sum("error" in record for record in records(tmp_path / "ray")) < 12


@pytest.mark.slow
@needs_ray
def test_a_model_that_prints_a_lot_gives_the_same(cluster, bench, tmp_path):
    model = write_model(tmp_path / "a", PRINTS)
    text = run(cluster, model, bench, tmp_path / "ray", "--save-masks")
    assert "a word and a bar" not in text
    evaluate(model, bench, out=tmp_path / "here", save_masks=True, verify=False)
    check_same(tmp_path / "here", tmp_path / "ray")


@needs_ray
@pytest.mark.slow
def test_an_actor_is_killed_ten_times(cluster, watched, tmp_path):
    watched.slow()
    process = start(cluster, watched.model, watched.bench, tmp_path / "ray", *watched.words)
    hits: Counter[str] = Counter()

    def to_hit() -> dict[int, Path]:
        """The actors whose episode may move once more."""
        at_work = watched.at_work(actors(cluster))
        return {actor: mark for actor, mark in at_work.items() if hits[mark.name.partition("-")[2]] < 3}

    while sum(hits.values()) < 10:
        wait_for(to_hit)
        assert process.poll() is None
        actor, mark = next(iter(to_hit().items()), (0, Path()))
        time.sleep(0.2)  # by then the driver has what it sent before
        if not actor or not mark.exists():
            continue
        os.kill(actor, signal.SIGKILL)
        wait_for(lambda actor=actor: not command_line(actor))
        # An episode that ended all the same was not hit.
        hits[mark.name.partition("-")[2]] += mark.exists()
    (watched.marks / "slow").unlink()
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    check_same(watched.here, tmp_path / "ray")
    assert len(lines(tmp_path / "ray")) == 42
    check_empty(cluster)


@needs_ray
@pytest.mark.slow
def test_a_driver_is_killed_ten_times(cluster, watched, tmp_path):
    watched.slow()
    for number in range(10):
        process = start(cluster, watched.model, watched.bench, tmp_path / "ray", *watched.words)
        wait_for(lambda n=number: len(lines(tmp_path / "ray")) > n and watched.at_work(actors(cluster)))
        assert process.poll() is None
        process.kill()
        process.communicate(timeout=100)
        check_empty(cluster)
        # Two actors may have sent what was not written, or were at the next episode.
        assert number < len(lines(tmp_path / "ray")) < 42
    assert len(list(watched.marks.glob("*-*"))) >= 10
    (watched.marks / "slow").unlink()
    run(cluster, watched.model, watched.bench, tmp_path / "ray", *watched.words)
    check_same(watched.here, tmp_path / "ray")
    assert len(lines(tmp_path / "ray")) == 42
    check_empty(cluster)


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_stopped_leaves_no_actor_and_goes_on(cluster, watched, tmp_path, number):
    watched.slow()
    process = start(cluster, watched.model, watched.bench, tmp_path / "ray", *watched.words)
    wait_for(lambda: len(lines(tmp_path / "ray")) >= 2)
    os.kill(process.pid, number)
    text, _ = process.communicate(timeout=100)
    assert process.returncode != 0
    check_empty(cluster)
    assert 2 <= len(lines(tmp_path / "ray")) < 42, text
    (watched.marks / "slow").unlink()
    run(cluster, watched.model, watched.bench, tmp_path / "ray", *watched.words)
    check_same(watched.here, tmp_path / "ray")
    assert len(lines(tmp_path / "ray")) == 42


@needs_ray
@pytest.mark.slow
def test_a_node_is_killed_and_another_joins_late(watched, tmp_path):
    watched.slow()
    cluster = RayCluster(tmp_path / "home")
    try:
        process = start(cluster, watched.model, watched.bench, tmp_path / "ray", *watched.words)
        wait_for(lambda: len(lines(tmp_path / "ray")) >= 2 and len(watched.at_work(actors(cluster))) == 2)
        at_work = watched.at_work(actors(cluster))
        cluster.kill(1)
        wait_for(lambda: len(at_work.keys() - set(actors(cluster))) == 1)
        (lost,) = at_work.keys() - set(actors(cluster))
        # It ended in the middle of an episode: this one, or the next.
        assert list(watched.marks.glob(f"{at_work[lost].name.partition('-')[0]}-*")) and process.poll() is None
        cluster.add()
        wait_for(lambda: len(watched.at_work(actors(cluster))) == 2)
        (watched.marks / "slow").unlink()
        text, _ = process.communicate(timeout=200)
        assert process.returncode == 0, text
        check_same(watched.here, tmp_path / "ray")
        check_empty(cluster)
    finally:
        there = below(cluster.keeper.pid)
        cluster.end()
    wait_for(lambda: not any(command_line(number) for number in there))


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("stage", [[], ["--stage"]])
def test_the_whole_cluster_is_killed_and_the_run_goes_on_without_it(watched, tmp_path, stage):
    watched.slow()
    cluster = RayCluster(tmp_path / "home")
    try:
        process = start(cluster, watched.model, watched.bench, tmp_path / "ray", *watched.words, *stage)
        wait_for(lambda: len(lines(tmp_path / "ray")) >= 2)
        cluster.kill(0)
        cluster.kill(1)
        text, _ = process.communicate(timeout=100)
    finally:
        cluster.end()
    # Ray's own words on its raylet come before this line or after it.
    said = [line for line in text.splitlines() if line.startswith("icvos: the Ray cluster is gone")]
    assert process.returncode == 1 and len(said) == 1 and "run the same command again" in said[0], text
    assert "cannot be built" not in text
    assert 2 <= len(lines(tmp_path / "ray")) < 42
    (watched.marks / "slow").unlink()
    options = {"marks": str(watched.marks)}
    evaluate(watched.model, watched.bench, out=tmp_path / "ray", options=options, save_masks=True, verify=False)
    check_same(watched.here, tmp_path / "ray")
    assert len(lines(tmp_path / "ray")) == 42


# Says what it was built on, and computes otherwise where Ray gives it a GPU.
HALVED = """
class Halved(VideoModel):
    info = ModelInfo(name="halved", version="1")

    @property
    def dtype(self):
        return "float16" if self.device == "cuda" else "float32"

    def segment(self, supports, video, *, seed):
        for frame in video:
            yield frame[..., 0] > (230 if "CUDA_VISIBLE_DEVICES" in os.environ else 120)
"""
NOT_THERE = """
    def __init__(self, *, device="cpu", weights=None):
        super().__init__(device=device, weights=weights)
        if device == "cuda":
            raise ValueError("not there")
"""


@needs_ray
@pytest.mark.slow
def test_a_driver_without_a_gpu_evaluates_on_those_of_the_cluster(bench, tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    model = write_model(tmp_path / "a", HALVED)
    cluster = RayCluster(tmp_path / "home", gpus=1)  # so Ray thinks; the model does not use it
    words = ["--save-masks", "--device", "cuda"]
    try:
        text = run(cluster, model, bench, tmp_path / "ray", *words, "--verify")
        assert "verified: " in text
        text = run(cluster, model, bench, tmp_path / "q", *words, "--gpus-per-worker", 2, status=2)
        assert "no node of the cluster has 1 CPUs and 2 GPUs" in text and not (tmp_path / "q").exists()
        text = run(cluster, model, bench, tmp_path / "q", *words, "--dry-run", status=2)
        assert "device 'cuda' is not there" in text
        broken = write_model(tmp_path / "b", HALVED + NOT_THERE)
        text = run(cluster, broken, bench, tmp_path / "q", *words, status=2)
        assert "cannot be built (ValueError: not there)" in text and not (tmp_path / "q").exists()
    finally:
        cluster.end()
    record = json.loads((tmp_path / "ray/run.json").read_text())
    assert (record["key"]["device"], record["key"]["dtype"]) == ("cuda", "float16")
    assert record["environment"]["device"] == "cuda"
    # In a process that has not imported torch, a model may say that it is on a GPU.
    more = "out='here', device='cuda', save_masks=True, verify=False"
    code = f"import icvos; icvos.evaluate({model!r}, {str(bench)!r}, {more})"
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=cluster.environment | {"CUDA_VISIBLE_DEVICES": "0"}, check=True
    )
    check_same(tmp_path / "here", tmp_path / "ray")


@needs_ray
def test_a_dry_run_counts_the_workers_of_the_cluster(cluster, bench, tmp_path):
    red = write_model(tmp_path / "a", RED)
    text = " ".join(run(cluster, red, bench, tmp_path / "r", "--dry-run").split())  # cells are wrapped
    assert re.search(r"time .* / 2, and .* to build the model, twice", text)
    assert "each of 2 workers takes as much of its node" in text and "× 3 processes" not in text
    assert not (tmp_path / "r").exists()
    text = run(cluster, red, bench, tmp_path / "r", "--dry-run", "--cpus-per-worker", 2, status=2)
    assert "no node of the cluster has 2 CPUs" in text


@pytest.mark.slow
@needs_ray
def test_what_is_wrong_is_said_in_one_line(cluster, bench, tmp_path, monkeypatch):
    red = write_model(tmp_path / "a", RED)
    text = run(cluster, red, bench, tmp_path / "r", "--cpus-per-worker", 2, status=2)
    assert "no node of the cluster has 2 CPUs and 0 GPUs for a worker; expected no more than 1 CPUs, 0 GPUs" in text
    text = run(cluster, red, bench, tmp_path / "q", "--address", "127.0.0.1:1", status=2)
    assert "no Ray cluster at '127.0.0.1:1'" in text and "docs/how-to/cluster.md" in text
    broken = RED.replace("super()", "os.environ['ONLY_HERE']; super()")
    monkeypatch.setitem(cluster.environment, "ONLY_HERE", "1")
    text = run(cluster, write_model(tmp_path / "b", broken), bench, tmp_path / "s", status=2)
    assert "model 'red' cannot be built (KeyError: 'ONLY_HERE')" in text
    check_empty(cluster)


@pytest.mark.parametrize("address", ["nonsense", ":6379", "host:", "host:x", "host:99999", "ray://host"])
def test_what_is_no_address(address):
    with pytest.raises(UsageError, match="is no address of a Ray cluster; expected HOST:PORT"):
        ray_pool._check_address(address)


@needs_ray
@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("127.0.0.2:1", "no Ray cluster at '127.0.0.2:1' .*refused"),  # ended, and its address is still there
        ("ray:", "'ray:' is no address of a Ray cluster"),
        ("local", "RAY_ADDRESS is local"),
    ],
)
def test_a_cluster_that_ended_is_not_waited_for(variable, says, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", variable)
    with pytest.raises(UsageError, match=says):
        ray_pool.count_workers(RunOptions(engine="ray"), "cpu")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", None])
def test_another_server_at_the_address_is_no_cluster(answer, monkeypatch):
    """One that says nothing (None) is waited for no longer than the connection's timeout."""
    create = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: create(address, timeout=0.2))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while answer is None and connection.recv(100):
                    continue
                connection.sendall(answer or b"")

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"no Ray cluster at '{address}' .*; expected HOST:PORT of its head"):
            ray_pool._check_address(address)
        thread.join()


def test_another_version_of_icvos_is_refused():
    ((kind, error),) = ray_pool._Relay().begin("0.0.1", b"no pickle of this version", [])
    assert kind == "broken" and isinstance(error, UsageError) and "0.0.1, as where the run was started" in str(error)


def test_a_shipped_benchmark_without_its_manifest_is_to_be_deleted(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path))
    manifest = file_sha256(bench / "manifest.csv")
    chunks = list(shipping.pack_benchmark(bench))
    folder, use = shipping.unpack_benchmark(manifest, chunks, bytes)
    use.close()
    (folder / "manifest.csv").unlink()
    order = ray_pool._Order(ModelSpec("empty", "cpu", {}, {}, False), None, manifest, None, {})
    monkeypatch.setattr(ray_pool, "check_ray", lambda: SimpleNamespace(get=bytes))
    ((kind, error),) = ray_pool._Relay().begin(__version__, pickle.dumps(order), chunks)
    assert kind == "broken" and str(error).endswith(f"; delete {folder} on node {os.uname().nodename}: {SHIPS_AGAIN}")


@pytest.mark.parametrize(
    ("error", "changed"),
    [
        (BenchmarkError("changed", where="/ray/a/x.jpg"), True),
        (BenchmarkError("changed", where="/ray/ab/x.jpg"), False),
        (WeightsError("others", where=Path("/w.pth")), False),
        (UsageError("wrong"), False),
        (RuntimeError("/ray/a"), False),
    ],
)
def test_what_is_to_be_shipped_again(error, changed):
    again = shipping.ship_again(error, Path("/ray/a"))
    assert (again is not error) == changed == (SHIPS_AGAIN in str(again))
    assert shipping.ship_again(error, None) is error


def test_without_ray_it_is_said_what_to_install(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"--engine ray needs the package ray; .*\[ray\]"):
        evaluate(write_model(tmp_path, RED), bench, out=tmp_path / "r", engine="ray")
    assert not (tmp_path / "r").exists()


def test_a_gpu_of_one_machine_is_no_device_of_a_cluster(bench, tmp_path):
    with pytest.raises(UsageError, match="--device cuda: Ray gives each worker its own"):
        evaluate(write_model(tmp_path, RED), bench, out=tmp_path / "r", engine="ray", device="cuda:1")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"engine": "rye"}, "did you mean 'ray'"),
        ({"stage": True}, "add --engine ray"),
        ({"engine": "ray", "workers": 2}, "leave --workers out"),
        ({"engine": "ray", "gpus_per_worker": -1}, "expected 0 or more"),
        ({"engine": "ray", "cpus_per_worker": 0}, "expected at least 1"),
    ],
)
def test_settings_that_make_no_sense(settings, says):
    with pytest.raises(UsageError, match=says):
        RunOptions(**settings)


@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_a_benchmark_arrives_whole_in_however_many_pieces(bench, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(shipping, "CHUNK_BYTES", chunk)
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path))
    chunks = list(shipping.pack_benchmark(bench))
    assert len(chunks) == (len(files(bench)) if chunk == 1 else 1)
    folder, use = shipping.unpack_benchmark("0" * 64, range(len(chunks)), chunks.__getitem__)
    use.close()
    assert files(folder) == files(bench) and folder.parent == tmp_path / "ray"
    # What is there is not fetched again.
    again, use = shipping.unpack_benchmark("0" * 64, [0], {}.__getitem__)
    use.close()
    assert again == folder


@pytest.mark.parametrize("how", ["full", "file"])
def test_a_shipped_benchmark_that_finds_no_room_says_so(bench, tmp_path, monkeypatch, how):
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path))
    if how == "file":
        (tmp_path / "ray").write_text("")
    chunks = list(shipping.pack_benchmark(bench))

    def extract(self, path, **how):
        Path(path).mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extractall", extract)
    with pytest.raises(BenchmarkError, match=r"node .* cannot take the shipped benchmark .*; set ICVOS_HOME there"):
        shipping.unpack_benchmark("0" * 64, [0], chunks.__getitem__)
    assert not list(tmp_path.glob("ray/*.partial"))


@pytest.mark.parametrize("spec", ["red", "package.module:Red", "histogram+sam2", "package.python:Red"])
def test_an_installed_model_is_not_shipped(spec, tmp_path):
    assert shipping.ship_model(spec, tmp_path) == spec and not list(tmp_path.iterdir())


def test_a_model_in_a_file_is_shipped_with_what_it_imports(tmp_path):
    write_model(tmp_path / "a", RED)
    (tmp_path / "a/helpers/__pycache__").mkdir(parents=True)
    (tmp_path / "a/helpers/__init__.py").touch()
    (tmp_path / "a/videos").mkdir()
    (tmp_path / "a/weights.bin").touch()
    (tmp_path / "b").mkdir()
    spec = shipping.ship_model(f"{tmp_path}/a/my_method.py:Red+sam2@first-found", tmp_path / "b")
    assert spec == "my_method.py:Red+sam2@first-found"
    assert sorted(files(tmp_path / "b")) == ["helpers/__init__.py", "my_method.py"]


def test_masks_on_their_way_go_with_the_process_that_is_killed(tmp_path):
    code = "from icvos.evaluation.shipping import new_mask_folder as f; p = f(); print(p[0], flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    folder = Path(process.stdout.readline().strip())
    (folder / "episode").mkdir()
    process.kill()
    process.communicate()
    assert folder.parent == tmp_path
    wait_for(lambda: not folder.exists())


def test_a_shipped_benchmark_stays_until_another_comes_while_nobody_uses_it(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path))
    chunks = list(shipping.pack_benchmark(bench))

    def ship(letter: str) -> tuple[Path, Any]:
        return shipping.unpack_benchmark(letter * 64, range(len(chunks)), chunks.__getitem__)

    def there() -> str:
        return "".join(sorted(path.name[0] for path in (tmp_path / "ray").iterdir() if path.is_dir()))

    (tmp_path / "ray" / f"{'d' * 32}.partial").mkdir(parents=True)  # of a process that was killed
    first, use = ship("a")
    with use:
        ship("b")[1].close()
        assert there() == "ab"
        with ship("c")[1], ship("a")[1]:
            assert there() == "ac" and files(first) == files(bench)
    ship("b")[1].close()
    assert there() == "b" and len(list((tmp_path / "ray").iterdir())) == 2
