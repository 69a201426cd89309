"""The folder of an export: it goes on where it was stopped, and its manifest, written last, says that it is whole."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icvos.costs import bytes_in, in_bytes
from icvos.errors import BenchmarkError, IcvosError, InputError
from icvos.files import atomic_write, free_bytes, lock_folder, open_file, read_file, read_json, real_path, write_json
from icvos.manifest import NAME as MANIFEST
from icvos.manifest import Digest, check_manifest, write_manifest

__all__ = [
    "CONTENT",
    "SCHEMA",
    "ExportFolder",
    "begin_export",
    "check_outside",
    "damages",
    "read_content",
    "write_export",
]

SCHEMA = "icvos-export/1"
CONTENT = "export.json"
_PARTS = ".parts"


@dataclass(frozen=True)
class ExportFolder:
    """A folder that is being written; files that an earlier, killed run wrote are kept.

    Attributes:
        root: The folder.
    """

    root: Path
    _known: dict[str, Digest] = field(default_factory=dict, repr=False)

    def write(self, path: str, make: Callable[[], bytes | Iterable[bytes]]) -> None:
        """Write a file, ``/``-separated below the folder; ``make`` is called only where it is not there yet.

        What it returns is the file's bytes, or pieces of them that are never held together.
        """
        target = self.root / path
        if target.is_file():
            return
        data = make()
        size, digest = 0, hashlib.sha256()
        with atomic_write(target) as stream:
            for piece in [data] if isinstance(data, bytes) else data:
                stream.write(piece)
                digest.update(piece)
                size += len(piece)
        self._known[path] = size, digest.hexdigest()

    def place(self, path: str, source: Path, *, link: bool = False) -> None:
        """Put a file's bytes at ``path``: copied, or as a hard link where that is wanted and possible."""
        target = self.root / path
        if target.is_file():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if link:
            with suppress(OSError):
                os.link(os.path.realpath(source), target)
                return
        with open_file(source) as stream, atomic_write(target) as copy:
            shutil.copyfileobj(stream, copy)

    def part(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return a part of a file that is joined of many, kept until the export is whole so that it is made once.

        Args:
            name: An id, of its own within the export.
            make: Makes it where it is not there yet.
        """
        # An id may be as long as a file's name.
        target = self.root / _PARTS / hashlib.sha256(name.encode()).hexdigest()
        if target.is_file():
            return read_file(target)
        data = make()
        with atomic_write(target) as stream:
            stream.write(data)
        return data


def write_export(
    out: Path, content: Mapping[str, Any], write: Callable[[ExportFolder], None], *, need: int = 0
) -> bool:
    """Write an export, or go on with it.

    Args:
        out: Its folder, which may be begun already.
        content: What ``export.json`` says: all that decides what is written, ``schema`` and ``to`` among it.
        write: Writes every file.
        need: Bytes of the whole, about; what is there of them already is not written again.

    Returns:
        Whether anything was left to be written.

    Raises:
        InputError: Something else is in the folder, or the disk has less room than is needed.
        UsageError: It cannot be written as it is wanted; nothing is left of it then.
        LockedError: Another process works in it.
    """
    with lock_folder(out):
        begin_export(out, content)
        if (out / MANIFEST).is_file():
            return False
        free = free_bytes(out)
        need = max(0, need - bytes_in(out))
        if need > free:
            fix = "leave --with-frames out, give --link, or choose another disk"
            raise InputError(
                f"the disk has {in_bytes(free)} free", where=out, expected=f"about {in_bytes(need)}", fix=fix
            )
        folder = ExportFolder(out)
        try:
            write(folder)
        except IcvosError:
            # What is refused before anything is written leaves nothing; a link to a folder stays.
            if [path.name for path in out.iterdir()] == [CONTENT]:
                (out / CONTENT).unlink()
                with suppress(OSError):
                    out.rmdir()
            raise
        shutil.rmtree(out / _PARTS, ignore_errors=True)
        write_manifest(out, folder._known.get)
        return True


def begin_export(out: Path, content: Mapping[str, Any]) -> None:
    """Say in the folder what it holds, where nothing does yet.

    Raises:
        InputError: It holds something else.
    """
    path = out / CONTENT
    if path.is_file():
        earlier = read_json(path)
        if earlier != content:
            other = [name for name in content if not isinstance(earlier, dict) or earlier.get(name) != content[name]]
            what = f"the folder holds another export (other {', '.join(other)})"
            raise InputError(what, where=out, fix="choose another --out")
        return
    if out.exists() and not out.is_dir():
        raise InputError("a file is there, and no folder", where=out, fix="choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    # What an export that was killed as it began left is taken over; all else is somebody's.
    if any(path.name != f".{CONTENT}.tmp" for path in out.iterdir()):
        raise InputError("the folder holds something else", where=out, fix="choose another --out")
    write_json(path, content)


# The files by which a folder is known as a whole benchmark, run or export.
_WHOLE = (("benchmark.json", MANIFEST), ("run.json", "episodes.jsonl"), (CONTENT, MANIFEST))


def check_outside(out: Path) -> None:
    """Refuse to write into what is whole, as another file would make it another thing.

    Raises:
        InputError: ``out`` lies in a benchmark, in a run, or in an export.
    """
    for folder in real_path(out).parents:
        if any(all((folder / name).is_file() for name in names) for names in _WHOLE):
            raise InputError(
                "the export would lie in a benchmark, a run or another export",
                where=folder,
                expected="a folder outside of it",
                fix="choose another --out",
            )


def read_content(root: Path) -> dict[str, Any]:
    """Return what an export says of itself.

    Raises:
        InputError: It is no export.
    """
    path = root / CONTENT
    if not path.is_file():
        raise InputError(f"no {CONTENT}", where=root, expected="a folder made by icvos export")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError("it does not say what was exported", where=path, expected=f"schema {SCHEMA}")
    return content


def damages(root: Path) -> list[str]:
    """Return how a folder differs from its manifest, a line each; nothing where it is whole."""
    if not (root / MANIFEST).is_file():
        return ["half an export: it was stopped; the command that made it goes on with it"]
    try:
        return check_manifest(root)
    except BenchmarkError as error:
        return [error.what]
