"""Tables and JSON; atomic writes, locks, hashes, folders."""

from __future__ import annotations

import codecs
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
    "HOME_REMEDY",
    "atomic_write",
    "check_id",
    "csv_header",
    "escape_id",
    "file_kind",
    "file_sha256",
    "icvos_home",
    "iter_csv",
    "lock_folder",
    "page_asset",
    "parse_json",
    "read_bytes",
    "read_csv",
    "read_json",
    "read_lines",
    "read_text",
    "remove_partial_files",
    "spreadsheet_safe",
    "to_json",
    "write_csv",
    "write_json",
]

HOME_REMEDY = "set ICVOS_HOME to a folder that can be written"
"""What to do where a cache, the demo or weights cannot be written."""

LONGEST_ESCAPE = 150
"""Letters of an escaped name, so that what is added to it (a category, a draw, a suffix) stays a file's name."""

_ID = re.compile(r"[A-Za-z0-9_.-]+")


def check_id(name: str, what: str = "id") -> str:
    """Return ``name`` if it may be an id (letters, digits, ``_``, ``.``, ``-``; not ``.`` or ``..``).

    Raises:
        InputError: It holds anything else.
    """
    if not _ID.fullmatch(name) or name in (".", ".."):
        raise InputError(f"'{name}' is no valid {what}", expected="letters, digits, '_', '.' and '-' alone")
    return name


def escape_id(name: str, *, keep: str = "") -> str:
    """Return a name as an id: what ids may not hold becomes ``_u<hex>_``; no two names become one.

    A name that is an id already stays as it is, unless it holds such an escape itself. The letters of ``keep`` stay
    too. Escapes are cut where they would not fit a file's name: a hash of the whole, ``_x<hex>_``, follows there.
    """
    escaped = re.sub(r"_(?=u[0-9a-f]+_|x[0-9a-f]{32}_)", "_u5f_", name)
    escaped = re.sub(rf"[^A-Za-z0-9_.\-{re.escape(keep)}]", lambda letter: f"_u{ord(letter[0]):x}_", escaped)
    if escaped in (".", ".."):
        return escaped.replace(".", "_u2e_")
    if len(escaped) > LONGEST_ESCAPE and escaped != name:
        whole = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"{escaped[: LONGEST_ESCAPE - 35]}_x{whole}_"
    return escaped or "_u00_"


@cache
def page_asset(package: str, name: str) -> str:
    """Return the text of a page's script or style, which lies beside the module that writes the page."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def read_bytes(path: Path, what: str, error: type[InputError]) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise error(f"{what} not found", where=path) from None
    except OSError as problem:
        raise error(f"{what} cannot be read ({problem.strerror})", where=path) from None
    if not data:
        raise error(f"{what} is empty", where=path)
    return data


# How files begin that lie where another is expected.
_BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer ('git lfs pull' fetches the file)"),
    (b"\x89PNG\r\n\x1a\n", "a PNG"),
    (b"\xff\xd8\xff", "a JPEG"),
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"%PDF", "a PDF"),
)


def file_kind(data: bytes) -> str:
    """Return what a file is by how it begins, as ``an HTML page``; "" where that does not tell."""
    if not data:
        return "empty"
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a WebP"
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        return "a BMP"
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!doctype")):
        return "an HTML page (a log-in or error page in place of the file)"
    if len(data) > 8 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") < 1 << 27:
        return "a safetensors file"
    return ""


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
        Path(name).chmod(0o666 & ~own_umask())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove_partial_files(folder: Path) -> None:
    """Remove what writers that were killed within ``atomic_write`` left in a folder, which the caller has locked."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@cache
def own_umask() -> int:
    """Return the umask that the process began with, or had when it was first asked for."""
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
    return parse_json(read_bytes(path, "JSON file", error), path, error)


def parse_json(data: bytes, path: Path, error: type[InputError] = InputError) -> Any:
    """Return the content of a JSON file that was read.

    Raises:
        InputError: (or ``error``) no JSON, or a key stands twice.
    """
    try:
        return json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as problem:
        kind = file_kind(data)
        what = f"JSON file is {kind}" if kind else f"JSON is broken ({problem})"
        raise error(what, where=path, expected="whole JSON", fix="fetch it again") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, none of whose keys may stand twice: of two values Python would drop the first."""
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in content if keys.count(key) > 1)[:60]}' stands twice")
    return content


def write_csv(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file with a header, atomically; None is written as an empty field."""
    with atomic_write(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(["" if row.get(column) is None else row[column] for column in columns])


def spreadsheet_safe(text: str) -> str:
    """Return a text as a spreadsheet may open it: one that begins as a formula, which would run, is quoted."""
    number = text.replace(".", "", 1).replace("-", "", 1).isdigit()
    return f"'{text}" if text[:1] in ("=", "+", "@", "-") and not number and text != "-" else text


def read_text(path: str | os.PathLike[str], what: str = "list", error: type[InputError] = InputError) -> str:
    """Read a text file: UTF-8 or, where a byte order mark says so, UTF-16; the mark is dropped, line ends are kept.

    Args:
        path: The file.
        what: What it is, for messages.
        error: What is raised.

    Raises:
        InputError: Missing, empty, or no text.
    """
    path = Path(path)
    data = read_bytes(path, what, error)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if not text:
        raise error(f"{what} is empty", where=path)
    kind = file_kind(data)
    if "\0" in text or kind:
        raise error(f"{what} is {kind or 'no text'}", where=path, expected="a text file in UTF-8")
    return text


def read_lines(path: str | os.PathLike[str], what: str = "list", error: type[InputError] = InputError) -> list[str]:
    """Return the lines of ``read_text`` without blanks around them; empty lines stay, so that numbers of lines hold.

    Raises:
        InputError: As ``read_text``.
    """
    return [line.strip() for line in re.split(r"\r\n|\r|\n", read_text(path, what, error))]


def iter_csv(
    path: str | os.PathLike[str], columns: Sequence[str], error: type[InputError] = InputError
) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file whose header holds at least ``columns``.

    Raises:
        InputError: (or ``error``) missing, not UTF-8, a column missing, or a row of another length (with its line).
    """
    path = Path(path)
    lines = csv.reader(io.StringIO(read_text(path, "CSV file", error), newline=""), strict=True)
    try:
        header = next(lines, [])
        missing = [column for column in columns if column not in header]
        if missing:
            raise error(f"CSV has no column {', '.join(missing)}", where=path, expected=",".join(columns))
        if len(set(header)) != len(header):
            raise error("CSV has a column twice", where=path, expected=",".join(columns))
        for number, line in enumerate(lines, 2):
            if line and len(line) != len(header):
                raise error(f"line {number} has {len(line)} fields", where=path, expected=f"{len(header)}")
            if line:
                yield dict(zip(header, line))
    except csv.Error as problem:
        raise error(f"CSV cannot be read ({problem})", where=path, expected="UTF-8 CSV") from None


def read_csv(
    path: str | os.PathLike[str], columns: Sequence[str], error: type[InputError] = InputError
) -> list[dict[str, str]]:
    """Return the rows that ``iter_csv`` yields.

    Raises:
        InputError: As ``iter_csv``.
    """
    return list(iter_csv(path, columns, error))


def csv_header(path: str | os.PathLike[str], error: type[InputError] = InputError) -> list[str]:
    """Return the columns of a CSV file, which may have no row.

    Raises:
        InputError: As ``read_text``.
    """
    return next(csv.reader(io.StringIO(read_text(path, "CSV file", error), newline="")), [])


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def lock_folder(folder: Path, *, remedy: str = "choose another --out") -> Iterator[None]:
    """Hold an exclusive lock on ``folder`` (made if missing) while the block runs.

    The lock is a flock on ``FOLDER.lock`` beside it that no child process inherits; it goes with the process.

    Args:
        folder: What is locked.
        remedy: What to do where another holds it, or nothing can be written.

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
            raise InputError(f"cannot write here ({error.strerror})", where=folder.parent, fix=remedy) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise LockedError(
                "another process works in this folder", where=folder, fix=f"wait for it, or {remedy}"
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
