"""Every command that the documentation shows: it parses, and runs in its page's order on small real things.

On the line before a block that cannot be run here stands ``<!-- not run: REASON -->``, and before one whose last
command ends with another status than 0 ``<!-- exit status: N -->``. What pages call ``DAVIS``, ``B`` or ``SAM2.pt`` is
the demo's (``World``).
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
from docs_pages import (
    FENCE,
    FOR_CONTRIBUTORS,
    PAGES,
    ROOT,
    Block,
    Desk,
    World,
    blocks,
    commands_of,
    outside_blocks,
    page_name,
    words_of,
)

from icvos import cli
from icvos.commands.export import ExportGroup
from icvos.demo.world.plan import world_size
from icvos.models.options import option_types
from icvos.training.task import resolve_task
from tools.site import command_words

LANGUAGES = {"sh", "python", "text", "json", "csv", "toml", "ini", "yaml"}
COMMANDS = re.compile(r"^ *(icvos|make|python|pip|torchrun) ", re.MULTILINE)
BLOCKS = {page_name(page): blocks(page) for page in PAGES}
RUN = [name for name, found in BLOCKS.items() if any(block.runs for block in found)]
# Pages that make much of the same kind, run SAM 2 more than once, or take many seconds.
SLOW = {
    "docs/explanation/dcsam.md",
    "docs/explanation/ranks.md",
    "docs/how-to/bring-a-method.md",
    "docs/how-to/evaluate.md",
    "docs/how-to/few-shot.md",
    "docs/how-to/planning.md",
    "docs/how-to/track.md",
}


def all_blocks() -> Iterator[Block]:
    for found in BLOCKS.values():
        yield from found


def test_every_block_says_what_it_is() -> None:
    for block in all_blocks():
        assert block.language in LANGUAGES, f"{block.where}: say {', '.join(sorted(LANGUAGES))} behind the fence"
        if block.language == "text":
            assert not COMMANDS.search(block.text), f"{block.where}: commands are 'sh'"
        if block.language == "python" and not block.reason:
            ast.parse(block.text, block.where)


def unknown_options(words: list[str]) -> set[str]:
    """Return what ``--set`` and ``--weights`` of a training name that it does not take."""
    if words[0] != "train" or words[1].startswith("-"):
        return set()
    task = resolve_task(words[1])
    known = {"--set": {*option_types(task)}, "--weights": {*task.known_weights}}
    given = [(word, value.partition("=")[0]) for word, value in pairwise(words) if word in known]
    return {f"{word} {name}" for word, name in given if name not in known[word]}


def test_every_command_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups still find their commands, and all options are parsed; nothing is run."""
    monkeypatch.setattr(click.Command, "invoke", lambda self, context: None)
    count = 0
    for block in all_blocks():
        for line in block.lines if block.language == "sh" else ():
            for words in commands_of(line.replace("WORKERS", "2")) if "$(" not in line else ():
                starts = [index for index, word in enumerate(words) if word in ("icvos", "icvos.cli")]
                if not starts or starts == [len(words) - 1]:
                    continue
                words = words_of(shlex.join(words[starts[0] + 1 :]))
                try:
                    cli.icvos.main(words, prog_name="icvos", standalone_mode=False)
                except click.UsageError as error:
                    pytest.fail(f"{block.where}: {line}: {error.format_message()}")
                assert not unknown_options(words), f"{block.where}: {line}"
                count += 1
    assert count > 100
    assert set(RUN) >= SLOW


def test_every_command_in_a_sentence_is_there() -> None:
    """``icvos evaluate … --oracle first-frame`` between backticks: the words and the options are the command's."""
    for page in (*PAGES, *FOR_CONTRIBUTORS):
        for span in re.findall(r"`icvos ([^`]*)`", outside_blocks(page)):
            words = span.split()
            command: click.Command = cli.icvos
            while isinstance(command, click.Group) and words and not words[0].startswith(("-", "…", "COMMAND")):
                inner = command.get_command(click.Context(command), words[0])
                if inner is None and (command.params or isinstance(command, ExportGroup)) and words[0].isupper():
                    break
                assert inner is not None, f"{page_name(page)}: icvos {span}"
                command, words = inner, words[1:]
            if isinstance(command, ExportGroup):
                command = command.commands[command.unnamed]
            known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}
            for word in words:
                if word == "--":
                    break
                if word.startswith("--"):
                    assert word in known or command.name == "train", f"{page_name(page)}: icvos {span}: {word}"


@pytest.mark.parametrize("page", [*PAGES, *FOR_CONTRIBUTORS], ids=page_name)
def test_every_target_and_script_is_there(page: Path) -> None:
    """``make demo``, ``python benchmarks/scale.py``, ``python -m tools.toys``, ``tests/test_toys.py runs it``."""
    text = page.read_text(encoding="utf-8")
    in_blocks = "".join(match[3] for match in FENCE.finditer(text))
    targets = re.findall(r"^ *(?:\w+=\S+ )?make ([a-z-]+)", in_blocks, re.MULTILINE)
    targets += re.findall(r"`make ([a-z-]+)", outside_blocks(page))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    scripts = re.findall(r"(?:python |\b(?=tests/))((?:benchmarks|examples|tests|tools)/[\w/]+\.py)\b", text)
    scripts += [f"{name.replace('.', '/')}.py" for name in re.findall(r"-m ((?:benchmarks|tools)\.\w+)", text)]
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_what_is_not_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    marked = [block for block in all_blocks() if block.reason]
    assert len(marked) == len(re.findall("<!-- not run:", text)), "a mark stands on the line before its block"
    assert all(len(block.reason) > 8 for block in marked)
    count = Counter("run" if block.runs else "not run" if block.reason else "shown" for block in all_blocks())
    with capsys.disabled():
        print(f"\nblocks of the documentation: {count['run']} run, {count['not run']} marked as not run")
        for reason, number in Counter(block.reason for block in marked).most_common():
            print(f"  {number:3} {reason}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("docs"))


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in RUN])
def test_a_page_runs(
    name: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.make_home(tmp_path / "home")
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{world.bin}:{os.environ['PATH']}")  # of programs that icvos calls
    # The demo's images are small: so are the things on them.
    for _, command in command_words(cli.icvos):
        for option in command.params:
            if option.default == 2048:
                monkeypatch.setattr(option, "default", world_size("tiny").support_min_area)
    runs = [block for block in BLOCKS[name] if block.runs or block.title]
    desk = Desk(world, tmp_path / "desk", "".join(block.text for block in runs))
    monkeypatch.chdir(desk.folder)
    for block in runs:
        desk.run(block)
    os.chdir(tmp_path)
