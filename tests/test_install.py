"""Installing: bounds that were run, what the Makefile and the workflows call, and messages of a failed installation."""

from __future__ import annotations

import configparser
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import icvos
from icvos.commands import doctor

ROOT = Path(__file__).resolve().parents[1]
yaml = pytest.importorskip("yaml")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def requirements() -> dict[str, list[Requirement]]:
    """What setup.cfg requires, by extra; the core's extra is ""."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    return {extra: [Requirement(line) for line in text.split("\n") if line] for extra, text in listed.items()}


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    rows = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", package).lower(): Version(version) for package, version in rows}


def test_lower_bounds_are_versions_that_the_tests_ran_on() -> None:
    lowest, used = pins("constraints-lowest.txt"), pins("constraints.txt")
    for requirement in (each for listed in requirements().values() for each in listed):
        ((operator, bound),) = [(each.operator, each.version) for each in requirement.specifier]
        assert operator in (">=", "=="), requirement
        assert lowest[requirement.name.lower()] == Version(bound), requirement
        assert used[requirement.name.lower()] in requirement.specifier, requirement


def test_doctor_looks_for_what_setup_cfg_requires() -> None:
    required = {extra: {each.name for each in listed} for extra, listed in requirements().items()}
    assert set(doctor.CORE) == required.pop("")
    assert set(doctor.EXTRAS) == set(required) - {"all", "dev"}
    for extra, packages in doctor.EXTRAS.items():
        assert set(packages) <= required[extra], extra


# ---- what is called --------------------------------------------------------------------------------------------------


def command_exists(words: list[str]) -> bool:
    """Whether a step of a workflow names something that is there."""
    match words:
        case ["make", target, *variables]:
            names = [variable.partition("=")[0] for variable in variables]
            return bool(re.search(rf"^{target}:", MAKEFILE, re.M)) and all(
                re.search(rf"^{name} [:?]?=", MAKEFILE, re.M) for name in names
            )
        case ["python", "-m", "pip", "install", *_] | ["python", "-m", "build" | "cibuildwheel", *_]:
            return True
    return False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_what_is_there_and_says_that_it_has_not_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# This workflow has not run yet")
    workflow = yaml.safe_load(text)
    assert workflow[True]  # what YAML makes of "on"
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(job["runs-on"] and job["timeout-minutes"] for job in workflow["jobs"].values())
    for step in steps:
        assert ("run" in step) != ("uses" in step)
        assert "run" not in step or command_exists(step["run"].split()), step
        assert "uses" not in step or re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]), step


def test_an_unknown_command_is_seen() -> None:
    assert not command_exists(["make", "cake"])
    assert not command_exists(["make", "tests", "CONSTRAINT=x"])
    assert not command_exists(["tools/nothing.sh"])


def test_the_workflows_run_every_python_that_setup_cfg_names() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.cfg").read_text())
    assert jobs["newest"]["strategy"]["matrix"]["python"] == named
    assert f"python_requires = >={named[0]}\n" in (ROOT / "setup.cfg").read_text()


def test_forms_and_hooks_are_well_formed() -> None:
    for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert path.name == "config.yml" or {"name", "description", "body"} <= form.keys()
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {"ruff", "ruff-format", "mypy", "large-files"}
    for hook in hooks:
        tool = hook["entry"].split()[0]
        assert tool.removeprefix(".venv/bin/") in ("ruff", "mypy") or (ROOT / tool).stat().st_mode & stat.S_IXUSR


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == icvos.__version__
    (paper,) = citation["references"]
    assert paper["title"] == "DC-SAM: In-Context Segment Anything in Images and Videos via Dual Consistency"
    assert paper["url"].endswith("2504.12080") and len(paper["authors"]) == 7


def test_every_file_that_contributors_are_sent_to_is_there() -> None:
    for page in ("CONTRIBUTING.md", "SECURITY.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        paths = re.findall(r"`((?:tests|tools|icvos|baselines|benchmarks|leaderboards|docs)/[\w./-]*)`", text)
        paths += re.findall(r"\]\(([^)#:]+)\)", text)
        assert len(paths) > 5
        for path in paths:
            assert (ROOT / path).exists(), (page, path)
        for target in re.findall(r"`make ([a-z-]+)", text):
            assert re.search(rf"^{target}:", MAKEFILE, re.M), (page, target)


def test_large_files_are_refused(tmp_path: Path) -> None:
    def refused(*names: str) -> list[str]:
        words = [ROOT / "tools/large_files.sh", *names]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == bool(done.stderr)
        return [line.partition(":")[0] for line in done.stderr.splitlines()]

    for name, size in {"small file": 1_000_000, "large": 1_000_001, "x/weights/demo_a.safetensors": 2_000_000}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    assert refused("small file", "x/weights/demo_a.safetensors") == []
    assert refused("large", "small file") == ["large"]
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    present = [str(ROOT / name) for name in tracked.stdout.split("\0") if name and (ROOT / name).exists()]
    assert refused(*present) == []


# ---- tools/install.sh: what a failed installation says ---------------------------------------------------------------

FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
# As pip 23.2 prints it (in three lines here) where nothing listens at the address of the registry.
DEAD = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by
'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f4361139b90>: Failed to establish
a new connection: [Errno 111] Connection refused')': /simple/setuptools/
ERROR: Cannot install setuptools because these package versions have conflicting dependencies."""
GONE = (
    "ERROR: Could not find a version that satisfies the requirement torch (from versions: none)\n"
    "ERROR: No matching distribution found for torch"
)
OTHER = "error: subprocess-exited-with-error\nERROR: Failed building wheel for iopath"


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (FULL, ["the disk is full", "TMPDIR"]),
        (DEAD, ["https://mirror.test/simple did not answer", "PIP_INDEX_URL="]),
        (GONE, ["has no torch for Python 3", "PIP_INDEX_URL=", "PYTHON="]),
        (OTHER, ["pip failed: ERROR: Failed building wheel for iopath", "venv.log has the rest"]),
    ],
)
def test_a_failed_installation_says_in_one_line_what_to_do(tmp_path: Path, printed: str, words: list[str]) -> None:
    """A python stands in the environment's place that prints what pip would, and fails."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    torch = tmp_path / "venv/lib/python3.11/site-packages/torch/version.py"  # the 8 GB are not asked for
    torch.parent.mkdir(parents=True)
    torch.touch()
    (tmp_path / "printed").write_text(printed + "\n")
    python = tmp_path / "venv/bin/python"
    python.write_text(
        '#!/bin/sh\ncase "$*" in\n  *" install "*) cat printed >&2; exit 1 ;;\n  *--version*) echo Python 3.11.7 ;;\n'
        "  *) exit 1 ;;\nesac\n"
    )
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": sys.executable, "PIP_INDEX_URL": "https://mirror.test/simple"}
    done = subprocess.run(
        [ROOT / "tools/install.sh", "venv", "constraints.txt", "sam"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("make: ") and all(word in line for word in words), line


def test_a_python_that_is_too_old_or_missing_is_named(tmp_path: Path) -> None:
    words = [ROOT / "tools/install.sh", "venv", "constraints.txt", "sam"]
    environment = {**os.environ, "PYTHON": "python2.99"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "make: python2.99 is no Python 3.11 or newer: name one, as in PYTHON=python3.11\n"
    assert not list(tmp_path.iterdir())
