"""Texts that anybody wrote, in a benchmark's header or on the command line, as the files of an export may hold them."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from icvos.errors import UsageError, in_one_line, in_words, printable

__all__ = ["check_address", "line", "markdown", "yaml_scalar"]


def line(text: Any) -> str:
    """Return a text as one line that can be printed; "" of none."""
    return "" if text is None else printable(in_one_line(str(text)), cut=1000)


def markdown(text: str) -> str:
    """Return a text in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_<>\[\]#])", r"\\\1", text)


# What readers of YAML refuse, or fold as the end of a line, where it stands as itself in a quoted text.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def yaml_scalar(value: Any) -> str:
    """Return a text, a number or a truth value in YAML, a text quoted as in JSON.

    Letters beyond 16 bits stand as themselves: YAML reads no pairs of surrogates.
    """
    return _NOT_IN_YAML.sub(lambda letter: f"\\u{ord(letter[0]):04x}", json.dumps(value, ensure_ascii=False))


def check_address(option: str, text: str, expected: str) -> None:
    """Refuse what is no address that can be published.

    Args:
        option: As the command line has it.
        text: What it says.
        expected: What it should say.

    Raises:
        UsageError: It is none of http or https, holds blanks or other letters than ASCII, or a name with a password.
    """
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not (good and text.isascii() and text.isprintable() and " " not in text):
        raise UsageError(f"{option} is {in_words(text)}, which is no address", expected=expected)
    if "@" in parts.netloc:
        raise UsageError(f"{option} holds a user's name or password, which would be published", expected=expected)
