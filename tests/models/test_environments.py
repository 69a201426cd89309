"""Environments that methods ask for: made once, anew after a failure or a kill, in use, removed; from the registry."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from board_runs import icvos
from quick_environments import header, make_quickly
from run_models import RED, write_model
from tiny import write_video_benchmark

from icvos import evaluate
from icvos.errors import UsageError
from icvos.models import environments, host
from icvos.models.dependencies import Dependencies
from icvos.models.environments import isolated, kept_environments, remove_environment
from icvos.models.registry import resolve

ROOT = Path(__file__).resolve().parents[2]
OLD = Path("~/.pyenv/versions/3.8.18/bin/python3.8").expanduser()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder of the test's own, in which environments are made quickly."""
    make_quickly(monkeypatch, tmp_path / "home")
    yield tmp_path / "home" / "environments"
    forget()


def forget() -> None:
    """Let go what this process uses, as its end does."""
    while environments._used:
        os.close(environments._used.popitem()[1])


def method(folder: Path, *lines: str) -> str:
    """Write a method that asks for something, and return its spec."""
    spec = write_model(folder, RED)
    path = Path(spec.partition(":")[0])
    path.write_text(header(*lines) + path.read_text(), encoding="utf-8")
    return f"{path}:Red"


def runs_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    keep = ("id", "J", "F", "error")
    return sorted(({name: line.get(name) for name in keep} for line in lines), key=lambda line: str(line["id"]))


def test_a_method_runs_in_the_environment_that_its_file_asks_for(tmp_path: Path, home: Path) -> None:
    spec, bench = method(tmp_path, "dependencies = ['scipy']"), write_video_benchmark(tmp_path / "b", videos=2)
    assert icvos("evaluate", "--model", spec, "--isolated", "--benchmark", bench, "--out", tmp_path / "own") == 0
    assert icvos("evaluate", "--model", spec, "--benchmark", bench, "--out", tmp_path / "here") == 0
    assert runs_of(tmp_path / "own") == runs_of(tmp_path / "here")
    (kept,) = kept_environments()
    said = json.loads((tmp_path / "own" / "run.json").read_text())["environment"]["method"]
    assert said["asked"] == kept.asked == {"requirements": ["numpy", "scipy"], "requires_python": ""}
    assert any(package.startswith("numpy==") for package in said["packages"])
    described = json.loads((kept.folder / "environment.json").read_text())
    assert described["packages"] == said["packages"]
    assert "method" not in json.loads((tmp_path / "here" / "run.json").read_text())["environment"]
    # The same by a call, in the same environment.
    evaluate(spec, bench, isolated=True, out=tmp_path / "call")
    assert runs_of(tmp_path / "call") == runs_of(tmp_path / "here")
    assert [each.folder for each in kept_environments()] == [kept.folder]


def test_what_is_asked_decides_which_environment_it_is(tmp_path: Path, home: Path) -> None:
    spec = method(tmp_path, "dependencies = ['a', 'b']")
    first = isolated(spec)
    assert first == f"{home / Path(first).relative_to(home).parts[0]}/bin/python::{spec}"
    made = (home / Path(first).relative_to(home).parts[0] / "environment.json").read_text()
    assert isolated(method(tmp_path, "dependencies = ['b', 'a']")) == first
    assert (home / Path(first).relative_to(home).parts[0] / "environment.json").read_text() == made
    others = {isolated(method(tmp_path, *lines)) for lines in (("dependencies = ['a']",), ("dependencies = ['b']",))}
    assert len({first, *others}) == 3
    # A lift stays behind it.
    assert isolated(f"{spec}+sam2@first-found").endswith(f"::{spec}+sam2@first-found")


def test_a_run_with_other_requirements_is_another(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, bench = f"{write_model(tmp_path, RED)}:Red", write_video_benchmark(tmp_path / "b", videos=1)
    words = ("evaluate", "--model", spec, "--isolated", "--benchmark", bench, "--out", tmp_path / "run")
    (tmp_path / "requirements.txt").write_text("numpy<2\n")
    assert icvos(*words) == icvos(*words) == 0
    capsys.readouterr()
    (tmp_path / "requirements.txt").write_text("numpy>=2\n")
    assert icvos(*words) == 2
    assert "asked" in capsys.readouterr().err


def test_a_failure_says_its_last_lines_and_the_next_command_begins_anew(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, quick = method(tmp_path), environments._steps
    say = "print('much\\n' * 10_000, 'ERROR: no \\x1b[2J such thing'); raise SystemExit(3)"

    def broken(folder: Path, asked: Dependencies, program: str) -> list[list[str]]:
        return [*quick(folder, asked, program), [program, "-c", say]]

    monkeypatch.setattr(environments, "_steps", broken)
    assert icvos("models", "check", spec, "--isolated", "--quick") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the environment cannot be made: ERROR: no �[2J such thing" in error
    (broke,) = kept_environments()
    assert str(broke.folder / "install.log") in error
    assert not broke.python
    assert icvos("models", "environments", "list") == 0
    assert "did not come to its end" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(environments, "_steps", quick)
    (broke.folder / "rest").touch()
    assert icvos("models", "check", spec, "--isolated", "--quick") == 0
    assert kept_environments()[0].python
    assert not (broke.folder / "rest").exists()
    # An environment without numpy is none.
    monkeypatch.setattr(
        environments, "_steps", lambda *asked: [[asked[2], "-m", "venv", "--without-pip", str(asked[0])]]
    )
    with pytest.raises(UsageError, match="No module named 'numpy'"):
        isolated(method(tmp_path, "dependencies = ['other']"))


def test_what_a_killed_command_left_ends_before_another_begins_anew(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, begun, ended = method(tmp_path), tmp_path / "begun", tmp_path / "ended"
    code = f"import time; open({str(begun)!r}, 'w'); time.sleep(2); open({str(ended)!r}, 'w')"
    script = f"""
import sys
from icvos.models import environments
environments._steps = lambda *asked: [[sys.executable, "-c", {code!r}]]
environments.isolated({spec!r})
"""
    maker = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not begun.exists():
        assert maker.poll() is None
        time.sleep(0.01)
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    (left,) = kept_environments()
    assert not remove_environment(left.folder)
    isolated(spec)
    assert ended.exists()
    assert "waiting for another command" in capsys.readouterr().err
    assert kept_environments()[0].python


def test_several_commands_make_an_environment_once_and_use_it_together(tmp_path: Path, home: Path) -> None:
    spec = method(tmp_path)
    script = f"""
from quick_environments import quick_steps
from icvos.models import environments
environments._steps = quick_steps
environments.isolated({spec!r})
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests' / 'helpers'}:{ROOT}"}
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = "".join(each.communicate()[1] for each in both)
    assert [each.returncode for each in both] == [0, 0, 0], said
    assert said.count("making an environment") == 1
    # Those that only use it wait for nobody.
    isolated(spec)
    subprocess.run(command, env=environment, check=True, timeout=60)


def test_clean_removes_what_no_command_uses(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (isolated(method(tmp_path, f"dependencies = ['{name}']")).partition("::")[0] for name in "ab")
    assert icvos("models", "environments", "clean", "--unused", "all") == 0
    assert capsys.readouterr().out.count("a command uses it") == 2
    forget()
    old = Path(first).parents[1]
    long_ago = time.time() - 40 * 86400
    os.utime(old / "environment.json", (long_ago, long_ago))
    assert icvos("models", "environments", "clean") == 0
    assert f"removed {old}" in capsys.readouterr().out
    assert [each.folder for each in kept_environments()] == [Path(second).parents[1]]
    # A use makes it young.
    os.utime(Path(second).parents[1] / "environment.json", (long_ago, long_ago))
    isolated(method(tmp_path, "dependencies = ['b']"))
    forget()
    assert icvos("models", "environments", "clean") == 0
    assert "1 used within 30 days stay" in capsys.readouterr().out
    assert icvos("models", "environments", "clean", "--unused", "all") == 0
    assert not list(home.iterdir())
    assert icvos("models", "environments", "clean", "--unused", "some") == 2


def test_where_it_runs_is_said_once(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = method(tmp_path)
    for words, says in (
        ((spec, "--isolated", "--python", sys.executable), "--python and --isolated both name an interpreter"),
        ((f"{sys.executable}::{spec}", "--isolated"), "both name an interpreter"),
        (("histogram", "--isolated"), "is no file that could say what it needs"),
        (("a.module:Class", "--isolated"), "is no file that could say what it needs"),
        ((tmp_path / "none.py", "--isolated"), "model file not found"),
    ):
        assert icvos("models", "check", *words) == 2
        assert says in capsys.readouterr().err
    assert icvos("evaluate", "--model", spec, "--isolated", "--engine", "ray") == 2
    assert "give --python an environment that every node has" in capsys.readouterr().err
    with pytest.raises(UsageError, match="runs in this interpreter"):
        evaluate(resolve("empty"), "demo", isolated=True)
    assert not home.exists()


def test_a_python_that_fits_is_found_or_those_here_are_named(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = method(tmp_path, "requires-python = '==3.98.*'")
    wanted = r"no Python that is here fits requires-python '==3.98.\*' \(here are 3\..*3.8 or newer"
    with pytest.raises(UsageError, match=wanted):
        isolated(spec)
    # One that does not start, as pyenv's shims do, is none.
    for name, body in (("python3.98", "exit 127"), ("python3.99", "echo 3.98.1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    assert environments._choose("==3.98.*", tmp_path) == (str(tmp_path / "python3.99"), "3.98.1")
    assert environments._choose("", tmp_path)[0] == os.path.realpath(sys.executable)
    # uv fetches what is not here.
    (tmp_path / "uv").write_text("#!/bin/sh\n")
    (tmp_path / "uv").chmod(0o755)
    assert environments._choose("==3.97.*", tmp_path) == ("==3.97.*", "")


def test_an_interpreter_without_numpy_is_refused_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    subprocess.run([os.path.realpath(sys.executable), "-I", "-m", "venv", "--without-pip", bare], check=True)
    assert icvos("models", "check", method(tmp_path), "--python", bare, "--quick") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{bare}/bin/python -m pip install numpy" in line


def test_a_new_method_says_what_it_needs(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("models", "new", "my-method", "--isolated", "--into", tmp_path) == 0
    assert "--model" in capsys.readouterr().out
    assert icvos("models", "check", tmp_path / "my-method.py", "--isolated", "--quick") == 0
    assert icvos("models", "new", "my-method", "--isolated", "--into", tmp_path) == 2
    assert "there already" in capsys.readouterr().err


def test_packages_are_said_with_what_tells_them_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    fork = {"url": "https://host/fork", "vcs_info": {"vcs": "git", "commit_id": commit}}
    for folder, version, url in (("first", "2.0", fork), ("second", "1.0", {}), ("second", "3.0", {})):
        name = "fork" if version != "3.0" else "Other"
        info = tmp_path / folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        (info / "direct_url.json").write_text(json.dumps(url))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])
    assert host.packages() == [f"fork @ git+https://host/fork@{commit}", "other==3.0"]


# ---- from the registry -----------------------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder of the test's own, for environments of packages that pip fetches."""
    found = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp_path / "found", "iniconfig"],
        capture_output=True,
    )
    if found.returncode:
        pytest.skip("needs a registry of packages")
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "home"))
    yield tmp_path
    forget()


def check_in_its_environment(spec: str, package: str) -> dict[str, Any]:
    assert icvos("models", "check", spec, "--isolated", "--quick") == 0
    (kept,) = [each for each in kept_environments() if each.python]
    described: dict[str, Any] = json.loads((kept.folder / "environment.json").read_text())
    assert any(each.startswith(package) for each in described["packages"]), described
    assert not any(each.startswith("icvos") for each in described["packages"])
    return described


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="numpy 1.26 has no wheel for it")
def test_an_environment_of_another_numpy(registry: Path) -> None:
    check_in_its_environment(method(registry, "dependencies = ['numpy==1.26.4']"), "numpy==1.26.4")


@pytest.mark.slow
@pytest.mark.skipif(not OLD.is_file(), reason="needs Python 3.8 of pyenv")
def test_an_environment_of_an_old_python(registry: Path) -> None:
    spec = method(registry, "requires-python = '==3.8.*'", "dependencies = ['numpy==1.24.4']")
    assert check_in_its_environment(spec, "numpy==1.24.4")["python"].startswith("3.8.")


@pytest.mark.slow
def test_an_environment_of_requirements_beside_the_file(registry: Path) -> None:
    spec = write_model(registry, RED)
    (registry / "requirements.txt").write_text("iniconfig\n")
    check_in_its_environment(f"{spec}:Red" if ":" not in spec else spec, "iniconfig==")


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("UV") and not shutil.which("uv"), reason="needs uv: name it by UV=PATH")
def test_an_environment_by_uv(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.environ.get("UV"):
        monkeypatch.setenv("PATH", f"{Path(os.environ['UV']).parent}:{os.environ['PATH']}")
    described = check_in_its_environment(method(registry, "dependencies = ['numpy>=1.26']"), "numpy==")
    assert not any(each.startswith("pip==") for each in described["packages"])
    with pytest.raises(UsageError, match="cannot be made"):
        isolated(method(registry, "dependencies = ['numpy==99.9']"))


@pytest.mark.slow
def test_a_requirement_that_nobody_has(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("models", "check", method(registry, "dependencies = ['numpy==99.9']"), "--isolated") == 2
    assert "No matching distribution found for numpy==99.9" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_kill_while_pip_works(registry: Path) -> None:
    spec = method(registry, "dependencies = ['numpy']")
    command = [sys.executable, "-m", "icvos.cli", "models", "check", spec, "--isolated", "--quick"]
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        begun = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = registry / "home" / "environments"
        while not any("numpy" in path.read_text() for path in log.glob("*/install.log")):
            assert begun.poll() is None
            time.sleep(0.01)
        begun.send_signal(number)
        assert begun.wait(20) != 0
        assert not any(each.python for each in kept_environments())
    check_in_its_environment(spec, "numpy==")
