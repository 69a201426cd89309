"""Pickles of plain values, read without running anything of them."""

from __future__ import annotations

import io
import os
import pickletools
import re
import struct
from pathlib import Path
from typing import Any

from icvos.errors import InputError, in_words
from icvos.files import read_bytes

__all__ = ["read_pickle"]

LARGEST = 2_000_000_000  # bytes; Matcher's lists have some hundred million
REPEATS = 30
"""Values that may be put into containers for each byte of a file: a value is put into each container around it, and one
that is stored once and stands in several places into those around each."""
LONGEST_NUMBER = 14_000  # bits; Python prints no number that is much longer

# A pickle is a program. These of its instructions push what they carry,
_CARRIED = frozenset(
    ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
    + ("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "SHORT_BINSTRING", "BINSTRING")
    + ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
)
# these a constant, these a new container,
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict}
# these remember what lies on top, these push it again, and these say nothing of the content.
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_FRAMING = frozenset(("PROTO", "FRAME", "STOP"))


_NUMBERS = {int, float}
# BINFLOAT: its code, and eight bytes.
_FLOATS = re.compile(rb"(?:G.{8})+", re.DOTALL)


class _RefusedError(Exception):
    """An instruction that would name or call something."""


def read_pickle(path: Path, *, error: type[InputError] = InputError) -> Any:
    """Read a pickle that holds None, bool, int, float, str, bytes, list, tuple and dict alone.

    Only the instructions that make these are followed. One that names a class or a function, or calls or sets anything,
    ends the reading: nothing is looked up. (``pickle.Unpickler`` with a ``find_class`` that refuses calls nothing
    either, but takes whatever memory a number in the file asks for.)

    Args:
        path: The file.
        error: What is raised.

    Raises:
        InputError: (or ``error``) missing, too large, no pickle, or one that holds anything else, or one value so often
            that who goes through all of it would not come to an end.
    """
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - a missing file is told by read_bytes
    except OSError:
        size = 0
    if size > LARGEST:
        raise error("pickle is too large", where=path, expected=f"at most {LARGEST:,} bytes")
    try:
        return _value(read_bytes(path, "pickle", error))
    except _RepeatsError:
        raise error(
            "pickle holds the same again and again, far more than it has bytes",
            where=path,
            expected="each value once, or a few times",
        ) from None
    except _RefusedError as refused:
        raise error(
            f"pickle asks for {refused}, which may run code; nothing of it was run",
            where=path,
            expected="lists, dicts, texts, bytes and numbers alone",
        ) from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, struct.error):
        raise error("file is no whole pickle", where=path, fix="fetch it again") from None


class _RepeatsError(Exception):
    """One value stands in so many places that to go through all of them would not come to an end."""


class _Contents:
    """How many values each container holds with all that is in it, each as often as it is there; long texts as more.

    Args:
        most: Values that are put into containers, all in all, those of a container with it each time.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._counts: dict[int, int] = {}
        self._inner: set[int] = set()

    def begin(self, container: Any) -> Any:
        """Return a new container, which may lie where one was that is gone."""
        self._counts[id(container)] = 1
        self._inner.discard(id(container))
        return container

    def add(self, container: Any, items: list[Any]) -> None:
        """Take note that items are put into a container, which is in no other yet: no container is in itself.

        Raises:
            ValueError: It is in another, or would be in itself.
        """
        numbers = set(map(type, items)) <= _NUMBERS  # as of a polygon: most of a file, and each counts one
        count = len(items) if numbers else sum(map(self._count, items))
        if id(container) in self._inner:
            raise ValueError("a container changes within another, or holds itself")
        self._counts[id(container)] += count
        self._left -= count
        if self._left < 0:
            raise _RepeatsError

    def _count(self, item: Any) -> int:
        if type(item) in (list, dict, tuple):
            self._inner.add(id(item))
            return self._counts.get(id(item), 1)
        return 1 + len(item) // 8 if type(item) in (str, bytes) else 1


def _value(data: bytes) -> Any:
    """Return what a pickle's plain instructions build; errors of Python's own say that it is broken."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}
    contents = _Contents(REPEATS * len(data))
    stream = io.BytesIO(data)
    for instruction, argument, _ in pickletools.genops(stream):
        name = instruction.name
        if name in _CARRIED:
            if type(argument) is int and argument.bit_length() > LONGEST_NUMBER:
                raise ValueError("a number that cannot be printed")
            stack.append(argument)
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _PUTS:
            memo[argument] = stack[-1]
        elif name in _GETS:
            stack.append(memo[argument])
        elif name == "MARK":
            marks.append(len(stack))
            stack += _floats(data, stream)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(contents.begin(_EMPTY[name]()))
        elif name in ("APPEND", "APPENDS"):
            items = _pop(stack, 1 if name == "APPEND" else len(stack) - marks.pop())
            contents.add(_top(stack, list), items)
            stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = _pop(stack, 2 if name == "SETITEM" else len(stack) - marks.pop())
            contents.add(_top(stack, dict), items)
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("LIST", "TUPLE"):
            items = _pop(stack, len(stack) - marks.pop())
            stack.append(contents.begin(items if name == "LIST" else tuple(items)))
            contents.add(stack[-1], items[:])
        elif name == "DICT":
            items = _pop(stack, len(stack) - marks.pop())
            stack.append(contents.begin({}))
            contents.add(stack[-1], items)
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = _pop(stack, int(name[-1]))
            stack.append(contents.begin(tuple(items)))
            contents.add(stack[-1], items)
        elif name not in _FRAMING:
            raise _RefusedError(_wanted(name, argument, stack))
    (value,) = stack
    return value


def _floats(data: bytes, stream: io.BytesIO) -> list[float]:
    """Return the floats that are pushed next, one after the other, and pass over them: polygons are little else."""
    import numpy as np

    run = _FLOATS.match(data, stream.tell())
    if run is None:
        return []
    stream.seek(run.end())
    return np.frombuffer(run[0], [("code", "u1"), ("value", ">f8")])["value"].tolist()


def _pop(stack: list[Any], count: int) -> list[Any]:
    if not 0 <= count <= len(stack):
        raise ValueError("more is taken than there is")
    items = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return items


def _top(stack: list[Any], kind: type) -> Any:
    if type(stack[-1]) is not kind:
        raise ValueError("another kind of value lies on top")
    return stack[-1]


def _wanted(name: str, argument: Any, stack: list[Any]) -> str:
    """Return what a refused instruction asks for: the name of a class or function, or the instruction's own."""
    if name == "GLOBAL":
        return in_words(".".join(str(argument).split(" ")))
    if name == "STACK_GLOBAL" and len(stack) > 1:
        return in_words(f"{stack[-2]}.{stack[-1]}"[:80])
    return f"the instruction {name}"
