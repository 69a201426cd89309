"""Methods in an interpreter of their own (``PYTHON::X``): the classes that stand for them here.

A method whose process died is built in a new one for its next episode.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
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
from icvos.models.interpreter import Interpreter, MethodError
from icvos.types import ModelInfo, Support, Video, WeightInfo

__all__ = ["Remote", "environment_of", "file_module", "remote_class"]


def environment_of(model: Model) -> dict[str, Any] | None:
    """Return what a method's own interpreter is: ``python``, ``platform`` and ``packages`` with their exact versions.

    Of an environment that icvos made, ``asked`` is what the method asked for. None for a model that runs in this one.
    """
    remote = getattr(model, "image_model", model)
    if not isinstance(remote, Remote):
        return None
    declaration, asked = remote.declaration, environments.asked_of(remote.python)
    return {
        **({} if asked is None else {"asked": asked}),
        "python": declaration["python"][:100],
        "platform": declaration["platform"][:200],
        "packages": [printable(package)[:200] for package in declaration["packages"][:2000]],
    }


# Classes that stand here for those there.


class Remote(Model):
    """What stands here for a method in another interpreter; made by ``remote_class``.

    Attributes:
        python: The interpreter's program.
        target: What is loaded there: ``path`` of a file or "", the name of its ``module``, and ``attribute``.
        declaration: Of the class there: ``files``, ``demo`` weights, ``packages``, ``python``, ``platform``.
        kinds: Of its options, as ``host.kind_of`` has them.
    """

    python: ClassVar[str]
    target: ClassVar[Mapping[str, Any]]
    declaration: ClassVar[Mapping[str, Any]]
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
            self.backend = printable(f"torch {version}")[:100] if version else f"python {self.declaration['python']}"
        # The seed and the threads of this process.
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
        return {name: Path(path) for name, path in cls.declaration["demo"].items()}


class _RemoteVideo(Remote, VideoModel):
    """A video model there. Hooks that its class does not override run here, upon those that it does."""

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        for items in self._stream("segment", video, *_packed([supports]), seeds=[seed]):
            yield _only(items)

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
                while (items := interpreter.masks("next", video.size, count, stream=stream)) is not None:
                    yield items
            finally:
                if interpreter.alive:
                    interpreter.ask("close", stream=stream)


def _only(items: Sequence[Any] | None) -> Any:
    if items is None or len(items) != 1:
        raise ModelError("what its process says cannot be read")
    return items[0]


def _segment_many(
    self: _RemoteVideo, episodes: Sequence[Sequence[Support]], video: Video, *, seeds: Sequence[int]
) -> Iterator[Sequence[Any]]:
    yield from self._stream("segment_many", video, *_packed(episodes), seeds=seeds)


def _segment_from_mask(self: _RemoteVideo, mask: np.ndarray, video: Video, *, seed: int) -> Iterator[Any]:
    for items in self._stream("segment_from_mask", video, [], [mask], seeds=[seed]):
        yield _only(items)


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
        size = image.shape[0], image.shape[1]
        return _only(fitted.interpreter.masks("predict", size, 1, [image], model=self._number, fitted=fitted.number))


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


def _made(
    python: str, target: Mapping[str, Any], declaration: Mapping[str, Any], interpreter: Interpreter
) -> type[Model]:
    base: type[Model] = {"video": _RemoteVideo, "image": _RemoteImage}[declaration["kind"]]
    options = {name: (_kind(kind), default) for name, kind, default in declaration["options"]}
    members: dict[str, Any] = {
        **{
            name: hook
            for name, hook in _HOOKS.items()
            if name in declaration["hooks"] and declaration["kind"] == "video"
        },
        **dict.fromkeys(set(declaration["refused"]) & set(_HOOKS)),
        "__doc__": str(declaration["doc"]) or {"video": VideoModel, "image": ImageModel}[declaration["kind"]].__doc__,
        "__init__": _initialiser(options),
        "__module__": str(declaration["module"]),
        "info": _info(declaration["info"]),
        "python": python,
        "target": dict(target),
        "declaration": {
            "files": list(map(str, declaration["files"])),
            "demo": {str(name): str(path) for name, path in declaration["demo"].items()},
            "packages": list(map(str, declaration["packages"])),
            "python": printable(str(declaration["python"])),
            "platform": printable(str(declaration["platform"])),
        },
        "kinds": {name: kind for name, kind, _ in declaration["options"]},
        "_spare": [interpreter],
    }
    name = str(declaration["name"])
    return type(name.rpartition(".")[2] or "Method", (base,), members)


def _initialiser(options: Mapping[str, tuple[Any, list[Any]]]) -> Any:
    """Return an ``__init__`` with a signature that tells the options."""

    def __init__(self: Remote, *, device: str = "cpu", weights: Any = None, **chosen: Any) -> None:
        Remote.__init__(self, device=device, weights=weights, **chosen)

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


def _kind(kind: Any) -> Any:
    """Return the annotation that ``host.kind_of`` describes."""
    words = {"bool": bool, "int": int, "float": float, "str": str, "none": type(None), "path": Path}
    if isinstance(kind, str):
        return words[kind]
    if "literal" in kind:
        return typing.Literal[tuple(kind["literal"])]
    if "other" in kind:
        name, module = map(str, kind["other"])
        return type(name, (), {"__module__": module})
    return typing.Union[tuple(_kind(each) for each in kind["union"])]  # noqa: UP007


def _of_kinds(value: Any) -> Any:
    """Return a word, or None, for all kinds of benchmarks or for each."""
    if isinstance(value, dict):
        return {kind: _of_kinds(value.get(kind)) for kind in ("image", "video")}
    return None if value is None else printable(str(value))[:100]


def _info(fields: Mapping[str, Any]) -> ModelInfo:
    known = {name: fields[name] for name in ("name", "version", "paper", "licence", "access")}
    for name, value in known.items():
        if type(value) is not str or not value.isprintable():
            raise UsageError(f"the method's {name} is no text")
    return ModelInfo(
        **known,
        weights={
            str(name): WeightInfo(str(each["source"]), each["sha256"] and str(each["sha256"]), bool(each["required"]))
            for name, each in fields["weights"].items()
        },
        training_categories=tuple(map(str, fields["training_categories"])),
        training_data=tuple(map(str, fields["training_data"])),
        uses=tuple(map(str, fields["uses"])),
    )
