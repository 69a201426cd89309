"""Methods in an interpreter of their own: the same bytes as in this one, and nothing that it does harms the run."""

from __future__ import annotations

import ast
import dataclasses
import gc
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import icvos
from interpreters import METHODS, hosts, numpy_alone, same_runs
from tiny import write_image_benchmark, write_video_benchmark

from icvos import evaluate
from icvos.errors import UsageError
from icvos.models import host, interface, interpreter, remote
from icvos.models.check import check_model
from icvos.models.clips import Clip, support
from icvos.models.environments import clean_environ
from icvos.models.options import option_help, option_types, options_of, type_in_words
from icvos.models.registry import create, resolve, source_sha256
from icvos.types import ModelInfo, Prediction, Support, WeightInfo


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    (folder / "methods.py").write_text(METHODS)
    write_video_benchmark(folder / "videos", videos=2, frames=5)
    write_image_benchmark(folder / "images")
    return folder


@pytest.fixture(scope="module")
def python(root: Path) -> Iterator[Path]:
    """An environment that has numpy and no icvos; nothing of it runs at the end."""
    program = numpy_alone(root / "numpy-alone")
    yield program
    assert not _running(program)


def _running(python: Path) -> list[int]:
    until = time.monotonic() + 10
    while hosts(python) and time.monotonic() < until:
        remote._CLASSES.clear()
        gc.collect()
        time.sleep(0.05)
    return hosts(python)


def test_stand_ins_have_what_they_stand_for() -> None:
    for ours, theirs in (
        (Support, host.Support),
        (Prediction, host.Prediction),
        (ModelInfo, host.ModelInfo),
        (WeightInfo, host.WeightInfo),
    ):
        assert [f.name for f in dataclasses.fields(ours)] == [f.name for f in dataclasses.fields(theirs)]
    for name in ("segment_many", "segment_from_mask", "segment_objects"):
        ours, theirs = (inspect.signature(getattr(cls, name)) for cls in (interface.VideoModel, host.VideoModel))
        assert list(ours.parameters) == list(theirs.parameters), name


def test_the_other_end_needs_python_3_8_and_numpy_alone() -> None:
    text = Path(host.__file__).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 8))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    # It looks whether icvos is there.
    assert imported - {"numpy", "icvos", "__future__"} <= set(sys.stdlib_module_names)
    # Of the standard library it uses what 3.8 has: no later function of a module, method of a text, or operator.
    later = (".removeprefix(", ".removesuffix(", "strict=True", "functools.cache", "is_relative_to", "math.lcm", "| {")
    assert not [word for word in later if word in text]


OLD = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))


@pytest.mark.skipif(not OLD, reason="needs a Python 3.8 in ~/.pyenv")
def test_it_starts_on_python_3_8(root: Path) -> None:
    with pytest.raises(UsageError, match=r"has no numpy; in .*python -m pip install numpy") as problem:
        resolve(f"{OLD[0]}::{root}/methods.py:Colour")
    assert str(OLD[0]) in str(problem.value)


@pytest.mark.parametrize(
    ("name", "benchmark", "words"),
    [
        ("Colour", "videos", {"options": {"margin": 45.0}, "shots": 2}),
        ("Stateful", "videos", {}),
        ("Together", "videos", {}),
        ("Tracks", "videos", {"oracle": "first-frame"}),
        ("Objects", "videos", {"oracle": "first-frame"}),
        ("Picture", "videos", {}),
        ("Picture", "images", {}),
    ],
)
def test_the_same_bytes_as_in_this_process(
    name: str, benchmark: str, words: dict[str, Any], root: Path, python: Path, tmp_path: Path
) -> None:
    spec = f"{root}/methods.py:{name}"
    masks = benchmark == "videos"
    for out, model in (("here", spec), ("there", f"{python}::{spec}")):
        result = evaluate(model, root / benchmark, out=tmp_path / out, save_masks=masks, verify=False, **words)
        assert result["summary"]["failed"] == 0
    same_runs(tmp_path / "here", tmp_path / "there")
    environment = json.loads((tmp_path / "there/run.json").read_bytes())["environment"]["method"]
    assert environment["packages"] == [f"numpy=={np.__version__}"]


def test_a_lifted_picture_and_objects_of_copies(root: Path, python: Path, tmp_path: Path) -> None:
    """The tracker is here; X, and what is tracked side by side by copies of a model, is there."""
    pytest.importorskip("sam2")
    from tiny_weights import tiny_sam2_file

    files = {"tracker": tiny_sam2_file(tmp_path)}
    for out, spec in (("here", f"{root}/methods.py:Picture"), ("there", f"{python}::{root}/methods.py:Picture")):
        evaluate(f"{spec}+sam2", root / "videos", out=tmp_path / out, weights=files, save_masks=True, verify=False)
    same_runs(tmp_path / "here", tmp_path / "there")

    clip = Clip(6)
    thing = np.zeros(clip.size, bool)
    thing[4:9, 4:9] = True
    both = []
    for spec in (f"{root}/methods.py:Tracks", f"{python}::{root}/methods.py:Tracks"):
        model = create(spec)
        stream = model.segment_objects([thing, np.roll(thing, 15, axis=1)], clip, seed=1)
        both.append([[Prediction.of(each, clip.size).to_numpy().copy() for each in masks] for masks in stream])
    assert np.array_equal(*both) and both[0][3][0].any()


def test_workers_resume_and_verify(root: Path, python: Path, tmp_path: Path) -> None:
    spec = f"{python}::{root}/methods.py:Colour"
    words = ["evaluate", "--model", f"{root}/methods.py:Colour", "--python", python, "--benchmark", root / "videos"]
    assert icvos(*words, "--out", tmp_path / "a", "--save-masks", "--workers", 2, "--timeout", 60, "--verify") == 0
    evaluate(f"{root}/methods.py:Colour", root / "videos", out=tmp_path / "b", save_masks=True, verify=False)
    same_runs(tmp_path / "b", tmp_path / "a")
    assert json.loads((tmp_path / "a/run.json").read_bytes())["verified"]
    lines = (tmp_path / "a/episodes.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "a/episodes.jsonl").write_text("".join(lines[:2]))
    (tmp_path / "a/result.json").unlink()
    evaluate(spec, root / "videos", out=tmp_path / "a", save_masks=True, verify=False)
    same_runs(tmp_path / "b", tmp_path / "a")


def test_what_it_declares_is_known_here(root: Path, python: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, there = (resolve(f"{before}{root}/methods.py:Colour") for before in ("", f"{python}::"))
    assert (here.info == there.info and here.__doc__ == inspect.cleandoc(there.__doc__ or "")) or option_help(there)
    assert option_types(here) == option_types(there) and option_help(here) == option_help(there)
    assert source_sha256(here) == source_sha256(there)
    assert icvos("models", "show", f"{python}::{root}/methods.py:Colour") == 0
    said = capsys.readouterr().out
    assert "colour 1.2" in said and "--set margin=… (number, default 60.0)" in said
    for setting, problem in (("margin=x", "option margin is 'x'"), ("margins=1", "has no option 'margins'")):
        assert icvos("models", "check", f"{root}/methods.py:Colour", "--python", python, "--set", setting) == 2
        assert problem in capsys.readouterr().err


def test_rules_are_judged_there_too(root: Path, python: Path, tmp_path: Path) -> None:
    spec = f"{python}::{root}/methods.py"
    for name in ("Stateful", "Picture", "Together"):
        findings = list(check_model(lambda name=name: create(f"{spec}:{name}"), skip=("memory",)))  # type: ignore[misc]
        assert not [f for f in findings if f.status == "failed" and f.rule != "empty-support"], (name, findings)
    (tmp_path / "bad.py").write_text(
        "import numpy as np\nfrom icvos import ModelInfo, VideoModel\n"
        "class Ahead(VideoModel):\n"
        "    info = ModelInfo(name='ahead', version='1')\n"
        "    def segment(self, supports, video, *, seed):\n"
        "        frames = list(video)\n"
        "        for frame in frames:\n"
        "            yield np.zeros((3, 3), bool)\n"
    )
    findings = {f.rule: f for f in check_model(lambda: create(f"{python}::{tmp_path}/bad.py"), skip=("memory",))}
    assert findings["masks"].status == "failed" and "frame 1 is asked for before the mask of frame 0" in str(findings)


LEAKS = """
import sys, types
import numpy as np

torch = sys.modules["torch"] = types.ModuleType("torch")
torch.grad = True
torch.is_grad_enabled = lambda: torch.grad
torch.is_inference_mode_enabled = lambda: False
torch.is_autocast_enabled = lambda *device: False
torch.set_autocast_enabled = lambda *device: None
torch.manual_seed = lambda seed: None
torch.set_grad_enabled = lambda grad: setattr(torch, "grad", grad)
torch.set_autocast_enabled = lambda *state: None

from icvos import ModelInfo, VideoModel


class Leaks(VideoModel):
    info = ModelInfo(name="leaks", version="1")

    def segment(self, supports, video, *, seed):
        for frame in video:
            torch.grad = len(video) != 2
            yield [[1]] if len(video) == 1 else frame[..., 0] > 99
"""


def test_what_leaks_and_what_is_no_mask_is_told_as_here(python: Path, tmp_path: Path) -> None:
    (tmp_path / "leaks.py").write_text(LEAKS)
    skip = ("memory", "deterministic", "fresh")
    findings = {f.rule: f for f in check_model(lambda: create(f"{python}::{tmp_path}/leaks.py"), skip=skip)}
    assert findings["masks"].status == "passed"
    assert "grad mode, inference mode or autocast leaks out of it" in findings["leaks"].message
    assert "a list is no mask (an array of bool is)" in findings["one-frame"].message


OPTIONS = """
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, Mapping, Optional, Union

from icvos import ModelInfo, VideoModel


@dataclasses.dataclass(frozen=True)
class Numbers:
    alpha: int = 3
    beta: float | None = None


class Old(VideoModel):
    info = ModelInfo(name="old", version="1")

    def __init__(self, *, device: str = "cpu", weights: Mapping[str, Path] | None = None, need: int, flag: bool = False,
                 top: "int | None" = None, mode: Literal["a", 3] = "a", file: Path | None = None, wide: int = None,
                 size: int | Literal["auto"] = "auto", both: Union[int, str] = 1, maybe: Optional[float] = None,
                 numbers: Numbers = Numbers(), path: Path = Path("x/y"), callback: Numbers.__class__ = None):
        super().__init__(device=device, weights=weights)
        self.need, self.file, self.numbers, self.text = need, file, numbers, repr((path, file, numbers, top))

    def segment(self, supports, video, *, seed):
        raise ValueError(self.text)
        yield
"""


def test_options_are_those_of_this_process(python: Path, tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(OPTIONS)
    here, there = (resolve(f"{before}{tmp_path}/old.py") for before in ("", f"{python}::"))
    words = [[(name, type_in_words(kind)) for name, (kind, _) in option_types(cls).items()] for cls in (here, there)]
    assert words[0] == words[1] and ("file", "path | none") in words[1] and ("beta", "number | none") in words[1]
    assert (here.__module__, option_help(here)) == (there.__module__, option_help(there))
    options = {"need": 2, "file": Path("f"), "alpha": 5, "both": 7}
    models = [create(f"{before}{tmp_path}/old.py", options=options) for before in ("", f"{python}::")]
    assert options_of(models[0]) == options_of(models[1]) == {"need": 2, "alpha": 5}
    texts = []
    for model in models:
        with pytest.raises(Exception, match="PosixPath") as problem:
            next(iter(model.segment([], Clip(1), seed=0)))  # type: ignore[attr-defined]
        texts.append(str(problem.value).partition(" (old.py")[0])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.12", "3.13"])
def test_annotations_mean_the_same_to_older_pythons(version: str, tmp_path: Path) -> None:
    """None of them needs numpy for it."""
    programs = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if not programs:
        pytest.skip(f"needs a Python {version} in ~/.pyenv")
    (tmp_path / "old.py").write_text(OPTIONS)
    script = (
        "import json, runpy, sys; host = runpy.run_path(sys.argv[1]); host['stand_in'](); import old; "
        "print(json.dumps([[n, host['kind_of'](k)] for n, (k, _) in host['parameters'](old.Old).items()]))"
    )
    words = [programs[0], "-c", script, host.__file__]
    done = subprocess.run(words, cwd=tmp_path, env=clean_environ(), capture_output=True, text=True, check=True)
    cls = resolve(f"{tmp_path}/old.py")
    assert json.loads(done.stdout) == [[n, host.kind_of(k)] for n, (k, _) in host.parameters(cls).items()]


UNUSUAL = """
import threading, time
import numpy as np
from icvos import ModelInfo, Prediction, VideoModel
from icvos.errors import UsageError


class Unusual(VideoModel):
    info = ModelInfo(name="unusual", version="1", access="offline")

    def __init__(self, *, device="cpu", weights=None, how: str = ""):
        super().__init__(device=device, weights=weights)
        self.how = how

    def segment(self, supports, video, *, seed):
        supports[0].image[0] = 0
        return getattr(self, self.how)(video)

    def none(self, video): return (None for _ in video)
    def zero_dimensions(self, video): return (np.array(True) for _ in video)
    def huge(self, video): return (np.ones((400, 500)) for _ in video)
    def texts(self, video): return (np.full(video.size, "x") for _ in video)
    def objects(self, video): return (np.zeros(video.size, object) for _ in video)
    def long(self, video): return (Prediction(f[..., 0] > 99, f[..., 0].astype(np.longdouble)) for f in video)
    def swapped(self, video): return (Prediction(f[..., 0] > 99, f[..., 0].astype(">f4")) for f in video)
    def a_list(self, video): return [f[..., 0] > 99 for f in video]
    def lines(self, video): raise ValueError("two" + chr(10) + "lines")
    def a_slice(self, video): return (f[..., 0] > 99 for f in video[:2])
    def beyond(self, video): return (video[len(video)][..., 0] > 99 for _ in video)
    def lacks(self, video): import no_such_package
    def in_place(self, video):
        for frame in video:
            frame[:9] = 0
            yield frame[..., 0] > 99
    def straggler(self, video):
        def work():
            for _ in range(30):
                for _ in video:
                    time.sleep(0.001)
        threading.Thread(target=work, daemon=True).start()
        yield video[0][..., 0] > 99
        raise ValueError("early")
"""
HOWS = [line.split("(")[0].split()[1] for line in UNUSUAL.splitlines() if "(self, video):" in line]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_is_unusual_comes_to_the_same(how: str, root: Path, python: Path, tmp_path: Path) -> None:
    (tmp_path / "unusual.py").write_text(UNUSUAL)
    errors = []
    for out, before in (("here", ""), ("there", f"{python}::")):
        spec = f"{before}{tmp_path}/unusual.py"
        evaluate(spec, root / "videos", out=tmp_path / out, options={"how": how}, save_masks=True, verify=False)
        lines = (tmp_path / out / "episodes.jsonl").read_text().splitlines()
        errors.append([json.loads(line).get("error") for line in lines])
    assert errors[0] == errors[1]
    same_runs(tmp_path / "here", tmp_path / "there")


def test_what_a_method_leaves_on_in_torch_is_off_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"cpu": False, "cuda": False}
    torch: Any = types.ModuleType("torch")
    torch.is_grad_enabled, torch.is_inference_mode_enabled = (lambda: True), (lambda: False)
    torch.is_autocast_enabled, torch.set_autocast_enabled = state.get, state.__setitem__
    torch.set_grad_enabled = lambda grad: None
    monkeypatch.setitem(sys.modules, "torch", torch)
    leaky: Any = types.SimpleNamespace(work=lambda text, arrays: (state.update(cpu=True), ()) and ({}, ()))
    for _ in range(2):
        with pytest.raises(host.ModelError, match="autocast leaks"):
            host.answer(leaky, {"do": "work"}, [])
        assert not state["cpu"]


def test_what_it_prints_is_read_where_it_cannot_be_kept(
    root: Path, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.py").write_text(MISCHIEF)
    monkeypatch.setattr(interpreter, "SILENCE", 5.0)
    interpreter.keep_output(Path("/dev/full"))
    try:
        model: Any = create(f"{python}::{tmp_path}/bad.py", options={"how": "floods"})
        with pytest.raises(Exception, match="flooded"):
            list(model.segment([support()], Clip(5), seed=0))
    finally:
        interpreter.keep_output(None)


HANGS = """
import re
from icvos import ModelInfo, VideoModel


class Hangs(VideoModel):
    info = ModelInfo(name="hangs", version="1")

    def segment(self, supports, video, *, seed):
        yield video[0][..., 0] > 99
        re.match("(a+)+b", "a" * 60)  # no other thread of its process runs
"""


def test_no_process_is_left_of_a_method_that_lets_no_thread_run(python: Path, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    bench = write_video_benchmark(tmp_path / "one", videos=1, frames=5, draws=1)
    words = ["--model", f"{tmp_path}/hangs.py", "--python", python, "--timeout", "1", "--limit-episodes", "1"]
    assert icvos("evaluate", *words, "--benchmark", bench, "--out", tmp_path / "run", "--no-verify") == 1
    assert not _running(python)


@pytest.mark.parametrize(
    "change",
    [
        {"files": 5},
        {"demo": "x"},
        {"packages": None},
        {"options": [["", "int", [1]]]},
        {"options": [["a", {"other": [1]}, [1]]]},
        {"info": {"name": "\ud800"}},
    ],
)
def test_what_it_says_of_itself_is_read_at_once(
    change: dict[str, Any], root: Path, python: Path, tmp_path: Path
) -> None:
    """The interpreter runs another host, which lies."""
    text = Path(host.__file__).read_text(encoding="utf-8")
    lie = f"said.update({change!r})" if "info" not in change else f"said['info'].update({change['info']!r})"
    said = "declared(self.icvos, self.cls)"
    text = text.replace(f"return {said}, ()", f"said = {said}; {lie}; return said, ()")
    (tmp_path / "liar.py").write_text(text, encoding="utf-8")
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {python} -u {tmp_path}/liar.py "$3" "$4"\n')
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(UsageError, match=r"what the interpreter says of the method cannot be read|name is no text"):
        resolve(f"{tmp_path}/python::{root}/methods.py:Colour")


def test_a_folder_named_icvos_is_no_icvos(root: Path, tmp_path: Path) -> None:
    python = numpy_alone(tmp_path / "environment")
    (packages,) = (tmp_path / "environment").glob("lib/python3*/site-packages")
    for text in (None, "VERSION = 1", "match = = 1"):
        (packages / "icvos").mkdir(exist_ok=True)
        if text is not None:
            (packages / "icvos/__init__.py").write_text(text)
        remote._CLASSES.clear()
        assert resolve(f"{python}::{root}/methods.py:Colour").info.name == "colour"
    assert not _running(python)


MISCHIEF = """
import json, os, signal, struct, subprocess, sys, time
import numpy as np
from icvos import ModelInfo, Prediction, VideoModel

PIPE = int(sys.argv[2])


class Bad(VideoModel):
    info = ModelInfo(name="bad", version="1")

    def __init__(self, *, device="cpu", weights=None, how: str = ""):
        super().__init__(device=device, weights=weights)
        self.how = how

    def segment(self, supports, video, *, seed):
        for index, frame in enumerate(video):
            if index == 1 and len(video) == 5:
                getattr(self, self.how)(frame)
            yield frame[..., 0] > 99

    def say(self, text, more=b"", length=None, following=None):
        data = text if isinstance(text, bytes) else json.dumps(text).encode()
        lengths = len(data) if length is None else length, len(more) if following is None else following
        os.write(PIPE, struct.pack("<IQ", *lengths) + data + more)

    def wrong_length(self, frame): self.say({"say": "done", "arrays": []}, length=1 << 31)
    def long_payload(self, frame): self.say({"say": "done", "arrays": []}, following=1 << 60)
    def wrong_type(self, frame): self.say({"say": "done", "arrays": [["O", [1]]]}, b"12345678")
    def wrong_size(self, frame): self.say({"say": "done", "arrays": [["|b1", [1 << 40]]]}, b"1")
    def negative(self, frame): self.say({"say": "done", "arrays": [["|b1", [-1]]]})
    def out_of_turn(self, frame): self.say({"say": "here", "arrays": []})
    def no_json(self, frame): self.say(b"\\xff{[")
    def deep(self, frame): self.say(b"[" * 100000)
    def nothing(self, frame): self.say({})
    def other_frame(self, frame): self.say({"say": "frame", "stream": 77, "index": 0, "arrays": []})
    def far_frame(self, frame): self.say({"say": "frame", "stream": 1, "index": 10**30, "arrays": []})
    def garbage(self, frame): os.write(PIPE, os.urandom(4000))
    def dies(self, frame):
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)
    def killed(self, frame): os.kill(os.getpid(), signal.SIGKILL)
    def crashes(self, frame): os.kill(os.getpid(), signal.SIGSEGV)
    def closes(self, frame):
        os.close(PIPE)
        time.sleep(60)
    def raises(self, frame): raise ValueError("half-way \\x1b[2J")
    def exits(self, frame): sys.exit(0)
    def hangs(self, frame): time.sleep(600)
    def stubborn(self, frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            pass
    def leaves(self, frame):
        subprocess.Popen(["sleep", "600.125"])
        os._exit(0)
    def forks(self, frame):
        if os.fork() == 0:
            return
        time.sleep(0.2)
        raise ValueError("the parent")
    def floods(self, frame):
        for _ in range(2000):
            print("x" * 10000)
        raise ValueError("flooded")
"""

WORDS = {
    "wrong_length": "announces 2,147,483,648 and 0 bytes",
    "long_payload": "bytes, more than an answer has",
    "wrong_type": "cannot be read",
    "wrong_size": "cannot be read",
    "negative": "cannot be read",
    "out_of_turn": "says 'here', out of turn",
    "no_json": "cannot be read",
    "deep": "cannot be read",
    "nothing": "cannot be read",
    "other_frame": "a frame of a video that is over",
    "far_frame": "asks for",
    "garbage": "its process",
    "dies": "ended with status 7; it said: last words",
    "killed": "was killed by signal 9",
    "crashes": "was killed by signal 11",
    "closes": "closed its pipe",
    "raises": "ValueError: half-way �[2J (bad.py:",
    "exits": "SystemExit: 0",
    "hangs": "said nothing for",
    "stubborn": "said nothing for",
    "leaves": "ended with status 0",
    "forks": "ValueError: the parent",
    "floods": "ValueError: flooded",
}


@pytest.mark.parametrize("how", WORDS)
def test_what_it_does_costs_its_episode(
    how: str, root: Path, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.py").write_text(MISCHIEF)
    bench = root / "two-lengths"
    if not bench.exists():
        write_video_benchmark(bench, videos=2, frames=5, draws=1)
    monkeypatch.setattr(interpreter, "SILENCE", 0.8 if how in ("hangs", "stubborn") else 60.0)
    monkeypatch.setattr(interpreter, "ENDING", 0.3)
    result = evaluate(f"{python}::{tmp_path}/bad.py", bench, out=tmp_path / "run", options={"how": how}, verify=False)
    assert result["summary"]["failed"] == result["summary"]["episodes"] == 3
    records = [json.loads(line) for line in (tmp_path / "run/episodes.jsonl").read_text().splitlines()]
    assert all(WORDS[how] in record["error"] for record in records), records
    assert all(record["error"].isprintable() for record in records)
    log = tmp_path / "run/method.log"
    assert not log.exists() or log.stat().st_size <= interpreter.MOST_OUTPUT
    assert not _running(python)
    until = time.monotonic() + 10  # another test's may be about to go
    while [pid for pid in _sleepers() if _parent_is_gone(pid)] and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in _sleepers() if _parent_is_gone(pid)]


def _sleepers() -> list[int]:
    return [pid for pid in hosts("sleep") if b"600.125" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _parent_is_gone(pid: int) -> bool:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]) == 1
    except OSError:
        return False


def test_a_worker_that_is_killed_takes_its_methods_process_along(root: Path, python: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(MISCHIEF)
    words = ["--model", f"{tmp_path}/bad.py", "--python", python, "--set", "how=stubborn", "--timeout", "2"]
    bench = write_video_benchmark(tmp_path / "one", videos=1, frames=5, draws=1)
    assert icvos("evaluate", *words, "--benchmark", bench, "--out", tmp_path / "run", "--no-verify") == 1
    assert "no result within 2 s" in (tmp_path / "run/episodes.jsonl").read_text()
    assert not _running(python)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import torch_of_another_time\n", "needs the package torch_of_another_time, which is not installed there"),
        ("import sys; sys.exit(0)\n", r"cannot be loaded there \(SystemExit: 0"),
        ("raise ValueError('no')\n", r"cannot be loaded there \(ValueError: no"),
        ("def broken(:\n", r"cannot be loaded there \(SyntaxError"),
        ("x = 1\n", "no model here; in .*; expected a subclass of VideoModel or ImageModel"),
        ("import os; os._exit(3)\n", "ended with status 3"),
        ("from icvos import VideoModel\nclass A(VideoModel):\n    pass\n", "'A' has no info"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(text: str, problem: str, python: Path, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(text)
    with pytest.raises(UsageError, match=problem):
        resolve(f"{python}::{tmp_path}/m.py")


@pytest.mark.parametrize(
    ("interpreter", "problem"),
    [
        ("/no/such/python", r"cannot be started \(No such file"),
        ("/bin/false", "cannot run a method .*ended with status 1"),
        ("/bin/cat", "cannot run a method"),
        ("/etc/passwd", "cannot be started"),
        ("/etc", r"cannot be started \(No such file or directory\); in /etc/bin/python"),
    ],
)
def test_what_is_no_interpreter_is_one_line(interpreter: str, problem: str, root: Path) -> None:
    with pytest.raises(UsageError, match=problem):
        resolve(f"{interpreter}::{root}/methods.py:Colour")


def test_one_that_does_not_start_in_time(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(interpreter, "STARTING", 0.3)
    with pytest.raises(UsageError, match=r"cannot run a method \(its process said nothing for 0\.3 s\)"):
        resolve(f"{tmp_path}/python::{root}/methods.py:Colour")


def test_names_are_refused_where_no_file_is_meant(python: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("evaluate", "--model", "histogram", "--python", python) == 2
    assert "the name of an installed method" in capsys.readouterr().err
    assert icvos("evaluate", "--model", f"{python}::x.py", "--python", python) == 2
    assert "both name an interpreter" in capsys.readouterr().err


@pytest.mark.slow
def test_kills_and_resumes_give_the_same_bytes(root: Path, python: Path, tmp_path: Path) -> None:
    import random

    spec = f"{root}/methods.py:Colour"
    evaluate(spec, root / "videos", out=tmp_path / "whole", save_masks=True, verify=False)
    generator = random.Random(3)
    words = [sys.executable, "-m", "icvos.cli", "evaluate", "--model", spec, "--python", str(python), "--save-masks"]
    words += ["--benchmark", str(root / "videos"), "--no-verify", "--out"]
    for number in range(50):
        out = tmp_path / f"out{number}"
        process = subprocess.Popen([*words, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(generator.uniform(0.1, 1.3))
        if number % 2:
            for pid in hosts(python):
                os.kill(pid, signal.SIGKILL)
            process.wait(60)
        else:
            process.kill()
            process.wait()
        subprocess.run([*words, str(out)], check=True, capture_output=True)
        same_runs(tmp_path / "whole", out)
        assert not _running(python)
        shutil.rmtree(out)


@pytest.mark.slow
def test_memory_is_flat_to_10_000_frames(root: Path, python: Path) -> None:
    from icvos.costs import peak_resident

    model = create(f"{python}::{root}/methods.py:Stateful")
    peaks = []
    for count in (200, 10_000):
        for _ in model.segment([support()], Clip(count), seed=0):
            pass
        peaks.append((peak_resident(), model.interpreter.peak_memory("cpu")))
    assert all(long - short < 8 << 20 for short, long in zip(*peaks)), peaks
