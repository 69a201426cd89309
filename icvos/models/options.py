"""Options of models: their types, parsed and checked."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from icvos.errors import UsageError, did_you_mean, in_words
from icvos.models.interface import Model

__all__ = [
    "check_option",
    "describe_options",
    "fixed_parameters",
    "group_options",
    "option_help",
    "option_meanings",
    "option_types",
    "options_of",
    "parse_options",
    "type_in_words",
]


_FIXED = ("self", "device", "weights")

#: An entry of a docstring's section: names, a colon and a text, whose further lines are indented further.
_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.+(?:\n {8}.+)*)", re.MULTILINE)


def _parameters(cls: type) -> dict[str, tuple[Any, Any]]:
    """Return what ``option_types`` does, with a dataclass among the options whole."""
    out: dict[str, tuple[Any, Any]] = {}
    for base in cls.__mro__:
        if base is Model or "__init__" not in vars(base):
            continue
        function = vars(base)["__init__"]
        try:
            hints = typing.get_type_hints(function)
        except Exception:  # annotations that name what is not importable here: options are read as text then
            hints = {}
        passes_on = False
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                passes_on = True
            elif name not in _FIXED and parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
                plain = type(parameter.default) if type(parameter.default) in (bool, int, float) else str
                out.setdefault(name, (hints.get(name, plain), parameter.default))
        if not passes_on:
            break
    return out


def option_types(cls: type) -> dict[str, tuple[Any, Any]]:
    """Return the options of a model (or training task) as name -> (annotation, else the default's type; default).

    A dataclass that its ``__init__`` takes stands for its fields.
    """
    out: dict[str, tuple[Any, Any]] = {}
    for name, (kind, default) in _parameters(cls).items():
        if dataclasses.is_dataclass(kind):
            hints = typing.get_type_hints(kind)
            for field in dataclasses.fields(kind):
                out[field.name] = (hints[field.name], getattr(default, field.name, inspect.Parameter.empty))
        else:
            out[name] = (kind, default)
    lifted = getattr(cls, "lifted", None)
    # A lifted model passes its options on to the model that it lifts.
    return {**option_types(lifted), **out} if isinstance(lifted, type) else out


def describe_options(cls: type) -> str:
    """Return the docstring of a model's class, then those of the dataclasses of its options, less their first lines."""
    texts = [inspect.getdoc(cls) or ""]
    for kind, _ in _parameters(cls).values():
        if dataclasses.is_dataclass(kind):
            _, _, text = (inspect.getdoc(kind) or "").partition("\n\n")
            texts.append(text.replace("Attributes:", "Args:"))
    return "\n\n".join(filter(None, texts))


def type_in_words(kind: Any) -> str:
    """Return what an option takes, by its annotation: ``whole number``, ``auto | fp32``, ``number | none``."""
    if typing.get_origin(kind) is typing.Literal:
        return " | ".join(map(str, typing.get_args(kind)))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " | ".join(map(type_in_words, typing.get_args(kind)))
    words = {bool: "true | false", int: "whole number", float: "number", str: "text", Path: "path"}
    return words.get(kind, "none" if kind is types.NoneType else getattr(kind, "__name__", "value"))


def option_meanings(cls: type) -> dict[str, str]:
    """Return what each option of a model or training task means, from the docstrings: entries of ``Args:``.

    Those of the dataclasses of its options stand under ``Attributes:``, and base classes' are read too.
    """
    kinds = (kind for kind, _ in _parameters(cls).values())
    dataclass_kinds = [kind for kind in kinds if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
    out: dict[str, str] = {}
    for base in (base for kind in (cls, *dataclass_kinds) for base in kind.__mro__):
        for names, text in _ENTRY.findall(inspect.cleandoc(vars(base).get("__doc__") or "")):
            for name in names.split(", "):
                out.setdefault(name, " ".join(text.replace("``", "").split()))
    lifted = getattr(cls, "lifted", None)
    known = {**option_meanings(lifted), **out} if isinstance(lifted, type) else out
    return {name: known[name] for name in option_types(cls) if name in known}


def option_help(cls: type) -> dict[str, str]:
    """Return each option that the command line takes with its meaning, type and default."""
    meanings = option_meanings(cls)
    out = {}
    for name, (kind, default) in option_types(cls).items():
        if _from_python(kind):
            continue
        words = type_in_words(kind)
        if default is inspect.Parameter.empty:
            words += "; required"
        elif default != "":
            words += f"; default: {str(default).lower() if default is None or kind is bool else default}"
        out[name] = f"{meanings.get(name, '')} [{words}]".lstrip()
    return out


def group_options(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a class: fields of a dataclass that it takes are gathered into one object.

    ``{"fold": 1, "heads": 4}`` becomes ``{"heads": 4, "source": DataOptions(fold=1)}`` for a class that takes ``heads``
    and ``source: DataOptions``.
    """
    out = dict(options)
    for name, (kind, _) in _parameters(cls).items():
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            values = {field.name: out.pop(field.name) for field in dataclasses.fields(kind) if field.name in out}
            if values:
                out[name] = kind(**values)
    return out


def options_of(model: object) -> dict[str, bool | int | float | str]:
    """Return the options of a built model that it keeps under their names, those of a dataclass by its fields."""
    out: dict[str, Any] = {}
    for name in _parameters(type(model)):
        value: Any = getattr(model, name, None)
        if dataclasses.is_dataclass(value):
            out |= {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        else:
            out[name] = value
    return {name: value for name, value in out.items() if isinstance(value, (bool, int, float, str))}


def parse_options(cls: type, settings: Iterable[str]) -> dict[str, Any]:
    """Turn ``key=value`` texts into the options of a model or training task, by their types (see ``option_types``).

    ``group_options`` turns the result into what ``__init__`` takes.

    Raises:
        UsageError: No ``=``, an unknown option (with the nearest name), or a value of another type.
    """
    known = option_types(cls)
    out: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"'{setting}' is no setting", expected="--set key=value")
        if key not in known:
            fix = did_you_mean(key, known) if known else "it has no options"
            name = cls.info.name if issubclass(cls, Model) else getattr(cls, "name", cls.__name__)
            raise UsageError(f"'{name}' has no option '{key}'", fix=fix)
        out[key] = _convert(text, known[key][0], key)
    return out


def check_option(key: str, value: Any, kind: Any) -> None:
    """Check the value of an option that was set from Python.

    Args:
        key: The option.
        value: Its value.
        kind: Its annotation. ``bool``, ``int``, ``float``, ``str`` and ``Literal`` are checked; a value of any other is
            the model's business.

    Raises:
        UsageError: The value is of another type, or none of the literals.
    """
    literal = typing.get_origin(kind) is typing.Literal
    if literal and value not in typing.get_args(kind):
        raise UsageError(f"option {key} is {in_words(value)}", expected=" or ".join(map(str, typing.get_args(kind))))
    wanted: dict[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}
    # A truth value is a whole number to Python, not to a user.
    if (
        not literal
        and kind in wanted
        and (not isinstance(value, wanted[kind]) or (type(value) is bool) != (kind is bool))
    ):
        raise UsageError(f"option {key} is {in_words(value)}", expected=f"a value of type {kind.__name__}")


def _convert(text: str, kind: Any, key: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        choices = [choice for choice in typing.get_args(kind) if choice is not type(None)]
        if type(None) in typing.get_args(kind) and text.lower() in ("none", ""):
            return None
        expected = []
        for choice in choices:
            try:
                return _convert(text, choice, key)
            except UsageError as error:
                expected.append(error.expected or error.what)
        raise UsageError(f"option {key} is '{text}'", expected=" or ".join(expected))
    if origin is typing.Literal:
        for choice in typing.get_args(kind):
            if text == str(choice):
                return choice
        raise UsageError(
            f"option {key} is '{text}'", expected=" or ".join(str(choice) for choice in typing.get_args(kind))
        )
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise UsageError(f"option {key} is '{text}'", expected="true or false")
    if kind in (int, float):
        try:
            value = kind(text)
        except (ValueError, OverflowError):
            raise UsageError(
                f"option {key} is '{text}'", expected="a whole number" if kind is int else "a number"
            ) from None
        if not math.isfinite(value):
            raise UsageError(f"option {key} is '{text}'", expected="a finite number")
        return value
    if _from_python(kind):
        raise UsageError(f"option {key} is a {kind.__name__}: it can be given from Python only")
    return Path(text) if kind is Path else text


def _from_python(kind: Any) -> bool:
    """Return whether no text on the command line stands for a value of a type."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return all(_from_python(choice) for choice in typing.get_args(kind) if choice is not types.NoneType)
    return inspect.isclass(kind) and kind not in (str, Path, Any) and kind.__module__ != "builtins"


def fixed_parameters(cls: type) -> set[str]:
    """Return which of ``device`` and ``weights`` a model's ``__init__`` takes."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters
            names.update(name for name in ("device", "weights") if name in parameters)
            if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
                break
    return names
