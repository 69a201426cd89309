"""How this icvos was installed, and the commands that install more of it.

No index is asked for a project called icvos: whoever holds the name there is not known to be its authors.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["install_command", "requirements_of"]


def _distribution() -> Any:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return distribution("icvos")
    except PackageNotFoundError:  # run from a folder of sources
        return None


def requirements_of(extra: str) -> list[str]:
    """Return the requirements of an extra (or of several, by comma), of the core for "": ``['torch>=2.5.1']``.

    They are those of the installed metadata, sorted; a folder of sources that is not installed has none.
    """
    installed = _distribution()
    extras = {part for part in extra.split(",") if part}
    out = set()
    for requirement in (installed.requires if installed is not None else None) or ():
        text, _, marker = requirement.partition(";")
        named = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if named.group(1) in extras if named is not None else not extras:
            out.add("".join(text.split()))
    return sorted(out)


def install_command(extra: str = "", *, again: bool = False) -> str:
    """Return the command that installs an extra of icvos (or several, by comma), as this icvos was installed.

    A checkout is named by its folder, a wheel by its path or address. Where nothing tells which it was, or that is no
    longer there, the packages are named themselves, with the bounds of icvos' metadata.

    Args:
        extra: A comma-separated list; what is none of the letters of extras in it is left out. "" for icvos itself.
        again: Install icvos once more, as it is.
    """
    extra = ",".join(part for part in extra.split(",") if re.fullmatch(r"[A-Za-z0-9._-]+", part))
    options = "--force-reinstall --no-deps " if again else ""
    source = _source(f"[{extra}]" if extra else "")
    if source:
        return f"pip install {options}{source}"
    if again:
        return "installing icvos again from its checkout or wheel"
    packages = " ".join(map(shlex.quote, requirements_of(extra)))
    return f"pip install {packages}" if packages else "its packages are listed in docs/how-to/install.md"


def _source(extra: str) -> str:
    """Return what pip is told to install, quoted for a shell; "" where that is not known."""
    installed = _distribution()
    if installed is None:
        return _checkout(Path(__file__).parents[1], extra, editable=True)
    try:
        record = json.loads(installed.read_text("direct_url.json") or "{}")
        url, parts = str(record["url"]), urlsplit(str(record["url"]))
        if parts.scheme == "file":
            path = Path(unquote(parts.path))
            if "dir_info" in record:
                return _checkout(path, extra, editable=record["dir_info"].get("editable") is True)
            return shlex.quote(f"{path}{extra}") if path.is_file() else ""
        if not parts.netloc:
            return ""
        if "vcs_info" in record:
            url = f"{record['vcs_info']['vcs']}+{url}@{record['vcs_info']['commit_id']}"
        return shlex.quote(f"icvos{extra} @ {url}")
    except (ValueError, KeyError, TypeError, AttributeError, OSError):  # not there, or another tool's
        return ""


def _checkout(folder: Path, extra: str, *, editable: bool) -> str:
    if not (folder / "icvos").is_dir() or not (folder / "pyproject.toml").is_file():
        return ""
    return f"{'-e ' if editable else ''}{shlex.quote(f'{folder}{extra}')}"
