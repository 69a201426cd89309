"""Masks as label PNGs and as COCO run lengths: the only decoders of masks.

Never ``cv2.imread``, which turns palette ids into colours.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from icvos.errors import MaskError
from icvos.files import _read_bytes, atomic_write

__all__ = [
    "Code",
    "code_area",
    "decode_code",
    "decode_labels",
    "decode_mask",
    "decode_rle",
    "encode_code",
    "encode_mask",
    "header",
    "merge_codes",
    "palette",
    "read_mask",
    "run_lengths",
    "segmentation_code",
    "stored_size",
    "write_mask",
]


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


_SIGNATURE = b"\x89PNG\r\n\x1a\n"


_LARGEST = 1 << 28  # pixels; beyond that Pillow's own guard answers

# Pixels from the origin to a polygon's points, at most: images are far smaller.
FARTHEST = 100_000


def header(data: bytes) -> tuple[int, int, int, int, int] | None:
    """Return (height, width, bit depth, colour type, interlaced) of a PNG's first 33 bytes, or None if it is none.

    Colour types: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA.
    """
    if len(data) < 33 or data[:8] != _SIGNATURE or data[8:16] != b"\0\0\0\rIHDR":
        return None
    if zlib.crc32(data[12:29]).to_bytes(4, "big") != data[29:33]:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    return height, width, depth, colour, interlaced


def stored_size(path: Path) -> tuple[int, int] | None:
    """Return (H, W) from a PNG file's header, or None where there is none (reading it says what is wrong)."""
    try:
        with path.open("rb") as stream:
            described = header(stream.read(33))
    except OSError:
        return None
    return None if described is None else described[:2]


@cache
def _tools() -> tuple[Any, Any]:
    """Return a zlib module and the compiled engine (or None)."""
    try:
        from isal import isal_zlib as codec
    except ImportError:
        import zlib as codec  # type: ignore[no-redef]
    try:
        from icvos import _engine  # type: ignore[attr-defined]
    except ImportError:
        _engine = None
    return codec, _engine


def decode_labels(data: bytes) -> np.ndarray | None:
    """Decode a PNG's stored values as (H, W) uint8, or return None where it is not of the plain kind, or broken.

    Whoever gets None asks Pillow, which reads the other kinds and says what is wrong with the broken ones.
    """
    described = header(data)
    if described is None:
        return None
    height, width, depth, colour, interlaced = described
    size = height * width
    if depth != 8 or colour not in (0, 3) or interlaced or not 0 < size <= _LARGEST:
        return None
    parts = []
    start = 33
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        kind = data[start + 4 : start + 8]
        if kind == b"IDAT":
            parts.append(data[start + 8 : start + 8 + length])
        elif kind == b"IEND":
            break
        start += 12 + length
    else:
        return None
    codec, engine = _tools()
    wanted = height * (width + 1)
    try:
        inflate = codec.decompressobj()
        raw = inflate.decompress(parts[0] if len(parts) == 1 else b"".join(parts), wanted + 1)
    except (codec.error, IndexError):
        return None
    if len(raw) != wanted or not inflate.eof:
        return None
    rows = np.frombuffer(raw, np.uint8).reshape(height, width + 1)
    if not rows[:, 0].any():
        return np.ascontiguousarray(rows[:, 1:])
    if engine is None:
        return None
    out = np.empty((height, width), np.uint8)
    try:
        engine.unfilter(raw, height, width, out)
    except ValueError:
        return None
    return out


def run_lengths(text: bytes) -> list[int]:
    """Return the run lengths that COCO's compressed text holds.

    Characters from 48 on carry five bits each, the lowest first, and a flag that more follow; from the fourth on, runs
    are the difference to the last but one.

    Raises:
        ValueError: It holds other characters, a run of impossible length, or is cut off within a number.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        digit = character - 48
        if not 0 <= digit < 64:
            raise ValueError("a character that COCO's text has not")
        value |= (digit & 31) << shift
        shift += 5
        if shift > 60:
            raise ValueError("a run of impossible length")
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("text is cut off")
    return runs


def decode_rle(counts: Any, size: tuple[int, int]) -> np.ndarray:
    """Decode COCO's run lengths, compressed text or a list, as (H, W) bool.

    Args:
        counts: Lengths of runs of 0 and 1 in turn, column by column.
        size: (H, W).

    Raises:
        ValueError: Not run lengths, or of another number of pixels.
    """
    if isinstance(counts, (str, bytes)):
        runs = run_lengths(counts.encode() if isinstance(counts, str) else counts)
    elif isinstance(counts, list) and all(isinstance(run, int) and not isinstance(run, bool) for run in counts):
        runs = counts
    else:
        raise ValueError("counts are neither text nor a list of whole numbers")
    pixels = size[0] * size[1]
    if any(run < 0 or run > pixels for run in runs) or sum(runs) != pixels:
        raise ValueError(f"runs do not add up to {pixels} pixels")
    values = np.zeros(len(runs), bool)
    values[1::2] = True
    return np.ascontiguousarray(np.repeat(values, runs).reshape(size[1], size[0]).T)


Code = dict[str, Any]
"""pycocotools' compressed run lengths: ``{"size": [H, W], "counts": bytes}``."""


def segmentation_code(segmentation: Any, size: tuple[int, int]) -> Code | None:
    """Return a JSON's segmentation as compressed run lengths, or None where it encloses nothing.

    Args:
        segmentation: Polygons ``[[x, y, …], …]``, or ``{"size": [H, W], "counts": text or list}``.
        size: (H, W) of its image.

    Raises:
        ValueError: None of these, or of another size.
    """
    from pycocotools import mask as rle

    height, width = size
    try:
        if isinstance(segmentation, list):
            # Fewer than three points enclose nothing; what lies outside the image is cut off by pycocotools.
            polygons = [[float(v) for v in polygon] for polygon in segmentation if len(polygon) >= 6]
            if not polygons:
                return None
            # Its memory grows with the length of the edges, and it takes NaN for a number.
            if not all(abs(v) <= FARTHEST for polygon in polygons for v in polygon):
                raise ValueError(f"a point more than {FARTHEST:,} pixels away")
            return rle.merge(rle.frPyObjects(polygons, height, width))
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"RLE of size {segmentation['size']}")
        counts = segmentation["counts"]
        if not isinstance(counts, (str, bytes, list)):
            raise ValueError("counts are neither text nor a list of whole numbers")
        text = counts.encode("ascii") if isinstance(counts, str) else counts
        runs = text if isinstance(text, list) else run_lengths(text)
        # Of a cut code pycocotools would decode what happens to be in memory.
        if sum(runs) != height * width or min(runs, default=0) < 0:
            raise ValueError("RLE of another length")
        if isinstance(text, list):
            return rle.frPyObjects(segmentation, height, width)
        return {"size": [height, width], "counts": text}
    except (TypeError, KeyError, AttributeError) as problem:
        raise ValueError(str(problem)) from None


def encode_code(mask: np.ndarray) -> Code:
    """Return (H, W) bool, best in Fortran's order, as compressed run lengths."""
    from pycocotools import mask as rle

    return rle.encode(np.asfortranarray(mask).view(np.uint8))


def decode_code(code: Code) -> np.ndarray:
    """Decode compressed run lengths that ``segmentation_code``, ``encode_code`` or ``merge_codes`` made.

    Returns:
        (H, W) uint8 of 0 and 1.
    """
    from pycocotools import mask as rle

    return np.ascontiguousarray(rle.decode(code))


def merge_codes(codes: list[Code]) -> Code:
    """Return the union of compressed run lengths of one size."""
    from pycocotools import mask as rle

    return rle.merge(codes)


def code_area(code: Code) -> int:
    """Return the pixels of compressed run lengths."""
    from pycocotools import mask as rle

    return int(rle.area(code))
