"""Frames and masks of a page: a small clip a video (VP9), or stills (WebP) where PyAV is missing; masks as text.

The page's side is ``clips.js`` beside this module.
"""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from icvos.errors import UsageError
from icvos.files import lock_folder, open_file, real_path
from icvos.masks import encode_code

__all__ = [
    "LARGEST",
    "LONGEST",
    "chunk_element",
    "chunk_script",
    "clip_of",
    "display_size",
    "jpeg_of",
    "mask_text",
    "page_folder",
    "script_json",
    "shrink_image",
    "tidy_scripts",
]

LARGEST = 25_000_000
"""Bytes of the videos that a page holds itself, at most; more lie in scripts beside it."""

LONGEST = 640
"""Pixels of the longer side of what is shown, at most."""

RATE = 10
"""Frames a second that a clip says it has: what a player takes as the place of each frame."""

# Constant quality, at the encoder's quickest: 180 frames of 640x360 a second and core, 7 kB each of a moving camera.
_VP9 = {"deadline": "realtime", "cpu-used": "8", "crf": "40", "b": "0"}
_KEYFRAMES = 24

_CALL = "icvosChunk("


def script_json(value: Any) -> str:
    """Return JSON that may stand in a script of a page."""
    # Within a script < could end it.
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def chunk_script(video: str, content: Mapping[str, Any]) -> str:
    """Return a line of script that hands what is known of a video to the page beside it."""
    return f"{_CALL}{script_json({'video': video, **content})})\n"


def chunk_element(video: str, script: str) -> str:
    """Return the element that holds such a line within the page."""
    content = script.strip().removeprefix(_CALL).removesuffix(")")
    return f"<script type='application/json' data-video='{escape(video, quote=True)}'>{content}</script>\n"


@contextmanager
def page_folder(out: Path) -> Iterator[None]:
    """Hold the folder that a page is written to while the block runs, so that two commands do not write it at once.

    Raises:
        UsageError: It is a run's or a benchmark's own folder, or one of theirs, whose files would be replaced.
        LockedError: Another process works in it.
        InputError: Nothing can be written beside it.
    """
    folder = real_path(out)
    for above in (folder, *folder.parents):
        within = folder.relative_to(above).parts[:1]
        if _holds(above, "run.json"):
            if within in ((), ("masks",), ("frames",)):
                raise UsageError("a run keeps its files here", where=out, fix="choose another --out")
            break
        if _holds(above, "benchmark.json", "manifest.csv"):
            raise UsageError("a benchmark keeps its files here", where=out, fix="choose another --out")
    with lock_folder(out):
        yield


def _holds(folder: Path, *names: str) -> bool:
    try:
        return all((folder / name).is_file() for name in names)
    except OSError:  # a folder above that may not be looked into
        return False


def tidy_scripts(folder: Path, kept: Collection[Path]) -> None:
    """Remove the scripts of videos in a folder but those that are kept, what killed writers of them left, and the
    folder where it is empty then. Whatever else is in it stays."""
    if not folder.is_dir():
        return
    for path in set(folder.glob("*.js")) - set(kept):
        if path.is_file() and _is_script(path):
            path.unlink()
    for path in folder.glob(".*.tmp"):
        if ".js." in path.name or len(path.name) > 60:
            path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _is_script(path: Path) -> bool:
    """Whether a file hands a video to a page, in its first line or after one of comment."""
    with open_file(path) as stream:
        first = stream.readline()
        return (stream.read(len(_CALL)) if first.startswith(b"//") else first).startswith(_CALL.encode())


def display_size(size: tuple[int, int], longest: int = LONGEST) -> tuple[int, int]:
    """Return (H, W) at which a frame of a size is shown: its longer side ``longest`` at most, both even."""
    scale = min(1.0, longest / max(size))
    height, width = (max(2, 2 * round(side * scale / 2)) for side in size)
    return height, width


def shrink_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image (H, W, 3) uint8 at the size it is shown at."""
    import cv2

    return image if image.shape[:2] == size else cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def mask_text(mask: np.ndarray | None, size: tuple[int, int]) -> str:
    """Return a mask (H, W) bool as it is shown at a size: COCO's compressed run lengths; "" if it is empty."""
    if mask is None or not mask.any():
        return ""
    code = encode_code(_shrink_mask(mask, size))["counts"]
    return code.decode("ascii") if isinstance(code, bytes) else str(code)


def _shrink_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask (H, W) bool at the size it is shown at; one that is not empty shows a pixel at least."""
    import cv2

    if mask.shape == size:
        return mask
    share = cv2.resize(mask.astype(np.uint8) * 255, size[::-1], interpolation=cv2.INTER_AREA)
    small = share > 127
    return small if small.any() or not mask.any() else share == share.max()


def jpeg_of(image: np.ndarray, quality: int = 80) -> str:
    """Return an image (H, W, 3) uint8 RGB as JPEG in base64."""
    return _still(image, "JPEG", quality)


def clip_of(frames: Iterable[np.ndarray]) -> dict[str, Any]:
    """Return frames (H, W, 3) uint8 RGB of one size as a page takes them.

    Returns:
        ``webm``, base64, and ``rate``; or ``stills``, WebP in base64, one a frame, where PyAV is not installed.
    """
    if find_spec("av") is None:
        return {"stills": [_still(frame, "WEBP", 55) for frame in frames]}
    return {"webm": b64encode(_webm(frames)).decode(), "rate": RATE}


def _still(image: np.ndarray, kind: str, quality: int) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, quality=quality)
    return b64encode(stream.getvalue()).decode()


def _webm(frames: Iterable[np.ndarray]) -> bytes:
    import av

    stream = io.BytesIO()
    with av.open(stream, "w", format="webm") as container:
        video: Any = None
        for frame in frames:
            if video is None:
                video = container.add_stream("libvpx-vp9", rate=RATE)
                video.height, video.width = frame.shape[:2]
                video.pix_fmt, video.options = "yuv420p", _VP9
                video.codec_context.gop_size = _KEYFRAMES
                # The same bytes on any machine.
                video.codec_context.thread_count = 1
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode())
    return stream.getvalue()
