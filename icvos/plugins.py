"""Plugins: their classes by name (an entry point, or ``package.module:Class``), their packages' files, and their code.

What a plugin raises, and what it leaves behind in the process, is its own: ``plugin_at_work`` and ``ends_command``.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import resource
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from icvos.errors import ENDING, IcvosError, MissingExtraError, UsageError, did_you_mean, printable
from icvos.files import own_umask

__all__ = [
    "class_in",
    "ends_command",
    "import_plugin",
    "package_files",
    "plugin_at_work",
    "plugin_code",
    "plugin_targets",
    "said",
    "split_target",
]

# Whose handlers and limits a plugin leaves as they were.
_SIGNALS = (signal.SIGINT, *ENDING)
_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
# Streams that plugins put in the place of ours: one that is collected closes the file that both write to.
_STREAMS: list[Any] = []


class _Interrupt(KeyboardInterrupt):
    """Ctrl-C: what a plugin raises itself is a plain KeyboardInterrupt."""


def _interrupt(number: int, frame: Any) -> None:
    raise _Interrupt


@contextmanager
def plugin_at_work() -> Iterator[None]:
    """Let a plugin's code run, and restore afterwards what it changed of the process.

    These are the working directory, the umask, ``sys.stdout`` and ``sys.stderr``, the handlers of SIGINT, SIGTERM and
    SIGHUP, and the soft limits of open files and of a file's size. What it raises is let through: ``ends_command`` says
    whether that is the user's, which holds for Ctrl-C where its handler is Python's own, as in a command.
    """
    process, mask, folder, streams = os.getpid(), own_umask(), _folder(), (sys.stdout, sys.stderr)
    limits = [resource.getrlimit(each) for each in _LIMITS]
    main = threading.current_thread() is threading.main_thread()
    handlers = [signal.getsignal(number) for number in _SIGNALS]
    answer = handlers[0]
    if main and answer is signal.default_int_handler:
        signal.signal(signal.SIGINT, answer := _interrupt)
    # Whether Ctrl-C would be an _Interrupt, or cannot come here: what else raises KeyboardInterrupt is the plugin.
    known = not main or answer is _interrupt or isinstance(answer, signal.Handlers)
    try:
        yield
    except KeyboardInterrupt as error:
        if known or isinstance(error, _Interrupt):
            raise
        raise _Interrupt(*error.args) from None
    finally:
        if os.getpid() != process:  # a child that it forked is no second command
            os._exit(1)
        os.umask(mask)
        if folder and _folder() != folder:
            with suppress(OSError):
                os.chdir(folder)
        if (sys.stdout, sys.stderr) != streams:
            _STREAMS.extend((sys.stdout, sys.stderr))
            sys.stdout, sys.stderr = streams
        for each, (soft, _) in zip(_LIMITS, limits):
            now, hard = resource.getrlimit(each)
            if now != soft:
                with suppress(OSError, ValueError):
                    resource.setrlimit(each, (soft, hard))
        for number, handler in zip(_SIGNALS, handlers):
            if main and handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return None


def ends_command(error: BaseException) -> bool:
    """Whether what came out of ``plugin_at_work`` ends the command: Ctrl-C, or a signal. All else is the plugin's."""
    if isinstance(error, SystemExit):
        return type(error.code) is int and error.code in [128 + number for number in ENDING]
    return isinstance(error, _Interrupt)


@contextmanager
def plugin_code(
    what: str, *, where: Callable[[BaseException], str | Path] | None = None, fix: str | None = None
) -> Iterator[None]:
    """Let a plugin's code run as ``plugin_at_work`` does, before anything is written.

    Args:
        what: What the error says, as ``model 'x' cannot be built``.
        where: Returns the place of an error, for its line.
        fix: What its line says in the end.

    Raises:
        UsageError: It raised anything, an exit or a plain KeyboardInterrupt too; errors of icvos and missing modules
            are let through.
    """
    try:
        with plugin_at_work():
            yield
    except (IcvosError, ModuleNotFoundError):
        raise
    except BaseException as error:
        if ends_command(error):
            raise
        raise UsageError(f"{what} ({said(error)})", where=where and where(error), fix=fix) from error


def said(error: BaseException, most: int = 1000) -> str:
    """Return an exception's name and text as one printable line of at most so many letters, whatever its class does."""
    try:
        with plugin_at_work():
            text = str.__str__(str(error))
    except BaseException as problem:
        if ends_command(problem):
            raise
        text = "its text cannot be read"
    return printable(f"{type(error).__name__[:100]}: {' '.join(text[: 10 * most].split())}"[:most])


def plugin_targets(group: str) -> dict[str, str]:
    """Return ``module:Class`` of every installed entry point of a group, by name, sorted."""
    return {entry.name: entry.value for entry in sorted(entry_points(group=group), key=lambda e: (e.name, e.value))}


def split_target(spec: str, group: str, *, unknown: str, hint: str = "") -> tuple[str, str]:
    """Return module and class that ``spec`` names: an entry point of ``group``, or ``package.module:Class``.

    Args:
        spec: What a user wrote.
        group: The group of entry points.
        unknown: What the error says before the name, as ``no model``.
        hint: What it says after the nearest name.

    Raises:
        UsageError: No entry point has this name (with the nearest one).
    """
    target = spec
    if ":" not in spec:
        targets = plugin_targets(group)
        if spec not in targets:
            raise UsageError(f"{unknown} '{spec}'", fix=f"{did_you_mean(spec, targets)} {hint}".rstrip())
        target = targets[spec]
    module, _, attribute = target.rpartition(":")
    return module, attribute


def import_plugin(module: str, *, extra: str, feature: str) -> types.ModuleType:
    """Return a plugin's module.

    Args:
        module: Its dotted name.
        extra: The pip extra of icvos that most likely holds a package which it misses.
        feature: What the module is for, as ``the model in``.

    Raises:
        UsageError: There is no such module, or it raises anything.
        MissingExtraError: It imports a package that is not installed.
    """
    try:
        with plugin_code(f"{feature} {module} raises at import"):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise UsageError(f"no module '{module}'", fix="is its package installed?") from None
        raise MissingExtraError(str(error.name), extra, f"{feature} {module}") from None


def class_in(
    module: types.ModuleType, attribute: str, *, bases: tuple[type, ...], kind: str, expected: str, where: str
) -> type:
    """Return a plugin's class.

    Args:
        module: The loaded module.
        attribute: The class's name there, or "" for the only one that the module defines.
        bases: It is a subclass of one of these.
        kind: What it is, as ``model``.
        expected: What the error says it should be.
        where: The module as the user knows it: a dotted name or a file.

    Raises:
        UsageError: No such class, none or several without a name, or one that is no plugin of this kind.
    """
    local = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, bases) and value.__module__ == module.__name__
    }
    if not attribute:
        if not local:
            raise UsageError(f"no {kind} here", where=where, expected=expected)
        if len(local) > 1:
            raise UsageError(f"{len(local)} {kind}s here", where=where, fix=f"name one: {where}:Class")
        return next(iter(local.values()))
    value = getattr(module, attribute, None)
    if value is None:
        raise UsageError(f"no class '{attribute}'", where=where, fix=did_you_mean(attribute, local))
    if not (inspect.isclass(value) and issubclass(value, bases)):
        raise UsageError(f"'{attribute}' is no {kind}", where=where, expected=expected)
    return value


def package_files(resources: Mapping[str, str]) -> dict[str, Path]:
    """Return files shipped in packages, by name; nothing at all if one of them is not there. No package is imported.

    Args:
        resources: Each a top-level package and the path in it: ``my_package/weights/demo.safetensors``.
    """
    files = {}
    for name, target in resources.items():
        package, _, inner = target.partition("/")
        spec = importlib.util.find_spec(package)
        folders = spec.submodule_search_locations if spec is not None else None
        path = next((Path(folder) / inner for folder in folders or () if (Path(folder) / inner).is_file()), None)
        if path is None:
            return {}
        files[name] = path
    return files
