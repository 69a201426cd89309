"""What a model, version, benchmark, run or submitter may be called."""

from __future__ import annotations

import re
from typing import Any
from unicodedata import category, normalize

from icvos.errors import UsageError, in_words, printable

__all__ = ["is_name", "name_problem", "require_name"]


def is_name(value: Any) -> bool:
    """Whether a model, version, benchmark or protocol may be called so; ``name_problem`` says why not."""
    return isinstance(value, str) and not name_problem(value)


def require_name(what: str, name: str) -> None:
    """Refuse a name that ``name_problem`` finds fault with.

    Raises:
        UsageError: It says which name, and why.
    """
    problem = name_problem(name)
    if problem:
        raise UsageError(f"the {what} is called {in_words(name[:40])}: {problem}", fix="choose another name")


def name_problem(name: str) -> str:
    """Return why a model, version, benchmark or protocol may not be called so; "" if it may.

    A name is 1 to 150 letters that can be printed, without blanks at its ends or two side by side. It holds no letters
    that are not seen (zero-width ones), no full-width or mathematical forms of Latin letters, and no word that mixes
    Latin letters with Cyrillic or Greek ones that look like them, or is of such alone: it would look like another.
    """
    if not 0 < len(name) <= 150:
        return f"it has {len(name)} letters, and a name 1 to 150"
    if printable(name) != name or any(category(letter) in ("Cf", "Co", "Cn") for letter in name):
        return "it holds letters that are not seen"
    if name != " ".join(name.split(" ")).strip() or "  " in name or any(c.isspace() and c != " " for c in name):
        return "it holds blanks beside another, at an end, or of another kind"
    if normalize("NFC", name) != name or category(name[0]).startswith("M"):
        return "its accents are letters of their own; write it in Unicode's form NFC"
    if any("\uff01" <= letter <= "\uff5e" or "\U0001d400" <= letter <= "\U0001d7ff" for letter in name):
        return "it holds full-width or mathematical forms of letters"
    for word in re.findall(r"[^\W\d_]+", name):
        alike = [letter for letter in word if letter in LOOK_ALIKES]
        if alike and (len(alike) == len(word) > 1 or any(letter.isascii() for letter in word)):
            return f"'{word}' holds letters that look like Latin ones and are not"
    return ""


# Cyrillic and Greek letters that look like Latin ones.
LOOK_ALIKES = frozenset("АВЕЅЗІЈКМНОРСТУХаеѕіјорсухһԁԛԝ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧονικρυα")
