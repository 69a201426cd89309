"""Plugins: their classes by name (an entry point, or ``package.module:Class``), and their packages' files."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import types
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from icvos.errors import MissingExtraError, UsageError, did_you_mean

__all__ = ["class_in", "import_plugin", "package_files", "plugin_targets", "split_target"]


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
        UsageError: There is no such module.
        MissingExtraError: It imports a package that is not installed.
    """
    try:
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
        if len(local) != 1:
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
    for name, resource in resources.items():
        package, _, inner = resource.partition("/")
        spec = importlib.util.find_spec(package)
        folders = spec.submodule_search_locations if spec is not None else None
        path = next((Path(folder) / inner for folder in folders or () if (Path(folder) / inner).is_file()), None)
        if path is None:
            return {}
        files[name] = path
    return files
