"""The process of another interpreter in which a method works: this end of the pipes, whose other end is ``host.py``.

The other end is not trusted: what it says has known lengths and types, and comes in turn and in time, or its process is
killed and the episode fails with the last lines that it printed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import struct
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from icvos.errors import InputError, ModelError, UsageError, printable
from icvos.models import environments, seeds
from icvos.types import Prediction, Video

__all__ = ["Interpreter", "MethodError", "Output", "keep_output"]

HEADER = struct.Struct("<IQ")
MOST_TEXT = 1 << 20
MOST_OUTPUT = 1 << 20
"""Bytes that are kept of what a method prints, in a run's folder."""
SILENCE = 3600.0
"""Seconds that a method may work without a word, where no ``--timeout`` says less."""
STARTING = 60.0
"""Seconds that its interpreter has for its start."""
ENDING = 3.0
"""Seconds that it has for its end."""

_HOST = Path(__file__).with_name("host.py")
_log: Path | None = None


def keep_output(path: Path | None) -> None:
    """Let what methods in interpreters of their own print go to a file, at most ``MOST_OUTPUT`` bytes of it."""
    global _log
    _log = path


class _Until:
    """A time that is so many seconds away."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._end = seconds, time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self._end - time.monotonic()


class MethodError(Exception):
    """What a method raised in its interpreter; the name of the class that is made of it is the exception's."""


class Output:
    """What a process prints: read all the time, its end kept in mind, and so much of it in a file.

    Attributes:
        heard: When it printed last, by ``time.monotonic``.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._tail, self._written = stream, b"", 0
        self.heard = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self._stream.fileno(), 1 << 16):
                self.heard = time.monotonic()
                self._tail = (self._tail + data)[-8192:]
                # Who prints would wait for ever for a reader that a full disk ended.
                with contextlib.suppress(OSError):
                    self._keep(data)

    def _keep(self, data: bytes) -> None:
        if _log is not None and _log.parent.is_dir() and self._written < MOST_OUTPUT:
            with _log.open("ab") as file:
                room = min(MOST_OUTPUT - file.tell(), MOST_OUTPUT - self._written)
                self._written += file.write(data[: max(room, 0)])

    def close(self) -> None:
        """Close the stream, unless something that the process left behind still holds it."""
        if not self._thread.is_alive():
            self._stream.close()

    def last(self) -> str:
        """Return the last lines, once what was under way has come."""
        self._thread.join(0.5)
        lines = self._tail.decode("utf-8", "replace").splitlines()
        return printable(" | ".join(line.strip() for line in lines[-6:] if line.strip()))[-600:]


class Interpreter:
    """A process of another interpreter, in which a method is built and works.

    Attributes:
        threads: That OpenCV and torch compute on there; 0 leaves it to them.
    """

    threads: ClassVar[int] = 0

    def __init__(self, python: str, target: Mapping[str, Any]) -> None:
        self.python, self.target = python, dict(target)
        self.alive = True
        self._videos: dict[int, tuple[Video, int]] = {}
        self._yielded: dict[int, int] = {}
        self._numbers = iter(range(1, 1 << 62))
        self._left: dict[str, list[int]] = {"models": [], "fitted": []}
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        for end in (self._out, self._in):
            with contextlib.suppress(OSError, AttributeError):  # Linux alone has it: room for most of a frame
                fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 1 << 20)
            os.set_blocking(end, False)
        try:
            self._process = subprocess.Popen(
                [python, "-u", str(_HOST), str(theirs_in), str(theirs_out)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs_in, theirs_out),
                env=environments.clean_environ(),
                start_new_session=True,
            )
        except OSError as error:
            self._close(self._out, self._in)
            raise UsageError(
                f"the interpreter cannot be started ({error.strerror})", where=python, expected="a Python's program"
            ) from None
        finally:
            self._close(theirs_in, theirs_out)
        self._output = Output(self._process.stdout)
        self._finalise = weakref.finalize(self, _end, self._process, self._out, self._in)
        try:
            # The first word is its own; a failure before it is that of its Python.
            self._listen(STARTING)
        except ModelError as error:
            raise UsageError(
                f"the interpreter cannot run a method ({error.what})", where=python, expected="Python 3.8 or newer"
            ) from None
        self.declared = self.ask("load", **self.target)[0]
        seeds.ELSEWHERE.add(self)

    @staticmethod
    def _close(*ends: int) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)

    def end(self) -> None:
        """End the process, and all that it began in its session."""
        self.alive = False
        seeds.ELSEWHERE.discard(self)
        self._finalise()

    def number(self) -> int:
        """Return a number that nothing there has yet."""
        return next(self._numbers)

    def forget(self, kind: str, number: int) -> None:
        """Have the other end drop a copy of a model, or what was fitted, before it does anything else."""
        self._left[kind].append(number)

    # Asking.

    def ask(
        self, do: str, arrays: Sequence[np.ndarray] = (), *, most: int = 0, **text: Any
    ) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Ask for something, and return the answer.

        Args:
            do: What: a method of ``host.Host``.
            arrays: Sent with it.
            most: Bytes of arrays that may come back.
            text: The rest of the question.

        Raises:
            UsageError, InputError: The method raised one.
            MethodError: It raised something else.
            ModelError: It broke a rule, or the other end died, was silent, or said what cannot be.
        """
        left = {name: numbers for name, numbers in self._left.items() if numbers}
        if left:
            self._left = {"models": [], "fitted": []}
            self.ask("drop", models=left.get("models", []), fitted=left.get("fitted", []))
        if not self.alive:
            raise ModelError("its process has ended", fix="its next episode starts another")
        try:
            self._send({"do": do, **text}, arrays)
            while True:
                reply, came = self._listen(SILENCE, most)
                if reply.get("say") == "frame":
                    self._give(reply)
                    continue
                break
            if reply.get("say") not in ("done", "failed"):
                raise ModelError(f"its process says '{printable(str(reply.get('say')))[:40]}', out of turn")
        except BaseException:
            # An answer that was not waited for would be taken for the next one.
            self.end()
            raise
        if reply["say"] == "failed":
            raise _raised(reply)
        return reply, came

    def _give(self, request: Mapping[str, Any]) -> None:
        stream, index = request.get("stream"), request.get("index")
        if type(stream) is not int or type(index) is not int:
            raise ModelError("what its process says cannot be read")
        if stream not in self._videos:  # a thread that reads ahead does not know yet
            self._send({"do": "frame", "problem": "a frame of a video that is over is asked for"}, ())
            return
        video, ahead = self._videos[stream]
        if not 0 <= index < len(video):
            raise ModelError(f"its process asks for frame {index} of {len(video)}")
        count = self._yielded[stream]
        if index > count + ahead:
            problem = f"frame {index} is asked for before the mask of frame {count}: declare access='lookahead:N' or "
            self._send({"do": "frame", "problem": problem + "'offline', or read frames as you yield masks"}, ())
            return
        self._send({"do": "frame"}, (video[index],))

    # The pipes.

    def _send(self, text: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> None:
        whole = [np.ascontiguousarray(array) for array in arrays]
        listed = [[array.dtype.str, list(array.shape)] for array in whole]
        data = json.dumps({**text, "arrays": listed}).encode()
        parts = [array.data.cast("B") for array in whole if array.size]
        until = _Until(SILENCE)
        head = HEADER.pack(len(data), sum(map(len, parts))) + data
        for part in (memoryview(head), *parts):
            while part:
                try:
                    part = part[os.write(self._out, part) :]
                except BlockingIOError:
                    self._wait(self._out, selectors.EVENT_WRITE, until)
                except OSError:
                    raise self._death() from None

    def _listen(self, seconds: float, most: int = 0) -> tuple[dict[str, Any], list[np.ndarray]]:
        until = _Until(seconds)
        size, more = HEADER.unpack(self._receive(HEADER.size, until))
        if size > MOST_TEXT or more > most:
            raise ModelError(f"its process announces {size:,} and {more:,} bytes, more than an answer has")
        try:
            text = json.loads(bytes(self._receive(size, until)))
            listed = text["arrays"]
            arrays = _arrays(listed, self._receive(more, until))
        except (ValueError, TypeError, KeyError, ArithmeticError, SyntaxError, RecursionError):
            raise ModelError("what its process says cannot be read") from None
        return text, arrays

    def _receive(self, count: int, until: _Until) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            try:
                got = os.readv(self._in, [view])
            except BlockingIOError:
                self._wait(self._in, selectors.EVENT_READ, until)
                continue
            if not got:
                raise self._death()
            view = view[got:]
        return data

    def _wait(self, end: int, event: int, until: _Until) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(end, event)
            # What it began may hold its pipes open when it is dead.
            while not selector.select(min(1.0, max(until.left, 0))):
                if self._process.poll() is not None and not selector.select(0):
                    raise self._death()
                if until.left < 0:
                    raise ModelError(f"its process said nothing for {until.seconds:g} s")

    def _death(self) -> ModelError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING)
        code = self._process.poll()
        how = "closed its pipe" if code is None else f"ended with status {code}"
        if code is not None and code < 0:
            how = f"was killed by signal {-code}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
        last = self._output.last()
        return ModelError(f"its process {how}" + (f"; it said: {last}" if last else ""))

    # What seeds and machines want of it; a method that died meanwhile fails when it is asked to work.

    def seed(self, seed: int) -> None:
        """Seed the generators there."""
        with contextlib.suppress(ModelError):
            self.ask("reseed", seed=seed)

    def limit_threads(self, threads: int) -> None:
        """Let OpenCV and torch there compute on so many threads."""
        with contextlib.suppress(ModelError):
            self.ask("threads", count=threads)

    def peak_memory(self, device: str, *, reset: bool = False) -> int:
        """Return peak bytes there: of the GPU since the last reset, or of the resident set."""
        with contextlib.suppress(ModelError, MethodError):
            count = self.ask("peak", device=device, reset=reset)[0].get("bytes")
            return count if type(count) is int and 0 <= count < 1 << 50 else 0
        return 0

    # Streams.

    @contextlib.contextmanager
    def video(self, video: Video, lookahead: int | None) -> Iterator[int]:
        """Have a video at hand for the frames that are asked for, under a number."""
        stream = self.number()
        self._videos[stream] = (video, len(video) if lookahead is None else lookahead)
        self._yielded[stream] = 0
        try:
            yield stream
        finally:
            del self._videos[stream], self._yielded[stream]

    def masks(
        self, do: str, size: tuple[int, int], count: int, arrays: Sequence[np.ndarray] = (), **text: Any
    ) -> list[Any] | None:
        """Ask for predictions of a frame of (H, W), at most ``count`` (see ``ask``); None at the end of a stream."""
        reply, came = self.ask(do, arrays, most=count * size[0] * size[1] * 16 + 1024, **text)
        if "stream" in text:
            self._yielded[text["stream"]] += 1
        return None if reply.get("end") is True else _predictions(reply, came)


def _end(process: subprocess.Popen[bytes], *pipes: int) -> None:
    """Close the pipes, which ends a host that listens; kill its session."""
    for end in pipes:
        with contextlib.suppress(OSError):
            os.close(end)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _arrays(listed: Any, data: bytearray) -> list[np.ndarray]:
    arrays, at = [], 0
    for dtype, shape in listed:
        kind = np.dtype(str(dtype))
        if kind.kind not in "biuf" or kind.itemsize > 8 or len(shape) > 8 or not all(type(n) is int for n in shape):
            raise ValueError
        if any(side < 0 for side in shape):
            raise ValueError
        count = int(np.prod(shape, dtype=object)) if shape else 1
        array = np.frombuffer(data, kind, count, at).reshape(shape) if count else np.empty(shape, kind)
        arrays.append(array)
        at += array.nbytes
    if at != len(data):
        raise ValueError
    return arrays


def _predictions(reply: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> list[Any]:
    try:
        rows = []
        for row in reply["items"]:
            parts = [arrays[row[name]] if type(row[name]) is int else row[name] for name in ("mask", "score")]
            rows.append((parts[0], parts[1], row["confidence"]))
    except (KeyError, TypeError, IndexError):
        raise ModelError("what its process says cannot be read") from None
    return [_prediction(*row) for row in rows]


def _prediction(mask: Any, score: Any, confidence: Any) -> Prediction:
    if confidence is not None and type(confidence) not in (int, float):
        raise ModelError("the confidence is no number")
    return Prediction(_value(mask), None if score is None else _value(score), confidence)


def _value(value: Any) -> Any:
    """Return an array as it is; for what is described by type, shape and dtype an object that is refused for these."""
    if isinstance(value, np.ndarray) or value is None:
        return value
    try:
        kind, shape, dtype = value
        name = printable(str(kind))[:60]
        members = {} if shape is None else {"shape": tuple(map(int, shape[:8])), "dtype": printable(str(dtype))[:60]}
    except (TypeError, ValueError, OverflowError):
        raise ModelError("what its process says cannot be read") from None
    return type(name if name.isidentifier() else "object", (), members)()


def _raised(reply: Mapping[str, Any]) -> Exception:
    """Return what to raise for what was raised there."""
    text, kind = (printable(" ".join(str(reply.get(name))[:4000].split()))[:1800] for name in ("text", "type"))
    line = printable(str(reply.get("line") or ""))[:120]
    text = f"{text} ({line})" if line else text
    parts = reply.get("parts")
    if (reply.get("usage") is True or reply.get("rule") is True) and isinstance(parts, list) and len(parts) == 4:
        what, where, expected, fix = (None if part is None else str(part)[:1000] for part in parts)
        ours = ModelError if reply.get("rule") is True else UsageError if kind == "UsageError" else InputError
        return ours(what or text, where=where, expected=expected, fix=fix)
    if type(reply.get("missing")) is str:
        return ModuleNotFoundError(text, name=reply["missing"])
    cls = type(kind if kind.isidentifier() else "Exception", (MethodError,), {})
    error: Exception = cls(text)
    error.add_note(printable(str(reply.get("traceback")), "\n\t")[:4000])
    return error
