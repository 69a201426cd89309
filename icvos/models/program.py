"""Methods that are any program (``exec:PROGRAM WORDS…``): called once a video with the folder of an episode.

The folder holds the supports, the frames and ``request.json``, and takes the masks. The program is not trusted: what it
leaves is read as a stranger's, and nothing that it began outlives the call.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from icvos.errors import InputError, MaskError, ModelError, UsageError, name_some
from icvos.files import absolute_path, atomic_write, expand_home, free_bytes, open_file, work_folder, write_json
from icvos.images import write_image
from icvos.listing import files_by_stem, match_stems
from icvos.masks import decode_mask, thing_of, write_mask
from icvos.models import interpreter
from icvos.models.interface import VideoModel
from icvos.models.specs import PROGRAM
from icvos.types import ModelInfo, Support, Video

__all__ = [
    "SCHEMA",
    "FrameFormat",
    "Program",
    "frame_name",
    "program_class",
    "write_frame",
    "write_request",
]


SCHEMA = "icvos-episode/1"
FrameFormat = Literal["png", "ppm"]

_GUARD = Path(__file__).with_name("guard.py")
_MASKS = (".png", ".pgm")


def program_class(spec: str) -> type[Program]:
    """Return the class of the method that a program is.

    Args:
        spec: ``exec:PROGRAM WORDS…``, its words as a shell has them; no shell is started. A program without a ``/`` is
            looked for on ``PATH``.

    Raises:
        UsageError: No such program, or it cannot be run.
    """
    try:
        program, *words = shlex.split(spec.removeprefix(PROGRAM))
    except ValueError as error:
        problem = "it names none" if "unpack" in str(error) else str(error).lower()
        raise UsageError(f"no program in '{spec}' ({problem})", expected="exec:PROGRAM WORDS…") from None
    path = _program(program)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.name).strip("-.")[:100] or "program"
    members = {
        "__doc__": Program.__doc__,
        "__module__": Program.__module__,
        "info": ModelInfo(name=name, version="1", access="offline"),
        "program": path,
        "words": tuple(words),
        "start": Path.cwd(),
    }
    return type("Program", (Program,), members)


def _program(name: str) -> Path:
    if os.sep not in name and not name.startswith("~"):
        found = shutil.which(name)
        if found is None:
            here = f"./{name} is the file here" if Path(name).is_file() else "give its path"
            raise UsageError(f"no program '{name}' on PATH", fix=here)
        return absolute_path(found)
    path = absolute_path(expand_home(name))
    if not path.is_file():
        raise UsageError("program not found", where=path, expected="exec:PROGRAM WORDS…")
    if not os.access(path, os.X_OK):
        raise UsageError("the program may not be run", where=path, fix=f"chmod +x {shlex.quote(str(path))}")
    _check_first_line(path)
    return path


def _check_first_line(path: Path) -> None:
    """Refuse a script that the system calls missing, as its first line names nothing that is here."""
    try:
        with open_file(path) as stream:
            line = stream.readline(256)
    except OSError:  # it may be run all the same
        return
    if not line.startswith(b"#!"):
        return
    if line.endswith(b"\r\n"):
        raise UsageError(
            "the program's lines end as on Windows (CR LF)",
            where=path,
            fix=f"sed -i 's/\\r$//' {shlex.quote(str(path))}",
        )
    words = line[2:].split()
    if words and not Path(os.fsdecode(words[0])).exists():
        raise UsageError(
            f"the program's first line names '{os.fsdecode(words[0])}', which is not here",
            where=path,
            expected="a path that is, as in '#!/bin/sh' or '#!/usr/bin/env python3'",
        )


class Program(VideoModel):
    """A program, called once a video as ``PROGRAM WORDS… FOLDER``.

    Args:
        frames: How images are written: png, or ppm for programs that read no PNG (their masks are pgm).
        version: Of the program, raised when its results may change.

    Attributes:
        program: Its path.
        words: Those before the folder.
        start: The working folder that it is called in.
    """

    program: ClassVar[Path]
    words: ClassVar[tuple[str, ...]]
    start: ClassVar[Path]
    dtype = None
    backend = "program"

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        frames: FrameFormat = "png",
        version: str = "1",
    ) -> None:
        super().__init__(device=device, weights=weights)
        self.frames, self.version = frames, version
        self.info = replace(type(self).info, version=version)  # type: ignore[misc]

    @classmethod
    def files(cls) -> list[Path]:
        """Return the files that make its results: the program, and words that are files."""
        return [cls.program, *(path for word in cls.words if (path := cls.start / word).is_file())]

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[np.ndarray]:
        with contextlib.ExitStack() as stack:
            with _on_disk():
                folder = stack.enter_context(work_folder("icvos-episode"))
                for name in ("frames", "masks"):
                    (folder / name).mkdir()
                for index in range(len(video)):
                    write_frame(folder / "frames" / frame_name(index, self.frames), video[index])
                write_request(folder, supports, "frames", len(video), size=video.size, seed=seed, kind=self.frames)
            try:
                printed = self._call(folder)
                masks = _theirs(lambda: _mask_files(folder / "masks", len(video)), printed)
                for path in masks:
                    yield _theirs(lambda path=path: _read_mask(path, video.size), printed)
            except ModelError:
                if free_bytes(folder.parent) < 3 * video.size[0] * video.size[1]:  # less than a frame
                    raise _no_room("there is no room for what the program writes", folder.parent) from None
                raise

    def _call(self, folder: Path) -> str:
        """Run the program to its end, and return how what it printed ends.

        Raises:
            ModelError: It failed, or hangs.
        """
        theirs, ours = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(theirs), str(self.program), *self.words, str(folder)],
                cwd=self.start,
                env={**os.environ, "ICVOS_EPISODE": str(folder), "ICVOS_DEVICE": self.device},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(ours)
            raise ModelError(f"the program cannot be started ({error.strerror})", where=self.program) from None
        finally:
            os.close(theirs)
        output = interpreter.Output(process.stdout)
        try:
            _wait(process, output, folder / "masks")
        finally:
            _end(process, ours)
            printed = output.last()
            output.close()
        code = process.returncode
        if code:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            raise ModelError(f"the program {how}{_saying(printed)}")
        return printed


def _wait(process: subprocess.Popen[bytes], output: Any, masks: Path) -> None:
    changed, last_change = 0, time.monotonic()
    while True:
        try:
            process.wait(1.0)
            return
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(OSError):
            modified = masks.stat().st_mtime_ns
            if modified != changed:
                changed, last_change = modified, time.monotonic()
        if time.monotonic() - max(last_change, output.heard) > interpreter.SILENCE:
            raise ModelError(
                f"the program wrote no mask and printed nothing for {interpreter.SILENCE:g} s{_saying(output.last())}"
            )


def _end(process: subprocess.Popen[bytes], pipe: int) -> None:
    """Close the pipe, at which the guard kills all that is left."""
    os.close(pipe)
    try:
        process.wait(interpreter.ENDING)
    except subprocess.TimeoutExpired:
        process.returncode = None
    if process.returncode is None or process.returncode < 0:  # it may be the guard that was killed
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _saying(printed: str) -> str:
    return f"; it said: {printed}" if printed else ""


# The folder.


def frame_name(index: int, kind: FrameFormat) -> str:
    """Return the name of a frame's file."""
    return f"{index:05d}.{kind}"


def write_frame(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG or as binary PPM, by the suffix, atomically."""
    if path.suffix != ".ppm":
        write_image(path, image)
        return
    with atomic_write(path) as stream:
        stream.write(b"P6\n%d %d\n255\n" % (image.shape[1], image.shape[0]))
        stream.write(np.ascontiguousarray(image, np.uint8).data)


def _write_mask(path: Path, mask: np.ndarray) -> None:
    labels = np.where(mask, 255, 0).astype(np.uint8)
    if path.suffix != ".pgm":
        write_mask(path, labels)
        return
    with atomic_write(path) as stream:
        stream.write(b"P5\n%d %d\n255\n" % (labels.shape[1], labels.shape[0]))
        stream.write(labels.data)


def write_request(
    folder: Path,
    supports: Sequence[Support],
    frames: str,
    count: int,
    *,
    size: tuple[int, int],
    seed: int,
    kind: FrameFormat,
    masks: str = "masks",
) -> None:
    """Write the supports of an episode to its folder, and then ``request.json``, which says what is wanted.

    Args:
        folder: The episode's.
        supports: At least one.
        frames, masks: The folders where frames lie and masks are expected, as seen from the episode's folder.
        count: Of the frames.
        size: (H, W) of frames and masks.
        seed: For every random choice.
        kind: How images are written.
    """
    (folder / "supports").mkdir(exist_ok=True)
    rows: list[dict[str, str | None]] = []
    for index, support in enumerate(supports):
        row: dict[str, str | None] = {"image": f"supports/{index}_image.{kind}", "mask": None, "ignore": None}
        write_frame(folder / str(row["image"]), support.image)
        for name, mask in (("mask", support.mask), ("ignore", support.ignore)):
            if mask is not None:
                row[name] = f"supports/{index}_{name}.{'pgm' if kind == 'ppm' else 'png'}"
                _write_mask(folder / str(row[name]), mask)
        rows.append(row)
    request = {
        "schema": SCHEMA,
        "count": count,
        "size": list(size),
        "seed": int(seed),
        "supports": rows,
        "frames": f"{frames}/%05d.{kind}",
        "masks": f"{masks}/%05d.png",
    }
    write_json(folder / "request.json", request)


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    """Say in one line that the folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise _no_room(f"the folder of an episode cannot be written ({error.strerror})", error.filename) from None


def _no_room(what: str, where: str | Path | None) -> InputError:
    return InputError(what, where=where, fix="free some space, or set TMPDIR to a folder that can be written")


# What the program leaves.


def _theirs(read: Any, printed: str) -> Any:
    """Return what was read of the program's masks; what is wrong with them is the program's.

    Raises:
        ModelError: They are not what was asked for.
    """
    try:
        return read()
    except InputError as error:
        where = f" ({Path(error.where).name})" if error.where else ""
        wanted = f", not {error.expected}" if error.expected else ""
        raise ModelError(f"{error.what}{where}{wanted}{_saying(printed)}") from None


def _mask_files(folder: Path, count: int) -> list[Path]:
    """Return the file of each frame's mask.

    Raises:
        MaskError: Some are missing, or of no frame.
    """
    if folder.is_symlink():
        raise MaskError("the folder of the masks is a link")
    files = files_by_stem(folder, _MASKS, error=MaskError)
    frames = [f"{index:05d}" for index in range(count)]
    stems = match_stems(frames, list(files))
    missing = [frame for frame in frames if frame not in stems]
    if missing:
        used = {files[stem].name for stem in stems.values()}
        others = sorted(path.name for path in folder.iterdir() if path.name not in used)
        there = f"; there is {name_some(others)}" if others else "" if used else f"; {folder.name} is empty"
        raise MaskError(f"{len(missing)} of {count} masks are missing: {name_some(missing)}{there}")
    unknown = sorted(set(files) - set(stems.values()))
    if unknown:
        raise MaskError(f"{len(unknown)} masks are of no frame: {name_some(unknown)}")
    return [files[stems[frame]] for frame in frames]


def _read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return a mask, (H, W) bool.

    Raises:
        MaskError: It is none, or of another size.
    """
    if path.is_symlink():
        raise MaskError("mask is a link", where=path)
    most = 4 * size[0] * size[1] + (1 << 20)
    try:
        with open_file(path) as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise MaskError(f"mask cannot be read ({error.strerror})", where=path) from None
    if len(data) > most:
        raise MaskError(f"mask has more than {most:,} bytes", where=path)
    return thing_of(decode_mask(data, path, size=size), where=path)
