"""Help: groups alone print it, every command's has an example that parses, those of the demo run; words complete."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from board_runs import build, icvos, run
from click.testing import CliRunner

from icvos import cli
from icvos.demo import benchmarks as demo
from icvos.protocols import PROTOCOLS
from tools.site import command_words

# Longer than a second or two, or of the network; each has tests of its own.
NOT_RUN = (
    ["demo"],
    ["demo", "--workers", "1"],
    ["demo", "--all"],
    ["build-data"],
    ["build-data", "demo"],
    ["build-data", "demo", "--all"],
    ["build-data", "demo", "--size", "tiny", "--out", "world"],
    ["weights", "fetch", "sam2.1-hiera-tiny"],
    ["reproduce", "run", "sam2.1-tiny-davis17", "--dry-run"],
    ["reproduce", "run", "--all", "--dry-run"],
)


def commands() -> Iterator[tuple[str, ...]]:
    """The words of every command, groups too."""
    return (words for words, _ in command_words(cli.icvos))


def help_of(words: tuple[str, ...]) -> str:
    shown = CliRunner().invoke(cli.icvos, [*words, "--help"], prog_name="icvos", terminal_width=200)
    assert shown.exit_code == 0, shown.output
    return shown.output


def examples(words: tuple[str, ...]) -> list[list[str]]:
    """The words after ``icvos`` of every example in a command's help."""
    lines = re.findall(r"^ +icvos (.*)", help_of(words), flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def groups() -> list[tuple[str, ...]]:
    """Every group but ``build-data``, which builds the demo by itself, and ``reproduce``, which lists its rungs."""
    found = list(commands())
    inner = {words[:-1] for words in found if words}
    return sorted(inner - {("build-data",), ("reproduce",)})


@pytest.mark.parametrize("words", groups(), ids=" ".join)
def test_a_group_alone_prints_its_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos(*words) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and shown.out.startswith(f"Usage: {' '.join(('icvos', *words))} ")
    assert len(shown.out.splitlines()) > 8 and "\nCommands:\n" in shown.out


@pytest.mark.parametrize("command", ["evaluate", "score", "export-episodes"])
def test_every_protocol_stands_in_the_help(command: str) -> None:
    shown = re.sub(r"\s+", " ", help_of((command,)))
    said = re.search(r"Of videos: (.*?)\. Of label maps and VOS: (.*?)\. Of images: (.*?)\.", shown)
    assert said is not None
    assert ", ".join(said.groups()).split(", ") == sorted(
        PROTOCOLS, key=lambda name: ("video", "sequence", "image").index(PROTOCOLS[name].kind)
    )


def test_every_command_is_looked_at() -> None:
    found = list(commands())
    assert {("leaderboard", "show"), ("build-data", "stats"), ("doctor",), ("weights", "fetch"), ()} <= set(found)
    assert len(found) > 30


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_help_has_an_example_that_parses(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    mine = [example for example in examples(words) if tuple(example[: len(words)]) == words]
    assert mine, f"no example of 'icvos {' '.join(words)}'"
    # Groups still find their commands, and all options are parsed; nothing is run.
    monkeypatch.setattr(click.Command, "invoke", lambda self, context: None)
    for example in examples(words):
        cli.icvos.main(example, prog_name="icvos", standalone_mode=False)


def test_what_does_not_parse_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Command, "invoke", lambda self, context: None)
    for example in (["evaluate", "--modle", "x"], ["leaderboard", "shew"], ["compare", "a"]):
        with pytest.raises(click.UsageError):
            cli.icvos.main(example, prog_name="icvos", standalone_mode=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to stand in: the tiny demo as the demo, two runs on it, and a packed one."""
    root = tmp_path_factory.mktemp("examples")
    patch = pytest.MonkeyPatch()
    patch.setenv("ICVOS_HOME", str(root / "home"))
    benchmarks = build(root)
    for model in ("histogram", "empty"):
        run(benchmarks / "demo", root / "runs/demo" / model, model, "--save-masks")
    assert icvos("submit", "pack", root / "runs/demo/histogram", "--out", root / "submission.zip") == 0
    assert icvos("export", root / "runs/demo/histogram", "--to", "csv", "--out", root / "tables") == 0
    patch.undo()
    return root


def of_the_demo() -> list[list[str]]:
    """The examples without a word in capitals, which stands for data of one's own."""
    found = [example for words in commands() for example in examples(words)]
    unique = {tuple(words): words for words in found if not any(re.search(r"\b[A-Z]", word) for word in words)}
    return [words for words in unique.values() if words not in NOT_RUN and words[0] != "train"]


@pytest.mark.parametrize("words", of_the_demo(), ids=" ".join)
def test_the_examples_of_the_demo_run(
    words: list[str], world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world)
    monkeypatch.setenv("ICVOS_HOME", str(world / "home"))
    folder = world / "world/benchmarks"
    monkeypatch.setattr(demo, "ensure_demo", lambda name="demo": folder / name.removeprefix("demo/"))
    # What one environment lacks, doctor says by its status.
    assert icvos(*words) in ((0, 1) if words[0] == "doctor" else (0,)), capsys.readouterr().err


def test_the_examples_that_run_are_of_the_commands_that_look_at_results() -> None:
    first = {words[0] for words in of_the_demo()}
    assert {"leaderboard", "models", "doctor", "weights", "report", "compare", "show-episode", "submit"} <= first


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("icvos le", ["plain,leaderboard"]),
        ("icvos leaderboard sh", ["plain,show"]),
        ("icvos build-data coco", ["plain,coco-20i"]),
        ("icvos compare --to", ["plain,--top"]),
        ("icvos weights fetch --mir", ["plain,--mirror"]),
    ],
)
def test_words_complete_in_the_shell(
    typed: str, completed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_ICVOS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    assert icvos() == 0
    assert capsys.readouterr().out.splitlines() == completed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_ICVOS_COMPLETE", f"{shell}_source")
    assert icvos() == 0
    assert f"_ICVOS_COMPLETE={shell}_complete" in capsys.readouterr().out
