"""What a method's file asks for: its PEP 723 header, or the ``requirements.txt`` beside it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from icvos.errors import InputError, UsageError, did_you_mean, printable
from icvos.files import read_lines, read_text

__all__ = ["Dependencies", "read_dependencies"]

MOST = 500
"""Requirements of a method, and letters of one."""

_HEADER = '# /// script; # requires-python = ">=3.10"; # dependencies = ["numpy", "torch==2.7.1"]; # ///'
_PLAIN = "'NAME', 'NAME==VERSION' or 'NAME @ https://…'"


@dataclass(frozen=True)
class Dependencies:
    """What an environment is asked to hold.

    Attributes:
        requirements: As PEP 508 writes them, sorted; numpy is among them, as what speaks with icvos there needs it.
        requires_python: Versions of Python that fit (``>=3.10``), "" for any.
    """

    requirements: tuple[str, ...]
    requires_python: str = ""


def read_dependencies(path: Path) -> Dependencies:
    """Return what a method's file asks for; a header comes before a ``requirements.txt`` beside it.

    Args:
        path: The file of Python.

    Raises:
        UsageError: It has no header, and nothing lies beside it.
        InputError: What it asks for cannot be read, or is no plain requirement.
    """
    header = _header(read_text(path, "model file"), path)
    if header is not None:
        return _of_header(header, path)
    beside = path.with_name("requirements.txt")
    if not beside.exists():
        raise UsageError(
            "it does not say which packages it needs",
            where=path,
            expected=f"a header of lines ({_HEADER}), or requirements.txt beside it",
            fix="icvos models new NAME --isolated writes a method with a header",
        )
    rows = enumerate(read_lines(beside, "list of requirements"), 1)
    plain = ((number, re.sub(r"(^|\s)#.*", "", line).strip()) for number, line in rows)
    return _dependencies(((f"line {number}", text) for number, text in plain if text), "", beside)


def _header(text: str, path: Path) -> str | None:
    """Return the TOML of a file's block ``script``, None where it has none."""
    lines = text.splitlines()
    starts = [index for index, line in enumerate(lines) if line.rstrip() == "# /// script"]
    if not starts:
        return None
    block: list[str] = []
    for line in lines[starts[0] + 1 :]:
        if line.rstrip() != "#" and not line.startswith("# "):
            break
        block.append(line.rstrip())
    # Lines of a comment may follow the block at once: the last such line ends it.
    ends = [index for index, line in enumerate(block) if line == "# ///"]
    if not ends:
        raise InputError("its header has no end", where=path, expected="a line '# ///'")
    if len(starts) > 1:
        raise InputError("it has two headers", where=path, expected="one '# /// script'")
    return "\n".join(line[2:] for line in block[: ends[-1]])


def _of_header(text: str, path: Path) -> Dependencies:
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problem = printable(str(error), cut=200)
        raise InputError(f"its header is no TOML ({problem})", where=path, expected=_HEADER) from None
    known = ("dependencies", "requires-python", "tool")
    for name in content:
        if name not in known:
            word = printable(name, cut=60)
            raise InputError(f"its header has an unknown field '{word}'", where=path, fix=did_you_mean(name, known))
    listed, python = content.get("dependencies", []), content.get("requires-python", "")
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise InputError("dependencies in its header is no list of texts", where=path, expected=_HEADER)
    if not isinstance(python, str):
        raise InputError("requires-python in its header is no text", where=path, expected="as '>=3.10'")
    return _dependencies(((f"dependency {number}", each) for number, each in enumerate(listed, 1)), python, path)


def _dependencies(rows: Iterable[tuple[str, str]], python: str, path: Path) -> Dependencies:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    names = {}
    for row, text in rows:
        word = printable(text, cut=80)
        try:
            requirement = Requirement(text) if len(text) <= MOST else None
        except (InvalidRequirement, RecursionError):
            requirement = None
        if requirement is None:
            raise InputError(
                f"{row}, '{word}', is no plain requirement",
                where=path,
                expected=f"{_PLAIN}; no option, path or other file",
                fix="indexes are those of pip's or uv's own settings" if "index" in text else None,
            )
        if requirement.url is not None and not _public(requirement.url):
            raise InputError(
                f"{row}, '{word}', is of no public address",
                where=path,
                expected="https://… or git+https://…@COMMIT, without a user's name",
            )
        names[str(requirement)] = requirement.name.lower()
        if len(names) > MOST:
            raise InputError(f"it asks for more than {MOST} packages", where=path)
    if "numpy" not in names.values():
        names["numpy"] = "numpy"
    try:
        versions = str(SpecifierSet(python if len(python) <= MOST else "?"))
    except InvalidSpecifier:
        word = printable(python, cut=80)
        raise InputError(f"requires-python '{word}' is none", where=path, expected="as '>=3.10,<3.13'") from None
    return Dependencies(tuple(sorted(names)), versions)


def _public(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("https", "git+https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False
