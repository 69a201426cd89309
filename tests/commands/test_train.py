"""icvos train: what it lists and explains, what it shows while it runs, and what a dry run says."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
from toy_training import ToyTask

from icvos import cli, plugins, progress
from icvos.models.options import option_help, option_meanings
from icvos.plugins import plugin_targets
from icvos.training.task import GROUP, resolve_task

TOY = "toy_training:ToyTask"


def train(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> tuple[str, str]:
    """Run icvos train; return what it prints on standard output and standard error."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", *map(str, words)])
    output = capsys.readouterr()
    assert stop.value.code == status, output.err
    return output.out, output.err


# ---- list and help --------------------------------------------------------------------------------------------------


def test_the_list_has_plugins_and_what_is_broken_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "icvos_test_broken.py").write_text("1 / 0")
    (tmp_path / "icvos_test_task.py").write_text(
        "from toy_training import ToyTask\n\nclass Told(ToyTask):\n    '''A toy that says what it is.\n\n    More.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = [
        EntryPoint("told", "icvos_test_task:Told", GROUP),
        EntryPoint("broken", "icvos_test_broken:Task", GROUP),
        EntryPoint("absent", "icvos_test_absent:Task", GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda *, group: [*entry_points(group=group), *mine])
    out, err = train(capsys, "--list")
    listed = {line.split()[0]: line for line in out.splitlines()}
    assert {"dcsam", "pfenet", "vrp-sam", "demo-sam2", "demo-backbone", "told"} <= set(listed)
    assert listed["told"].endswith("  A toy that says what it is.")
    assert "the trainer in icvos_test_broken raises at import (ZeroDivisionError: division by zero)" in err
    assert "absent cannot be imported: no module 'icvos_test_absent'" in err


@pytest.mark.parametrize("words", [(TOY, "--help"), ("--help", TOY), (TOY, "-h"), ("--epochs", "2", TOY, "--help")])
def test_the_help_of_a_task_has_its_options(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    out, err = train(capsys, *words)
    assert "--max-steps" in out and not err
    assert re.search(r"length +Examples of an epoch. \[whole number; default: 12\]", out)
    assert re.search(r"poison +\[whole number \| none; default: none\]", out)
    assert re.search(r"start +where the toy goes on from", out)
    assert "--epochs 3 --batch 2 --accumulate 1 --lr 0.01" in out


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("demo-sam2", "needs the package torch; install it with: pip install"),
        ("nothing", "nothing to train"),
    ],
)
def test_without_torch_a_line_says_what_to_do(name: str, says: str, tmp_path: Path) -> None:
    # A process of its own: here torch is loaded already.
    code = "import sys; sys.modules['torch'] = None; from icvos import cli; cli.main(sys.argv[1:])"
    words = [sys.executable, "-c", code, "train", name, "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and says in line, line


def test_help_without_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    asked, _ = train(capsys, "--help")
    alone, err = train(capsys)
    assert alone == asked and not err
    assert "icvos train demo-sam2" in alone
    _, err = train(capsys, "--epochs", "3", status=2)
    assert err == "icvos: nothing to train is named; icvos train --list shows what there is\n"


@pytest.mark.parametrize("more", [(), ("--help",), ("--dry-run",)])
def test_an_unknown_name_is_one_line(more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    out, err = train(capsys, "demo-sma2", *more, status=2)
    assert err == "icvos: nothing to train is called 'demo-sma2'; did you mean 'demo-sam2'?\n" and not out


def test_weights_that_are_shipped_are_named_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sam2")
    words = ("--max-steps", 1, "--batch", 1, "--accumulate", 1, "--set", "length=1", "--validate-every", 0)
    out, _ = train(capsys, "sansa", "--weights", "sam2=demo", *words, "--out", tmp_path / "run")
    assert "step 1 of 1" in out and (tmp_path / "run" / "last.safetensors").is_file()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sansa", "trainer 'sansa' comes without demo weights 'backbone'; shipped are: sansa, sam2"),
        ("demo-sam2", "trainer 'demo-sam2' comes without demo weights 'backbone'; give --weights backbone=PATH"),
    ],
)
def test_weights_that_are_not_shipped_are_no_demo(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, err = train(capsys, name, "--weights", "backbone=demo", status=2)
    assert err == f"icvos: {says}\n"


@pytest.mark.parametrize("name", sorted(plugin_targets(GROUP)))
def test_every_task_of_ours_explains_itself(name: str) -> None:
    cls = resolve_task(name)
    options = option_help(cls)
    assert options and set(options) <= set(option_meanings(cls))
    assert all(re.search(r"\w.* \[[^\[\]]+\]$", text) and "``" not in text for text in options.values())
    # What is given from Python only is no option of the command.
    assert "pool" not in options
    assert cls.known_weights and (cls.__doc__ or "").splitlines()[0].endswith(".")


def test_options_of_bases_and_of_dataclasses_are_explained() -> None:
    options = option_help(resolve_task("pfenet"))
    assert options["sbd"] == "SBD's folder, for PASCAL-5i. [path | none; default: none]"
    assert options["drift"].endswith(" [true | false; default: false]")
    # The baseline's own words, not those of all training data.
    assert "mask-tubes" not in options["data"] and "mask-tubes" in option_help(resolve_task("dcsam"))["data"]


# ---- progress -------------------------------------------------------------------------------------------------------


def test_without_a_terminal_there_are_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first step and the last, and a line a minute between them: 100 steps of 2.5 seconds."""
    now = 0.0

    def slow(self: ToyTask, model: Any, batch: Any) -> Any:
        nonlocal now
        now += 2.5
        return loss(self, model, batch)

    loss = ToyTask.loss
    monkeypatch.setattr(ToyTask, "loss", slow)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    words = ("--set", "length=200", "--epochs", 1, "--validate-every", 0, "--out", tmp_path / "run")
    out, err = train(capsys, TOY, *words)
    said = [line for line in out.splitlines() if line.startswith("step")]
    assert re.fullmatch(r"step 1 of 100: loss \d+\.\d{4}, lr \d\.\de-\d\d, waits \d+%", said[0])
    assert re.match(r"step 100 of 100: loss \d+\.\d{4}, lr \d\.\de-\d\d, ", said[1]) and len(said) == 2
    lines = err.splitlines()
    assert [int(re.search(r"(\d+)/100 steps", line)[1]) for line in lines] == [24, 48, 72, 96, 100]  # type: ignore[index]
    assert re.search(r"loss \d+\.\d{4}, lr \d\.\de-\d\d, [\d.]+ examples/s, waits \d+%", lines[0])
    assert lines[0].endswith("1 min 00 s gone, about 3 min left")
    out, err = train(capsys, "-q", TOY, *words)
    assert not err and "continues at step 100 of 100" in out


def test_quiet_shows_no_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = train(capsys, TOY, "-q", "--epochs", 1, "--out", tmp_path / "run")
    assert not err and "step 1 of" not in out and "last.safetensors" in out


# ---- dry run --------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_follows_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = train(capsys, TOY, "--out", tmp_path / "run", "--workers", 2, "--validate-every", 2, "--dry-run")
    assert not list(tmp_path.iterdir()) and not err
    assert "12 examples an epoch, 18 steps" in out
    assert re.search(r"a step, median of \d+: [\d.e-]+ m?s \([\d.e-]+ m?s to [\d.e-]+ m?s\) to compute", out)
    assert re.search(r"to load 2 examples; loss \d+\.\d+\n", out)
    assert re.search(r"\nmemory \d+\.\d\d GiB: the peak of this process", out)
    assert re.search(
        r"\ndisk [\d.]+ kB: checkpoint [\d.]+ kB, two while one replaces the other, weights \d+ B, the last", out
    )
    assert re.search(r"18 steps: [\d.e-]+ m?s to compute, [\d.e-]+ m?s to load the data meanwhile, in 2 process", out)
    assert re.search(r"2 validation\(s\) of 5 examples, [\d.e-]+ m?s each", out)
    assert re.search(r"in all about [\d.e-]+ m?s$", out.rstrip())
