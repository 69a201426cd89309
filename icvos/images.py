"""Images: reading, writing, sizes from headers, resizes.

OpenCV decodes them; EXIF rotation is not applied, as masks are drawn on the stored pixels.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from icvos.errors import InputError, SourceError
from icvos.files import atomic_write, file_kind, read_bytes
from icvos.masks import LARGEST, header, png_rows

__all__ = [
    "ERODED",
    "IMAGE_SUFFIXES",
    "LETTERBOX",
    "SQUEEZED",
    "Resizing",
    "check_annotated_size",
    "check_jpeg",
    "image_size",
    "letterbox_eroded",
    "letterbox_image",
    "letterbox_mask",
    "letterbox_window",
    "nearest_resize",
    "read_image",
    "resize_image",
    "squeezed",
    "write_image",
]


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a JPEG or PNG as (H, W, 3) uint8 RGB; grey and CMYK images are converted, EXIF rotation is not applied.

    Raises:
        InputError: Missing, empty, truncated, no image, or of more pixels than any.
    """
    import cv2

    path = Path(path)
    data = read_bytes(path, "image", InputError)
    described = header(data)
    _check_pixels(_jpeg_size(data) if data[:2] == b"\xff\xd8" else described and described[:2], path, InputError)
    if data[:2] == b"\xff\xd8":
        image = _decode_jpeg(data, path)
        if image is not None:
            return image
    _check_png(data, path, InputError)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        return _read_image_pillow(data, path)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


# Words of libjpeg where data is missing, or headers between the parts are cut.
_DAMAGE = ("remature end", "Huffman", "instead of RST", "Bogus", "Invalid component", "Invalid progressive")


def check_jpeg(data: bytes, path: Path) -> None:
    """Read all data of a JPEG, where simplejpeg is installed (else only its end is looked for); pass over other files.

    Raises:
        InputError: It is cut off, or data is missing or damaged within.
    """
    if data[:2] == b"\xff\xd8":
        _decode_jpeg(data, path, pixels=False)


def _decode_jpeg(data: bytes, path: Path, *, pixels: bool = True) -> np.ndarray | None:
    """Return a JPEG as (H, W, 3) uint8 RGB, or None where OpenCV has to; both decode by libjpeg-turbo.

    Args:
        data, path: The file.
        pixels: Decode at full scale; else nothing is returned.

    Raises:
        InputError: It is cut off, or data is missing or damaged within.
    """
    # Decoders fill what is missing of a cut JPEG with grey; the end marker tells, where nobody has added one.
    if data.find(b"\xff\xd9", _scan_start(data)) < 0:
        raise InputError("image is truncated", where=path, expected="a whole JPEG", fix="fetch the file again")
    simplejpeg = _simplejpeg()
    if simplejpeg is None:
        return None
    try:
        space = simplejpeg.decode_jpeg_header(data)[2]
        if pixels and space in ("YCbCr", "Gray"):
            return simplejpeg.decode_jpeg(data, "RGB", strict=True)
        # The smallest scale reads all data too, in 60 % of the time.
        target = "CMYK" if space in ("CMYK", "YCCK") else "RGB"
        simplejpeg.decode_jpeg(data, target, min_height=1, min_width=1, strict=True)
    except ValueError as problem:
        if any(words in str(problem) for words in _DAMAGE):
            raise _no_image(problem, data, path) from None
        # Others are odd, as bytes too many between parts are, and whole.
    return None


@cache
def _simplejpeg() -> Any:
    """Return the strict decoder of JPEGs, or None where it is not installed: a failed import is slow."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def _check_png(data: bytes, path: Path, error: type[InputError]) -> None:
    """Check the sums of a PNG, which OpenCV and Pillow pass over; of other files nothing.

    Raises:
        InputError: One is wrong, or the file is cut off.
    """
    if header(data) is None:
        return
    try:
        png_rows(data)
    except ValueError as problem:
        raise error(
            f"image cannot be decoded ({_reason(problem)})", where=path, expected="a whole PNG", fix="fetch it again"
        ) from None


def _check_pixels(size: tuple[int, int] | None, path: Path, error: type[InputError]) -> None:
    """Refuse an (H, W) that no image has: a header of a few bytes may ask for any memory.

    Raises:
        InputError: It has too many pixels.
    """
    if size is not None and size[0] * size[1] > LARGEST:
        raise error(f"image is {size[0]}x{size[1]} (HxW)", where=path, expected=f"at most {LARGEST:,} pixels")


def _no_image(problem: object, data: bytes, path: Path) -> InputError:
    kind = file_kind(data)
    what = f"image is {kind}" if kind and kind not in ("a PNG", "a JPEG") else f"image cannot be decoded ({problem})"
    return InputError(what, where=path, expected="a whole JPEG or PNG", fix="fetch it again")


def _reason(problem: object) -> str:
    # Pillow names the buffer that it read from.
    return "it is of no known kind" if "BytesIO" in str(problem) else str(problem)


def _scan_start(data: bytes) -> int:
    """Return where a JPEG's first scan begins: past the headers, whose thumbnails have end markers of their own."""
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF and data[offset + 1] != 0xDA:
        offset += 1 if data[offset + 1] == 0xFF else 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return offset


def _read_image_pillow(data: bytes, path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.array(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise _no_image(problem, data, path) from None


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


def squeezed(image: np.ndarray, mask: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (H, W, 3) and (H, W) bool as squares of a side: Pillow's bilinear, and torch's nearest, as the authors."""
    from PIL import Image

    height, width = mask.shape
    if (height, width) == (size, size):
        return image, mask
    pixels = np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    steps = np.arange(size)
    return pixels, mask[np.ix_(steps * height // size, steps * width // size)]


def image_size(data: bytes, path: Path) -> tuple[int, int]:
    """Return (H, W) of the stored pixels of a whole JPEG or PNG, from its header; a PNG's sums are checked.

    Raises:
        SourceError: Empty, cut off, damaged, no image, or of more pixels than any.
    """
    jpeg = data[:2] == b"\xff\xd8"
    # A whole JPEG ends with its end marker (some writers pad after it); a whole PNG with its IEND chunk.
    whole = b"\xff\xd9" in data[-1024:] if jpeg else b"IEND" in data[-16:]
    size = _jpeg_size(data) if jpeg else _other_size(data, path)
    if size is None or not whole:
        raise SourceError("frame is truncated", where=path, expected="a whole JPEG or PNG", fix="fetch it again")
    _check_pixels(size, path, SourceError)
    _check_png(data, path, SourceError)
    return size


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    # Pillow's header parser takes as long as writing two masks.
    offset = 2
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xFF:
            offset += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = (
                int.from_bytes(data[offset + 5 : offset + 7], "big"),
                int.from_bytes(data[offset + 7 : offset + 9], "big"),
            )
            return size if min(size) > 0 else None
        else:
            offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return None


def _other_size(data: bytes, path: Path) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
            kind = picture.format
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        kind = None
    if kind != "PNG":
        raise SourceError(f"frame is {kind or 'no image'}", where=path, expected="a JPEG or PNG", fix="fetch it again")
    return height, width


def check_annotated_size(path: Path, size: tuple[int, int], annotated: tuple[int, int]) -> None:
    """Compare an image's stored (H, W) with that of its annotations, which a rotation by EXIF may have turned.

    Raises:
        SourceError: They differ.
    """
    if tuple(size) != tuple(annotated):
        turned = tuple(size) == tuple(annotated)[::-1]
        raise SourceError(
            f"image is {size[0]}x{size[1]} (HxW), its annotations {annotated[0]}x{annotated[1]}",
            where=path,
            expected="the image that was annotated",
            fix="turn its pixels as its EXIF tag says and remove the tag" if turned else "fetch it again",
        )


def nearest_resize(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W) labels by ``src = floor(dst * (in / out))`` in float32: torch's ``nearest``, not Pillow's.

    Where ``out`` is a power of two, as 512 is, that is the quotient of whole numbers; at 518 it may be one less.
    """
    if labels.shape == tuple(size):
        return labels
    rows, columns = map(_nearest_indices, labels.shape, size)
    return labels[rows[:, None], columns[None, :]]


def _nearest_indices(length: int, new: int) -> np.ndarray:
    indices = np.arange(new, dtype=np.float32) * (np.float32(length) / np.float32(new))
    return np.minimum(indices.astype(np.int64), length - 1)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, 3) uint8 RGB with Pillow's bilinear filter, as torchvision resizes a PIL image."""
    if image.shape[:2] == tuple(size):
        return image
    from PIL import Image

    return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def letterbox_window(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of an image (H, W, …) that is scaled to fit into ``size`` (H, W), centred there."""
    height, width = shape[:2]
    factor = min(size[0] / height, size[1] / width)
    inner = int(factor * height), int(factor * width)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    return slice(top, top + inner[0]), slice(left, left + inner[1])


def letterbox_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale (H, W, 3) uint8 RGB to fit into ``size`` (H, W) with OpenCV's bilinear filter; around it all is black."""
    import cv2

    return _letterbox(image, size, cv2.INTER_LINEAR)


def letterbox_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale (H, W) bool to fit into ``size`` (H, W) with OpenCV's nearest neighbour; around it all is background."""
    import cv2

    return _letterbox(mask.astype(np.uint8), size, cv2.INTER_NEAREST).astype(bool)


def letterbox_eroded(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale (H, W) bool as DANet's code scales its ground truth, which loses about a source pixel of every width.

    It gives the filter's name in the place of another argument, so that the mask is resized bilinearly, and cuts what
    comes out to whole numbers: a pixel is left only if all that it is mixed from is of the mask.

    Source: ``Rescale`` and ``ToTensor``, ``libs/dataset/transform.py`` of scutpaul/DANet at f0bc57d9.
    """
    import cv2

    return _letterbox(mask.astype(np.float32), size, cv2.INTER_LINEAR) >= 1


def _letterbox(pixels: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    import cv2

    rows, columns = letterbox_window(pixels.shape, size)
    inner = (columns.stop - columns.start, rows.stop - rows.start)
    out = np.zeros((*size, *pixels.shape[2:]), pixels.dtype)
    if min(inner) > 0:  # of an image a thousand times as wide as it is high nothing is left
        out[rows, columns] = cv2.resize(pixels, inner, interpolation=interpolation)
    return out


@dataclass(frozen=True)
class Resizing:
    """How images and masks come to a protocol's size; each function gets an array and (H, W).

    Attributes:
        image: Of (H, W, 3) uint8 RGB.
        truth: Of (H, W) bool, the ground truth and the masks of supports.
        mask: Of (H, W) bool, what is predicted and what is ignored.
        back: Of a mask at the protocol's size to that of the image that it is of, for pictures.
    """

    image: Callable[[np.ndarray, tuple[int, int]], np.ndarray]
    truth: Callable[[np.ndarray, tuple[int, int]], np.ndarray]
    mask: Callable[[np.ndarray, tuple[int, int]], np.ndarray]
    back: Callable[[np.ndarray, tuple[int, int]], np.ndarray]


def _unsqueeze(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(mask.astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST) > 0


def _out_of_letterbox(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return _unsqueeze(mask[letterbox_window(size, (mask.shape[0], mask.shape[1]))], size)


SQUEEZED = Resizing(resize_image, nearest_resize, nearest_resize, _unsqueeze)
"""To the size whatever the aspect ratio, as torchvision resizes."""
LETTERBOX = Resizing(letterbox_image, letterbox_mask, letterbox_mask, _out_of_letterbox)
"""Into the size, the aspect ratio kept."""
ERODED = Resizing(letterbox_image, letterbox_eroded, letterbox_mask, _out_of_letterbox)
"""The same, with the ground truth of DANet's code."""
