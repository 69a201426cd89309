"""Tables and JSON; atomic writes, locks, hashes, folders."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

from icvos.errors import InputError, LockedError

__all__ = [
    "atomic_write",
    "check_id",
    "file_sha256",
    "icvos_home",
    "lock_folder",
    "page_asset",
    "read_csv",
    "read_json",
    "to_json",
    "write_csv",
    "write_json",
]

_ID = re.compile(r"[A-Za-z0-9_.-]+")


def check_id(name: str, what: str = "id") -> str:
    """Return ``name`` if it may be an id (letters, digits, ``_``, ``.``, ``-``; not ``.`` or ``..``).

    Raises:
        InputError: It holds anything else.
    """
    if not _ID.fullmatch(name) or name in (".", ".."):
        raise InputError(f"'{name}' is no valid {what}", expected="letters, digits, '_', '.' and '-' alone")
    return name


@cache
def page_asset(package: str, name: str) -> str:
    """Return the text of a page's script or style, which lies beside the module that writes the page."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def _read_bytes(path: Path, what: str, error: type[InputError]) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise error(f"{what} not found", where=path) from None
    except OSError as problem:
        raise error(f"{what} cannot be read ({problem.strerror})", where=path) from None
    if not data:
        raise error(f"{what} is empty", where=path)
    return data


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` that replaces it when the block ends well, and vanishes when not.

    Parent folders are made. Text is UTF-8 with ``\\n`` line ends.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:60]}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@cache
def _umask() -> int:
    # Reading it means setting it, which is not safe beside other threads: hence once.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def to_json(value: Any) -> str:
    """Return canonical JSON text: two-space indent, keys as given, no NaN, a newline at the end."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write canonical JSON atomically."""
    text = to_json(value)
    with atomic_write(path, "w") as stream:
        stream.write(text)


def read_json(path: str | os.PathLike[str], error: type[InputError] = InputError) -> Any:
    """Read a JSON file.

    Raises:
        InputError: (or ``error``) missing, cut off or no JSON.
    """
    path = Path(path)
    data = _read_bytes(path, "JSON file", error)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise error(f"JSON is broken ({problem})", where=path, expected="whole JSON", fix="fetch it again") from None


def write_csv(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file with a header, atomically; None is written as an empty field."""
    with atomic_write(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(["" if row.get(column) is None else row[column] for column in columns])


def read_csv(
    path: str | os.PathLike[str], columns: Sequence[str], error: type[InputError] = InputError
) -> list[dict[str, str]]:
    """Read a CSV file whose header holds at least ``columns``.

    Raises:
        InputError: (or ``error``) missing, not UTF-8, a column missing, or a row of another length (with its line).
    """
    path = Path(path)
    try:
        text = _read_bytes(path, "CSV file", error).decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise error(f"CSV cannot be read ({problem})", where=path, expected="UTF-8 CSV") from None
    header = lines[0] if lines else []
    missing = [column for column in columns if column not in header]
    if missing:
        raise error(f"CSV has no column {', '.join(missing)}", where=path, expected=",".join(columns))
    if len(set(header)) != len(header):
        raise error("CSV has a column twice", where=path, expected=",".join(columns))
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        if len(line) != len(header):
            raise error(f"line {number} has {len(line)} fields", where=path, expected=f"{len(header)}")
        rows.append(dict(zip(header, line)))
    return rows


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``folder`` (made if missing) while the block runs.

    The lock is a flock on ``FOLDER.lock`` beside it that no child process inherits; it goes with the process.

    Raises:
        LockedError: Another process holds it.
        InputError: Nothing can be written beside the folder.
    """
    import fcntl

    folder = Path(folder)
    path = folder.parent / f".{folder.name}.lock"
    while True:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InputError(
                f"cannot write here ({error.strerror})", where=folder.parent, fix="choose another --out"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise LockedError(
                "another process works in this folder", where=folder, fix="wait for it, or choose another --out"
            ) from None
        # A holder removes its file as it leaves: a lock on a removed file guards nothing, so take the new one.
        if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
            break
        os.close(handle)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def icvos_home() -> Path:
    """Return the folder of the demo, weights and caches: ``$ICVOS_HOME``, or the platform's data folder."""
    folder = os.environ.get("ICVOS_HOME")
    if folder:
        return Path(folder).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_data_dir("icvos", appauthor=False))


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the file system that holds ``folder`` (or its nearest existing parent)."""
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free
