"""Methods in an interpreter of their own (``PYTHON::X``): this end of the pipes, whose other end is ``host.py``.

The other end is not trusted: what it says has known lengths and types, and comes in turn and in time, or its process is
killed and the episode fails with the last lines of its standard error. The next episode starts it anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import inspect
import json
import os
import selectors
import signal
import struct
import subprocess
import threading
import time
import typing
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from icvos.errors import InputError, ModelError, UsageError, printable
from icvos.files import expand_home, file_sha256, real_path
from icvos.models import environments, seeds
from icvos.models.interface import ImageModel, Model, VideoModel
from icvos.types import ModelInfo, Prediction, Support, Video, WeightInfo

__all__ = [
    "PROGRAM",
    "Interpreter",
    "Output",
    "Remote",
    "environment_of",
    "file_module",
    "keep_output",
    "placed",
    "remote_class",
    "split_python",
]

PROGRAM = "exec:"
"""What stands before the words of a program that is a method (``icvos.models.program``)."""

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


def environment_of(model: Model) -> dict[str, Any] | None:
    """Return what a method's own interpreter is: ``python``, ``platform`` and ``packages`` with their exact versions.

    Of an environment that icvos made, ``asked`` is what the method asked for. None for a model that runs in this one.
    """
    remote = getattr(model, "image_model", model)
    if not isinstance(remote, Remote):
        return None
    said, asked = remote.said, environments.asked_of(remote.python)
    return {
        **({} if asked is None else {"asked": asked}),
        "python": said["python"][:100],
        "platform": said["platform"][:200],
        "packages": [printable(package)[:200] for package in said["packages"][:2000]],
    }


def split_python(spec: str) -> tuple[str, str]:
    """Return the interpreter that ``PYTHON::X`` names, "" where it names none, and the rest.

    The words of a program (``exec:…``) may hold anything.
    """
    python, sign, rest = spec.partition("::")
    return (python, rest) if sign and not spec.startswith(PROGRAM) else ("", spec)


def placed(spec: str, *, python: str | None = None, isolated: bool = False, engine: str = "local") -> str:
    """Return the spec of a model where it is to run.

    Args:
        spec: The model's.
        python: The interpreter that it runs in, or the folder of its environment.
        isolated: Whether it runs in the environment that its file asks for, which is made where it is not there.
        engine: What runs the episodes.

    Raises:
        UsageError: Two interpreters are named, or the environment cannot be where it runs.
        IcvosError: As ``environments.isolated``.
    """
    if python is None and not isolated:
        return spec
    if spec.startswith(PROGRAM):
        raise UsageError(f"'{spec}' is a program, which no Python runs", fix="leave --python and --isolated out")
    if split_python(spec)[0] or (python is not None and isolated):
        named = "--python and --isolated" if python is not None and isolated else f"'{spec}' and an option"
        raise UsageError(f"{named} both name an interpreter", fix="give one of them")
    if python is not None:
        return f"{python}::{spec}"
    if engine == "ray":
        raise UsageError(
            "--isolated makes the environment on this machine, where the cluster's nodes do not see it",
            fix="give --python an environment that every node has",
        )
    return environments.isolated(spec)


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
        self._asked: dict[int, int] = {}
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

    def _give(self, asked: Mapping[str, Any]) -> None:
        stream, index = asked.get("stream"), asked.get("index")
        if type(stream) is not int or type(index) is not int:
            raise ModelError("what its process says cannot be read")
        if stream not in self._videos:  # a thread that reads ahead does not know yet
            self._send({"do": "frame", "problem": "a frame of a video that is over is asked for"}, ())
            return
        video, ahead = self._videos[stream]
        if not 0 <= index < len(video):
            raise ModelError(f"its process asks for frame {index} of {len(video)}")
        last = self._asked[stream] + ahead
        if index > last:
            self._send(
                {
                    "do": "frame",
                    "problem": f"frame {index} is asked for before the mask of frame {self._asked[stream]}: declare "
                    "access='lookahead:N' or 'offline', or read frames as you yield masks",
                },
                (),
            )
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
        self._asked[stream] = 0
        try:
            yield stream
        finally:
            del self._videos[stream], self._asked[stream]

    def masks(self, stream: int, size: tuple[int, int], count: int) -> list[Any] | None:
        """Return a stream's next predictions, at most ``count``; None at its end."""
        most = count * size[0] * size[1] * 16 + 1024
        reply, arrays = self.ask("next", most=most, stream=stream)
        self._asked[stream] += 1
        return None if reply.get("end") is True else _predictions(reply, arrays)


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


def _value(said: Any) -> Any:
    """Return an array, or for one that was told of in words what is judged as that is: of its type, shape and dtype."""
    if isinstance(said, np.ndarray) or said is None:
        return said
    try:
        kind, shape, dtype = said
        name = printable(str(kind))[:60]
        told = {} if shape is None else {"shape": tuple(map(int, shape[:8])), "dtype": printable(str(dtype))[:60]}
    except (TypeError, ValueError, OverflowError):
        raise ModelError("what its process says cannot be read") from None
    return type(name if name.isidentifier() else "object", (), told)()


def _raised(reply: Mapping[str, Any]) -> Exception:
    """Return what to raise for what was raised there."""
    text, kind = (printable(" ".join(str(reply.get(name))[:4000].split()))[:1800] for name in ("text", "type"))
    line = printable(str(reply.get("line") or ""))[:120]
    told = f"{text} ({line})" if line else text
    parts = reply.get("parts")
    if (reply.get("usage") is True or reply.get("rule") is True) and isinstance(parts, list) and len(parts) == 4:
        what, where, expected, fix = (None if part is None else str(part)[:1000] for part in parts)
        ours = ModelError if reply.get("rule") is True else UsageError if kind == "UsageError" else InputError
        return ours(what or text, where=where, expected=expected, fix=fix)
    if type(reply.get("missing")) is str:
        return ModuleNotFoundError(told, name=reply["missing"])
    cls = type(kind if kind.isidentifier() else "Exception", (MethodError,), {})
    error: Exception = cls(told)
    error.add_note(printable(str(reply.get("traceback")), "\n\t")[:4000])
    return error


# Classes that stand here for those there.


class Remote(Model):
    """What stands here for a method in another interpreter; made by ``remote_class``.

    Attributes:
        python: The interpreter's program.
        target: What is loaded there: ``path`` of a file or "", the name of its ``module``, and ``attribute``.
        said: Of what the class there declares: ``files``, ``demo`` weights, ``packages``, ``python``, ``platform``.
        kinds: Of its options, as ``host.kind_of`` has them.
    """

    python: ClassVar[str]
    target: ClassVar[Mapping[str, Any]]
    said: ClassVar[Mapping[str, Any]]
    kinds: ClassVar[Mapping[str, Any]]
    _spare: ClassVar[list[Interpreter]]

    def __init__(self, *, device: str = "cpu", weights: Mapping[str, Path] | None = None, **options: Any) -> None:
        self.device, self.weights = device, dict(weights or {})
        self._options, self._number, self._first = options, 0, True
        for name, value in options.items():
            if not isinstance(value, (bool, int, float, str, Path, type(None))):
                raise UsageError(f"option {name} cannot go to another interpreter", expected="a number or a text")
        self.interpreter = self._start()

    def _start(self) -> Interpreter:
        interpreter = self._spare.pop() if self._spare else Interpreter(self.python, self.target)
        options = {name: str(v) if isinstance(v, Path) else v for name, v in self._options.items()}
        paths = [name for name, value in self._options.items() if isinstance(value, Path)]
        files = {name: str(Path(path).absolute()) for name, path in self.weights.items()}
        try:
            built = interpreter.ask("build", model=0, device=self.device, weights=files, options=options, paths=paths)[
                0
            ]
        except BaseException:
            interpreter.end()
            raise
        with _words():
            self.weights = {str(name): Path(path) for name, path in built["weights"].items()}
            self.info = _info(built["info"])  # type: ignore[misc]
            self.dtype, self.autocast = _of_kinds(built["dtype"]), _of_kinds(built["autocast"])
            for name in set(self.kinds) & set(built["values"]) - set(dir(type(self))):
                setattr(self, name, built["values"][name])
            version = built["torch"]
            self.backend = printable(f"torch {version}")[:100] if version else f"python {self.said['python']}"
        # What the others were told since the process began.
        if seeds.last is not None:
            interpreter.seed(seeds.last)
        if Interpreter.threads:
            interpreter.limit_threads(Interpreter.threads)
        return interpreter

    def ready(self) -> Interpreter:
        """Return the interpreter; where it died since, a new one with the method built again."""
        if not self.interpreter.alive:
            if not self._first:
                raise ModelError("its process has ended")
            self.interpreter = self._start()
        return self.interpreter

    def __copy__(self) -> Remote:
        interpreter = self.ready()
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._number, other._first = interpreter.number(), False
        interpreter.ask("copy", model=self._number, copy=other._number)
        weakref.finalize(other, interpreter.forget, "models", other._number)
        return other

    @classmethod
    def demo_weights(cls) -> Mapping[str, Path]:
        return {name: Path(path) for name, path in cls.said["demo"].items()}


class _RemoteVideo(Remote, VideoModel):
    """A video model there. Hooks that its class does not override run here, upon those that it does."""

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        for items in self._stream("segment", video, *_packed([supports]), seeds=[seed]):
            yield items[0]

    def _stream(
        self, call: str, video: Video, sets: list[list[bool]], arrays: list[np.ndarray], *, seeds: Sequence[int]
    ) -> Iterator[Sequence[Any]]:
        interpreter, count = self.ready(), len(sets) or len(arrays)
        with interpreter.video(video, self.info.lookahead) as stream:
            interpreter.ask(
                "open",
                arrays,
                model=self._number,
                stream=stream,
                call=call,
                sets=sets,
                frames=len(video),
                size=list(video.size),
                seeds=[int(seed) for seed in seeds],
            )
            try:
                while (items := interpreter.masks(stream, video.size, count)) is not None:
                    if call not in _SEVERAL and len(items) != 1:
                        raise ModelError("what its process says cannot be read")
                    yield items
            finally:
                if interpreter.alive:
                    interpreter.ask("close", stream=stream)


_SEVERAL = ("segment_many", "segment_objects")


def _segment_many(
    self: _RemoteVideo, episodes: Sequence[Sequence[Support]], video: Video, *, seeds: Sequence[int]
) -> Iterator[Sequence[Any]]:
    yield from self._stream("segment_many", video, *_packed(episodes), seeds=seeds)


def _segment_from_mask(self: _RemoteVideo, mask: np.ndarray, video: Video, *, seed: int) -> Iterator[Any]:
    for items in self._stream("segment_from_mask", video, [], [mask], seeds=[seed]):
        yield items[0]


def _segment_objects(
    self: _RemoteVideo, masks: Sequence[np.ndarray], video: Video, *, seed: int
) -> Iterator[Sequence[Any]]:
    yield from self._stream("segment_objects", video, [], list(masks), seeds=[seed])


_HOOKS = {
    "segment_many": _segment_many,
    "segment_from_mask": _segment_from_mask,
    "segment_objects": _segment_objects,
}


class _Fitted:
    """What ``fit`` returned there."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter, self.number = interpreter, interpreter.number()
        weakref.finalize(self, interpreter.forget, "fitted", self.number)


class _RemoteImage(Remote, ImageModel):
    """An image model there."""

    def fit(self, supports: Sequence[Support], *, seed: int) -> _Fitted:
        interpreter = self.ready()
        fitted = _Fitted(interpreter)
        sets, arrays = _packed([supports])
        interpreter.ask("fit", arrays, model=self._number, fitted=fitted.number, sets=sets, seeds=[int(seed)])
        return fitted

    def predict(self, fitted: _Fitted, image: Any) -> Any:
        image = np.asarray(image)
        most = image.shape[0] * image.shape[1] * 16 + 1024
        reply, arrays = fitted.interpreter.ask("predict", [image], most=most, model=self._number, fitted=fitted.number)
        items = _predictions(reply, arrays)
        if len(items) != 1:
            raise ModelError("what its process says cannot be read")
        return items[0]


def _packed(episodes: Sequence[Sequence[Support]]) -> tuple[list[list[bool]], list[np.ndarray]]:
    """Return which supports of each set say where to ignore, and the arrays of all."""
    arrays = []
    for support in (support for supports in episodes for support in supports):
        arrays += [support.image, support.mask] + ([] if support.ignore is None else [support.ignore])
    return [[support.ignore is not None for support in supports] for supports in episodes], arrays


# Each keeps the interpreter that was asked what the method declares for the first model that is built.
_CLASSES: dict[tuple[str, ...], type[Model]] = {}


def remote_class(python: str, spec: str) -> type[Model]:
    """Return the class that stands for a method in another interpreter, which is started to ask what it declares.

    Args:
        python: The interpreter's program, or the folder of its environment.
        spec: ``path/to/file.py:Class`` or ``package.module:Class``; the class may be left out where there is one.

    Raises:
        UsageError: The interpreter cannot be started, or the method cannot be loaded there.
    """
    program = _program(python)
    target = _target(spec)
    written = file_sha256(target["path"]) if target["path"] else ""
    key = (program, *target.values(), written)
    if key in _CLASSES:
        return _CLASSES[key]
    try:
        interpreter = Interpreter(program, target)
        with _words():
            _CLASSES[key] = cls = _made(program, target, interpreter.declared, interpreter)
        return cls
    except (UsageError, InputError):
        raise
    except ModuleNotFoundError as error:
        raise UsageError(
            f"'{spec}' needs the package {error.name}, which is not installed there",
            where=program,
            fix=f"{program} -m pip install {error.name}",
        ) from None
    except (MethodError, ModelError) as error:
        text = error.what if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
        raise UsageError(f"'{spec}' cannot be loaded there ({text})", where=program) from None


@contextlib.contextmanager
def _words() -> Iterator[None]:
    """Read what the other end declares."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        raise UsageError("what the interpreter says of the method cannot be read") from None


def _program(python: str) -> str:
    path = expand_home(python)
    if path.is_dir():
        return str(path.absolute() / "bin" / "python")
    # The name of a program is looked for on PATH; a link in an environment is not followed, it says which one it is.
    return str(path.absolute()) if os.sep in python or path.exists() else python


def file_module(path: Path) -> str:
    """Return the name of the module that a model's file is loaded as."""
    return f"icvos_model_{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"


def _target(spec: str) -> dict[str, Any]:
    path, colon, attribute = spec.rpartition(":")
    if not colon:
        path, attribute = spec, ""
    if path.endswith(".py"):
        file = real_path(expand_home(path))
        if not file.is_file():
            raise UsageError("model file not found", where=file, expected="path/to/file.py:Class")
        return {"path": str(file), "module": file_module(file), "attribute": attribute}
    if not colon:
        raise UsageError(
            f"'{spec}' is the name of an installed method, which no other interpreter knows",
            expected="path/to/file.py:Class or package.module:Class",
        )
    return {"path": "", "module": path, "attribute": attribute}


def _made(python: str, target: Mapping[str, Any], said: Mapping[str, Any], interpreter: Interpreter) -> type[Model]:
    base: type[Model] = {"video": _RemoteVideo, "image": _RemoteImage}[said["kind"]]
    options = {name: (_kind(kind), default) for name, kind, default in said["options"]}
    members: dict[str, Any] = {
        **{name: hook for name, hook in _HOOKS.items() if name in said["hooks"] and said["kind"] == "video"},
        **dict.fromkeys(set(said["refused"]) & set(_HOOKS)),
        "__doc__": str(said["doc"]) or {"video": VideoModel, "image": ImageModel}[said["kind"]].__doc__,
        "__init__": _initialiser(options),
        "__module__": str(said["module"]),
        "info": _info(said["info"]),
        "python": python,
        "target": dict(target),
        "said": {
            "files": list(map(str, said["files"])),
            "demo": {str(name): str(path) for name, path in said["demo"].items()},
            "packages": list(map(str, said["packages"])),
            "python": printable(str(said["python"])),
            "platform": printable(str(said["platform"])),
        },
        "kinds": {name: kind for name, kind, _ in said["options"]},
        "_spare": [interpreter],
    }
    name = str(said["name"])
    return type(name.rpartition(".")[2] or "Method", (base,), members)


def _initialiser(options: Mapping[str, tuple[Any, list[Any]]]) -> Any:
    """Return an ``__init__`` with a signature that tells the options."""

    def __init__(self: Remote, *, device: str = "cpu", weights: Any = None, **given: Any) -> None:
        Remote.__init__(self, device=device, weights=weights, **given)

    named = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [inspect.Parameter(name, named, default=None) for name in ("device", "weights")]
    parameters += [
        inspect.Parameter(name, named, default=default[0] if default else inspect.Parameter.empty)
        for name, (_, default) in options.items()
    ]
    __init__.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    __init__.__annotations__ = {name: kind for name, (kind, _) in options.items()}
    return __init__


def _kind(said: Any) -> Any:
    """Return the annotation that ``host.kind_of`` told."""
    words = {"bool": bool, "int": int, "float": float, "str": str, "none": type(None), "path": Path}
    if isinstance(said, str):
        return words[said]
    if "literal" in said:
        return typing.Literal[tuple(said["literal"])]
    if "other" in said:
        name, module = map(str, said["other"])
        return type(name, (), {"__module__": module})
    return typing.Union[tuple(_kind(each) for each in said["union"])]  # noqa: UP007


def _of_kinds(said: Any) -> Any:
    """Return a word, or None, for all kinds of benchmarks or for each."""
    if isinstance(said, dict):
        return {kind: _of_kinds(said.get(kind)) for kind in ("image", "video")}
    return None if said is None else printable(str(said))[:100]


def _info(said: Mapping[str, Any]) -> ModelInfo:
    known = {name: said[name] for name in ("name", "version", "paper", "licence", "access")}
    for name, value in known.items():
        if type(value) is not str or not value.isprintable():
            raise UsageError(f"the method's {name} is no text")
    return ModelInfo(
        **known,
        weights={
            str(name): WeightInfo(str(each["source"]), each["sha256"] and str(each["sha256"]), bool(each["required"]))
            for name, each in said["weights"].items()
        },
        training_categories=tuple(map(str, said["training_categories"])),
        training_data=tuple(map(str, said["training_data"])),
        uses=tuple(map(str, said["uses"])),
    )
