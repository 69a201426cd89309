"""Masks as label PNGs, as binary PGMs and as COCO run lengths: the only decoders of masks.

Never ``cv2.imread``, which turns palette ids into colours.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from array import array
from contextlib import suppress
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from icvos.errors import MaskError, in_words
from icvos.files import atomic_write, file_kind, open_file, read_bytes

__all__ = [
    "LARGEST",
    "LARGEST_SIDE",
    "PGM_HEADER",
    "Code",
    "Header",
    "code_area",
    "code_box",
    "compact_segmentation",
    "decode_code",
    "decode_mask",
    "decode_rle",
    "encode_code",
    "encode_label_map",
    "encode_mask",
    "header",
    "is_0_or_255",
    "is_grey",
    "label_header",
    "mask_box",
    "merge_codes",
    "palette",
    "png_rows",
    "read_coloured_mask",
    "read_header",
    "read_mask",
    "run_lengths",
    "segmentation_code",
    "stored_size",
    "thing_of",
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
    return decode_mask(read_bytes(path, "mask", MaskError), path, size=size)


def read_coloured_mask(path: str | os.PathLike[str], *, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a label PNG as ``read_mask`` does, or an RGB one in the colours of ``palette``, as other tools write it.

    Raises:
        MaskError: As ``read_mask``; or a colour is none of the palette's.
    """
    path = Path(path)
    data = read_bytes(path, "mask", MaskError)
    described = header(data)
    if described is None or described[2:4] != (8, 2) or not 0 < described[0] * described[1] <= LARGEST:
        return decode_mask(data, path, size=size)
    if size is not None and described[:2] != tuple(size):
        raise MaskError(f"mask is {described[0]}x{described[1]} (HxW)", where=path, expected=f"{size[0]}x{size[1]}")
    from PIL import Image

    try:
        png_rows(data)
        with Image.open(io.BytesIO(data)) as picture:
            pixels = np.array(picture.convert("RGB"), np.uint32)
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as problem:
        raise MaskError(
            f"mask cannot be decoded ({problem})", where=path, expected="a whole PNG", fix="write the file again"
        ) from None
    powers = np.array((1 << 16, 1 << 8, 1), np.uint32)
    colours = np.frombuffer(palette(), np.uint8).reshape(256, 3).astype(np.uint32) @ powers
    codes, order = pixels @ powers, np.argsort(colours)
    labels = order[np.searchsorted(colours[order], codes).clip(max=255)].astype(np.uint8)
    wrong = colours[labels] != codes
    if wrong.any():
        colour = tuple(int(part) for part in pixels[wrong][0])
        raise MaskError(
            f"mask has the colour {colour}",
            where=path,
            expected="grey or palette values, or the colours of PASCAL VOC's map: (128, 0, 0) for 1, (0, 128, 0) for 2",
        )
    return labels


def decode_mask(data: bytes, where: str | Path, *, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode the bytes of a label PNG, or of a binary PGM; as ``read_mask``, ``where`` names them in errors.

    Checksums of chunks and of the stream are checked. Plain 8-bit PNGs are decoded by the compiled engine, interlaced
    ones and those of 1, 2 or 4 bits by Pillow.
    """
    described = label_header(data, where)
    height, width, depth, colour, interlaced = described
    if size is not None and (height, width) != tuple(size):
        raise MaskError(f"mask is {height}x{width} (HxW)", where=where, expected=f"{size[0]}x{size[1]}")
    pgm = _PGM.match(data, 0, PGM_HEADER)
    if pgm is not None:
        return _pgm_rows(data[pgm.end() :], height, width, where)
    try:
        rows = png_rows(data)
        engine = None if depth != 8 or interlaced else _tools()[1]
        return _decode_pillow(data, depth, colour) if engine is None else _unfiltered(rows, height, width, engine)
    except ValueError as problem:
        raise MaskError(
            f"mask cannot be decoded ({problem})", where=where, expected="a whole PNG", fix="fetch the file again"
        ) from None


def label_header(data: bytes, where: str | Path) -> Header:
    """Return a PNG's header if its values can be labels; of a binary PGM what a grey PNG's would be.

    Args:
        data: Its first ``PGM_HEADER`` bytes, or more.
        where: Names it in errors.

    Raises:
        MaskError: It is no PNG, in colours, with alpha, of 16 bits, or has no pixel or too many.
    """
    described = header(data) or _pgm_header(data)
    if described is None:
        kind = file_kind(data)
        raise MaskError(
            f"mask is {kind}, and no PNG" if kind else "mask cannot be decoded (no PNG)",
            where=where,
            expected="an 8-bit palette or grey PNG whose values are object ids",
        )
    height, width, depth, colour, _ = described
    if colour not in (0, 3) or depth not in (1, 2, 4, 8):
        kinds = {2: "an RGB image", 4: "grey with alpha", 6: "an RGBA image"}
        raise MaskError(
            f"mask is {kinds.get(colour, f'of {depth} bits')}",
            where=where,
            expected="an 8-bit palette or grey PNG whose values are object ids",
        )
    if not 0 < height * width <= LARGEST:
        raise MaskError(f"mask is {height}x{width} (HxW)", where=where, expected=f"1 to {LARGEST:,} pixels")
    return described


def _pgm_header(data: bytes) -> Header | None:
    match = _PGM.match(data, 0, PGM_HEADER)
    if match is None:
        return None
    width, height, top = map(int, match.groups())
    return height, width, 8 if 0 < top < 256 else 16, 0, 0


def _pgm_rows(pixels: bytes, height: int, width: int, where: str | Path) -> np.ndarray:
    if len(pixels) != height * width:
        raise MaskError(f"mask has {len(pixels):,} pixels", where=where, expected=f"{height * width:,}")
    return np.frombuffer(pixels, np.uint8).reshape(height, width).copy()


def _unfiltered(rows: bytes, height: int, width: int, engine: Any) -> np.ndarray:
    """Return the (H, W) uint8 of 8-bit rows, each after the number of its filter."""
    table = np.frombuffer(rows, np.uint8).reshape(height, width + 1)
    if not table[:, 0].any():
        return np.ascontiguousarray(table[:, 1:])
    labels = np.empty((height, width), np.uint8)
    engine.unfilter(rows, height, width, labels)
    return labels


def _decode_pillow(data: bytes, depth: int, colour: int) -> np.ndarray:
    """Return the stored values of a whole PNG, (H, W) uint8; Pillow spreads grey ones of 2 and 4 bits over 0 to 255.

    Raises:
        ValueError: Pillow cannot decode it.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            labels = np.array(picture).astype(np.uint8, copy=False)
    except (OSError, SyntaxError, Image.DecompressionBombError) as problem:
        raise ValueError(str(problem)) from None
    return labels // np.uint8(255 // (2**depth - 1)) if colour == 0 and depth in (2, 4) else labels


@cache
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


def encode_label_map(labels: np.ndarray) -> bytes:
    """Return (H, W) uint8 labels as the bytes of an 8-bit PNG with the VOC palette.

    Five times as fast as ``encode_mask`` with colours, and smaller. The pixels are the same and the bytes are not:
    identities of benchmarks that were built of the demo's raw data hang on those of ``encode_mask``.
    """
    return _indexed_png(np.ascontiguousarray(labels, dtype=np.uint8), palette())


def _grey_png(labels: np.ndarray) -> bytes:
    return _indexed_png(labels, b"")


def _indexed_png(labels: np.ndarray, colours: bytes) -> bytes:
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
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3 if colours else 0, 0, 0, 0)),
        *([(b"PLTE", colours)] if colours else []),
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
# Columns, rows, and their steps, of the seven passes of an interlaced PNG.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

LARGEST = 1 << 28
"""Pixels of an image or a mask, at most."""

LARGEST_SIDE = 65535
"""Pixels of an image's side, at most."""

# Pixels from the origin to a polygon's points, at most: images are far smaller.
FARTHEST = 100_000
# Pixels of the outlines of a thing's polygons, at most: those of a large picture have some ten thousand.
LONGEST = 4_000_000
# Characters of a run in COCO's text, at most: 40 bits, of an image 32 are needed.
LONGEST_RUN = 8

PGM_HEADER = 256
"""Bytes of the head of a binary PGM, at most, comments and all."""
# Comments may stand behind the magic number alone, where programs write them.
_PGM = re.compile(rb"P5\s+(?:#[^\n]*\n\s*)*([0-9]{1,9})\s+([0-9]{1,9})\s+([0-9]{1,5})\s")

Header = tuple[int, int, int, int, int]
"""Of a PNG: height, width, bit depth, colour type (0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA), interlaced."""


def header(data: bytes) -> Header | None:
    """Return what a PNG's first 33 bytes say, or None if they are none of a PNG."""
    if len(data) < 33 or data[:8] != _SIGNATURE or data[8:16] != b"\0\0\0\rIHDR":
        return None
    if zlib.crc32(data[12:29]).to_bytes(4, "big") != data[29:33]:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    return height, width, depth, colour, interlaced


def read_header(path: Path) -> Header | None:
    """Return what the beginning of a PNG or PGM says, or None where there is none (reading it says what is wrong)."""
    try:
        with open_file(path) as stream:
            data = stream.read(PGM_HEADER)
            return header(data) or _pgm_header(data)
    except OSError:
        return None


def stored_size(path: Path) -> tuple[int, int] | None:
    """Return (H, W) from a PNG file's header, or None where there is none."""
    described = read_header(path)
    return None if described is None else described[:2]


def is_0_or_255(labels: np.ndarray) -> bool:
    """Whether a mask holds no other values than 0 and 255."""
    return bool(((labels == 0) | (labels == 255)).all())


def thing_of(labels: np.ndarray, *, where: str | Path) -> np.ndarray:
    """Return where a mask of 0 and 1, or of 0 and 255, says that the thing is, (H, W) bool.

    Args:
        labels: (H, W) uint8.
        where: Names it in errors.

    Raises:
        MaskError: It holds another value, or both 1 and 255.
    """
    if labels.max(initial=0) > 1 and not is_0_or_255(labels):
        odd = np.setdiff1d(labels, (0, 1, 255))
        holds = f"the value {odd[0]}" if odd.size else "both 1 and 255"
        raise MaskError(f"mask holds {holds}", where=where, expected="0 and 1 (or 0 and 255)")
    return labels != 0


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the least and greatest x and y (x0, y0, x1, y1) of a (H, W) bool mask's pixels; None of an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def is_grey(described: Header | None) -> bool:
    """Whether a mask's PNG is grey, so that 255 may be the thing; a palette says that it is void."""
    return described is not None and described[3] == 0


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


def png_rows(data: bytes) -> bytes:
    """Return the rows of a PNG as its stream holds them, each after its filter; all checksums are checked.

    Raises:
        ValueError: It is no PNG, is cut off, or is damaged.
    """
    described = header(data)
    if described is None:
        raise ValueError("no PNG")
    codec, _ = _tools()
    view = memoryview(data)
    parts = []
    start, kind = 33, b"IHDR"
    while kind != b"IEND":
        if start + 12 > len(data):
            raise ValueError("it is cut off")
        (length,) = struct.unpack_from(">I", data, start)
        kind, end = data[start + 4 : start + 8], start + 8 + length
        if end + 4 > len(data):
            raise ValueError("it is cut off")
        if codec.crc32(view[start + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            part = in_words(kind.decode("ascii", "replace"))
            raise ValueError(f"the checksum of its part {part} is wrong: it is damaged")
        if kind == b"IDAT":
            parts.append(view[start + 8 : end])
        start = end + 4
    wanted = _stream_bytes(described)
    inflate = codec.decompressobj()
    try:
        rows = inflate.decompress(parts[0] if len(parts) == 1 else b"".join(parts), wanted + 1)
    except (codec.error, IndexError):
        raise ValueError("its stream is damaged") from None
    if len(rows) != wanted or not inflate.eof:
        raise ValueError("its stream has another length")
    return rows


def _stream_bytes(described: Header) -> int:
    """Return the bytes of all rows of a PNG, with their filters."""
    height, width, depth, colour, interlaced = described
    if colour not in _CHANNELS or interlaced > 1:
        raise ValueError("its header is none of PNG's")
    bits = depth * _CHANNELS[colour]
    total = 0
    for x, y, step_x, step_y in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((x - width) // step_x), -((y - height) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def run_lengths(text: bytes) -> np.ndarray:
    """Return the run lengths that COCO's compressed text holds, (N,) int64.

    Characters from 48 on carry five bits each, the lowest first, and a flag that more follow; from the fourth on, runs
    are the difference to the last but one.

    Raises:
        ValueError: It holds other characters, a run of impossible length, or is cut off within a number.
    """
    digits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not digits.size:
        return digits
    if digits.min() < 0 or digits.max() > 63:
        raise ValueError("a character that COCO's text has not")
    ends = np.flatnonzero(digits < 32)
    if not ends.size or ends[-1] != digits.size - 1:
        raise ValueError("text is cut off")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > LONGEST_RUN:
        raise ValueError("a run of impossible length")
    shifts = 5 * (np.arange(digits.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((digits & 31) << shifts, starts)
    runs[digits[ends] >= 16] -= 1 << 5 * lengths[digits[ends] >= 16]
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _checked_runs(counts: Any, size: tuple[int, int]) -> np.ndarray:
    """Return the lengths of runs of 0 and 1 in turn that fill an image, (N,) int64.

    Raises:
        ValueError: No run lengths, or they are of another number of pixels.
    """
    if isinstance(counts, (str, bytes)):
        runs = run_lengths(counts.encode("ascii", "replace") if isinstance(counts, str) else counts)
    elif isinstance(counts, array) or (isinstance(counts, list) and set(map(type, counts)) <= {int}):
        try:
            runs = np.array(counts, np.int64)
        except OverflowError:
            raise ValueError("a run of impossible length") from None
    else:
        raise ValueError("counts are neither text nor a list of whole numbers")
    if runs.min(initial=0) < 0:
        raise ValueError(f"a run of {runs.min()} pixels")
    pixels = size[0] * size[1]
    # No sum of runs that fit overflows.
    if runs.max(initial=0) > pixels or runs.sum() != pixels:
        raise ValueError(f"runs of {sum(runs.tolist()):,} pixels, and {size[0]}x{size[1]} (HxW) are {pixels:,}")
    return runs


def decode_rle(counts: Any, size: tuple[int, int]) -> np.ndarray:
    """Decode COCO's run lengths, compressed text or a list, as (H, W) bool.

    Args:
        counts: Lengths of runs of 0 and 1 in turn, column by column.
        size: (H, W).

    Raises:
        ValueError: Not run lengths, or of another number of pixels.
    """
    runs = _checked_runs(counts, size)
    values = np.zeros(len(runs), bool)
    values[1::2] = True
    return np.ascontiguousarray(np.repeat(values, runs).reshape(size[1], size[0]).T)


Code = dict[str, Any]
"""pycocotools' compressed run lengths: ``{"size": [H, W], "counts": bytes}``."""


def segmentation_code(segmentation: Any, size: tuple[int, int]) -> Code | None:
    """Return a JSON's segmentation as compressed run lengths, or None where it encloses nothing.

    Args:
        segmentation: Polygons ``[[x, y, …], …]``, or ``{"size": [H, W], "counts": text or list}``; arrays, as
            ``compact_segmentation`` makes them, are lists.
        size: (H, W) of its image.

    Raises:
        ValueError: None of these, or of another size.
    """
    from pycocotools import mask as rle

    height, width = size
    if isinstance(segmentation, list):
        polygons = _checked_polygons(segmentation)
        return rle.merge(rle.frPyObjects(polygons, height, width)) if polygons else None
    if not isinstance(segmentation, dict):
        raise ValueError("neither polygons nor run lengths")
    if segmentation.get("size") != [height, width]:
        raise ValueError(
            f"run lengths of size {repr(segmentation.get('size'))[:40]}, of an image of {height}x{width} (HxW)"
        )
    counts = segmentation.get("counts")
    # Of runs that do not fill the image pycocotools would decode what happens to be in memory.
    _checked_runs(counts, size)
    if isinstance(counts, (list, array)):
        return rle.frPyObjects(segmentation, height, width)
    return {"size": [height, width], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}


def _checked_polygons(segmentation: list[Any]) -> list[list[float]]:
    """Return the polygons that enclose something.

    Raises:
        ValueError: One is none, or their outlines together are longer than those of any thing. pycocotools' time and
            memory grow with them, and where the memory ends it ends the process.
    """
    polygons: list[list[float]] = []
    measure, length = _longest, 0.0
    for polygon in filter(None, map(_polygon, _polygons(segmentation))):
        polygons.append(polygon)
        length += measure(polygon)
        if length > LONGEST and measure is _longest:
            measure, length = _outline, sum(map(_outline, polygons))
        if length > LONGEST:
            raise ValueError(f"outlines of more than {LONGEST:,} pixels")
    return polygons


def _longest(polygon: list[float]) -> float:
    """Return what ``_outline`` is at most, quickly."""
    return len(polygon) * (1 + max(polygon) - min(polygon))


def _outline(polygon: list[float]) -> float:
    """Return the pixels of a polygon's outline, of each edge those of its longer side, and one for each number."""
    points = np.reshape(polygon, (-1, 2))
    return len(polygon) + float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _polygons(segmentation: list[Any]) -> list[Any]:
    """Return a list of polygons; one polygon alone, ``[x, y, …]``, is taken for a list of it."""
    return [segmentation] if segmentation and _are_numbers(segmentation) else segmentation


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and set(map(type, values)) <= {int, float}


def compact_segmentation(fields: dict[str, Any]) -> None:
    """Put the numbers of a JSON object's polygons (``segmentation``) or run lengths (``counts``) into arrays.

    These take a quarter of the memory of lists, and ``segmentation_code`` takes either. What else stands there stays.
    """
    polygons, counts = fields.get("segmentation"), fields.get("counts")
    with suppress(OverflowError):  # a number that is refused later
        if isinstance(polygons, list):
            fields["segmentation"] = [array("d", points) if _are_numbers(points) else points for points in polygons]
        if isinstance(counts, list) and set(map(type, counts)) <= {int}:
            fields["counts"] = array("q", counts)


def _polygon(points: Any) -> list[float]:
    """Return a polygon's coordinates; none where it has fewer than three points, which enclose nothing.

    Raises:
        ValueError: It is none, or a point is far outside any image; what is outside this one pycocotools cuts off.
    """
    if not isinstance(points, array) and not _are_numbers(points):
        raise ValueError("a polygon is no list of numbers")
    if len(points) % 2:
        raise ValueError(f"a polygon of {len(points)} numbers, which are no pairs")
    # pycocotools takes NaN for a number; of a NaN the sum is one.
    if points and not (min(points) >= -FARTHEST and max(points) <= FARTHEST and isfinite(sum(points))):
        raise ValueError(f"a point that is no number, or more than {FARTHEST:,} pixels away")
    return list(map(float, points)) if len(points) >= 6 else []


def encode_code(mask: np.ndarray) -> Code:
    """Return (H, W) bool as compressed run lengths."""
    import cv2
    from pycocotools import mask as rle

    if mask.flags.f_contiguous:
        return rle.encode(mask.view(np.uint8))
    # It goes by columns. OpenCV turns it block by block, in a quarter of the time of a copy by numpy.
    return rle.encode(cv2.transpose(np.ascontiguousarray(mask).view(np.uint8)).T)


def decode_code(code: Code) -> np.ndarray:
    """Decode compressed run lengths that ``segmentation_code``, ``encode_code`` or ``merge_codes`` made.

    Returns:
        (H, W) uint8 of 0 and 1.
    """
    import cv2
    from pycocotools import mask as rle

    # It comes by columns. OpenCV turns it block by block, in a fifth of the time of a copy by numpy.
    return cv2.transpose(rle.decode(code).T)


def merge_codes(codes: list[Code]) -> Code:
    """Return the union of compressed run lengths of one size."""
    from pycocotools import mask as rle

    return rle.merge(codes)


def code_area(code: Code) -> int:
    """Return the pixels of compressed run lengths."""
    from pycocotools import mask as rle

    return int(rle.area(code))


def code_box(code: Code) -> list[float]:
    """Return the box [x, y, width, height] of compressed run lengths, pixels; all 0 of an empty mask."""
    from pycocotools import mask as rle

    box: list[float] = rle.toBbox(code).tolist()
    return box
