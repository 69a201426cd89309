"""Reading and writing images, masks and tables; atomic writes, locks and hashes.

Images are decoded by OpenCV (EXIF rotation is not applied: masks are drawn on the stored pixels), masks by Pillow,
because ``cv2.imread`` turns palette ids into colours.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from icvos.errors import InputError, LockedError, MaskError

__all__ = [
    "IMAGE_SUFFIXES",
    "atomic_write",
    "check_id",
    "decode_mask",
    "encode_mask",
    "file_sha256",
    "icvos_home",
    "listing",
    "lock_folder",
    "palette",
    "read_csv",
    "read_image",
    "read_json",
    "read_mask",
    "to_json",
    "write_csv",
    "write_image",
    "write_json",
    "write_mask",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_ID = re.compile(r"[A-Za-z0-9_.-]+")


def check_id(name: str, what: str = "id") -> str:
    """Return ``name`` if it may be an id (letters, digits, ``_``, ``.``, ``-``; not ``.`` or ``..``).

    Raises:
        InputError: It holds anything else.
    """
    if not _ID.fullmatch(name) or name in (".", ".."):
        raise InputError(f"'{name}' is no valid {what}", expected="letters, digits, '_', '.' and '-' alone")
    return name


def listing(folder: Path, suffixes: Sequence[str] | None = None) -> list[Path]:
    """Return the files of ``folder`` (not hidden), sorted by name; with ``suffixes`` only those.

    Raises:
        InputError: The folder is missing.
    """
    if not folder.is_dir():
        raise InputError("folder not found", where=folder)
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())
    if suffixes is not None:
        names = [name for name in names if os.path.splitext(name)[1].lower() in suffixes]  # noqa: PTH122
    return [folder / name for name in names]


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


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a JPEG or PNG as (H, W, 3) uint8 RGB; grey and CMYK images are converted, EXIF rotation is not applied.

    Raises:
        InputError: Missing, empty, truncated or no image.
    """
    import cv2

    path = Path(path)
    data = _read_bytes(path, "image", InputError)
    # OpenCV decodes what is left of a cut JPEG without a word; the end marker tells.
    if data[:2] == b"\xff\xd8" and data.find(b"\xff\xd9", _scan_start(data)) < 0:
        raise InputError("image is truncated", where=path, expected="a whole JPEG", fix="fetch the file again")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        return _read_image_pillow(data, path)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _scan_start(data: bytes) -> int:
    """Return where a JPEG's first scan begins: past the headers, whose thumbnails have end markers of their own."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        place += 1 if data[place + 1] == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place


def _read_image_pillow(data: bytes, path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.array(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise InputError(
            f"image cannot be decoded ({problem})", where=path, expected="a whole JPEG or PNG", fix="fetch it again"
        ) from None


def read_mask(path: str | os.PathLike[str], *, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a label PNG as (H, W) uint8: palette indices, or grey values, as they are stored.

    Args:
        path: An 8-bit (or smaller) palette or grey PNG.
        size: (H, W) that it must have.

    Raises:
        MaskError: Missing, truncated, RGB, 16-bit, with alpha, or of another size.
    """
    path = Path(path)
    return decode_mask(_read_bytes(path, "mask", MaskError), path, size=size)


def decode_mask(data: bytes, where: str | Path, *, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode the bytes of a label PNG; as ``read_mask``, ``where`` names them in errors.

    Plain 8-bit PNGs are decoded by the compiled engine (and python-isal where it is installed); Pillow is the
    definition, decodes all others and finds the words for what is wrong.
    """
    from PIL import Image, UnidentifiedImageError

    from icvos.png import decode_labels

    fast = decode_labels(data)
    if fast is not None and (size is None or fast.shape == tuple(size)):
        return fast
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.mode not in ("P", "L", "1"):
                kind = {"RGB": "an RGB image", "RGBA": "an RGBA image", "LA": "grey with alpha"}.get(
                    picture.mode, f"of mode {picture.mode}" + (" (16 bits or more)" if "I" in picture.mode else "")
                )
                raise MaskError(
                    f"mask is {kind}", where=where, expected="an 8-bit palette or grey PNG whose values are object ids"
                )
            if size is not None and picture.size != (size[1], size[0]):
                raise MaskError(
                    f"mask is {picture.size[1]}x{picture.size[0]} (HxW)", where=where, expected=f"{size[0]}x{size[1]}"
                )
            labels = np.array(picture)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise MaskError(
            f"mask cannot be decoded ({problem})", where=where, expected="a whole PNG", fix="fetch the file again"
        ) from None
    return labels.astype(np.uint8, copy=False)


def palette() -> bytes:
    """Return the PASCAL VOC colour map, 256 x RGB, in which label PNGs are shown by viewers."""
    colours = np.zeros((256, 3), np.uint8)
    for index in range(256):
        for bit in range(8):
            for channel in range(3):
                colours[index, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.tobytes()


def encode_mask(labels: np.ndarray, *, colours: bool = False) -> bytes:
    """Return (H, W) uint8 or bool labels as the bytes of an 8-bit PNG: grey, or with the VOC palette."""
    labels = np.ascontiguousarray(labels, dtype=np.uint8)
    if not colours:
        return _grey_png(labels)
    from PIL import Image

    picture = Image.fromarray(labels)
    picture.putpalette(palette())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _grey_png(labels: np.ndarray) -> bytes:
    # Label maps are runs of one value: deflate that looks for nothing else takes a third of Pillow's time and makes
    # files half as large.
    height, width = labels.shape
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = 0  # each row starts with its filter: none
    rows[:, 1:] = labels
    deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 8, zlib.Z_RLE)
    data = deflate.compress(rows) + deflate.flush()  # type: ignore[arg-type]
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", data),
        (b"IEND", b""),
    ):
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(kind + body))]
    return b"".join(parts)


def write_mask(path: str | os.PathLike[str], labels: np.ndarray, *, colours: bool = False) -> None:
    """Write (H, W) labels as an 8-bit PNG, atomically; ``colours`` adds the VOC palette."""
    with atomic_write(path) as stream:
        stream.write(encode_mask(labels, colours=colours))


def write_image(path: str | os.PathLike[str], image: np.ndarray, *, quality: int = 95) -> None:
    """Write (H, W, 3) uint8 RGB as JPEG or PNG (by the suffix), atomically."""
    import cv2

    suffix = Path(path).suffix.lower()
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix in (".jpg", ".jpeg") else []
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        raise InputError("image could not be encoded", where=Path(path))
    with atomic_write(path) as stream:
        stream.write(data.tobytes())


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
    given = os.environ.get("ICVOS_HOME")
    if given:
        return Path(given).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_data_dir("icvos", appauthor=False))


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the file system that holds ``folder`` (or its nearest existing parent)."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
