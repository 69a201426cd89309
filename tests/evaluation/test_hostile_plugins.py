"""Plugins that exit, raise what is no error, cannot be printed, or leave something behind: no run hangs or lies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from run_models import HEAD
from tiny import write_image_benchmark, write_video_benchmark

import icvos
from icvos import cli
from icvos.errors import UsageError
from icvos.plugins import ends_command, plugin_at_work, said

ROOT = Path(__file__).resolve().parents[2]

EXITS = {
    "exit": "sys.exit(0)",
    "interrupt": "raise KeyboardInterrupt",
    "generator": "raise GeneratorExit",
    "own": "raise Own('x')",
    "click": "import click; raise click.exceptions.Exit(0)",
}
VIDEO = """
import atexit, random, signal, subprocess, threading
class Own(BaseException): pass
{top}
class Hostile(VideoModel):
    info = ModelInfo(name="hostile", version="1")

    def __init__(self, *, device="cpu", weights=None):
        super().__init__(device=device, weights=weights)
        {init}

    def segment(self, supports, video, *, seed):
        {segment}
        for frame in video:
            {frame}
            yield np.zeros(frame.shape[:2], bool)
        {close}
"""
IMAGE = """
class Own(BaseException): pass
class Hostile(ImageModel):
    info = ModelInfo(name="hostile", version="1")

    def fit(self, supports, *, seed):
        {fit}

    def predict(self, fitted, image):
        {predict}
        return np.zeros(image.shape[:2], bool)
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_video_benchmark(tmp_path_factory.mktemp("video") / "bench", videos=2, draws=1)


def write(folder: Path, text: str = VIDEO, **parts: str) -> Path:
    places = ("top", "init", "segment", "frame", "close", "fit", "predict")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "hostile.py"
    path.write_text(HEAD + text.format(**{name: parts.get(name, "pass") for name in places}))
    return path


def status(capsys, *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main([str(each) for each in arguments])
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return stop.value.code, text


def command(folder: Path, *arguments: object, seconds: float = 60) -> tuple[int, str]:
    """Run the command in a process of its own, which must end; what it started is killed with it.

    What a plugin leaves behind holds it up for a second, in place of ``END_SECONDS``.
    """
    code = "from icvos import cli, processes; processes.END_SECONDS = 1.0; cli.main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (folder / "stderr").open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return status, (folder / "stderr").read_text()


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "episodes.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("act", EXITS)
@pytest.mark.parametrize("place", ["top", "init"])
def test_a_plugin_that_ends_before_there_is_a_model(bench, tmp_path, capsys, act, place) -> None:
    path = write(tmp_path, **{place: EXITS[act]})
    out = ("--benchmark", bench, "--out", tmp_path / "r")
    for words in (("evaluate", "--model", path, *out), ("models", "check", path)):
        code, text = status(capsys, *words)
        assert code == 2 and text.count("\n") == 1 and "cannot be" in text
    code, text = status(capsys, "evaluate", "--model", path, *out, "--dry-run")
    assert code == 2 and "cannot be" in text
    with pytest.raises(UsageError, match="cannot be"):
        icvos.evaluate(str(path), bench, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("act", EXITS)
@pytest.mark.parametrize("place", ["segment", "frame", "close"])
def test_a_plugin_that_ends_within_an_episode(bench, tmp_path, capsys, act, place) -> None:
    path = write(tmp_path, **{place: EXITS[act]})
    result = icvos.evaluate(str(path), bench, out=tmp_path / "r")
    assert result["summary"]["failed"] == result["summary"]["episodes"] > 0
    assert all("hostile.py:" in record["error"] for record in records(tmp_path / "r"))
    assert status(capsys, "evaluate", "--model", path, "--benchmark", bench, "--out", tmp_path / "c")[0] == 1
    assert status(capsys, "evaluate", "--model", path, "--benchmark", bench, "--dry-run")[0] == 1
    assert status(capsys, "models", "check", path, "--quick")[0] == 1


@pytest.mark.parametrize("act", EXITS)
@pytest.mark.parametrize("place", ["fit", "predict"])
def test_an_image_plugin_that_ends_within_an_episode(tmp_path, act, place) -> None:
    bench = write_image_benchmark(tmp_path / "bench")
    result = icvos.evaluate(str(write(tmp_path, IMAGE, **{place: EXITS[act]})), bench, out=tmp_path / "r")
    assert result["summary"]["failed"] == result["summary"]["episodes"] > 0


@pytest.mark.parametrize("act", EXITS)
def test_a_class_from_python_that_cannot_be_built(bench, tmp_path, act) -> None:
    from icvos.models.registry import resolve

    cls = resolve(str(write(tmp_path, init=EXITS[act])))
    with pytest.raises(UsageError, match="model 'hostile' cannot be built"):
        icvos.evaluate(cls, bench, out=tmp_path / "r")


@pytest.mark.parametrize("act", EXITS)
@pytest.mark.parametrize("place", ["top", "init", "defaults"])
def test_a_trainer_that_ends_before_it_trains(tmp_path, monkeypatch, capsys, act, place) -> None:
    pytest.importorskip("torch")
    lines = {"top": "pass", "init": "pass", "defaults": "pass", place: EXITS[act]}
    name = f"icvos_test_trainer_{act}_{place}"
    (tmp_path / f"{name}.py").write_text(
        "import sys\nfrom icvos.training.task import TrainingTask\n\n\nclass Own(BaseException):\n    pass\n\n\n"
        f"{lines['top']}\nclass Task(TrainingTask):\n    def __init__(self, weights=None):\n        {lines['init']}\n"
        f"    def defaults(self):\n        {lines['defaults']}\n"
        "    def batch(self, *a, **k): ...\n    def build(self, *a, **k): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    from icvos.training.task import resolve_task

    if place != "top":
        cls = resolve_task(f"{name}:Task")
        cls.__abstractmethods__ = frozenset()
    code, text = status(capsys, "train", f"{name}:Task")
    assert code == 2 and text.count("\n") == 1 and ("cannot be" in text or "raises at import" in text)


@pytest.mark.parametrize("place", ["init", "segment", "weights"])
def test_an_error_of_icvos_that_says_it_is_no_failure(bench, tmp_path, capsys, place) -> None:
    top = (
        "from icvos.errors import UsageError\nclass Fine(UsageError):\n    exit_status = 0\n"
        "    def __str__(self): raise ValueError\n"
    )
    text = VIDEO
    if place == "weights":
        text += "    @classmethod\n    def demo_weights(cls): sys.exit(0)\n"
    path = write(tmp_path, text, top=top, **({} if place == "weights" else {place: "raise Fine('no')"}))
    for more in ((), ("--dry-run",)):
        code, said = status(capsys, "evaluate", "--model", path, "--benchmark", bench, "--out", tmp_path / "r", *more)
        assert code == 1 and said.count("\n") == 1
        assert ("ended by a plugin's sys.exit(0)" if place == "weights" else "its text cannot be read") in said


def test_a_trainer_that_exits_while_it_trains(monkeypatch, tmp_path, capsys) -> None:
    pytest.importorskip("torch")
    from icvos.training import loop

    monkeypatch.setattr(loop.Trainer, "__init__", lambda *a, **k: sys.exit(0))
    code, text = status(capsys, "train", "toy_training:ToyTask", "--out", tmp_path / "t")
    assert (code, text) == (1, "icvos: ended by a plugin's sys.exit(0) before it was done\n")


def test_segmenting_one_video_with_a_plugin_that_exits(tmp_path) -> None:
    from icvos.errors import ModelError
    from icvos.models.clips import Clip, support
    from icvos.models.registry import create
    from icvos.segmentation import _Run

    for act in EXITS.values():
        model = create(str(write(tmp_path, frame=act)))
        with pytest.raises(ModelError, match="'hostile' failed"):
            list(_Run(model, [support()], Clip(2), 0).masks())


def test_a_plugin_that_raises_when_its_generator_is_closed(bench, tmp_path) -> None:
    text = VIDEO.replace(
        "{frame}", "try:\n                yield np.zeros((3, 3), bool)\n            finally: sys.exit(0)"
    )
    result = icvos.evaluate(str(write(tmp_path, text)), bench, out=tmp_path / "r")
    assert result["summary"]["failed"] == result["summary"]["episodes"]
    assert "(3, 3)" in records(tmp_path / "r")[0]["error"]


TEXTS = {
    "raises": ("class E(Exception):\n    def __str__(self): raise ValueError('no')", "E()"),
    "exits": ("class E(Exception):\n    def __str__(self): sys.exit(0)", "E()"),
    "none": ("class E(Exception):\n    def __str__(self): return None", "E()"),
    "surrogate": ("", "ValueError('\\ud800 \\x1b[31m\\x00 \\u202e')"),
    "name": ("E = type('\\x1b[2J' * 1000, (Exception,), {})", "E()"),
    "huge": ("", "ValueError('x ' * 10_000_000)"),
    "ring": ("a, b = ValueError('a'), ValueError('b')\na.__cause__, b.__cause__ = b, a", "a"),
    "group": ("", "ExceptionGroup('g', [ExceptionGroup('h', [ValueError(i)]) for i in range(1000)])"),
    "chain": ("a = ValueError()\nfor i in range(5000):\n    b = ValueError(i)\n    b.__cause__ = a\n    a = b", "a"),
    "bool": ("class E(Exception):\n    def __bool__(self): raise ValueError", "E()"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_an_error_that_cannot_be_printed(bench, tmp_path, case) -> None:
    top, error = TEXTS[case]
    result = icvos.evaluate(str(write(tmp_path, top=top, segment=f"raise {error}")), bench, out=tmp_path / "r")
    assert result["summary"]["failed"] == result["summary"]["episodes"]
    for record in records(tmp_path / "r"):
        assert len(record["error"]) < 2000 and record["error"].isprintable()
        assert len(record["traceback"]) <= 4000
        assert all(letter.isprintable() or letter in "\n\t" for letter in record["traceback"])
    with pytest.raises(UsageError) as refusal:
        icvos.evaluate(str(write(tmp_path / "init", top=top, init=f"raise {error}")), bench, out=tmp_path / "i")
    assert len(str(refusal.value)) < 2000 and str(refusal.value).isprintable()


def test_recursion_without_end(bench, tmp_path) -> None:
    path = write(tmp_path, top="def f(): return f()", segment="f()")
    assert icvos.evaluate(str(path), bench, out=tmp_path / "r")["summary"]["failed"] == 3
    assert records(tmp_path / "r")[0]["error"].startswith("RecursionError: ")


def test_what_is_said_of_an_honest_error() -> None:
    assert said(ValueError("two\n lines")) == "ValueError: two lines"
    assert said(ValueError("x" * 99), 20) == "ValueError: xxxxxxxx"


def test_ctrl_c_is_told_from_what_a_plugin_raises() -> None:
    with pytest.raises(KeyboardInterrupt) as plain, plugin_at_work():
        raise KeyboardInterrupt
    assert not ends_command(plain.value)
    with pytest.raises(KeyboardInterrupt) as pressed, plugin_at_work():
        signal.raise_signal(signal.SIGINT)
    assert ends_command(pressed.value)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_a_plugin_catches_what_it_can(bench, tmp_path) -> None:
    path = write(tmp_path, frame="(Path('begun').touch(), time.sleep(60))", top="from pathlib import Path")
    words = [sys.executable, ROOT / "cli.py", "evaluate", "--model", path, "--benchmark", bench, "--out", "r"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "begun").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted; 0 of 3 episodes are kept in r" in text


@pytest.mark.parametrize("place", ["top", "init", "segment", "frame"])
def test_os_exit_in_the_command_itself(bench, tmp_path, place) -> None:
    write(tmp_path, **{place: "os._exit(0)"})
    for words in (("evaluate", "--benchmark", bench, "--out", "r", "--model"), ("models", "check")):
        code, text = command(tmp_path, *words, "hostile.py")
        assert code == 1 and text.endswith("icvos: ended by a plugin's os._exit(0) before it was done\n")
    assert not (tmp_path / "r/result.json").exists()


LEFT = {
    "thread": (0, {"init": "threading.Thread(target=lambda: time.sleep(1000)).start()"}),
    "handler": (0, {"top": "atexit.register(lambda: time.sleep(1000))"}),
    "handler that exits": (1, {"top": "atexit.register(lambda: os._exit(0))", "segment": "raise ValueError"}),
    "collected": (1, {"top": "class D:\n    def __del__(self): os._exit(0)\nd = D()", "segment": "raise ValueError"}),
    "collected late": (0, {"top": "class D:\n    def __del__(self): time.sleep(1000)\nd = D()"}),
    "child": (0, {"init": "subprocess.Popen(['sleep', '1000'])"}),
    "fork": (0, {"init": "os.fork() or time.sleep(2)"}),
    "pool": (
        0,
        {"init": "from multiprocessing import get_context; self.p = get_context('fork').Pool(1); "
         "self.p.apply_async(time.sleep, (1000,))"},
    ),
    "executor": (
        0,
        {"init": "from concurrent.futures import ThreadPoolExecutor as T; T(1).submit(time.sleep, 1000)"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LEFT)
def test_what_a_plugin_leaves_running_does_not_hold_up_the_end(bench, tmp_path, case) -> None:
    code, parts = LEFT[case]
    write(tmp_path, **parts)
    words = ("evaluate", "--no-verify", "--benchmark", bench, "--out", "r", "--model", "hostile.py")
    assert command(tmp_path, *words)[0] == code
    run = json.loads((tmp_path / "r/run.json").read_text())
    assert run["status"] == ("failed" if code else "complete")


@pytest.mark.parametrize("case", ["thread", "child", "fork", "executor"])
def test_what_a_plugin_leaves_running_in_a_worker(bench, tmp_path, case) -> None:
    write(tmp_path, **LEFT[case][1])
    words = ("evaluate", "--no-verify", "--benchmark", bench, "--out", "r", "--workers", 2, "--model", "hostile.py")
    assert command(tmp_path, *words)[0] == 0
    assert len(records(tmp_path / "r")) == 3


def test_a_worker_that_dies_while_its_child_holds_its_pipe(bench, tmp_path) -> None:
    write(tmp_path, segment="os.fork() or time.sleep(1000); os._exit(0)")
    words = ("evaluate", "--no-verify", "--benchmark", bench, "--out", "r", "--workers", 2, "--model", "hostile.py")
    assert command(tmp_path, *words)[0] == 1
    assert {record["error"] for record in records(tmp_path / "r")} == {"WorkerDied: its process ended with status 0"}


FILES = ("files", "frame")
CHANGES = {
    "umask": "os.umask(0o777)",
    "streams": "sys.stdout = sys.stderr = None",
    "wrapped": "import io; sys.stdout = io.TextIOWrapper(sys.stdout.buffer)",
    "folder": "os.chdir('/')",
    "size": "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (10, r.RLIM_INFINITY))",
    "files": "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (3, r.getrlimit(r.RLIMIT_NOFILE)[1]))",
    "errors": "np.seterr(all='raise')",
    "signal": "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]",
    "environment": "os.environ.clear()",
    "random": "random.seed(0); np.random.seed(0)",
    "locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
}


# Threads read frames while a frame's call changes the process: what they open then may fail, and is none of this.
@pytest.mark.parametrize(
    ("case", "place"), [(case, place) for case in CHANGES for place in ("init", "frame") if (case, place) != FILES]
)
def test_what_a_plugin_changes_of_the_process(bench, tmp_path, case, place) -> None:
    write(tmp_path, **{place: CHANGES[case]})
    other = write(tmp_path / "other")
    other.write_text(other.read_text().replace('"hostile"', '"other"'))
    words = ("evaluate", "--no-verify", "--benchmark", os.path.relpath(bench, tmp_path), "--out", "r")
    code, text = command(tmp_path, *words, "--model", "hostile.py", "--model", "other/hostile.py")
    assert code == 0, text
    assert len(records(tmp_path / "r/hostile")) == len(records(tmp_path / "r/other")) == 3
    assert all(path.stat().st_mode & 0o400 for path in (tmp_path / "r").rglob("*"))
    names = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert names == {"hostile.py", "other", "r", "stderr"}


def test_the_process_is_as_it_was_after_a_run(bench, tmp_path) -> None:
    torch = pytest.importorskip("torch")
    import random

    init = "import torch; torch.set_default_dtype(torch.float64); torch.set_num_threads(7); os.environ['X_ICVOS'] = '1'"
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads(), dict(os.environ)  # noqa: NPY002
    icvos.evaluate(str(write(tmp_path, init=init)), bench, out=tmp_path / "r")
    assert torch.get_default_dtype() is torch.float32
    assert before[3].items() ^ dict(os.environ).items() == set()
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads(), dict(os.environ))  # noqa: NPY002


def test_what_is_printed_to_a_full_disk_is_no_success() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, ROOT / "cli.py", "models", "list"]
        done = subprocess.run(words, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode in (1, 2) and "No space left on device" in done.stderr and done.stderr.count("\n") == 1
