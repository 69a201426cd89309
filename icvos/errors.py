"""Every error that icvos raises on purpose.

IcvosError                      one line: what is wrong; where; what was expected; what to do
├── UsageError                  an unknown name, option or combination (exit 2)
│   └── MissingExtraError       a package of an optional extra is not installed (exit 2)
├── InputError                  a file, folder or archive that cannot be used (exit 2)
│   ├── MaskError               a mask: truncated, RGB, 16-bit, another size
│   ├── SourceError             a raw data set
│   ├── BenchmarkError          a built benchmark
│   ├── PredictionError         masks to be scored
│   ├── WeightsError            a checkpoint
│   └── RunError                a run folder or record
├── ModelError                  a plugin that breaks a rule of the interface (its episode fails; exit 1)
└── LockedError                 another process works in the same folder (exit 2)
"""

from __future__ import annotations

import difflib
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unicodedata import category

from icvos.installation import install_command

__all__ = [
    "ENDING",
    "LONGEST",
    "BenchmarkError",
    "IcvosError",
    "InputError",
    "LockedError",
    "MaskError",
    "MissingExtraError",
    "ModelError",
    "PredictionError",
    "RunError",
    "SourceError",
    "UsageError",
    "WeightsError",
    "are",
    "counted",
    "counts",
    "did_you_mean",
    "in_one_line",
    "in_words",
    "name_some",
    "one_line",
    "printable",
    "shortened",
]

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command as SystemExit of 128 and their number, so that what is half done is cleaned up."""


class IcvosError(Exception):
    """Base of all errors that icvos raises on purpose.

    ``str(error)`` is one line: ``what; file: where; expected: …; fix`` with the parts that are not empty.

    Args:
        what: What is wrong.
        where: The file, folder or place it is wrong in.
        expected: What should have been there.
        fix: What to do, a command if there is one.
    """

    exit_status = 2

    def __init__(
        self, what: str, *, where: str | Path | None = None, expected: str | None = None, fix: str | None = None
    ) -> None:
        what = _of_loader(what)
        self.what, self.where, self.expected, self.fix = what, where, expected, fix
        parts = [what]
        if where:
            parts.append(f"in {where}")
        if expected:
            parts.append(f"expected {expected}")
        if fix:
            parts.append(fix)
        super().__init__("; ".join(printable(in_one_line(part), cut=LONGEST) for part in parts))


_LOADER = re.compile(r"Caught \w+ in .*\nOriginal Traceback .*\n[\w.]+: ([^\n]+)\n*", re.DOTALL)


def _of_loader(what: str) -> str:
    """Return an error's own line where torch's loader makes it anew from the traceback of one of its processes."""
    wrapped = _LOADER.fullmatch(what)
    return wrapped[1] if wrapped else what


class UsageError(IcvosError):
    """An unknown name or option, or a combination that makes no sense."""


class MissingExtraError(UsageError):
    """A package of an optional extra is not installed.

    Args:
        package: The package that could not be imported.
        extra: The extra that brings it (``sam``, ``torch``, …).
        user: What needs it.
    """

    def __init__(self, package: str, extra: str, user: str) -> None:
        super().__init__(f"{user} needs the package {package}", fix=f"install it with: {install_command(extra)}")
        self.package, self.extra, self.user = package, extra, user

    def __reduce__(self) -> tuple:
        return type(self), (self.package, self.extra, self.user)


class InputError(IcvosError):
    """A file, folder or archive that cannot be used."""


class MaskError(InputError):
    """A mask file that is truncated, RGB, 16-bit, of another size, or otherwise no mask."""


class SourceError(InputError):
    """A raw data set that is not laid out as its authors ship it."""


class BenchmarkError(InputError):
    """A built benchmark that is incomplete or changed."""


class PredictionError(InputError):
    """Masks to be scored that do not fit the ground truth."""


class WeightsError(InputError):
    """A checkpoint that is missing, partial, of another model, or hostile."""


class RunError(InputError):
    """A run folder or record that cannot be used."""


class ModelError(IcvosError):
    """A plugin that breaks a rule of the interface; its episode fails and the run goes on."""

    exit_status = 1


class LockedError(IcvosError):
    """Another process works in the same folder."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?``, or a short list of what is known when nothing is close.

    What begins with the name comes before what is spelled like it.
    """
    options = sorted(set(known))
    begun = [option for option in options if len(name) > 2 and option.startswith(name)]
    close = begun or difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    if not options:
        return "none is known"
    names = ", ".join(options[:12])
    return f"known: {names}{', …' if len(options) > 12 else ''}"


def counted(count: int, things: str) -> str:
    """Return so many of some things, which are named in the plural: ``1 episode``, ``1,000 classes``."""
    if count == 1:
        for plural, single in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("s", "")):
            if things.endswith(plural):
                things = things.removesuffix(plural) + single
                break
    return f"{count:,} {things}"


def counts(**counts: int) -> str:
    """Return how many there are of several things: ``counts(videos=3, frames=1)`` is ``3 videos, 1 frame``."""
    return ", ".join(counted(count, things) for things, count in counts.items())


def are(count: int) -> str:
    """Return the verb of so many things: ``is`` or ``are``."""
    return "is" if count == 1 else "are"


def name_some(names: Sequence[str]) -> str:
    """Return the first three of some names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


# Turns of the direction of writing make a text look like another.
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


LONGEST = 2000
"""Letters of a part of an error's line, and of a stranger's text on a board's page."""

LONGEST_WORD = 300
"""Letters of a word in an error's line, or of a value that it says: a path or a name, which may be a stranger's."""


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many letters: both of its ends, with an ellipsis where its middle was."""
    if len(text) <= most:
        return text
    tail = most // 2
    return f"{text[: most - tail - 1]}…{text[len(text) - tail :]}"


def in_one_line(text: str) -> str:
    """Return a message in one line, its overlong words shortened."""
    return " ".join(shortened(word, LONGEST_WORD) for word in text.split())


def printable(text: str, keep: str = "", *, cut: int = 0) -> str:
    """Return a text that a terminal can bear: what moves its cursor or turns the direction of writing becomes �.

    That is control characters, half letters, separators of lines and of paragraphs, and turns.

    Args:
        text: Anybody's.
        keep: Letters that stay, whatever they are.
        cut: How many letters are said at most, the last an ellipsis; 0 for all.
    """
    if 0 < cut < len(text):
        text = text[: cut - 1] + "…"
    if text.isprintable():
        return text
    return "".join(
        "\ufffd" if letter not in keep and (letter in _TURNS or category(letter) in _UNPRINTABLE) else letter
        for letter in text
    )


_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")


def in_words(value: object) -> str:
    """Return a value as a message says it: text shortened, printable and quoted, a list by comma."""
    if isinstance(value, str):
        return f"'{printable(shortened(value, LONGEST_WORD))}'"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(map(in_words, value)) or "none"
    return str(value)


@contextmanager
def one_line() -> Iterator[None]:
    """Answer an error as the command line does, in a script run by itself: one line, and its exit status.

    That is one of icvos, a file that cannot be used, and Ctrl-C.
    """
    try:
        yield
    except IcvosError as error:
        message, status = str(error), error.exit_status
    except OSError as error:
        message, status = str(InputError(error.strerror or str(error), where=error.filename)), 2
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    else:
        return
    sys.stderr.write(f"icvos: {message}\n")
    raise SystemExit(status)
