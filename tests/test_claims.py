"""The claims of speed (benchmarks/claims.toml): pages state what the table holds, and the runner measures and keeps."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from math import nan
from pathlib import Path

import pytest

from benchmarks import claims
from benchmarks.claims import Claim, load_claims, main, pages, render, stray_figures
from icvos.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
# Figures that are none of speed.
OTHER_FIGURES = {"docs/explanation/ranks.md": ["1.3 times"]}  # an interval's width

# ---- the pages and the table of this repository ----------------------------------------------------------------------


def all_claims() -> dict[str, Claim]:
    tables = load_claims(ROOT)
    assert not tables["cpu"].keys() & tables["gpu"].keys()
    return tables["cpu"] | tables["gpu"]


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_states_the_tables_figures(page: Path) -> None:
    text, known = page.read_text(encoding="utf-8"), all_claims()
    assert render(text, known) == text, "python benchmarks/claims.py --pages makes the tables anew"
    assert stray_figures(text, known) == OTHER_FIGURES.get(page.relative_to(ROOT).as_posix(), [])


def test_every_claim_is_shown() -> None:
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    names = [name for match in claims.BLOCK.finditer(text) for name in match[1].split()]
    assert sorted(names) == sorted(all_claims())


def test_another_figure_is_seen() -> None:
    known = {"train": claim(last=1.6), "fast": claim(last=65100, unit="masks a second")}
    text = "<!-- claims: train fast -->\n<!-- end of claims -->\nIt runs 1.60 times as fast, 65,100 masks\na second.\n"
    text = render(text, known)
    assert "| 1.60 times |" in text and "| 65,100 masks a second |" in text
    assert render(text, known) == text
    assert stray_figures(text, known) == []
    assert render(text.replace("| 1.60 times |", "| 1.61 times |"), known) == text
    assert stray_figures(text + "It is 1.61 times faster, 25x, at 0.8 of\nthe floor, 20 frames a second.", known) == [
        "1.61 times",
        "25 times",
        "0.8 of the floor",
        "20 frames a second",
    ]
    assert stray_figures("480x854 pixels, three times, 3 sometimes", known) == []
    with pytest.raises(InputError, match=r"claim gone, which benchmarks/claims\.toml does not have"):
        render("<!-- claims: train gone -->\n<!-- end of claims -->\n", known)


# ---- a claim ---------------------------------------------------------------------------------------------------------


def claim(
    *, last: float = nan, unit: str = "times", at_least: float | None = 1.0, at_most: float | None = None
) -> Claim:
    return Claim("speed", "a peer", "python x.py", ["a"], unit, last, "m", "c", "d", at_least, at_most)


@pytest.mark.parametrize(
    ("at_least", "at_most", "last", "value", "verdict"),
    [
        (2.0, None, 2.5, 2.4, "kept"),
        (2.0, None, 2.5, 2.0, "worse"),  # as wanted to the digit, and a fifth slower than before
        (2.0, None, 2.5, 1.99, "not kept"),
        (2.0, None, 1.5, 2.5, "better"),
        (2.0, None, nan, 2.5, "kept"),
        (None, 1.0, 0.5, 0.52, "kept"),
        (None, 1.0, 0.5, 0.4, "better"),
        (None, 1.0, 0.5, 1.0, "worse"),
        (None, 1.0, 0.5, 1.01, "not kept"),
        (None, 0.0, 0.0, 0.0, "kept"),
    ],
)
def test_verdicts(at_least: float | None, at_most: float | None, last: float, value: float, verdict: str) -> None:
    assert claim(last=last, at_least=at_least, at_most=at_most).verdict(value) == verdict


# ---- the runner, on commands that measure nothing --------------------------------------------------------------------

SCRIPT = """
import argparse, json, os, subprocess, sys, time
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--value", type=float)
parser.add_argument("--do")
options = parser.parse_args()
with open("ran.txt", "a") as stream: stream.write(f"{options.value}\\n")
if options.do == "fail": import a_package_that_is_missing
if options.do == "sleep":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    Path("pids.tmp").write_text(f"{os.getpid()} {child.pid}")
    Path("pids.tmp").rename("pids.txt")
    time.sleep(300)
print("some words")
print("no JSON" if options.do == "words" else json.dumps({"ours": {"ratio": options.value, "cpu_ratio": 3.14159}}))
"""
PAGE = "Speed:\n\n<!-- claims: one -->\n<!-- end of claims -->\nthe end\n"


def entry(name: str, options: str, *, figure: str = '["ours", "ratio"]', wanted: str = "at_least = 2") -> str:
    return f"""
[{name}]
what = "speed"
against = "a peer"
command = "python benchmarks/script.py {options}"
figure = {figure}
{wanted}
unit = "times"
# What was seen.
last = 2.5  # once
machine = "m"
commit = "c"
date = "2026-01-01"
"""


def folder(root: Path, *entries: str) -> Path:
    """Write a table of claims, the script of their commands and a page; return the folder."""
    (root / "benchmarks").mkdir()
    (root / "benchmarks/script.py").write_text(SCRIPT)
    (root / "benchmarks/claims.toml").write_text("# A table.\n" + "".join(entries) + entry("gpu.far", "--value 9"))
    (root / "README.md").write_text(PAGE)
    (root / "benchmarks/README.md").write_text("Nothing.\n")
    return root


def table(root: Path) -> str:
    return (root / "benchmarks/claims.toml").read_text()


def test_a_run_measures_once_writes_and_keeps_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = entry("cpu.one", "--value 2.6789"), entry("cpu.two", "--value 2.6789", figure='["ours", "cpu_ratio"]')
    root = folder(tmp_path, one, two)
    before = table(root)
    assert main([], root=root) == 0
    assert (root / "ran.txt").read_text() == "2.6789\n"  # one command for both, none for the GPU's
    after = table(root).splitlines()
    changed = [(old, new) for old, new in zip(before.splitlines(), after, strict=True) if old != new]
    assert [new.split(" = ")[0] for _, new in changed] == ["last", "machine", "commit", "date"] * 2
    assert [new for _, new in changed if "last" in new] == ["last = 2.68  # once", "last = 3.14  # once"]
    assert load_claims(root)["cpu"]["one"].machine.endswith(
        re.findall("model name\\s*: (.*)", Path("/proc/cpuinfo").read_text())[0]
    )
    assert "| speed | a peer | 2.68 times | at least 2 |" in (root / "README.md").read_text()
    assert (root / "README.md").read_text().endswith("-->\nthe end\n")
    printed = capsys.readouterr().out
    assert re.search(r"one +at least 2 +2\.50 times +2\.68 +kept", printed)
    assert re.search(r"two +at least 2 +2\.50 times +3\.14 +better", printed)
    assert re.search(r"far +at least 2 +2\.50 times +kept +m, 2026-01-01", printed)


def test_a_claim_that_is_not_kept_is_written_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path, entry("cpu.one", "--value 1.9"), entry("cpu.two", "--value 3"))
    before = table(root)
    assert main(["--check"], root=root) == 1
    assert (table(root), (root / "README.md").read_text()) == (before, PAGE)
    assert main(["two"], root=root) == 0
    assert (root / "ran.txt").read_text() == "1.9\n3.0\n3.0\n"
    assert main([], root=root) == 1
    assert [claim.last for claim in load_claims(root)["cpu"].values()] == [1.9, 3.0]
    assert re.search(r"one +at least 2 +2\.50 times +1\.90 +not kept", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "figure", "reason"),
    [
        ("--do fail", '["ours", "ratio"]', "ModuleNotFoundError: No module named 'a_package_that_is_missing'"),
        ("--do words", '["ours", "ratio"]', "its last line is not a JSON object of figures"),
        ("--value 1", '["theirs"]', "no figure ['theirs'] in its last line"),
        ("--value 1", '["ours"]', "no figure ['ours'] in its last line"),
        ("", '["ours", "ratio"]', "no figure ['ours', 'ratio'] in its last line"),
        ("--value inf", '["ours", "ratio"]', "no figure ['ours', 'ratio'] in its last line"),
    ],
)
def test_a_claim_that_cannot_be_measured_says_why_and_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, figure: str, reason: str
) -> None:
    one = entry("cpu.one", options, figure=figure)
    root = folder(tmp_path, one, entry("cpu.two", "--value 3"))
    assert main([], root=root) == 1
    assert one in table(root)
    assert load_claims(root)["cpu"]["two"].last == 3.0
    assert f"not measured: {reason}" in capsys.readouterr().out


def test_a_table_as_others_write_it_is_written_too(tmp_path: Path) -> None:
    """A comment behind a heading, and a list over several lines."""
    one = entry("cpu.one", "--value 3", figure='[\n  "ours",\n  "ratio",\n]')
    root = folder(tmp_path, one.replace("[cpu.one]", "[cpu.one]  # the first"))
    assert main([], root=root) == 0
    assert load_claims(root)["cpu"]["one"].last == 3.0


def test_a_page_that_cannot_be_written_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path, entry("cpu.one", "--value 3"))
    assert main(["--pages"], root=root) == 0
    real = claims.atomic_write

    def refuse(path: Path, mode: str) -> object:
        if path.name == "README.md":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, mode)

    monkeypatch.setattr(claims, "atomic_write", refuse)
    assert main([], root=root) == 2
    assert f"error: {root / 'README.md'}: Permission denied" in capsys.readouterr().err
    assert load_claims(root)["cpu"]["one"].last == 3.0


def gone(root: Path) -> bool:
    """Return whether the script and the process that it started have ended."""
    pids = [int(pid) for pid in (root / "pids.txt").read_text().split()]
    # A process that nobody waited for is still listed, as a zombie.
    states = [Path(f"/proc/{pid}/stat") for pid in pids]
    return all(not path.exists() or path.read_text().rsplit(")", 1)[1].split()[0] == "Z" for path in states)


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


def test_a_command_that_takes_too_long_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = entry("cpu.one", "--do sleep")
    root = folder(tmp_path, one)
    assert main(["--timeout", "2"], root=root) == 1
    assert one in table(root)
    assert "not measured: took longer than 2 s" in capsys.readouterr().out
    wait_for(lambda: gone(root))


@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_stopped_keeps_what_it_measured(tmp_path: Path, kill: signal.Signals) -> None:
    two = entry("cpu.two", "--do sleep")
    root = folder(tmp_path, entry("cpu.one", "--value 3"), two)
    code = (
        f"import pathlib, sys; from benchmarks.claims import main; sys.exit(main([], root=pathlib.Path({str(root)!r})))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for((root / "pids.txt").exists)
    process.send_signal(kill)
    assert process.communicate()[1] == "stopped; what was measured is kept\n"
    assert process.returncode == 130
    assert load_claims(root)["cpu"]["one"].last == 3.0
    assert "3.00 times" in (root / "README.md").read_text()
    assert two in table(root)
    wait_for(lambda: gone(root))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (entry("cpu.one", "").replace("script.py", "moved.py"), "one names benchmarks/moved.py, which is not there"),
        (entry("cpu.one", "--valeu 3"), "one names --valeu, which benchmarks/script.py does not have"),
        (entry("gpu.one", "--valeu 3"), "one names --valeu, which benchmarks/script.py does not have"),
        (entry("cpu.one", "", wanted=""), "one wants nothing or two things; give at_least or at_most"),
        (entry("cpu.one", "", wanted="at_least = 1\nat_most = 2"), "one wants nothing or two things"),
        (entry("cpu.one", "").replace('unit = "times"', ""), "missing 1 required positional argument: 'unit'"),
        (entry("cpu.one", "", wanted="at_leats = 1"), "unexpected keyword argument 'at_leats'"),
        (entry("cpu.one", "").replace('"m"', '"m'), "Illegal character"),
        (entry("cpu.one", "", wanted='at_least = "2"'), "one: at_least is '2', no float"),
        (entry("cpu.one", "").replace("last = 2.5", 'last = "2.5"'), "one: last is '2.5', no float"),
        (entry("cpu.one", "", figure='"ratio"'), "one: figure is 'ratio', no list[str]"),
        (
            entry("cpu.one", "").replace(" benchmarks/script.py", ""),
            "one: its command is no 'python SCRIPT'",
        ),
        (entry("cpu.one", "'"), "one: its command is no 'python SCRIPT'"),
        ("[cpu]\none = 3\n", "must be a mapping, not int"),
        ("cpu = 3\n", "no attribute 'items'"),
    ],
)
def test_a_wrong_table_measures_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    root = folder(tmp_path, text)
    assert main([], root=root) == 2
    assert message in capsys.readouterr().err
    assert not (root / "ran.txt").exists()


def test_a_page_with_an_unknown_claim_is_known_before_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path, entry("cpu.two", "--value 3"))
    for arguments in ([], ["--check"], ["--pages"]):
        assert main(arguments, root=root) == 2
        assert "claim one, which benchmarks/claims.toml does not have" in capsys.readouterr().err
    assert not (root / "ran.txt").exists()


def test_pages_are_made_from_the_table_alone(tmp_path: Path) -> None:
    root = folder(tmp_path, entry("cpu.one", "--value 3"))
    before = table(root)
    assert main(["--pages"], root=root) == 0
    assert "2.50 times" in (root / "README.md").read_text()
    assert table(root) == before and not (root / "ran.txt").exists()


def test_without_a_gpu_its_claims_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--gpu"], root=folder(tmp_path, entry("cpu.one", "--value 3"))) == 2
    assert "no GPU here" in capsys.readouterr().err


def test_an_unknown_claim_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["one", "far"], root=folder(tmp_path, entry("cpu.one", "--value 3"))) == 2
    assert "no claim far; there are one" in capsys.readouterr().err
