"""Environments that methods ask for, made once and kept under ``ICVOS_HOME/environments``.

One has the name of a hash of what was asked, and is whole when its ``environment.json`` is there. A lock on
``<name>.lock`` guards it: alone while it is made or removed, shared while a command uses it. What installs inherits the
lock, so that what a killed command began ends before another begins anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from icvos.costs import bytes_in
from icvos.errors import InputError, UsageError, printable
from icvos.files import HOME_REMEDY, expand_home, icvos_home, open_file, read_json, real_path, write_json
from icvos.models.dependencies import Dependencies, read_dependencies
from icvos.progress import verbosity
from icvos.terminal import echo

__all__ = [
    "Environment",
    "asked_of",
    "clean_environ",
    "environments_folder",
    "isolated",
    "kept_environments",
    "remove_environment",
]

LONGEST = 3 * 3600.0
"""Seconds that an installation may take."""
OLDEST = (3, 8)
"""Python that ``host.py`` needs."""

_HOST = Path(__file__).with_name("host.py")
# Of this interpreter, not of another.
_OURS = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_LISTING = "import json, numpy, runpy, sys; json.dump(runpy.run_path(sys.argv[1])['packages'](), sys.stdout)"
# Locks of the environments that this process uses, until it ends.
_used: dict[Path, int] = {}


@dataclass(frozen=True)
class Environment:
    """One that is kept.

    Attributes:
        folder: Of the environment.
        asked: ``requirements`` and ``requires_python``.
        python: Its version, "" where making it did not come to its end.
        size: Bytes on the disk.
        used: When a command used it last, seconds since 1970.
    """

    folder: Path
    asked: dict[str, Any]
    python: str
    size: int
    used: float


def clean_environ() -> dict[str, str]:
    """Return the environment's variables without those that lead another interpreter to this one's packages."""
    return {name: value for name, value in os.environ.items() if name not in _OURS}


def isolated(spec: str) -> str:
    """Return the spec of a method in the environment that its file asks for, which is made where it is not there.

    The environment is in use until this process ends.

    Args:
        spec: ``path/to/file.py:Class``, or one lifted to video by a tracker.

    Raises:
        UsageError: It names no file, or the environment cannot be made.
        InputError: What the file asks for cannot be read.
    """
    named = re.fullmatch(r"(.*?\.py)([:+].*)?", spec)
    if named is None:
        raise UsageError(f"'{spec}' is no file that could say what it needs", expected="path/to/file.py:Class")
    path = real_path(expand_home(named[1]))
    if not path.is_file():
        raise UsageError("model file not found", where=path, expected="path/to/file.py:Class")
    dependencies = read_dependencies(path)
    program, version = _choose(dependencies.requires_python, path)
    key = json.dumps([dependencies.requirements, dependencies.requires_python, program, version])
    folder = environments_folder() / hashlib.sha256(key.encode()).hexdigest()[:16]
    _use(folder, dependencies, program)
    return f"{folder / 'bin' / 'python'}::{spec}"


def asked_of(python: str) -> dict[str, Any] | None:
    """Return what the environment of an interpreter was asked for; None for one that icvos did not make."""
    folder = Path(python).parent.parent
    return _description(folder).get("asked") if folder.parent == environments_folder() else None


def kept_environments() -> list[Environment]:
    """Return the environments that are kept, those used last first."""
    kept = []
    for folder in environments_folder().glob("*/"):
        description = _description(folder)
        mark = folder / "environment.json" if description else folder
        with suppress(OSError):  # removed meanwhile
            size = description["size"] if description else bytes_in(folder)
            python = description.get("python", "")
            kept.append(Environment(folder, description.get("asked", {}), python, size, mark.stat().st_mtime))
    return sorted(kept, key=lambda each: (-each.used, each.folder))


def remove_environment(folder: Path) -> bool:
    """Remove an environment; False where a command uses or makes it."""
    lock = _lock(folder, fcntl.LOCK_EX)
    if lock is None:
        return False
    try:
        # Without it nothing takes what is half removed for whole.
        (folder / "environment.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
        _lock_file(folder).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"it cannot be removed ({error.strerror})", where=folder) from None
    finally:
        os.close(lock)
    return True


def environments_folder() -> Path:
    """Return the folder of all of them."""
    return icvos_home() / "environments"


def _description(folder: Path) -> dict[str, Any]:
    """Return what stands in an environment's ``environment.json``; nothing where it is not whole."""
    try:
        description = read_json(folder / "environment.json")
        whole = {"python": str, "size": int, "asked": dict}
        return description if all(type(description[name]) is kind for name, kind in whole.items()) else {}
    except (InputError, KeyError, TypeError):
        return {}


# The interpreter.


def _choose(requires: str, path: Path) -> tuple[str, str]:
    """Return the program of an interpreter that fits, and its version: this one, else the newest that is here.

    Where none is here and uv is, it is what uv is told to fetch.
    """
    from packaging.specifiers import SpecifierSet

    fits, here = SpecifierSet(requires), []
    for program in _interpreters():
        version = _version(program)
        if version:
            if fits.contains(version, prereleases=True):
                return str(program), version
            here.append(version)
    if shutil.which("uv"):
        return requires, ""
    raise UsageError(
        f"no Python that is here fits requires-python '{requires}' (here are {', '.join(dict.fromkeys(here))})",
        where=path,
        fix="install such a Python, 3.8 or newer, or uv, which fetches it; older ones run programs (exec:)",
    )


def _interpreters() -> Iterator[Path]:
    """Yield this interpreter's program, then those on PATH and of pyenv from the newest on."""
    own = real_path(sys.executable)
    yield own
    folders = [Path(each) for each in os.get_exec_path() if each]
    with suppress(RuntimeError):  # no home folder
        folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    named: dict[Path, int] = {}
    for folder in folders:
        with suppress(OSError):
            for program in folder.iterdir():
                minor = re.fullmatch(r"python3\.([0-9]{1,3})", program.name)
                if minor and int(minor[1]) >= OLDEST[1]:
                    named.setdefault(real_path(program), int(minor[1]))
    named.pop(own, None)
    yield from sorted(named, key=lambda program: -named[program])


def _version(program: Path) -> str:
    """Return an interpreter's version, "" where it does not start, as one of pyenv that is not switched on."""
    if program == real_path(sys.executable):
        return platform.python_version()
    words = [str(program), "-I", "--version"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=20, env=clean_environ(), stdin=subprocess.DEVNULL
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    version = done.stdout.strip().removeprefix("Python ")
    return version if done.returncode == 0 and re.fullmatch(r"3\.[0-9]+\.[0-9]+\S{0,20}", version) else ""


# Locks.


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _lock(folder: Path, kind: int) -> int | None:
    """Return a lock on an environment, shared or alone; None where another process keeps it from us."""
    path = _lock_file(folder)
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise InputError(f"cannot write here ({error.strerror})", where=path.parent, fix=HOME_REMEDY) from None
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        # Who removes an environment removes its file: a lock on a removed one guards nothing.
        with suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        os.close(handle)


def _use(folder: Path, dependencies: Dependencies, program: str) -> None:
    """Hold a shared lock on an environment that is whole, from now on until this process ends."""
    waited = False
    while True:
        lock = _used.get(folder)
        if lock is None:
            lock = _lock(folder, fcntl.LOCK_SH)
        if lock is not None:
            if _description(folder) and (folder / "bin" / "python").exists():
                _used[folder] = lock
                with suppress(OSError):
                    os.utime(folder / "environment.json")
                return
            _used.pop(folder, None)
            os.close(lock)
        lock = _lock(folder, fcntl.LOCK_EX)
        if lock is not None:
            try:
                _make(folder, dependencies, program, lock)
            finally:
                os.close(lock)
            continue
        if not waited:
            _say(f"waiting for another command, which makes or removes {folder}")
            waited = True
        time.sleep(0.2)


def _say(line: str) -> None:
    if verbosity.level >= 0:
        echo(line, err=True)


# Making.


def _make(folder: Path, dependencies: Dependencies, program: str, lock: int) -> None:
    """Make an environment whose lock is held, unless another process did meanwhile."""
    if _description(folder) and (folder / "bin" / "python").exists():
        return
    begun = time.monotonic()
    _say(f"making an environment of {', '.join(dependencies.requirements)} in {folder}")
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
    except OSError as error:
        raise InputError(f"cannot write here ({error.strerror})", where=folder, fix=HOME_REMEDY) from None
    for step in _steps(folder, dependencies, program):
        _run(step, folder, lock)
    python = str(folder / "bin" / "python")
    packages = json.loads(_run([python, "-I", "-c", _LISTING, str(_HOST)], folder, lock).splitlines()[-1])
    version = _version(Path(python))
    write_json(
        folder / "environment.json",
        {
            "asked": asdict(dependencies),
            "python": version,
            "interpreter": program,
            "packages": packages,
            "size": bytes_in(folder),
            "made": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds": round(time.monotonic() - begun, 3),
        },
    )


def _steps(folder: Path, dependencies: Dependencies, program: str) -> list[list[str]]:
    """Return the commands that make an environment: uv's where it is installed, else those of Python itself."""
    python, uv = str(folder / "bin" / "python"), shutil.which("uv")
    if uv:
        return [
            [uv, "venv", "--no-project", "--allow-existing", "--python", program, str(folder)],
            [uv, "pip", "install", "--python", python, *dependencies.requirements],
        ]
    return [
        [program, "-I", "-m", "venv", str(folder)],
        [python, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *dependencies.requirements],
    ]


def _run(step: Sequence[str], folder: Path, lock: int) -> str:
    """Run a command of the making, what it prints added to ``install.log``; return that.

    Raises:
        UsageError: It fails, with its last lines.
    """
    path = folder / "install.log"
    with path.open("ab") as log:
        begin = log.tell()
        try:
            process = subprocess.Popen(
                step,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=clean_environ(),
                start_new_session=True,
                pass_fds=(lock,),
            )
        except OSError as error:
            raise UsageError(f"{step[0]} cannot be started ({error.strerror})", where=folder) from None
        try:
            status = process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            raise UsageError(f"the environment was not made within {LONGEST:g} s", where=path) from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    with open_file(path) as stream:
        stream.seek(begin)
        printed = stream.read().decode("utf-8", "replace")
    if status:
        lines = [printable(line.strip(), cut=200) for line in printed.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith(("error", "×", "╰"))] or lines
        what = " | ".join(errors[-3:]) or f"{step[0]} ended with status {status}"
        raise UsageError(f"the environment cannot be made: {what}", where=path)
    return printed
