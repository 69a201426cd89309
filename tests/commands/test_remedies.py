"""What an error message tells people to do can be done: every command and option that it names is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from icvos.cli import icvos

ROOT = Path(__file__).resolve().parents[2]
# Options of Python and pip that remedies name.
OTHERS = {"--user"}
# What may stand before it, its words (of a name, and what follows), and the options after them.
COMMAND = r"(the )?\bicvos ((?:[a-z][a-z0-9-]*[ \0'])*[a-z][a-z0-9-]*)((?: --[a-z][a-z-]+[^ \0';,]*)*)"


def remedies() -> Iterator[tuple[str, str]]:
    """Every text of ``fix``, ``expected`` and ``remedy`` in the packages, with its file; also one that has a name."""
    for room in ("icvos", "dcsam", "baselines"):
        for path in sorted((ROOT / room).rglob("*.py")):
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            values = [n.value for n in nodes if isinstance(n, ast.keyword) and n.arg in ("fix", "expected", "remedy")]
            names = {value.id for value in values if isinstance(value, ast.Name)}
            values += [
                node.value
                for node in nodes
                if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in names for t in node.targets)
            ]
            for value in values:
                # An f-string's parts belong together; what is filled in could be anything.
                parts = [c.value for c in ast.walk(value) if isinstance(c, ast.Constant)]
                yield "\0".join(part for part in parts if isinstance(part, str)), str(path.relative_to(ROOT))


def command_of(words: list[str]) -> tuple[click.Command | None, list[str]]:
    """The command that some words begin with, and its name's words; None if the first is no command."""
    command: click.Command = icvos
    name: list[str] = []
    for word in words:
        inner = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if inner is None:
            break
        command, name = inner, [*name, word]
    return (command, name) if name else (None, [])


def named() -> dict[tuple[str, ...], set[str]]:
    """The commands that remedies name, each with the options that follow it in the text."""
    found: dict[tuple[str, ...], set[str]] = {}
    for text, path in remedies():
        for match in re.finditer(COMMAND, text):
            if match[1]:  # "the icvos that made it" is no command
                continue
            words = re.split("[ \0']", match[2])
            command, name = command_of(words)
            whole = command is not None and not (isinstance(command, click.Group) and len(words) > len(name))
            assert whole, f"{path}: no command in '{match[0]}'"
            # After more words than the command's name the sentence goes on, of something else.
            options = re.findall(r"--[a-z][a-z-]+", match[3]) if words == name else []
            found.setdefault(tuple(name), set()).update(options)
    return found


def options_of(command: click.Command) -> set[str]:
    inner = command.commands.values() if isinstance(command, click.Group) and hasattr(command, "commands") else ()
    mine = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return mine.union(*map(options_of, inner)) | {"--help"}


def every_option() -> set[str]:
    context = click.Context(icvos)
    options: set[str] = options_of(icvos)
    for name in icvos.list_commands(context):
        command = icvos.get_command(context, name)
        assert command is not None
        options |= options_of(command)
        if isinstance(command, click.Group):
            inner = (command.get_command(context, each) for each in command.list_commands(context))
            options |= set().union(*(options_of(each) for each in inner if each is not None))
    return options


def test_every_command_that_a_remedy_names_has_a_help() -> None:
    commands = named()
    assert len(commands) >= 12
    for name, options in commands.items():
        shown = CliRunner().invoke(icvos, [*name, "--help"])
        assert shown.exit_code == 0, (name, shown.output)
        command, _ = command_of(list(name))
        assert command is not None
        if not isinstance(command, click.Group):
            assert options <= options_of(command), (name, options - options_of(command))


def test_every_option_that_a_remedy_names_is_there() -> None:
    known = every_option() | OTHERS
    for text, path in remedies():
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text):
            assert option in known, (path, option, text)


@pytest.mark.parametrize("words", [["evaluate"], ["weights", "fetch"], ["build-data", "ic-vos", "more"]])
def test_commands_are_found_by_their_words(words: list[str]) -> None:
    command, name = command_of(words)
    assert command is not None and name == words[:2]


def test_what_is_no_command_is_none() -> None:
    assert command_of(["evalute"]) == (None, [])
