"""Every option and argument of every command, given what it cannot mean: one line, never a traceback or a wait."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import click
import pytest
from run_models import RED, write_model
from tiny import write_video_benchmark

from icvos import cli

TEXTS = [
    "²",
    "٣",
    "9" * 5000,
    "1e999",
    "Infinity",
    "nan",
    "-1",
    "~nosuchuser/x",
    "http://[::1",
    "",
    "\x01",
    "a=²",
    "²/3",
]
# They begin what takes minutes, whatever else is said.
LONG = {"demo", "doctor"}


def leaves(command: click.Command, words: tuple[str, ...] = ()):
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        if name not in LONG:
            yield from leaves(command.get_command(context, name), (*words, name))


LEAVES = dict(leaves(cli.icvos))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files that hold, or are, what nobody reads."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "latin.txt").write_bytes(b"caf\xe9\n")
    (root / "latin.csv").write_bytes(b"caf\xe9,a\n1,2\n")
    (root / "infinity.json").write_text('{"a": Infinity, "schema": 1e999}')
    (root / "digits.json").write_text('{"a": ' + "9" * 5000 + "}")
    (root / "deep.json").write_text("[" * 100_000)
    (root / "half.json").write_text('{"\\ud800": "\\ud800\\u0000"}')
    (root / "list.json").write_text("[1, 2]")
    (root / "torn.zip").write_bytes(b"PK\x03\x04" + bytes(60))
    (root / "torn.pt").write_bytes(b"PK\x03\x04" + bytes(60))
    (root / "empty.png").write_bytes(b"")
    (root / "loop.png").symlink_to("loop.png")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe.json")
    os.mkfifo(root / "pipe.csv")
    os.mkfifo(root / "pipe.py")
    (root / "zero").symlink_to("/dev/zero")
    (root / "folder").mkdir()
    broken = write_video_benchmark(root / "bench")
    (broken / "episodes.csv").unlink()
    os.mkfifo(broken / "episodes.csv")
    header = shutil.copytree(root / "folder", root / "run")
    (header / "run.json").symlink_to("run.json")
    return [str(path) for path in sorted(root.iterdir())]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A benchmark in place of the demo, which takes seconds to build."""
    return str(write_video_benchmark(tmp_path_factory.mktemp("tiny") / "bench"))


# Their status is 1 where what they look at is not whole, which standard output says.
CHECKS = {("build-data", "check"), ("leaderboard", "verify")}


def is_told(words: tuple[str, ...], status: object, said: str) -> bool:
    """Whether a command did its work, or said in one line why not."""
    if any(word in said for word in ("unexpected", "Traceback")):
        return False
    if status == 2:
        return said.startswith("icvos: ") and said.endswith("\n") and len(said.splitlines()) == 1 and len(said) < 1500
    return status in (0, None) or (status == 1 and words in CHECKS and not said)


def call(words: list[str]) -> tuple[object, str]:
    """Run a command; return what it exits with, and its words that were too long to be told."""
    signal.alarm(20)
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
    finally:
        signal.alarm(0)
    return stop.value.code, " ".join(word[:60] for word in words)


def values_of(parameter: click.Parameter, files: list[str]) -> list[str]:
    kind = parameter.type
    if (isinstance(parameter, click.Option) and parameter.is_flag) or isinstance(kind, click.Choice):
        return []
    return [*TEXTS, *files] if not isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)) else TEXTS


# These take seconds for each of their many values.
SLOW = (("models", "new"), ("reproduce", "status"))


@pytest.mark.parametrize(
    "words", [pytest.param(words, marks=[pytest.mark.slow] * (words in SLOW), id=" ".join(words)) for words in LEAVES]
)
def test_no_value_of_an_option_is_unexpected(words, files, tiny, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    command = LEAVES[words]
    wrong = []
    for parameter in command.params:
        for value in values_of(parameter, files):
            given = []
            for other in command.params:
                texts = [value if other is parameter else "nothing"] * max(other.nargs, 1)
                if isinstance(other, click.Argument):
                    given += texts
                elif other is not parameter and other.default == "demo":
                    given += [other.opts[-1], tiny]
                elif other is parameter or (other.required and not isinstance(other.type, click.Choice)):
                    given += [other.opts[-1], *texts]
            if parameter.name == "mirror":
                given = ["sam2.1-hiera-tiny", *given[1:]]
            status, said = call([*words, *given])
            line = capsys.readouterr().err
            if not is_told(words, status, line):
                wrong.append(f"{said}: {status} {line[-300:]}")
    assert not wrong, "\n".join(wrong)


SPOILT = {
    "pipe": os.mkfifo,
    "loop": lambda path: path.symlink_to(path.name),
    "folder": Path.mkdir,
    "noise": lambda path: path.write_bytes(b"\xff\xfe\x00\x80" * 50),
    "numbers": lambda path: path.write_text('{"schema": 1e999, "counts": Infinity, "n": ' + "9" * 5000 + "}"),
}


def spoilt(root: Path, relative: str, how: str) -> None:
    path = root / relative
    path.unlink()
    SPOILT[how](path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark, ``bench``, and a run on it with its masks, ``run``."""
    root = tmp_path_factory.mktemp("whole")
    write_video_benchmark(root / "bench")
    write_model(root / "method", RED)
    with pytest.raises(SystemExit) as stop:
        cli.main(evaluation(root, root / "run"))
    assert not stop.value.code
    return root


def evaluation(root: Path, out: Path) -> list[str]:
    model = root / "method/my_method.py"
    words = ["--model", f"{model}", "--benchmark", str(root / "bench"), "--out", str(out), "--save-masks"]
    return ["evaluate", *words]


def kinds(root: Path) -> dict[str, str]:
    """Return one file of each kind that is there: by its folder's place and its suffix."""
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return {f"{path.split('/')[0]}:{path.count('/')}:{Path(path).name[-9:]}": path for path in paths}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("part", ["bench", "run"])
@pytest.mark.slow
def test_no_file_of_a_benchmark_or_a_run_is_unexpected(whole, tmp_path: Path, monkeypatch, capsys, how, part) -> None:
    wrong = []
    for number, relative in enumerate(kinds(whole / part).values()):
        root = tmp_path / str(number)
        shutil.copytree(whole, root)
        monkeypatch.chdir(root)
        spoilt(root / part, relative, how)
        commands = [
            ["build-data", "check", "bench"],
            [*evaluation(root, root / "new"), "--limit-frames", "3"],
            ["show", "run", "--by", "episode"],
            ["compare", "run", str(whole / "run")],
            ["leaderboard", "show", "--runs", "."],
            ["report", "run", "--benchmark", "bench"],
            ["score", "run/masks", "--benchmark", "bench", "--out", "scored"],
            ["submit", "pack", "run"],
            ["show-episode", "--model", "histogram", "--benchmark", "bench"],
        ]
        for words in commands:
            status, said = call(words)
            told = capsys.readouterr().err
            if not is_told(tuple(words[:2]), status, told):
                wrong.append(f"{relative}: {said}: {status} {told[-300:]}")
        shutil.rmtree(root)
    assert not wrong, "\n".join(wrong)
