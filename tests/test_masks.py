"""Decoders of label PNGs and run lengths: every value right, every damage found."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from shared_data import shared

from icvos import images
from icvos.errors import InputError, MaskError, SourceError
from icvos.images import check_jpeg, image_size, read_image
from icvos.masks import (
    code_area,
    compact_segmentation,
    decode_code,
    decode_mask,
    decode_rle,
    encode_mask,
    png_rows,
    segmentation_code,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The kinds and contents of a PNG's chunks."""
    out, start = [], 8
    while start < len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        out.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + length]))
        start += 12 + length
    return out


def png(parts: list[tuple[bytes, bytes]]) -> bytes:
    return SIGNATURE + b"".join(chunk(kind, data) for kind, data in parts)


def header(height: int, width: int, depth: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    return width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, interlaced])


def filtered_png(mask: np.ndarray, kinds: np.ndarray, *, colour: int = 0, pieces: int = 1) -> bytes:
    """A PNG whose rows use the filters asked for: only the decoder undoes them, so any kind fits any row."""
    height, width = mask.shape
    raw = bytearray()
    for y in range(height):
        row, up = mask[y].astype(int), (mask[y - 1] if y else mask[0] * 0).astype(int)
        left, corner = np.concatenate([[0], row[:-1]]), np.concatenate([[0], up[:-1]])
        estimate = left + up - corner
        distances = np.abs(np.stack([estimate - left, estimate - up, estimate - corner]))
        paeth = np.choose(distances.argmin(axis=0), [left, up, corner])  # the first of equals, as the format says
        guess = (0 * row, left, up, (left + up) // 2, paeth)[kinds[y]]
        raw += bytes([kinds[y]]) + ((row - guess) % 256).astype(np.uint8).tobytes()
    data = zlib.compress(bytes(raw))
    cut = [data[len(data) * i // pieces : len(data) * (i + 1) // pieces] for i in range(pieces)]
    colours = [(b"PLTE", bytes(range(256)) * 3)] if colour == 3 else []
    return png(
        [(b"IHDR", header(height, width, 8, colour)), *colours, *((b"IDAT", part) for part in cut), (b"IEND", b"")]
    )


def packed_png(mask: np.ndarray, depth: int, *, colour: int = 0) -> bytes:
    """A PNG of 1, 2, 4 or 8 bits a pixel, without filters."""
    bits = (mask[..., None] >> np.arange(depth)[::-1]) & 1
    rows = np.packbits(bits.reshape(len(mask), -1).astype(np.uint8), axis=1)
    raw = np.concatenate([np.zeros((len(mask), 1), np.uint8), rows], axis=1).tobytes()
    colours = [(b"PLTE", bytes(v % 256 for v in range(3 * 2**depth)))] if colour == 3 else []
    parts = [(b"IHDR", header(*mask.shape, depth, colour)), *colours, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return png(parts)


def interlaced_png(mask: np.ndarray) -> bytes:
    raw = bytearray()
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    for y, x, step_y, step_x in passes:
        part = mask[y::step_y, x::step_x]
        for row in part if part.size else ():
            raw += b"\0" + row.tobytes()
    parts = [(b"IHDR", header(*mask.shape, interlaced=1)), (b"IDAT", zlib.compress(bytes(raw))), (b"IEND", b"")]
    return png(parts)


# --------------------------------------------------------------------------------------------------- whole PNGs


def test_the_compiled_decoder_equals_pillow() -> None:
    generator = np.random.default_rng(0)
    for number in range(150):
        h, w = (int(v) for v in generator.integers(1, 40, 2))
        mask = generator.integers(0, 256 if number % 2 else 4, (h, w)).astype(np.uint8)
        kinds = generator.integers(0, 5, h) if number % 6 == 5 else np.full(h, number % 6 % 5)
        data = filtered_png(mask, kinds, colour=3 * (number % 2), pieces=1 + number % 3)
        with Image.open(io.BytesIO(data)) as picture:
            assert np.array_equal(np.array(picture), mask)
        labels = decode_mask(data, "m")
        assert np.array_equal(labels, mask) and labels.dtype == np.uint8


def test_without_the_compiled_part_the_labels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(0).integers(0, 9, (20, 30)).astype(np.uint8)
    monkeypatch.setattr("icvos.masks._tools", lambda: (zlib, None))
    assert np.array_equal(decode_mask(filtered_png(mask, np.arange(20) % 5), "m"), mask)


@pytest.mark.parametrize("colour", [0, 3])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("width", [1, 7, 16, 33])
def test_values_of_few_bits_are_as_they_are_stored(width: int, depth: int, colour: int) -> None:
    mask = np.random.default_rng(width).integers(0, 2**depth, (11, width)).astype(np.uint8)
    assert np.array_equal(decode_mask(packed_png(mask, depth, colour=colour), "m"), mask)


def test_interlaced() -> None:
    for size in ((1, 1), (3, 2), (8, 8), (17, 30)):
        mask = np.random.default_rng(0).integers(0, 250, size).astype(np.uint8)
        assert np.array_equal(decode_mask(interlaced_png(mask), "m"), mask)


# -------------------------------------------------------------------------------------------------------- damage


def test_every_flipped_bit_of_a_mask_is_found() -> None:
    mask = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
    for data in (encode_mask(mask), encode_mask(mask, colours=True), packed_png(mask, 2), interlaced_png(mask)):
        assert np.array_equal(decode_mask(data, "m"), mask)
        for bit in range(0, 8 * len(data), 7):
            spoilt = bytearray(data)
            spoilt[bit // 8] ^= 1 << bit % 8
            with pytest.raises(MaskError, match="m"):
                decode_mask(bytes(spoilt), "m")


def test_every_flipped_bit_of_a_real_mask_is_found() -> None:
    path = next(shared("real/davis").rglob("*.png"))
    data = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(600):
        spoilt = bytearray(data)
        bit = int(generator.integers(8 * len(data)))
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MaskError):
            decode_mask(bytes(spoilt), path)


@pytest.mark.parametrize("cut", [0, 7, 20, 33, 50, -13, -5, -1])
def test_a_cut_mask_is_found(cut: int) -> None:
    data = encode_mask(np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8))
    with pytest.raises(MaskError):
        decode_mask(data[:cut], "m")


def test_a_wrong_sum_of_the_stream_is_found_under_right_chunks(tmp_path: Path) -> None:
    """Some tools mend the chunks' checksums; the stream has its own."""
    mask = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
    grey, colour = tmp_path / "grey.png", tmp_path / "colour.png"
    for path, picture in ((grey, mask), (colour, np.dstack([mask] * 3))):
        Image.fromarray(picture).save(path)
        parts = [
            (kind, data if kind != b"IDAT" else data[:-1] + bytes([data[-1] ^ 1]))
            for kind, data in chunks(path.read_bytes())
        ]
        path.write_bytes(png(parts))
    with pytest.raises(MaskError, match="its stream is damaged"):
        decode_mask(grey.read_bytes(), grey)
    with pytest.raises(InputError, match="its stream is damaged"):
        read_image(colour)


def test_a_damaged_frame_is_found(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "f.png")
    data = (tmp_path / "f.png").read_bytes()
    assert np.array_equal(read_image(tmp_path / "f.png"), image)
    for bit in range(8 * 8, 8 * len(data), 8 * len(data) // 40):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        (tmp_path / "f.png").write_bytes(spoilt)
        with pytest.raises(InputError, match=r"f\.png"):
            read_image(tmp_path / "f.png")
        with pytest.raises(SourceError, match=r"f\.png"):  # builders copy frames by their header
            image_size(bytes(spoilt), tmp_path / "f.png")


JPEGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("RGB", {}),
    ("RGB", {"progressive": True}),
    ("RGB", {"optimize": True}),
    ("RGB", {"restart_marker_rows": 1}),
    ("RGB", {"keep_rgb": True}),  # Adobe's, whose colours are no YCbCr
    ("L", {}),
    ("L", {"progressive": True}),
    ("CMYK", {}),
    ("CMYK", {"progressive": True}),
)


@pytest.mark.parametrize(("mode", "options"), JPEGS)
def test_a_cut_jpeg_that_somebody_closed_is_found(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    pytest.importorskip("simplejpeg")
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (96, 128, 3)).astype(np.uint8), (9, 9), 0)
    path = tmp_path / "f.jpg"
    Image.fromarray(image).convert(mode).save(path, quality=90, **options)
    data = path.read_bytes()
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(read_image(path), cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))
    check_jpeg(data, path)
    for part in (0.4, 0.6, 0.9):
        cut = data[: int(len(data) * part)] + b"\xff\xd9"
        path.write_bytes(cut)
        assert image_size(cut, path) == (96, 128)  # the header is whole
        for read in (lambda: read_image(path), lambda: check_jpeg(cut, path)):  # noqa: B023 - called at once
            with pytest.raises(InputError, match=r"cannot be decoded.*f\.jpg"):
                read()


@pytest.mark.parametrize(("mode", "options"), JPEGS)
def test_without_the_strict_decoder_jpegs_are_read_by_opencv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, options: dict[str, Any]
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 56, 3)).astype(np.uint8)
    path = tmp_path / "f.jpg"
    Image.fromarray(image).convert(mode).save(path, **options)
    expected = read_image(path)
    monkeypatch.setattr(images, "_simplejpeg", lambda: None)
    assert np.array_equal(read_image(path), expected)
    check_jpeg(path.read_bytes(), path)
    with pytest.raises(InputError, match=r"image is truncated; in .*f\.jpg"):
        check_jpeg(path.read_bytes()[:-20], path)


def test_real_jpegs_decode_as_with_opencv() -> None:
    paths = sorted(shared("real").rglob("*.jpg"))[::5]
    assert paths
    for path in paths:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
        assert np.array_equal(read_image(path), cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)), path


# ---------------------------------------------------------------------------------------------- other files as masks


def image_bytes(kind: str, mode: str = "L") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.eye(20, dtype=np.uint8)).convert(mode).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (image_bytes("JPEG"), "mask is a JPEG, and no PNG"),
        (image_bytes("GIF"), "mask is a GIF, and no PNG"),
        (image_bytes("BMP"), "mask is a BMP, and no PNG"),
        (image_bytes("TIFF"), "mask is a TIFF, and no PNG"),
        (image_bytes("WEBP", "RGB"), "mask is a WebP, and no PNG"),
        (image_bytes("PNG", "RGB"), "mask is an RGB image"),
        (image_bytes("PNG", "RGBA"), "mask is an RGBA image"),
        (image_bytes("PNG", "LA"), "mask is grey with alpha"),
        (image_bytes("PNG", "I;16"), "mask is of 16 bits"),
        (b"<!DOCTYPE html><html>", "mask is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "mask is a Git LFS pointer"),
        (b"", "mask is empty"),
        (b"mask", r"mask cannot be decoded \(no PNG\)"),
    ],
)
def test_what_is_no_label_png_is_named(data: bytes, words: str) -> None:
    with pytest.raises(MaskError, match=words):
        decode_mask(data, "m")


def test_five_thousand_changed_pngs_are_read_right_or_refused() -> None:
    """Bits, cuts, and changed contents under right checksums; what libpng (by OpenCV) accepts too is the same."""
    generator = np.random.default_rng(3)
    mask = generator.integers(0, 4, (9, 14)).astype(np.uint8)
    seeds = [
        filtered_png(mask, np.arange(9) % 5),
        packed_png(mask, 2),
        packed_png(mask, 2, colour=3),
        interlaced_png(mask),
    ]
    seeds.append(filtered_png(mask, np.zeros(9, int), colour=3, pieces=3))
    read = agreed = 0
    for number in range(5000):
        data = changed_png(seeds[number % len(seeds)], generator)
        try:
            labels = decode_mask(data, "m")
        except MaskError as error:
            assert "\n" not in str(error) and str(error).startswith("mask ")
            continue
        read += 1
        expected = libpng(data)
        if expected is not None:
            agreed += 1
            assert np.array_equal(shown(labels, data), expected), data
    assert read > 300 and agreed > 250


def changed_png(data: bytes, generator: np.random.Generator) -> bytes:
    kind = generator.integers(5)
    if kind == 0:
        spoilt = bytearray(data)
        for _ in range(int(generator.integers(1, 4))):
            bit = int(generator.integers(8 * len(data)))
            spoilt[bit // 8] ^= 1 << bit % 8
        return bytes(spoilt)
    if kind == 1:
        return data[: int(generator.integers(len(data)))]
    parts = chunks(data)
    index = int(generator.integers(len(parts)))
    name, body = parts[index]
    if kind == 2 and body:  # a byte of a chunk, its checksum mended
        spoilt = bytearray(body)
        spoilt[int(generator.integers(len(body)))] = int(generator.integers(256))
        parts[index] = (name, bytes(spoilt))
    elif kind == 3:  # another filter, or value, under right checksums
        raw = bytearray(zlib.decompress(b"".join(body for name, body in parts if name == b"IDAT")))
        raw[int(generator.integers(len(raw)))] = int(generator.integers(6))
        first = next(i for i, part in enumerate(parts) if part[0] == b"IDAT")
        parts = [part for part in parts if part[0] != b"IDAT"]
        parts.insert(first, (b"IDAT", zlib.compress(bytes(raw))))
    else:  # parts turned round, or twice
        other = int(generator.integers(len(parts)))
        parts[index], parts[other] = parts[other], parts[index]
        if generator.integers(2):
            parts.insert(index, parts[other])
    return png(parts)


def libpng(data: bytes) -> np.ndarray | None:
    """The picture as libpng has it, (H, W) grey or (H, W, 3) RGB; None where it refuses."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        return None
    return picture if picture.ndim == 2 else cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2RGB)


def shown(labels: np.ndarray, data: bytes) -> np.ndarray:
    """Labels as a viewer shows them: grey spread over 0 to 255, or the palette's colours."""
    depth, colour = data[24], data[25]
    if colour == 0:
        return labels * np.uint8(255 // (2**depth - 1))
    palette = next(body for name, body in chunks(data) if name == b"PLTE")
    colours = np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    return table[labels]


# ---------------------------------------------------------------------------------------------------- run lengths


def text_of(runs: list[int]) -> str:
    """COCO's compressed text of any list of runs, right or wrong."""
    out = ""
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            digit = value & 31
            value >>= 5
            more = value != (-1 if digit & 16 else 0)
            out += chr(48 + (digit | 32 if more else digit))
    return out


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([10, 20], r"runs of 30 pixels, and 6x8 \(HxW\) are 48"),  # the last run of background is missing
        ([10, 20, 100], "runs of 130 pixels"),
        ([10, -4, 42], "a run of -4 pixels"),
        ([], "runs of 0 pixels"),
    ],
)
def test_runs_that_do_not_fill_their_image_are_refused(runs: list[int], words: str, text: bool) -> None:
    counts: Any = text_of(runs) if text else runs
    with pytest.raises(ValueError, match=words):
        decode_rle(counts, (6, 8))
    with pytest.raises(ValueError, match=words):
        segmentation_code({"size": [6, 8], "counts": counts}, (6, 8))


@pytest.mark.parametrize(
    "shape",
    [
        [[1, 1, 6.5, 1, 6, 4, 1, 4.25], [0, 0, 2, 0, 2, 2], [3, 3]],
        [1, 1, 6, 1, 6, 4],  # a polygon alone
        {"size": [6, 8], "counts": [10, 20, 0, 0, 18]},
        {"size": [6, 8], "counts": text_of([10, 20, 18])},
        [],
    ],
)
def test_compact_segmentations_are_the_same(shape: Any) -> None:
    code = segmentation_code(shape, (6, 8))
    assert segmentation_code(compacted(shape), (6, 8)) == code


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([[1, 1, True, 1, 6, 4]], "no list of numbers"),
        ([[1, 1, "6", 1, 6, 4]], "no list of numbers"),
        ([[1, 1, 6, 1, 6]], "5 numbers, which are no pairs"),
        ([[1, 1, float("nan"), 1, 6, 4]], "a point that is no number"),
        ([[float("nan"), 1, 10**400, 1, 6, 4]], "a point that is no number"),
        ([[1, 1, 10**400, 1, float("nan"), 4]], "a point that is no number"),
        ([[1, 1, float("-inf"), 1, 6, 4]], "a point that is no number"),
        ([[1, 1, 100_001, 1, 6, 4]], "more than 100,000 pixels away"),
        ({"size": [6, 8], "counts": [10, True, 37]}, "neither text nor a list of whole numbers"),
        ({"size": [6, 8], "counts": [10, 2**70, 38]}, "a run of impossible length"),
        ({"size": [6, 8], "counts": "o" * 8 + "0"}, "a run of impossible length"),
        ({"size": [6, 8], "counts": 3 * ("o" * 7 + "?")}, "runs of 1,649,267,441,661 pixels"),
        ({"size": [6, 8], "counts": "O"}, "a run of -1 pixels"),
        ({"size": [6, 8], "counts": "0o"}, "text is cut off"),
        ({"size": [6, 8], "counts": "0 0"}, "a character that COCO's text has not"),
        ({"size": [6, 8], "counts": ""}, "runs of 0 pixels"),
    ],
)
def test_broken_segmentations_are_refused_in_either_form(shape: Any, words: str) -> None:
    for form in (shape, compacted(shape)):
        with pytest.raises(ValueError, match=words):
            segmentation_code(form, (6, 8))


def compacted(shape: Any) -> Any:
    """A segmentation as a reader of annotation files holds it."""
    if isinstance(shape, dict):
        fields = dict(shape)
        compact_segmentation(fields)
        return fields
    fields = {"segmentation": shape}
    compact_segmentation(fields)
    return fields["segmentation"]


@pytest.mark.parametrize("text", [False, True])
def test_runs_that_fill_their_image(text: bool) -> None:
    runs = [10, 20, 0, 0, 18]
    counts: Any = text_of(runs) if text else runs
    code = segmentation_code({"size": [6, 8], "counts": counts}, (6, 8))
    assert code is not None and code_area(code) == 20
    expected = np.zeros(48, bool)
    expected[10:30] = True
    assert np.array_equal(decode_rle(counts, (6, 8)), expected.reshape(8, 6).T)
    assert np.array_equal(decode_code(code) > 0, expected.reshape(8, 6).T)


def test_rows_of_a_png_are_those_of_its_stream() -> None:
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert png_rows(encode_mask(mask)) == b"\0\0\1\2\0\3\4\5"


@pytest.mark.parametrize(
    "polygons",
    [
        [[0, 0, 100_000, 100_000] * 300],  # one, to and fro
        [[0, 0, 100_000, 100_000, 0, 100_000]] * 300,
    ],
)
def test_outlines_that_no_thing_has_are_refused(polygons: list[list[int]]) -> None:
    """pycocotools takes 50 bytes for each pixel of an outline, and where there are none the process ends."""
    with pytest.raises(ValueError, match="outlines of more than 4,000,000 pixels"):
        segmentation_code(polygons, (72, 96))


def test_many_outlines_of_a_thing_are_read() -> None:
    """A thousand triangles, and a rectangle of five thousand corners: far more than things have."""
    corners = [(9.0 * (n % 9), 7.0 * (n % 7)) for n in range(1000)]
    triangles = [[x, y, x + 8, y, x, 60.0] for x, y in corners]
    once, often = segmentation_code(triangles[:63], (72, 96)), segmentation_code(triangles, (72, 96))
    assert once is not None and often is not None and code_area(once) == code_area(often) > 1000
    whole = segmentation_code([[0, 0, 96, 0, 96, 72, 0, 72] * 1251], (72, 96))
    assert whole is not None and code_area(whole) == 72 * 96


def test_a_header_that_asks_for_any_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (30, 20)).save(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0") + 5
    assert data[at : at + 4] == bytes([0, 20, 0, 30])
    for size, refused in (((65_500, 65_500), True), ((16_385, 16_384), True), ((16_384, 16_384), False)):
        data[at : at + 4] = b"".join(side.to_bytes(2, "big") for side in size)
        path.write_bytes(data)
        if not refused:
            assert image_size(bytes(data), path) == size
            continue
        with pytest.raises(SourceError, match=f"image is {size[0]}x{size[1]} .*expected at most 268,435,456 pixels"):
            image_size(bytes(data), path)
        with pytest.raises(InputError, match="expected at most 268,435,456 pixels"):
            read_image(path)
    header = b"IHDR" + struct.pack(">IIBBBBB", 65_500, 65_500, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4, "big") + bytes(40))
    with pytest.raises(InputError, match="expected at most 268,435,456 pixels"):
        read_image(path)
