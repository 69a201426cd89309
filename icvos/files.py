"""Tables and JSON; atomic writes, locks, hashes, folders."""

from __future__ import annotations

import codecs
import csv
import errno
import gc
import hashlib
import io
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

from icvos.errors import InputError, LockedError

__all__ = [
    "HOME_REMEDY",
    "absolute_path",
    "atomic_write",
    "check_id",
    "csv_header",
    "escape_id",
    "expand_home",
    "file_kind",
    "file_sha256",
    "icvos_home",
    "is_utf8",
    "iter_csv",
    "lock_folder",
    "open_file",
    "page_asset",
    "parse_json",
    "read_bytes",
    "read_csv",
    "read_file",
    "read_json",
    "read_lines",
    "read_text",
    "real_path",
    "remove_partial_files",
    "spreadsheet_safe",
    "to_json",
    "work_folder",
    "write_csv",
    "write_json",
]

HOME_REMEDY = "set ICVOS_HOME to a folder that can be written"
"""What to do where a cache, the demo or weights cannot be written."""

LONGEST_ESCAPE = 150
"""Letters of an escaped name, so that what is added to it (a category, a draw, a suffix) stays a file's name."""

_FIRST_UMASK = os.umask(0o077)
os.umask(_FIRST_UMASK)
_FIRST_UMASK &= 0o077

_ID = re.compile(r"[A-Za-z0-9_.-]+")


def is_utf8(text: str) -> bool:
    """Whether a text can be written: half a surrogate pair, as JSON and file names may hold, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_file(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file for reading bytes; every file that a command is given is opened here.

    It never waits: a pipe whose other end nobody holds, a socket or a device is refused.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:  # a zero byte within the name
        raise OSError(errno.EINVAL, "no file's name") from None
    except OSError as problem:
        if problem.errno == errno.ENXIO:
            raise OSError(errno.EINVAL, "it is a socket or a device, no file", os.fspath(path)) from None
        raise
    # Asked of what is open, so that nothing can be put in its place in between.
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, no file", os.fspath(path))
    return io.BufferedReader(io.FileIO(handle))


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        OSError: As ``open_file``.
    """
    with open_file(path) as stream:
        return stream.read()


def read_bytes(path: Path, what: str, error: type[InputError]) -> bytes:
    """Return the bytes of a regular file that is not empty.

    Raises:
        InputError: (or ``error``) missing, empty, no regular file, not readable, or larger than the memory.
    """
    try:
        data = read_file(path)
    except FileNotFoundError:
        raise error(f"{what} not found", where=path) from None
    except OSError as problem:
        raise error(f"{what} cannot be read ({problem.strerror})", where=path) from None
    except MemoryError:
        raise error(f"{what} is larger than the memory", where=path, fix=_LARGE) from None
    if not data:
        raise error(f"{what} is empty", where=path)
    return data


_LARGE = "see whether it is the right file, or take a machine with more memory"

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

    Raises:
        InputError: A pipe, a socket or a device is there, which would be lost.
    """
    target = Path(path)
    if target.exists() and not (target.is_file() or target.is_dir()):
        kind = _KINDS[stat.S_IFMT(target.stat().st_mode)]
        raise InputError(f"{kind} is no file to write to", where=target, expected="a file, or a name that is free")
    umask = own_umask()
    target.parent.mkdir(parents=True, exist_ok=True)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    handle, partial = _open_partial(target)
    lock = os.dup(handle)  # held until the file has its name
    try:
        with os.fdopen(handle, mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
        partial.chmod(0o666 & ~umask)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)


def _open_partial(target: Path) -> tuple[int, Path]:
    """Open the temporary file of a target, empty and locked.

    It has one name, so that what a killed writer left is taken over by the next; only where another writes there now is
    it one of its own.
    """
    import fcntl

    partial = target.parent / f".{target.name[:60]}.tmp"
    with suppress(OSError):
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its writer may have given it its name since it was opened.
            if os.fstat(handle).st_ino == partial.stat().st_ino:
                os.ftruncate(handle, 0)
                return handle, partial
            os.close(handle)
        except OSError:
            os.close(handle)
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:60]}.", suffix=".tmp", dir=target.parent)
    return handle, Path(name)


def remove_partial_files(folder: Path) -> None:
    """Remove what writers that were killed within ``atomic_write`` left in a folder, which the caller has locked."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def own_umask() -> int:
    """Return the umask; one that takes our own rights, as a model's code may have left, is set back to what it was."""
    # Reading it means setting it: to the first one, so that other threads see no other in between.
    mask = os.umask(_FIRST_UMASK)
    if mask & 0o700:
        return _FIRST_UMASK
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


def read_json(
    path: str | os.PathLike[str],
    error: type[InputError] = InputError,
    *,
    compact: Callable[[dict[str, Any]], None] | None = None,
) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        error: What is raised.
        compact: Is given each object as it is read, and may put what takes less memory in place of its values.

    Raises:
        InputError: (or ``error``) missing, cut off or no JSON.
    """
    path = Path(path)
    return parse_json(read_bytes(path, "JSON file", error), path, error, compact=compact)


def parse_json(
    data: bytes,
    path: Path,
    error: type[InputError] = InputError,
    *,
    compact: Callable[[dict[str, Any]], None] | None = None,
) -> Any:
    """Return the content of a JSON file that was read.

    Args:
        data: Its bytes; of a large file the caller keeps none, so that they are gone while the text is parsed.
        path, error, compact: As ``read_json`` has them.

    Raises:
        InputError: (or ``error``) no JSON, or a key stands twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return an object, none of whose keys may stand twice: of two values Python would drop the first."""
        content = dict(pairs)
        if len(content) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueError(f"the key '{twice[:60]}' stands twice")
        if compact is not None:
            compact(content)
        return content

    kind = file_kind(data)
    collecting = gc.isenabled()
    gc.disable()  # what is parsed holds no circles, and to look for them takes longer than to parse
    try:
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        del data
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as problem:
        what = f"JSON file is {kind}" if kind else f"JSON is broken ({problem})"
        raise error(what, where=path, expected="whole JSON", fix="fetch it again") from None
    except MemoryError:
        raise error("what the JSON file holds is larger than the memory", where=path, fix=_LARGE) from None
    finally:
        if collecting:
            gc.enable()


def write_csv(
    path: str | os.PathLike[str],
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    *,
    for_spreadsheets: bool = False,
) -> None:
    """Write a CSV file with a header, atomically; None is written as an empty field.

    Args:
        path: The file.
        columns: Its header.
        rows: A value for each column.
        for_spreadsheets: Whether people open it, so that texts go through ``spreadsheet_safe``; not what is read back.
    """
    with atomic_write(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            values = ["" if row.get(column) is None else row[column] for column in columns]
            if for_spreadsheets:
                values = [spreadsheet_safe(value) if isinstance(value, str) else value for value in values]
            writer.writerow(values)


def spreadsheet_safe(text: str) -> str:
    """Return a text as a spreadsheet may open it: one that begins as a formula, which would run, is quoted."""
    number = re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", text)
    runs = text[:1] in ("\t", "\r") or text.lstrip(' \t\r\n"')[:1] in ("=", "+", "@", "-")
    return f"'{text}" if runs and not number and text != "-" else text


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
    with open_file(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def lock_folder(folder: Path, *, remedy: str = "choose another --out", wait: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on ``folder`` (made if missing) while the block runs.

    The lock is a flock on ``FOLDER.lock`` beside it that no child process inherits; it goes with the process.

    Args:
        folder: What is locked.
        remedy: What to do where another holds it, or nothing can be written.
        wait: Seconds to wait for another that holds it.

    Raises:
        LockedError: Another process holds it still.
        InputError: Nothing can be written beside the folder.
    """
    import fcntl

    folder = Path(folder)
    path = folder.parent / f".{folder.name}.lock"
    own_umask()
    end = time.monotonic() + wait
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
            if time.monotonic() < end:
                time.sleep(0.02)
                continue
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


@contextmanager
def work_folder(what: str, parent: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Give an empty folder that is removed again; folders of the same kind whose process was killed go first.

    A flock on the folder itself, which goes with its process, tells which are in use.

    Args:
        what: Its kind, the beginning of its name.
        parent: Where; by default ``TMPDIR``.

    Raises:
        OSError: Nothing can be written there.
    """
    import fcntl

    parent = Path(parent or tempfile.gettempdir())
    _remove_abandoned(parent, what)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{what}-", dir=parent))
        # Until it is locked, another process that begins just now may take it for an abandoned one.
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder.exists():
                break
        os.close(handle)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _remove_abandoned(parent: Path, what: str) -> None:
    import fcntl

    for folder in parent.glob(f"{what}-*"):
        try:
            if folder.lstat().st_uid != os.geteuid():
                continue
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its process works in it
        finally:
            os.close(handle)


def icvos_home() -> Path:
    """Return the folder of the demo, weights and caches: ``$ICVOS_HOME``, or the platform's data folder.

    Raises:
        InputError: It begins with ``~`` and a name that no user has.
    """
    folder = os.environ.get("ICVOS_HOME")
    if folder:
        return real_path(expand_home(folder))
    import platformdirs

    return Path(platformdirs.user_data_dir("icvos", appauthor=False))


def expand_home(path: str | os.PathLike[str]) -> Path:
    """Return a path with the home folder in place of ``~``.

    Raises:
        InputError: It begins with ``~`` and a name that no user has.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError("no such user", where=Path(path), expected="~ alone, or ~ and a user's name") from None


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return a path without links and ``..``; of links that lead in a circle, as far as they lead."""
    return Path(os.path.realpath(path))


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """Return a path from the root on, its ``..`` followed as the system follows them; other links stay as named.

    Folders that are not there yet may stand before a ``..``: so what is written is found under the same name again.
    """
    parts = Path(path).absolute().parts
    after = next((index for index in reversed(range(len(parts))) if parts[index] == ".."), -1) + 1
    return Path(os.path.realpath(Path(*parts[:after])), *parts[after:]) if after else Path(*parts)


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the file system that holds ``folder`` (or its nearest existing parent)."""
    existing = real_path(folder)
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free
