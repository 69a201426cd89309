"""Videos in files: decoded as they are read, and written, by OpenCV."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from icvos.errors import InputError
from icvos.files import file_kind, open_file
from icvos.progress import Progress, Update, silent

__all__ = ["VIDEO_SUFFIXES", "VideoFile", "open_writer"]

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".ogv", ".3gp", ".gif"),
)
FRAMES_FIX = "fetch it again, or take its frames as a folder: ffmpeg -i FILE FRAMES/%05d.png"

# Frames that a pass keeps: more than are read ahead.
KEPT = 8


class VideoFile:
    """A video file (a ``Video``): decoded as it is read, so that memory is a few frames, whatever its length.

    Frames come of one pass from the front on; a frame that lies far behind is decoded again by a second pass, as
    seeking leads to another frame in some files. A video that says it is turned is turned. Any thread may read.

    Args:
        path: The file.
        progress: Is told of the frames as they are counted.

    Attributes:
        size: (H, W).
        fps: Frames a second, or None where the file says nothing sensible.

    Raises:
        InputError: It cannot be decoded, or ends before it says it does.
    """

    def __init__(self, path: Path, *, progress: Progress = silent) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._forward = _Pass(path)
        self._again: _Pass | None = None
        self.size = self._forward.frame(0).shape[:2]
        self.fps, self._count = _measure(path, progress)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> np.ndarray:
        wanted = range(self._count)[index]
        with self._lock:
            if self._forward.reaches(wanted):
                frame = self._forward.frame(wanted)
            else:
                if self._again is None or not self._again.reaches(wanted):
                    self._again = _Pass(self.path)
                frame = self._again.frame(wanted)
        if frame.shape[:2] != self.size:
            raise InputError(
                f"frame {wanted} is {frame.shape[0]}x{frame.shape[1]} (HxW)",
                where=self.path,
                expected=f"{self.size[0]}x{self.size[1]}, as frame 0",
            )
        # The pass may give the same frame again, and a model may write into what it got.
        return frame.copy()

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(self._count):
            yield self[index]


class _Pass:
    """One pass over a file, from the front on; the last frames are kept."""

    def __init__(self, path: Path) -> None:
        self._path, self._capture = path, _open(path)
        self._next = 0
        self._kept: dict[int, np.ndarray] = {}

    def reaches(self, index: int) -> bool:
        return index >= self._next or index in self._kept

    def frame(self, index: int) -> np.ndarray:
        """Return a frame that it reaches, (H, W, 3) uint8 RGB."""
        import cv2

        while self._next <= index:
            good = self._capture.grab()
            if good and index - self._next < KEPT:
                good, picture = self._capture.retrieve()
                if good:
                    self._kept[self._next] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            if not good:
                what = "video" if self._next == 0 else f"frame {self._next}"
                raise InputError(f"{what} cannot be decoded", where=self._path, fix=FRAMES_FIX)
            self._kept.pop(self._next - KEPT, None)
            self._next += 1
        return self._kept[index]


def _measure(path: Path, progress: Progress) -> tuple[float | None, int]:
    """Return a file's frames a second, and how many frames it has: what it says of that may be an estimate.

    Raises:
        InputError: It ends early.
    """
    import cv2

    capture = _open(path)
    said, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    fps = rate if 0 < rate < 1000 else None
    count, last = 0, 0.0
    while capture.grab():
        count, last = count + 1, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        progress(Update("frames counted", count, max(round(said), count)))
    # Of frames that come at uneven times some files only guess the number: what is missing shows in time, too.
    if fps is not None and count < said and last + 1.5 / fps < said / fps:
        raise InputError(
            f"video ends early: {count} of {said:.0f} frames can be decoded",
            where=path,
            expected="a whole file",
            fix=FRAMES_FIX,
        )
    return fps, count


def _open(path: Path) -> Any:
    import cv2

    try:
        str(path).encode()
    except UnicodeEncodeError:  # OpenCV crashes at it
        raise InputError("the path is not UTF-8", where=os.fsencode(path).decode(errors="backslashreplace")) from None
    if not path.is_file():
        raise InputError("video not found", where=path, expected="a folder of frames or a video file")
    # What FFmpeg has to say of a broken file; it reads this once.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with _quiet():
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        with open_file(path) as stream:
            kind = file_kind(stream.read(1024))
        raise InputError(f"video is {kind}" if kind else "video cannot be decoded", where=path, fix=FRAMES_FIX)
    return capture


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what C libraries print on standard error: FFmpeg grumbles about a tag that it then replaces."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


# By suffix, in the order of choice: VP8 encodes three times as fast as VP9 here, at the same error.
_CODES = {".webm": ("VP80", "VP90"), ".mp4": ("mp4v", "vp09")}


def open_writer(path: Path, fps: float, size: tuple[int, int], *, fix: str) -> Any:
    """Return OpenCV's writer of a ``.webm`` or ``.mp4``.

    Args:
        path: The file.
        fps: Frames a second.
        size: (H, W) of its frames; even, for some codecs.
        fix: What to do where there is none.

    Raises:
        InputError: OpenCV has none here.
    """
    import cv2

    for code in _CODES[path.suffix]:
        with _quiet():
            # MPEG-4 counts in 1/65,535 of a second at most.
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), round(fps, 2), (size[1], size[0]))
        if writer.isOpened():
            return writer
    raise InputError(f"OpenCV cannot write {path.suffix[1:]} videos here", where=path, fix=fix)
